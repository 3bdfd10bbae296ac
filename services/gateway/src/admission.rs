//! Admission: how much is worked on at once, and who goes first in a storm.
//!
//! Counters only: nothing here grows with the number of devices that wait. What is over a limit is
//! answered 503 with Retry-After before anything of it is accepted.

mod adaptive;
mod fair;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hearth_cwmp::{EventCode, EventStruct};
use hearth_types::TenantId;

use adaptive::Adaptive;
use fair::Shares;

use crate::config::GatewayConfig;

/// What an Inform is about, the most urgent first: the order in which a storm is let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    /// Someone asked the device to connect.
    Woken,
    /// `0 BOOTSTRAP`.
    Bootstrap,
    /// A transfer has ended.
    Transfer,
    /// `1 BOOT`, and the `M` events that come with it.
    Boot,
    /// A value changed, a diagnosis is done: something happened.
    Change,
    /// `2 PERIODIC` and the rest, which will come again by themselves.
    Periodic,
}

impl Class {
    pub(crate) const ALL: [Self; 6] = [
        Self::Woken,
        Self::Bootstrap,
        Self::Transfer,
        Self::Boot,
        Self::Change,
        Self::Periodic,
    ];

    /// The label in metrics.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Woken => "connection_request",
            Self::Bootstrap => "bootstrap",
            Self::Transfer => "transfer",
            Self::Boot => "boot",
            Self::Change => "change",
            Self::Periodic => "periodic",
        }
    }

    /// The most urgent class among an Inform's events.
    pub(crate) fn of(events: &[EventStruct]) -> Self {
        let classes = events.iter().map(|event| match event.code() {
            EventCode::ConnectionRequest => Self::Woken,
            EventCode::Bootstrap => Self::Bootstrap,
            EventCode::TransferComplete
            | EventCode::AutonomousTransferComplete
            | EventCode::DuStateChangeComplete
            | EventCode::AutonomousDuStateChangeComplete => Self::Transfer,
            EventCode::Boot | EventCode::Method(_) => Self::Boot,
            EventCode::Periodic | EventCode::Scheduled | EventCode::Heartbeat => Self::Periodic,
            _ => Self::Change,
        });
        classes.min().unwrap_or(Self::Periodic)
    }

    /// The share of the places, in percent, that this class may fill.
    const fn share(self) -> usize {
        match self {
            Self::Woken => 100,
            Self::Bootstrap | Self::Transfer => 95,
            Self::Boot => 85,
            Self::Change => 80,
            Self::Periodic => 70,
        }
    }
}

/// The counters.
#[derive(Debug)]
pub(crate) struct Admission {
    informs: AtomicUsize,
    limit: Adaptive,
    shares: Shares,
    bytes: AtomicUsize,
    max_bytes: usize,
    retry_after: Duration,
}

/// A place that an Inform is worked on in, given back when dropped.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    admission: &'a Admission,
    tenant: &'a TenantId,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.admission.informs.fetch_sub(1, Ordering::Relaxed);
        self.admission.shares.give_back(self.tenant);
    }
}

/// Taken bytes, given back when dropped.
#[derive(Debug)]
pub(crate) struct Taken<'a> {
    counter: &'a AtomicUsize,
    amount: usize,
}

impl Taken<'_> {
    /// How much it is.
    pub(crate) fn amount(&self) -> usize {
        self.amount
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.counter.fetch_sub(self.amount, Ordering::Relaxed);
    }
}

impl Admission {
    pub(crate) fn new(config: &GatewayConfig) -> Self {
        let target = config.inform_target.get();
        Self {
            informs: AtomicUsize::new(0),
            limit: Adaptive::new(config.min_informs, config.max_informs, target),
            shares: Shares::default(),
            bytes: AtomicUsize::new(0),
            max_bytes: config.max_body_in_flight.as_usize(),
            retry_after: config.retry_after.get(),
        }
    }

    /// A place for an Inform whose content isn't known yet.
    pub(crate) fn inform<'a>(&'a self, tenant: &'a TenantId) -> Option<Place<'a>> {
        let limit = self.limit.limit();
        let taken = self.informs.fetch_add(1, Ordering::Relaxed);
        if taken < limit && self.shares.take(tenant, taken, limit) {
            return Some(Place {
                admission: self,
                tenant,
            });
        }
        self.informs.fetch_sub(1, Ordering::Relaxed);
        self.limit.reached();
        None
    }

    /// Whether an Inform of this class may keep its place. At least one always may: a limit of
    /// one place is still a place for everybody.
    pub(crate) fn admits(&self, class: Class) -> bool {
        let share = (self.limit.limit().saturating_mul(class.share()) / 100).max(1);
        let admitted = self.informs.load(Ordering::Relaxed) <= share;
        if !admitted {
            self.limit.reached();
        }
        admitted
    }

