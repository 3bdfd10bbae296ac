//! Rows and mutations of devices, parameters, history and index.

use hearth_types::{DeviceKey, ParameterPath, TenantId, Timestamp, ValueType};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A column of a device's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[allow(
    missing_docs,
    reason = "each is the field of the same name in hearth.devicestate.v1.Device"
)]
pub enum DeviceColumn {
    Manufacturer,
    Oui,
    ProductClass,
    SerialNumber,
    SoftwareVersion,
    HardwareVersion,
    Root,
    ConnectionRequestUrl,
    RemoteAddress,
    FirstSeen,
    LastSeen,
    LastInform,
    LastBootstrap,
    LastBoot,
    LastEvents,
    Tags,
    PeriodicInformInterval,
    CwmpNamespace,
    InformCount,
}

/// What a cell holds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum CellValue {
    /// Text.
    Text(String),
    /// A number, or a time in microseconds since the epoch.
    Int(i64),
    /// A list of texts.
    List(Vec<String>),
}

/// A value with the time of the event that brought it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cell {
    /// The value.
    pub value: CellValue,
    /// Event time ([`DeviceColumn::FirstSeen`]: the negative of its value, so
    /// that the earliest stays); of two values the later one stays, and of two of the same
    /// time the greater one (as CQL does), so that order doesn't matter.
    pub time: Timestamp,
}

/// A device's row.
pub type DeviceRow = BTreeMap<DeviceColumn, Cell>;

/// A part of a parameter's row that is written on its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ParameterCell {
    /// Its value; for a secret `text` is empty and `sealed` holds it.
    Value {
        /// As it came.
        text: String,
        /// Its type.
        value_type: ValueType,
        /// A secret's value.
        sealed: Vec<u8>,
    },
    /// Whether it may be set; writing it also says that the name exists.
    Writable(bool),
    /// Notification attribute, 0 to 6.
    Notification(u8),
    /// AccessList attribute.
    AccessList(Vec<String>),
}

/// A parameter's row; each part with its event time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParameterRow {
    /// Value text, type, sealed value.
    pub value: Option<(String, ValueType, Vec<u8>, Timestamp)>,
    /// Writable.
    pub writable: Option<(bool, Timestamp)>,
    /// Notification attribute.
    pub notification: Option<(u8, Timestamp)>,
    /// AccessList attribute.
    pub access_list: Option<(Vec<String>, Timestamp)>,
}

/// One entry of a device's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryRow {
    /// When it happened.
    pub time: Timestamp,
    /// Tells entries of the same time apart, and is the same when the same
    /// event is applied again.
    pub id: u64,
    /// The parameter that changed, or empty.
    pub path: String,
    /// Opaque to the store.
    pub payload: Vec<u8>,
}

/// An entry of the index: `device` has `value` for `attribute`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexEntry {
    /// Whose.
    pub device: DeviceKey,
    /// `serial_number`, `tag`, or a parameter's path.
    pub attribute: String,
    /// Value, at most [`IndexEntry::MAX_VALUE`] bytes.
    pub value: String,
}

impl IndexEntry {
    /// The longest value in the index, in bytes.
    pub const MAX_VALUE: usize = 1024;
}

/// One change. A batch of them is one [`crate::Store::write`].
#[derive(Clone, Debug)]
pub enum Mutation {
    /// Writes cells of a device; makes the row.
    Device {
        /// Whose.
        device: DeviceKey,
        /// What.
        cells: Vec<(DeviceColumn, Cell)>,
    },
    /// Writes parts of a parameter. Doesn't make the device's row.
    Parameter {
        /// Whose.
        device: DeviceKey,
        /// Path as the device writes it.
        path: String,
        /// Event time of all parts.
        time: Timestamp,
        /// What.
        cells: Vec<ParameterCell>,
    },
    /// Deletes parts of parameters that are not newer than `time`: one
    /// parameter, or all below a path that ends in `.`, the object itself
    /// included (an empty path: all).
    DeleteParameters {
        /// Whose.
        device: DeviceKey,
        /// Which.
        path: String,
        /// Event time.
        time: Timestamp,
    },
    /// Appends to a device's history.
    History {
        /// Whose.
        device: DeviceKey,
        /// What.
        row: HistoryRow,
    },
    /// Adds an entry to the index, or removes it; of the same time the
    /// removal stays.
    Index {
        /// Which.
        entry: IndexEntry,
        /// Event time.
        time: Timestamp,
        /// Whether it goes.
        remove: bool,
    },
}

impl Mutation {
    /// The device that changes.
    pub const fn device(&self) -> &DeviceKey {
        match self {
            Self::Device { device, .. }
            | Self::Parameter { device, .. }
            | Self::DeleteParameters { device, .. }
            | Self::History { device, .. } => device,
            Self::Index { entry, .. } => &entry.device,
        }
    }
}

/// Which devices to find.
#[derive(Clone, Debug)]
pub struct IndexQuery {
    /// Whose.
    pub tenant: TenantId,
    /// Attribute.
    pub attribute: String,
    /// Value, or its beginning.
    pub value: String,
    /// Whether `value` is only the beginning.
    pub prefix: bool,
    /// Only entries after this (value, device) pair.
    pub after: Option<(String, hearth_types::DeviceId)>,
    /// At most so many.
    pub limit: usize,
}

/// Which history to read, newest first.
#[derive(Clone, Debug)]
pub struct HistoryQuery {
    /// Whose.
    pub device: DeviceKey,
    /// Only entries of this parameter, or of the subtree whose path ends in
    /// `.`.
    pub path: Option<ParameterPath>,
    /// Not before.
    pub since: Timestamp,
    /// Before this time; [`Timestamp::ZERO`] for no bound.
    pub until: Timestamp,
    /// Only entries older than this (time, id) pair.
    pub before: Option<(Timestamp, u64)>,
    /// At most so many.
    pub limit: usize,
}
