//! TLS session tickets that every replica opens (RFC 5077, RFC 8446 4.6.1).
//!
//! A ticket is sealed with a key of the shared ring, as the session cookie is: it opens at any
//! replica, and `hearth keys` rotates the keys without a break. rustls would rather have tickets
//! end by keys that are forgotten; a ring that outlives them can't do that, so the time of making
//! is sealed within, and older tickets are not opened. Who steals the ring can read TLS 1.2
//! sessions that were resumed; TLS 1.3 makes new keys at every resumption.

use std::fmt;
use std::sync::Arc;

use hearth_auth::Sealer;
use hearth_runtime::Clock;
use rustls::server::ProducesTickets;

/// Binds a ticket to this use and layout.
const PLACE: &[u8] = b"tls-ticket-1";
/// Clocks of replicas may differ by so much, in seconds.
const SKEW: u64 = 60;

/// Makes and opens tickets.
pub(crate) struct Tickets {
    sealer: Sealer,
    clock: Arc<dyn Clock>,
    lifetime: u32,
}

impl Tickets {
    pub(crate) fn new(
        sealer: Sealer,
        clock: Arc<dyn Clock>,
        lifetime: std::time::Duration,
    ) -> Self {
        let lifetime = u32::try_from(lifetime.as_secs()).unwrap_or(u32::MAX);
        Self {
            sealer,
            clock,
            lifetime,
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.clock.now_micros() / 1_000_000).unwrap_or(0)
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tickets(********)")
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        self.lifetime
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let mut bytes = zeroize::Zeroizing::new(Vec::with_capacity(8 + plain.len()));
        bytes.extend_from_slice(&self.now().to_be_bytes());
        bytes.extend_from_slice(plain);
        self.sealer.seal(PLACE, &bytes).ok()
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        let mut bytes = self.sealer.open(PLACE, cipher).ok()?;
        let made = u64::from_be_bytes(*bytes.first_chunk()?);
        let now = self.now();
        let alive = made <= now.saturating_add(SKEW)
            && now <= made.saturating_add(u64::from(self.lifetime));
        alive.then(|| bytes.split_off(8))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use hearth_auth::{SecretKeys, keyring, labels};
    use hearth_runtime::ManualClock;
    use std::time::Duration;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn a_ticket_opens_at_another_replica_and_dies_of_age() {
        let keys = SecretKeys::from_seed([3; 32]);
        let clock = ManualClock::at(1_800_000_000_000_000);
        let replica = || {
            Tickets::new(
                keys.sealer(labels::TLS_TICKET).unwrap(),
                clock.shared(),
                HOUR,
            )
        };
        let ticket = replica().encrypt(b"session").unwrap();
        assert_eq!(replica().decrypt(&ticket).unwrap(), b"session");
        let mut changed = ticket.clone();
        *changed.last_mut().unwrap() ^= 1;
        assert!(replica().decrypt(&changed).is_none());
        for junk in [&b""[..], b"x", &[1; 40]] {
            assert!(replica().decrypt(junk).is_none());
        }
        clock.advance(HOUR + Duration::from_secs(1));
        assert!(replica().decrypt(&ticket).is_none());
        let cookie = keys.sealer(labels::COOKIE).unwrap();
        let other = Tickets::new(cookie, clock.shared(), HOUR);
        let ticket = other.encrypt(b"session").unwrap();
        assert!(
            replica().decrypt(&ticket).is_none(),
            "a key for each purpose"
        );
    }

    #[test]
    fn a_ticket_outlives_a_rotation() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ring");
        keyring::create(&path).unwrap();
        let clock = ManualClock::at(1_800_000_000_000_000);
        let replica = || {
            let keys = SecretKeys::load(&path).unwrap();
            Tickets::new(
                keys.sealer(labels::TLS_TICKET).unwrap(),
                clock.shared(),
                HOUR,
            )
        };
        let before = replica();
        keyring::stage(&path).unwrap();
        let staged = replica();
        keyring::promote(&path).unwrap();
        let after = replica();
        let all = [before, staged, after];
        // The first one knows nothing of the new key: it must be gone when that is used.
        for (from, to) in [(0, 1), (1, 0), (1, 2), (2, 1), (0, 2)] {
            let ticket = all[from].encrypt(b"x").unwrap();
            assert_eq!(all[to].decrypt(&ticket).unwrap(), b"x", "{from} to {to}");
        }
        keyring::retire(&path, 1).unwrap();
        let ticket = all[0].encrypt(b"x").unwrap();
        assert!(replica().decrypt(&ticket).is_none());
    }
}
