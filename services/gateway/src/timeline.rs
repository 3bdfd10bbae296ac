//! What happens in sessions, exchange by exchange, for people to look at later.
//!
//! An idle session (an Inform that finds nothing to do, an empty POST, 204) leaves nothing here but
//! a short note of its Inform, in a slot that the next one overwrites: device-state knows it by the
//! Inform's event. What happens in other sessions is gathered in bounded memory, and told to
//! device-state by one event: when the session ends, when it is silent, when memory is short, and
//! when the process stops. It is told once and not tried again; nothing waits for it.

mod note;
mod publisher;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use hearth_proto::events::v1 as ev;
use hearth_types::TenantId;
use http_body::Body as _;
use parking_lot::Mutex;
use ulid::Ulid;

use crate::cookie::{Session, session_text};
use crate::edge::Turn;
use crate::http::Reply;
use crate::metrics::TimelineMetrics;
use crate::refusal::Refusal;

pub(crate) use note::{Lost, Note, Sent, codes, rpc};
pub(crate) use publisher::{run, tell_all};

/// Sessions are spread over so many locks.
const SHARDS: usize = 64;
/// Slots for notes of Informs that found nothing to do.
const SLOTS: usize = 4096;
/// Exchanges that are kept of a session.
const MAX_TURNS: usize = 200;
/// About what a session takes in memory, and what an exchange does, beside their texts.
const RECORD: usize = 400;
const EXCHANGE: usize = 160;
/// A session that goes on is told of after so many µs, and then again.
const LONG: i64 = 60_000_000;

/// A session as far as this process has seen it.
#[derive(Debug)]
struct Record {
    id: Ulid,
    tenant: TenantId,
    device: String,
    idle_secs: u16,
    /// µs since 1970 of its first exchange here, and of its last one.
    since: i64,
    last: i64,
    bytes: usize,
    told: ev::SessionRecord,
}

/// The Inform of a session that had nothing to do then: numbers only, since nearly all sessions
/// end like that.
#[derive(Debug)]
struct Informed {
    id: Ulid,
    time: i64,
    bytes: (u64, u64),
    spent_ms: u32,
}

impl Informed {
    fn turn(&self) -> ev::SessionTurn {
        ev::SessionTurn {
            time_us: self.time,
            received: "Inform".to_owned(),
            sent: "InformResponse".to_owned(),
            bytes_in: self.bytes.0,
            bytes_out: self.bytes.1,
            status: 200,
            spent_ms: self.spent_ms,
            ..ev::SessionTurn::default()
        }
    }
}

/// Sessions that go on, and those that are to be told.
pub(crate) struct Timeline {
    shards: Vec<Mutex<HashMap<u128, Record>>>,
    informed: Vec<Mutex<Option<Informed>>>,
    ended: Mutex<Vec<Record>>,
    /// Bytes of all of them, about.
    held: AtomicUsize,
    /// The most that may be.
    limit: usize,
    pub(crate) metrics: TimelineMetrics,
}

