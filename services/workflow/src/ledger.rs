//! Tasks as the ledger keeps them, and a task while it is worked on.

use crate::plan::Progress;
use hearth_clients::Error;
use hearth_proto::{
    convert,
    types::v1::{Fault, TaskAttempt, TaskState, task_spec::Kind},
    workflow::v1 as wf,
};
use hearth_store::{Store, TaskRow};
use hearth_telemetry::IntCounter;
use hearth_types::{CommandKey, DeviceKey, TaskId, TenantId, Timestamp};
use prost::Message;
use std::sync::Arc;

/// A task with its progress decoded.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    pub(crate) id: TaskId,
    pub(crate) device: DeviceKey,
    pub(crate) task: wf::Task,
    pub(crate) progress: Progress,
    /// The state that was last told on the bus.
    pub(crate) told: TaskState,
}

impl Work {
    /// Reads a row.
    ///
    /// # Errors
    /// [`hearth_clients::Kind::Internal`]: the row is damaged.
    pub(crate) fn decode(row: &TaskRow) -> Result<Self, Error> {
        let damaged = |what: &str| {
            tracing::error!(task = %row.id, device = %row.device, what, "a task in the ledger is damaged");
            Error::internal(format!("task {} is damaged in the ledger", row.id))
        };
        let task = wf::Task::decode(row.payload.as_slice()).map_err(|_| damaged("message"))?;
        if task.spec.as_ref().and_then(|s| s.kind.as_ref()).is_none() {
            return Err(damaged("spec"));
        }
        let progress = Progress::decode(&task.progress).ok_or_else(|| damaged("progress"))?;
        Ok(Self {
            id: row.id,
            device: row.device.clone(),
            told: task.state(),
            task,
            progress,
        })
    }

    /// The row of its next revision.
    pub(crate) fn next_row(&mut self, now: Timestamp) -> TaskRow {
        self.task.revision += 1;
        self.task.update_time_us = now.as_micros();
        self.task.progress = if self.is_open() {
            self.progress.encode()
        } else {
            Vec::new()
        };
        TaskRow {
            id: self.id,
            device: self.device.clone(),
            open: self.is_open(),
            revision: self.task.revision,
            payload: self.task.encode_to_vec(),
        }
    }

    pub(crate) fn state(&self) -> TaskState {
        self.task.state()
    }

    pub(crate) fn is_open(&self) -> bool {
        !self.task.state().is_final()
    }

    /// What it does, in snake case.
    pub(crate) fn label(&self) -> &'static str {
        self.task.spec.as_ref().map_or("", |spec| spec.label())
    }

    pub(crate) fn kind(&self) -> Option<&Kind> {
        self.task.spec.as_ref().and_then(|spec| spec.kind.as_ref())
    }

    pub(crate) fn deadline(&self) -> Timestamp {
        Timestamp::from_micros(self.task.deadline_us)
    }

    pub(crate) fn is_past_deadline(&self, now: Timestamp) -> bool {
        self.deadline().is_set() && self.deadline() <= now
    }

    /// The attempt whose outcome is not known yet.
    pub(crate) fn open_attempt(&self) -> Option<&TaskAttempt> {
        self.task
            .attempts
            .last()
            .filter(|attempt| attempt.end_time.is_none())
    }

    /// The number of the last attempt, 0 before the first.
    pub(crate) fn attempt_number(&self) -> u32 {
        self.task
            .attempts
            .last()
            .map_or(0, |attempt| attempt.number)
    }

    /// CommandKey and ParameterKey of the last attempt.
    pub(crate) fn key(&self) -> CommandKey {
        CommandKey {
            task: self.id,
            attempt: self.attempt_number(),
        }
    }

    /// The cwmp:ID of the request in flight.
    pub(crate) fn request_id(&self) -> String {
        format!("{}.{}", self.key(), self.progress.step)
    }

    /// Records a try; its RPC may leave once the ledger has it.
    pub(crate) fn begin_attempt(&mut self, session: &str, epoch: u64, now: Timestamp) {
        self.task.attempts.push(TaskAttempt {
            number: self.attempt_number() + 1,
            session: session.to_owned(),
            epoch,
            rpc: String::new(),
            start_time: convert::timestamp(now.as_micros()),
            end_time: None,
            outcome: String::new(),
        });
        self.progress.step = 0;
        self.task.not_before_us = 0;
    }

    /// Says which RPC the attempt sends next.
    pub(crate) fn note_rpc(&mut self, rpc: &str) {
        if let Some(attempt) = self.task.attempts.last_mut() {
            rpc.clone_into(&mut attempt.rpc);
        }
    }

    /// Ends the attempt in flight, if any.
    pub(crate) fn end_attempt(&mut self, outcome: &str, now: Timestamp) {
        if let Some(attempt) = self.task.attempts.last_mut()
            && attempt.end_time.is_none()
        {
            attempt.end_time = convert::timestamp(now.as_micros());
            outcome.clone_into(&mut attempt.outcome);
        }
    }

    pub(crate) fn set(&mut self, state: TaskState, reason: impl Into<String>) {
        self.task.set_state(state);
        self.task.reason = reason.into();
    }

    pub(crate) fn set_fault(&mut self, fault: Option<Fault>) {
        if fault.is_some() {
            self.task.fault = fault;
        }
    }
}

