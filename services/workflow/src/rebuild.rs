//! The queue from the ledger: at start, and whenever the index of a bucket was lost or may be behind.

use crate::{
    ledger::{Work, queue_error, store_error},
    service::Inner,
};
use hearth_clients::{Error, Result};
use hearth_proto::types::v1::TaskState;
use hearth_queue::{Enqueue, Phase, Suspect};
use hearth_runtime::CancellationToken;
use hearth_types::{DeviceKey, TaskId, TenantId, Timestamp};
use std::time::Duration;

/// Tasks of one read of the ledger.
const PAGE: usize = 500;
/// How long a process may take for a page; then another one takes the bucket over.
const LEASE: Duration = Duration::from_secs(15);
/// Between two looks for buckets that must be rebuilt.
const LOOK: Duration = Duration::from_secs(1);
/// Between two comparisons of a bucket in an index that processes share: one of them may have died
/// after a task was in the ledger and before it was in the queue.
const EVERY: Duration = Duration::from_secs(600);
/// Between two buckets that are in service: comparing them must not be felt.
const PAUSE: Duration = Duration::from_millis(50);

impl Inner {
    /// Rebuilds every bucket whose index is missing; answers how many tasks were entered. One that
    /// is there already costs nothing.
    ///
    /// # Errors
    /// [`hearth_clients::Kind::Unavailable`]: the ledger or the queue can't be reached, or other
    /// processes are still at it.
    pub(crate) async fn rebuild(&self, owner: &str) -> Result<usize> {
        let mut count = 0;
        for suspect in self.lost().await? {
            count += self.rebuild_bucket(suspect, owner).await?.unwrap_or(0);
        }
        match self.lost().await?.len() {
            0 => Ok(count),
            left => Err(Error::unavailable(format!(
                "the server is starting: {left} parts of its task queues are being rebuilt"
            ))),
        }
    }

    async fn suspects(&self) -> Result<Vec<Suspect>> {
        let suspects = self.queue.suspects(EVERY, self.now()).await;
        suspects.map_err(queue_error)
    }

    async fn lost(&self) -> Result<Vec<Suspect>> {
        let mut suspects = self.suspects().await?;
        suspects.retain(|suspect| suspect.lost);
        Ok(suspects)
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
        let mut suspects = self.suspects().await?;
        // What is lost first; and each process begins elsewhere.
        let turn = owner.bytes().fold(0_u8, u8::wrapping_add) % DeviceKey::BUCKETS;
        suspects.sort_by_key(|s| (!s.lost, s.bucket.wrapping_sub(turn) % DeviceKey::BUCKETS));
        let (mut buckets, mut tasks, mut lost) = (0, 0, 0);
        for suspect in suspects {
            let Some(count) = self.rebuild_bucket(suspect, owner).await? else {
                continue;
            };
            (buckets, tasks) = (buckets + 1, tasks + count);
            match suspect.lost {
                true => lost += 1,
                false => tokio::time::sleep(PAUSE).await,
            }
        }
        if buckets > 0 {
            tracing::info!(
                buckets,
                lost,
                open_tasks = tasks,
                "task queues were rebuilt from the ledger"
            );
        }
        Ok(())
    }

    /// Enters the open tasks of a bucket's devices; how many there are. `None`: another process does
    /// it.
    async fn rebuild_bucket(&self, suspect: Suspect, owner: &str) -> Result<Option<usize>> {
        let (queue, bucket) = (&self.queue, suspect.bucket);
        let begun = queue.begin_rebuild(bucket, owner, LEASE, self.now());
        if !begun.await.map_err(queue_error)? {
            return Ok(None);
        }
        let mut count = 0;
        let mut after: Option<(TenantId, TaskId)> = None;
        loop {
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
                break;
            }
        }
        let finished = queue.finish_rebuild(bucket, owner, self.now());
        let finished = finished.await.map_err(queue_error)?;
        Ok(finished.then_some(count))
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
