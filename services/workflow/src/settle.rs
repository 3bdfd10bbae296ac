//! What an outcome, a lost session, an event or a passed deadline means for a task: its new state
//! with its reason, and what the queue is to be told once the ledger has it.

use crate::{
    ledger::{Work, queue_error},
    plan::{Lost, LostFacts, Verdict},
    service::Inner,
};
use hearth_clients::Error;
use hearth_proto::types::v1::{Fault, TaskState, task_spec::Kind};
use hearth_types::{DeviceKey, TaskId, Timestamp};

/// What the queue is told after the ledger was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    /// It has ended.
    Complete(TaskId),
    /// It waits for a session, not before this time.
    Release(TaskId, Timestamp),
    /// It waits for the device, until this time.
    Park(TaskId, Timestamp),
}

impl Op {
    const fn task(self) -> TaskId {
        match self {
            Self::Complete(task) | Self::Release(task, _) | Self::Park(task, _) => task,
        }
    }
}

/// What follows a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    /// The task's next request is sent.
    Send,
    /// The task has no more to send now.
    Free {
        /// Nor has any other, in this session.
        end_session: bool,
    },
}

impl Inner {
    /// Tells the queue. Behind the ledger, so that nothing is lost if it fails.
    pub(crate) async fn apply(
        &self,
        device: &DeviceKey,
        epoch: u64,
        ops: &[Op],
    ) -> Result<(), Error> {
        for op in ops {
            match *op {
                Op::Complete(task) => self.queue.complete(device, task).await,
                Op::Release(task, not_before) => {
                    let done = self.queue.release(device, task, epoch, not_before).await;
                    done.map(drop)
                }
                Op::Park(task, until) => {
                    let done = self.queue.park(device, task, epoch, until).await;
                    done.map(drop)
                }
            }
            .map_err(queue_error)?;
        }
        Ok(())
    }

    /// Writes works, in their order, and tells the queue of those that the ledger has. `false`:
    /// another replica has written one of them since it was read; from that one on nothing was
    /// done, and it is to be read and decided anew.
    #[must_use = "what was not written is to be decided anew"]
    pub(crate) async fn record(
        &self,
        device: &DeviceKey,
        session: &str,
        epoch: u64,
        works: &mut [Work],
        ops: &[Op],
    ) -> Result<bool, Error> {
        let written = self.write(device, session, works).await?;
        let refused = &works[written..];
        self.tell(device, epoch, ops, refused).await?;
        Ok(refused.is_empty())
    }

    /// Tells the queue of what was written, not of those whose writing was refused.
    pub(crate) async fn tell(
        &self,
        device: &DeviceKey,
        epoch: u64,
        ops: &[Op],
        refused: &[Work],
    ) -> Result<(), Error> {
        let is_refused = |op: &Op| refused.iter().any(|work| work.id == op.task());
        let ops: Vec<Op> = ops.iter().copied().filter(|op| !is_refused(op)).collect();
        self.apply(device, epoch, &ops).await
    }

    /// What a verdict means for the task.
    pub(crate) fn conclude(
        &self,
        work: &mut Work,
        verdict: Verdict,
        now: Timestamp,
        ops: &mut Vec<Op>,
    ) -> After {
        let mut end = false;
        match verdict {
            Verdict::Next => {
                work.progress.uncertain = false;
                return After::Send;
            }
            Verdict::Resend => {
                work.progress.uncertain = false;
                match self.may_send(work, now) {
                    Ok(()) => return After::Send,
                    Err((state, reason)) => self.end(work, state, reason, now, ops),
                }
            }
            Verdict::Done(reason) => self.end(work, TaskState::Succeeded, reason, now, ops),
            Verdict::Unknown(reason) => {
                self.end(work, TaskState::UnknownOutcome, reason, now, ops);
            }
            Verdict::Fail { fault, reason } => {
                work.set_fault(fault);
                let (state, reason) = match work.progress.uncertain {
                    // What failed is the question, not what was sent before.
                    true => (
                        TaskState::UnknownOutcome,
                        format!(
                            "whether it was done can't be known: the device was asked, and {reason}"
                        ),
                    ),
                    false => (TaskState::Failed, reason),
                };
                self.end(work, state, reason, now, ops);
            }
            Verdict::Wait {
                reason,
                end_session,
            } => {
                end = end_session;
                work.progress.uncertain = false;
                work.end_attempt(&reason, now);
                work.set(TaskState::WaitingForDevice, reason);
                ops.push(Op::Park(work.id, work.deadline()));
            }
            Verdict::Retry { fault, reason } => self.retry(work, fault, &reason, now, ops),
            Verdict::Doubt(reason) => {
                work.progress.uncertain = true;
                self.retry(work, None, &reason, now, ops);
            }
        }
        After::Free { end_session: end }
    }

