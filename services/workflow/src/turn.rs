//! A turn of a session: the answer to the request in flight is settled, the next request chosen,
//! and both written to the ledger in one commit before the request leaves.

mod cancelled;
mod choose;

use crate::{
    lanes::{Lane, Lanes},
    ledger::{Work, queue_error},
    plan::{Gains, Plan},
    request::Unbuilt,
    service::{CONFLICTS, Inner, TRIES},
    settle::{After, Op},
};
use hearth_clients::{Error, Result};
use hearth_proto::{
    types::v1::TaskState,
    workflow::v1::{
        Empty, NextRequestRequest, NextRequestResponse, Request, RequestOutcome,
        next_request_response::Kind as Next, request_outcome::Kind as Answer,
    },
};
use hearth_queue::Claim;
use hearth_types::{CommandKey, DeviceKey, TaskId, Timestamp};
use std::time::Duration;

/// What a turn has come to so far.
struct Turn<'a> {
    inner: &'a Inner,
    device: DeviceKey,
    epoch: u64,
    session: String,
    lease: Duration,
    now: Timestamp,
    /// Tasks to write.
    writes: Vec<Work>,
    /// What the queue is told then.
    ops: Vec<Op>,
    /// A task that was claimed in this turn and is among `writes`.
    started: Option<TaskId>,
    /// Nothing more is sent in this session.
    close: bool,
    /// The device is to be asked for another session.
    wake: bool,
}

/// What a turn answers.
enum Reply {
    Request(Box<Work>, Box<Request>),
    Done {
        close: bool,
        wake: bool,
    },
    Fenced,
    /// Another replica has written one of the tasks meanwhile. What the ledger has of this turn the
    /// queue was told; the rest is decided anew.
    Again,
}

impl Inner {
    pub(crate) async fn next_request(
        &self,
        request: NextRequestRequest,
    ) -> Result<NextRequestResponse> {
        let device = DeviceKey::parse(&request.tenant, &request.device)?;
        let now = self.now();
        if request.outcome.is_none() {
            // The idle device's turn: no lock, no disk.
            let lease = self.options.lease.get();
            let claim = self.queue.claim(&device, request.epoch, lease, None, now);
            match claim.await.map_err(queue_error)? {
                Claim::Empty => return Ok(reply(Next::Done(Empty {}))),
                Claim::Fenced => return Ok(self.fenced()),
                Claim::Task { .. } => {}
            }
        }
        let mut lanes = self.lanes.lock(&device).await;
        let lane = lane(&mut lanes, &device, request.epoch, self.options.lease.get());
        let Some(lane) = lane else {
            return Ok(self.fenced());
        };
        let mut done = Ok(Reply::Again);
        for _ in 0..TRIES {
            let turn = Turn {
                inner: self,
                device: device.clone(),
                epoch: request.epoch,
                session: request.session.clone(),
                lease: lane.lease,
                now,
                writes: Vec::new(),
                ops: Vec::new(),
                started: None,
                close: false,
                wake: false,
            };
            let outcome = request.outcome.clone();
            done = Box::pin(turn.run(lane, outcome, request.last)).await;
            if !matches!(done, Ok(Reply::Again)) {
                break;
            }
            lane.current = None;
        }
        match done {
            Ok(Reply::Request(work, request)) => {
                lane.current = Some(*work);
                Ok(reply(Next::Request(*request)))
            }
            Ok(Reply::Done { close, wake }) => {
                lanes.remove(&device);
                if close {
                    let closed = self.queue.close_session(&device, request.epoch).await;
                    closed.map_err(queue_error)?;
                }
                if wake {
                    self.ask(&device, now).await;
                }
                Ok(reply(Next::Done(Empty {})))
            }
            Ok(Reply::Fenced) => {
                lanes.remove(&device);
                Ok(self.fenced())
            }
            Ok(Reply::Again) => Err(Error::unavailable(CONFLICTS)),
            Err(error) => {
                // What the ledger has is not known: it is read again.
                lane.current = None;
                Err(error)
            }
        }
    }

    fn fenced(&self) -> NextRequestResponse {
        self.metrics.fenced.inc();
        reply(Next::Fenced(Empty {}))
    }
}

fn reply(kind: Next) -> NextRequestResponse {
    NextRequestResponse { kind: Some(kind) }
}

