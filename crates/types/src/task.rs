//! Tasks and the keys that carry their ids through a device.

use crate::Invalid;
use serde::{Deserialize, Serialize};
use std::{
    fmt,
    str::FromStr,
    sync::{Mutex, PoisonError},
};
use ulid::Ulid;

/// A task's id: a ULID, written in 26 lower-case characters, so that ids sort
/// by creation time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TaskId(Ulid);

impl TaskId {
    /// A new id with the present time in it.
    pub fn generate() -> Self {
        Self(Ulid::generate())
    }

    /// The least id with this time in it: all that were made before it are smaller.
    pub fn first_at(time: crate::Timestamp) -> Self {
        let millis = u64::try_from(time.as_micros() / 1000).unwrap_or(0);
        Self(Ulid::from_parts(millis, 0))
    }

    /// The 16 bytes, in order of creation.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_bytes()
    }

    /// From the 16 bytes of [`TaskId::to_bytes`].
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Ulid::from_bytes(bytes))
    }
}

/// Makes task ids that grow, also within one millisecond: tasks of a device run
/// in the order of their ids.
#[derive(Debug, Default)]
pub struct TaskIds(Mutex<ulid::Generator>);

impl TaskIds {
    /// An id greater than all before it.
    pub fn next_id(&self) -> TaskId {
        let mut generator = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        TaskId(match generator.generate() {
            Ok(id) => id,
            Err(overflow) => overflow.commit_overflow_increment(),
        })
    }
}

impl FromStr for TaskId {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        Ulid::from_string(&text.to_ascii_uppercase())
            .map(Self)
            .map_err(|_| Invalid::new("task id", "expected 26 characters of 0-9 and a-z (a ULID)"))
    }
}

impl TryFrom<String> for TaskId {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl From<TaskId> for String {
    fn from(id: TaskId) -> Self {
        id.to_string()
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_string().to_ascii_lowercase())
    }
}

impl fmt::Debug for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What goes out as CommandKey or ParameterKey: `{task id}.{attempt}`, within
/// their 32 characters (TR-069 A.3.2), so that what a device reports later
/// names the task and the attempt it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CommandKey {
    /// The task.
    pub task: TaskId,
    /// Its attempt, from 1.
    pub attempt: u32,
}

impl CommandKey {
    /// The highest attempt that fits into 32 characters.
    pub const MAX_ATTEMPT: u32 = 99_999;
}

impl FromStr for CommandKey {
    type Err = Invalid;

    /// Reads a key; one that Hearth did not make is an error, and normal.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let foreign = || Invalid::new("CommandKey", "not a key of this server");
        let (task, attempt) = text.split_once('.').ok_or_else(foreign)?;
        Ok(Self {
            task: task.parse().map_err(|_| foreign())?,
            attempt: attempt.parse().map_err(|_| foreign())?,
        })
    }
}

impl fmt::Display for CommandKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.task, self.attempt)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_command_key_fits_and_reads_back() {
        let key = CommandKey {
            task: TaskId::generate(),
            attempt: CommandKey::MAX_ATTEMPT,
        };
        let text = key.to_string();
        assert_eq!(text.len(), 32);
        assert_eq!(text.parse::<CommandKey>().unwrap(), key);
        assert!("someone-else".parse::<CommandKey>().is_err());
    }

    #[test]
    fn ids_made_at_once_keep_their_order() {
        let ids = TaskIds::default();
        let made: Vec<TaskId> = (0..1000).map(|_| ids.next_id()).collect();
        assert!(made.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn ids_are_lower_case_and_sort_by_time() {
        let id = TaskId::generate();
        assert_eq!(id.to_string().to_ascii_lowercase(), id.to_string());
        assert_eq!(id.to_string().parse::<TaskId>().unwrap(), id);
        assert_eq!(TaskId::from_bytes(id.to_bytes()), id);
        let at = |micros| TaskId::first_at(crate::Timestamp::from_micros(micros));
        assert!(at(0) < id && id < at(7_258_118_400_000_000));
        assert!(at(-1) == at(0) && at(1999) < at(2000));
    }
}
