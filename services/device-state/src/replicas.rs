//! Several processes of the role, and how they share the parts without talking to each other.
//!
//! Each process writes a document now and then: that it lives, whom it sees, how many devices it
//! has online. From the documents of those that live, all compute the same owner of each part
//! (highest random weight). The rules that keep a part from having two owners:
//!
//! - A process counts on its parts only until `lease` after the *beginning* of the last beat that
//!   it wrote and read back; a process that was stopped for longer knows by its own clock.
//! - Others take a process for dead when its document hasn't changed for one and a half leases, by
//!   their clocks. Clocks are never compared.
//! - A new process takes parts only when each living one has written that it sees it: by then they
//!   have let go of what will be the new one's. One whose time has passed comes back as a new one,
//!   unless it is so little late that nobody can have taken it for dead.
//!
//! None of this has to be perfect: two owners for a moment cost double work, not data
//! (docs/adr/0009).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use hearth_runtime::CancellationToken;
use hearth_store::{Document, DocumentKind, Result};
use hearth_types::{TenantId, Timestamp};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use crate::core::Core;
use crate::memory::HEARD;
use crate::parts::PARTS;

const PREFIX: &str = "device-state/replica/";
/// Documents of processes that are read.
const MOST: usize = 1000;
/// Dead processes' documents are removed after so many leases.
const REMOVE_AFTER: u32 = 20;
/// While it waits to be seen, a process beats so much more often.
const HURRY: u32 = 5;
/// Beats in a lease; in a long one more, since what others change is to be heard.
const BEATS: u32 = 8;

/// What a process writes of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// Grows with each beat.
    beat: u64,
    /// Those that it takes for alive.
    sees: BTreeSet<String>,
    /// Devices online in its parts, by tenant.
    online: BTreeMap<String, u64>,
    /// What of devices' identities it changes now, or has changed a moment ago ([`crate::memory`]).
    /// An earlier version doesn't say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    changing: Option<Vec<u64>>,
}

/// Another process.
#[derive(Debug)]
struct Other {
    note: Note,
    /// When its note was seen to change.
    since: Instant,
}

/// What one process knows of all.
#[derive(Debug)]
pub struct Replicas {
    process: String,
    /// The process, and how often it came back.
    id: String,
    returns: u32,
    lease: Duration,
    others: HashMap<String, Other>,
    joined: bool,
    /// Another one took this process for dead. Its own clock doesn't always tell: that of a machine
    /// that is held stands still.
    taken_for_dead: bool,
    /// The time of the last note. The store keeps the one with the latest: a clock that is set back
    /// must not make this process silent.
    written: Timestamp,
}

impl Replicas {
    pub fn new(process: String, lease: Duration) -> Self {
        Self {
            id: process.clone(),
            process,
            returns: 0,
            lease,
            others: HashMap::new(),
            joined: false,
            taken_for_dead: false,
            written: Timestamp::ZERO,
        }
    }

    /// Comes back as another, after time in which it may have been taken for dead; answers who it
    /// was.
    fn come_back(&mut self) -> String {
        self.joined = false;
        self.taken_for_dead = false;
        self.returns += 1;
        let id = format!("{}.{}", self.process, self.returns);
        std::mem::replace(&mut self.id, id)
    }

    /// The time of the next note.
    fn time_of_note(&mut self, now: Timestamp) -> Timestamp {
        let next = self.written.saturating_add(Duration::from_micros(1));
        self.written = next.max(now);
        self.written
    }

    /// Takes in what all have written; answers whether something may have been missed: a process
    /// is gone with what it listed, or this one was.
    fn heard(&mut self, notes: Vec<(String, Note)>, now: Instant) -> bool {
        let present: BTreeSet<&String> = notes.iter().map(|(id, _)| id).collect();
        // Who ends in order takes its note away.
        let goes_on = |id: &String| present.iter().any(|other| process(other) == process(id));
        let lost = !self.others.keys().all(goes_on);
        self.others.retain(|id, _| present.contains(id));
        let me = &self.id;
        for (id, note) in notes.into_iter().filter(|(id, _)| id != me) {
            match self.others.get_mut(&id) {
                Some(other) if other.note == note => {}
                Some(other) => {
                    self.taken_for_dead |= other.note.sees.contains(me) && !note.sees.contains(me);
                    *other = Other { note, since: now };
                }
                None => {
                    let other = Other { note, since: now };
                    self.others.insert(id, other);
                }
            }
        }
        let seen = |other: &Other| other.note.sees.contains(&self.id);
        self.joined = self.joined || self.living(now).all(|(_, other)| seen(other));
        lost || self.taken_for_dead
    }

