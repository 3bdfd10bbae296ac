//! Which task a session is given next, and the record of its try.

use super::Turn;
use crate::{
    lanes::Lane,
    ledger::{Work, queue_error},
    plan::{Gains, LostFacts, Plan, object},
    request::Unbuilt,
    settle::Op,
};
use hearth_clients::{Error, Result};
use hearth_proto::{
    types::v1::{TaskState, task_spec::Kind},
    workflow::v1::Request,
};
use hearth_queue::Claim;
use hearth_types::{TaskId, Timestamp};
use std::time::Duration;

/// Tasks that may end without anything sent, in one turn.
const MAX_SKIPPED: usize = 64;

/// How long a task that waits for another is left alone.
const HOLD: Duration = Duration::from_secs(1);

/// Whether a newer session than that of `epoch` has the task in flight.
fn is_newer(work: &Work, epoch: u64) -> bool {
    work.open_attempt()
        .is_some_and(|attempt| attempt.epoch > epoch)
}

impl Turn<'_> {
    /// Chooses the next task and records its try; the commit is still to come.
    pub(super) async fn next(
        &mut self,
        lane: &Lane,
        exclude: Option<TaskId>,
    ) -> Result<Option<(Work, Request)>> {
        for _ in 0..MAX_SKIPPED {
            let claim =
                self.inner
                    .queue
                    .claim(&self.device, self.epoch, self.lease, exclude, self.now);
            let Claim::Task { task, .. } = claim.await.map_err(queue_error)? else {
                return Ok(None);
            };
            let kept = lane.current.clone();
            let work = self.inner.ledger.newest(&self.device.tenant, task, kept);
            let work = work.await?;
            let Some(work) = work.filter(Work::is_open) else {
                // The index was behind the ledger.
                let gone = self.inner.queue.complete(&self.device, task).await;
                gone.map_err(queue_error)?;
                continue;
            };
            if is_newer(&work, self.epoch) {
                // The index is an older copy of itself (a failover): a session that it doesn't know
                // of has the task in flight. This one is over.
                return Ok(None);
            }
            if self.is_index_behind(&work).await? {
                if self.close {
                    return Ok(None);
                }
                continue;
            }
            let in_flight = work.open_attempt().is_some_and(|a| a.epoch == self.epoch);
            match self.start(work).await {
                Ok(Some(started)) => return Ok(Some(started)),
                Ok(None) => {}
                Err(error) => {
                    if !in_flight {
                        self.give_back(task).await?;
                    }
                    return Err(error);
                }
            }
        }
        Ok(None)
    }

    /// Whether the ledger says that a claimed task has nothing to send now: a write of an earlier
    /// turn was kept although its answer was lost. The queue is told.
    async fn is_index_behind(&mut self, work: &Work) -> Result<bool> {
        let not_before = Timestamp::from_micros(work.task.not_before_us);
        let op = match work.state() {
            TaskState::WaitingForDevice => {
                let last = work.task.attempts.last();
                let here = last.is_some_and(|attempt| attempt.epoch == self.epoch);
                let restarts = matches!(work.progress.plan, Some(Plan::Restart(_)));
                self.close |= here && restarts;
                Op::Park(work.id, work.deadline())
            }
            TaskState::Queued if work.open_attempt().is_none() && not_before > self.now => {
                Op::Release(work.id, not_before)
            }
            _ => return Ok(false),
        };
        self.inner.apply(&self.device, self.epoch, &[op]).await?;
        Ok(true)
    }

    /// The request of a task that was claimed. `None`: it has nothing to send now, which is in the
    /// ledger already.
    async fn start(&mut self, mut work: Work) -> Result<Option<(Work, Request)>> {
        let open_epoch = work.open_attempt().map(|attempt| attempt.epoch);
        if open_epoch == Some(self.epoch) {
            // In flight in this session: the same request again. Nothing is written before it leaves,
            // so it must be what was decided, and not the step before.
            let decided = self.inner.ledger.decided(&self.device.tenant, work.id);
            let decided = decided.await?;
            if decided.is_none_or(|decided| decided.task.revision > work.task.revision) {
                return Ok(None);
            }
            return match self.inner.build(&mut work).await {
                Ok(request) => Ok(Some((work, request))),
                // It may have left before, by another call: this turn alone fails. Where it didn't
                // leave, the next session finds that out.
                Err(unbuilt) => Err(Error::unavailable(unbuilt.reason())),
            };
        }
        let mut ops = Vec::new();
        if open_epoch.is_some() {
            // In flight in an earlier session that was not settled when this one was opened.
            let mut gains = Gains::new(work.task.result.take(), self.inner.limits());
            let facts = LostFacts {
                transfer_due: true,
                ..LostFacts::default()
            };
            self.inner
                .settle_lost(&mut work, &facts, self.now, &mut ops, &mut gains);
            self.inner.learn(&self.device, gains.learned);
            work.task.result = Some(gains.result);
            if work.state() != TaskState::Queued {
                return self.settle_now(work, ops).await;
            }
            ops.clear();
        }
        if work.is_past_deadline(self.now) && !work.progress.uncertain {
            self.inner.settle_deadline(&mut work, self.now, &mut ops);
            return self.settle_now(work, ops).await;
        }
        self.begin(work).await
    }

    /// Records a try and makes its first request.
    async fn begin(&mut self, mut work: Work) -> Result<Option<(Work, Request)>> {
        if let Some(first) = self.in_doubt_before(&work).await? {
            let ops = hold(&mut work, &first, self.now);
            return self.settle_now(work, ops).await;
        }
        if work.progress.plan.is_none() {
            work.progress.plan = Some(self.inner.new_plan(&work).await);
        }
        work.begin_attempt(&self.session, self.epoch, self.now);
        work.progress.step = 1;
        let request = match self.inner.build(&mut work).await {
            Ok(request) => request,
            Err(unbuilt) => return self.drop_now(work, unbuilt).await,
        };
        let rpc = work.task.attempts.last().map_or("", |a| a.rpc.as_str());
        let reason = format!("{rpc} was sent; the device's answer is due");
        work.set(TaskState::Running, reason);
        self.inner.metrics.attempt(work.label());
        self.started = Some(work.id);
        self.writes.push(work.clone());
        Ok(Some((work, request)))
    }

    /// Another AddObject on the same table of which it isn't known whether it was done: it is
    /// settled first, or its instance and this one's could not be told apart.
    async fn in_doubt_before(&self, work: &Work) -> Result<Option<Work>> {
        let table = |work: &Work| match work.kind() {
            Some(Kind::AddObject(add)) => Some(object::table_of(&add.object).to_owned()),
            _ => None,
        };
        let doubtful = |work: &Work| match &work.progress.plan {
            Some(Plan::Add(add)) => add.is_in_doubt(),
            _ => false,
        };
        let own = table(work);
        if own.is_none() || doubtful(work) {
            return Ok(None);
        }
        for other in self.inner.open_tasks_of(&self.device).await? {
            // This turn may have changed it.
            let changed = self.writes.iter().find(|write| write.id == other.id);
            let other = changed.unwrap_or(&other);
            if other.id != work.id && other.is_open() && doubtful(other) && table(other) == own {
                return Ok(Some(other.clone()));
            }
        }
        Ok(None)
    }

    async fn drop_now(
        &mut self,
        mut work: Work,
        unbuilt: Unbuilt,
    ) -> Result<Option<(Work, Request)>> {
        let before = self.ops.len();
        self.unbuilt(&mut work, unbuilt);
        let ops = self.ops.split_off(before);
        self.settle_now(work, ops).await
    }

    /// Writes a task that ended or waits before anything of it was sent. Where another replica has
    /// written it meanwhile, the next claim gives it again.
    async fn settle_now(&mut self, work: Work, ops: Vec<Op>) -> Result<Option<(Work, Request)>> {
        let mut works = [work];
        let commit = self
            .inner
            .record(&self.device, &self.session, self.epoch, &mut works, &ops);
        let _ = commit.await?;
        Ok(None)
    }
}

/// Lets a task wait for another.
fn hold(work: &mut Work, first: &Work, now: Timestamp) -> Vec<Op> {
    let not_before = now.max(Timestamp::from_micros(first.task.not_before_us));
    let not_before = not_before.saturating_add(HOLD);
    work.task.not_before_us = not_before.as_micros();
    work.set(
        TaskState::Queued,
        format!(
            "waits until it is known whether task {} has made an instance of this table",
            first.id
        ),
    );
    vec![Op::Release(work.id, not_before)]
}
