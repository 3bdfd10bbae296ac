//! How values lie in CQL: what decides between two of the same time must decide as the contract
//! says, and what has no place in CQL is refused.

use std::ops::Range;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hearth_types::{DeviceKey, TaskId, Timestamp, ValueType};

use crate::merge::{TYPES, rank};
use crate::{DocumentKind, Error, Result};

/// Partitions of a tenant's list of devices, and of an attribute's index.
pub(super) const DEVICE_SHARDS: i8 = 16;
/// Partitions of a tenant's tasks of a day.
pub(super) const TASK_SHARDS: i8 = 32;
/// The largest value, in bytes: a write of several must stay below what nodes take (16 MiB in
/// Cassandra as it comes).
const MAX_VALUE: usize = 4 << 20;
/// The longest part of a key, in bytes; CQL ends at 65,535 for all parts of one.
const MAX_KEY: usize = 32 << 10;
/// Event times further ahead of this process's clock are refused: such a cell could not be
/// overwritten until then, and ScyllaDB refuses it, too.
const MAX_AHEAD: Duration = Duration::from_secs(24 * 3600);

/// The present time.
pub(super) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    Timestamp::ZERO.saturating_add(since.unwrap_or_default())
}

/// An event time as CQL timestamp.
pub(super) fn event_time(time: Timestamp) -> Result<i64> {
    let micros = time.as_micros();
    if micros < 0 {
        return Err(Error::TooLarge("an event time before 1970".into()));
    }
    let latest = now().saturating_add(MAX_AHEAD);
    if time > latest {
        return Err(Error::TooLarge(format!(
            "an event time more than {} h ahead of this server's clock",
            MAX_AHEAD.as_secs() / 3600
        )));
    }
    Ok(micros)
}

/// A task's revision as CQL timestamp.
pub(super) fn revision(revision: u64) -> Result<i64> {
    i64::try_from(revision).map_err(|_| Error::TooLarge(format!("revision {revision} of a task")))
}

/// Refuses a key that is too long.
pub(super) fn key<'a>(text: &'a str, what: &str) -> Result<&'a str> {
    match text.len() {
        ..=MAX_KEY => Ok(text),
        length => Err(Error::TooLarge(format!(
            "{what} of {length} bytes, at most {MAX_KEY} are possible"
        ))),
    }
}

/// Refuses a value that is too large.
pub(super) fn check_size(length: usize, what: &str) -> Result<()> {
    match length {
        ..=MAX_VALUE => Ok(()),
        length => Err(Error::TooLarge(format!(
            "{what} of {length} bytes, at most {MAX_VALUE} are possible"
        ))),
    }
}

/// The partition of a device's entries.
pub(super) fn device_shard(device: &DeviceKey) -> i8 {
    shard(u64::from(device.bucket()), DEVICE_SHARDS)
}

/// The partition of a task, by its id alone.
pub(super) fn task_shard(id: TaskId) -> i8 {
    shard(hash(&id.to_bytes()), TASK_SHARDS)
}

/// In how many partitions the documents of a kind and tenant are. A list asks all of them: of the few that are read
/// twice a second there is one.
pub(super) const fn document_shards(kind: DocumentKind) -> i8 {
    match kind {
        DocumentKind::Replica => 1,
        _ => 16,
    }
}

/// Documents of which those of one owner are read together: their keys are `kind/owner/...`.
const OWNED: [&str; 5] = [
    "device",
    "waking",
    "alert",
    "capture-session",
    "capture-turn",
];

/// The partition of a document. Those of one owner are in one, and read at once; others are spread
/// by their whole keys.
pub(super) fn document_shard(kind: DocumentKind, key: &str) -> i8 {
    let together = shared_part(key).unwrap_or(key);
    shard(hash(together.as_bytes()), document_shards(kind))
}

/// The partitions of all documents whose keys begin so.
pub(super) fn document_shards_of(kind: DocumentKind, prefix: &str) -> Range<i8> {
    match shared_part(prefix) {
        Some(together) => {
            let one = document_shard(kind, together);
            one..one + 1
        }
        None => 0..document_shards(kind),
    }
}

/// The kind and the owner, of a key that goes on behind them.
fn shared_part(key: &str) -> Option<&str> {
    let (first, _) = key.split_once('/')?;
    let (end, _) = key.match_indices('/').nth(1)?;
    OWNED.contains(&first).then(|| &key[..end])
}

fn shard(number: u64, shards: i8) -> i8 {
    i8::try_from(number % u64::from(shards.unsigned_abs())).unwrap_or_default()
}

