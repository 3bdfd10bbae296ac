//! The queue from the ledger: at start, and whenever the index of a bucket was lost or may be behind.
//!
//! In an index that processes share, each of them reads and enters at most `workflow.rebuild_rate` tasks a
//! second, and leaves alone what another one has rebuilt: the sessions that go on must not feel it.

use crate::{
    ledger::{Work, queue_error, store_error},
    service::Inner,
};
use hearth_clients::{Error, Result};
use hearth_proto::types::v1::TaskState;
use hearth_queue::{Enqueue, Phase, Suspect};
use hearth_runtime::CancellationToken;
use hearth_types::{DeviceKey, TaskId, TenantId, Timestamp};
use std::{collections::HashSet, time::Duration};
use tokio::time::Instant;

/// Tasks of one read of the ledger.
const PAGE: usize = 500;
/// How long a process may take for a page, the wait after it included (5 s at the lowest
/// `workflow.rebuild_rate`); then another one takes the bucket over.
const LEASE: Duration = Duration::from_secs(15);
/// Between two looks for buckets that must be rebuilt.
const LOOK: Duration = Duration::from_secs(1);
/// Between two comparisons of a bucket in an index that processes share: one of them may have died
/// after a task was in the ledger and before it was in the queue.
const EVERY: Duration = Duration::from_secs(600);
/// Between two buckets, once the process serves: a rebuild must not be felt.
const PAUSE: Duration = Duration::from_millis(50);

/// When buckets are rebuilt.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    /// Before the process serves: those that are lost.
    Start,
    /// While it serves: those that are lost, then those that may be behind.
    Service,
}

/// What came of it.
#[derive(Default)]
struct Rebuilt {
    buckets: usize,
    lost: usize,
    tasks: usize,
}

impl Inner {
    /// Rebuilds every bucket whose index is missing; answers how many tasks were entered. One that
    /// is there already costs nothing.
    ///
    /// # Errors
    /// [`hearth_clients::Kind::Unavailable`]: the ledger or the queue can't be reached, or other
    /// processes are still at it.
    pub(crate) async fn rebuild(&self, owner: &str) -> Result<usize> {
        let rebuilt = self.rebuild_all(owner, When::Start).await?;
        match self.suspects().await?.iter().filter(|s| s.lost).count() {
            0 => Ok(rebuilt.tasks),
            left => Err(Error::unavailable(format!(
                "the server is starting: {left} parts of its task queues are being rebuilt"
            ))),
        }
    }

    async fn suspects(&self) -> Result<Vec<Suspect>> {
        let suspects = self.queue.suspects(EVERY, self.now()).await;
        suspects.map_err(queue_error)
    }

