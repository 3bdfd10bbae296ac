//! Rows of the task ledger, and small documents.

use hearth_types::{DeviceKey, TaskId, TenantId, Timestamp};

/// A task in the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskRow {
    /// Its id; ids sort by creation.
    pub id: TaskId,
    /// Whose.
    pub device: DeviceKey,
    /// Whether it is still to be worked on.
    pub open: bool,
    /// Each row of a task is made from the one of the revision before ([`crate::Store::put_tasks`]).
    pub revision: u64,
    /// Opaque to the store (a `hearth.workflow.v1.Task`).
    pub payload: Vec<u8>,
}

/// What [`crate::Store::create_task`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// The task is in the ledger.
    New,
    /// The idempotency key belongs to this task; nothing was written.
    Existed(TaskId),
}

/// Which tasks to list, newest first.
#[derive(Clone, Debug)]
pub struct TaskQuery {
    /// Whose.
    pub tenant: TenantId,
    /// Only of this device.
    pub device: Option<hearth_types::DeviceId>,
    /// Only open ones.
    pub open_only: bool,
    /// Only older ones than this.
    pub before: Option<TaskId>,
    /// At most so many.
    pub limit: usize,
}

/// Families of small documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DocumentKind {
    /// Credentials of the edge.
    Credential,
    /// Metadata of files.
    File,
    /// What was learned about a model.
    Model,
    /// Settings that the server keeps for itself.
    Setting,
    /// Notes by which the replicas of a service know each other: few, and all of them are read again and again.
    Replica,
}

/// A small document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Key, unique in its kind and tenant; any text.
    pub key: String,
    /// When it was written; of two the later stays.
    pub time: Timestamp,
    /// Opaque to the store.
    pub payload: Vec<u8>,
}
