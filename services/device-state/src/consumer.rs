//! The worker: applies the events that the fetchers bring, flushes, and tells the bus what is done.

use std::collections::{BTreeSet, VecDeque};
use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hearth_bus::{Consumer, Delivery};
use hearth_runtime::{Backoff, BoxError, CancellationToken, Service, ServiceContext};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use crate::apply::Refused;
use crate::core::{Core, Mark, Turn};
use crate::fetcher::{self, Arrival, NAME, Ticket};
use crate::{background, replicas};

/// Pauses between tries while something is down.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_OF_STORE: Duration = Duration::from_secs(5);
/// The bus' calls wait by themselves, and all other parts go on meanwhile.
const LONGEST_OF_BUS: Duration = Duration::from_millis(500);
/// When an event that came too early is tried again.
const EARLY: Duration = Duration::from_secs(1);
/// When an event comes again that can't even become a dead letter.
const HOPELESS: Duration = Duration::from_secs(60);
/// Bytes of events that wait to be applied, beyond which no more are taken from the fetchers.
const FETCHED_BYTES: usize = 64 << 20;
/// Bytes of events that were applied, beyond which it is time to write.
const APPLIED_BYTES: usize = 64 << 20;

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
        let Some(consumers) = fetcher::register(&core, &ctx).await? else {
            return Ok(());
        };
        // Parts stay this process's until what it has of them is written.
        let letting_go = CancellationToken::new();
        // Also when the role is dropped: nobody must count on parts that nobody works on.
        let _guard = letting_go.clone().drop_guard();
        let keeper = tokio::spawn(replicas::keep(Arc::clone(&core), letting_go.clone()));
        let tasks = background::start(&core, &ctx.stop);
        let (arrivals, fetchers) = fetcher::start(&core, &consumers, &ctx.stop);
        ctx.readiness.ready();
        let mut work = Work {
            core: Arc::clone(&core),
            consumers,
            arrivals,
            failing: BTreeSet::new(),
            fetched: VecDeque::new(),
            fetched_bytes: 0,
            applied_bytes: 0,
            next_flush: Instant::now(),
            next_seen: Instant::now(),
            progress: false,
        };
        let ended = work.run(&ctx).await;
        drop(work);
        letting_go.cancel();
        let _ = keeper.await;
        replicas::leave(&core).await;
        if ended.is_ok() {
            background::join(fetchers).await;
            background::join(tasks).await;
        }
        ended
    }
}

/// The pauses while the bus is down.
pub const fn bus_backoff() -> Backoff {
    Backoff::new(FIRST_PAUSE, LONGEST_OF_BUS)
}

struct Work {
    core: Arc<Core>,
    /// By part.
    consumers: Vec<Arc<dyn Consumer>>,
    arrivals: mpsc::Receiver<Arrival>,
    /// Parts whose events can't be fetched now.
    failing: BTreeSet<u16>,
    fetched: VecDeque<Fetched>,
    fetched_bytes: usize,
    /// Bytes of the events that were applied since the last flush.
    applied_bytes: usize,
    next_flush: Instant,
    /// When signs of life that brought nothing else are written, too.
    next_seen: Instant,
    /// Whether an event was applied since the last trouble.
    progress: bool,
}

/// An event that was fetched and is not yet applied.
struct Fetched {
    part: u16,
    run: u64,
    event: Delivery,
    _ticket: Ticket,
}

/// What stops a round.
enum Trouble {
    Store(hearth_store::Error),
    Bus(hearth_bus::Error),
}

impl Work {
    async fn run(&mut self, ctx: &ServiceContext) -> Result<(), BoxError> {
        let mut of_store = Backoff::new(FIRST_PAUSE, LONGEST_OF_STORE);
        let mut of_bus = bus_backoff();
        let mut in_trouble = false;
        while !ctx.stop.is_cancelled() {
            match self.round(&ctx.stop).await {
                Ok(()) => {
                    ctx.readiness.ready();
                    let was = std::mem::replace(&mut in_trouble, !self.failing.is_empty());
                    if was && !in_trouble {
                        tracing::info!("events are fetched and written again");
                    }
                    of_store.reset();
                    of_bus.reset();
                }
                Err(Trouble::Bus(hearth_bus::Error::Closed)) if ctx.stop.is_cancelled() => break,
                Err(trouble) => {
                    let (is_stores, reason) = trouble.reason()?;
                    if !std::mem::replace(&mut in_trouble, true) {
                        tracing::warn!(reason, "events wait on the bus");
                    }
                    if std::mem::take(&mut self.progress) {
                        of_store.reset();
                        of_bus.reset();
                    }
                    if is_stores {
                        self.let_go().await;
                        ctx.readiness.not_ready(reason);
                        of_store.wait_unless(&ctx.stop).await;
                    } else {
                        // Queries need no bus: the role can be asked as before.
                        of_bus.wait_unless(&ctx.stop).await;
                    }
                }
            }
        }
        self.finish().await;
        Ok(())
    }

