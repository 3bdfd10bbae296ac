//! Settings of the public API.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Settings of the public API. The address and TLS are not among them: the listener comes bound.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NorthboundConfig {
    /// Open connections; more are refused. Default 1000.
    pub max_connections: usize,
    /// Requests being worked on, watches not counted; more are answered RESOURCE_EXHAUSTED.
    /// Default 512.
    pub max_requests: usize,
    /// Open watches; more are answered RESOURCE_EXHAUSTED. Default 1000.
    pub max_watches: usize,
    /// Bytes of one request message. Default 4 MiB.
    pub max_message_bytes: usize,
    /// Bytes of a file that is uploaded. Default 1 GiB.
    pub max_file_bytes: u64,
    /// The longest that a request may take; a client's own deadline may be shorter. Default 60 s.
    #[serde(with = "humantime_serde")]
    pub request_timeout: Duration,
    /// The longest that an upload or a download may take. Default 1 h.
    #[serde(with = "humantime_serde")]
    pub transfer_timeout: Duration,
    /// The longest silence of a client in an upload. Default 60 s.
    #[serde(with = "humantime_serde")]
    pub transfer_idle_timeout: Duration,
    /// How long a connection may be idle; half as often it is asked for a sign of life, so that
    /// open watches through a NAT stay open and dead ones are noticed. Default 2 min.
    #[serde(with = "humantime_serde")]
    pub idle_timeout: Duration,
    /// Time for open requests to end when the process stops. Default 10 s.
    #[serde(with = "humantime_serde")]
    pub drain_timeout: Duration,
    /// How often a watched task is read again even if no event told of a change. Default 5 s.
    #[serde(with = "humantime_serde")]
    pub watch_reread_interval: Duration,
}

impl Default for NorthboundConfig {
    fn default() -> Self {
        Self {
            max_connections: 1000,
            max_requests: 512,
            max_watches: 1000,
            max_message_bytes: 4 * 1024 * 1024,
            max_file_bytes: 1024 * 1024 * 1024,
            request_timeout: Duration::from_secs(60),
            transfer_timeout: Duration::from_secs(3600),
            transfer_idle_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(120),
            drain_timeout: Duration::from_secs(10),
            watch_reread_interval: Duration::from_secs(5),
        }
    }
}
