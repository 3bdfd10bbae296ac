//! Conversions between generated messages and the house's types.

use crate::types::v1::{ParameterValue, TaskSpec, TaskState, ValueType, task_spec::Kind};
use hearth_types as house;
use pbjson_types::Timestamp;

/// A protobuf timestamp of microseconds since the epoch; `None` for 0, which
/// stands for "never" in internal messages.
pub fn timestamp(micros: i64) -> Option<Timestamp> {
    (micros != 0).then(|| Timestamp {
        seconds: micros.div_euclid(1_000_000),
        nanos: i32::try_from(micros.rem_euclid(1_000_000) * 1000).unwrap_or(0),
    })
}

/// Microseconds since the epoch of a protobuf timestamp; 0 for `None`.
pub fn micros(timestamp: Option<&Timestamp>) -> i64 {
    timestamp.map_or(0, |t| {
        t.seconds
            .saturating_mul(1_000_000)
            .saturating_add(i64::from(t.nanos / 1000))
    })
}

impl From<house::ValueType> for ValueType {
    fn from(value: house::ValueType) -> Self {
        match value {
            house::ValueType::String => Self::String,
            house::ValueType::Int => Self::Int,
            house::ValueType::UnsignedInt => Self::UnsignedInt,
            house::ValueType::Long => Self::Long,
            house::ValueType::UnsignedLong => Self::UnsignedLong,
            house::ValueType::Boolean => Self::Boolean,
            house::ValueType::DateTime => Self::DateTime,
            house::ValueType::Base64 => Self::Base64,
            house::ValueType::HexBinary => Self::HexBinary,
        }
    }
}

impl From<ValueType> for house::ValueType {
    /// `UNSPECIFIED` is a string.
    fn from(value: ValueType) -> Self {
        match value {
            ValueType::Unspecified | ValueType::String => Self::String,
            ValueType::Int => Self::Int,
            ValueType::UnsignedInt => Self::UnsignedInt,
            ValueType::Long => Self::Long,
            ValueType::UnsignedLong => Self::UnsignedLong,
            ValueType::Boolean => Self::Boolean,
            ValueType::DateTime => Self::DateTime,
            ValueType::Base64 => Self::Base64,
            ValueType::HexBinary => Self::HexBinary,
        }
    }
}

impl ParameterValue {
    /// The same with a secret's value masked and nothing sealed in it: what may
    /// leave the server.
    #[must_use]
    pub fn masked(mut self) -> Self {
        if !self.sealed.is_empty() || house::is_secret_name(&self.path) {
            house::MASK.clone_into(&mut self.value);
        }
        self.sealed = Vec::new();
        self
    }
}

impl TaskState {
    /// Whether a task in this state has ended.
    pub const fn is_final(self) -> bool {
        matches!(
            self,
            Self::Succeeded | Self::Failed | Self::Expired | Self::Cancelled | Self::UnknownOutcome
        )
    }

    /// The state in lower case, as the command line and logs write it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::Queued => "queued",
            Self::Waking => "waking",
            Self::Running => "running",
            Self::WaitingForDevice => "waiting for device",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
            Self::UnknownOutcome => "unknown outcome",
        }
    }
}

impl TaskSpec {
    /// The kind in snake case, as metrics, logs and the command line write it;
    /// empty when no kind is set.
    pub const fn label(&self) -> &'static str {
        match &self.kind {
            None => "",
            Some(Kind::GetParameterValues(_)) => "get_parameter_values",
            Some(Kind::SetParameterValues(_)) => "set_parameter_values",
            Some(Kind::GetParameterNames(_)) => "get_parameter_names",
            Some(Kind::Refresh(_)) => "refresh",
            Some(Kind::GetParameterAttributes(_)) => "get_parameter_attributes",
            Some(Kind::SetParameterAttributes(_)) => "set_parameter_attributes",
            Some(Kind::AddObject(_)) => "add_object",
            Some(Kind::DeleteObject(_)) => "delete_object",
            Some(Kind::Download(_)) => "download",
            Some(Kind::Upload(_)) => "upload",
            Some(Kind::Reboot(_)) => "reboot",
            Some(Kind::FactoryReset(_)) => "factory_reset",
            Some(Kind::ScheduleInform(_)) => "schedule_inform",
            Some(Kind::GetRpcMethods(_)) => "get_rpc_methods",
            Some(Kind::ScheduleDownload(_)) => "schedule_download",
            Some(Kind::CancelTransfer(_)) => "cancel_transfer",
            Some(Kind::GetQueuedTransfers(_)) => "get_queued_transfers",
            Some(Kind::ChangeDuState(_)) => "change_du_state",
        }
    }
}
