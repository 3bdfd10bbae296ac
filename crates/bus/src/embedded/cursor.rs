//! A consumer's place in the log: what is delivered, due again, and done. No I/O.
//!
//! Every number below `next` is done, or outstanding. That is all that has to be remembered, and
//! outstanding ones are bounded by `max_in_flight`.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

use bytes::{Buf, Bytes};
use tokio::time::Instant;

use super::frame;
use crate::{ConsumerSpec, ConsumerStats, Result};

/// A message that was delivered and is not done.
#[derive(Debug, Clone, Copy)]
struct Outstanding {
    deliveries: u32,
    /// When it may be delivered again.
    due: Instant,
}

/// A message to deliver again, or to give up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) seq: u64,
    /// How often it was delivered.
    pub(crate) deliveries: u32,
}

#[derive(Debug)]
pub(crate) struct Cursor {
    pub(crate) spec: ConsumerSpec,
    /// The first number that was not looked at.
    next: u64,
    outstanding: BTreeMap<u64, Outstanding>,
    /// Deliveries in the order in which they time out. Stale entries are skipped.
    timeouts: VecDeque<(Instant, u64)>,
    /// Negatively acknowledged ones.
    delayed: BinaryHeap<Reverse<(Instant, u64)>>,
    /// Whether it differs from what is on disk.
    dirty: bool,
    delivered: u64,
    redelivered: u64,
    dead: u64,
}

impl Cursor {
    pub(crate) fn new(spec: ConsumerSpec, next: u64) -> Self {
        Self {
            spec,
            next,
            outstanding: BTreeMap::new(),
            timeouts: VecDeque::new(),
            delayed: BinaryHeap::new(),
            dirty: true,
            delivered: 0,
            redelivered: 0,
            dead: 0,
        }
    }

    /// The first number that was not looked at.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// Every number below this one is done.
    pub(crate) fn floor(&self) -> u64 {
        self.outstanding
            .first_key_value()
            .map_or(self.next, |(seq, _)| *seq)
    }

    /// How many new messages may be delivered now.
    pub(crate) fn room(&self) -> usize {
        self.spec
            .max_in_flight
            .saturating_sub(self.outstanding.len())
    }

    /// Up to `max` messages that are due again, taken off the timers: each must be given to
    /// [`Cursor::redeliver`], [`Cursor::retry_at`] or [`Cursor::done`].
    pub(crate) fn take_due(&mut self, now: Instant, max: usize) -> Vec<Due> {
        let mut due = Vec::new();
        while due.len() < max {
            let Some((at, seq)) = self.pop_timer(now) else {
                break;
            };
            if let Some(out) = self.outstanding.get(&seq)
                && out.due == at
            {
                let deliveries = out.deliveries;
                due.push(Due { seq, deliveries });
            }
        }
        due.sort_by_key(|d| d.seq);
        due
    }

    fn pop_timer(&mut self, now: Instant) -> Option<(Instant, u64)> {
        if let Some((at, seq)) = self.timeouts.front().copied()
            && at <= now
        {
            self.timeouts.pop_front();
            return Some((at, seq));
        }
        match self.delayed.peek() {
            Some(Reverse((at, _))) if *at <= now => self.delayed.pop().map(|r| r.0),
            _ => None,
        }
    }