    /// Rebuilds what is lost, and compares what may be behind, until `stop`.
    pub(crate) async fn keep_whole(&self, owner: &str, stop: &CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
            tokio::select! {
                () = stop.cancelled() => return,
                done = self.look(owner) => if let Err(error) = done {
                    tracing::warn!(%error, "task queues can't be compared to the ledger now");
                },
            }
        }
    }

    async fn look(&self, owner: &str) -> Result<()> {
        let rebuilt = self.rebuild_all(owner, When::Service).await?;
        if rebuilt.buckets > 0 {
            tracing::info!(
                buckets = rebuilt.buckets,
                lost = rebuilt.lost,
                open_tasks = rebuilt.tasks,
                "task queues were rebuilt from the ledger"
            );
        }
        Ok(())
    }

    /// One bucket after another, what is lost first. Each process begins elsewhere, and asks again
    /// before each bucket: what another one has rebuilt meanwhile is not done twice.
    async fn rebuild_all(&self, owner: &str, when: When) -> Result<Rebuilt> {
        let turn = owner.bytes().fold(0_u8, u8::wrapping_add) % DeviceKey::BUCKETS;
        let place = |s: &Suspect| (!s.lost, s.bucket.wrapping_sub(turn) % DeviceKey::BUCKETS);
        let (mut rebuilt, mut tried) = (Rebuilt::default(), HashSet::new());
        loop {
            let mut suspects = self.suspects().await?;
            suspects.retain(|suspect| {
                (suspect.lost || when == When::Service) && !tried.contains(&suspect.bucket)
            });
            let Some(suspect) = suspects.into_iter().min_by_key(place) else {
                return Ok(rebuilt);
            };
            tried.insert(suspect.bucket);
            let why = match (when, suspect.lost) {
                (When::Start, _) => "start",
                (When::Service, true) => "lost",
                (When::Service, false) => "behind",
            };
            let Some(count) = self.rebuild_bucket(suspect.bucket, why, owner).await? else {
                continue;
            };
            rebuilt.buckets += 1;
            rebuilt.lost += usize::from(suspect.lost);
            rebuilt.tasks += count;
            // One that is lost and has nothing holds up the next one for nothing.
            if when == When::Service && (count > 0 || !suspect.lost) {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// Enters the open tasks of a bucket's devices; how many there are. `None`: another process does
    /// it.
    async fn rebuild_bucket(&self, bucket: u8, why: &str, owner: &str) -> Result<Option<usize>> {
        let (queue, begun) = (&self.queue, Instant::now());
        let taken = queue.begin_rebuild(bucket, owner, LEASE, self.now());
        if !taken.await.map_err(queue_error)? {
            return Ok(None);
        }
        let mut count = 0;
        let mut after: Option<(TenantId, TaskId)> = None;
        loop {
            let page = Instant::now();
            let from = after.as_ref().map(|(tenant, task)| (tenant, *task));
            let rows = self.ledger.store().open_tasks(bucket, from, PAGE).await;
            let rows = rows.map_err(store_error)?;
            let now = self.now();
            // A damaged row was logged; it must not keep the others from being worked on.
            let works = rows.iter().filter_map(|row| self.ledger.read(row));
            let works: Vec<Work> = works.collect();
            let entries: Vec<_> = works
                .iter()
                .map(|work| (work.device.clone(), self.entry(work, now)))
                .collect();
            let held = queue.restore(bucket, owner, &entries, LEASE, now).await;
            if !held.map_err(queue_error)? {
                return Ok(None);
            }
            for work in works.iter().filter(|w| w.state() == TaskState::Waking) {
                self.ask(&work.device, now).await;
            }
            count += works.len();
            after = rows.last().map(|row| (row.device.tenant.clone(), row.id));
            if rows.len() < PAGE {
                // In service first: its devices need not wait for the pause.
                let finished = queue.finish_rebuild(bucket, owner, self.now()).await;
                let finished = finished.map_err(queue_error)?;
                if finished {
                    self.metrics.rebuilt(why, begun.elapsed());
                }
                self.pace(rows.len(), page).await;
                return Ok(finished.then_some(count));
            }
            self.pace(rows.len(), page).await;
        }
    }

    /// Waits until so many tasks, begun then, have taken as long as the rate asks for. An index of
    /// this process alone is only rebuilt before it serves, so nobody would gain by it.
    async fn pace(&self, tasks: usize, begun: Instant) {
        if self.queue.is_shared() {
            let tasks = Duration::from_secs(u64::try_from(tasks).unwrap_or(u64::MAX));
            let span = tasks / self.options.rebuild_rate.max(1);
            tokio::time::sleep_until(begun + span).await;
        }
    }

    /// Where a task of the ledger stands in the queue.
    pub(crate) fn entry(&self, work: &Work, now: Timestamp) -> Enqueue {
        let phase = if work.state() == TaskState::WaitingForDevice {
            Phase::Parked {
                until: work.deadline(),
            }
        } else if let Some(attempt) = work.open_attempt() {
            // Its session may still be alive.
            Phase::InFlight {
                epoch: attempt.epoch,
                lease: now.saturating_add(self.options.lease.get()),
            }
        } else {
            Phase::Pending {
                not_before: Timestamp::from_micros(work.task.not_before_us),
            }
        };
        Enqueue {
            task: work.id,
            priority: work.task.priority,
            deadline: work.deadline(),
            phase,
        }
    }
}
