//! What calls and answers look like to Redis.

use crate::{Enqueue, Phase, Result};
use hearth_types::{DeviceKey, TaskId, Timestamp};
use redis::{Cmd, Value};
use std::time::Duration;

use super::{
    library::{Call, Library},
    link::Failure,
};

/// The largest number that a Lua number holds without loss.
const LARGEST: i64 = (1 << 53) - 1;

const PENDING: i64 = 0;
const IN_FLIGHT: i64 = 1;
const PARKED: i64 = 2;

/// The keys of each bucket: one hash tag, so one slot of a cluster. The number after `h` is the
/// format's version.
pub(super) struct Keys(Vec<[String; 6]>);

impl Keys {
    pub(super) fn new(prefix: &str) -> Self {
        let keys =
            |bucket| ["m", "d", "a", "g", "s", "x"].map(|k| format!("{{h1:{prefix}:{bucket}}}{k}"));
        Self((0..DeviceKey::BUCKETS).map(keys).collect())
    }

    pub(super) fn of(&self, bucket: u8) -> &[String; 6] {
        &self.0[usize::from(bucket) % self.0.len()]
    }
}

/// A call that is being written.
pub(super) struct Request {
    pub(super) call: Call,
    pub(super) cmd: Cmd,
}

impl Request {
    pub(super) fn new(library: &Library, keys: &Keys, call: Call, bucket: u8) -> Self {
        let keys = keys.of(bucket);
        let mut cmd = redis::cmd("FCALL");
        cmd.arg(library.function(call)).arg(keys.len()).arg(keys);
        Self { call, cmd }
    }

    pub(super) fn text(mut self, text: &str) -> Self {
        self.cmd.arg(text);
        self
    }

    pub(super) fn number(mut self, number: i64) -> Self {
        self.cmd.arg(number.clamp(-LARGEST, LARGEST));
        self
    }

    pub(super) fn flag(self, flag: bool) -> Self {
        self.number(i64::from(flag))
    }

    pub(super) fn device(mut self, device: &DeviceKey) -> Self {
        let (tenant, id) = (device.tenant.as_str(), device.device.as_str());
        self.cmd.arg([tenant, id].join("/"));
        self
    }

    pub(super) fn task(mut self, task: TaskId) -> Self {
        self.cmd.arg(task.to_string());
        self
    }

    pub(super) fn epoch(self, epoch: u64) -> Self {
        self.number(i64::try_from(epoch).unwrap_or(LARGEST))
    }

    pub(super) fn time(self, time: Timestamp) -> Self {
        self.number(time.as_micros())
    }

    pub(super) fn duration(self, duration: Duration) -> Self {
        self.number(i64::try_from(duration.as_micros()).unwrap_or(LARGEST))
    }

    pub(super) fn phase(self, phase: Phase) -> Self {
        match phase {
            Phase::Pending { not_before } => self.number(PENDING).time(not_before).number(0),
            Phase::InFlight { epoch, lease } => self.number(IN_FLIGHT).epoch(epoch).time(lease),
            Phase::Parked { until } => self.number(PARKED).time(until).number(0),
        }
    }

    pub(super) fn entry(self, device: &DeviceKey, entry: &Enqueue) -> Self {
        self.device(device)
            .task(entry.task)
            .number(i64::from(entry.priority))
            .time(entry.deadline)
            .phase(entry.phase)
    }
}

/// An answer that is being read: its items, one after another.
pub(super) struct Answer(std::vec::IntoIter<Value>);

impl Answer {
    pub(super) fn new(value: Value) -> Self {
        let items = match value {
            Value::Array(items) => items,
            one => vec![one],
        };
        Self(items.into_iter())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.len() == 0
    }

    pub(super) fn number(&mut self) -> Result<i64> {
        match self.0.next() {
            Some(Value::Int(number)) => Ok(number),
            other => Err(unexpected(other)),
        }
    }

    pub(super) fn count(&mut self) -> Result<u64> {
        // A counter that lost an update with its server may be below zero for a while.
        Ok(u64::try_from(self.number()?).unwrap_or(0))
    }

    pub(super) fn size(&mut self) -> Result<usize> {
        Ok(usize::try_from(self.number()?).unwrap_or(0))
    }

    pub(super) fn flag(&mut self) -> Result<bool> {
        Ok(self.number()? != 0)
    }

    /// The next text; `None` at the end.
    pub(super) fn text(&mut self) -> Result<Option<String>> {
        match self.0.next() {
            None => Ok(None),
            Some(Value::BulkString(bytes)) => String::from_utf8(bytes)
                .map(Some)
                .map_err(|_| unexpected(None)),
            Some(Value::SimpleString(text)) => Ok(Some(text)),
            other => Err(unexpected(other)),
        }
    }

    pub(super) fn task(&mut self) -> Result<Option<TaskId>> {
        let text = self.text()?.filter(|text| !text.is_empty());
        text.map(|text| parse_task(&text)).transpose()
    }

    pub(super) fn phase(&mut self) -> Result<Phase> {
        let (phase, v, lease) = (self.number()?, self.number()?, self.number()?);
        Ok(match phase {
            IN_FLIGHT => Phase::InFlight {
                epoch: v.unsigned_abs(),
                lease: Timestamp::from_micros(lease),
            },
            PARKED => Phase::Parked {
                until: Timestamp::from_micros(v),
            },
            _ => Phase::Pending {
                not_before: Timestamp::from_micros(v),
            },
        })
    }
}

fn parse_task(text: &str) -> Result<TaskId> {
    text.parse().map_err(|_| unexpected(None))
}

/// A task and its device, as an alarm names them.
pub(super) fn parse_alarm(text: &str) -> Result<(TaskId, DeviceKey)> {
    let parts = text.split_at_checked(26);
    let (task, device) = parts.ok_or_else(|| unexpected(None))?;
    let (tenant, id) = device.split_once('/').ok_or_else(|| unexpected(None))?;
    let device = DeviceKey::parse(tenant, id).map_err(|_| unexpected(None))?;
    Ok((parse_task(task)?, device))
}

fn unexpected(value: Option<Value>) -> crate::Error {
    let what = match value {
        None => "something missing or unreadable".to_owned(),
        Some(value) => format!("{value:?}"),
    };
    Failure::Answer(what).into()
}
