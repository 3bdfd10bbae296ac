//! Which ways lead to a device, and which is tried first.

use hearth_proto::devicestate::v1::GetConnectionRequestResponse;
use hearth_proto::wakeup::v1::{WakeOutcome, WakeWay};
use std::time::Duration;

/// A device that took a datagram and did not inform for so long was not reached by it.
const UDP_PATIENCE: Duration = Duration::from_secs(30);

/// Names, as they are kept and shown.
pub const fn name(way: WakeWay) -> &'static str {
    match way {
        WakeWay::Unspecified => "",
        WakeWay::Http => "http",
        WakeWay::Udp => "udp",
        WakeWay::Xmpp => "xmpp",
    }
}

/// What a wake-up's outcome is called where it is kept and shown.
pub fn outcome_name(outcome: WakeOutcome) -> String {
    outcome
        .as_str_name()
        .trim_start_matches("WAKE_OUTCOME_")
        .to_ascii_lowercase()
}

/// What this process can do.
#[derive(Clone, Copy, Debug)]
pub struct Can {
    /// It has a STUN socket.
    pub udp: bool,
    /// It is an XMPP component.
    pub xmpp: bool,
    /// How long a binding holds without a word.
    pub lifetime: Duration,
}

/// The ways to a device, the best first: the one that worked last; behind NAT, UDP and XMPP before
/// HTTP, which gets through only where a port is forwarded; else HTTP, which alone tells by itself
/// whether the device has heard. A datagram that woke nobody puts UDP at the end.
pub fn order(device: &GetConnectionRequestResponse, can: Can, now_us: i64) -> Vec<WakeWay> {
    let http = !device.url.is_empty();
    let udp = can.udp && (has_binding(device, can, now_us) || !device.udp_address.is_empty());
    let xmpp = can.xmpp && !device.jabber_id.is_empty();
    let usual = match device.nat_detected {
        true => [WakeWay::Udp, WakeWay::Xmpp, WakeWay::Http],
        false => [WakeWay::Http, WakeWay::Udp, WakeWay::Xmpp],
    };
    let mut ways: Vec<WakeWay> = usual
        .into_iter()
        .filter(|way| match way {
            WakeWay::Http => http,
            WakeWay::Udp => udp,
            WakeWay::Xmpp => xmpp,
            WakeWay::Unspecified => false,
        })
        .collect();
    if let Some(last) = &device.last_wake {
        // The sort keeps the order of the rest.
        ways.sort_by_key(|way| name(*way) != last.good_way);
        if udp_failed(device, now_us) {
            ways.sort_by_key(|way| *way == WakeWay::Udp);
        }
    }
    ways
}

/// Whether STUN showed the device's way, and it still holds.
pub fn has_binding(device: &GetConnectionRequestResponse, can: Can, now_us: i64) -> bool {
    let lifetime = i64::try_from(can.lifetime.as_micros()).unwrap_or(i64::MAX);
    let fresh = |at: i64| now_us.saturating_sub(at) < lifetime;
    device.binding.as_ref().is_some_and(|b| fresh(b.time_us))
}

/// Whether the last datagram was followed by no Inform.
fn udp_failed(device: &GetConnectionRequestResponse, now_us: i64) -> bool {
    let patience = i64::try_from(UDP_PATIENCE.as_micros()).unwrap_or(i64::MAX);
    device.last_wake.as_ref().is_some_and(|last| {
        last.way == name(WakeWay::Udp)
            && device.last_inform_us < last.time_us
            && now_us.saturating_sub(last.time_us) > patience
    })
}

