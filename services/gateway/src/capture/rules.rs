//! Whose sessions are captured, and which parameters are left out.

use hearth_cwmp::Inform;
use hearth_proto::devicestate::v1 as ds;
use hearth_proto::types::v1::CaptureRule;
use hearth_types::{DeviceId, is_secret_name};

/// A second, in µs: cookies have the start of a session in whole ones.
const SECOND: i64 = 1_000_000;

/// What a tenant captures.
pub(super) struct Wanted {
    pub captures: Vec<Active>,
    personal: Vec<Pattern>,
}

/// A capture that is active.
pub(super) struct Active {
    pub id: String,
    rule: CaptureRule,
    start: i64,
    end: i64,
    /// Sessions that it still takes.
    pub left: usize,
}

impl Wanted {
    pub(super) fn of(answer: &ds::GetEdgePolicyResponse) -> Self {
        let active = |capture: &ds::ActiveCapture| Active {
            id: capture.id.clone(),
            rule: capture.rule.clone().unwrap_or_default(),
            start: capture.start_us,
            end: capture.end_us,
            left: usize::try_from(capture.sessions_left).unwrap_or(0),
        };
        let paths = answer.policy.iter().flat_map(|policy| &policy.redact_paths);
        Self {
            captures: answer.captures.iter().map(active).collect(),
            personal: paths.map(|path| Pattern::of(path)).collect(),
        }
    }

    /// Whether a parameter's value is left out by the tenant's rule.
    pub(super) fn is_personal(&self, path: &str) -> bool {
        self.personal.iter().any(|pattern| pattern.fits(path))
    }
}

impl Active {
    /// Whether it takes a session of this device that began at `started`; `software` is known at
    /// the Inform only.
    pub(super) fn takes(
        &self,
        now: i64,
        started: i64,
        device: &DeviceId,
        software: Option<&str>,
    ) -> bool {
        let rule = &self.rule;
        if self.left == 0 || now >= self.end || started < self.start.saturating_sub(SECOND) {
            return false;
        }
        if !rule.device.is_empty() {
            return rule.device == device.as_str();
        }
        let (oui, class, _) = device.parts();
        let fits = |wanted: &str, is: &str| wanted.is_empty() || wanted == is;
        let version = match (rule.software_version.as_str(), software) {
            ("", _) => true,
            (_, None) => false,
            (wanted, Some(is)) => match wanted.strip_suffix('*') {
                Some(beginning) => is.starts_with(beginning),
                None => wanted == is,
            },
        };
        let says = rule.any
            || !(rule.oui.is_empty()
                && rule.product_class.is_empty()
                && rule.software_version.is_empty());
        let of_oui = rule.oui.is_empty() || rule.oui.eq_ignore_ascii_case(&oui);
        says && version && of_oui && fits(&rule.product_class, &class)
    }
}

/// The software version that an Inform names; empty where it names none.
pub(super) fn software(inform: &Inform) -> &str {
    let version = inform
        .parameter_list
        .iter()
        .find(|parameter| parameter.name.ends_with(".DeviceInfo.SoftwareVersion"));
    version.map_or("", |parameter| parameter.value.as_str())
}

/// Whether a parameter or an element of this name is a secret: what is sealed at rest, and names of
/// users.
pub(super) fn is_secret(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name).as_bytes();
    let user = b"username";
    let is_user = last
        .len()
        .checked_sub(user.len())
        .is_some_and(|at| last[at..].eq_ignore_ascii_case(user));
    is_user || last.eq_ignore_ascii_case(b"JabberID") || is_secret_name(name)
}

/// `Device.Hosts.Host.*.HostName`, `Device.Hosts.`
struct Pattern {
    segments: Vec<String>,
    /// All below.
    below: bool,
}

impl Pattern {
    fn of(path: &str) -> Self {
        let below = path.ends_with('.');
        let path = path.strip_suffix('.').unwrap_or(path);
        Self {
            segments: path.split('.').map(str::to_owned).collect(),
            below,
        }
    }

    fn fits(&self, path: &str) -> bool {
        let mut parts = path.split('.');
        for wanted in &self.segments {
            match parts.next() {
                Some(part) if wanted == "*" || wanted == part => {}
                _ => return false,
            }
        }
        self.below || parts.next().is_none()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn patterns_name_one_parameter_or_all_below() {
        let fits = |pattern: &str, path: &str| Pattern::of(pattern).fits(path);
        assert!(fits(
            "Device.Hosts.Host.*.HostName",
            "Device.Hosts.Host.12.HostName"
        ));
        assert!(!fits(
            "Device.Hosts.Host.*.HostName",
            "Device.Hosts.Host.12.HostName.X"
        ));
        assert!(!fits(
            "Device.Hosts.Host.*.HostName",
            "Device.Hosts.Host.HostName"
        ));
        assert!(fits("Device.Hosts.", "Device.Hosts.Host.1.IPAddress"));
        assert!(!fits("Device.Hosts.", "Device.HostsX.Host"));
    }

    #[test]
    fn rules_choose_devices() {
        let device: DeviceId = "0000CA-Router-1".parse().unwrap();
        let takes = |rule: CaptureRule, software| {
            let active = Active {
                id: "c".into(),
                rule,
                start: 10 * SECOND,
                end: 20 * SECOND,
                left: 1,
            };
            active.takes(12 * SECOND, 11 * SECOND, &device, software)
        };
        let rule = CaptureRule::default;
        assert!(!takes(rule(), None));
        assert!(takes(
            CaptureRule {
                any: true,
                ..rule()
            },
            None
        ));
        let oui = "0000ca".to_owned();
        assert!(takes(CaptureRule { oui, ..rule() }, None));
        let other = CaptureRule {
            product_class: "ONT".into(),
            ..rule()
        };
        assert!(!takes(other, None));
        let software_version = "2.*".to_owned();
        let version = CaptureRule {
            software_version,
            ..rule()
        };
        assert!(takes(version.clone(), Some("2.1")));
        assert!(!takes(version.clone(), Some("1.2")) && !takes(version, None));
        let one = CaptureRule {
            device: "0000CA-Router-2".into(),
            ..rule()
        };
        assert!(!takes(one, None));
    }

    #[test]
    fn names_of_users_are_secrets_here() {
        for name in [
            "Device.ManagementServer.ConnectionRequestUsername",
            "Device.ManagementServer.STUNPassword",
            "Device.XMPP.Connection.1.JabberID",
            "Device.WiFi.AccessPoint.1.Security.KeyPassphrase",
            "Username",
        ] {
            assert!(is_secret(name), "{name}");
        }
        for name in [
            "ParameterKey",
            "Device.DeviceInfo.SoftwareVersion",
            "CommandKey",
        ] {
            assert!(!is_secret(name), "{name}");
        }
    }
}
