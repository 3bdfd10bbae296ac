//! The vocabulary of Hearth: newtypes that are parsed once, at the edge, and
//! carried as they are from then on. No I/O.

mod device;
mod parameter;
mod resource_name;
mod task;
mod tenant;
mod time;

pub use device::{DeviceId, DeviceKey};
pub use parameter::{
    MASK, MAX_PATH_LENGTH, Notification, ParameterPath, ValueType, is_secret_name,
};
pub use resource_name::ResourceName;
pub use task::{CommandKey, TaskId, TaskIds};
pub use tenant::TenantId;
pub use time::Timestamp;

/// Why a text is not a value of one of this crate's types. `Display` says what
/// was expected, so that it can be shown to a caller of the API as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct Invalid {
    /// What was being read, in the field's terms (`OUI`, `parameter path`).
    pub field: &'static str,
    /// What is wrong and what is expected.
    pub reason: String,
}

impl Invalid {
    /// An error for `field`, with what is wrong and what is expected.
    pub fn new(field: &'static str, reason: impl Into<String>) -> Self {
        Self {
            field,
            reason: reason.into(),
        }
    }
}