    async fn round(&mut self, stop: &CancellationToken) -> Result<(), Trouble> {
        if self.fetched.is_empty() {
            self.await_arrivals(stop).await?;
        }
        self.apply_fetched().await?;
        // Who has a part next waits for what this process has of it.
        let lost = self.core.parts.lost_one();
        if lost || Instant::now() >= self.next_flush {
            self.flush(lost).await?;
        }
        self.settle_with_bus().await?;
        if lost {
            self.give_back_stale().await;
        }
        Ok(())
    }

    /// Events of parts that went to another process don't wait for the store here.
    async fn let_go(&mut self) {
        let core = Arc::clone(&self.core);
        let mut turn = core.turn.lock().await;
        core.give_up_lost(&mut turn);
        if let Err(Trouble::Bus(error)) = self.settle(&mut turn).await {
            tracing::debug!(%error, "the bus can't be told what is done");
        }
        drop(turn);
        self.give_back_stale().await;
    }

    /// Leaves to others what was fetched of parts that are no longer this process's.
    async fn give_back_stale(&mut self) {
        for fetched in std::mem::take(&mut self.fetched) {
            let (part, seq) = (fetched.part, fetched.event.seq);
            if self.core.parts.runs(part, fetched.run) {
                self.fetched.push_back(fetched);
                continue;
            }
            self.give_back(Mark { part, seq }).await;
            let bytes = fetched.event.payload.len();
            self.fetched_bytes = self.fetched_bytes.saturating_sub(bytes);
        }
    }

