//! How many connections there may be, in total and from one peer.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;

use super::stats::{HttpStats, count};

/// The places for connections of one server.
#[derive(Debug, Clone)]
pub(super) struct Places {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    max_total: u64,
    max_per_peer: Option<usize>,
    peers: Mutex<HashMap<IpAddr, usize>>,
    stats: Arc<HttpStats>,
}

/// A taken place, given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    inner: Arc<Inner>,
    peer: Option<IpAddr>,
}

/// All places are taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused;

impl Places {
    pub(super) fn new(
        max_total: usize,
        max_per_peer: Option<usize>,
        stats: Arc<HttpStats>,
    ) -> Self {
        let max_total = u64::try_from(max_total).unwrap_or(u64::MAX);
        let peers = Mutex::new(HashMap::new());
        Self {
            inner: Arc::new(Inner {
                max_total,
                max_per_peer,
                peers,
                stats,
            }),
        }
    }

    /// Takes a place for a connection from `peer`, and counts it or its refusal. Of a proxy's
    /// connection the peer isn't known yet (see [`Place::of_peer`]).
    pub(super) fn take(&self, peer: Option<IpAddr>) -> Result<Place, Refused> {
        let inner = &self.inner;
        if inner.stats.open.fetch_add(1, Ordering::Relaxed) >= inner.max_total {
            inner.stats.open.fetch_sub(1, Ordering::Relaxed);
            count(&inner.stats.refused_total);
            return Err(Refused);
        }
        let mut place = Place {
            inner: inner.clone(),
            peer: None,
        };
        if let Some(peer) = peer {
            place.of_peer(peer)?;
        }
        count(&inner.stats.accepted);
        Ok(place)
    }
}

impl Place {
    /// Counts the place as one of `peer`'s.
    pub(super) fn of_peer(&mut self, peer: IpAddr) -> Result<(), Refused> {
        let Some(max) = self.inner.max_per_peer else {
            return Ok(());
        };
        let network = network_of(peer);
        let mut peers = self.inner.peers.lock();
        let open = peers.entry(network).or_insert(0);
        if *open >= max {
            drop(peers);
            count(&self.inner.stats.refused_peer);
            return Err(Refused);
        }
        *open += 1;
        self.peer = Some(network);
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.inner.stats.open.fetch_sub(1, Ordering::Relaxed);
        if let Some(network) = self.peer {
            let mut peers = self.inner.peers.lock();
            if let Some(open) = peers.get_mut(&network) {
                *open -= 1;
                if *open == 0 {
                    peers.remove(&network);
                }
            }
        }
    }
}

/// What counts as one peer: an IPv4 address, or the /64 that one customer is given in IPv6.
fn network_of(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        v4 @ IpAddr::V4(_) => v4,
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn places_are_given_back() {
        let stats = Arc::new(HttpStats::default());
        let places = Places::new(3, Some(2), stats.clone());
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let first = places.take(Some(ip("192.0.2.1"))).unwrap();
        // The same address, seen through a dual-stack socket.
        let _second = places.take(Some(ip("::ffff:192.0.2.1"))).unwrap();
        assert!(places.take(Some(ip("192.0.2.1"))).is_err());
        let _third = places.take(Some(ip("2001:db8::1"))).unwrap();
        assert!(
            places.take(Some(ip("192.0.2.9"))).is_err(),
            "three in total"
        );
        drop(first);
        let _again = places.take(Some(ip("192.0.2.1"))).unwrap();
        let seen = stats.snapshot();
        assert_eq!((seen.open, seen.accepted), (3, 4));
        assert_eq!((seen.refused_peer, seen.refused_total), (1, 1));
    }

    #[test]
    fn an_ipv6_peer_is_its_64() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(
            network_of(ip("2001:db8::1")),
            network_of(ip("2001:db8::ffff:1"))
        );
        assert_ne!(
            network_of(ip("2001:db8::1")),
            network_of(ip("2001:db8:0:1::1"))
        );
    }
}
