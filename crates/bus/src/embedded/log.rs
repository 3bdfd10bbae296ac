//! The log: records on disk, the newest ones also in memory, and what may be removed.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use hearth_engine::{Keyspace, Scan, WriteBatch};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::frame::{self, Group, Message};
use crate::{Error, Result};

/// Bytes read from disk at once for a consumer that is behind.
const READ_BYTES: usize = 4 << 20;
/// Bytes kept in memory of messages that every consumer has worked on, for watchers.
const WORKED_BYTES: usize = 4 << 20;

pub(crate) struct Log {
    keyspace: Keyspace,
    tail: Mutex<Tail>,
    index: Mutex<Index>,
    last: watch::Sender<u64>,
    /// Bytes in the index, for readers that mustn't wait.
    backlog: AtomicU64,
    /// The first number of this process.
    opened: u64,
    tail_messages: usize,
    tail_bytes: usize,
}

/// The newest groups. Every message from `from` on is here.
struct Tail {
    from: u64,
    groups: VecDeque<Arc<Group>>,
    messages: usize,
    bytes: usize,
}

/// What lies on disk.
#[derive(Default)]
struct Index {
    records: VecDeque<Record>,
    bytes: u64,
    /// Records from before this process are listed too; nothing is removed before they are.
    complete: bool,
}

#[derive(Clone, Copy)]
struct Record {
    first: u64,
    end: u64,
    bytes: u64,
}

/// Records taken out of the index, to be deleted or put back.
#[derive(Default)]
pub(crate) struct Trim {
    records: Vec<Record>,
}

impl Log {
    /// Opens the log; `floor` is the lowest number that may be given next.
    pub(crate) fn open(
        keyspace: Keyspace,
        floor: u64,
        tail_messages: usize,
        tail_bytes: usize,
    ) -> Result<Self> {
        let end = match keyspace.last()? {
            Some(entry) => Group::decode(frame::seq_of(&entry.key)?, entry.value)?.end(),
            None => 1,
        };
        let next = end.max(floor).max(1);
        Ok(Self {
            keyspace,
            tail: Mutex::new(Tail {
                from: next,
                groups: VecDeque::new(),
                messages: 0,
                bytes: 0,
            }),
            index: Mutex::default(),
            last: watch::Sender::new(next - 1),
            backlog: AtomicU64::new(0),
            opened: next,
            tail_messages,
            tail_bytes,
        })
    }

    /// The last number on disk.
    pub(crate) fn last(&self) -> u64 {
        *self.last.borrow()
    }