/// The way that is known to work after this one ended so: an accepting HTTP server or XMPP client
/// says so itself; that a datagram arrived is known when the device informs after it.
pub fn good_way(
    device: &GetConnectionRequestResponse,
    way: WakeWay,
    outcome: WakeOutcome,
) -> String {
    let last = device.last_wake.as_ref();
    let informed =
        last.filter(|last| last.way == name(WakeWay::Udp) && device.last_inform_us > last.time_us);
    match (way, outcome, informed) {
        (WakeWay::Http | WakeWay::Xmpp, WakeOutcome::Accepted | WakeOutcome::Busy, _) => {
            name(way).to_owned()
        }
        (_, _, Some(_)) => name(WakeWay::Udp).to_owned(),
        _ => last.map(|last| last.good_way.clone()).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use WakeWay::{Http, Udp, Xmpp};
    use hearth_proto::devicestate::v1::{NatBinding, WakeRecord};

    const NOW: i64 = 1_800_000_000_000_000;
    const SECOND: i64 = 1_000_000;
    const ALL: Can = Can {
        udp: true,
        xmpp: true,
        lifetime: Duration::from_secs(3600),
    };

    fn device() -> GetConnectionRequestResponse {
        GetConnectionRequestResponse {
            url: "http://10.0.0.1:7547/".into(),
            udp_address: "203.0.113.9:40000".into(),
            jabber_id: "cpe@example.net/1".into(),
            ..Default::default()
        }
    }

    fn woken(way: &str, ago: i64, good: &str) -> Option<WakeRecord> {
        Some(WakeRecord {
            way: way.into(),
            time_us: NOW - ago * SECOND,
            good_way: good.into(),
            ..Default::default()
        })
    }

    #[test]
    fn by_what_the_device_has_and_this_process_can() {
        let mut device = device();
        assert_eq!(order(&device, ALL, NOW), [Http, Udp, Xmpp]);
        device.nat_detected = true;
        assert_eq!(order(&device, ALL, NOW), [Udp, Xmpp, Http]);
        let none = Can {
            udp: false,
            xmpp: false,
            ..ALL
        };
        assert_eq!(order(&device, none, NOW), [Http]);
        device.url.clear();
        device.udp_address.clear();
        assert_eq!(order(&device, ALL, NOW), [Xmpp]);
        device.jabber_id.clear();
        assert!(order(&device, ALL, NOW).is_empty());
        let binding = |ago: i64| NatBinding {
            time_us: NOW - ago * SECOND,
            ..Default::default()
        };
        device.binding = Some(binding(3599));
        assert_eq!(order(&device, ALL, NOW), [Udp]);
        device.binding = Some(binding(3601));
        assert!(order(&device, ALL, NOW).is_empty(), "a binding ends");
    }

    #[test]
    fn what_worked_last_comes_first_and_lost_datagrams_last() {
        let mut device = device();
        device.last_wake = woken("xmpp", 5, "xmpp");
        assert_eq!(order(&device, ALL, NOW), [Xmpp, Http, Udp]);
        device.nat_detected = true;
        device.last_wake = woken("udp", 31, "");
        device.last_inform_us = NOW - 60 * SECOND;
        assert_eq!(order(&device, ALL, NOW), [Xmpp, Http, Udp]);
        device.last_wake = woken("udp", 29, "");
        assert_eq!(order(&device, ALL, NOW), [Udp, Xmpp, Http], "still due");
        device.last_wake = woken("udp", 31, "");
        device.last_inform_us = NOW - 30 * SECOND;
        assert_eq!(order(&device, ALL, NOW), [Udp, Xmpp, Http], "it came");
    }

    #[test]
    fn a_way_is_good_when_it_is_known_to_work() {
        let mut device = device();
        assert_eq!(good_way(&device, Http, WakeOutcome::Accepted), "http");
        assert_eq!(good_way(&device, Http, WakeOutcome::Unreachable), "");
        assert_eq!(
            good_way(&device, Udp, WakeOutcome::Accepted),
            "",
            "nobody knows yet"
        );
        device.last_wake = woken("udp", 100, "http");
        device.last_inform_us = NOW - 90 * SECOND;
        assert_eq!(good_way(&device, Udp, WakeOutcome::Accepted), "udp");
        device.last_inform_us = NOW - 110 * SECOND;
        assert_eq!(good_way(&device, Udp, WakeOutcome::Accepted), "http");
    }
}
