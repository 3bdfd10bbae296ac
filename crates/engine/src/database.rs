//! The files underneath: opening, reading, writing, and opening again after a failure.

use std::ops::Bound;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use fjall::config::{BloomConstructionPolicy, CompressionPolicy, FilterPolicy, FilterPolicyEntry};
use fjall::{AbstractTree, CompressionType, KeyspaceCreateOptions, PersistMode, Readable, Slice};
use parking_lot::RwLock;

use crate::batch::Op;
use crate::{EngineOptions, Error, KeyspaceOptions, Result, repair};

/// Values up to this size are copied out; larger ones share the engine's memory.
const COPY_UP_TO: usize = 256;
/// How often the lock is tried when the files are reopened: its last holders are threads that end.
const REOPEN_TRIES: u32 = 10;

/// Full memtables of a keyspace that may wait to be flushed; `fjall` stops at 4.
const MAX_SEALED: usize = 2;
/// Tables of a keyspace that may wait to be merged; `fjall` stops at 30.
const MAX_UNMERGED: usize = 24;
/// How often flushing is looked at while writes wait for it.
const FLUSH_POLL: Duration = Duration::from_millis(5);

/// From a key to a key.
pub(crate) type KeyRange = (Bound<Vec<u8>>, Bound<Vec<u8>>);

/// The open database, replaceable under its readers.
pub(crate) struct Database {
    options: EngineOptions,
    // Readers hold the lock for one operation; only reopening and new keyspaces write.
    open: RwLock<State>,
}

struct State {
    /// Names in the order in which they were asked for: a keyspace's index stays over reopening.
    names: Vec<(String, KeyspaceOptions)>,
    /// `None` while reopening has failed.
    files: Option<Files>,
}

struct Files {
    // Before `db`, so that handles are gone when the database closes.
    keyspaces: Vec<fjall::Keyspace>,
    db: fjall::Database,
}

/// Why a group wasn't written.
pub(crate) enum WriteError {
    /// Nothing was written, because an earlier failure poisoned the files: reopen and repeat.
    Poisoned,
    /// It failed; the files must be reopened before the next write.
    Failed(Error),
}

impl Database {
    pub(crate) fn open(options: EngineOptions) -> Result<Self> {
        std::fs::create_dir_all(&options.path)?;
        let db = open_files(&options)?;
        let files = Files {
            keyspaces: Vec::new(),
            db,
        };
        Ok(Self {
            options,
            open: RwLock::new(State {
                names: Vec::new(),
                files: Some(files),
            }),
        })
    }

    /// The index of a keyspace, which is made when it doesn't exist.
    pub(crate) fn keyspace(&self, name: &str, options: &KeyspaceOptions) -> Result<usize> {
        if name.is_empty() || name.len() > 255 {
            return Err(Error::InvalidKeyspaceName);
        }
        let mut state = self.open.write();
        if let Some(index) = state.names.iter().position(|(known, _)| known == name) {
            return Ok(index);
        }
        let files = state.files.as_mut().ok_or_else(reopening)?;
        let keyspace = files.db.keyspace(name, || create_options(options))?;
        files.keyspaces.push(keyspace);
        state.names.push((name.to_owned(), options.clone()));
        Ok(state.names.len() - 1)
    }

    /// Runs a read on a keyspace.
    pub(crate) fn read<T>(
        &self,
        keyspace: usize,
        read: impl FnOnce(&fjall::Keyspace) -> Result<T>,
    ) -> Result<T> {
        let state = self.open.read();
        let files = state.files.as_ref().ok_or_else(reopening)?;
        read(&files.keyspaces[keyspace])
    }

    /// Reads a range from a snapshot: a scan sees each batch whole or not at all.
    pub(crate) fn scan<T>(
        &self,
        keyspace: usize,
        range: KeyRange,
        read: impl FnOnce(fjall::Iter) -> Result<T>,
    ) -> Result<T> {
        let state = self.open.read();
        let files = state.files.as_ref().ok_or_else(reopening)?;
        read(files.db.snapshot().range(&files.keyspaces[keyspace], range))
    }

