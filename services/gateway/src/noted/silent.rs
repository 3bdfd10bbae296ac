//! Devices that never send credentials: their every request is challenged as a session's first one
//! is, and nothing follows.

use std::collections::HashMap;
use std::hash::BuildHasher as _;
use std::net::IpAddr;

use parking_lot::Mutex;

const SHARDS: usize = 16;
/// Addresses of a shard.
const ROOM: usize = 512;
/// So many challenges in a row make one, in µs so long after the first: the answer to a challenge
/// comes within seconds, and many devices may share an address.
const CHALLENGES: u32 = 3;
const PATIENCE: i64 = 10_000_000;
/// It is said again at most so often, in µs.
const AGAIN: i64 = 60_000_000;
/// An address is forgotten after so long, in µs.
const FORGOTTEN: i64 = 3_600_000_000;

struct Asked {
    first: i64,
    last: i64,
    /// Since it was said.
    count: u32,
    /// In a row.
    all: u32,
    said: i64,
}

type Shard = HashMap<IpAddr, Asked>;

/// Addresses that were challenged, and not served since.
#[derive(Default)]
pub(super) struct Silent {
    hasher: std::hash::RandomState,
    shards: [Mutex<Shard>; SHARDS],
}

impl Silent {
    fn shard(&self, address: IpAddr) -> &Mutex<Shard> {
        let hash = self.hasher.hash_one(address);
        &self.shards[usize::try_from(hash % SHARDS as u64).unwrap_or(0)]
    }

    /// A request without credentials came. How many it stands for, if it is to be said that none
    /// ever come from there.
    pub(super) fn asked(&self, address: IpAddr, now: i64) -> Option<u32> {
        let mut shard = self.shard(address).lock();
        if shard.len() >= ROOM && !shard.contains_key(&address) {
            shard.retain(|_, asked| now - asked.last < FORGOTTEN);
            if shard.len() >= ROOM {
                return None;
            }
        }
        let asked = shard.entry(address).or_insert(Asked {
            first: now,
            last: now,
            count: 0,
            all: 0,
            said: 0,
        });
        if now - asked.last >= FORGOTTEN {
            (asked.first, asked.count, asked.all) = (now, 0, 0);
        }
        asked.last = now;
        asked.count = asked.count.saturating_add(1);
        asked.all = asked.all.saturating_add(1);
        let silent = asked.all >= CHALLENGES && now - asked.first >= PATIENCE;
        if !silent || (asked.said != 0 && now - asked.said < AGAIN) {
            return None;
        }
        asked.said = now;
        Some(std::mem::take(&mut asked.count))
    }

    /// A request from there was served.
    pub(super) fn served(&self, address: IpAddr) {
        self.shard(address).lock().remove(&address);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const SECOND: i64 = 1_000_000;

    #[test]
    fn who_never_answers_a_challenge_is_noticed_once_a_minute() {
        let silent = Silent::default();
        let address = "192.0.2.1".parse().unwrap();
        let said: Vec<_> = (1..=200)
            .filter_map(|n| silent.asked(address, n * SECOND).map(|count| (n, count)))
            .collect();
        assert_eq!(said, [(11, 11), (71, 60), (131, 60), (191, 60)]);
    }

    #[test]
    fn sessions_that_begin_with_a_challenge_are_not() {
        let silent = Silent::default();
        let address = "192.0.2.1".parse().unwrap();
        for n in 1..=1000 {
            assert_eq!(silent.asked(address, n * SECOND), None);
            silent.served(address);
        }
        // A storm of devices behind one address: all are challenged before the first is served.
        for _ in 0..1000 {
            assert_eq!(silent.asked(address, 2000 * SECOND), None);
        }
        silent.served(address);
        assert_eq!(silent.asked(address, 2020 * SECOND), None);
    }

    #[test]
    fn addresses_are_bounded() {
        let silent = Silent::default();
        for n in 0..100_000_u32 {
            silent.asked(IpAddr::from(n.to_be_bytes()), SECOND);
        }
        let kept: usize = silent.shards.iter().map(|shard| shard.lock().len()).sum();
        assert!(kept <= SHARDS * ROOM);
        // They make room when they are old.
        let address = "192.0.2.1".parse().unwrap();
        silent.asked(address, SECOND + FORGOTTEN);
        assert!(silent.shard(address).lock().contains_key(&address));
    }
}
