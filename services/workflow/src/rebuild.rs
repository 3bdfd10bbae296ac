//! The queue from the ledger, at start.

use crate::{
    ledger::{Work, queue_error, store_error},
    service::Inner,
};
use hearth_clients::Result;
use hearth_proto::types::v1::TaskState;
use hearth_queue::{Enqueue, Phase};
use hearth_types::{DeviceKey, TaskId, TenantId, Timestamp};

const PAGE: usize = 2000;

impl Inner {
    /// Enters every open task of the ledger; answers how many there are.
    pub(crate) async fn rebuild(&self) -> Result<usize> {
        let mut count = 0;
        for bucket in 0..DeviceKey::BUCKETS {
            count += self.rebuild_bucket(bucket).await?;
        }
        Ok(count)
    }

    /// Enters the open tasks of a bucket's devices.
    async fn rebuild_bucket(&self, bucket: u8) -> Result<usize> {
        let mut count = 0;
        let mut after: Option<(TenantId, TaskId)> = None;
        let now = self.now();
        loop {
            let from = after.as_ref().map(|(tenant, task)| (tenant, *task));
            let rows = self.ledger.store().open_tasks(bucket, from, PAGE).await;
            let rows = rows.map_err(store_error)?;
            for row in &rows {
                // A damaged row was logged; it must not keep the others from being worked on.
                let Ok(work) = Work::decode(row) else {
                    continue;
                };
                let entered = self.queue.enqueue(&work.device, self.entry(&work, now));
                entered.await.map_err(queue_error)?;
                if work.state() == TaskState::Waking {
                    self.waker.ask(&work.device, now);
                }
                count += 1;
            }
            after = rows.last().map(|row| (row.device.tenant.clone(), row.id));
            if rows.len() < PAGE {
                return Ok(count);
            }
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
