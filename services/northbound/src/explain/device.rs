//! Why a device doesn't connect, or that it does.

use super::Known;
use super::finding::{Findings, span};
use super::refusals;
use hearth_proto::convert::micros;
use hearth_proto::devicestate::v1 as ds;
use hearth_proto::northbound::v1::FindingSeverity as Severity;
use hearth_proto::types::v1::DeviceState;
use hearth_types::DeviceKey;
use std::net::IpAddr;

/// A device that accepted a request to connect comes within this time, in µs.
const COMES_WITHIN: i64 = 60_000_000;
/// What was refused longer ago than this, and overcome since, is not told, in µs.
const STALE: i64 = 24 * 3600 * 1_000_000;
const SECOND: i64 = 1_000_000;
/// The interval of a device that tells none, as `online` has it.
const USUAL: i64 = 6 * 60;

/// What there is to say about a device, in the order in which it matters.
pub(super) fn explain(key: &DeviceKey, known: &Known, now: i64) -> Findings {
    let mut findings = Findings::new(key.device.as_str(), "", now);
    stance(&mut findings, known);
    refused(&mut findings, key, known);
    if let Some(device) = &known.device
        && device.last_inform_us > 0
    {
        presence(&mut findings, device, known);
        waking(&mut findings, device, known);
        oddities(&mut findings, device, known);
    } else {
        absence(&mut findings, known);
    }
    findings
}

fn last_inform(known: &Known) -> i64 {
    known.device.as_ref().map_or(0, |it| it.last_inform_us)
}

/// When the next periodic Inform is due, in µs; 0 where that isn't known.
pub(super) fn next_inform(known: &Known) -> i64 {
    let Some(device) = &known.device else {
        return 0;
    };
    match (device.last_inform_us, device.periodic_inform_interval) {
        (0, _) | (_, 0) => 0,
        (last, interval) => last + i64::from(interval) * SECOND,
    }
}

/// What an operator set.
fn stance(findings: &mut Findings, known: &Known) {
    let facts = &known.facts;
    let (code, did) = match facts.stance() {
        DeviceState::Blocked => ("blocked", "is blocked"),
        DeviceState::Retired => ("retired", "is taken out of service"),
        _ => return,
    };
    let why = match facts.stance_reason.as_str() {
        "" => String::new(),
        reason => format!(": {reason}"),
    };
    let turned_away = facts.refusals.iter().find(|refusal| refusal.reason == code);
    let count = turned_away.map(|refusal| refusal.count.to_string());
    findings
        .add(
            Severity::Decisive,
            code,
            format!("The device {did} by an operator{why}."),
        )
        .at(facts.stance_time_us)
        .fact("reason", &facts.stance_reason)
        .fact("refused", count.unwrap_or_default());
}

/// What was refused: decisive where it has not informed since.
fn refused(findings: &mut Findings, key: &DeviceKey, known: &Known) {
    let since = last_inform(known);
    let now = findings.now;
    let told = |refusal: &&ds::Refusal| {
        let overcome = refusal.last_time_us <= since && now - refusal.last_time_us > STALE;
        // Said already, as what an operator set.
        let said = matches!(refusal.reason.as_str(), "blocked" | "retired")
            && known.facts.stance() != DeviceState::Unspecified;
        !overcome && !said
    };
    for refusal in known.facts.refusals.iter().filter(told) {
        let stance = matches!(refusal.reason.as_str(), "blocked" | "retired");
        let severity = match refusal.last_time_us > since && !stance {
            true => Severity::Decisive,
            false => Severity::Hint,
        };
        refusals::add(findings, refusal, severity, "The device");
    }
    let (_, _, serial) = key.device.parts();
    for refusal in known.facts.near.iter().filter(told) {
        let named = refusal.user == key.device.as_str() || refusal.user.contains(&serial);
        let severity = match named && refusal.last_time_us > since && !findings.is_decided() {
            true => Severity::Decisive,
            false => Severity::Hint,
        };
        let who = match named {
            true => "Somebody who names its serial number",
            false => "Somebody at its address, perhaps this device,",
        };
        refusals::add(findings, refusal, severity, who);
    }
}

/// It never came.
fn absence(findings: &mut Findings, known: &Known) {
    let severity = match findings.is_decided() {
        true => Severity::Hint,
        false => Severity::Decisive,
    };
    let (code, sentence) = match &known.device {
        None => (
            "never_seen",
            "The device has never informed here, and nobody has registered it.",
        ),
        Some(_) => (
            "never_informed",
            "The device is registered, and has never informed.",
        ),
    };
    findings.add(severity, code, sentence.to_owned());
    let facts = &known.facts;
    if facts.username.is_empty() && !facts.may_onboard {
        let sentence = "Neither the device nor its tenant has a login that it may begin with.";
        findings.add(Severity::Hint, "no_way_in", sentence.to_owned());
    }
    unused_login(findings, known);
}

