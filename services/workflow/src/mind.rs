//! What time does to tasks: deadlines, leases of sessions that were lost, retries that are due.

use crate::{
    lanes::Lanes,
    ledger::{Work, queue_error},
    service::{Inner, TRIES},
    settle::Op,
};
use hearth_clients::Result;
use hearth_proto::types::v1::TaskState;
use hearth_queue::{Due, DueKind};
use hearth_runtime::CancellationToken;
use hearth_types::Timestamp;
use std::time::Duration;

/// A due task that nothing could be done about is told again after this time.
const AGAIN: Duration = Duration::from_secs(30);
/// Looked at in one round.
const BATCH: usize = 256;
/// Rounds between two looks at the queue's depth.
const DEPTH_EVERY: u32 = 10;

impl Inner {
    /// Runs until `stop`.
    pub(crate) async fn mind(&self, stop: &CancellationToken) {
        let mut round = 0_u32;
        let mut damaged = 0;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(self.options.tick.get()) => {}
            }
            if let Err(error) = self.mind_once(stop).await {
                tracing::warn!(%error, "deadlines can't be looked at now");
            }
            if round.is_multiple_of(DEPTH_EVERY) {
                if let Ok(depth) = self.queue.depth().await {
                    self.metrics.depth(&depth, depth.oldest_age(self.now()));
                }
                let found = self.ledger.store().damaged_rows();
                self.metrics.damaged.inc_by(found.saturating_sub(damaged));
                damaged = found;
            }
            round = round.wrapping_add(1);
        }
    }

    /// Works on everything that is due now.
    async fn mind_once(&self, stop: &CancellationToken) -> Result<()> {
        loop {
            let due = self.queue.due(self.now(), AGAIN, BATCH).await;
            let due = due.map_err(queue_error)?;
            let full = due.len() == BATCH;
            for due in due {
                let done = match (due.kind, stop.is_cancelled()) {
                    // This is told once only; the rest another process is told of again.
                    (DueKind::Ready, true) => {
                        self.ask(&due.device, self.now()).await;
                        Ok(())
                    }
                    (_, true) => Ok(()),
                    (DueKind::Ready, false) => self.wake_for(&due).await,
                    (_, false) => self.timed_out(&due).await,
                };
                if let Err(error) = done {
                    tracing::warn!(%error, task = %due.task, "a due task can't be settled now");
                }
            }
            if !full || stop.is_cancelled() {
                return Ok(());
            }
        }
    }

    /// A retry's delay has passed.
    async fn wake_for(&self, due: &Due) -> Result<()> {
        let work = self.ledger.sound(&due.device.tenant, due.task).await;
        let asks = |work: &Work| work.is_open() && !work.progress.no_wake;
        // A reminder may stand at any task of the device; and it is told once: rather a request too
        // many than none.
        let is_wanted = match &work {
            Ok(Some(work)) if asks(work) => true,
            Ok(_) => match self.open_tasks_of(&due.device).await {
                Ok(all) => all.iter().any(asks),
                Err(_) => true,
            },
            Err(_) => true,
        };
        if is_wanted {
            self.ask(&due.device, self.now()).await;
        }
        work.map(drop)
    }

    async fn timed_out(&self, due: &Due) -> Result<()> {
        let mut lanes = self.lanes.lock(&due.device).await;
        for _ in 0..TRIES {
            if self.settle_timed_out(&mut lanes, due).await? {
                break;
            }
        }
        Ok(())
    }

    /// `false`: another replica has written the task meanwhile.
    async fn settle_timed_out(&self, lanes: &mut Lanes, due: &Due) -> Result<bool> {
        let device = &due.device;
        let work = self.ledger.sound(&device.tenant, due.task).await?;
        let Some(mut work) = work.filter(Work::is_open) else {
            let gone = self.queue.complete(device, due.task).await;
            return gone.map(|()| true).map_err(queue_error);
        };
        let now = self.now();
        let mut ops = Vec::new();
        if due.kind == DueKind::Lease {
            if self
                .queue
                .peek(device, now)
                .await
                .map_err(queue_error)?
                .in_session
            {
                return Ok(true);
            }
            // The steps of a read that the ledger doesn't have yet.
            if let Some(current) = lanes.remove(device).and_then(|lane| lane.current)
                && current.id == work.id
                && current.task.revision >= work.task.revision
            {
                work = current;
            }
        }
        if work.is_past_deadline(now) {
            self.settle_deadline(&mut work, now, &mut ops);
        } else if due.kind == DueKind::Lease && work.state() == TaskState::Running {
            // The attempt stays open: the next Inform may tell what came of it.
            work.set(
                TaskState::Queued,
                "the session ended before the device's answer; the next session settles it",
            );
            if !work.progress.no_wake {
                self.ask(device, now).await;
            }
        } else if due.kind == DueKind::Lease && work.open_attempt().is_none() {
            // A turn took it and was cut off before anything was written, or before the queue was
            // told.
            let op = if work.state() == TaskState::WaitingForDevice {
                Op::Park(work.id, work.deadline())
            } else {
                Op::Release(work.id, Timestamp::from_micros(work.task.not_before_us))
            };
            self.apply(device, u64::MAX, &[op]).await?;
            if matches!(op, Op::Release(..)) && !work.progress.no_wake {
                self.ask(device, now).await;
            }
            return Ok(true);
        } else {
            return Ok(true);
        }
        self.record(device, "", u64::MAX, &mut [work], &ops).await
    }
}
