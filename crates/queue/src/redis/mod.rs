//! The index in Redis, which several processes share: one function call for each call of the queue.
//!
//! - `queue.lua`: the functions, and what the keys hold. All keys of a bucket are in one slot of a
//!   cluster, so each call is atomic there too.
//! - `library`: their names. Loaded at the start, and whenever a server doesn't know them.
//! - `link`, `connect`, `config`: connections and what they are made by.
//! - `wire`: calls and answers as Redis carries them.
//!
//! An index that is lost, or that is on another server than it was built on, is told by
//! [`Queue::suspects`].

mod config;
mod connect;
mod connect_error;
mod library;
mod link;
mod metrics;
mod wire;

pub use config::RedisConfig;
pub use connect_error::ConnectError;
pub use metrics::METRICS;

use crate::{
    Claim, Depth, Due, DueKind, Enqueue, Error, Peek, Phase, Queue, Released, Removed, Result,
    Session, Suspect,
};
use async_trait::async_trait;
use futures::future::{select_ok, try_join_all};
use hearth_telemetry::{Histogram, Registry, trace};
use hearth_types::{DeviceKey, TaskId, Timestamp};
use library::{Call, Library};
use link::Link;
use metrics::Metrics;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::time::Instant;
use tracing::Instrument as _;
use wire::{Answer, Keys, Request, parse_alarm};

/// What a function answers where the bucket is not whole.
const REBUILDING: i64 = -1;
/// Tasks that one call restores: a call is short, for all other callers wait for it.
const BATCH: usize = 100;
/// Between two lines in the log about failing calls.
const QUIET: Duration = Duration::from_secs(5);

/// A queue on Redis (7.0 or newer) or Valkey.
pub struct RedisQueue {
    link: Link,
    library: Library,
    keys: Keys,
    seconds: [Histogram; Call::ALL.len()],
    metrics: Arc<Metrics>,
    /// The bucket with which the next [`Queue::due`] begins, so that none starves the others.
    turn: AtomicU8,
    started: Instant,
    /// When a failure was last logged, in ms since `started`; 0 for never.
    complained: AtomicU64,
}

impl RedisQueue {
    /// Connects, checks the server and loads the functions.
    ///
    /// # Errors
    /// A [`ConnectError`], which is one line that says what to do.
    pub async fn connect(
        config: &RedisConfig,
        registry: &Registry,
    ) -> std::result::Result<Self, ConnectError> {
        let library = Library::new();
        let connectors = connect::prepare(config, &library.source).await?;
        let metrics = Arc::new(Metrics::new(registry)?);
        let link = Link::new(
            connectors,
            config.call_timeout.get(),
            library.source.clone(),
            Arc::clone(&metrics),
        );
        link.ready(config.connect_timeout.get())
            .await
            .map_err(|failure| ConnectError::Unreachable {
                nodes: config.nodes.join(", "),
                reason: failure.to_string(),
            })?;
        Ok(Self {
            link,
            library,
            keys: Keys::new(&config.prefix),
            seconds: Call::ALL.map(|call| metrics.call(call.name())),
            metrics,
            turn: AtomicU8::new(0),
            started: Instant::now(),
            complained: AtomicU64::new(0),
        })
    }

    /// Deletes the index of this prefix, as the loss of the server would: it is rebuilt from the
    /// ledger.
    pub async fn wipe(&self) -> Result<()> {
        let deletions = (0..DeviceKey::BUCKETS).map(|bucket| async move {
            let mut cmd = redis::cmd("UNLINK");
            cmd.arg(self.keys.of(bucket));
            self.link.call(&cmd).await
        });
        try_join_all(deletions).await?;
        Ok(())
    }

    fn request(&self, call: Call, device: &DeviceKey) -> Request {
        self.in_bucket(call, device.bucket()).device(device)
    }

    fn in_bucket(&self, call: Call, bucket: u8) -> Request {
        Request::new(&self.library, &self.keys, call, bucket)
    }

    async fn send(&self, request: Request) -> Result<Answer> {
        let span = trace::request("redis", request.call.name());
        let work = async {
            let timer = self.seconds[request.call as usize].start_timer();
            let answer = self.link.call(&request.cmd).await;
            timer.observe_duration();
            match answer {
                Ok(value) => Ok(Answer::new(value)),
                Err(failure) => {
                    trace::failed();
                    self.metrics.failed.inc();
                    self.complain(request.call, &failure);
                    Err(failure.into())
                }
            }
        };
        work.instrument(span).await
    }

    /// Sends one call for each bucket, all at once.
    async fn in_all(&self, make: impl Fn(u8) -> Request) -> Result<Vec<Answer>> {
        let calls = (0..DeviceKey::BUCKETS).map(|bucket| self.send(make(bucket)));
        try_join_all(calls).await
    }

    /// Writes in one bucket; where that is refused, in each other one.
    async fn write_somewhere(&self) -> Result<()> {
        let write = |bucket| self.send(self.in_bucket(Call::Probe, bucket));
        let first = rand::random_range(0..DeviceKey::BUCKETS);
        let Err(refused) = write(first).await else {
            return Ok(());
        };
        // A node of a cluster that is gone holds up its own buckets only.
        let others = (0..DeviceKey::BUCKETS).filter(|bucket| *bucket != first);
        let others = others.map(|bucket| Box::pin(write(bucket)));
        let found = select_ok(others).await;
        found.map(drop).map_err(|_| refused)
    }

