//! Exit codes that scripts can use.

use hearth_proto::types::v1::TaskState;
use std::process::ExitCode;

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// 0: done; a task that was waited for succeeded.
    Ok = 0,
    /// 1: the task failed, or anything that has no code of its own.
    Failed = 1,
    /// 2: wrong arguments, or an argument that the server refused; an ambiguous device.
    Usage = 2,
    /// 3: there is no such device, task, file, credential or context.
    NotFound = 3,
    /// 4: the task was not done within `--wait-timeout`; it goes on.
    StillOpen = 4,
    /// 5: the server can't be reached, or can't answer now.
    Unavailable = 5,
    /// 6: no token, a wrong one, or one that may not do this.
    Denied = 6,
    /// 7: the task was cancelled, or expired before it was sent.
    Ended = 7,
    /// 8: the task was sent, and whether the device did it can't be known.
    UnknownOutcome = 8,
    /// 130: interrupted by Ctrl-C; a task that was waited for goes on.
    Interrupted = 130,
}

impl Exit {
    /// The exit code of a command that waited for a task which ended in `state`.
    pub const fn of_task(state: TaskState) -> Self {
        match state {
            TaskState::Succeeded => Self::Ok,
            TaskState::Expired | TaskState::Cancelled => Self::Ended,
            TaskState::UnknownOutcome => Self::UnknownOutcome,
            TaskState::Failed | TaskState::Unspecified => Self::Failed,
            TaskState::Queued
            | TaskState::Waking
            | TaskState::Running
            | TaskState::WaitingForDevice => Self::StillOpen,
        }
    }

    /// The number.
    pub const fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}
