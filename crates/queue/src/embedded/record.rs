//! One device: its session and its open tasks in order.

use crate::{Enqueue, Phase};
use hearth_types::{TaskId, Timestamp};
use std::cmp::Reverse;

/// An open task.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) task: TaskId,
    pub(super) priority: i32,
    pub(super) deadline: Timestamp,
    pub(super) phase: Phase,
    /// The time under which it stands among the shard's alarms; zero: not at all.
    pub(super) alarm: Timestamp,
}

impl Entry {
    pub(super) fn new(task: Enqueue) -> Self {
        Self {
            task: task.task,
            priority: task.priority,
            deadline: task.deadline,
            phase: task.phase,
            alarm: Timestamp::ZERO,
        }
    }

    /// What the device's tasks are ordered by: high priority first, then age.
    fn order(&self) -> (Reverse<i32>, TaskId) {
        (Reverse(self.priority), self.task)
    }

    /// When something is to be done about it, by its phase and deadline.
    pub(super) fn next_alarm(&self) -> Timestamp {
        match self.phase {
            Phase::InFlight { lease, .. } => lease,
            Phase::Parked { until } => until,
            Phase::Pending { not_before } => match (not_before.is_set(), self.deadline.is_set()) {
                (true, true) => not_before.min(self.deadline),
                (true, false) => not_before,
                (false, _) => self.deadline,
            },
        }
    }

    /// The same with a reminder at this time, if it is one.
    pub(super) fn alarm_with(&self, reminder: Timestamp) -> Timestamp {
        let own = self.next_alarm();
        match (reminder.is_set(), own.is_set()) {
            (true, true) => reminder.min(own),
            (true, false) => reminder,
            (false, _) => own,
        }
    }

    pub(super) fn is_ready(&self, now: Timestamp) -> bool {
        matches!(self.phase, Phase::Pending { not_before } if not_before <= now)
    }

    /// Whether the next session would be given it: also what a session had that is over.
    pub(super) fn is_offered(&self, now: Timestamp) -> bool {
        self.is_ready(now) || matches!(self.phase, Phase::InFlight { lease, .. } if lease <= now)
    }
}

/// A device's session and tasks.
#[derive(Debug, Default)]
pub(super) struct Record {
    /// The newest session's epoch.
    pub(super) epoch: u64,
    /// The newest session's id; empty when only its epoch is known.
    pub(super) session: Box<str>,
    /// Until when the device counts as in session; zero: it doesn't.
    pub(super) expires: Timestamp,
    /// The session is closed: nothing more is given to it.
    pub(super) closed: bool,
    /// No session of the device is known, and `epoch` is only above all that there were: each had
    /// nothing to do and is over.
    pub(super) bound: bool,
    /// In the order in which they are given out.
    pub(super) tasks: Vec<Entry>,
}

impl Record {
    /// Whether `epoch` may act; a newer one than is known is taken as the newest.
    pub(super) fn take_epoch(&mut self, epoch: u64) -> bool {
        if epoch < self.epoch {
            return false;
        }
        if epoch > self.epoch {
            self.epoch = epoch;
            self.session = Box::default();
            self.closed = false;
            self.bound = false;
        }
        true
    }

    /// Whether `epoch` can only be that of a session that had nothing to do.
    pub(super) fn was_idle(&self, epoch: u64) -> bool {
        self.bound && epoch <= self.epoch
    }

    pub(super) fn insert(&mut self, entry: Entry) {
        let order = entry.order();
        let at = self.tasks.partition_point(|other| other.order() < order);
        self.tasks.insert(at, entry);
    }

    pub(super) fn find(&self, task: TaskId) -> Option<usize> {
        self.tasks.iter().position(|entry| entry.task == task)
    }

    /// Which task a session is given next.
    pub(super) fn choose(&self, exclude: Option<TaskId>, now: Timestamp) -> Option<usize> {
        let mut orphan: Option<(u64, usize)> = None;
        for (index, entry) in self.tasks.iter().enumerate() {
            let Phase::InFlight { epoch, .. } = entry.phase else {
                continue;
            };
            if Some(entry.task) == exclude {
                continue;
            }
            if epoch == self.epoch {
                return Some(index);
            }
            if orphan.is_none_or(|(oldest, _)| epoch < oldest) {
                orphan = Some((epoch, index));
            }
        }
        orphan
            .map(|(_, index)| index)
            .or_else(|| self.tasks.iter().position(|entry| entry.is_ready(now)))
    }

    /// Whether nothing would be lost with it but a session that is over.
    pub(super) fn is_idle(&self, now: Timestamp) -> bool {
        self.tasks.is_empty() && self.expires <= now
    }
}
