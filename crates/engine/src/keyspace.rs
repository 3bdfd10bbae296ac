//! Reading a keyspace. Writing goes through batches.

use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;

use crate::database::to_bytes;
use crate::{Engine, Entry, Result, Scan};

/// An ordered map from keys to values. Clones are cheap.
///
/// Reads may touch the disk. Point reads are short enough for async code; long scans belong on a
/// blocking thread.
#[derive(Clone)]
pub struct Keyspace {
    engine: Engine,
    index: usize,
    name: Arc<str>,
}

impl Keyspace {
    pub(crate) fn new(engine: Engine, index: usize, name: &str) -> Self {
        Self {
            engine,
            index,
            name: name.into(),
        }
    }

    /// The name it was asked for by.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The engine it belongs to.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The value of a key.
    ///
    /// # Errors
    /// The files can't be read.
    pub fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Bytes>> {
        self.read(|k| Ok(k.get(key.as_ref())?.map(to_bytes)))
    }

    /// Whether a key is there.
    ///
    /// # Errors
    /// The files can't be read.
    pub fn contains(&self, key: impl AsRef<[u8]>) -> Result<bool> {
        self.read(|k| Ok(k.contains_key(key.as_ref())?))
    }

    /// Entries of a range, in order, as of one moment: no batch is seen in part. For the next page, [`Scan::after`] the last key.
    ///
    /// # Errors
    /// The files can't be read.
    pub fn scan(&self, scan: &Scan) -> Result<Vec<Entry>> {
        let mut entries = Vec::new();
        self.visit(scan, |key, value| {
            entries.push(Entry {
                key: to_bytes(key),
                value: to_bytes(value),
            });
            ControlFlow::Continue(())
        })?;
        Ok(entries)
    }

    /// Calls `each` with the entries of a range, without making a list. It must not call back
    /// into the engine.
    ///
    /// # Errors
    /// The files can't be read.
    pub fn scan_with(
        &self,
        scan: &Scan,
        mut each: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<()> {
        self.visit(scan, |key, value| each(&key, &value))
    }

    /// The smallest key.
    ///
    /// # Errors
    /// The files can't be read.
    pub fn first(&self) -> Result<Option<Entry>> {
        Ok(self.scan(&Scan::all().limit(1))?.pop())
    }

    /// The largest key.
    ///
    /// # Errors
    /// The files can't be read.
    pub fn last(&self) -> Result<Option<Entry>> {
        Ok(self.scan(&Scan::all().reverse().limit(1))?.pop())
    }

    fn visit(
        &self,
        scan: &Scan,
        mut each: impl FnMut(fjall::Slice, fjall::Slice) -> ControlFlow<()>,
    ) -> Result<()> {
        if scan.is_empty() || scan.limit == 0 {
            return Ok(());
        }
        let range = (scan.start.clone(), scan.end.clone());
        let database = &self.engine.shared().database;
        database.scan(self.index, range, |mut entries| {
            let mut count = 0;
            let mut bytes = 0;
            loop {
                let next = if scan.reverse {
                    entries.next_back()
                } else {
                    entries.next()
                };
                let Some(entry) = next else { return Ok(()) };
                let (key, value) = entry.into_inner()?;
                count += 1;
                bytes += key.len() + value.len();
                if each(key, value).is_break() || count >= scan.limit || bytes >= scan.max_bytes {
                    return Ok(());
                }
            }
        })
    }

    fn read<T>(&self, read: impl FnOnce(&fjall::Keyspace) -> Result<T>) -> Result<T> {
        self.engine.shared().database.read(self.index, read)
    }

    pub(crate) fn engine_id(&self) -> usize {
        self.engine.id()
    }

    pub(crate) fn index(&self) -> usize {
        self.index
    }
}

impl std::fmt::Debug for Keyspace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keyspace")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
