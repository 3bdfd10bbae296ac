//! What a consumer of this process holds: messages that came and wait to be fetched, and messages
//! that were given out and are not acknowledged. No I/O.
//!
//! The server's time to acknowledge is a lease, short, so that the messages of a process that died
//! go to another one soon. While this process lives it renews the lease of what it holds, until a
//! message was out for the consumer's whole `ack_wait`: then it is given back.
//!
//! The server numbers what it gives to a consumer. A number that is missing here went to another
//! process, or was lost on the way: earlier messages may still be to come.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use async_nats::Subject;
use bytes::Bytes;
use tokio::time::Instant;

use super::wire::{Meta, Place};
use crate::Delivery;

/// A message that came.
#[derive(Debug)]
pub(crate) struct Arrived {
    pub(crate) place: Place,
    pub(crate) reply: Subject,
    pub(crate) meta: Meta,
    pub(crate) payload: Bytes,
    /// When its lease began or was renewed.
    pub(crate) leased: Instant,
}

/// A message that was given out.
#[derive(Debug)]
struct Out {
    reply: Subject,
    deliveries: u32,
    given: Instant,
    leased: Instant,
}

#[derive(Debug)]
pub(crate) struct Held {
    waiting: VecDeque<Arrived>,
    out: BTreeMap<u64, Out>,
    /// The number of the next delivery, if none goes elsewhere.
    next_turn: u64,
    /// Whether deliveries may be missing.
    gap: bool,
    /// Since when they are waited for.
    awaited: Option<Instant>,
    /// Whether the last one that came had been delivered before.
    again: bool,
    delivered: u64,
    redelivered: u64,
    dead: u64,
}

/// Messages whose lease is to be renewed, and those to give back.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Chores {
    pub(crate) renew: Vec<Subject>,
    pub(crate) give_back: Vec<Subject>,
}

impl Default for Held {
    fn default() -> Self {
        Self {
            waiting: VecDeque::new(),
            out: BTreeMap::new(),
            next_turn: 1,
            gap: false,
            awaited: None,
            again: false,
            delivered: 0,
            redelivered: 0,
            dead: 0,
        }
    }
}

impl Held {
    /// A message came, whatever becomes of it.
    pub(crate) fn note(&mut self, place: Place) {
        self.gap |= place.turn != self.next_turn;
        self.next_turn = place.turn + 1;
        self.again = place.deliveries > 1;
    }