    /// When the next message is due again.
    pub(crate) fn next_due(&mut self) -> Option<Instant> {
        self.drop_stale();
        let timeout = self.timeouts.front().map(|t| t.0);
        let delayed = self.delayed.peek().map(|Reverse(t)| t.0);
        match (timeout, delayed) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Numbers below `next` were looked at; those in `seqs` are delivered for the first time.
    pub(crate) fn deliver(&mut self, seqs: impl Iterator<Item = u64>, next: u64, now: Instant) {
        let due = now + self.spec.ack_wait;
        for seq in seqs {
            self.delivered += 1;
            self.timeouts.push_back((due, seq));
            let deliveries = 1;
            self.outstanding
                .insert(seq, Outstanding { deliveries, due });
        }
        self.next = next;
        self.dirty = true;
    }

    /// Delivers again; false when it was acknowledged meanwhile.
    pub(crate) fn redeliver(&mut self, seq: u64, now: Instant) -> bool {
        let Some(out) = self.outstanding.get_mut(&seq) else {
            return false;
        };
        out.deliveries += 1;
        out.due = now + self.spec.ack_wait;
        self.timeouts.push_back((out.due, seq));
        self.delivered += 1;
        self.redelivered += 1;
        self.dirty = true;
        true
    }

    /// Tries again later, without counting a delivery.
    pub(crate) fn retry_at(&mut self, seq: u64, at: Instant) {
        if let Some(out) = self.outstanding.get_mut(&seq) {
            out.due = at;
            self.delayed.push(Reverse((at, seq)));
        }
    }

    /// It is worked on. True when it was outstanding.
    pub(crate) fn done(&mut self, seq: u64) -> bool {
        let was = self.outstanding.remove(&seq).is_some();
        self.dirty |= was;
        was
    }

    /// It became a dead letter.
    pub(crate) fn died(&mut self, seq: u64) {
        if self.done(seq) {
            self.dead += 1;
        }
    }

    /// How often an outstanding message was delivered.
    pub(crate) fn deliveries(&self, seq: u64) -> Option<u32> {
        self.outstanding.get(&seq).map(|o| o.deliveries)
    }

    // Acknowledged messages leave their timers behind; without this they would stay for ack_wait.
    fn drop_stale(&mut self) {
        while let Some((at, seq)) = self.timeouts.front() {
            if self.outstanding.get(seq).is_some_and(|o| o.due == *at) {
                break;
            }
            self.timeouts.pop_front();
        }
    }

    /// Whether it must be persisted; it counts as persisted from now on.
    pub(crate) fn take_dirty(&mut self) -> bool {
        self.drop_stale();
        std::mem::take(&mut self.dirty)
    }

    /// Persisting has failed.
    pub(crate) fn set_dirty(&mut self) {
        self.dirty = true;
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = frame::begin();
        out.extend_from_slice(&self.next.to_le_bytes());
        for (seq, outstanding) in &self.outstanding {
            out.extend_from_slice(&seq.to_le_bytes());
            out.extend_from_slice(&outstanding.deliveries.to_le_bytes());
        }
        out
    }

    /// What was outstanding is due at once: whoever had it is gone.
    pub(crate) fn decode(spec: ConsumerSpec, mut record: Bytes, now: Instant) -> Result<Self> {
        frame::version(&mut record)?;
        if record.len() < 8 || !(record.len() - 8).is_multiple_of(12) {
            return Err(frame::cut());
        }
        let mut cursor = Self::new(spec, record.get_u64_le());
        while record.has_remaining() {
            let seq = record.get_u64_le();
            let deliveries = record.get_u32_le();
            let due = now;
            cursor
                .outstanding
                .insert(seq, Outstanding { deliveries, due });
            cursor.timeouts.push_back((due, seq));
        }
        cursor.dirty = false;
        Ok(cursor)
    }

    /// Levels and counters; `last` is the last number on disk.
    pub(crate) fn stats(&self, last: u64) -> ConsumerStats {
        ConsumerStats {
            name: self.spec.name.clone(),
            lag: (last + 1).saturating_sub(self.floor()),
            in_flight: self.outstanding.len() as u64,
            delivered: self.delivered,
            redelivered: self.redelivered,
            dead: self.dead,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use super::*;
    use crate::Stream;

    fn cursor() -> Cursor {
        let mut spec = ConsumerSpec::new("c", [Stream::Inform]);
        spec.ack_wait = Duration::from_secs(10);
        spec.max_in_flight = 3;
        Cursor::new(spec, 1)
    }

    #[test]
    fn the_floor_is_the_oldest_outstanding() {
        let mut c = cursor();
        let now = Instant::now();
        c.deliver([1, 2, 4].into_iter(), 5, now);
        assert_eq!((c.floor(), c.room()), (1, 0));
        assert!(c.done(2));
        assert!(!c.done(2));
        assert_eq!(c.floor(), 1);
        c.done(1);
        assert_eq!(c.floor(), 4);
        c.done(4);
        assert_eq!((c.floor(), c.room()), (5, 3));
        assert_eq!(c.next_due(), None);
    }

    #[test]
    fn timeouts_and_delays_bring_messages_back_once() {
        let mut c = cursor();
        let now = Instant::now();
        c.deliver([1, 2].into_iter(), 3, now);
        c.retry_at(2, now + Duration::from_secs(1));
        assert_eq!(c.take_due(now, 9), []);
        assert_eq!(c.next_due(), Some(now + Duration::from_secs(1)));
        let later = now + Duration::from_secs(10);
        let due = c.take_due(later, 9);
        assert_eq!(due.iter().map(|d| d.seq).collect::<Vec<_>>(), [1, 2]);
        assert!(c.redeliver(1, later));
        assert_eq!(c.deliveries(1), Some(2));
        c.done(2);
        assert!(!c.redeliver(2, later));
        assert_eq!(c.take_due(later, 9), []);
    }

    #[test]
    fn it_is_the_same_after_a_restart() {
        let mut c = cursor();
        let now = Instant::now();
        c.deliver([1, 2, 3].into_iter(), 4, now);
        c.done(2);
        assert!(c.take_dirty() && !c.take_dirty());
        let mut again = Cursor::decode(c.spec.clone(), c.encode().into(), now).unwrap();
        assert_eq!((again.floor(), again.next()), (1, 4));
        let due = again.take_due(now, 9);
        assert_eq!(
            due[1],
            Due {
                seq: 3,
                deliveries: 1
            }
        );
        assert!(Cursor::decode(c.spec, Bytes::from_static(&[1, 2]), now).is_err());
    }
}
