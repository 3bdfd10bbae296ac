//! `hearthctl task`, and the options of every command that makes one.

use super::duration;
use clap::{Args, Subcommand, ValueEnum};
use hearth_proto::types::v1::TaskState;
use jiff::Timestamp;
use std::{str::FromStr, time::Duration};

/// How a task is made and waited for.
#[derive(Args, Debug, Clone, Default)]
#[command(next_help_heading = "Task options")]
pub struct TaskOptions {
    /// Print the task's id and don't wait
    #[arg(long, conflicts_with = "wait_timeout")]
    pub no_wait: bool,
    /// How long to wait; the task goes on after it [default: 2m; 10m for reboots, resets and
    /// transfers; 0: without end]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub wait_timeout: Option<Duration>,
    /// Higher runs first, -100 to 100 [default: 0]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(i32).range(-100..=100))]
    pub priority: Option<i32>,
    /// Not sent after this: from now (1h) or a time (2026-01-31T12:00:00Z)
    #[arg(long, value_name = "WHEN")]
    pub deadline: Option<When>,
    /// The same key again gives the first task instead of a second one; 1 to 128 characters
    #[arg(long, value_name = "KEY")]
    pub request_id: Option<String>,
    /// Don't ask the device to connect; wait for its next session
    #[arg(long)]
    pub no_wake: bool,
    /// Tries in all
    #[arg(long, value_name = "N")]
    pub max_attempts: Option<u32>,
    /// Allow a device that was never seen; its whole id must be given
    #[arg(long)]
    pub unseen: bool,
}

/// A moment: by its distance from now, or as such.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// So long from now: before it or after it, as the option says.
    Distance(Duration),
    /// A time.
    At(Timestamp),
}

impl FromStr for When {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(time) = text.parse() {
            return Ok(Self::At(time));
        }
        duration(text).map(Self::Distance).map_err(|_| {
            "expected a duration (90s, 5m, 1h, 2days) or a time (2026-01-31T12:00:00Z)".into()
        })
    }
}

impl When {
    /// The time, a distance being in the future.
    pub fn after(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(time) => time,
            Self::Distance(distance) => now.checked_add(distance).unwrap_or(Timestamp::MAX),
        }
    }

    /// The time, a distance being in the past.
    pub fn before(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(time) => time,
            Self::Distance(distance) => now.checked_sub(distance).unwrap_or(Timestamp::MIN),
        }
    }
}

/// Tasks.
#[derive(Subcommand, Debug)]
pub enum TaskCommand {
    /// Lists tasks, newest first
    #[command(
        visible_alias = "ls",
        after_help = "Examples:
  hearthctl task list
  hearthctl task list --device 00D09E-HomeRouter-SIM000001 --state failed,expired
  hearthctl task list --open --limit 0 -o json"
    )]
    List {
        /// Only of this device
        #[arg(long)]
        device: Option<String>,
        /// Only in these states
        #[arg(long, value_enum, value_delimiter = ',')]
        state: Vec<StateArg>,
        /// Only those that have not ended
        #[arg(long, conflicts_with = "state")]
        open: bool,
        /// At most so many; 0 for all
        #[arg(long, default_value_t = 50, value_name = "N")]
        limit: usize,
    },
    /// Shows a task with its attempts and its result
    #[command(
        visible_alias = "show",
        after_help = "Examples:
  hearthctl task get 01hzy3v7k2q4w6e8r0t2y4a6d8"
    )]
    Get {
        /// The task's id
        task: String,
    },
    /// Says why a task doesn't run, or how it ended
    #[command(after_help = "Examples:
  hearthctl task why 01hzy3v7k2q4w6e8r0t2y4a6d8

`!` is why, `?` may be, `·` is as it should be.")]
    Why {
        /// The task's id
        task: String,
    },
    /// Follows a task until it has ended; the exit code says how
    #[command(after_help = "Examples:
  hearthctl task watch 01hzy3v7k2q4w6e8r0t2y4a6d8
  hearthctl task watch 01hzy3v7k2q4w6e8r0t2y4a6d8 -o json --wait-timeout 5m")]
    Watch {
        /// The task's id
        task: String,
        /// How long to wait; 0: without end
        #[arg(long, value_name = "DURATION", value_parser = duration)]
        wait_timeout: Option<Duration>,
    },
    /// Cancels tasks that were not sent yet
    #[command(after_help = "Examples:
  hearthctl task cancel 01hzy3v7k2q4w6e8r0t2y4a6d8")]
    Cancel {
        /// Ids of tasks
        #[arg(required = true)]
        tasks: Vec<String>,
    },
    /// Makes a new task like one that ended otherwise than well, and waits for it
    #[command(after_help = "Examples:
  hearthctl task retry 01hzy3v7k2q4w6e8r0t2y4a6d8")]
    Retry {
        /// The task's id
        task: String,
        /// Print the new task's id and don't wait
        #[arg(long, conflicts_with = "wait_timeout")]
        no_wait: bool,
        /// How long to wait; 0: without end [default: 2m; 10m for reboots, resets and transfers]
        #[arg(long, value_name = "DURATION", value_parser = duration)]
        wait_timeout: Option<Duration>,
    },
}

/// A task's state.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum StateArg {
    /// Waits for the device's next session
    Queued,
    /// The device is being asked to connect
    Waking,
    /// Being sent
    Running,
    /// Accepted by the device; its event is due
    Waiting,
    /// Done
    Succeeded,
    /// Ended by a fault, or out of tries
    Failed,
    /// Its deadline passed before it was sent
    Expired,
    /// Cancelled before it was sent
    Cancelled,
    /// Sent, and whether the device did it can't be known
    Unknown,
}

impl StateArg {
    /// The states of a task that has not ended.
    pub const OPEN: [Self; 4] = [Self::Queued, Self::Waking, Self::Running, Self::Waiting];
}

impl From<StateArg> for TaskState {
    fn from(state: StateArg) -> Self {
        match state {
            StateArg::Queued => Self::Queued,
            StateArg::Waking => Self::Waking,
            StateArg::Running => Self::Running,
            StateArg::Waiting => Self::WaitingForDevice,
            StateArg::Succeeded => Self::Succeeded,
            StateArg::Failed => Self::Failed,
            StateArg::Expired => Self::Expired,
            StateArg::Cancelled => Self::Cancelled,
            StateArg::Unknown => Self::UnknownOutcome,
        }
    }
}
