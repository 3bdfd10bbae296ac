//! The bus on NATS JetStream: many processes, the same contract.
//!
//! - `config`, `connect`: settings; the start, with one clear line for what is wrong.
//! - `layout`: streams and consumers on the server, and why they are as they are.
//! - `link`: the connection and what goes wrong with it.
//! - `wire`: subjects, headers, answers.
//! - `publisher`: messages under way until they are on disk; `probe`: whether they would be taken.
//! - `pull`, `delivered`, `consumer`: asking for messages, leases, acknowledgements.
//! - `sole`: deleting what was acknowledged, and what the servers passed over.
//! - `dead`, `tail`, `stats`: dead letters, watching, levels.

mod config;
mod connect;
mod consumer;
mod core;
mod dead;
mod delivered;
mod layout;
mod link;
mod metrics;
mod probe;
mod publisher;
mod pull;
mod sole;
mod stats;
mod tail;
mod wire;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use async_trait::async_trait;
use futures::stream::BoxStream;
use hearth_telemetry::Registry;
use tokio::time::timeout;

use self::consumer::{Member, NatsConsumer};
use self::core::Core;
use self::metrics::Metrics;
use self::wire::Names;
use crate::{
    Ack, Bus, BusStats, Consumer, ConsumerSpec, DeadLetterPage, Error, Publish, Result, Stream,
    TailEvent,
};

pub use self::config::NatsConfig;
pub use self::connect::ConnectError;
pub use self::metrics::METRICS;

/// The bus on NATS. Dropping it without [`Bus::close`] is like a crash for its consumers: what
/// they hold is delivered again when its lease is over.
///
/// A message that this side sent twice, because the connection was lost before the answer came,
/// is one message, and its [`Ack`] says `duplicate`.
pub struct NatsBus {
    core: Arc<Core>,
}

impl NatsBus {
    /// Connects, and makes or changes the two streams as `config` says. Its metrics
    /// ([`METRICS`]) go to `registry`.
    ///
    /// # Errors
    /// [`ConnectError`]: each is one line that says what to do.
    pub async fn connect(config: &NatsConfig, registry: &Registry) -> Result<Self, ConnectError> {
        let names = Names::new(&config.prefix);
        let metrics = Metrics::new(registry)?;
        let link = connect::connect(config, &names, metrics).await?;
        let core = Arc::new(Core::new(link, names, config.clone()));
        Ok(Self { core })
    }

    /// Whether there is a connection now. Without one, calls wait for it for `ack_timeout` and
    /// then fail with [`Error::Unavailable`].
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.core.link.is_connected()
    }

    fn open(&self) -> Result<&Arc<Core>> {
        match self.core.is_closed() {
            true => Err(Error::Closed),
            false => Ok(&self.core),
        }
    }
}

#[async_trait]
impl Bus for NatsBus {
    async fn publish(&self, message: Publish) -> Result<Ack> {
        self.core.publish(message).await
    }

    async fn consumer(&self, spec: ConsumerSpec) -> Result<Box<dyn Consumer>> {
        let core = Arc::clone(self.open()?);
        let member = Member::register(&core, spec).await?;
        Ok(Box::new(NatsConsumer { core, member }))
    }

    async fn delete_consumer(&self, name: &str) -> Result<()> {
        let core = self.open()?;
        layout::unregister(&core.link, &core.names, name).await?;
        if let Some(member) = core.members.lock().remove(name) {
            member.stop();
        }
        core.levels.forget();
        Ok(())
    }

    fn tail(&self, streams: &[Stream]) -> BoxStream<'static, TailEvent> {
        tail::follow(&self.core, streams)
    }

    async fn dead_letters(&self, after: Option<u64>, limit: usize) -> Result<DeadLetterPage> {
        self.core.dead_letters(after, limit).await
    }

    async fn replay_dead_letter(&self, id: u64) -> Result<Ack> {
        let ack = self.core.replay_dead_letter(id).await?;
        self.core.counters.published.fetch_add(1, Relaxed);
        Ok(ack)
    }

    async fn delete_dead_letter(&self, id: u64) -> Result<()> {
        self.core.delete_dead_letter(id).await
    }

    async fn stats(&self) -> BusStats {
        self.core.stats().await
    }

    async fn probe(&self) -> Result<()> {
        self.core.probe().await
    }

    async fn close(&self) -> Result<()> {
        let core = &self.core;
        if core.closed.send_replace(true) {
            return Ok(());
        }
        let under_way = u32::try_from(core.config.publish_in_flight).unwrap_or(u32::MAX);
        if timeout(core.link.patience, core.permits.acquire_many(under_way))
            .await
            .is_err()
        {
            tracing::warn!("closing the bus with messages under way to NATS");
        }
        core.permits.close();
        let members: Vec<_> = core.members.lock().values().cloned().collect();
        for member in members {
            if let Err(trouble) = member.give_back(core).await {
                tracing::debug!(%trouble, "messages go back when their lease is over");
            }
        }
        // Acknowledgements on their way arrive. Without a connection there is nobody to tell.
        if core.link.is_connected() {
            let _ = timeout(core.link.patience, core.link.client.flush()).await;
            let _ = timeout(core.link.patience, core.link.client.drain()).await;
        }
        Ok(())
    }
}

impl Drop for NatsBus {
    fn drop(&mut self) {
        self.core.closed.send_replace(true);
        for member in self.core.members.lock().values() {
            member.stop();
        }
    }
}

impl std::fmt::Debug for NatsBus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NatsBus")
            .field("config", &self.core.config)
            .field("connected", &self.is_connected())
            .finish_non_exhaustive()
    }
}
