//! The consumer: fetches events, applies them, flushes, and tells the bus what is done.

use std::collections::VecDeque;
use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hearth_bus::{Consumer, ConsumerSpec, Delivery, Stream};
use hearth_runtime::{BoxError, CancellationToken, Service, ServiceContext};
use tokio::time::{Instant, sleep};

use crate::apply::Refused;
use crate::background;
use crate::core::Core;

/// The durable name on the bus.
const NAME: &str = "device-state";
/// Events may wait long when the disk is full; none becomes a dead letter for that.
const ACK_WAIT: Duration = Duration::from_secs(300);
const MAX_DELIVER: u32 = 1_000_000;
/// After fewer events than this, a short wait lets more gather: one fetch for each event would
/// cost more than applying it.
const FEW_EVENTS: usize = 64;
const GATHER: Duration = Duration::from_millis(2);
/// Waits between tries while something is down.
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const LONGEST_BACKOFF: Duration = Duration::from_secs(5);

/// The role's life: consumes until it is told to stop.
pub struct Role {
    pub core: Arc<Core>,
}

#[async_trait]
impl Service for Role {
    fn name(&self) -> &str {
        NAME
    }

    async fn run(self: Box<Self>, ctx: ServiceContext) -> Result<(), BoxError> {
        let core = self.core;
        let Some(consumer) = register(&core, &ctx).await? else {
            return Ok(());
        };
        let tasks = background::start(&core, &ctx.stop);
        ctx.readiness.ready();
        let mut work = Work {
            core,
            consumer,
            fetched: VecDeque::new(),
            next_flush: Instant::now(),
            progress: false,
        };
        let ended = work.run(&ctx).await;
        if ended.is_ok() {
            background::join(tasks).await;
        }
        ended
    }
}

/// Registers the consumer; `None` when the process stops meanwhile.
async fn register(
    core: &Core,
    ctx: &ServiceContext,
) -> Result<Option<Box<dyn Consumer>>, BoxError> {
    let spec = ConsumerSpec {
        ack_wait: ACK_WAIT,
        max_deliver: MAX_DELIVER,
        max_in_flight: core.config.max_in_flight,
        ..ConsumerSpec::new(NAME, Stream::ALL)
    };
    let mut backoff = FIRST_BACKOFF;
    loop {
        match core.bus.consumer(spec.clone()).await {
            Ok(consumer) => return Ok(Some(consumer)),
            Err(error) if error.is_retryable() => {
                ctx.readiness.not_ready(format!("no consumer: {error}"));
            }
            Err(error) => return Err(error.into()),
        }
        if !pause(&ctx.stop, &mut backoff).await {
            return Ok(None);
        }
    }
}

/// Waits, longer each time; false when the process stops.
async fn pause(stop: &CancellationToken, backoff: &mut Duration) -> bool {
    let wait = *backoff;
    *backoff = (wait * 2).min(LONGEST_BACKOFF);
    tokio::select! {
        () = stop.cancelled() => false,
        () = sleep(wait) => true,
    }
}

struct Work {
    core: Arc<Core>,
    consumer: Box<dyn Consumer>,
    /// Fetched and not yet applied.
    fetched: VecDeque<Delivery>,
    next_flush: Instant,
    /// Whether an event was applied since the last trouble.
    progress: bool,
}

/// What stops a round.
enum Trouble {
    Store(hearth_store::Error),
    Bus(hearth_bus::Error),
}

impl Work {
    async fn run(&mut self, ctx: &ServiceContext) -> Result<(), BoxError> {
        let mut backoff = FIRST_BACKOFF;
        let mut in_trouble = false;
        while !ctx.stop.is_cancelled() {
            match self.round(&ctx.stop).await {
                Ok(()) => {
                    if std::mem::take(&mut in_trouble) {
                        tracing::info!("events are written again");
                        ctx.readiness.ready();
                    }
                    backoff = FIRST_BACKOFF;
                }
                Err(Trouble::Bus(hearth_bus::Error::Closed)) if ctx.stop.is_cancelled() => break,
                Err(trouble) => {
                    let reason = trouble.reason()?;
                    if !std::mem::replace(&mut in_trouble, true) {
                        tracing::warn!(reason, "events wait on the bus");
                    }
                    ctx.readiness.not_ready(reason);
                    if std::mem::take(&mut self.progress) {
                        backoff = FIRST_BACKOFF;
                    }
                    pause(&ctx.stop, &mut backoff).await;
                }
            }
        }
        self.finish().await;
        Ok(())
    }