    fn living(&self, now: Instant) -> impl Iterator<Item = (&String, &Other)> {
        let dead_after = self.lease + self.lease / 2;
        let lives = move |other: &Other| now.duration_since(other.since) < dead_after;
        self.others.iter().filter(move |(_, other)| lives(other))
    }

    /// Those whose notes nobody needs.
    fn long_dead(&self, now: Instant) -> Vec<String> {
        let dead = |other: &Other| now.duration_since(other.since) > self.lease * REMOVE_AFTER;
        let dead = self.others.iter().filter(|(_, other)| dead(other));
        dead.map(|(id, _)| id.clone()).collect()
    }

    /// By part, whether it is this process's.
    fn owned(&self, now: Instant) -> Vec<bool> {
        let others: Vec<&String> = self.living(now).map(|(id, _)| id).collect();
        let mine = |part| {
            let weight = weight(&self.id, part);
            self.joined
                && !self.taken_for_dead
                && others
                    .iter()
                    .all(|other| weight_of(other, part) < (weight, &self.id))
        };
        (0..PARTS).map(mine).collect()
    }

    fn sees(&self, now: Instant) -> BTreeSet<String> {
        self.living(now).map(|(id, _)| id.clone()).collect()
    }

    /// Devices that the others have online.
    fn online(&self, tenant: &TenantId, now: Instant) -> u64 {
        let of = |other: &Other| other.note.online.get(tenant.as_str()).copied();
        self.living(now).filter_map(|(_, other)| of(other)).sum()
    }
}

/// The process whose id this is, however often it came back.
fn process(id: &str) -> &str {
    id.split_once('.').map_or(id, |(process, _)| process)
}

fn weight_of(id: &String, part: u16) -> (u64, &String) {
    (weight(id, part), id)
}

/// Whether a process that is late by so much may go on as itself. Others take it for dead half a
/// lease after its own time has passed, and it still has to write.
fn may_go_on(late: Duration, lease: Duration) -> bool {
    late < lease / 4
}

/// Whether what it has written may have come too late for that.
fn came_too_late(late: Duration, lease: Duration) -> bool {
    late >= lease / 2
}

/// The same in every process: FNV-1a, mixed by MurmurHash3's finalizer. One that came back gets what
/// it had.
fn weight(id: &str, part: u16) -> u64 {
    let process = process(id);
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in process.bytes().chain(part.to_be_bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^ (hash >> 33)
}

/// Keeps the parts of `core` right until `stop`; then lets go of them. Who flushes what is left
/// does so before it calls [`leave`].
pub async fn keep(core: Arc<Core>, stop: CancellationToken) {
    let Some(replicas) = &core.replicas else {
        return;
    };
    let lease = replicas.lock().lease;
    let mut beat = 0;
    while !stop.is_cancelled() {
        beat += 1;
        if let Err(error) = core.beat(replicas, beat).await {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "other replicas can't be told of this one");
        }
        let waits = !replicas.lock().joined;
        let beat = (lease / BEATS).min(HEARD / 3);
        let pause = beat / if waits { HURRY } else { 1 };
        tokio::select! {
            () = stop.cancelled() => {}
            () = sleep(pause) => {}
        }
    }
    core.parts.release();
}

/// Tells the others that this process has ended: they take its parts at their next beat.
pub async fn leave(core: &Core) {
    let Some(replicas) = &core.replicas else {
        return;
    };
    let key = format!("{PREFIX}{}", replicas.lock().id);
    if let Err(error) = core.remove_note(&key).await {
        let error = &error as &dyn std::error::Error;
        tracing::warn!(error, "other replicas can't be told that this one ends");
    }
}

