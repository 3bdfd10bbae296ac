//! A cache whose entries count for a limited time: another process may change what they hold.

use std::hash::Hash;
use std::time::{Duration, Instant};

use ahash::RandomState;
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{Equivalent, UnitWeighter};

/// At most so many entries, each for at most so long; for no time at all nothing is kept.
pub struct Expiring<K, V> {
    entries: Cache<K, (Instant, V), UnitWeighter, RandomState>,
    time: Duration,
}

impl<K: Eq + Hash, V: Clone> Expiring<K, V> {
    /// For `most` entries.
    pub fn new(most: usize, time: Duration) -> Self {
        let entries = Cache::with(
            most,
            most as u64,
            UnitWeighter,
            RandomState::new(),
            DefaultLifecycle::default(),
        );
        Self { entries, time }
    }

    /// An entry that still counts.
    pub fn get<Q: Hash + Equivalent<K> + ?Sized>(&self, key: &Q) -> Option<V> {
        let (since, value) = self.entries.get(key)?;
        (since.elapsed() < self.time).then_some(value)
    }

    /// An entry counts from now on.
    pub fn insert(&self, key: K, value: V) {
        if !self.time.is_zero() {
            self.entries.insert(key, (Instant::now(), value));
        }
    }

    /// An entry counts no more.
    pub fn forget<Q: Hash + Equivalent<K> + ?Sized>(&self, key: &Q) {
        self.entries.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_end_by_time_and_by_word() {
        let long = Expiring::new(10, Duration::from_secs(3600));
        long.insert(1, "a");
        long.insert(2, "b");
        long.forget(&2);
        assert_eq!((long.get(&1), long.get(&2)), (Some("a"), None));
        let over = Expiring::new(10, Duration::ZERO);
        over.insert(1, "a");
        assert_eq!(over.get(&1), None);
    }
}
