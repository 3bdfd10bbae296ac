//! Which parameters are left out of captures.

use hearth_clients::Result;
use hearth_proto::types::v1::EdgePolicy;
use hearth_types::ParameterPath;

use super::wrong;

const MAX_PATHS: usize = 200;

pub(super) fn check(policy: &EdgePolicy) -> Result<()> {
    if policy.redact_paths.len() > MAX_PATHS {
        return wrong("redact_paths", "expected at most 200");
    }
    for (place, path) in policy.redact_paths.iter().enumerate() {
        let field = format!("redact_paths[{place}]");
        if let Err(error) = path.parse::<ParameterPath>() {
            return wrong(&field, &error.reason);
        }
        let odd = |segment: &str| segment.contains('*') && segment != "*";
        if path.split('.').any(odd) {
            return wrong(&field, "expected `*` for one whole name: Device.X.*.Y");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn patterns_are_paths_with_whole_names_left_open() {
        let check = |path: &str| {
            check(&EdgePolicy {
                redact_paths: vec!["Device.Hosts.".into(), path.to_owned()],
                ..EdgePolicy::default()
            })
        };
        assert!(check("Device.Hosts.Host.*.HostName").is_ok());
        for bad in [
            "",
            "Device.Hosts.Host.1*.HostName",
            "Device..X",
            "Device. X",
        ] {
            let error = check(bad).unwrap_err();
            assert_eq!(error.field, "policy.redact_paths[1]", "{bad}");
        }
    }
}