/// The lane of a session; `None` when a newer one has it.
fn lane<'a>(
    lanes: &'a mut Lanes,
    device: &DeviceKey,
    epoch: u64,
    lease: Duration,
) -> Option<&'a mut Lane> {
    let new = || Lane {
        epoch,
        lease,
        current: None,
    };
    let lane = lanes.entry(device.clone()).or_insert_with(new);
    if lane.epoch > epoch {
        return None;
    }
    if lane.epoch < epoch {
        *lane = new();
    }
    Some(lane)
}

impl Turn<'_> {
    async fn run(
        mut self,
        lane: &mut Lane,
        outcome: Option<RequestOutcome>,
        last: bool,
    ) -> Result<Reply> {
        let mut exclude = None;
        if let Some(outcome) = outcome {
            let current = lane.current.as_ref().map(|work| work.id);
            let task = current.or_else(|| task_of(&outcome.request_id));
            let renewed =
                self.inner
                    .queue
                    .renew(&self.device, self.epoch, task, self.lease, self.now);
            let renewed = renewed.await.map_err(queue_error);
            if matches!(renewed, Ok(false)) {
                return Ok(Reply::Fenced);
            }
            // The device tells an outcome once. Without the queue the ledger decides alone: a newer
            // session would have settled the attempt, or does upon what is written now.
            match self.answered(lane, outcome).await? {
                None => {
                    renewed?;
                }
                Some((work, After::Send)) if last => self.break_off(work),
                Some((work, After::Send)) => return self.go_on(lane, work).await,
                Some((work, After::Free { end_session })) => {
                    exclude = Some(work.id);
                    self.writes.push(work);
                    if end_session {
                        self.close = true;
                        return self.finish(None).await;
                    }
                }
            }
        }
        if last {
            self.close = true;
            return self.finish(None).await;
        }
        match self.next(lane, exclude).await {
            Ok(next) => self.finish(next).await,
            Err(error) => self.keep(error).await,
        }
    }

    /// Writes the outcome that was settled, though nothing can be sent behind it because of `error`.
    async fn keep(self, error: Error) -> Result<Reply> {
        if self.writes.is_empty() {
            return Err(error);
        }
        match self.finish(None).await? {
            Reply::Again => Ok(Reply::Again),
            _ => Err(error),
        }
    }

    /// The session can't go on; the task does, in the next one.
    fn break_off(&mut self, mut work: Work) {
        let reason = "the device's answer was more than this server takes";
        work.end_attempt(reason, self.now);
        work.set(
            TaskState::Queued,
            format!("{reason}; the next session asks for less at once"),
        );
        self.ops.push(Op::Release(work.id, Timestamp::ZERO));
        self.wake |= !work.progress.no_wake;
        self.writes.push(work);
    }

    /// Settles an answer. `None`: it belongs to nothing in flight (a repeated turn).
    async fn answered(
        &mut self,
        lane: &Lane,
        outcome: RequestOutcome,
    ) -> Result<Option<(Work, After)>> {
        let mut found = self.in_flight(lane, &outcome.request_id).await?;
        if found.is_none() {
            // Some devices echo an earlier request's id.
            found = self.in_flight(lane, &outcome.recorded_request_id).await?;
        }
        let (Some(mut work), Some(mut answer)) = (found, outcome.kind) else {
            return Ok(None);
        };
        if let Answer::Values(values) = &mut answer {
            for value in &mut values.values {
                self.inner.secrets.seal_value(&self.device, value)?;
            }
        }
        let mut gains = Gains::new(work.task.result.take(), self.inner.limits());
        let kind = work.task.spec.as_ref().and_then(|spec| spec.kind.as_ref());
        let (Some(plan), Some(kind)) = (&mut work.progress.plan, kind) else {
            return Ok(None);
        };
        let verdict = plan.outcome(kind, answer, &mut gains);
        self.inner
            .publish_gains(&work, &self.session, self.now, &mut gains)
            .await?;
        work.task.result = Some(std::mem::take(&mut gains.result));
        self.inner.learn(&self.device, gains.learned);
        if let Some(transfer) = gains.cancelled {
            self.end_cancelled(transfer, work.id).await?;
        }
        let after = self
            .inner
            .conclude(&mut work, verdict, self.now, &mut self.ops);
        Ok(Some((work, after)))
    }

    /// The task of which this request is in flight, in this session.
    async fn in_flight(&self, lane: &Lane, request_id: &str) -> Result<Option<Work>> {
        let Some(task) = task_of(request_id) else {
            return Ok(None);
        };
        let kept = lane.current.clone();
        let work = self.inner.ledger.newest(&self.device.tenant, task, kept);
        let work = work.await?;
        Ok(work.filter(|work| {
            work.device == self.device
                && work.is_open()
                && work.open_attempt().is_some_and(|a| a.epoch == self.epoch)
                && work.request_id() == request_id
        }))
    }

    /// The next step of the task in flight.
    async fn go_on(mut self, lane: &mut Lane, mut work: Work) -> Result<Reply> {
        work.progress.step += 1;
        let request = match self.inner.build(&mut work).await {
            Ok(request) => request,
            Err(unbuilt) => {
                self.unbuilt(&mut work, unbuilt);
                let id = work.id;
                self.writes.push(work);
                return match self.next(lane, Some(id)).await {
                    Ok(next) => self.finish(next).await,
                    Err(error) => self.keep(error).await,
                };
            }
        };
        let rpc = work.task.attempts.last().map_or("", |a| a.rpc.as_str());
        work.task.reason = format!("{rpc} was sent; the device's answer is due");
        let volatile = work.progress.plan.as_ref().is_some_and(Plan::is_volatile);
        let checkpoint = self.inner.options.checkpoint_steps.max(1);
        if volatile && !work.progress.step.is_multiple_of(checkpoint) {
            return Ok(Reply::Request(Box::new(work), Box::new(request)));
        }
        // Behind what the same answer says of other tasks.
        self.writes.push(work);
        let mut writes = std::mem::take(&mut self.writes);
        let commit = self.inner.record(
            &self.device,
            &self.session,
            self.epoch,
            &mut writes,
            &self.ops,
        );
        if !commit.await? {
            return Ok(Reply::Again);
        }
        let work = writes.pop();
        let work = work.ok_or_else(|| Error::internal("a turn lost its task"))?;
        Ok(Reply::Request(Box::new(work), Box::new(request)))
    }

    fn unbuilt(&mut self, work: &mut Work, unbuilt: Unbuilt) {
        let inner = self.inner;
        match unbuilt {
            Unbuilt::Never(reason) => {
                inner.end(work, TaskState::Failed, reason, self.now, &mut self.ops);
            }
            Unbuilt::NotNow(reason) => {
                inner.retry(work, None, &reason, self.now, &mut self.ops);
            }
            Unbuilt::Ended(state, reason) => {
                inner.end(work, state, reason, self.now, &mut self.ops);
            }
        }
    }

    /// A claimed task goes back: nothing of it was sent.
    async fn give_back(&self, task: TaskId) -> Result<()> {
        let (queue, at) = (&self.inner.queue, Timestamp::ZERO);
        let back = queue.release(&self.device, task, self.epoch, at).await;
        back.map(drop).map_err(queue_error)
    }

    /// Writes what the turn has come to, then tells the queue.
    async fn finish(mut self, next: Option<(Work, Request)>) -> Result<Reply> {
        let mut writes = std::mem::take(&mut self.writes);
        let commit = self.inner.write(&self.device, &self.session, &mut writes);
        let written = match commit.await {
            Ok(written) => written,
            Err(error) => {
                // The device asks again: the task that ended is still in flight, the next one isn't.
                if let Some(task) = self.started {
                    self.give_back(task).await?;
                }
                return Err(error);
            }
        };
        let refused = &writes[written..];
        let told = self
            .inner
            .tell(&self.device, self.epoch, &self.ops, refused);
        told.await?;
        if !refused.is_empty() {
            return Ok(Reply::Again);
        }
        // Its next revision follows that one.
        let started = writes.into_iter().find(|w| Some(w.id) == self.started);
        Ok(match (next, started) {
            (Some((_, request)), Some(work)) | (Some((work, request)), None) => {
                Reply::Request(Box::new(work), Box::new(request))
            }
            (None, _) => Reply::Done {
                close: self.close,
                wake: self.wake,
            },
        })
    }
}

/// The task of a request id `{task}.{attempt}.{step}`.
fn task_of(request_id: &str) -> Option<TaskId> {
    let (key, _step) = request_id.rsplit_once('.')?;
    key.parse::<CommandKey>().ok().map(|key| key.task)
}
