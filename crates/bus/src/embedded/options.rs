//! Limits of the embedded bus.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hearth_types::Timestamp;

const MIB: usize = 1024 * 1024;

/// Tells the time of day.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// How an embedded bus works. Sizes are in bytes.
#[derive(Clone)]
pub struct EmbeddedOptions {
    /// The longest payload. Default 32 MiB.
    pub max_payload: usize,
    /// Bytes that consumers may be behind before `publish` fails with `Full`. Default 4 GiB.
    pub max_backlog: u64,
    /// Bytes kept while no consumer is registered; older ones go first. Default 64 MiB.
    pub unclaimed: u64,
    /// Messages kept in memory for consumers that keep up. Default 65,536.
    pub tail_messages: usize,
    /// Bytes kept in memory for consumers that keep up. Default 64 MiB.
    pub tail_bytes: usize,
    /// How long a message's id is remembered. Default 2 minutes.
    pub dedupe_window: Duration,
    /// Ids remembered at most; older ones go first. Default 500,000.
    pub dedupe_ids: usize,
    /// How often consumers' progress is persisted and worked messages are removed.
    /// Default 250 ms; the contract allows 1 s.
    pub progress_interval: Duration,
    /// The time of day. Default: the system's.
    pub clock: Clock,
}

impl Default for EmbeddedOptions {
    fn default() -> Self {
        Self {
            max_payload: 32 * MIB,
            max_backlog: 4 << 30,
            unclaimed: 64 << 20,
            tail_messages: 65_536,
            tail_bytes: 64 * MIB,
            dedupe_window: Duration::from_secs(120),
            dedupe_ids: 500_000,
            progress_interval: Duration::from_millis(250),
            clock: Arc::new(system_time),
        }
    }
}

impl fmt::Debug for EmbeddedOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedOptions")
            .field("max_payload", &self.max_payload)
            .field("max_backlog", &self.max_backlog)
            .field("unclaimed", &self.unclaimed)
            .field("tail_messages", &self.tail_messages)
            .field("tail_bytes", &self.tail_bytes)
            .field("dedupe_window", &self.dedupe_window)
            .field("dedupe_ids", &self.dedupe_ids)
            .field("progress_interval", &self.progress_interval)
            .finish_non_exhaustive()
    }
}

fn system_time() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::ZERO.saturating_add(since)
}
