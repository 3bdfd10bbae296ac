//! Locks by key, striped: a fixed number of them, whatever the number of keys.

use std::hash::Hash;
use std::sync::Arc;

use ahash::RandomState;
use tokio::sync::{Mutex, OwnedMutexGuard};

/// More than there are writes under way at a time, so that two keys seldom share one.
const STRIPES: usize = 1024;

/// Locks held; let go of when dropped.
pub type Guards = Vec<OwnedMutexGuard<()>>;

/// The locks of one kind of key.
#[derive(Debug)]
pub struct Locks {
    stripes: Vec<Arc<Mutex<()>>>,
    hasher: RandomState,
}

impl Locks {
    /// Nothing is locked.
    pub fn new() -> Self {
        Self {
            stripes: (0..STRIPES).map(|_| Arc::default()).collect(),
            hasher: RandomState::new(),
        }
    }

    /// Locks these keys, in an order that is the same for all callers, so that none wait for each
    /// other.
    pub async fn all<K: Hash>(&self, keys: impl Iterator<Item = K>) -> Guards {
        let stripe = |key: K| {
            let hash = self.hasher.hash_one(key);
            usize::try_from(hash % STRIPES as u64).unwrap_or_default()
        };
        let mut stripes: Vec<usize> = keys.map(stripe).collect();
        stripes.sort_unstable();
        stripes.dedup();
        let mut guards = Guards::with_capacity(stripes.len() + 1);
        for stripe in stripes {
            guards.push(Arc::clone(&self.stripes[stripe]).lock_owned().await);
        }
        guards
    }
}