/// The ledger: the store's errors as those of a service.
pub(crate) struct Ledger {
    store: Arc<dyn Store>,
    /// Rows that were left out.
    damaged: IntCounter,
}

impl Ledger {
    pub(crate) fn new(store: Arc<dyn Store>, damaged: IntCounter) -> Self {
        Self { store, damaged }
    }

    pub(crate) fn store(&self) -> &dyn Store {
        self.store.as_ref()
    }

    /// A task, if there is one. For who asks for it by its id: a damaged one is an error.
    pub(crate) async fn get(&self, tenant: &TenantId, id: TaskId) -> Result<Option<Work>, Error> {
        let row = self.store.task(tenant, id).await.map_err(store_error)?;
        row.as_ref().map(Work::decode).transpose()
    }

    /// A task to be worked on, if there is one. A damaged one is as if it were not there: whoever
    /// has it in an index takes it out, and the device's others go on.
    pub(crate) async fn sound(&self, tenant: &TenantId, id: TaskId) -> Result<Option<Work>, Error> {
        match self.store.task(tenant, id).await {
            Ok(row) => Ok(row.and_then(|row| self.read(&row))),
            Err(hearth_store::Error::Damaged(what)) => {
                tracing::error!(task = %id, %tenant, what, "a task in the ledger is damaged");
                self.damaged.inc();
                Ok(None)
            }
            Err(error) => Err(store_error(error)),
        }
    }

    /// A task as it is now, where a part of its steps may only be in `kept`, what this process has of
    /// its session: that counts unless another replica has written the task since.
    pub(crate) async fn newest(
        &self,
        tenant: &TenantId,
        id: TaskId,
        kept: Option<Work>,
    ) -> Result<Option<Work>, Error> {
        let written = self.sound(tenant, id).await?;
        Ok(match (kept, written) {
            (Some(kept), Some(written))
                if kept.id == id && kept.task.revision >= written.task.revision =>
            {
                Some(kept)
            }
            (_, written) => written,
        })
    }

    /// The task of a row; `None` for a damaged one, which is logged and counted.
    pub(crate) fn read(&self, row: &TaskRow) -> Option<Work> {
        let work = Work::decode(row);
        if work.is_err() {
            self.damaged.inc();
        }
        work.ok()
    }

    /// A task as it was decided, where nothing will be written that would prove it.
    pub(crate) async fn decided(
        &self,
        tenant: &TenantId,
        id: TaskId,
    ) -> Result<Option<Work>, Error> {
        let row = self.store.decided_task(tenant, id).await;
        Ok(row.map_err(store_error)?.and_then(|row| self.read(&row)))
    }

    /// Writes tasks' next revisions, in their order; how many. Fewer than all: another replica has
    /// written the next one since it was read.
    pub(crate) async fn put(&self, rows: Vec<TaskRow>) -> Result<usize, Error> {
        if rows.is_empty() {
            return Ok(0);
        }
        let ids: Vec<TaskId> = rows.iter().map(|row| row.id).collect();
        match self.store.put_tasks(rows).await {
            Ok(()) => Ok(ids.len()),
            Err(hearth_store::Error::Conflict(task)) => {
                Ok(ids.iter().position(|id| *id == task).unwrap_or(0))
            }
            Err(error) => Err(store_error(error)),
        }
    }
}

/// What a store's error means to a caller.
pub(crate) fn store_error(error: hearth_store::Error) -> Error {
    error.into()
}

/// What a queue's error means to a caller.
pub(crate) fn queue_error(error: hearth_queue::Error) -> Error {
    tracing::warn!(%error, "the task queue is unavailable");
    Error::unavailable("the task queue is unavailable; try again")
}

/// What a bus's error means to a caller.
pub(crate) fn bus_error(error: hearth_bus::Error) -> Error {
    tracing::warn!(%error, "an event can't be published");
    Error::unavailable("the event bus is unavailable; try again")
}
