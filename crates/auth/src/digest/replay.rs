//! Remembers which digest responses were used, in bounded memory.
//!
//! The key is (nonce, cnonce, nc): a CPE that starts again at `nc=00000001` with a fresh cnonce is
//! not a replay. Nonces expire, so two generations of keys are enough. When one fills up
//! before its time, the older is forgotten and with it all nonces made before it: they become
//! stale, which costs their users one more round trip and can't be used for a replay. The memory
//! is this process's: replicas don't share it.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use hearth_types::Timestamp;
use parking_lot::Mutex;

const SHARDS: usize = 16;

/// The memory of used responses.
#[derive(Debug)]
pub struct Replays {
    hasher: RandomState,
    shards: Vec<Mutex<Generations>>,
    /// Keys in one generation of one shard.
    capacity: usize,
    lifetime: Duration,
}

#[derive(Debug, Default)]
struct Generations {
    current: HashSet<u64>,
    previous: HashSet<u64>,
    /// When `current` began.
    since: Timestamp,
    /// Nonces made until then are not known any more.
    floor: Timestamp,
}

impl Replays {
    /// A memory of about `capacity` responses (at least 16, about 16 bytes each) for nonces that
    /// live for `lifetime`.
    pub fn new(capacity: usize, lifetime: Duration) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        let capacity = (capacity / SHARDS / 2).max(1);
        Self {
            hasher: RandomState::new(),
            shards,
            capacity,
            lifetime,
        }
    }

    /// Notes a response's use; `false` when it was used before, or when its nonce is older than
    /// what is remembered.
    pub fn first_use(
        &self,
        nonce: &str,
        nonce_made: Timestamp,
        cnonce: &str,
        nc: u32,
        now: Timestamp,
    ) -> bool {
        // A hash under a random key: its collisions can't be chosen, and one by chance only
        // costs a stale challenge.
        let key = self.hasher.hash_one((nonce, cnonce, nc));
        let shard = usize::try_from(key % SHARDS as u64).unwrap_or(0);
        let mut generations = self.shards[shard].lock();
        generations.turn_over(now, self.lifetime, self.capacity);
        if nonce_made <= generations.floor || generations.previous.contains(&key) {
            return false;
        }
        generations.current.insert(key)
    }
}

impl Generations {
    fn turn_over(&mut self, now: Timestamp, lifetime: Duration, capacity: usize) {
        if !self.since.is_set() {
            self.since = now;
        }
        let expired = now.saturating_since(self.since) >= lifetime;
        if !expired && self.current.len() < capacity {
            return;
        }
        if !expired || now.saturating_since(self.since) < lifetime * 2 {
            // What `previous` held was used before `since`; a nonce made before that may have
            // been used then.
            self.previous = std::mem::take(&mut self.current);
            self.floor = self.floor.max(self.since);
        } else {
            // Quiet for long: every nonce of that time has expired.
            self.previous.clear();
            self.current.clear();
            self.floor = self.floor.max(self.since);
        }
        self.since = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFE: Duration = Duration::from_secs(300);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(1_700_000_000_000_000 + seconds * 1_000_000)
    }

    #[test]
    fn a_response_is_good_once() {
        let replays = Replays::new(1000, LIFE);
        let first = |cnonce, nc, t| replays.first_use("n", at(0), cnonce, nc, at(t));
        assert!(first("c", 1, 0));
        assert!(!first("c", 1, 1));
        assert!(first("c", 2, 2));
        assert!(first("fresh", 1, 3), "restarted with a fresh cnonce");
        assert!(
            first("c", 1000, 4),
            "gaps are fine: requests may overtake each other"
        );
        assert!(!first("c", 2, 299));
        assert!(
            !first("c", 1, 301),
            "still known in the previous generation"
        );
    }

    #[test]
    fn memory_is_bounded_and_forgetting_is_safe() {
        let replays = Replays::new(320, LIFE);
        for nc in 0..10_000 {
            replays.first_use("n", at(0), "c", nc, at(1));
        }
        let kept: usize = replays
            .shards
            .iter()
            .map(|shard| {
                let generations = shard.lock();
                generations.current.len() + generations.previous.len()
            })
            .sum();
        assert!(kept <= 320, "{kept}");
        // Used long ago in count, forgotten, and refused all the same.
        for nc in 0..10_000 {
            assert!(!replays.first_use("n", at(0), "c", nc, at(2)));
        }
        assert!(
            replays.first_use("new", at(3), "c", 1, at(3)),
            "a fresh nonce works"
        );
    }
}
