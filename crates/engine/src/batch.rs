//! Writes that are applied together.

use fjall::Slice;

use crate::{Error, Keyspace, Result};

/// The longest key.
const MAX_KEY: usize = u16::MAX as usize;
/// The longest value: below what the journal's length field holds, with room for a group.
const MAX_VALUE: usize = 1 << 30;
/// What an operation costs beside its key and value, for the queue's bound.
const OVERHEAD: usize = 32;

/// Puts and deletes over any keyspaces of one engine, applied whole or not at all.
///
/// Within a batch the last operation on a key wins. A bad key or value is reported by the
/// commit, so that building needs no error handling.
#[derive(Default)]
pub struct WriteBatch {
    pub(crate) ops: Vec<Op>,
    pub(crate) bytes: usize,
    pub(crate) reclaims: bool,
    engine: Option<usize>,
    error: Option<Error>,
}

/// One operation. The keyspace is an index into the engine's list, valid over a reopening.
pub(crate) struct Op {
    pub(crate) keyspace: usize,
    pub(crate) key: Slice,
    /// `None` deletes.
    pub(crate) value: Option<Slice>,
}

impl WriteBatch {
    /// An empty batch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty batch with room for `ops` operations.
    #[must_use]
    pub fn with_capacity(ops: usize) -> Self {
        Self {
            ops: Vec::with_capacity(ops),
            ..Self::default()
        }
    }

    /// Sets a key.
    pub fn put(&mut self, keyspace: &Keyspace, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        let value = value.as_ref();
        if value.len() > MAX_VALUE {
            let len = value.len();
            self.fail(Error::ValueTooLarge {
                len,
                max: MAX_VALUE,
            });
            return;
        }
        self.push(keyspace, key.as_ref(), Some(Slice::from(value)));
    }

    /// Removes a key; no error when it isn't there.
    pub fn delete(&mut self, keyspace: &Keyspace, key: impl AsRef<[u8]>) {
        self.push(keyspace, key.as_ref(), None);
    }

    /// Marks a batch that frees space in the end (deletes, cursors): it may use half of the disk
    /// reserve, so that a full disk can be cleaned up.
    pub fn set_reclaims(&mut self) {
        self.reclaims = true;
    }

    /// The number of operations.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// About how many bytes it will write.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    fn push(&mut self, keyspace: &Keyspace, key: &[u8], value: Option<Slice>) {
        if key.is_empty() || key.len() > MAX_KEY {
            return self.fail(Error::InvalidKey { len: key.len() });
        }
        let engine = keyspace.engine_id();
        if *self.engine.get_or_insert(engine) != engine {
            return self.fail(Error::ForeignKeyspace);
        }
        self.bytes += key.len() + value.as_ref().map_or(0, |v| v.len()) + OVERHEAD;
        self.ops.push(Op {
            keyspace: keyspace.index(),
            key: Slice::from(key),
            value,
        });
    }

    fn fail(&mut self, error: Error) {
        self.error.get_or_insert(error);
    }

    /// The first mistake made while building, or that the batch isn't for this engine.
    pub(crate) fn check(&self, engine: usize) -> Result<()> {
        match (&self.error, self.engine) {
            (Some(error), _) => Err(error.clone()),
            (None, Some(mine)) if mine != engine => Err(Error::ForeignKeyspace),
            _ => Ok(()),
        }
    }
}

impl std::fmt::Debug for WriteBatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WriteBatch")
            .field("ops", &self.ops.len())
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}