    /// Ends a task.
    pub(crate) fn end(
        &self,
        work: &mut Work,
        state: TaskState,
        reason: impl Into<String>,
        now: Timestamp,
        ops: &mut Vec<Op>,
    ) {
        let reason = reason.into();
        work.end_attempt(&reason, now);
        work.set(state, reason);
        ops.push(Op::Complete(work.id));
    }

    /// Tries again later, if a try is left.
    pub(crate) fn retry(
        &self,
        work: &mut Work,
        fault: Option<Fault>,
        reason: &str,
        now: Timestamp,
        ops: &mut Vec<Op>,
    ) {
        work.set_fault(fault);
        work.end_attempt(reason, now);
        let tries = work.attempt_number();
        if tries >= work.task.max_attempts {
            let (state, doubt) = if work.progress.uncertain {
                (
                    TaskState::UnknownOutcome,
                    "whether it was done can't be known: ",
                )
            } else {
                (TaskState::Failed, "")
            };
            let reason = format!("{doubt}{reason}; all {tries} tries are used up");
            self.end(work, state, reason, now, ops);
            return;
        }
        let doubled = 1_u32 << tries.saturating_sub(1).min(16);
        let delay = self.options.retry_base.get().saturating_mul(doubled);
        let delay = delay.min(self.options.retry_max.get());
        let not_before = now.saturating_add(delay);
        work.task.not_before_us = not_before.as_micros();
        work.set(
            TaskState::Queued,
            format!(
                "{reason}; try {} of {} follows in {} s at the earliest",
                tries + 1,
                work.task.max_attempts,
                delay.as_secs()
            ),
        );
        ops.push(Op::Release(work.id, not_before));
    }

    /// Whether a request with an effect may (still) be sent.
    fn may_send(&self, work: &Work, now: Timestamp) -> Result<(), (TaskState, String)> {
        if work.is_past_deadline(now) {
            return Err((
                TaskState::Expired,
                "the device has not done it, and the deadline has passed".to_owned(),
            ));
        }
        if work.attempt_number() > work.task.max_attempts {
            return Err((
                TaskState::Failed,
                format!(
                    "the device has not done it: each of {} sessions ended before its answer",
                    work.task.max_attempts
                ),
            ));
        }
        Ok(())
    }

    /// The session that had the task in flight has ended without an answer.
    pub(crate) fn settle_lost(
        &self,
        work: &mut Work,
        facts: &LostFacts,
        now: Timestamp,
        ops: &mut Vec<Op>,
        gains: &mut crate::plan::Gains,
    ) {
        self.metrics.lost.inc();
        let kind = work.task.spec.as_ref().and_then(|spec| spec.kind.as_ref());
        let lost = match (&mut work.progress.plan, kind) {
            (Some(plan), Some(kind)) => plan.lost(kind, facts, gains),
            _ => Lost::Again,
        };
        work.end_attempt(LOST, now);
        match lost {
            Lost::Again if work.attempt_number() >= work.task.max_attempts => {
                let tries = work.attempt_number();
                let reason = format!("{LOST}; all {tries} tries are used up");
                match has_effect(work) {
                    true => {
                        let reason = format!("whether it was done can't be known: {reason}");
                        self.end(work, TaskState::UnknownOutcome, reason, now, ops);
                    }
                    false => self.end(work, TaskState::Failed, reason, now, ops),
                }
            }
            Lost::Again => {
                work.set(
                    TaskState::Queued,
                    format!("{LOST}; it is sent again in the next session"),
                );
                ops.push(Op::Release(work.id, Timestamp::ZERO));
            }
            Lost::Check => {
                work.progress.uncertain = true;
                work.set(
                    TaskState::Queued,
                    format!("{LOST}; the next session asks the device whether it was done"),
                );
                ops.push(Op::Release(work.id, Timestamp::ZERO));
            }
            Lost::Done(reason) => self.end(work, TaskState::Succeeded, reason, now, ops),
            Lost::Wait(reason) => {
                work.set(TaskState::WaitingForDevice, reason);
                ops.push(Op::Park(work.id, work.deadline()));
            }
        }
    }