    /// An Inform that had a place was answered; `failed` if something that the gateway needs for it
    /// was not there.
    pub(crate) fn answered(&self, since: Instant, failed: bool) {
        let in_flight = self.informs.load(Ordering::Relaxed);
        let now = Instant::now();
        let took = now.duration_since(since);
        self.limit.done(took, in_flight, failed, now);
    }

    /// How many Informs are worked on at once, at present.
    pub(crate) fn limit(&self) -> usize {
        self.limit.limit()
    }

    /// Room for a body.
    pub(crate) fn bytes(&self, amount: usize) -> Option<Taken<'_>> {
        take(&self.bytes, amount, self.max_bytes)
    }

    /// More room for a body that has some. On `false` there is none, and the body is to be given
    /// up: what it asked for is counted until it is.
    pub(crate) fn grow(&self, room: &mut Taken<'_>, amount: usize) -> bool {
        let had = room.amount;
        room.amount = had.saturating_add(amount);
        let before = self.bytes.fetch_add(amount, Ordering::Relaxed);
        // As in `take`: alone, it may be as large as it likes.
        before <= had || before.saturating_add(amount) <= self.max_bytes
    }

    /// Informs and bytes taken now.
    pub(crate) fn levels(&self) -> (usize, usize) {
        let get = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
        (get(&self.informs), get(&self.bytes))
    }

    /// Seconds for Retry-After: from the configured time to twice as long.
    pub(crate) fn retry_after_secs(&self) -> u64 {
        let least = self.retry_after.as_secs().max(1);
        rand::random_range(least..=least.saturating_mul(2))
    }
}

fn take(counter: &AtomicUsize, amount: usize, max: usize) -> Option<Taken<'_>> {
    let before = counter.fetch_add(amount, Ordering::Relaxed);
    // Made first, so that what is taken is given back on refusal too.
    let taken = Taken { counter, amount };
    // A body as large as the whole room is let in when it is alone.
    (before == 0 || before.saturating_add(amount) <= max).then_some(taken)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn events(codes: &[&str]) -> Vec<EventStruct> {
        let event = |code: &&str| EventStruct {
            event_code: (*code).to_owned(),
            command_key: String::new(),
        };
        codes.iter().map(event).collect()
    }

    fn admission(max_informs: usize, max_bytes: usize) -> Admission {
        let config = GatewayConfig {
            max_informs,
            ..GatewayConfig::default()
        };
        Admission {
            max_bytes,
            ..Admission::new(&config)
        }
    }

    #[test]
    fn the_most_urgent_event_decides() {
        for (codes, class) in [
            (&["2 PERIODIC"][..], Class::Periodic),
            (&["2 PERIODIC", "6 CONNECTION REQUEST"], Class::Woken),
            (&["1 BOOT", "0 BOOTSTRAP"], Class::Bootstrap),
            (&["1 BOOT", "M Reboot"], Class::Boot),
            (&["7 TRANSFER COMPLETE", "1 BOOT"], Class::Transfer),
            (&["4 VALUE CHANGE"], Class::Change),
            (&["X 012345 ODD"], Class::Change),
            (&[], Class::Periodic),
        ] {
            assert_eq!(Class::of(&events(codes)), class, "{codes:?}");
        }
    }

    #[test]
    fn periodic_informs_are_turned_away_first() {
        let (admission, tenant) = (admission(10, 100), TenantId::default());
        let held: Vec<_> = (0..8).map(|_| admission.inform(&tenant).unwrap()).collect();
        assert!(!admission.admits(Class::Periodic));
        assert!(admission.admits(Class::Boot));
        let more: Vec<_> = (0..2).map(|_| admission.inform(&tenant).unwrap()).collect();
        assert!(!admission.admits(Class::Bootstrap));
        assert!(admission.admits(Class::Woken));
        assert!(admission.inform(&tenant).is_none());
        drop((held, more));
        assert_eq!(admission.levels(), (0, 0), "a refusal takes nothing");
        let one = self::admission(1, 100);
        let _held = one.inform(&tenant).unwrap();
        assert!(one.admits(Class::Periodic));
    }

    #[test]
    fn bytes_are_bounded_and_one_large_body_goes_alone() {
        let admission = admission(10, 100);
        let large = admission.bytes(150).unwrap();
        assert!(admission.bytes(1).is_none());
        drop(large);
        let _a = admission.bytes(60).unwrap();
        assert!(admission.bytes(60).is_none());
        assert!(admission.bytes(40).is_some());
    }

    #[test]
    fn retry_after_is_spread() {
        let admission = admission(1, 1);
        let all: std::collections::BTreeSet<u64> =
            (0..200).map(|_| admission.retry_after_secs()).collect();
        assert!(all.iter().all(|secs| (30..=60).contains(secs)));
        assert!(all.len() > 5);
    }
}
