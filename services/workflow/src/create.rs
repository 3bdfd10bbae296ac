//! Tasks are made, cancelled, repeated, forgotten.

use crate::{
    ledger::{Work, queue_error, store_error},
    plan::Progress,
    service::{CONFLICTS, Inner, TRIES},
    settle::Op,
    validate,
};
use futures::{FutureExt, StreamExt, stream};
use hearth_clients::{Error, Kind as ErrorKind, Result};
use hearth_proto::{
    types::v1::{TaskSpec, TaskState},
    workflow::v1::{
        CancelTaskRequest, CancelTaskResponse, CreateTaskRequest, CreateTaskResponse,
        ForgetDeviceRequest, ForgetDeviceResponse, RetryTaskRequest, RetryTaskResponse, Task,
    },
};
use hearth_store::Created;
use hearth_types::{DeviceKey, TaskId, Timestamp};

/// Tasks of a device that are ended at once.
const AT_ONCE: usize = 16;

/// What a task is made of, checked and sealed.
pub(crate) struct NewTask {
    pub(crate) device: DeviceKey,
    pub(crate) spec: TaskSpec,
    pub(crate) priority: i32,
    pub(crate) deadline: Timestamp,
    pub(crate) max_attempts: u32,
    pub(crate) idempotency_key: String,
    pub(crate) retry_of: String,
    pub(crate) no_wake: bool,
}

impl Inner {
    pub(crate) async fn create_task(
        &self,
        request: CreateTaskRequest,
    ) -> Result<CreateTaskResponse> {
        let now = self.now();
        validate::idempotency_key(&request.idempotency_key)?;
        let device = DeviceKey::parse(&request.tenant, &request.device)?;
        // Before anything that may have changed since: its deadline may have passed, and the device
        // may have no room for another.
        if let Some(task) = self.made_before(&device, &request, now).await? {
            return Ok(CreateTaskResponse {
                task: Some(task),
                existed: true,
            });
        }
        validate::request(&request, now)?;
        let mut spec = request
            .spec
            .ok_or_else(|| Error::invalid("spec", "expected one kind of task"))?;
        validate::spec(&device, &spec)?;
        self.check_transfer(&device, &spec).await?;
        let span = validate::span(&spec, request.deadline_us, now)?;
        self.secrets.seal_spec(&device, &mut spec)?;
        let deadline = match request.deadline_us {
            0 => now.saturating_add(span.saturating_add(self.options.default_deadline.get())),
            at => Timestamp::from_micros(at),
        };
        let max_attempts = match request.max_attempts {
            0 => self.options.default_max_attempts,
            tries => tries,
        };
        let (task, existed) = self
            .make(
                NewTask {
                    device,
                    spec,
                    priority: request.priority,
                    deadline,
                    max_attempts,
                    idempotency_key: request.idempotency_key,
                    retry_of: String::new(),
                    no_wake: request.no_wake,
                },
                now,
            )
            .await?;
        Ok(CreateTaskResponse {
            task: Some(task),
            existed,
        })
    }

    /// The task that an earlier call with the same idempotency key has made.
    async fn made_before(
        &self,
        device: &DeviceKey,
        request: &CreateTaskRequest,
        now: Timestamp,
    ) -> Result<Option<Task>> {
        let key = request.idempotency_key.as_str();
        if key.is_empty() {
            return Ok(None);
        }
        let id = self.ledger.store().task_by_key(&device.tenant, key).await;
        let Some(id) = id.map_err(store_error)? else {
            return Ok(None);
        };
        let Some(work) = self.ledger.get(&device.tenant, id).await? else {
            return Ok(None);
        };
        self.take_up(&work, now).await?;
        Ok(Some(work.task))
    }

    /// The process that made the task may have died, or had no answer, before the queue had it.
    async fn take_up(&self, work: &Work, now: Timestamp) -> Result<()> {
        if work.is_open() {
            let entered = self.queue.enqueue(&work.device, self.entry(work, now));
            entered.await.map_err(queue_error)?;
            if !work.progress.no_wake {
                self.ask(&work.device, now).await;
            }
        }
        Ok(())
    }

    /// Enters a task: ledger, then queue, then the wake-up.
    pub(crate) async fn make(&self, new: NewTask, now: Timestamp) -> Result<(Task, bool)> {
        let device = new.device.clone();
        let (open, in_session) = match self.queue.peek(&device, now).await {
            Ok(peek) => (peek.open, peek.in_session),
            // Its index was lost. The ledger knows how many there are; and who is to be woken is
            // asked for when the index is whole, if then still without a session.
            Err(hearth_queue::Error::Rebuilding) => {
                (self.open_tasks_of(&device).await?.len(), false)
            }
            Err(error) => return Err(queue_error(error)),
        };
        if open >= self.options.max_open_per_device {
            return Err(Error::new(
                ErrorKind::ResourceExhausted,
                format!(
                    "device {} has {} open tasks, as many as it may; wait until some have ended, \
                     or cancel some",
                    device.device, open
                ),
            ));
        }
        let (ask, wake) = (!new.no_wake, !new.no_wake && !in_session);
        let key = new.idempotency_key.clone();
        let own = self.ids.next_id();
        let mut work = new_work(own, new, now, wake);
        let row = work.next_row(now);
        let key = (!key.is_empty()).then_some(key.as_str());
        let created = self.ledger.store().create_task(row, key).await;
        if let Created::Existed(id) = created.map_err(store_error)? {
            let first = self.ledger.get(&device.tenant, id).await?;
            let first = first.ok_or_else(|| {
                Error::internal(format!("task {id} of this idempotency key is gone"))
            })?;
            // The ledger may have tried twice: then it is this very call's.
            if id == own {
                self.metrics.created(first.label());
                self.changes.tell(&first, "", now, &self.metrics);
            }
            self.take_up(&first, now).await?;
            return Ok((first.task, id != own));
        }
        self.metrics.created(work.label());
        self.changes.tell(&work, "", now, &self.metrics);
        let entered = self.queue.enqueue(&device, self.entry(&work, now));
        entered.await.map_err(queue_error)?;
        if ask {
            // In a session, too: it may have asked for work for the last time meanwhile.
            self.ask(&device, now).await;
        }
        Ok((work.task, false))
    }