    /// The device is forgotten: what was sent to it may have been done.
    pub(crate) fn settle_forgotten(&self, work: &mut Work, now: Timestamp) {
        let sent = work.state() == TaskState::WaitingForDevice
            || work.progress.uncertain
            || (work.open_attempt().is_some() && has_effect(work));
        let (state, reason) = match sent {
            true => (
                TaskState::UnknownOutcome,
                "the device was deleted after it was sent: whether it was done can't be known",
            ),
            false => (TaskState::Cancelled, "the device was deleted"),
        };
        work.end_attempt(reason, now);
        work.set(state, reason);
    }

    /// The deadline has passed, and no session has the task.
    pub(crate) fn settle_deadline(&self, work: &mut Work, now: Timestamp, ops: &mut Vec<Op>) {
        let (state, reason) = deadline_passed(work);
        self.end(work, state, reason, now, ops);
    }
}

/// The outcome of an attempt whose answer never came.
const LOST: &str = "the session ended before the device's answer";

/// Whether the last request, which may have arrived, may have changed something: then FAILED, which
/// says that nothing was done, would be a guess. The RPC counts, not the task's kind: an AddObject
/// begins with a read and ends with setting values.
fn has_effect(work: &Work) -> bool {
    let rpc = work.task.attempts.last().map_or("", |a| a.rpc.as_str());
    matches!(
        rpc,
        "SetParameterValues"
            | "SetParameterAttributes"
            | "AddObject"
            | "DeleteObject"
            | "ScheduleInform"
            | "Download"
            | "Upload"
            | "ScheduleDownload"
            | "CancelTransfer"
            | "ChangeDUState"
            | "Reboot"
            | "FactoryReset"
    )
}

/// What a passed deadline makes of a task that is in no session.
fn deadline_passed(work: &Work) -> (TaskState, String) {
    let unanswered = work.open_attempt().is_some();
    if work.state() == TaskState::WaitingForDevice {
        let missing = match work.kind() {
            Some(Kind::Reboot(_)) => "no Inform with M Reboot and this task's CommandKey came",
            Some(Kind::FactoryReset(_)) => "no Inform with 0 BOOTSTRAP came",
            Some(Kind::ChangeDuState(_)) => {
                "no DUStateChangeComplete came; read Device.SoftwareModules.DeploymentUnit."
            }
            Some(Kind::Download(_) | Kind::ScheduleDownload(_)) => {
                "no TransferComplete came; compare the version that the device runs"
            }
            _ => "no TransferComplete came",
        };
        let reason =
            format!("the deadline has passed and {missing}: whether it was done can't be known");
        return (TaskState::UnknownOutcome, reason);
    }
    let last = work.task.attempts.last();
    let lost = unanswered || last.is_some_and(|attempt| attempt.outcome == LOST);
    if work.progress.uncertain || (lost && has_effect(work)) {
        return (
            TaskState::UnknownOutcome,
            "it was sent, the session ended before the answer, and the device did not come back \
             before the deadline"
                .to_owned(),
        );
    }
    match work.attempt_number() {
        0 => (
            TaskState::Expired,
            "the device had no session before the deadline".to_owned(),
        ),
        tries => {
            let last = work.task.attempts.last().map_or("", |a| a.outcome.as_str());
            let last = if last.is_empty() {
                "the session ended before the device's answer"
            } else {
                last
            };
            (
                TaskState::Failed,
                format!("the deadline has passed after {tries} tries; the last: {last}"),
            )
        }
    }
}
