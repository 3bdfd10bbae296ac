//! What the test remembers: all that the server has acknowledged to it.

use std::collections::{BTreeMap, BTreeSet};

use hearth_proto::northbound::v1 as nb;
use hearth_proto::types::v1::{TaskSpec, TaskState, task_spec::Kind as Spec};

use super::plan::Stock;

/// What is expected of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// It can be done, and has time.
    Normal,
    /// Its deadline is so short that it may pass.
    Short,
    /// The device must answer it with a fault.
    Refused,
    /// It is cancelled right after it was made.
    Cancelled,
}

/// A task as it was asked for.
#[derive(Clone, Debug)]
pub struct Wish {
    /// The key that makes a repeated create answer the first task.
    pub request_id: String,
    /// Number of the device in the fleet.
    pub device: usize,
    /// What to do.
    pub spec: TaskSpec,
    /// What is expected.
    pub class: Class,
}

/// How a task's end looked when it was first seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// The final state.
    pub state: TaskState,
    /// The result, as text that is equal for equal results.
    pub result: String,
}

impl End {
    /// The end of a task, if it has ended.
    pub fn of(task: &nb::Task) -> Option<Self> {
        let state = task.state();
        is_final(state).then(|| Self {
            state,
            result: format!("{:?} {:?}", task.result, task.fault),
        })
    }
}

/// Whether a task in this state stays as it is.
pub fn is_final(state: TaskState) -> bool {
    matches!(
        state,
        TaskState::Succeeded
            | TaskState::Failed
            | TaskState::Expired
            | TaskState::Cancelled
            | TaskState::UnknownOutcome
    )
}

/// A task whose CreateTask was answered.
#[derive(Clone, Debug)]
pub struct Known {
    /// What was asked.
    pub wish: Wish,
    /// `tenants/{tenant}/tasks/{task}`
    pub name: String,
    /// Its end, if the test has seen it.
    pub end: Option<End>,
    /// CancelTask was answered with OK.
    pub cancelled: bool,
    /// Its device was seen to have the transfer that it is for.
    pub waiting: bool,
    /// Names that repeated creates with the same request_id were answered with, if other ones.
    pub other_names: BTreeSet<String>,
}

/// The last part of a resource's name.
pub fn id_of(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or_default()
}

/// A file whose UploadFile was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// `tenants/{tenant}/files/{file}`
    pub name: String,
    /// SHA-256 of what was sent.
    pub sha256: String,
    /// Its size in bytes.
    pub size: u64,
}

/// A device's tags as acknowledged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tags {
    /// Must be there.
    pub present: BTreeSet<String>,
    /// Must not be there.
    pub removed: BTreeSet<String>,
}

/// Everything that the server has acknowledged to the test.
#[derive(Debug, Default)]
pub struct Book {
    /// Tasks by id.
    pub tasks: BTreeMap<String, Known>,
    /// Ids of tasks whose end was not seen yet.
    pub open: BTreeSet<String>,
    /// Wishes on their way: not answered yet.
    pub asking: usize,
    /// Creates that the server refused, with its words. There should be none.
    pub refused: Vec<String>,
    /// Wishes that were given up without an answer.
    pub unanswered: usize,
    /// Creates that had to be sent more than once.
    pub repeated: usize,
    /// Files.
    pub files: Vec<Kept>,
    /// Tags by number of the device.
    pub tags: BTreeMap<usize, Tags>,
    /// What further tasks can be made of.
    pub stock: Stock,
}

impl Book {
    /// A task was made.
    pub fn enter(&mut self, wish: Wish, name: String) {
        let id = id_of(&name).to_owned();
        self.open.insert(id.clone());
        let known = Known {
            wish,
            name,
            end: None,
            cancelled: false,
            waiting: false,
            other_names: BTreeSet::new(),
        };
        self.tasks.insert(id, known);
    }

    /// A task was seen; true if it has ended with this.
    pub fn see(&mut self, id: &str, task: &nb::Task) -> bool {
        let (Some(known), Some(end)) = (self.tasks.get_mut(id), End::of(task)) else {
            return false;
        };
        if known.end.is_none() {
            known.end = Some(end);
        }
        let name = &known.name;
        self.stock.transfers.retain(|(_, task)| task != name);
        self.open.remove(id)
    }

    /// A task was seen that has not ended: a scheduled download that its device has can be
    /// cancelled.
    pub fn see_open(&mut self, id: &str, task: &nb::Task) {
        let Some(known) = self.tasks.get_mut(id) else {
            return;
        };
        let scheduled = matches!(known.wish.spec.kind, Some(Spec::ScheduleDownload(_)));
        let has = task.state() == TaskState::WaitingForDevice;
        if scheduled && has && !std::mem::replace(&mut known.waiting, true) {
            let transfer = (known.wish.device, known.name.clone());
            self.stock.transfers.push(transfer);
        }
    }

    /// Tasks that have not ended, and those on their way.
    pub fn pending(&self) -> usize {
        self.open.len() + self.asking
    }
}