    /// Writes operations as one journal entry and syncs it.
    pub(crate) fn write<'a>(
        &self,
        ops: impl Iterator<Item = &'a Op>,
        count: usize,
    ) -> std::result::Result<(), WriteError> {
        let state = self.open.read();
        let Some(files) = state.files.as_ref() else {
            return Err(WriteError::Poisoned);
        };
        files.wait_for_flushes()?;
        let mut batch = fjall::OwnedWriteBatch::with_capacity(files.db.clone(), count)
            .durability(Some(PersistMode::SyncData));
        for op in ops {
            let keyspace = &files.keyspaces[op.keyspace];
            match &op.value {
                Some(value) => batch.insert(keyspace, op.key.clone(), value.clone()),
                None => batch.remove(keyspace, op.key.clone()),
            }
        }
        batch.commit().map_err(|error| match error {
            fjall::Error::Poisoned => WriteError::Poisoned,
            other => WriteError::Failed(other.into()),
        })
    }

    /// Where the files are.
    pub(crate) fn directory(&self) -> &Path {
        &self.options.path
    }

    /// Has every keyspace write what it holds in memory into a table, in the background.
    pub(crate) fn flush_all(&self) -> Result<()> {
        let state = self.open.read();
        let Some(files) = &state.files else {
            return Ok(());
        };
        // Also those that nobody asked for by name in this process: they hold the journal too.
        for name in files.db.list_keyspace_names() {
            let keyspace = files.db.keyspace(&name, KeyspaceCreateOptions::default)?;
            keyspace.rotate_memtable()?;
        }
        Ok(())
    }

    /// The same for the one keyspace that holds the most.
    pub(crate) fn flush_largest(&self) -> Result<()> {
        let state = self.open.read();
        let files = state.files.as_ref();
        let size = |k: &&fjall::Keyspace| k.tree.active_memtable().size();
        if let Some(largest) = files.and_then(|f| f.keyspaces.iter().max_by_key(size)) {
            largest.rotate_memtable()?;
        }
        Ok(())
    }

    /// Bytes in memory that flushing will write as tables.
    pub(crate) fn unflushed_bytes(&self) -> u64 {
        let state = self.open.read();
        state.files.as_ref().map_or(0, |f| f.db.write_buffer_size())
    }

    /// Bytes of all files.
    pub(crate) fn disk_bytes(&self) -> u64 {
        let state = self.open.read();
        let size = state.files.as_ref().map(|f| f.db.disk_space());
        size.and_then(std::result::Result::ok).unwrap_or_default()
    }

    /// Closes and opens the files: what was synced is read back, a torn tail is cut off.
    pub(crate) fn reopen(&self) -> Result<()> {
        let mut state = self.open.write();
        state.files = None;
        let mut tries = 0;
        let db = loop {
            tries += 1;
            match open_files(&self.options) {
                Err(Error::Locked { .. }) if tries < REOPEN_TRIES => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                other => break other?,
            }
        };
        let keyspaces = state
            .names
            .iter()
            .map(|(name, options)| Ok(db.keyspace(name, || create_options(options))?))
            .collect::<Result<Vec<_>>>()?;
        state.files = Some(Files { keyspaces, db });
        Ok(())
    }

    /// Closes the files. Reads fail from now on.
    pub(crate) fn close(&self) {
        self.open.write().files = None;
    }
}

impl Files {
    /// Waits while flushing or compaction is behind. `fjall` would wait too, but for ever when the
    /// thread it waits for has failed.
    fn wait_for_flushes(&self) -> std::result::Result<(), WriteError> {
        let behind = |k: &fjall::Keyspace| {
            k.sealed_memtable_count() > MAX_SEALED || k.l0_table_count() > MAX_UNMERGED
        };
        while self.keyspaces.iter().any(behind) {
            // The cheapest way to learn that a background thread has failed.
            if self.db.persist(PersistMode::Buffer).is_err() {
                return Err(WriteError::Poisoned);
            }
            std::thread::sleep(FLUSH_POLL);
        }
        Ok(())
    }
}

/// Opens the files; drops a last journal entry that a crash of the machine has torn.
fn open_files(options: &EngineOptions) -> Result<fjall::Database> {
    let first = match open_once(options) {
        Err(error) if repair::is_torn(&error) => error,
        other => return other.map_err(|error| describe(error, options)),
    };
    let Some(cut) = repair::cut_last_entry(&options.path)? else {
        return Err(first.into());
    };
    match open_once(options) {
        Ok(db) => {
            tracing::error!(
                error = %first,
                "the last journal entry was torn, as by a crash of the machine: it was dropped"
            );
            Ok(db)
        }
        Err(_) => {
            cut.undo()?;
            Err(first.into())
        }
    }
}

fn open_once(options: &EngineOptions) -> fjall::Result<fjall::Database> {
    fjall::Database::builder(&options.path)
        .cache_size(options.cache_bytes)
        .max_journaling_size(options.journal_limit())
        .worker_threads(options.workers.max(1))
        // Groups are large and short-lived: compressing them would cost more than writing them.
        .journal_compression(CompressionType::None)
        .manual_journal_persist(true)
        .open()
}

fn describe(error: fjall::Error, options: &EngineOptions) -> Error {
    match error {
        fjall::Error::Locked => Error::Locked {
            path: options.path.clone(),
        },
        other => other.into(),
    }
}

fn create_options(options: &KeyspaceOptions) -> KeyspaceCreateOptions {
    let compression = if options.compress {
        CompressionType::Lz4
    } else {
        CompressionType::None
    };
    KeyspaceCreateOptions::default()
        .max_memtable_size(options.memtable_bytes)
        .manual_journal_persist(true)
        .data_block_compression_policy(CompressionPolicy::all(compression))
        .filter_policy(FilterPolicy::all(FilterPolicyEntry::Bloom(
            BloomConstructionPolicy::BitsPerKey(10.0),
        )))
        .expect_point_read_hits(options.reads_mostly_hit)
}

fn reopening() -> Error {
    std::io::Error::other("the files are being reopened, or the engine is closed").into()
}

/// Hands a value out without copying large ones.
pub(crate) fn to_bytes(slice: Slice) -> Bytes {
    if slice.len() <= COPY_UP_TO {
        Bytes::copy_from_slice(&slice)
    } else {
        Bytes::from_owner(slice)
    }
}