impl Core {
    /// Writes this process's note, reads all, and takes the parts that follow.
    async fn beat(&self, replicas: &Mutex<Replicas>, beat: u64) -> Result<()> {
        let begun = Instant::now();
        let was = {
            let mut replicas = replicas.lock();
            let late = self.parts.late();
            let late = late.is_some_and(|late| !may_go_on(late, replicas.lease));
            let gone = late || replicas.taken_for_dead;
            (gone && replicas.joined).then(|| replicas.come_back())
        };
        let (id, lease, sees) = {
            let replicas = replicas.lock();
            (replicas.id.clone(), replicas.lease, replicas.sees(begun))
        };
        let online = self.online_here();
        // Nothing is told in between: what was written is read back.
        let mut told = self.told.lock().await;
        let note = Note {
            beat,
            sees: sees.clone(),
            online,
            changing: Some(self.changes.list()),
        };
        self.write_note(&id, &note).await?;
        *told = Some(note.clone());
        if let Some(was) = was {
            tracing::warn!("this replica was silent for too long and joins the others again");
            // Not before the new one lists what this process changes.
            self.remove_note(&format!("{PREFIX}{was}")).await?;
        }
        let late = self.parts.late();
        if replicas.lock().joined && late.is_some_and(|late| came_too_late(late, lease)) {
            // The next beat is another one's.
            return Ok(());
        }
        let tenant = TenantId::default();
        let kind = DocumentKind::Replica;
        let asked = Instant::now();
        let documents = self.store.documents(kind, &tenant, PREFIX, None, MOST);
        let notes = documents.await?.into_iter().filter_map(|document| {
            let id = document.key.strip_prefix(PREFIX)?.to_owned();
            // One that can't be read may list anything: it is as one that lists nothing.
            let note = serde_json::from_slice(&document.payload);
            Some((id, note.unwrap_or_default()))
        });
        let notes: Vec<(String, Note)> = notes.collect();
        if !notes.contains(&(id.clone(), note.clone())) {
            // What the others don't read they can't count on.
            tracing::warn!("this replica's note is not what it wrote");
            return Ok(());
        }
        let now = Instant::now();
        let others = notes.iter().filter(|(other, _)| *other != id);
        let changing = others.map(|(_, note)| note.changing.as_ref());
        self.changes.hear(changing, asked.into_std());
        let (owned, dead, sees_now) = {
            let mut replicas = replicas.lock();
            if replicas.heard(notes, now) {
                self.changes.lost_one();
            }
            (
                replicas.owned(now),
                replicas.long_dead(now),
                replicas.sees(now),
            )
        };
        self.parts.set(owned, begun + lease);
        if sees_now != sees {
            tracing::info!(others = sees_now.len(), "replicas of device-state changed");
            // Who waits to be seen need not wait for the next beat.
            let sees = sees_now;
            let note = Note { sees, ..note };
            self.write_note(&id, &note).await?;
            *told = Some(note);
        }
        drop(told);
        for id in dead {
            self.remove_note(&format!("{PREFIX}{id}")).await?;
        }
        Ok(())
    }

    /// Tells the others what this process changes now; `false`: it can't, and they may believe what
    /// they remember.
    pub async fn tell_changes(&self) -> Result<bool> {
        let Some(replicas) = &self.replicas else {
            return Ok(true);
        };
        let mut told = self.told.lock().await;
        let Some(note) = told.as_mut().filter(|_| !self.parts.has_lapsed()) else {
            return Ok(false);
        };
        note.changing = Some(self.changes.list());
        let id = replicas.lock().id.clone();
        self.write_note(&id, note).await?;
        Ok(true)
    }

    async fn write_note(&self, id: &str, note: &Note) -> Result<()> {
        let now = self.now();
        let time = self.replicas.as_ref();
        let time = time.map_or(now, |replicas| replicas.lock().time_of_note(now));
        let document = Document {
            key: format!("{PREFIX}{id}"),
            time,
            payload: serde_json::to_vec(note).unwrap_or_default(),
        };
        let kind = DocumentKind::Replica;
        self.store
            .put_document(kind, &TenantId::default(), document)
            .await
    }

    async fn remove_note(&self, key: &str) -> Result<()> {
        let kind = DocumentKind::Replica;
        let tenant = TenantId::default();
        let removed = self.store.delete_document(kind, &tenant, key).await;
        removed.map(drop)
    }

    /// Devices online in this process's parts, by tenant.
    fn online_here(&self) -> BTreeMap<String, u64> {
        let now = self.now();
        let mut counts = BTreeMap::new();
        for part in self.parts.all().filter(|part| self.parts.owns(part.index)) {
            let online = self.online(part.index).lock();
            for (tenant, count) in online.counts(now) {
                *counts.entry(tenant.as_str().to_owned()).or_default() += count;
            }
        }
        counts
    }

    /// How many devices of a tenant are online, in all processes.
    pub fn online_count(&self, tenant: &TenantId) -> u64 {
        let here = self.online_here();
        let here = here.get(tenant.as_str()).copied().unwrap_or_default();
        let others = self.replicas.as_ref();
        here + others.map_or(0, |r| r.lock().online(tenant, Instant::now()))
    }
}

#[cfg(test)]
mod tests;
