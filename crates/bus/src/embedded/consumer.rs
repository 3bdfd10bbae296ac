//! Fetching and acknowledging.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::core::Core;
use super::cursor::{Cursor, Due};
use super::frame::{DeadRecord, Group};
use crate::{Consumer, Delivery, Error, Result};

/// When a dead letter can't be written, it is tried again after this.
const RETRY_DEAD: Duration = Duration::from_millis(500);

/// A registered consumer, shared by its handles.
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) cursor: Mutex<Cursor>,
    /// Held while messages are loaded, so that handles of one name don't take the same ones.
    loading: tokio::sync::Mutex<()>,
    /// Room was made, or something is due sooner.
    changed: Notify,
}

impl Member {
    pub(crate) fn new(cursor: Cursor) -> Arc<Self> {
        Arc::new(Self {
            name: cursor.spec.name.clone(),
            cursor: Mutex::new(cursor),
            loading: tokio::sync::Mutex::new(()),
            changed: Notify::new(),
        })
    }
}

/// A handle.
pub(crate) struct EmbeddedConsumer {
    core: Arc<Core>,
    member: Arc<Member>,
}

impl EmbeddedConsumer {
    pub(crate) fn new(core: Arc<Core>, member: Arc<Member>) -> Self {
        Self { core, member }
    }

    /// What can be delivered now.
    async fn take(&self, max: usize) -> Result<Vec<Delivery>> {
        let _loading = self.member.loading.lock().await;
        let mut batch = Batch::new(self.member.cursor.lock().spec.fetch_bytes);
        self.take_due(max, &mut batch).await?;
        let room = self.member.cursor.lock().room();
        let max = max.saturating_sub(batch.deliveries.len()).min(room);
        if max > 0 && !batch.full {
            self.take_new(max, &mut batch).await?;
        }
        Ok(batch.deliveries)
    }

    /// Messages to deliver again; those that had all their deliveries become dead letters.
    async fn take_due(&self, max: usize, batch: &mut Batch) -> Result<()> {
        let due = self.member.cursor.lock().take_due(Instant::now(), max);
        let mut dead = Vec::new();
        for (
            place,
            &Due {
                seq,
                deliveries: had,
            },
        ) in due.iter().enumerate()
        {
            let message = match self.core.log.get(seq).await {
                Ok(Some(message)) => message,
                Ok(None) => {
                    tracing::error!(consumer = self.member.name, seq, "a message is gone");
                    self.member.cursor.lock().done(seq);
                    continue;
                }
                Err(error) => {
                    self.put_back(&due[place..], Instant::now() + RETRY_DEAD);
                    return Err(error);
                }
            };
            if !batch.has_room(message.payload.len()) {
                self.put_back(&due[place..], Instant::now());
                break;
            }
            let mut cursor = self.member.cursor.lock();
            if had >= cursor.spec.max_deliver {
                let reason = format!("delivered {had} times and never acknowledged");
                let message = message.delivery(seq, had);
                dead.push(self.dead_record(message, reason));
            } else if cursor.redeliver(seq, Instant::now()) {
                batch.push(message.delivery(seq, had + 1));
            }
        }
        self.bury(dead).await;
        Ok(())
    }

    fn put_back(&self, due: &[Due], at: Instant) {
        let mut cursor = self.member.cursor.lock();
        for due in due {
            cursor.retry_at(due.seq, at);
        }
    }

    /// Makes dead letters; if that fails, the messages stay and it is tried again.
    async fn bury(&self, records: Vec<DeadRecord>) {
        if records.is_empty() {
            return;
        }
        let result = self.core.dead.add(&records).await;
        let mut cursor = self.member.cursor.lock();
        match result {
            Ok(()) => records.iter().for_each(|r| cursor.died(r.seq)),
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "dead letters can't be written");
                let at = Instant::now() + RETRY_DEAD;
                records.iter().for_each(|r| cursor.retry_at(r.seq, at));
            }
        }
    }

    fn dead_record(&self, message: Delivery, reason: String) -> DeadRecord {
        DeadRecord {
            consumer: self.member.name.clone(),
            reason,
            died: (self.core.options.clock)(),
            seq: message.seq,
            deliveries: message.deliveries,
            message: super::frame::Message {
                stream: message.stream,
                device: message.device,
                time: message.time,
                payload: message.payload,
            },
        }
    }

    /// Messages that weren't delivered yet, in order.
    async fn take_new(&self, max: usize, batch: &mut Batch) -> Result<()> {
        let had = batch.deliveries.len();
        while batch.deliveries.len() == had && !batch.full {
            let mut next = self.member.cursor.lock().next();
            let groups = self.core.log.read(next, max).await?;
            if groups.is_empty() {
                return Ok(());
            }
            let mut cursor = self.member.cursor.lock();
            for group in &groups {
                next = pick(group, next, &cursor, had + max, batch);
            }
            let seqs = batch.deliveries[had..].iter().map(|d| d.seq);
            cursor.deliver(seqs, next, Instant::now());
        }
        Ok(())
    }
}

