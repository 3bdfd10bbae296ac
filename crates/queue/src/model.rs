//! What goes into a queue and what comes out of it.

use hearth_types::{DeviceKey, TaskId, Timestamp};

/// A task to enter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Enqueue {
    /// The task.
    pub task: TaskId,
    /// Higher goes first; of the same priority, the older id.
    pub priority: i32,
    /// When [`crate::Queue::due`] tells of it, if it is still pending;
    /// [`Timestamp::ZERO`] for never.
    pub deadline: Timestamp,
    /// Where it stands: pending for a new task, anything when the index is rebuilt.
    pub phase: Phase,
}

/// Where an open task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It waits for a session; not given out before `not_before` ([`Timestamp::ZERO`]: at once).
    Pending {
        /// A retry's delay.
        not_before: Timestamp,
    },
    /// A session has it.
    InFlight {
        /// The session's epoch.
        epoch: u64,
        /// Until when, unless renewed.
        lease: Timestamp,
    },
    /// It waits for the device (an event is due) and is given to no session.
    Parked {
        /// When [`crate::Queue::due`] tells of it.
        until: Timestamp,
    },
}

/// A session that was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Its epoch: larger than that of any earlier session of the device.
    pub epoch: u64,
    /// Whether a task can be claimed now.
    pub pending: bool,
    /// Open tasks of the device, those that wait included.
    pub open: usize,
    /// Tasks that an earlier session had in flight, the oldest claim first. They stay in flight;
    /// [`crate::Queue::claim`] gives them out before any other.
    pub orphans: Vec<TaskId>,
    /// The index of the device's bucket was lost and is not whole yet: `open` and `orphans` may lack
    /// what the ledger has.
    pub rebuilding: bool,
}

impl Session {
    /// One that has nothing to do and is closed.
    pub(crate) const fn idle(epoch: u64) -> Self {
        Self {
            epoch,
            pending: false,
            open: 0,
            orphans: Vec::new(),
            rebuilding: false,
        }
    }
}

/// A bucket that must be compared to the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suspect {
    /// Which ([`DeviceKey::bucket`]).
    pub bucket: u8,
    /// Its index is gone; otherwise it is in service, and may be behind.
    pub lost: bool,
}

/// What a session gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// This task, in flight in this session from now on.
    Task {
        /// The task.
        task: TaskId,
        /// It was in flight in this session already.
        resumed: bool,
        /// It was in flight in an earlier session, of this epoch.
        orphan_of: Option<u64>,
    },
    /// Nothing now. The device no longer counts as in session.
    Empty,
    /// A newer session has taken over.
    Fenced,
}

/// What came of giving a task back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Released {
    /// Done.
    Done,
    /// There is no such open task.
    Gone,
    /// A newer session has it in flight; nothing was changed.
    Fenced,
}

/// What was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removed {
    /// A task in this phase.
    Was(Phase),
    /// There was none.
    Gone,
}

/// Why a task is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DueKind {
    /// Its deadline has passed and no session has it.
    Deadline,
    /// The time that it was parked for has passed.
    Parked,
    /// The lease of the session that has it has passed.
    Lease,
    /// Its retry's delay has passed, or the time of [`crate::Queue::remind`]: a session may have it
    /// now. Told once.
    Ready,
}

/// A task that something should be done about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// Whose.
    pub device: DeviceKey,
    /// Which.
    pub task: TaskId,
    /// Why.
    pub kind: DueKind,
}

/// What a queue knows of a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Peek {
    /// Open tasks.
    pub open: usize,
    /// Of those, how many the next session may have: those that are due, and those in flight whose
    /// lease has passed.
    pub ready: usize,
    /// Whether a session is open whose time has not passed.
    pub in_session: bool,
    /// The oldest and the newest of those that the next session may have, by their ids.
    pub ages: Option<(TaskId, TaskId)>,
}

/// How much there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    /// Open tasks.
    pub open: u64,
    /// Of those, in flight.
    pub in_flight: u64,
    /// Of those, waiting for their devices.
    pub parked: u64,
    /// Devices that have open tasks or a live session.
    pub devices: u64,
    /// The oldest open task; its id holds the time of its making.
    pub oldest: Option<TaskId>,
}

impl Depth {
    /// How long ago the oldest open task was made; zero when there is none.
    pub fn oldest_age(&self, now: Timestamp) -> std::time::Duration {
        self.oldest.map_or(std::time::Duration::ZERO, |task| {
            // A ULID begins with 48 bits of milliseconds.
            let bytes = task.to_bytes();
            let millis = bytes[..6]
                .iter()
                .fold(0_i64, |sum, byte| (sum << 8) | i64::from(*byte));
            now.saturating_since(Timestamp::from_micros(millis.saturating_mul(1000)))
        })
    }
}
