//! Refused requests in words.

use super::codes::{ACS_FAULTS, of_reason};
use super::device_name;
use super::finding::{Findings, Made, span, times};
use hearth_proto::convert::timestamp;
use hearth_proto::devicestate::v1 as ds;
use hearth_proto::northbound::v1::{self as nb, FindingSeverity as Severity};

/// What a refusal means, and what to do.
fn meaning(refusal: &ds::Refusal) -> (&'static str, &'static str) {
    let known = of_reason(&refusal.reason);
    let fault = ACS_FAULTS.iter().find(|(code, ..)| *code == refusal.fault);
    match fault {
        Some((_, meaning, remedy)) => (meaning, remedy),
        None => (known.meaning, known.remedy),
    }
}

/// `it was refused 3 times, 20 s ago for the last time: its password …`
fn sentence(refusal: &ds::Refusal, who: &str, now: i64) -> String {
    let (meaning, _) = meaning(refusal);
    let answer = match (refusal.fault, refusal.status) {
        (0, 0) => String::new(),
        (0, status) => format!(" ({status})"),
        (fault, _) => format!(" (fault {fault})"),
    };
    let ago = span(now.saturating_sub(refusal.last_time_us).max(0));
    let last = match refusal.count {
        1 => format!("{ago} ago"),
        count => format!("{}, the last time {ago} ago", times(count)),
    };
    format!("{who} was refused{answer} {last}: {meaning}.")
}

/// Adds a refusal to the findings of a device.
pub(super) fn add<'a>(
    findings: &'a mut Findings,
    refusal: &ds::Refusal,
    severity: Severity,
    who: &str,
) -> Made<'a> {
    let (_, remedy) = meaning(refusal);
    let text = sentence(refusal, who, findings.now);
    let fault = match refusal.fault {
        0 => String::new(),
        fault => fault.to_string(),
    };
    findings
        .add(severity, of_reason(&refusal.reason).code, text)
        .at(refusal.last_time_us)
        .remedy(remedy)
        .fact("reason", &refusal.reason)
        .fact("user", &refusal.user)
        .fact("certificate", &refusal.certificate)
        .fact("address", &refusal.address)
        .fact("count", refusal.count.to_string())
        .fact("status", refusal.status.to_string())
        .fact("fault", fault)
        .fact("detail", &refusal.detail)
}

/// As the API shows one.
pub(super) fn public(refusal: ds::Refusal) -> nb::Refusal {
    let mut findings = Findings::new(&refusal.device, "", refusal.last_time_us);
    add(&mut findings, &refusal, Severity::Decisive, "It");
    let answer = findings.answer().findings.into_iter().next();
    let (meaning, _) = meaning(&refusal);
    nb::Refusal {
        device: device_name(&refusal.tenant, &refusal.device),
        sentence: format!("Refused: {meaning}."),
        remedy: answer.map(|finding| finding.remedy).unwrap_or_default(),
        user: refusal.user,
        certificate: refusal.certificate,
        address: refusal.address,
        reason: refusal.reason,
        status: refusal.status,
        fault: refusal.fault,
        detail: refusal.detail,
        count: refusal.count,
        first_time: timestamp(refusal.first_time_us),
        last_time: timestamp(refusal.last_time_us),
    }
}