/// When it came last, and when it is due.
fn presence(findings: &mut Findings, device: &ds::Device, known: &Known) {
    let now = findings.now;
    let last = device.last_inform_us;
    let ago = span(now - last);
    let next = next_inform(known);
    let interval = device.periodic_inform_interval;
    let events: Vec<&str> = device.last_events.iter().map(|e| e.code.as_str()).collect();
    let every = match interval {
        0 => String::new(),
        seconds => format!(" (it informs every {})", span(i64::from(seconds) * SECOND)),
    };
    let waits = match interval {
        0 => USUAL,
        seconds => i64::from(seconds),
    } * SECOND;
    let severity = match findings.is_decided() {
        true => Severity::Hint,
        false => Severity::Decisive,
    };
    let made = if device.state() == DeviceState::Silent {
        let sentence = format!("The device has been silent for {ago}{every}.");
        findings.add(severity, "silent", sentence)
    } else if device.online && !findings.is_decided() {
        let due = match next > now {
            true => format!(", the next is due in {}", span(next - now)),
            false => String::new(),
        };
        let sentence = format!("The device informed {ago} ago{due}.");
        findings.add(Severity::Ok, "informed", sentence)
    } else if now - last > 2 * waits {
        let sentence =
            format!("The device's periodic Inform is overdue: its last was {ago} ago{every}.");
        findings.add(severity, "overdue", sentence)
    } else {
        let sentence = format!("The device informed {ago} ago{every}.");
        findings.add(Severity::Ok, "informed", sentence)
    };
    let interval = match interval {
        0 => String::new(),
        seconds => seconds.to_string(),
    };
    made.at(last)
        .fact("interval_seconds", interval)
        .fact("events", events.join(", "))
        .fact("address", &device.remote_address)
        .fact("proof", &device.proof);
    if known.work.in_session {
        let epoch = match known.work.epoch {
            0 => String::new(),
            epoch => epoch.to_string(),
        };
        let sentence = "The device is in a session now.".to_owned();
        findings
            .add(Severity::Ok, "in_session", sentence)
            .fact("epoch", epoch);
    }
}

/// Whether and how it can be asked to connect. For a device that comes by itself all is a hint.
pub(super) fn waking(findings: &mut Findings, device: &ds::Device, known: &Known) {
    if let Some(wake) = &device.last_wake {
        last_wake(findings, wake, device.last_inform_us);
    }
    if let Some(planned) = known.work.wake.as_ref().filter(|planned| !planned.accepted) {
        let sentence = match planned.time_us - findings.now {
            soon if soon <= 0 => "The device is about to be asked to connect.".to_owned(),
            wait => format!("The device is asked to connect again in {}.", span(wait)),
        };
        findings
            .add(Severity::Hint, "wake_planned", sentence)
            .at(planned.time_us)
            .fact("tries", planned.tries.to_string());
    }
    let url = &device.connection_request_url;
    if url.is_empty() {
        let sentence = "The device has told no ConnectionRequestURL.".to_owned();
        findings.add(Severity::Hint, "no_address", sentence);
        return;
    }
    if !known.facts.has_connection_request_login {
        let sentence = "There is no login for requests to the device to connect.".to_owned();
        findings.add(Severity::Hint, "no_wake_login", sentence);
    }
    match (
        &device.nat_binding,
        is_behind_nat(url, &device.remote_address),
    ) {
        (Some(binding), _) => {
            let ago = span(findings.now - binding.time_us);
            let sentence = format!(
                "The device is behind a NAT, which showed {} to STUN {ago} ago.",
                binding.address
            );
            findings
                .add(Severity::Ok, "behind_nat", sentence)
                .at(binding.time_us)
                .remedy("")
                .fact("address", &binding.address);
        }
        (None, true) => {
            let sentence = format!(
                "The device is behind a NAT: it comes from {}, and wants to be asked at {url}.",
                device.remote_address
            );
            findings
                .add(Severity::Hint, "behind_nat", sentence)
                .fact("address", &device.remote_address)
                .fact("url", url);
        }
        (None, false) => {}
    }
}

