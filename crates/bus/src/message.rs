//! What travels: streams, messages, deliveries, dead letters.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use hearth_types::{DeviceId, DeviceKey, TenantId, Timestamp};

/// A kind of event. Payloads of a stream have one type (protobuf, `hearth.events.v1`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stream {
    /// A CPE has informed (TR-069 A.3.3.1).
    Inform,
    /// Parameter values, names or attributes were read from or set on a CPE.
    Values,
    /// A transfer is complete (TR-069 A.3.3.2), or a file was taken or given.
    Transfer,
    /// A task's state changed.
    TaskChange,
    /// A device's record changed by another hand than its CPE's: tags, deletion.
    DeviceChange,
}

impl Stream {
    /// Every stream.
    pub const ALL: [Self; 5] = [
        Self::Inform,
        Self::Values,
        Self::Transfer,
        Self::TaskChange,
        Self::DeviceChange,
    ];

    /// The kind in a subject.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Inform => "inform",
            Self::Values => "values",
            Self::Transfer => "transfer",
            Self::TaskChange => "task",
            Self::DeviceChange => "device",
        }
    }

    /// The number in stored messages; never reused.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Inform => 1,
            Self::Values => 2,
            Self::Transfer => 3,
            Self::TaskChange => 4,
            Self::DeviceChange => 5,
        }
    }

    /// The stream of a stored number.
    pub(crate) fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.code() == code)
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Stream {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|s| s.as_str() == text)
            .ok_or_else(|| format!("no stream {text:?}"))
    }
}

/// The subject of a message on a broker: `hearth.v1.{kind}.{tenant}.{partition}`.
#[must_use]
pub fn subject(stream: Stream, tenant: &TenantId, partition: u16) -> String {
    format!("hearth.v1.{stream}.{tenant}.{partition}")
}

/// The partition of a device among `partitions`: the same in every process and version (FNV-1a).
#[must_use]
pub fn partition(device: &DeviceId, partitions: u16) -> u16 {
    let hash = device
        .as_str()
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    u16::try_from(hash % u64::from(partitions.max(1))).unwrap_or_default()
}

/// Partitions of devices in subjects. Part of names that are kept: it never changes.
pub const PARTITIONS: u16 = 64;

/// A part of all devices: those whose [`partition`] among [`PARTITIONS`] leaves `index` when it is
/// divided by `of`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Which part, below `of`.
    pub index: u16,
    /// How many parts there are; divides [`PARTITIONS`].
    pub of: u16,
}

impl Part {
    /// The part of a device.
    #[must_use]
    pub fn of_device(device: &DeviceId, of: u16) -> u16 {
        partition(device, PARTITIONS) % of.max(1)
    }

    /// Whether a device belongs to it.
    #[must_use]
    pub fn has(self, device: &DeviceId) -> bool {
        Self::of_device(device, self.of) == self.index
    }

    /// The partitions that make it up.
    pub fn partitions(self) -> impl Iterator<Item = u16> {
        (0..PARTITIONS).filter(move |p| p % self.of.max(1) == self.index)
    }
}

/// A message to publish.
#[derive(Clone, PartialEq, Eq)]
pub struct Publish {
    /// The kind of event.
    pub stream: Stream,
    /// The device that it is about; messages of a device keep their order.
    pub device: DeviceKey,
    /// Two messages with the same id within the dedupe window are one. At most 255 bytes.
    pub message_id: Option<String>,
    /// When the event happened.
    pub time: Timestamp,
    /// The event, encoded.
    pub payload: Bytes,
}

// Payloads are customer data.
impl fmt::Debug for Publish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publish")
            .field("stream", &self.stream)
            .field("device", &self.device)
            .field("message_id", &self.message_id)
            .field("time", &self.time)
            .field("bytes", &self.payload.len())
            .finish()
    }
}

/// The bus has a message on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ack {
    /// The message's number. Numbers grow; there may be gaps.
    pub seq: u64,
    /// The message was already there (same id); `seq` is the first one's.
    pub duplicate: bool,
}

/// A message given to a consumer.
#[derive(Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The message's number.
    pub seq: u64,
    /// The number under which the event came before the bus itself published it once more
    /// ([`crate::ConsumerSpec::sole`]); mostly `seq`.
    pub first_seq: u64,
    /// The kind of event.
    pub stream: Stream,
    /// The device that it is about.
    pub device: DeviceKey,
    /// When the event happened.
    pub time: Timestamp,
    /// The event, encoded.
    pub payload: Bytes,
    /// How often this consumer has been given it, this time included.
    pub deliveries: u32,
    /// The span in which it was published, as a W3C `traceparent`, where the bus keeps it. The
    /// embedded bus does not: there the event's session tells the trace.
    pub traceparent: Option<String>,
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("seq", &self.seq)
            .field("stream", &self.stream)
            .field("device", &self.device)
            .field("time", &self.time)
            .field("bytes", &self.payload.len())
            .field("deliveries", &self.deliveries)
            .finish()
    }
}

/// A message that a consumer couldn't work on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Its number among the dead letters.
    pub id: u64,
    /// The consumer that gave up.
    pub consumer: String,
    /// Why.
    pub reason: String,
    /// When it gave up.
    pub died: Timestamp,
    /// The message, with the number of deliveries it had.
    pub message: Delivery,
}
