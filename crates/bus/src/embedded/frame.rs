//! How messages are stored: many in one record, payloads read back without copying.

use bytes::{Buf, Bytes};
use hearth_types::{DeviceKey, Timestamp};

use crate::{Delivery, Error, Result, Stream};

/// The first byte of every record.
const VERSION: u8 = 1;
/// Bytes of a message beside its texts and payload.
const FIXED: usize = 1 + 1 + 2 + 8 + 4;

/// A message as it is kept; its number follows from its place.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) stream: Stream,
    pub(crate) device: DeviceKey,
    pub(crate) time: Timestamp,
    pub(crate) payload: Bytes,
}

impl Message {
    /// Bytes that it takes in a record.
    pub(crate) fn stored_len(&self) -> usize {
        let DeviceKey { tenant, device } = &self.device;
        FIXED + tenant.as_str().len() + device.as_str().len() + self.payload.len()
    }

    pub(crate) fn delivery(&self, seq: u64, deliveries: u32) -> Delivery {
        Delivery {
            seq,
            first_seq: seq,
            stream: self.stream,
            device: self.device.clone(),
            time: self.time,
            payload: self.payload.clone(),
            deliveries,
            traceparent: None,
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let tenant = self.device.tenant.as_str();
        let device = self.device.device.as_str();
        out.push(self.stream.code());
        // A tenant has at most 63 bytes, a device at most 512, a payload is checked on publish.
        out.push(u8::try_from(tenant.len()).unwrap_or(u8::MAX));
        put_u16(out, device.len());
        out.extend_from_slice(&self.time.as_micros().to_le_bytes());
        put_u32(out, self.payload.len());
        out.extend_from_slice(tenant.as_bytes());
        out.extend_from_slice(device.as_bytes());
        out.extend_from_slice(&self.payload);
    }

    fn decode(input: &mut Bytes) -> Result<Self> {
        if input.len() < FIXED {
            return Err(cut());
        }
        let code = input.get_u8();
        let stream = Stream::from_code(code)
            .ok_or_else(|| Error::Corrupt(format!("stream {code} is not known")))?;
        let tenant_len = usize::from(input.get_u8());
        let device_len = usize::from(input.get_u16_le());
        let time = Timestamp::from_micros(input.get_i64_le());
        let payload_len = input.get_u32_le() as usize;
        if input.len() < tenant_len + device_len + payload_len {
            return Err(cut());
        }
        let tenant = input.split_to(tenant_len);
        let device = input.split_to(device_len);
        let device = DeviceKey::parse(text(&tenant)?, text(&device)?)
            .map_err(|error| Error::Corrupt(error.to_string()))?;
        Ok(Self {
            stream,
            device,
            time,
            payload: input.split_to(payload_len),
        })
    }
}

/// Messages with numbers in a row, from `first`: one record.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) first: u64,
    pub(crate) messages: Vec<Message>,
    /// Bytes of the record.
    pub(crate) bytes: usize,
}

impl Group {
    /// The number behind the last message.
    pub(crate) fn end(&self) -> u64 {
        self.first + self.messages.len() as u64
    }

    /// The message of a number.
    pub(crate) fn get(&self, seq: u64) -> Option<&Message> {
        let place = seq.checked_sub(self.first)?;
        self.messages.get(usize::try_from(place).ok()?)
    }

    /// The record.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(5 + self.bytes);
        out.push(VERSION);
        put_u32(&mut out, self.messages.len());
        for message in &self.messages {
            message.encode(&mut out);
        }
        out
    }

    /// Reads a record.
    pub(crate) fn decode(first: u64, mut record: Bytes) -> Result<Self> {
        let bytes = record.len();
        version(&mut record)?;
        if record.len() < 4 {
            return Err(cut());
        }
        let count = record.get_u32_le();
        let messages = (0..count)
            .map(|_| Message::decode(&mut record))
            .collect::<Result<Vec<_>>>()?;
        Ok(Self {
            first,
            messages,
            bytes,
        })
    }
}

/// A dead letter beside its number.
#[derive(Debug)]
pub(crate) struct DeadRecord {
    pub(crate) consumer: String,
    pub(crate) reason: String,
    pub(crate) died: Timestamp,
    pub(crate) seq: u64,
    pub(crate) deliveries: u32,
    pub(crate) message: Message,
}

impl DeadRecord {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.extend_from_slice(&self.seq.to_le_bytes());
        out.extend_from_slice(&self.deliveries.to_le_bytes());
        out.extend_from_slice(&self.died.as_micros().to_le_bytes());
        for text in [&self.consumer, &self.reason] {
            put_u16(&mut out, text.len().min(MAX_TEXT));
            out.extend_from_slice(text.as_bytes().get(..MAX_TEXT).unwrap_or(text.as_bytes()));
        }
        self.message.encode(&mut out);
        out
    }

    pub(crate) fn decode(mut record: Bytes) -> Result<Self> {
        version(&mut record)?;
        if record.len() < 8 + 4 + 8 {
            return Err(cut());
        }
        let seq = record.get_u64_le();
        let deliveries = record.get_u32_le();
        let died = Timestamp::from_micros(record.get_i64_le());
        let mut next_text = || {
            if record.len() < 2 {
                return Err(cut());
            }
            let len = usize::from(record.get_u16_le());
            if record.len() < len {
                return Err(cut());
            }
            Ok(String::from_utf8_lossy(&record.split_to(len)).into_owned())
        };
        let (consumer, reason) = (next_text()?, next_text()?);
        Ok(Self {
            consumer,
            reason,
            died,
            seq,
            deliveries,
            message: Message::decode(&mut record)?,
        })
    }
}

/// Texts of dead letters are cut to this many bytes.
const MAX_TEXT: usize = 4096;

/// A record's key: numbers in order are keys in order.
pub(crate) fn key(seq: u64) -> [u8; 8] {
    seq.to_be_bytes()
}

/// The number in a record's key.
pub(crate) fn seq_of(key: &[u8]) -> Result<u64> {
    let bytes = key
        .try_into()
        .map_err(|_| Error::Corrupt("a key of a wrong length".into()))?;
    Ok(u64::from_be_bytes(bytes))
}

/// Reads and checks the version.
pub(crate) fn version(record: &mut Bytes) -> Result<()> {
    match record.first() {
        Some(&VERSION) => {
            record.advance(1);
            Ok(())
        }
        Some(other) => Err(Error::Corrupt(format!("version {other} is not known"))),
        None => Err(cut()),
    }
}

/// A record begins with this.
pub(crate) fn begin() -> Vec<u8> {
    vec![VERSION]
}

/// A record is shorter than it says.
pub(crate) fn cut() -> Error {
    Error::Corrupt("a record is cut short".into())
}

fn text(bytes: &Bytes) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|_| Error::Corrupt("a name that isn't UTF-8".into()))
}

fn put_u16(out: &mut Vec<u8>, n: usize) {
    out.extend_from_slice(&u16::try_from(n).unwrap_or(u16::MAX).to_le_bytes());
}

fn put_u32(out: &mut Vec<u8>, n: usize) {
    out.extend_from_slice(&u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes());
}