/// Messages that one fetch brings.
struct Batch {
    deliveries: Vec<Delivery>,
    /// Bytes that there is still room for.
    room: usize,
    /// Whether a message was left out for want of room.
    full: bool,
}

impl Batch {
    fn new(room: usize) -> Self {
        Self {
            deliveries: Vec::new(),
            room,
            full: false,
        }
    }

    /// Whether so many bytes may be added; the first message always may.
    fn has_room(&mut self, bytes: usize) -> bool {
        self.full |= bytes > self.room && !self.deliveries.is_empty();
        !self.full
    }

    fn push(&mut self, delivery: Delivery) {
        self.room = self.room.saturating_sub(delivery.payload.len());
        self.deliveries.push(delivery);
    }
}

/// Adds a group's messages from `next` on until there are `max`; returns the new `next`.
fn pick(group: &Group, mut next: u64, cursor: &Cursor, max: usize, batch: &mut Batch) -> u64 {
    if batch.deliveries.len() >= max || batch.full {
        return next;
    }
    next = next.max(group.first);
    while batch.deliveries.len() < max
        && let Some(message) = group.get(next)
    {
        if cursor.spec.sees(message.stream, &message.device) {
            if !batch.has_room(message.payload.len()) {
                break;
            }
            batch.push(message.delivery(next, 1));
        }
        next += 1;
    }
    next
}

#[async_trait]
impl Consumer for EmbeddedConsumer {
    fn name(&self) -> &str {
        &self.member.name
    }

    async fn fetch(&self, max: usize, wait: Duration) -> Result<Vec<Delivery>> {
        let deadline = Instant::now() + wait;
        let mut last = self.core.log.watch();
        let mut closed = self.core.closed.subscribe();
        loop {
            if *closed.borrow() {
                return Err(Error::Closed);
            }
            // Seen before taking: what comes after wakes the wait below.
            last.borrow_and_update();
            let deliveries = self.take(max.max(1)).await?;
            if !deliveries.is_empty() || Instant::now() >= deadline {
                return Ok(deliveries);
            }
            let due = self.member.cursor.lock().next_due();
            let until = due.map_or(deadline, |due| due.min(deadline));
            tokio::select! {
                _ = last.changed() => {}
                _ = closed.changed() => {}
                () = self.member.changed.notified() => {}
                () = tokio::time::sleep_until(until) => {}
            }
        }
    }

    async fn ack(&self, seqs: &[u64]) -> Result<()> {
        let mut cursor = self.member.cursor.lock();
        let was_full = cursor.room() == 0;
        for seq in seqs {
            cursor.done(*seq);
        }
        drop(cursor);
        if was_full {
            self.member.changed.notify_one();
        }
        Ok(())
    }

    async fn nak(&self, seq: u64, delay: Duration) -> Result<()> {
        let at = Instant::now() + delay;
        self.member.cursor.lock().retry_at(seq, at);
        self.member.changed.notify_one();
        Ok(())
    }

    async fn term(&self, seq: u64, reason: &str) -> Result<()> {
        let Some(had) = self.member.cursor.lock().deliveries(seq) else {
            return Ok(());
        };
        let message = self.core.log.get(seq).await?;
        let message = message.ok_or(Error::NotFound("message"))?;
        let record = self.dead_record(message.delivery(seq, had), reason.to_owned());
        self.core.dead.add(std::slice::from_ref(&record)).await?;
        self.member.cursor.lock().died(seq);
        self.member.changed.notify_one();
        Ok(())
    }
}
