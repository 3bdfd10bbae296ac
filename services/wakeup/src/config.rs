//! Settings of the role.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Settings of connection requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WakeupConfig {
    /// Ranges in which devices may be asked to connect. A device tells its own
    /// URL, so narrow this to your access network. Link-local, multicast and
    /// unspecified addresses are never asked, whatever stands here.
    pub allow: Vec<IpNet>,
    /// Ranges that are not asked although `allow` holds them: the cluster's
    /// own, for one.
    pub deny: Vec<IpNet>,
    /// Whether loopback addresses may be asked. For tests and the demo.
    pub allow_loopback: bool,
    /// How long one attempt may take, from connecting to the answer, in
    /// milliseconds.
    pub timeout_ms: u64,
    /// The least time between two requests to one device, in milliseconds.
    pub min_interval_ms: u64,
    /// Requests under way at once, over all devices.
    pub max_concurrent: usize,
}

impl WakeupConfig {
    pub(crate) const fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }

    pub(crate) const fn min_interval(&self) -> Duration {
        Duration::from_millis(self.min_interval_ms)
    }
}

impl Default for WakeupConfig {
    fn default() -> Self {
        Self {
            allow: vec![
                IpNet::V4(ipnet::Ipv4Net::default()),
                IpNet::V6(ipnet::Ipv6Net::default()),
            ],
            deny: Vec::new(),
            allow_loopback: false,
            timeout_ms: 5000,
            min_interval_ms: 1000,
            max_concurrent: 256,
        }
    }
}