    pub(crate) async fn cancel_task(
        &self,
        request: CancelTaskRequest,
    ) -> Result<CancelTaskResponse> {
        let device = self.task(&request.tenant, &request.task).await?.device;
        let _lane = self.lanes.lock(&device).await;
        for _ in 0..TRIES {
            let work = self.task(&request.tenant, &request.task).await?;
            if let Some(task) = self.cancel(&device, work).await? {
                return Ok(CancelTaskResponse { task: Some(task) });
            }
        }
        Err(Error::unavailable(CONFLICTS))
    }

    /// `None`: another replica has written the task meanwhile.
    async fn cancel(&self, device: &DeviceKey, mut work: Work) -> Result<Option<Task>> {
        let refused = |why: String| Err(Error::new(ErrorKind::FailedPrecondition, why));
        let id = work.id;
        match work.state() {
            TaskState::Queued | TaskState::Waking
                if work.open_attempt().is_none() && !work.progress.uncertain => {}
            TaskState::Cancelled => return Ok(Some(work.task)),
            state if state.is_final() => {
                return refused(format!("task {id} has ended ({})", state.label()));
            }
            TaskState::WaitingForDevice => {
                return refused(format!(
                    "task {id} was sent and the device has it; it ends when the device reports, \
                     or at its deadline; a transfer can be cancelled at the device by a \
                     cancel_transfer task"
                ));
            }
            _ => {
                return refused(format!(
                    "task {id} was sent to the device; wait for its outcome, and undo it with \
                     another task if need be"
                ));
            }
        }
        work.set(TaskState::Cancelled, "cancelled before it was sent");
        let mut works = [work];
        let ops = [Op::Complete(id)];
        let recorded = self.record(device, "", u64::MAX, &mut works, &ops).await?;
        let [work] = works;
        Ok(recorded.then_some(work.task))
    }

    pub(crate) async fn retry_task(&self, request: RetryTaskRequest) -> Result<RetryTaskResponse> {
        let old = self.task(&request.tenant, &request.task).await?;
        let id = old.id;
        if !old.state().is_final() || old.state() == TaskState::Succeeded {
            let message = if old.state() == TaskState::Succeeded {
                format!("task {id} has succeeded; make a new task to do it again")
            } else {
                format!(
                    "task {id} has not ended ({}); it is retried by itself",
                    old.state().label()
                )
            };
            return Err(Error::new(ErrorKind::FailedPrecondition, message));
        }
        let now = self.now();
        let spec = old.task.spec.clone();
        let spec = spec.ok_or_else(|| Error::internal(format!("task {id} has no spec")))?;
        self.check_transfer(&old.device, &spec).await?;
        let span = validate::span(&spec, 0, now)?;
        let new = NewTask {
            device: old.device.clone(),
            spec,
            priority: old.task.priority,
            deadline: now.saturating_add(span.saturating_add(self.options.default_deadline.get())),
            max_attempts: old.task.max_attempts,
            idempotency_key: String::new(),
            retry_of: id.to_string(),
            no_wake: false,
        };
        let (task, _) = self.make(new, now).await?;
        Ok(RetryTaskResponse { task: Some(task) })
    }

    pub(crate) async fn forget_device(
        &self,
        request: ForgetDeviceRequest,
    ) -> Result<ForgetDeviceResponse> {
        let device = DeviceKey::parse(&request.tenant, &request.device)?;
        let mut lanes = self.lanes.lock(&device).await;
        lanes.remove(&device);
        self.waker.forget(&device);
        let now = self.now();
        let mut cancelled = 0;
        for _ in 0..TRIES {
            let open = self.open_tasks_of(&device).await?;
            if open.is_empty() {
                return Ok(ForgetDeviceResponse { cancelled });
            }
            let ends = open.into_iter().map(|mut work| {
                let device = &device;
                async move {
                    self.settle_forgotten(&mut work, now);
                    let ops = [Op::Complete(work.id)];
                    self.record(device, "", u64::MAX, &mut [work], &ops).await
                }
            });
            let ends: Vec<_> = ends.map(FutureExt::boxed).collect();
            let mut ends = stream::iter(ends).buffer_unordered(AT_ONCE);
            while let Some(ended) = ends.next().await {
                cancelled += u32::from(ended?);
            }
        }
        Err(Error::unavailable(CONFLICTS))
    }
}

fn new_work(id: TaskId, new: NewTask, now: Timestamp, wake: bool) -> Work {
    let mut work = Work {
        id,
        task: Task {
            id: id.to_string(),
            tenant: new.device.tenant.to_string(),
            device: new.device.device.to_string(),
            spec: Some(new.spec),
            priority: new.priority,
            deadline_us: new.deadline.as_micros(),
            create_time_us: now.as_micros(),
            max_attempts: new.max_attempts,
            idempotency_key: new.idempotency_key,
            retry_of: new.retry_of,
            ..Task::default()
        },
        device: new.device,
        progress: Progress {
            no_wake: new.no_wake,
            ..Progress::default()
        },
        told: TaskState::Unspecified,
    };
    if wake {
        work.set(TaskState::Waking, "the device is being asked to connect");
    } else {
        work.set(TaskState::Queued, "waits for the device's next session");
    }
    work.told = work.state();
    work
}
