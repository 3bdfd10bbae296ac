//! Counters that a caller turns into metrics.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What the engine has done since it was opened. Counters only grow.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct EngineStats {
    /// Batches acknowledged.
    pub commits: u64,
    /// Groups written: one sync each.
    pub groups: u64,
    /// Bytes of keys and values acknowledged.
    pub bytes: u64,
    /// Batches that failed, of them refused because the disk was full in `disk_full`.
    pub failed: u64,
    /// Batches refused because the disk was full.
    pub disk_full: u64,
    /// Times the files were reopened after a failed write.
    pub reopened: u64,
    /// Seconds spent writing and syncing groups, in sum.
    pub sync_seconds: f64,
    /// Batches waiting now.
    pub queued: u64,
    /// Bytes of batches waiting now.
    pub queued_bytes: u64,
    /// Bytes free on the disk when last measured.
    pub disk_free_bytes: u64,
    /// Bytes in memory that aren't in tables yet (they are in the journal).
    pub unflushed_bytes: u64,
}

/// The live counters.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) commits: AtomicU64,
    pub(crate) groups: AtomicU64,
    pub(crate) bytes: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) disk_full: AtomicU64,
    pub(crate) reopened: AtomicU64,
    pub(crate) sync_nanos: AtomicU64,
    pub(crate) disk_free: AtomicU64,
}

impl Counters {
    /// A snapshot, without what other parts know (queue, memory).
    #[allow(clippy::cast_precision_loss)] // Seconds for people.
    pub(crate) fn snapshot(&self) -> EngineStats {
        EngineStats {
            commits: self.commits.load(Relaxed),
            groups: self.groups.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            failed: self.failed.load(Relaxed),
            disk_full: self.disk_full.load(Relaxed),
            reopened: self.reopened.load(Relaxed),
            sync_seconds: self.sync_nanos.load(Relaxed) as f64 / 1e9,
            disk_free_bytes: self.disk_free.load(Relaxed),
            ..EngineStats::default()
        }
    }
}
