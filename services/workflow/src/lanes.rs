//! One device's turns run one after another: striped locks, and what is kept of a live session
//! that has work.

use crate::ledger::Work;
use hearth_types::DeviceKey;
use std::{collections::HashMap, time::Duration};
use tokio::sync::{Mutex, MutexGuard};

const STRIPES: usize = 1024;

/// What is kept while a device with open tasks is in session. It may be lost: the ledger has what
/// matters.
#[derive(Debug)]
pub(crate) struct Lane {
    /// The session's epoch.
    pub(crate) epoch: u64,
    /// How long a turn may take.
    pub(crate) lease: Duration,
    /// The task in flight, with steps that the ledger may not have yet.
    pub(crate) current: Option<Work>,
}

pub(crate) type Lanes = HashMap<DeviceKey, Lane, ahash::RandomState>;

/// The locks.
pub(crate) struct Stripes {
    hasher: ahash::RandomState,
    stripes: Vec<Mutex<Lanes>>,
}

impl Stripes {
    pub(crate) fn new() -> Self {
        Self {
            hasher: ahash::RandomState::new(),
            stripes: (0..STRIPES).map(|_| Mutex::default()).collect(),
        }
    }

    /// Locks a device, and the few that share its stripe.
    pub(crate) async fn lock(&self, device: &DeviceKey) -> MutexGuard<'_, Lanes> {
        let hash = self.hasher.hash_one(device);
        let index = usize::try_from(hash >> 32).unwrap_or(0) % STRIPES;
        self.stripes[index].lock().await
    }
}
