//! Ids of messages published within the window, in memory and on disk.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use hearth_engine::{Keyspace, Scan, WriteBatch};
use hearth_types::Timestamp;

use super::frame;
use crate::{Result, Stream};

/// An id counts within its stream.
pub(crate) type Id = (Stream, Arc<str>);

/// The longest id in bytes.
pub(crate) const MAX_ID: usize = 255;

/// The ids of one commit: one record on disk, named by the first number of the commit.
struct Page {
    first: u64,
    at: Timestamp,
    ids: Vec<Id>,
}

pub(crate) struct Dedupe {
    keyspace: Keyspace,
    window: Duration,
    max: usize,
    known: HashMap<Id, u64>,
    pages: VecDeque<Page>,
}

impl Dedupe {
    /// Reads what is remembered on disk.
    pub(crate) fn open(keyspace: Keyspace, window: Duration, max: usize) -> Result<Self> {
        let mut dedupe = Self {
            keyspace,
            window,
            max,
            known: HashMap::new(),
            pages: VecDeque::new(),
        };
        for entry in dedupe.keyspace.scan(&Scan::all())? {
            let (at, ids) = decode(entry.value)?;
            let first = frame::seq_of(&entry.key)?;
            dedupe.remember(first, at, &ids);
        }
        Ok(dedupe)
    }

    /// The number of the message with this id.
    pub(crate) fn get(&self, id: &Id) -> Option<u64> {
        self.known.get(id).copied()
    }

    /// An id is taken from now on, by a message that isn't on disk yet.
    pub(crate) fn reserve(&mut self, id: &Id, seq: u64) {
        self.known.insert(id.clone(), seq);
    }

    /// Those messages were not accepted.
    pub(crate) fn release(&mut self, ids: &[(Id, u64)]) {
        for (id, _) in ids {
            self.known.remove(id);
        }
    }

    /// Adds a record of the ids to the batch that holds their messages.
    pub(crate) fn write(
        &self,
        batch: &mut WriteBatch,
        first: u64,
        at: Timestamp,
        ids: &[(Id, u64)],
    ) {
        if ids.is_empty() {
            return;
        }
        let mut out = frame::begin();
        out.extend_from_slice(&at.as_micros().to_le_bytes());
        for ((stream, id), seq) in ids {
            out.push(stream.code());
            out.push(u8::try_from(id.len()).unwrap_or(u8::MAX));
            out.extend_from_slice(id.as_bytes());
            out.extend_from_slice(&seq.to_le_bytes());
        }
        batch.put(&self.keyspace, frame::key(first), out);
    }

    /// The messages are on disk.
    pub(crate) fn remember(&mut self, first: u64, at: Timestamp, ids: &[(Id, u64)]) {
        if ids.is_empty() {
            return;
        }
        self.known.extend(ids.iter().cloned());
        let ids = ids.iter().map(|(id, _)| id.clone()).collect();
        self.pages.push_back(Page { first, at, ids });
    }

    /// Forgets ids older than the window, or too many, and adds the deletions to a batch. If the
    /// batch fails, the records are found and dropped after a restart.
    pub(crate) fn expire(&mut self, now: Timestamp, batch: &mut WriteBatch) {
        while let Some(page) = self.pages.front()
            && (now.saturating_since(page.at) > self.window || self.known.len() > self.max)
        {
            batch.delete(&self.keyspace, frame::key(page.first));
            for id in &page.ids {
                self.known.remove(id);
            }
            self.pages.pop_front();
        }
    }
}

fn decode(mut record: Bytes) -> Result<(Timestamp, Vec<(Id, u64)>)> {
    frame::version(&mut record)?;
    if record.len() < 8 {
        return Err(frame::cut());
    }
    let at = Timestamp::from_micros(record.get_i64_le());
    let mut ids = Vec::new();
    while record.has_remaining() {
        if record.len() < 2 {
            return Err(frame::cut());
        }
        let stream = Stream::from_code(record.get_u8());
        let len = usize::from(record.get_u8());
        if record.len() < len + 8 {
            return Err(frame::cut());
        }
        let id = String::from_utf8_lossy(&record.split_to(len)).into();
        let seq = record.get_u64_le();
        ids.extend(stream.map(|stream| ((stream, id), seq)));
    }
    Ok((at, ids))
}