    fn complain(&self, call: Call, failure: &link::Failure) {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let last = self.complained.load(Ordering::Relaxed);
        let quiet = u64::try_from(QUIET.as_millis()).unwrap_or(0);
        if last != 0 && now.saturating_sub(last) < quiet {
            return;
        }
        self.complained.store(now.max(1), Ordering::Relaxed);
        tracing::warn!(%failure, call = call.name(), "the task queue can't be asked");
    }

    /// A number, or [`Error::Rebuilding`].
    fn whole(&self, number: i64) -> Result<i64> {
        if number == REBUILDING {
            self.metrics.rebuilding.inc();
            return Err(Error::Rebuilding);
        }
        Ok(number)
    }

    async fn give_back(
        &self,
        device: &DeviceKey,
        task: TaskId,
        epoch: u64,
        phase: Phase,
    ) -> Result<Released> {
        let request = self.request(Call::GiveBack, device).task(task);
        let mut answer = self.send(request.epoch(epoch).phase(phase)).await?;
        Ok(match answer.number()? {
            0 => Released::Done,
            2 => Released::Fenced,
            _ => Released::Gone,
        })
    }

    async fn due_in(
        &self,
        bucket: u8,
        now: Timestamp,
        again: Duration,
        limit: usize,
        sweep: bool,
    ) -> Result<Vec<Due>> {
        let request = self.in_bucket(Call::Due, bucket).time(now).duration(again);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut answer = self.send(request.number(limit).flag(sweep)).await?;
        let mut found = Vec::new();
        while !answer.is_empty() {
            let kind = match answer.number()? {
                0 => DueKind::Deadline,
                1 => DueKind::Parked,
                2 => DueKind::Lease,
                _ => DueKind::Ready,
            };
            let alarm = answer.text()?.unwrap_or_default();
            let (task, device) = parse_alarm(&alarm)?;
            found.push(Due { device, task, kind });
        }
        Ok(found)
    }
}

#[async_trait]
impl Queue for RedisQueue {
    async fn open_session(
        &self,
        device: &DeviceKey,
        session: &str,
        ttl: Duration,
        now: Timestamp,
    ) -> Result<Session> {
        let request = self.request(Call::Open, device).text(session);
        let mut answer = self.send(request.duration(ttl).time(now)).await?;
        let mut opened = Session::idle(answer.count()?);
        opened.pending = answer.flag()?;
        opened.open = answer.size()?;
        opened.rebuilding = answer.flag()?;
        while let Some(task) = answer.task()? {
            opened.orphans.push(task);
        }
        Ok(opened)
    }

    async fn claim(
        &self,
        device: &DeviceKey,
        epoch: u64,
        lease: Duration,
        exclude: Option<TaskId>,
        now: Timestamp,
    ) -> Result<Claim> {
        let request = self.request(Call::Claim, device).epoch(epoch);
        let exclude = exclude.map(|task| task.to_string()).unwrap_or_default();
        let request = request.duration(lease).text(&exclude).time(now);
        let mut answer = self.send(request).await?;
        match self.whole(answer.number()?)? {
            1 => {
                let Some(task) = answer.task()? else {
                    return Ok(Claim::Empty);
                };
                let resumed = answer.flag()?;
                let orphan = answer.count()?;
                Ok(Claim::Task {
                    task,
                    resumed,
                    orphan_of: (orphan != 0).then_some(orphan),
                })
            }
            2 => Ok(Claim::Fenced),
            _ => Ok(Claim::Empty),
        }
    }

    async fn renew(
        &self,
        device: &DeviceKey,
        epoch: u64,
        task: Option<TaskId>,
        lease: Duration,
        now: Timestamp,
    ) -> Result<bool> {
        let task = task.map(|task| task.to_string()).unwrap_or_default();
        let request = self.request(Call::Renew, device).epoch(epoch).text(&task);
        let until = now.saturating_add(lease);
        self.send(request.time(until)).await?.flag()
    }

    async fn close_session(&self, device: &DeviceKey, epoch: u64) -> Result<()> {
        let request = self.request(Call::Close, device).epoch(epoch);
        self.send(request).await.map(drop)
    }

    async fn enqueue(&self, device: &DeviceKey, task: Enqueue) -> Result<()> {
        let request = self.in_bucket(Call::Enqueue, device.bucket());
        self.send(request.entry(device, &task)).await.map(drop)
    }

    async fn complete(&self, device: &DeviceKey, task: TaskId) -> Result<()> {
        self.remove(device, task, true).await.map(drop)
    }

    async fn remove(&self, device: &DeviceKey, task: TaskId, force: bool) -> Result<Removed> {
        let request = self.request(Call::Remove, device).task(task).flag(force);
        let mut answer = self.send(request).await?;
        match self.whole(answer.number()?)? {
            0 => Ok(Removed::Gone),
            _ => Ok(Removed::Was(answer.phase()?)),
        }
    }

