//! Sizes and limits, with defaults for a small machine.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Tells how many bytes are free for this process on the disk of a directory.
pub type SpaceProbe = Arc<dyn Fn(&Path) -> std::io::Result<u64> + Send + Sync>;

const MIB: u64 = 1024 * 1024;

/// How an engine is opened. All sizes are in bytes.
#[derive(Clone)]
pub struct EngineOptions {
    /// The directory; it is created when missing.
    pub path: PathBuf,
    /// Memory for blocks read from disk. Default 64 MiB.
    pub cache_bytes: u64,
    /// Journal kept before all that is in memory is written into tables; bounds the time a restart
    /// takes (10 ms for each MB). Default and minimum 64 MiB; while tables are being written it may
    /// be twice as much.
    pub journal_bytes: u64,
    /// Threads that flush and compact. Default 1: with more, `fjall` 3.1 keeps one of them spinning
    /// for as long as another one compacts.
    pub workers: usize,
    /// Commits are refused when less than this, and what memory still has to flush, is free.
    /// Default 64 MiB.
    pub disk_reserve_bytes: u64,
    /// How often free space is measured at most. Default 100 ms.
    pub space_check_interval: Duration,
    /// How free space is measured. Default: `statvfs`.
    pub space_probe: SpaceProbe,
    /// Bytes that may wait to be committed; beyond, `commit` waits and `submit` refuses.
    /// Default 64 MiB. A single batch may be larger.
    pub queue_bytes: u64,
    /// Bytes that are written with one sync. Default 16 MiB.
    pub group_bytes: u64,
    /// Settings of keyspaces made without their own.
    pub keyspace: KeyspaceOptions,
}

impl EngineOptions {
    /// The defaults for a directory.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            cache_bytes: 64 * MIB,
            journal_bytes: 64 * MIB,
            workers: 1,
            disk_reserve_bytes: 64 * MIB,
            space_check_interval: Duration::from_millis(100),
            space_probe: Arc::new(statvfs_free),
            queue_bytes: 64 * MIB,
            group_bytes: 16 * MIB,
            keyspace: KeyspaceOptions::default(),
        }
    }

    /// The journal's bound as it holds: `fjall` begins no new journal before 64 MB.
    pub(crate) fn journal_limit(&self) -> u64 {
        self.journal_bytes.max(64 * MIB)
    }
}

impl fmt::Debug for EngineOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineOptions")
            .field("path", &self.path)
            .field("cache_bytes", &self.cache_bytes)
            .field("journal_bytes", &self.journal_bytes)
            .field("workers", &self.workers)
            .field("disk_reserve_bytes", &self.disk_reserve_bytes)
            .field("queue_bytes", &self.queue_bytes)
            .field("group_bytes", &self.group_bytes)
            .field("keyspace", &self.keyspace)
            .finish_non_exhaustive()
    }
}

/// Settings of one keyspace. They are fixed when the keyspace is first made.
#[derive(Debug, Clone)]
pub struct KeyspaceOptions {
    /// Bytes gathered in memory before they are written as a table. Default 16 MiB.
    pub memtable_bytes: u64,
    /// Whether values are compressed (LZ4) in tables. Default true.
    pub compress: bool,
    /// Set when nearly every `get` finds its key: saves the last level's filters. Default false.
    pub reads_mostly_hit: bool,
}

impl Default for KeyspaceOptions {
    fn default() -> Self {
        Self {
            memtable_bytes: 16 * MIB,
            compress: true,
            reads_mostly_hit: false,
        }
    }
}

/// Bytes free to an unprivileged process on the file system of `path`.
fn statvfs_free(path: &Path) -> std::io::Result<u64> {
    let stat = rustix::fs::statvfs(path)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}