    async fn round(&mut self, stop: &CancellationToken) -> Result<(), Trouble> {
        if self.fetched.is_empty() {
            self.fetch(stop).await?;
        }
        let few = self.fetched.len() < FEW_EVENTS;
        self.apply_fetched().await?;
        if Instant::now() >= self.next_flush {
            self.flush().await?;
        }
        self.settle_with_bus().await?;
        if few {
            sleep(GATHER).await;
        }
        Ok(())
    }

    async fn fetch(&mut self, stop: &CancellationToken) -> Result<(), Trouble> {
        // With nothing to flush there is no hurry, but what a query flushed is to be told.
        let interval = self.core.config.flush_interval.get();
        let wait = match self.core.overlay.lock().is_empty() {
            true => interval,
            false => self.next_flush.saturating_duration_since(Instant::now()),
        };
        let fetched = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            fetched = self.consumer.fetch(self.core.config.fetch_events, wait) => fetched,
        };
        self.fetched.extend(fetched.map_err(Trouble::Bus)?);
        Ok(())
    }

    async fn apply_fetched(&mut self) -> Result<(), Trouble> {
        if self.fetched.is_empty() {
            return Ok(());
        }
        let core = Arc::clone(&self.core);
        let mut turn = core.turn.lock().await;
        if core.overlay.lock().is_empty() {
            self.next_flush = Instant::now() + core.config.flush_interval.get();
        }
        while let Some(delivery) = self.fetched.front() {
            match core.apply(delivery, &mut turn).await {
                Ok(()) => {}
                Err(Refused::Store(error)) => return Err(Trouble::Store(error)),
                Err(Refused::Bad(reason)) => turn.dead.push((delivery.seq, reason)),
            }
            self.fetched.pop_front();
            self.progress = true;
            if core.overlay.lock().len() >= core.config.flush_changes {
                core.flush(&mut turn).await.map_err(Trouble::Store)?;
            }
        }
        let pending = core.overlay.lock().len();
        core.metrics
            .pending
            .set(i64::try_from(pending).unwrap_or(i64::MAX));
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Trouble> {
        let mut turn = self.core.turn.lock().await;
        self.core.flush(&mut turn).await.map_err(Trouble::Store)?;
        self.next_flush = Instant::now() + self.core.config.flush_interval.get();
        Ok(())
    }

    /// Tells the bus which events are done, and which never can be.
    async fn settle_with_bus(&mut self) -> Result<(), Trouble> {
        let mut turn = self.core.turn.lock().await;
        if !turn.done.is_empty() {
            self.consumer.ack(&turn.done).await.map_err(Trouble::Bus)?;
            turn.done.clear();
        }
        while let Some((seq, reason)) = turn.dead.last() {
            tracing::warn!(seq, reason, "an event became a dead letter");
            let done = self.consumer.term(*seq, reason).await;
            done.map_err(Trouble::Bus)?;
            self.core.metrics.dead.inc();
            turn.dead.pop();
        }
        Ok(())
    }

    /// Writes what was applied; what isn't is delivered again at the next start.
    async fn finish(&mut self) {
        let done = async {
            self.flush().await?;
            self.settle_with_bus().await
        };
        match done.await {
            Ok(()) => {}
            Err(Trouble::Store(error)) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "stopping with events unwritten; the bus keeps them");
            }
            Err(Trouble::Bus(error)) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "stopping without telling the bus what is done");
            }
        }
    }
}

impl Trouble {
    /// What operators are told; an error when the role can't go on.
    fn reason(self) -> Result<String, BoxError> {
        match self {
            Self::Store(error) if error.is_retryable() => {
                let cause = error.source().map(|c| format!(": {c}"));
                Ok(format!("{error}{}", cause.unwrap_or_default()))
            }
            Self::Bus(error) if error.is_retryable() => Ok(error.to_string()),
            Self::Store(error) => Err(error.into()),
            Self::Bus(error) => Err(error.into()),
        }
    }
}
