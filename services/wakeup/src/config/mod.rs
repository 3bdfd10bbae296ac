//! Settings of the role.

use hearth_config::{CidrList, Documented, FieldDoc, HumanDuration, Shape};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// Settings of connection requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WakeupConfig {
    /// Ranges in which devices may be asked to connect.
    pub allow: CidrList,
    /// Ranges that are not asked although `allow` holds them.
    pub deny: CidrList,
    /// Whether loopback addresses may be asked.
    pub allow_loopback: bool,
    /// How long one attempt may take, from connecting to the answer.
    pub timeout: HumanDuration,
    /// The least time between two requests to one device.
    pub min_interval: HumanDuration,
    /// Requests under way at once, over all devices.
    pub max_concurrent: usize,
}

impl Default for WakeupConfig {
    fn default() -> Self {
        Self {
            allow: CidrList(vec![
                IpNet::V4(ipnet::Ipv4Net::default()),
                IpNet::V6(ipnet::Ipv6Net::default()),
            ]),
            deny: CidrList::default(),
            allow_loopback: false,
            timeout: HumanDuration::secs(5),
            min_interval: HumanDuration::secs(1),
            max_concurrent: 256,
        }
    }
}

impl Documented for WakeupConfig {
    fn fields() -> Vec<FieldDoc> {
        vec![
            FieldDoc::new(
                "allow",
                Shape::List("CIDR ranges"),
                "Where devices may be asked to connect. A device tells its own URL: narrow this to \
                 your access network. Link-local, multicast and unspecified addresses are never asked.",
            ),
            FieldDoc::new(
                "deny",
                Shape::List("CIDR ranges"),
                "Ranges that are not asked although `allow` holds them, such as the cluster's own.",
            ),
            FieldDoc::new(
                "allow_loopback",
                Shape::Bool,
                "Whether loopback addresses may be asked. For tests and the demo.",
            ),
            FieldDoc::new(
                "timeout",
                Shape::Duration,
                "How long one connection request may take.",
            ),
            FieldDoc::new(
                "min_interval",
                Shape::Duration,
                "The least time between two connection requests to one device.",
            ),
            FieldDoc::new(
                "max_concurrent",
                Shape::Integer,
                "Connection requests under way at once, over all devices.",
            ),
        ]
    }

    fn validate(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        let most = tokio::sync::Semaphore::MAX_PERMITS;
        if !(1..=most).contains(&self.max_concurrent) {
            let problem = format!("expected 1 to {most}");
            problems.push(("max_concurrent".into(), problem));
        }
        problems
    }
}