/// How the last request to connect ended.
fn last_wake(findings: &mut Findings, wake: &ds::WakeRecord, last_inform: i64) {
    let now = findings.now;
    let ago = span(now - wake.time_us);
    let came = last_inform >= wake.time_us;
    let detail = wake.detail.trim_end_matches('.');
    let (severity, code, text) = match wake.outcome.as_str() {
        "accepted" if came || now - wake.time_us < COMES_WITHIN => {
            (Severity::Ok, "wake_accepted", "accepted")
        }
        "accepted" => (
            Severity::Hint,
            "wake_ignored",
            "accepted, and the device did not come",
        ),
        "credentials" => (
            Severity::Hint,
            "wake_credentials",
            "the device refused the login",
        ),
        "busy" => (Severity::Hint, "wake_busy", "the device was busy"),
        "rate_limited" => (
            Severity::Hint,
            "wake_rate_limited",
            "it was asked a moment before",
        ),
        "forbidden" => (
            Severity::Hint,
            "wake_forbidden",
            "its address may not be asked",
        ),
        "no_address" => (
            Severity::Hint,
            "wake_no_address",
            "no way to ask it is known",
        ),
        "offline" => (
            Severity::Hint,
            "wake_offline",
            "it is not connected to its XMPP server",
        ),
        _ => (
            Severity::Hint,
            "wake_unreachable",
            "the device could not be reached",
        ),
    };
    let more = match (severity, detail) {
        (Severity::Ok, _) | (_, "") => String::new(),
        (_, detail) => format!(" ({detail})"),
    };
    let sentence = format!("The last request to connect, {ago} ago: {text}{more}.");
    findings
        .add(severity, code, sentence)
        .at(wake.time_us)
        .fact("outcome", &wake.outcome)
        .fact("way", &wake.way)
        .fact("detail", &wake.detail);
}

/// What else may matter.
fn oddities(findings: &mut Findings, device: &ds::Device, known: &Known) {
    unused_login(findings, known);
    for alert in &device.identity_alerts {
        let sentence = format!(
            "Its identity is odd: {}.",
            alert.detail.trim_end_matches('.')
        );
        findings
            .add(Severity::Hint, "identity_alert", sentence)
            .at(micros(alert.time.as_ref()))
            .fact("kind", &alert.kind);
    }
    if let Some(offset) = known.facts.clock_offset_seconds {
        let side = match offset < 0 {
            true => "behind",
            false => "ahead of",
        };
        let sentence = format!(
            "The device's clock is {} {side} the server's.",
            span(offset.saturating_mul(SECOND))
        );
        findings
            .add(Severity::Hint, "clock_off", sentence)
            .at(known.facts.clock_time_us)
            .fact("offset_seconds", offset.to_string());
    }
    if let Some(learned) = &device.learned
        && !learned.unsupported_rpcs.is_empty()
    {
        let rpcs = learned.unsupported_rpcs.join(", ");
        let sentence = format!("Devices of its model do not implement {rpcs}.");
        findings
            .add(Severity::Ok, "learned", sentence)
            .fact("unsupported_rpcs", rpcs);
    }
    if let Some(profile) = &device.profile {
        let sentence = format!("Quirk profile {} is in force for it.", profile.id);
        findings
            .add(Severity::Ok, "quirk_profile", sentence)
            .fact("profile", &profile.id);
    }
}

fn unused_login(findings: &mut Findings, known: &Known) {
    let facts = &known.facts;
    if !facts.username.is_empty() && facts.username_used_us == 0 {
        let sentence = format!(
            "The device has a login of its own ({}) that it has never proved.",
            facts.username
        );
        findings
            .add(Severity::Hint, "login_unused", sentence)
            .fact("user", &facts.username);
    }
}

/// Whether the address that a device tells is a private one, and not the one that it comes from.
fn is_behind_nat(url: &str, remote: &str) -> bool {
    let rest = url.split_once("://").map_or("", |(_, rest)| rest);
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    let host = host.split(':').next().unwrap_or_default();
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(v4)) => {
            let shared = v4.octets()[0] == 100 && (64..128).contains(&v4.octets()[1]);
            (v4.is_private() || shared) && host != remote
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_address_that_it_does_not_come_from_is_behind_a_nat() {
        for (url, remote, behind) in [
            ("http://192.168.1.1:7547/x", "203.0.113.7", true),
            ("http://100.64.3.4/", "203.0.113.7", true),
            ("http://192.168.1.1:7547/x", "192.168.1.1", false),
            ("http://203.0.113.7:7547/x", "203.0.113.7", false),
            ("http://cpe.example.net/", "203.0.113.7", false),
            ("", "203.0.113.7", false),
        ] {
            assert_eq!(is_behind_nat(url, remote), behind, "{url}");
        }
    }
}
