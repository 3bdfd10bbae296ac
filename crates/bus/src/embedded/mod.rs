//! The bus on the embedded engine: one process, one data directory, the whole contract.
//!
//! - `publisher`: whatever waits is framed into one record and committed with one sync.
//! - `log`: records on disk; the newest also in memory, so that consumers that keep up read none.
//! - `cursor`, `consumer`: a consumer's place, deliveries, redeliveries.
//! - `core`: shared state; progress and removal, four times a second.
//! - `dedupe`, `dead`: ids within the window, dead letters.

mod consumer;
mod core;
mod cursor;
mod dead;
mod dedupe;
mod frame;
mod log;
mod options;
mod publisher;
mod tail;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use async_trait::async_trait;
use futures::stream::BoxStream;
use hearth_engine::Engine;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use self::consumer::EmbeddedConsumer;
use self::core::Core;
use self::frame::Message;
use self::publisher::{Publisher, Waiting};
use crate::{
    Ack, Bus, BusStats, Consumer, ConsumerSpec, DeadLetterPage, Error, Publish, Result, Stream,
    TailEvent,
};

pub use self::options::{Clock, EmbeddedOptions};

/// The embedded bus. Dropping it without [`Bus::close`] is like a crash for its consumers: up to
/// the last interval's acknowledgements are forgotten, nothing else.
pub struct EmbeddedBus {
    core: Arc<Core>,
    publisher: tokio::sync::Mutex<Option<JoinHandle<()>>>,
    upkeep: [JoinHandle<()>; 2],
}

impl EmbeddedBus {
    /// Opens the bus on an engine. One bus may be open on an engine at a time. The engine isn't
    /// closed with the bus.
    ///
    /// # Errors
    /// The engine can't be read, or what it holds can't be understood.
    pub async fn open(engine: Engine, options: EmbeddedOptions) -> Result<Self> {
        let opened = tokio::task::spawn_blocking(move || Core::open(engine, options)).await;
        let core = Arc::new(opened.map_err(|_| Error::Closed)??);
        let publisher = Publisher::new(Arc::clone(&core));
        let log = Arc::clone(&core.log);
        let load = tokio::task::spawn_blocking(move || {
            if let Err(error) = log.load_index() {
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, "old messages can't be listed; none are removed");
            }
        });
        Ok(Self {
            publisher: tokio::sync::Mutex::new(Some(tokio::spawn(publisher.run()))),
            upkeep: [tokio::spawn(Arc::clone(&core).keep_saving()), load],
            core,
        })
    }

    fn check(&self, message: &Publish) -> Result<()> {
        let options = &self.core.options;
        let len = message.payload.len();
        let id_len = message.message_id.as_ref().map_or(0, String::len);
        if len > options.max_payload || u32::try_from(len).is_err() {
            let max = options.max_payload;
            return Err(Error::TooLarge { len, max });
        }
        if id_len > dedupe::MAX_ID {
            return Err(Error::InvalidSpec("a message's id has at most 255 bytes"));
        }
        self.has_room()
    }

    fn has_room(&self) -> Result<()> {
        let (backlog, max) = (self.core.log.bytes(), self.core.options.max_backlog);
        match backlog > max {
            true => Err(Error::Full { backlog, max }),
            false => Ok(()),
        }
    }
}

#[async_trait]
impl Bus for EmbeddedBus {
    async fn publish(&self, message: Publish) -> Result<Ack> {
        if let Err(error) = self.check(&message) {
            self.core.counters.refused.fetch_add(1, Relaxed);
            return Err(error);
        }
        let (done, answer) = oneshot::channel();
        let stream = message.stream;
        self.core.inbox.push(Waiting {
            id: message.message_id.map(|id| (stream, id.into())),
            message: Message {
                stream,
                device: message.device,
                time: message.time,
                payload: message.payload,
            },
            done,
        })?;
        answer.await.unwrap_or(Err(Error::Closed))
    }

    async fn consumer(&self, spec: ConsumerSpec) -> Result<Box<dyn Consumer>> {
        let member = self.core.register(spec).await?;
        Ok(Box::new(EmbeddedConsumer::new(
            Arc::clone(&self.core),
            member,
        )))
    }

    async fn delete_consumer(&self, name: &str) -> Result<()> {
        if self.core.unregister(name).await? {
            Ok(())
        } else {
            Err(Error::NotFound("consumer"))
        }
    }

    fn tail(&self, streams: &[Stream]) -> BoxStream<'static, TailEvent> {
        tail::follow(&self.core, streams)
    }

    async fn dead_letters(&self, after: Option<u64>, limit: usize) -> Result<DeadLetterPage> {
        self.core.dead.page(after, limit)
    }

    async fn replay_dead_letter(&self, id: u64) -> Result<Ack> {
        let record = self.core.dead.get(id)?;
        let ack = self
            .publish(Publish {
                stream: record.message.stream,
                device: record.message.device,
                // Replayed twice at the same moment, it is published once.
                message_id: Some(format!("dead-letter/{id}")),
                time: record.message.time,
                payload: record.message.payload,
            })
            .await?;
        match self.core.dead.delete(id).await {
            // Someone else replayed it at the same moment.
            Ok(()) | Err(Error::NotFound(_)) => Ok(ack),
            Err(error) => Err(error),
        }
    }

    async fn delete_dead_letter(&self, id: u64) -> Result<()> {
        self.core.dead.delete(id).await
    }

    async fn stats(&self) -> BusStats {
        let core = &self.core;
        let last_seq = core.log.last();
        let members = core.members.lock();
        let consumers = members.values().map(|m| m.cursor.lock().stats(last_seq));
        BusStats {
            last_seq,
            published: core.counters.published.load(Relaxed),
            duplicates: core.counters.duplicates.load(Relaxed),
            refused: core.counters.refused.load(Relaxed),
            groups: core.counters.groups.load(Relaxed),
            backlog_bytes: core.log.bytes(),
            dead_letters: core.dead.count(),
            consumers: consumers.collect(),
        }
    }

    async fn probe(&self) -> Result<()> {
        if *self.core.closed.borrow() {
            return Err(Error::Closed);
        }
        self.has_room()
    }

    async fn close(&self) -> Result<()> {
        self.core.inbox.close();
        let publisher = self.publisher.lock().await.take();
        if let Some(publisher) = publisher
            && publisher.await.is_err()
        {
            tracing::error!("the publisher had panicked");
        }
        self.core.closed.send_replace(true);
        self.core.save().await
    }
}

impl Drop for EmbeddedBus {
    fn drop(&mut self) {
        self.core.inbox.close();
        self.core.closed.send_replace(true);
        if let Some(publisher) = self.publisher.get_mut() {
            publisher.abort();
        }
        for task in &self.upkeep {
            task.abort();
        }
    }
}

impl std::fmt::Debug for EmbeddedBus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmbeddedBus")
            .field("engine", &self.core.engine)
            .field("options", &self.core.options)
            .finish_non_exhaustive()
    }
}
