//! A turn of a session: the answer to the request in flight is settled, the next request chosen,
//! and both written to the ledger in one commit before the request leaves.

use crate::{
    lanes::{Lane, Lanes},
    ledger::{Work, queue_error},
    plan::{Gains, LostFacts, Plan},
    request::Unbuilt,
    service::Inner,
    settle::{After, Op},
};
use hearth_clients::Result;
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

/// Tasks that may end without anything sent, in one turn.
const MAX_SKIPPED: usize = 64;

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
}

/// What a turn answers.
enum Reply {
    Request(Box<Work>, Request),
    Done { close: bool },
    Fenced,
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
        let turn = Turn {
            inner: self,
            device: device.clone(),
            epoch: request.epoch,
            session: request.session,
            lease: lane.lease,
            now,
            writes: Vec::new(),
            ops: Vec::new(),
            started: None,
            close: false,
        };
        let done = turn.run(lane, request.outcome).await;
        match done {
            Ok(Reply::Request(work, request)) => {
                lane.current = Some(*work);
                Ok(reply(Next::Request(request)))
            }
            Ok(Reply::Done { close }) => {
                lanes.remove(&device);
                if close {
                    let closed = self.queue.close_session(&device, request.epoch).await;
                    closed.map_err(queue_error)?;
                }
                Ok(reply(Next::Done(Empty {})))
            }
            Ok(Reply::Fenced) => {
                lanes.remove(&device);
                Ok(self.fenced())
            }
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
    async fn run(mut self, lane: &mut Lane, outcome: Option<RequestOutcome>) -> Result<Reply> {
        let mut exclude = None;
        if let Some(outcome) = outcome {
            let task = task_of(&outcome.request_id);
            let renewed =
                self.inner
                    .queue
                    .renew(&self.device, self.epoch, task, self.lease, self.now);
            if !renewed.await.map_err(queue_error)? {
                return Ok(Reply::Fenced);
            }
            match self.answered(lane, outcome).await? {
                None => {}
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
        let next = self.next(lane, exclude).await?;
        self.finish(next).await
    }

    /// Settles an answer. `None`: it belongs to nothing in flight (a repeated turn).
    async fn answered(
        &mut self,
        lane: &Lane,
        outcome: RequestOutcome,
    ) -> Result<Option<(Work, After)>> {
        let Some(task) = task_of(&outcome.request_id) else {
            return Ok(None);
        };
        let cached = lane
            .current
            .as_ref()
            .filter(|work| work.id == task)
            .cloned();
        let work = match cached {
            Some(work) => Some(work),
            None => self.inner.ledger.get(&self.device.tenant, task).await?,
        };
        let Some(mut work) = work else {
            return Ok(None);
        };
        let in_flight = work.device == self.device
            && work.is_open()
            && work.open_attempt().is_some_and(|a| a.epoch == self.epoch)
            && work.request_id() == outcome.request_id;
        let Some(mut answer) = outcome.kind.filter(|_| in_flight) else {
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
        let after = self
            .inner
            .conclude(&mut work, verdict, self.now, &mut self.ops);
        Ok(Some((work, after)))
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
                let next = self.next(lane, Some(id)).await?;
                return self.finish(next).await;
            }
        };
        let rpc = work.task.attempts.last().map_or("", |a| a.rpc.as_str());
        work.task.reason = format!("{rpc} was sent; the device's answer is due");
        let volatile = work.progress.plan.as_ref().is_some_and(Plan::is_volatile);
        let checkpoint = self.inner.options.checkpoint_steps.max(1);
        if volatile && !work.progress.step.is_multiple_of(checkpoint) {
            return Ok(Reply::Request(Box::new(work), request));
        }
        let mut works = [work];
        let commit = self.inner.commit(&self.device, &self.session, &mut works);
        commit.await?;
        let [work] = works;
        Ok(Reply::Request(Box::new(work), request))
    }

    /// Chooses the next task and records its try; the commit is still to come.
    async fn next(
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
            let cached = lane
                .current
                .as_ref()
                .filter(|work| work.id == task)
                .cloned();
            let work = match cached {
                Some(work) => Some(work),
                None => self.inner.ledger.get(&self.device.tenant, task).await?,
            };
            let Some(work) = work.filter(Work::is_open) else {
                // The index was behind the ledger.
                let gone = self.inner.queue.complete(&self.device, task).await;
                gone.map_err(queue_error)?;
                continue;
            };
            if self.is_index_behind(&work).await? {
                if self.close {
                    return Ok(None);
                }
                continue;
            }
            match self.start(work).await {
                Ok(Some(started)) => return Ok(Some(started)),
                Ok(None) => {}
                Err(error) => {
                    let back =
                        self.inner
                            .queue
                            .release(&self.device, task, self.epoch, Timestamp::ZERO);
                    back.await.map_err(queue_error)?;
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
            // In flight in this session: the same request again.
            return match self.inner.build(&mut work).await {
                Ok(request) => Ok(Some((work, request))),
                Err(unbuilt) => self.drop_now(work, unbuilt).await,
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

    /// Writes a task that ended or waits before anything of it was sent.
    async fn settle_now(&mut self, work: Work, ops: Vec<Op>) -> Result<Option<(Work, Request)>> {
        let mut works = [work];
        let commit = self.inner.commit(&self.device, &self.session, &mut works);
        commit.await?;
        self.inner.apply(&self.device, self.epoch, &ops).await?;
        Ok(None)
    }

    /// Writes what the turn has come to, then tells the queue.
    async fn finish(mut self, next: Option<(Work, Request)>) -> Result<Reply> {
        let mut writes = std::mem::take(&mut self.writes);
        let commit = self.inner.commit(&self.device, &self.session, &mut writes);
        if let Err(error) = commit.await {
            // The device asks again: the task that ended is still in flight, the next one isn't.
            if let Some(task) = self.started {
                let back =
                    self.inner
                        .queue
                        .release(&self.device, task, self.epoch, Timestamp::ZERO);
                back.await.map_err(queue_error)?;
            }
            return Err(error);
        }
        self.inner
            .apply(&self.device, self.epoch, &self.ops)
            .await?;
        // Its next revision follows that one.
        let started = writes.into_iter().find(|w| Some(w.id) == self.started);
        Ok(match (next, started) {
            (Some((_, request)), Some(work)) | (Some((work, request)), None) => {
                Reply::Request(Box::new(work), request)
            }
            (None, _) => Reply::Done { close: self.close },
        })
    }
}

/// The task of a request id `{task}.{attempt}.{step}`.
fn task_of(request_id: &str) -> Option<TaskId> {
    let (key, _step) = request_id.rsplit_once('.')?;
    key.parse::<CommandKey>().ok().map(|key| key.task)
}