/// FNV-1a with MurmurHash3's finalizer; part of the stored form, as [`DeviceKey::bucket`].
fn hash(bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in bytes {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^ (hash >> 33)
}

/// The day of a task, from its id: days since 1970.
pub(super) fn task_day(id: TaskId) -> i32 {
    let bytes = id.to_bytes();
    let millis = bytes[..6]
        .iter()
        .fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
    // 48 bits of milliseconds are 3.3 million days.
    i32::try_from(millis / 86_400_000).unwrap_or(i32::MAX)
}

/// Numbers of 64 bits in their order, in CQL's signed ones.
pub(super) const fn ordered(id: u64) -> i64 {
    (id ^ (1 << 63)).cast_signed()
}

/// The number that [`ordered`] made.
pub(super) const fn unordered(id: i64) -> u64 {
    id.cast_unsigned() ^ (1 << 63)
}

/// Ends the text of a value, or stands before [`ZERO`] inside it.
const END: char = '\0';
/// A zero character of the text, behind [`END`]; greater than any type's digit, so that encoded
/// texts have the order of the texts.
const ZERO: char = '\u{7f}';

/// A value as one text, so that of two values of the same time one whole value stays: text, zero
/// character, digit of the type, sealed value in hexadecimal. The order of encoded values is that
/// of [`crate::ParameterRow::merge`].
pub(super) fn value(text: &str, value_type: ValueType, sealed: &[u8]) -> String {
    let mut encoded = String::with_capacity(text.len() + 2 + sealed.len() * 2);
    for (n, part) in text.split(END).enumerate() {
        if n > 0 {
            encoded.push(END);
            encoded.push(ZERO);
        }
        encoded.push_str(part);
    }
    encoded.push(END);
    encoded.push(char::from(b'0' + rank(value_type)));
    for byte in sealed {
        for half in [byte >> 4, byte & 15] {
            encoded.push(char::from_digit(half.into(), 16).unwrap_or_default());
        }
    }
    encoded
}

/// What [`value`] made.
pub(super) fn read_value(encoded: &str) -> Result<(String, ValueType, Vec<u8>)> {
    let damaged = || Error::Damaged("a value of a parameter".into());
    let mut text = String::new();
    let mut rest = encoded;
    loop {
        let (part, behind) = rest.split_once(END).ok_or_else(damaged)?;
        if text.is_empty() {
            text.reserve_exact(part.len());
        }
        text.push_str(part);
        match behind.strip_prefix(ZERO) {
            Some(behind) => {
                text.push(END);
                rest = behind;
            }
            None => {
                rest = behind;
                break;
            }
        }
    }
    let (digit, sealed) = rest.split_at_checked(1).ok_or_else(damaged)?;
    let place = digit.parse::<usize>().ok();
    let value_type = place.and_then(|n| TYPES.get(n)).ok_or_else(damaged)?;
    let sealed: Option<Vec<u8>> = sealed
        .as_bytes()
        .chunks(2)
        .map(|pair| {
            let pair = std::str::from_utf8(pair).ok().filter(|p| p.len() == 2)?;
            u8::from_str_radix(pair, 16).ok()
        })
        .collect();
    Ok((text, *value_type, sealed.ok_or_else(damaged)?))
}

/// A task's state as one value, so that of two of the same revision one stays whole: whether it
/// has ended, payload.
pub(super) fn task_state(open: bool, payload: &[u8]) -> Vec<u8> {
    let mut state = Vec::with_capacity(payload.len() + 1);
    state.push(u8::from(!open));
    state.extend_from_slice(payload);
    state
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn values_read_back_and_keep_their_order() {
        let texts = [
            "", "\0", "\0\0", "\0a", "a", "a\0", "a\0\0", "a\0b", "ab", "ä", "\u{7f}",
        ];
        let sealed: [&[u8]; 4] = [&[], &[0], &[0, 255], &[1]];
        let mut all = Vec::new();
        for text in texts {
            for value_type in TYPES {
                for sealed in sealed {
                    all.push((text, rank(value_type), sealed, value_type));
                }
            }
        }
        for a in &all {
            let encoded = value(a.0, a.3, a.2);
            let read = read_value(&encoded).unwrap();
            assert_eq!(read, (a.0.to_owned(), a.3, a.2.to_vec()));
            for b in &all {
                let other = value(b.0, b.3, b.2);
                assert_eq!(encoded.cmp(&other), (a.0, a.1, a.2).cmp(&(b.0, b.1, b.2)));
            }
        }
        for damaged in ["", "x", "x|", "x|z", "x|9", "x|01", "x|0g1", "x|0é"] {
            assert!(
                read_value(&damaged.replace('|', "\0")).is_err(),
                "{damaged}"
            );
        }
    }

    #[test]
    fn numbers_keep_their_order() {
        let numbers = [0, 1, u64::MAX / 2, u64::MAX / 2 + 1, u64::MAX];
        assert!(numbers.is_sorted_by_key(|n| ordered(*n)));
        assert!(numbers.iter().all(|n| unordered(ordered(*n)) == *n));
    }

    #[test]
    fn times_without_a_place_are_refused() {
        assert_eq!(event_time(Timestamp::ZERO).unwrap(), 0);
        for micros in [-1, i64::MIN, i64::MAX] {
            let refused = event_time(Timestamp::from_micros(micros));
            assert!(matches!(refused, Err(Error::TooLarge(_))), "{micros}");
        }
        assert!(revision(u64::MAX).is_err());
    }

    #[test]
    fn documents_of_one_device_are_in_one_partition() {
        let kind = DocumentKind::Credential;
        let of = |key: &str| document_shard(kind, key);
        let prefix = "device/001122-Box-1/";
        let place = document_shards_of(kind, prefix);
        assert_eq!(place.len(), 1);
        for user in ["", "a", "b", "with/a/slash"] {
            assert_eq!(of(&format!("{prefix}{user}")), place.start);
        }
        for all in ["", "user/", "device/001122-Box-1", "device/"] {
            assert_eq!(document_shards_of(kind, all), 0..16, "{all}");
        }
        let spread = |key: fn(u32) -> String| {
            let places = (0..64).map(|n| of(&key(n)));
            places.collect::<std::collections::HashSet<_>>().len()
        };
        assert!(spread(|n| format!("user/{n}")) > 10);
        assert!(spread(|n| format!("user/a/realm/{n}")) > 10);
        assert!(spread(|n| format!("device/{n}/user")) > 10);
        assert_eq!(document_shards_of(DocumentKind::Replica, "a/b/c"), 0..1);
    }

    #[test]
    fn shards_never_change() {
        let id = TaskId::from_bytes([1; 16]);
        assert_eq!(task_day(id), 12_775);
        let shards = (0..64_u8).map(|n| task_shard(TaskId::from_bytes([n; 16])));
        assert!(shards.collect::<std::collections::HashSet<_>>().len() > 20);
        assert_eq!(task_shard(id), task_shard(id));
    }
}
