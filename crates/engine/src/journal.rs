//! Keeping the journal short: what it holds is read back at the next start, 10 ms for each MB.
//!
//! `fjall` begins a new journal when a memtable is flushed while the current one is over 64 MB, and
//! deletes an old one when every keyspace has written into tables what it had in memory when that
//! journal was sealed. By itself it waits for memtables to fill, so that a keyspace that is rarely
//! written holds several journals back. Here, once the journals are over the limit, the current one
//! is sealed, and then every keyspace's memtable is flushed once.

use std::path::Path;

use crate::Result;
use crate::database::Database;

/// Committed bytes between looks at the directory.
const LOOK_EVERY: u64 = 1024 * 1024;

/// Watches the journals; owned by the one thread that writes.
#[derive(Debug, Default)]
pub(crate) struct JournalKeeper {
    /// Bytes committed since the last look.
    unseen: u64,
    /// The journal that was asked to be sealed.
    asked: Option<u64>,
    /// The newest sealed journal whose contents were sent into tables.
    flushed: Option<u64>,
}

impl JournalKeeper {
    /// After a group of so many bytes was written. A failure is told and tried again later: the
    /// commit itself is on disk.
    pub(crate) fn written(&mut self, bytes: u64, database: &Database, limit: u64) {
        self.unseen += bytes;
        if self.unseen < LOOK_EVERY {
            return;
        }
        self.unseen = 0;
        if let Err(error) = self.look(database, limit) {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "the journal can't be shortened now");
        }
    }

    fn look(&mut self, database: &Database, limit: u64) -> Result<()> {
        let journals = journals(database.directory())?;
        let total: u64 = journals.iter().map(|(_, length)| length).sum();
        let (Some((current, _)), true) = (journals.last(), total > limit) else {
            return Ok(());
        };
        let sealed = journals.iter().rev().nth(1).map(|(number, _)| *number);
        if sealed > self.flushed {
            database.flush_all()?;
            self.flushed = sealed;
        } else if sealed.is_none() && self.asked < Some(*current) {
            database.flush_largest()?;
            self.asked = Some(*current);
        }
        Ok(())
    }
}

/// The journals with their lengths, the oldest first: `{number}.jnl`, the last one is written to.
pub(crate) fn journals(directory: &Path) -> std::io::Result<Vec<(u64, u64)>> {
    let mut journals = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let path = entry.path();
        let number = path
            .file_stem()
            .filter(|_| path.extension().is_some_and(|e| e == "jnl"))
            .and_then(|stem| stem.to_str()?.parse().ok());
        let Some(number) = number else { continue };
        match entry.metadata() {
            Ok(metadata) => journals.push((number, metadata.len())),
            // Deleted meanwhile.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    journals.sort_unstable();
    Ok(journals)
}
