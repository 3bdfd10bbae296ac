//! A bucket's rebuild from the ledger: who does it, and what ended meanwhile.

use hearth_types::{TaskId, Timestamp};
use std::{collections::HashSet, time::Duration};

#[derive(Debug, Default)]
pub(super) struct Rebuild {
    /// Every open task of the ledger was entered once.
    done: bool,
    lease: Option<Lease>,
    /// Tasks that ended since the lease was taken: the ledger may have been read before.
    ended: HashSet<TaskId>,
}

#[derive(Debug)]
struct Lease {
    owner: Box<str>,
    until: Timestamp,
}

impl Rebuild {
    pub(super) const fn is_done(&self) -> bool {
        self.done
    }

    pub(super) fn begin(&mut self, owner: &str, ttl: Duration, now: Timestamp) -> bool {
        if let Some(lease) = &self.lease
            && *lease.owner != *owner
            && lease.until > now
        {
            return false;
        }
        self.lease = Some(Lease {
            owner: owner.into(),
            until: now.saturating_add(ttl),
        });
        self.ended.clear();
        true
    }

    /// Extends the lease; `false`: it was lost.
    pub(super) fn extend(&mut self, owner: &str, ttl: Duration, now: Timestamp) -> bool {
        match &mut self.lease {
            Some(lease) if *lease.owner == *owner && lease.until > now => {
                lease.until = now.saturating_add(ttl);
                true
            }
            _ => false,
        }
    }

    pub(super) fn finish(&mut self, owner: &str, now: Timestamp) -> bool {
        let held = self.extend(owner, Duration::ZERO, now);
        if held {
            *self = Self {
                done: true,
                ..Self::default()
            };
        }
        held
    }

    /// A task went.
    pub(super) fn ended(&mut self, task: TaskId) {
        if self.lease.is_some() {
            self.ended.insert(task);
        }
    }

    pub(super) fn has_ended(&self, task: TaskId) -> bool {
        self.ended.contains(&task)
    }
}