    async fn release(
        &self,
        device: &DeviceKey,
        task: TaskId,
        epoch: u64,
        not_before: Timestamp,
    ) -> Result<Released> {
        let phase = Phase::Pending { not_before };
        self.give_back(device, task, epoch, phase).await
    }

    async fn park(
        &self,
        device: &DeviceKey,
        task: TaskId,
        epoch: u64,
        until: Timestamp,
    ) -> Result<Released> {
        let phase = Phase::Parked { until };
        self.give_back(device, task, epoch, phase).await
    }

    async fn unpark(&self, device: &DeviceKey, task: TaskId) -> Result<bool> {
        let request = self.request(Call::Unpark, device).task(task);
        let number = self.send(request).await?.number()?;
        Ok(self.whole(number)? != 0)
    }

    async fn contains(&self, device: &DeviceKey, task: TaskId) -> Result<bool> {
        let request = self.request(Call::Contains, device).task(task);
        let number = self.send(request).await?.number()?;
        Ok(self.whole(number)? != 0)
    }

    async fn peek(&self, device: &DeviceKey, now: Timestamp) -> Result<Peek> {
        let mut answer = self
            .send(self.request(Call::Peek, device).time(now))
            .await?;
        let open = self.whole(answer.number()?)?;
        Ok(Peek {
            open: usize::try_from(open).unwrap_or(0),
            ready: answer.size()?,
            in_session: answer.flag()?,
            ages: answer.task()?.zip(answer.task()?),
        })
    }

    async fn remind(&self, device: &DeviceKey, at: Timestamp, now: Timestamp) -> Result<()> {
        let request = self.request(Call::Remind, device);
        self.send(request.time(at).time(now)).await.map(drop)
    }

    /// One round trip when nothing is due, two otherwise.
    async fn due(&self, now: Timestamp, again: Duration, limit: usize) -> Result<Vec<Due>> {
        let start = self.turn.fetch_add(1, Ordering::Relaxed) % DeviceKey::BUCKETS;
        let count = |bucket| self.in_bucket(Call::DueCount, bucket).time(now);
        // Sessions that were never ended: one bucket a call, so that no call is long.
        let (first, counts) = futures::future::try_join(
            self.due_in(start, now, again, limit, true),
            self.in_all(count),
        )
        .await?;
        let mut left = limit.saturating_sub(first.len());
        let mut found = vec![first];
        let mut calls = Vec::new();
        for (bucket, mut answer) in (0..DeviceKey::BUCKETS).zip(counts) {
            let take = answer.size()?.min(left);
            if take > 0 && bucket != start {
                left -= take;
                calls.push(self.due_in(bucket, now, again, take, false));
            }
        }
        found.extend(try_join_all(calls).await?);
        Ok(found.concat())
    }

    async fn depth(&self) -> Result<Depth> {
        let mut depth = Depth::default();
        let answers = self.in_all(|bucket| self.in_bucket(Call::Depth, bucket));
        for mut answer in answers.await? {
            depth.open += answer.count()?;
            depth.in_flight += answer.count()?;
            depth.parked += answer.count()?;
            depth.devices += answer.count()?;
            depth.oldest = match (depth.oldest, answer.task()?) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            };
        }
        Ok(depth)
    }

    async fn suspects(&self, every: Duration, now: Timestamp) -> Result<Vec<Suspect>> {
        let request = |bucket| self.in_bucket(Call::State, bucket);
        let answers = self.in_all(|bucket| request(bucket).duration(every).time(now));
        let mut found = Vec::new();
        for (bucket, mut answer) in (0..DeviceKey::BUCKETS).zip(answers.await?) {
            let state = answer.number()?;
            if state != 0 {
                let lost = state == 1;
                found.push(Suspect { bucket, lost });
            }
        }
        Ok(found)
    }

    async fn begin_rebuild(
        &self,
        bucket: u8,
        owner: &str,
        ttl: Duration,
        now: Timestamp,
    ) -> Result<bool> {
        let request = self.in_bucket(Call::Begin, bucket).text(owner);
        self.send(request.duration(ttl).time(now)).await?.flag()
    }

    async fn restore(
        &self,
        bucket: u8,
        owner: &str,
        tasks: &[(DeviceKey, Enqueue)],
        ttl: Duration,
        now: Timestamp,
    ) -> Result<bool> {
        for batch in tasks.chunks(BATCH) {
            let request = self.in_bucket(Call::Restore, bucket).text(owner);
            let mut request = request.duration(ttl).time(now);
            for (device, task) in batch {
                debug_assert_eq!(device.bucket(), bucket, "a task of another bucket");
                request = request.entry(device, task);
            }
            if !self.send(request).await?.flag()? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn finish_rebuild(&self, bucket: u8, owner: &str, now: Timestamp) -> Result<bool> {
        let request = self.in_bucket(Call::Finish, bucket).text(owner);
        self.send(request.time(now)).await?.flag()
    }

    /// One small write, wherever it is taken.
    async fn probe(&self) -> Result<()> {
        self.write_somewhere().await
    }
}