    pub(crate) fn arrive(&mut self, message: Arrived) {
        self.waiting.push_back(message);
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Since when missing deliveries are waited for; `None`: none is missing.
    pub(crate) fn awaits(&mut self, now: Instant) -> Option<Instant> {
        self.gap.then(|| *self.awaited.get_or_insert(now))
    }

    /// Whether so many bytes wait, and what comes next is no earlier message: those that come again
    /// come before all others.
    pub(crate) fn is_full(&self, bytes: usize) -> bool {
        let waiting = self.waiting.iter().map(|message| message.payload.len());
        !self.again && waiting.sum::<usize>() >= bytes
    }

    /// How many unacknowledged messages are here.
    pub(crate) fn here(&self) -> u64 {
        let waiting = self.waiting.iter().map(|message| message.place.seq);
        let waiting: BTreeSet<u64> = waiting.filter(|seq| !self.out.contains_key(seq)).collect();
        u64::try_from(waiting.len() + self.out.len()).unwrap_or(u64::MAX)
    }

    /// The servers don't tell whether any is missing: the wait begins when they do.
    pub(crate) const fn cant_tell(&mut self) {
        self.awaited = None;
    }

    /// Nothing is missing any more, or isn't waited for: what waits is given out in the stream's
    /// order.
    pub(crate) fn close_gap(&mut self) {
        (self.gap, self.awaited) = (false, None);
        let waiting = self.waiting.make_contiguous();
        waiting.sort_by_key(|message| message.place.seq);
    }

    /// How many may be given out now.
    pub(crate) fn room(&self, max_in_flight: usize) -> usize {
        max_in_flight.saturating_sub(self.out.len())
    }

    /// Gives out up to `max` messages, and up to so many bytes, but at least one message.
    pub(crate) fn take(&mut self, max: usize, bytes: usize, now: Instant) -> Vec<Delivery> {
        let mut sum = 0;
        let fits = |(place, message): &(usize, &Arrived)| {
            sum += message.payload.len();
            *place == 0 || sum <= bytes
        };
        let waiting = self.waiting.iter().take(max).enumerate();
        let count = waiting.take_while(fits).count();
        let mut deliveries = Vec::with_capacity(count);
        for message in self.waiting.drain(..count) {
            let Place {
                seq, deliveries: n, ..
            } = message.place;
            let out = Out {
                reply: message.reply,
                deliveries: n,
                given: now,
                leased: message.leased,
            };
            self.out.insert(seq, out);
            self.delivered += 1;
            self.redelivered += u64::from(n > 1);
            deliveries.push(Delivery {
                seq,
                first_seq: message.meta.first_seq.unwrap_or(seq),
                stream: message.meta.stream,
                device: message.meta.device,
                time: message.meta.time,
                payload: message.payload,
                deliveries: n,
                traceparent: message.meta.traceparent,
            });
        }
        deliveries
    }

    /// Where to acknowledge a message, and how often it was delivered. None whose lease is over:
    /// another process may have it.
    pub(crate) fn reply(&self, seq: u64, now: Instant, lease: Duration) -> Option<(Subject, u32)> {
        let out = self.out.get(&seq)?;
        let is_ours = now.duration_since(out.leased) < lease;
        is_ours.then(|| (out.reply.clone(), out.deliveries))
    }

    pub(crate) fn done(&mut self, seq: u64) {
        self.out.remove(&seq);
    }

    pub(crate) fn died(&mut self) {
        self.dead += 1;
    }

    /// What is to be done about leases now. `lease` is the server's time to acknowledge, at most
    /// `ack_wait`; without a connection none is renewed. Forgets what isn't this process's any more.
    pub(crate) fn chores(
        &mut self,
        now: Instant,
        lease: Duration,
        ack_wait: Duration,
        is_connected: bool,
    ) -> Chores {
        let mut chores = Chores::default();
        let over = |leased: Instant| now.duration_since(leased) >= lease;
        let due = |leased: Instant| now.duration_since(leased) >= lease / 3;
        let renews = lease < ack_wait && is_connected;
        let waiting = self.waiting.len();
        self.waiting.retain_mut(|message| {
            if over(message.leased) {
                return false;
            }
            if renews && due(message.leased) {
                message.leased = now;
                chores.renew.push(message.reply.clone());
            }
            true
        });
        // What is forgotten comes again, after what may come meanwhile.
        self.gap |= self.waiting.len() < waiting;
        self.out.retain(|_, out| {
            if over(out.leased) {
                return false;
            }
            if now.duration_since(out.given) >= ack_wait {
                chores.give_back.push(out.reply.clone());
                return false;
            }
            if renews && due(out.leased) {
                out.leased = now;
                chores.renew.push(out.reply.clone());
            }
            true
        });
        chores
    }

    /// A message is given back, to come again at once: before those behind it.
    pub(crate) fn give_back(&mut self, seq: u64) {
        self.done(seq);
        self.gap = true;
    }

    /// Nothing more is fetched here for a while, and whatever comes then may not be the next: what
    /// wasn't given out, to give back.
    pub(crate) fn rest(&mut self) -> Vec<Subject> {
        self.next_turn = 0;
        (self.gap, self.awaited) = (false, None);
        self.waiting.drain(..).map(|m| m.reply).collect()
    }

    /// Everything, to give back.
    pub(crate) fn drain(&mut self) -> Vec<Subject> {
        let waiting = self.waiting.drain(..).map(|message| message.reply);
        let out = std::mem::take(&mut self.out);
        waiting.chain(out.into_values().map(|o| o.reply)).collect()
    }

    /// Messages delivered, redelivered, and dead, since the start.
    pub(crate) fn counts(&self) -> (u64, u64, u64) {
        (self.delivered, self.redelivered, self.dead)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::nats::wire;

    const LEASE: Duration = Duration::from_secs(9);
    const ACK_WAIT: Duration = Duration::from_secs(20);
    const MUCH: usize = 1 << 20;

    fn arrived(seq: u64, at: Instant) -> Arrived {
        Arrived {
            place: Place {
                seq,
                deliveries: 1,
                turn: seq,
            },
            reply: Subject::from(format!("reply.{seq}")),
            meta: wire::meta_of_unreadable("x.v1.inform.acme.1").unwrap(),
            payload: Bytes::new(),
            leased: at,
        }
    }

    fn replies(subjects: &[Subject]) -> Vec<&str> {
        subjects.iter().map(Subject::as_str).collect()
    }

    #[test]
    fn messages_wait_go_out_and_are_done() {
        let mut held = Held::default();
        let now = Instant::now();
        for seq in 1..=3 {
            held.arrive(arrived(seq, now));
        }
        assert_eq!((held.waiting(), held.room(2)), (3, 2));
        let out = held.take(2, MUCH, now);
        assert_eq!(out.iter().map(|d| d.seq).collect::<Vec<_>>(), [1, 2]);
        assert_eq!((held.waiting(), held.room(2)), (1, 0));
        assert_eq!(held.reply(2, now, LEASE).unwrap().0.as_str(), "reply.2");
        held.done(2);
        held.done(2);
        assert_eq!((held.reply(2, now, LEASE), held.room(2)), (None, 1));
        assert_eq!(replies(&held.drain()), ["reply.3", "reply.1"]);
        assert_eq!(held.counts(), (2, 0, 0));
    }

    #[test]
    fn a_large_message_goes_out_by_itself() {
        let mut held = Held::default();
        let now = Instant::now();
        for (seq, size) in (1..).zip([0, 40, 60, 1, 500, 2]) {
            held.arrive(Arrived {
                payload: vec![0; size].into(),
                ..arrived(seq, now)
            });
        }
        let mut out = || -> Vec<u64> {
            let taken = held.take(9, 100, now);
            taken.iter().map(|d| d.seq).collect()
        };
        let taken = [out(), out(), out(), out(), out()];
        assert_eq!(taken, [vec![1, 2, 3], vec![4], vec![5], vec![6], vec![]]);
    }

    #[test]
    fn leases_are_renewed_until_the_wait_is_over() {
        let mut held = Held::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        held.arrive(arrived(1, start));
        held.arrive(arrived(2, start));
        held.take(1, MUCH, start);
        assert_eq!(held.chores(at(2), LEASE, ACK_WAIT, true), Chores::default());
        for now in [3, 6, 9, 12, 15, 18] {
            let chores = held.chores(at(now), LEASE, ACK_WAIT, true);
            assert_eq!(replies(&chores.renew), ["reply.2", "reply.1"], "{now}");
        }
        let chores = held.chores(at(20), LEASE, ACK_WAIT, true);
        assert_eq!(replies(&chores.give_back), ["reply.1"]);
        // What waits for a fetch is not out: its wait didn't begin.
        assert_eq!((held.waiting(), held.reply(1, at(20), LEASE)), (1, None));
        // A process that was paused has lost what it held.
        held.chores(at(60), LEASE, ACK_WAIT, true);
        assert_eq!(held.waiting(), 0);
    }

    #[test]
    fn what_is_missing_is_noticed() {
        let mut held = Held::default();
        let now = Instant::now();
        let mut come = |seq, turn, deliveries| {
            let place = Place {
                seq,
                deliveries,
                turn,
            };
            held.note(place);
            held.arrive(Arrived {
                place,
                payload: vec![0; 10].into(),
                ..arrived(seq, now)
            });
            (held.gap, held.here(), held.is_full(20))
        };
        assert_eq!(come(1, 1, 1), (false, 1, false));
        assert_eq!(come(3, 3, 1), (true, 2, true), "the second went elsewhere");
        assert_eq!(
            come(2, 4, 2),
            (true, 3, false),
            "others may come again, too"
        );
        assert_eq!(come(2, 5, 3), (true, 3, false), "the same once more");
        assert_eq!(come(4, 6, 1), (true, 4, true));
        assert_eq!(held.awaits(now), Some(now));
        assert_eq!(held.awaits(now + LEASE), Some(now), "the first one counts");
        held.close_gap();
        let out: Vec<u64> = held.take(9, MUCH, now).iter().map(|d| d.seq).collect();
        assert_eq!((held.awaits(now), out), (None, vec![1, 2, 2, 3, 4]));
        assert_eq!(held.here(), 4, "what was given out is still here");
        // What is forgotten before it was given out comes again, behind what comes meanwhile.
        held.arrive(arrived(5, now));
        held.chores(now + LEASE, LEASE, ACK_WAIT, true);
        assert_eq!((held.waiting(), held.gap), (0, true));
        assert_eq!(held.rest(), []);
        assert_eq!(held.awaits(now), None);
        held.arrive(arrived(6, now));
        assert_eq!(held.take(1, MUCH, now).len(), 1);
        held.give_back(6);
        assert_eq!((held.here(), held.gap), (0, true));
        held.rest();
        let place = |turn| Place {
            seq: 9,
            deliveries: 1,
            turn,
        };
        held.note(place(7));
        assert!(held.gap, "others may have fetched meanwhile");
    }

    #[test]
    fn a_short_wait_is_the_servers_own() {
        let mut held = Held::default();
        let now = Instant::now();
        held.arrive(arrived(1, now));
        held.take(1, MUCH, now);
        let wait = Duration::from_secs(1);
        let almost = now + Duration::from_millis(900);
        assert_eq!(held.chores(almost, wait, wait, true), Chores::default());
        assert!(held.reply(1, now, LEASE).is_some());
        assert_eq!(held.chores(now + wait, wait, wait, true), Chores::default());
        assert!(held.reply(1, now, LEASE).is_none());
    }
}
