//! Rows that were written lately: what a device reports changes again at its next Inform, and
//! finding a row in memory by its hash costs a tenth of looking for it in the engine.
//!
//! It never answers anything but what the engine would. A row of a device is written under the
//! device's lock, which is held until the commit is on disk; it is forgotten here when the commit
//! begins and remembered when it has succeeded. Readers put nothing in, except the deletes, which
//! are read under the same lock.

use std::collections::BTreeMap;
use std::sync::Arc;

use ahash::RandomState;
use bytes::Bytes;
use hearth_engine::WriteBatch;
use hearth_types::{DeviceKey, Timestamp};
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{UnitWeighter, Weighter};

/// Bytes of rows in memory, about.
const ROWS: u64 = 64 << 20;
/// Devices whose deletes are in memory.
const DEVICES: usize = 100_000;
/// What a row costs beside its key and value.
const OVERHEAD: usize = 96;

/// Times of deletes, by path.
pub type Deletes = BTreeMap<String, Timestamp>;

/// A batch, and the rows in it that are to be remembered once it is on disk.
#[derive(Default)]
pub struct Merged {
    pub batch: WriteBatch,
    rows: Vec<(Vec<u8>, Bytes)>,
}

impl Merged {
    /// An empty one, with room for `ops` operations.
    pub fn with_capacity(ops: usize) -> Self {
        Self {
            batch: WriteBatch::with_capacity(ops),
            rows: Vec::new(),
        }
    }

    /// A row of the batch that is likely to be read again soon.
    pub fn remember(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.rows.push((key, value.into()));
    }

    /// The batch, and the rows.
    pub fn into_parts(self) -> (WriteBatch, Vec<(Vec<u8>, Bytes)>) {
        (self.batch, self.rows)
    }
}

#[derive(Clone)]
struct Bytewise;

impl Weighter<Vec<u8>, Bytes> for Bytewise {
    fn weight(&self, key: &Vec<u8>, value: &Bytes) -> u64 {
        (key.len() + value.len() + OVERHEAD) as u64
    }
}

type Rows = Cache<Vec<u8>, Bytes, Bytewise, RandomState>;
type Deleted = Cache<DeviceKey, Arc<Deletes>, UnitWeighter, RandomState>;

/// Rows of parameters and the cells that every Inform changes, by key (none is in both
/// keyspaces), and the deletes of devices.
pub struct Recent {
    rows: Rows,
    deleted: Deleted,
}

impl Recent {
    pub fn new() -> Self {
        let rows = usize::try_from(ROWS / 256).unwrap_or(usize::MAX);
        Self {
            rows: Rows::with(
                rows,
                ROWS,
                Bytewise,
                RandomState::new(),
                DefaultLifecycle::default(),
            ),
            deleted: Deleted::with(
                DEVICES,
                DEVICES as u64,
                UnitWeighter,
                RandomState::new(),
                DefaultLifecycle::default(),
            ),
        }
    }

    /// A row, if it was written lately.
    pub fn row(&self, key: &[u8]) -> Option<Bytes> {
        self.rows.get(key)
    }

    /// A row is about to change.
    pub fn forget(&self, key: &[u8]) {
        self.rows.remove(key);
    }

    /// Rows are on disk.
    pub fn remember(&self, rows: Vec<(Vec<u8>, Bytes)>) {
        for (key, value) in rows {
            self.rows.insert(key, value);
        }
    }

    /// A device's deletes, if they are known.
    pub fn deleted(&self, device: &DeviceKey) -> Option<Arc<Deletes>> {
        self.deleted.get(device)
    }

    /// A device's deletes as they are in the engine. The caller holds the device's lock.
    pub fn remember_deleted(&self, device: &DeviceKey, deletes: Arc<Deletes>) {
        self.deleted.insert(device.clone(), deletes);
    }

    /// A device's deletes are about to change.
    pub fn forget_deleted(&self, device: &DeviceKey) {
        self.deleted.remove(device);
    }
}

impl std::fmt::Debug for Recent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recent")
            .field("rows", &self.rows.len())
            .field("devices", &self.deleted.len())
            .finish()
    }
}
