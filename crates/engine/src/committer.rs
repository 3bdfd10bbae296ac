//! The one thread that writes: takes what waits, writes it as one entry, syncs, wakes the callers.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use crate::database::{Database, WriteError};
use crate::journal::JournalKeeper;
use crate::queue::{Pending, Queue};
use crate::stats::Counters;
use crate::{EngineOptions, Error, Result};

/// After reopening has failed it isn't tried again for this long.
const REOPEN_PAUSE: Duration = Duration::from_millis(250);

/// What the committer shares with the engine's handles.
pub(crate) struct Shared {
    pub(crate) options: EngineOptions,
    pub(crate) database: Database,
    pub(crate) queue: Queue,
    pub(crate) counters: Counters,
}

/// Runs until the queue is closed and empty.
pub(crate) fn run(shared: &Arc<Shared>) {
    // If this thread panics, callers must hear of it instead of waiting for ever.
    let _abandon = Abandon(shared);
    let mut committer = Committer {
        shared,
        measured: None,
        reopen: Reopen::No,
        journal: JournalKeeper::default(),
    };
    let mut group = Vec::new();
    while shared.queue.take(&mut group, shared.options.group_bytes) {
        committer.write_group(&mut group);
    }
}

struct Abandon<'a>(&'a Shared);

impl Drop for Abandon<'_> {
    fn drop(&mut self) {
        self.0.queue.abandon();
    }
}

enum Reopen {
    No,
    /// Before the next write, but not before this time.
    Due(Instant),
}

struct Committer<'a> {
    shared: &'a Shared,
    measured: Option<(Instant, u64)>,
    reopen: Reopen,
    journal: JournalKeeper,
}

impl Committer<'_> {
    /// Writes a group and answers everyone in it.
    fn write_group(&mut self, group: &mut Vec<Pending>) {
        self.refuse_without_room(group);
        if group.is_empty() {
            return;
        }
        let bytes: u64 = group.iter().map(|p| p.batch.bytes as u64).sum();
        let started = Instant::now();
        let result = self.write(group);
        let counters = &self.shared.counters;
        let nanos = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        counters.sync_nanos.fetch_add(nanos, Relaxed);
        let commits = group.len() as u64;
        if result.is_ok() {
            counters.groups.fetch_add(1, Relaxed);
            counters.commits.fetch_add(commits, Relaxed);
            counters.bytes.fetch_add(bytes, Relaxed);
        } else {
            counters.failed.fetch_add(commits, Relaxed);
        }
        answer(group.drain(..), &result);
        if result.is_ok() {
            let limit = self.shared.options.journal_limit();
            self.journal.written(bytes, &self.shared.database, limit);
        }
    }

    fn write(&mut self, group: &[Pending]) -> Result<()> {
        self.reopen_if_due()?;
        match self.write_once(group) {
            Ok(()) => Ok(()),
            Err(WriteError::Failed(error)) => {
                tracing::error!(error = &error as &dyn std::error::Error, "a write failed");
                self.reopen = Reopen::Due(Instant::now());
                Err(classify(
                    error,
                    self.free(),
                    self.shared.options.disk_reserve_bytes,
                ))
            }
            Err(WriteError::Poisoned) => {
                // A background thread failed earlier. Nothing of this group was written.
                self.reopen = Reopen::Due(Instant::now());
                self.reopen_if_due()?;
                self.write_once(group).map_err(|error| {
                    self.reopen = Reopen::Due(Instant::now() + REOPEN_PAUSE);
                    match error {
                        WriteError::Failed(error) => error,
                        WriteError::Poisoned => fjall::Error::Poisoned.into(),
                    }
                })
            }
        }
    }

    fn write_once(&self, group: &[Pending]) -> std::result::Result<(), WriteError> {
        let count = group.iter().map(|p| p.batch.ops.len()).sum();
        let ops = group.iter().flat_map(|p| p.batch.ops.iter());
        self.shared.database.write(ops, count)
    }

    fn reopen_if_due(&mut self) -> Result<()> {
        let Reopen::Due(at) = self.reopen else {
            return Ok(());
        };
        if Instant::now() < at {
            return Err(fjall::Error::Poisoned.into());
        }
        match self.shared.database.reopen() {
            Ok(()) => {
                tracing::warn!("the files were reopened after a failed write");
                self.shared.counters.reopened.fetch_add(1, Relaxed);
                self.journal = JournalKeeper::default();
                self.reopen = Reopen::No;
                Ok(())
            }
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the files can't be reopened; trying again with later writes"
                );
                self.reopen = Reopen::Due(Instant::now() + REOPEN_PAUSE);
                Err(error)
            }
        }
    }

    /// Answers batches for which there is no room, and leaves the others in the group.
    fn refuse_without_room(&mut self, group: &mut Vec<Pending>) {
        let bytes: u64 = group.iter().map(|p| p.batch.bytes as u64).sum();
        let free = self.free();
        // What memory holds will be written a second time, as tables.
        let held = self.shared.database.unflushed_bytes().saturating_add(bytes);
        let reserve = self.shared.options.disk_reserve_bytes;
        let needed = reserve.saturating_add(held);
        if free >= needed {
            return;
        }
        let keep_reclaiming = free >= needed - reserve / 2;
        let refused: Vec<Pending> = group
            .extract_if(.., |p| !(keep_reclaiming && p.batch.reclaims))
            .collect();
        let counters = &self.shared.counters;
        counters.failed.fetch_add(refused.len() as u64, Relaxed);
        counters.disk_full.fetch_add(refused.len() as u64, Relaxed);
        let full = Error::DiskFull {
            free,
            reserve: needed,
        };
        answer(refused.into_iter(), &Err(full));
    }

    /// Free bytes, measured at most once in the interval. An unknown amount doesn't stop writing:
    /// the write itself will tell.
    fn free(&mut self) -> u64 {
        let options = &self.shared.options;
        if let Some((at, free)) = self.measured
            && at.elapsed() < options.space_check_interval
        {
            return free;
        }
        let free = (options.space_probe)(&options.path).unwrap_or_else(|error| {
            tracing::warn!(%error, "free space can't be measured");
            u64::MAX
        });
        self.shared.counters.disk_free.store(free, Relaxed);
        self.measured = Some((Instant::now(), free));
        free
    }
}

/// A disk that filled up under our hands is told as such.
fn classify(error: Error, free: u64, reserve: u64) -> Error {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    match &error {
        Error::Io(io) if matches!(io.kind(), StorageFull | QuotaExceeded) => {
            Error::DiskFull { free, reserve }
        }
        _ => error,
    }
}

fn answer(group: impl Iterator<Item = Pending>, result: &Result<()>) {
    for pending in group {
        // A caller that no longer waits is no error: the batch is written all the same.
        let _ = pending.done.send(result.clone());
    }
}
