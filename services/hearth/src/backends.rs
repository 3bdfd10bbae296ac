//! Where state is: in this process's data directory, or on NATS, Redis and CQL.

use crate::config::HearthConfig;
use crate::roles::Role;
use crate::watch::{self, BUS_PATIENCE, PATIENCE, Watch};
use anyhow::{Context, Result};
use hearth_bus::{Bus, EmbeddedBus, EmbeddedOptions, NatsBus};
use hearth_engine::{Engine, EngineOptions};
use hearth_queue::{EmbeddedQueue, Queue, RedisQueue};
use hearth_runtime::Readiness;
use hearth_store::{CqlStore, EmbeddedStore, Store};
use hearth_telemetry::Registry;
use std::sync::Arc;

/// The backends that this process's roles need.
pub(crate) struct Backends {
    bus: Option<Arc<dyn Bus>>,
    queue: Option<Arc<dyn Queue>>,
    store: Option<Arc<dyn Store>>,
    /// Of the embedded ones.
    pub engine: Option<Engine>,
}

impl Backends {
    /// Opens them.
    ///
    /// # Errors
    /// One line that says what to do: a data directory in use, a wrong address, a server too old.
    pub async fn open(config: &HearthConfig, registry: &Registry) -> Result<Self> {
        if config.is_distributed() {
            return Self::connect(config, registry).await;
        }
        let engine = open_engine(config)?;
        let bus = EmbeddedBus::open(engine.clone(), EmbeddedOptions::default()).await?;
        Ok(Self {
            bus: Some(Arc::new(bus)),
            queue: Some(Arc::new(EmbeddedQueue::new())),
            store: Some(Arc::new(EmbeddedStore::open(&engine)?)),
            engine: Some(engine),
        })
    }

    async fn connect(config: &HearthConfig, registry: &Registry) -> Result<Self> {
        let mut needs = (false, false, false);
        for role in &config.roles {
            let (bus, queue, store) = role.backends();
            needs = (needs.0 || bus, needs.1 || queue, needs.2 || store);
        }
        let mut backends = Self {
            bus: None,
            queue: None,
            store: None,
            engine: None,
        };
        if needs.0 {
            let bus = NatsBus::connect(&config.nats, registry).await;
            backends.bus = Some(Arc::new(bus.context("NATS (nats.*)")?));
        }
        if needs.1 {
            let queue = RedisQueue::connect(&config.redis, registry).await;
            backends.queue = Some(Arc::new(queue.context("Redis (redis.*)")?));
        }
        if needs.2 {
            let history = config.device_state.history_retention.get();
            let store = CqlStore::connect(&config.cql, history, registry).await;
            backends.store = Some(Arc::new(store.context("CQL (cql.*)")?));
        }
        Ok(backends)
    }

    pub fn bus(&self) -> Result<Arc<dyn Bus>> {
        self.bus
            .clone()
            .context("no role of this process was to need a bus")
    }

    pub fn queue(&self) -> Result<Arc<dyn Queue>> {
        self.queue
            .clone()
            .context("no role of this process was to need a queue")
    }

    pub fn store(&self) -> Result<Arc<dyn Store>> {
        self.store
            .clone()
            .context("no role of this process was to need a store")
    }

    /// Adds a line for each server to the readiness, and keeps it true as long as what is answered is held: that the
    /// server takes what is written, and not only that it answers. It counts where one of `roles` can do nothing
    /// without. The embedded backends need none: with them it works or it ends.
    pub fn watch(&self, readiness: &Readiness, roles: &[Role]) -> Watch {
        let mut watch = Watch::new();
        if self.engine.is_some() {
            return watch;
        }
        let needs = |server: fn((bool, bool, bool)) -> bool| {
            roles.iter().any(|role| server(role.needs_servers()))
        };
        let line = |name: &'static str, counts: bool| match counts {
            true => (name, readiness.register(name)),
            false => (name, readiness.register_noted(name)),
        };
        if let Some(bus) = self.bus.clone() {
            let line = line(BUS, needs(|of| of.0));
            watch.push(watch::follow(line, BUS_PATIENCE, move || {
                let bus = bus.clone();
                async move { bus.probe().await }
            }));
        }
        if let Some(queue) = self.queue.clone() {
            let line = line(QUEUE, needs(|of| of.1));
            watch.push(watch::follow(line, PATIENCE, move || {
                let queue = queue.clone();
                async move { queue.probe().await }
            }));
        }
        if let Some(store) = self.store.clone() {
            let line = line(STORE, needs(|of| of.2));
            watch.push(watch::follow(line, PATIENCE, move || {
                let store = store.clone();
                async move { store.probe().await }
            }));
        }
        watch
    }

    /// Persists what waits and closes.
    ///
    /// # Errors
    /// When the bus can't persist its progress.
    pub async fn close(self) -> Result<()> {
        if let Some(bus) = self.bus {
            bus.close().await?;
        }
        if let Some(engine) = self.engine {
            engine.close();
        }
        Ok(())
    }
}

/// Lines of the readiness.
pub(crate) const BUS: &str = "nats";
/// See [`BUS`].
pub(crate) const QUEUE: &str = "redis";
/// See [`BUS`].
pub(crate) const STORE: &str = "cql";

fn open_engine(config: &HearthConfig) -> Result<Engine> {
    let mut options = EngineOptions::new(config.data_dir.join("db"));
    options.cache_bytes = config.engine.cache_size.0;
    options.journal_bytes = config.engine.journal_size.0;
    options.disk_reserve_bytes = config.engine.disk_reserve.0;
    let shown = config.data_dir.display();
    Engine::open(options).with_context(|| format!("the data directory {shown} can't be opened"))
}
