//! Dead letters: kept until someone replays or deletes them.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use hearth_engine::{Engine, Keyspace, Scan, WriteBatch};

use super::frame::{self, DeadRecord};
use crate::{DeadLetter, DeadLetterPage, Error, Result};

pub(crate) struct DeadLetters {
    engine: Engine,
    keyspace: Keyspace,
    next: AtomicU64,
    count: AtomicU64,
}

impl DeadLetters {
    pub(crate) fn open(engine: Engine, keyspace: Keyspace) -> Result<Self> {
        let (mut count, mut last) = (0, 0);
        keyspace.scan_with(&Scan::all(), |key, _| {
            count += 1;
            last = frame::seq_of(key).unwrap_or(last);
            ControlFlow::Continue(())
        })?;
        Ok(Self {
            engine,
            keyspace,
            next: AtomicU64::new(last + 1),
            count: AtomicU64::new(count),
        })
    }

    pub(crate) fn count(&self) -> u64 {
        self.count.load(Relaxed)
    }

    /// Keeps letters; they are on disk when it returns.
    pub(crate) async fn add(&self, records: &[DeadRecord]) -> Result<()> {
        let mut batch = WriteBatch::with_capacity(records.len());
        for record in records {
            let id = self.next.fetch_add(1, Relaxed);
            batch.put(&self.keyspace, frame::key(id), record.encode());
        }
        self.engine.commit(batch).await?;
        self.count.fetch_add(records.len() as u64, Relaxed);
        Ok(())
    }

    pub(crate) fn get(&self, id: u64) -> Result<DeadRecord> {
        let record = self.keyspace.get(frame::key(id))?;
        DeadRecord::decode(record.ok_or(Error::NotFound("dead letter"))?)
    }

    pub(crate) async fn delete(&self, id: u64) -> Result<()> {
        if !self.keyspace.contains(frame::key(id))? {
            return Err(Error::NotFound("dead letter"));
        }
        let mut batch = WriteBatch::new();
        batch.set_reclaims();
        batch.delete(&self.keyspace, frame::key(id));
        self.engine.commit(batch).await?;
        let less = |count: u64| Some(count.saturating_sub(1));
        let _ = self.count.fetch_update(Relaxed, Relaxed, less);
        Ok(())
    }

    pub(crate) fn page(&self, after: Option<u64>, limit: usize) -> Result<DeadLetterPage> {
        let limit = limit.max(1);
        let first = after.map_or(0, |id| id.saturating_add(1));
        let scan = Scan::from(frame::key(first))
            .limit(limit)
            .max_bytes(8 << 20);
        let mut letters = Vec::new();
        for entry in self.keyspace.scan(&scan)? {
            let record = DeadRecord::decode(entry.value)?;
            letters.push(DeadLetter {
                id: frame::seq_of(&entry.key)?,
                consumer: record.consumer,
                reason: record.reason,
                died: record.died,
                message: record.message.delivery(record.seq, record.deliveries),
            });
        }
        let last = letters.last().map(|letter| letter.id);
        let more = match last {
            Some(last) => !self
                .keyspace
                .scan(&Scan::from(frame::key(last + 1)).limit(1))?
                .is_empty(),
            None => false,
        };
        let next = last.filter(|_| more);
        Ok(DeadLetterPage { letters, next })
    }
}