    async fn await_arrivals(&mut self, stop: &CancellationToken) -> Result<(), Trouble> {
        // With nothing to flush there is no hurry, but what a query flushed is to be told.
        let until = match self.core.overlay.lock().is_empty() {
            true => Instant::now() + self.core.config.flush_interval.get(),
            false => self.next_flush,
        };
        let arrived = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            arrived = timeout_at(until, self.arrivals.recv()) => arrived,
        };
        let mut arrived = arrived.ok().flatten();
        while let Some(arrival) = arrived {
            let Arrival { part, run, .. } = arrival;
            let ticket = arrival.ticket;
            match arrival.fetched {
                Ok(deliveries) => {
                    self.failing.remove(&part);
                    let bytes = deliveries.iter().map(|event| event.payload.len());
                    self.fetched_bytes += bytes.sum::<usize>();
                    let fetched = deliveries.into_iter().map(|event| Fetched {
                        part,
                        run,
                        event,
                        _ticket: ticket.clone(),
                    });
                    self.fetched.extend(fetched);
                }
                Err(error) if error.is_retryable() => {
                    // Its fetcher tries again; the other parts need not wait for it.
                    if self.failing.is_empty() {
                        tracing::warn!(part, %error, "events can't be fetched now");
                    }
                    self.failing.insert(part);
                }
                Err(error) => return Err(Trouble::Bus(error)),
            }
            arrived = match self.fetched_bytes < FETCHED_BYTES {
                true => self.arrivals.try_recv().ok(),
                false => None,
            };
        }
        Ok(())
    }

    async fn apply_fetched(&mut self) -> Result<(), Trouble> {
        if self.fetched.is_empty() {
            return Ok(());
        }
        let core = Arc::clone(&self.core);
        let mut turn = core.turn.lock().await;
        if core.overlay.lock().is_empty() {
            let now = Instant::now();
            self.next_flush = now + core.config.flush_interval.get();
            self.next_seen = now + core.config.last_seen_interval.get();
        }
        while let Some(fetched) = self.fetched.front() {
            let bytes = fetched.event.payload.len();
            let alone = self.apply(fetched, &mut turn).await?;
            self.fetched.pop_front();
            self.fetched_bytes = self.fetched_bytes.saturating_sub(bytes);
            self.applied_bytes += bytes;
            self.progress = true;
            let many = core.overlay.lock().len() >= core.config.flush_changes;
            if many || alone || self.applied_bytes >= APPLIED_BYTES {
                core.flush(&mut turn).await.map_err(Trouble::Store)?;
                self.applied_bytes = 0;
            }
            if alone {
                self.settle(&mut turn).await?;
            }
            if core.parts.has_lost_one() {
                // That comes first.
                break;
            }
        }
        let pending = core.overlay.lock().len();
        core.metrics
            .pending
            .set(i64::try_from(pending).unwrap_or(i64::MAX));
        Ok(())
    }

    /// Applies an event, or gives it back; whether it is to be written by itself.
    async fn apply(&self, fetched: &Fetched, turn: &mut Turn) -> Result<bool, Trouble> {
        let (core, part, event) = (&self.core, fetched.part, &fetched.event);
        let seq = event.seq;
        let mark = Mark { part, seq };
        let alone = turn.alone.has(mark, event.deliveries);
        let later = if !core.parts.runs(part, fetched.run) {
            Duration::ZERO
        } else if turn.alone.holds_up(mark, &event.device) {
            EARLY
        } else {
            let applied = match alone {
                true => core.apply_alone(part, event, turn).await,
                false => core.apply(part, event, turn).await,
            };
            match applied {
                Ok(()) => return Ok(alone),
                Err(Refused::Store(error)) => return Err(Trouble::Store(error)),
                Err(Refused::Bad(reason)) => {
                    turn.dead.insert(mark, reason);
                    return Ok(alone);
                }
                Err(Refused::Early) => EARLY,
            }
        };
        if later.is_zero() {
            self.give_back(mark).await;
            return Ok(false);
        }
        let consumer = &self.consumers[usize::from(part)];
        let given_back = consumer.nak(seq, later).await;
        given_back.map(|()| false).map_err(Trouble::Bus)
    }

    /// Has an event come again.
    async fn give_back(&self, mark: Mark) {
        let consumer = &self.consumers[usize::from(mark.part)];
        fetcher::give_back(consumer.as_ref(), mark).await;
    }

    async fn flush(&mut self, everything: bool) -> Result<(), Trouble> {
        let now = Instant::now();
        // Alone, signs of life are written as often as everything else: it costs next to nothing,
        // and the bus keeps less.
        let seen = everything || !self.core.parts.is_shared() || now >= self.next_seen;
        let mut turn = self.core.turn.lock().await;
        let flushed = self.core.flush_some(&mut turn, seen).await;
        flushed.map_err(Trouble::Store)?;
        self.applied_bytes = 0;
        self.next_flush = Instant::now() + self.core.config.flush_interval.get();
        if seen {
            self.next_seen = Instant::now() + self.core.config.last_seen_interval.get();
        }
        Ok(())
    }

    async fn settle_with_bus(&self) -> Result<(), Trouble> {
        let mut turn = self.core.turn.lock().await;
        self.settle(&mut turn).await
    }

    /// Tells the bus which events are done, which are to come again, and which never can be done.
    async fn settle(&self, turn: &mut Turn) -> Result<(), Trouble> {
        turn.done.sort_unstable();
        while let Some(Mark { part, .. }) = turn.done.last().copied() {
            let first = turn.done.partition_point(|mark| mark.part < part);
            let seqs: Vec<u64> = turn.done[first..].iter().map(|mark| mark.seq).collect();
            let told = self.consumers[usize::from(part)].ack(&seqs).await;
            told.map_err(Trouble::Bus)?;
            let ended = turn.alone.ended(&turn.done[first..]);
            turn.done.truncate(first);
            self.core.end_tries(ended).await;
        }
        while let Some(mark) = turn.back.pop() {
            self.give_back(mark).await;
            // Now: what is fetched from here on comes behind it.
            self.core.parts.begin_anew(mark.part);
        }
        self.bury(turn).await
    }

    /// Has dead letters written. While there is no room for them they wait, and nobody with them.
    async fn bury(&self, turn: &mut Turn) -> Result<(), Trouble> {
        if turn.respite.left().is_some() {
            return Ok(());
        }
        while let Some((mark, reason)) = turn.dead.first_key_value() {
            let (mark, begun) = (*mark, Instant::now());
            let consumer = &self.consumers[usize::from(mark.part)];
            match consumer.term(mark.seq, reason).await {
                Ok(()) => {
                    tracing::warn!(seq = mark.seq, reason, "an event became a dead letter");
                    self.core.metrics.dead.inc();
                    turn.respite.end();
                }
                Err(error) if error.is_retryable() => {
                    if turn.respite.begin(begun) {
                        tracing::warn!(%error, "dead letters can't be written; they wait");
                    }
                    return Ok(());
                }
                Err(error @ hearth_bus::Error::Closed) => return Err(Trouble::Bus(error)),
                Err(error) => {
                    let seq = mark.seq;
                    tracing::error!(seq, reason, %error, "an event can't become a dead letter");
                    let given_back = consumer.nak(seq, HOPELESS).await;
                    given_back.map_err(Trouble::Bus)?;
                }
            }
            turn.dead.remove(&mark);
            let ended = turn.alone.ended(&[mark]);
            self.core.end_tries(ended).await;
        }
        Ok(())
    }

    /// Writes what was applied; what isn't is delivered again at the next start, or to another
    /// process at once.
    async fn finish(&mut self) {
        let done = async {
            let mut turn = self.core.turn.lock().await;
            self.core.flush(&mut turn).await.map_err(Trouble::Store)?;
            drop(turn);
            self.settle_with_bus().await?;
            if self.core.parts.is_shared() {
                for Fetched { part, event, .. } in std::mem::take(&mut self.fetched) {
                    let seq = event.seq;
                    self.give_back(Mark { part, seq }).await;
                }
            }
            Ok(())
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
    /// Whether it is the store's, and what operators are told; an error when the role can't go on.
    fn reason(self) -> Result<(bool, String), BoxError> {
        match self {
            Self::Store(error) if error.is_retryable() => {
                let cause = error.source().map(|c| format!(": {c}"));
                Ok((true, format!("{error}{}", cause.unwrap_or_default())))
            }
            Self::Bus(error) if error.is_retryable() => Ok((false, error.to_string())),
            Self::Store(error) => Err(error.into()),
            Self::Bus(error) => Err(error.into()),
        }
    }
}