    /// Changes with the last number.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.last.subscribe()
    }

    /// The lowest number from which on every message is in memory.
    pub(crate) fn tail_from(&self) -> u64 {
        self.tail.lock().from
    }

    /// Adds a group's record to a batch.
    pub(crate) fn write(&self, batch: &mut WriteBatch, group: &Group) {
        batch.put(&self.keyspace, frame::key(group.first), group.encode());
    }

    /// Groups are on disk: consumers may see them.
    pub(crate) fn append(&self, groups: Vec<Arc<Group>>) {
        let Some(last) = groups.last().map(|g| g.end() - 1) else {
            return;
        };
        let mut index = self.index.lock();
        for group in &groups {
            let bytes = group.bytes as u64;
            index.bytes += bytes;
            index.records.push_back(Record {
                first: group.first,
                end: group.end(),
                bytes,
            });
        }
        self.backlog.store(index.bytes, Relaxed);
        drop(index);
        self.tail
            .lock()
            .append(groups, self.tail_messages, self.tail_bytes);
        self.last.send_replace(last);
    }

    /// Groups with messages from `seq` on: from memory, or `None` when they are on disk only.
    pub(crate) fn read_tail(&self, seq: u64, max_messages: usize) -> Option<Vec<Arc<Group>>> {
        let tail = self.tail.lock();
        if seq < tail.from {
            return None;
        }
        let start = tail.groups.partition_point(|g| g.end() <= seq);
        let mut found = 0;
        let groups = tail.groups.range(start..).take_while(|g| {
            let more = found < max_messages;
            found += g.messages.len();
            more
        });
        Some(groups.cloned().collect())
    }

    /// Groups with messages from `seq` on, at least `max_messages` messages if there are so many
    /// in memory. From disk a page is read, which may hold fewer.
    pub(crate) async fn read(
        self: &Arc<Self>,
        seq: u64,
        max_messages: usize,
    ) -> Result<Vec<Arc<Group>>> {
        if let Some(groups) = self.read_tail(seq, max_messages) {
            return Ok(groups);
        }
        let log = Arc::clone(self);
        let from = self.tail_from();
        let page = tokio::task::spawn_blocking(move || log.read_disk(seq, from));
        let groups = match page.await {
            Ok(groups) => groups?,
            Err(_) => return Err(Error::Closed),
        };
        if groups.is_empty() {
            // Nothing but a gap lies between.
            return Ok(self
                .read_tail(seq.max(from), max_messages)
                .unwrap_or_default());
        }
        Ok(groups)
    }

    /// The message of a number.
    pub(crate) async fn get(self: &Arc<Self>, seq: u64) -> Result<Option<Message>> {
        let groups = match self.read_tail(seq, 1) {
            Some(groups) => groups,
            None => {
                let log = Arc::clone(self);
                let found = tokio::task::spawn_blocking(move || log.holding(seq)).await;
                let group = found.map_err(|_| Error::Closed)??;
                group.into_iter().map(Arc::new).collect()
            }
        };
        Ok(groups.first().and_then(|g| g.get(seq)).cloned())
    }

    /// The record on disk that holds a number.
    fn holding(&self, seq: u64) -> Result<Option<Group>> {
        let before = Scan::range(frame::key(0), frame::key(seq + 1)).reverse();
        let Some(entry) = self.keyspace.scan(&before.limit(1))?.pop() else {
            return Ok(None);
        };
        let group = Group::decode(frame::seq_of(&entry.key)?, entry.value)?;
        Ok((group.end() > seq).then_some(group))
    }

    /// A page of groups with messages from `seq` on and below `from`.
    fn read_disk(&self, seq: u64, from: u64) -> Result<Vec<Arc<Group>>> {
        let mut groups: Vec<_> = self.holding(seq)?.into_iter().map(Arc::new).collect();
        let rest = Scan::range(frame::key(seq + 1), frame::key(from.max(seq + 1)));
        for entry in self.keyspace.scan(&rest.max_bytes(READ_BYTES))? {
            let group = Group::decode(frame::seq_of(&entry.key)?, entry.value)?;
            groups.push(Arc::new(group));
        }
        Ok(groups)
    }

    /// Lists the records from before this process. Blocks: it reads them all.
    pub(crate) fn load_index(&self) -> Result<()> {
        let mut old = VecDeque::new();
        let mut bytes = 0;
        let mut failed = None;
        let range = Scan::range(frame::key(0), frame::key(self.opened));
        self.keyspace
            .scan_with(&range, |key, value| match record_of(key, value) {
                Ok(record) => {
                    bytes += record.bytes;
                    old.push_back(record);
                    ControlFlow::Continue(())
                }
                Err(error) => {
                    failed = Some(error);
                    ControlFlow::Break(())
                }
            })?;
        if let Some(error) = failed {
            return Err(error);
        }
        let mut index = self.index.lock();
        old.extend(index.records.drain(..));
        index.records = old;
        index.bytes += bytes;
        index.complete = true;
        self.backlog.store(index.bytes, Relaxed);
        Ok(())
    }

    /// Bytes on disk that weren't removed yet.
    pub(crate) fn bytes(&self) -> u64 {
        self.backlog.load(Relaxed)
    }

    /// Takes out records that end at or below `floor`, or, when nobody claims them, until `keep`
    /// bytes are left. Returns them with the new lowest number.
    pub(crate) fn trim(&self, floor: Option<u64>, keep: u64) -> (Trim, u64) {
        let mut index = self.index.lock();
        let mut trim = Trim::default();
        while index.complete
            && let Some(record) = index.records.front().copied()
            && floor.map_or(index.bytes > keep, |floor| record.end <= floor)
        {
            index.records.pop_front();
            index.bytes -= record.bytes;
            trim.records.push(record);
        }
        self.backlog.store(index.bytes, Relaxed);
        drop(index);
        if let Some(floor) = floor {
            self.tail.lock().release(floor);
        }
        let lowest = trim.records.last().map_or(0, |r| r.end);
        (trim, lowest)
    }

    /// Adds deletions to a batch.
    pub(crate) fn delete(&self, batch: &mut WriteBatch, trim: &Trim) {
        for record in &trim.records {
            batch.delete(&self.keyspace, frame::key(record.first));
        }
    }

    /// The deletions have failed.
    pub(crate) fn untrim(&self, trim: Trim) {
        let mut index = self.index.lock();
        for record in trim.records.into_iter().rev() {
            index.bytes += record.bytes;
            index.records.push_front(record);
        }
        self.backlog.store(index.bytes, Relaxed);
    }
}

impl Tail {
    fn append(&mut self, groups: Vec<Arc<Group>>, max_messages: usize, max_bytes: usize) {
        for group in groups {
            self.messages += group.messages.len();
            self.bytes += group.bytes;
            self.groups.push_back(group);
        }
        // The newest group stays whatever its size.
        while (self.messages > max_messages || self.bytes > max_bytes) && self.groups.len() > 1 {
            if let Some(old) = self.groups.pop_front() {
                self.forget(&old);
            }
        }
    }
}

impl Tail {
    /// Gives memory back that holds messages below `floor`, which nobody but a watcher wants: memory
    /// that is used again while it is in the processor's cache makes publishing cheaper.
    fn release(&mut self, floor: u64) {
        while self.bytes > WORKED_BYTES
            && let Some(old) = self.groups.pop_front_if(|old| old.end() <= floor)
        {
            self.forget(&old);
        }
    }

    fn forget(&mut self, old: &Group) {
        self.messages -= old.messages.len();
        self.bytes -= old.bytes;
        self.from = old.end();
    }
}

impl Trim {
    pub(crate) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }
}

fn record_of(key: &[u8], value: &[u8]) -> Result<Record> {
    let first = frame::seq_of(key)?;
    let count = value
        .get(1..5)
        .and_then(|bytes| bytes.try_into().ok())
        .map(u32::from_le_bytes)
        .ok_or_else(frame::cut)?;
    Ok(Record {
        first,
        end: first + u64::from(count),
        bytes: value.len() as u64,
    })
}