impl Timeline {
    /// With so many bytes at most; 0 for none at all.
    pub(crate) fn new(limit: usize, metrics: TimelineMetrics) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            informed: (0..SLOTS).map(|_| Mutex::default()).collect(),
            ended: Mutex::default(),
            held: AtomicUsize::new(0),
            limit,
            metrics,
        }
    }

    /// An exchange is over, and with `end` the session.
    pub(crate) fn answered(
        &self,
        turn: &Turn,
        session: &Session,
        sent: Sent<'_>,
        end: Option<&str>,
        reply: &Reply,
    ) {
        if self.limit == 0 {
            return;
        }
        let bytes_out = reply.body().size_hint().exact().unwrap_or(0);
        if !session.ask && turn.note.is_idle() {
            if turn.note.is_inform() {
                *self.slot(session.id).lock() = Some(Informed {
                    id: session.id,
                    time: turn.now,
                    bytes: (turn.note.bytes, bytes_out),
                    spent_ms: spent(turn),
                });
            }
            return;
        }
        let exchange = exchange(turn, &sent, bytes_out, reply.status().as_u16());
        self.add(turn, session, exchange, end.map(|end| (end, "")));
    }

    /// An exchange of a session was refused.
    pub(crate) fn refused(&self, turn: &Turn, session: &Session, refusal: &Refusal) {
        let end = match refusal {
            Refusal::Superseded => "fenced",
            Refusal::Unavailable { .. } => "failed",
            // It may come again at once.
            Refusal::Busy { .. } => "",
            _ => "refused",
        };
        let reason = refusal.reason();
        let status = refusal.status().as_u16();
        let exchange = exchange(turn, &Sent::nothing(), 0, status);
        let end = (!end.is_empty()).then_some((end, reason));
        self.add(turn, session, exchange, end);
    }

    /// Whether what happens in this session is gathered.
    pub(crate) const fn follows(&self, session: &Session) -> bool {
        self.limit > 0 && session.ask
    }

    fn slot(&self, id: Ulid) -> &Mutex<Option<Informed>> {
        &self.informed[place(id, SLOTS)]
    }

    fn add(
        &self,
        turn: &Turn,
        session: &Session,
        exchange: ev::SessionTurn,
        end: Option<(&str, &str)>,
    ) {
        let mut shard = self.shards[place(session.id, SHARDS)].lock();
        if self.held.load(Relaxed) > self.limit {
            self.metrics.dropped("memory");
            if let Some(record) = shard.get_mut(&session.id.0) {
                record.told.turns_left_out += 1;
            }
            return;
        }
        let record = shard.entry(session.id.0).or_insert_with(|| {
            let record = self.begin(turn, session);
            self.held.fetch_add(record.bytes, Relaxed);
            record
        });
        record.last = turn.now;
        match record.told.turns.len() < MAX_TURNS {
            true => {
                let bytes = weight(&exchange);
                record.bytes += bytes;
                self.held.fetch_add(bytes, Relaxed);
                record.told.turns.push(exchange);
            }
            false => record.told.turns_left_out += 1,
        }
        if let Some((end, detail)) = end {
            end.clone_into(&mut record.told.end);
            detail.clone_into(&mut record.told.end_detail);
            if let Some(record) = shard.remove(&session.id.0) {
                self.ended.lock().push(record);
            }
        }
    }

    /// The record of a session from now on, with the note of its Inform if that is still there.
    fn begin(&self, turn: &Turn, session: &Session) -> Record {
        let informed = {
            let mut slot = self.slot(session.id).lock();
            slot.take_if(|informed| informed.id == session.id)
        };
        let turns: Vec<_> = informed.iter().map(Informed::turn).collect();
        let start = turns.first().map_or(session.started, |turn| turn.time_us);
        let address = turn.peer.map(|peer| peer.ip().to_canonical().to_string());
        let told = ev::SessionRecord {
            start_us: start,
            address: address.unwrap_or_default(),
            events: turn.note.events(),
            proof: turn.note.proof.clone(),
            turns,
            ..ev::SessionRecord::default()
        };
        Record {
            id: session.id,
            tenant: session.tenant.clone(),
            device: session.device.clone(),
            idle_secs: session.idle_secs,
            since: turn.now,
            last: turn.now,
            bytes: RECORD + session.device.len() + told.turns.iter().map(weight).sum::<usize>(),
            told,
        }
    }

    /// Sessions that are to be told: those that ended, those that are silent at `now` or go on for
    /// long, and all of them when memory is short or nothing more comes.
    fn due(&self, now: i64, all: bool) -> Vec<Record> {
        let mut due = std::mem::take(&mut *self.ended.lock());
        let all = all || self.held.load(Relaxed) > self.limit / 2;
        for shard in &self.shards {
            let mut shard = shard.lock();
            let silent = |record: &Record| {
                now.saturating_sub(record.last) > i64::from(record.idle_secs) * 1_000_000
            };
            let long = |record: &Record| now.saturating_sub(record.since) > LONG;
            let due_now = |_: &u128, record: &mut Record| all || silent(record) || long(record);
            for (_, mut record) in shard.extract_if(due_now) {
                if silent(&record) {
                    "silent".clone_into(&mut record.told.end);
                }
                due.push(record);
            }
        }
        due
    }

    /// Records are no longer held.
    fn release(&self, bytes: usize) {
        self.held.fetch_sub(bytes, Relaxed);
    }
}

impl Record {
    fn session(&self) -> String {
        session_text(self.id)
    }
}

/// The random part of an id decides.
fn place(id: Ulid, places: usize) -> usize {
    let [.., a, b] = id.to_bytes();
    usize::from(u16::from_be_bytes([a, b])) % places
}

/// Milliseconds since its header was there.
fn spent(turn: &Turn) -> u32 {
    let spent = turn.edge.clock.now_micros().saturating_sub(turn.now);
    u32::try_from(spent / 1000).unwrap_or(0)
}

fn exchange(turn: &Turn, sent: &Sent<'_>, bytes_out: u64, status: u16) -> ev::SessionTurn {
    let note = &turn.note;
    let request_id = match note.answered.as_deref() {
        Some(answered) => answered,
        None => sent.request,
    };
    ev::SessionTurn {
        time_us: turn.now,
        received: note.received.clone().into_owned(),
        sent: sent.what.to_owned(),
        request_id: request_id.to_owned(),
        task: note::task(request_id),
        bytes_in: note.bytes,
        bytes_out,
        status: status.into(),
        fault_code: if note.fault > 0 {
            note.fault
        } else {
            sent.fault
        },
        spent_ms: spent(turn),
    }
}

fn weight(turn: &ev::SessionTurn) -> usize {
    EXCHANGE + turn.received.len() + turn.sent.len() + turn.request_id.len() + turn.task.len()
}

#[cfg(test)]
mod tests;
