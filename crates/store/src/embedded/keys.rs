//! Keys: how rows lie in the engine's keyspaces.
//!
//! Parts are separated by a zero byte, which no tenant, device id or attribute holds (device ids
//! are percent-encoded); the last part may hold anything. A value of the index stands before the
//! device, so that its own zero bytes are escaped as `00 FF`: the order stays that of the values.
//!
//! | keyspace | key | value |
//! |---|---|---|
//! | `store.device` | tenant, device | cells, all but the next ones |
//! | `store.device_seen` | tenant, device | cells that every Inform changes |
//! | `store.parameter` | tenant, device, path | parts |
//! | `store.deleted` | tenant, device, path | time of the newest delete of it |
//! | `store.index` | tenant, attribute, value, device | nothing |
//! | `store.index_of` | tenant, device, attribute, value | time, whether it was removed |
//! | `store.history` | tenant, device, time, id | path, payload |
//! | `store.history_time` | time, id, tenant, device | nothing |
//! | `store.device_count` | tenant | how many devices |
//! | `store.task` | tenant, id | device, open, revision, payload, idempotency key |
//! | `store.task_of` | tenant, device, id | nothing |
//! | `store.open_task` | bucket of the device, tenant, id | nothing |
//! | `store.open_task_of` | tenant, device, id | nothing |
//! | `store.task_key` | tenant, idempotency key | id |
//! | `store.document` | kind, tenant, key | time, payload |

use hearth_types::{DeviceId, DeviceKey, TaskId, TenantId, Timestamp};

use crate::{DocumentKind, Error, Result};

/// Separates the parts of a key.
const SEPARATOR: u8 = 0;
/// Follows a zero byte that belongs to a value. No device id begins with it.
const ESCAPE: u8 = 0xFF;

/// A tenant's part of a keyspace: all its keys begin with this.
pub fn tenant(tenant: &TenantId) -> Vec<u8> {
    let mut key = Vec::with_capacity(96);
    key.extend_from_slice(tenant.as_str().as_bytes());
    key.push(SEPARATOR);
    key
}

/// Tenant and one more part, the last one.
pub fn in_tenant(of: &TenantId, last: &[u8]) -> Vec<u8> {
    let mut key = tenant(of);
    key.extend_from_slice(last);
    key
}

/// A device's row.
pub fn device(of: &DeviceKey) -> Vec<u8> {
    in_tenant(&of.tenant, of.device.as_str().as_bytes())
}

/// A device's part of a keyspace.
pub fn below_device(of: &DeviceKey) -> Vec<u8> {
    let mut key = device(of);
    key.push(SEPARATOR);
    key
}

/// A parameter, or a delete of it, or the beginning of a subtree's keys.
pub fn path(of: &DeviceKey, path: &str) -> Vec<u8> {
    let mut key = below_device(of);
    key.extend_from_slice(path.as_bytes());
    key
}

/// The beginning of an attribute's entries, all values.
pub fn attribute(of: &TenantId, attribute: &str) -> Vec<u8> {
    let mut key = in_tenant(of, attribute.as_bytes());
    key.push(SEPARATOR);
    key
}

/// The beginning of the entries whose values begin with `value`.
pub fn value_prefix(of: &TenantId, attr: &str, value: &str) -> Vec<u8> {
    let mut key = attribute(of, attr);
    for byte in value.bytes() {
        key.push(byte);
        if byte == SEPARATOR {
            key.push(ESCAPE);
        }
    }
    key
}

/// The beginning of the entries with exactly this value.
pub fn value(of: &TenantId, attr: &str, value: &str) -> Vec<u8> {
    let mut key = value_prefix(of, attr, value);
    key.push(SEPARATOR);
    key
}

/// An entry of the index.
pub fn index(of: &TenantId, attr: &str, text: &str, device: &DeviceId) -> Vec<u8> {
    let mut key = value(of, attr, text);
    key.extend_from_slice(device.as_str().as_bytes());
    key
}

/// Value and device of an entry's key, without its attribute.
pub fn split_index(key: &[u8]) -> Result<(String, DeviceId)> {
    let mut value = Vec::with_capacity(key.len());
    let mut rest = key;
    loop {
        let Some((&byte, behind)) = rest.split_first() else {
            return Err(damaged("index"));
        };
        rest = behind;
        if byte == SEPARATOR {
            match rest.split_first() {
                Some((&ESCAPE, behind)) => rest = behind,
                _ => break,
            }
        }
        value.push(byte);
    }
    Ok((text(&value, "index")?.to_owned(), device_id(rest)?))
}

/// An entry of a device's own list of its index entries.
pub fn index_of(of: &DeviceKey, attribute: &str, value: &str) -> Vec<u8> {
    let mut key = path(of, attribute);
    key.push(SEPARATOR);
    key.extend_from_slice(value.as_bytes());
    key
}

/// Attribute and value of such an entry, without its device.
pub fn split_index_of(key: &[u8]) -> Result<(&str, &str)> {
    let at = key.iter().position(|b| *b == SEPARATOR);
    let (attribute, value) = key.split_at(at.ok_or_else(|| damaged("index"))?);
    Ok((text(attribute, "index")?, text(&value[1..], "index")?))
}

/// A time in the order of times: big-endian, the sign turned.
pub fn time(at: Timestamp) -> [u8; 8] {
    (at.as_micros().cast_unsigned() ^ (1 << 63)).to_be_bytes()
}

/// The time of such bytes.
pub fn read_time(bytes: &[u8]) -> Result<Timestamp> {
    let bytes = bytes.try_into().map_err(|_| damaged("time"))?;
    let raw = u64::from_be_bytes(bytes) ^ (1 << 63);
    Ok(Timestamp::from_micros(raw.cast_signed()))
}

/// An entry of a device's history.
pub fn history(of: &DeviceKey, at: Timestamp, id: u64) -> Vec<u8> {
    let mut key = below_device(of);
    key.extend_from_slice(&time(at));
    key.extend_from_slice(&id.to_be_bytes());
    key
}

/// The same entry in the order of times of all devices. Its last part is [`device`], and from it
/// [`history`] is made again.
pub fn history_time(of: &DeviceKey, at: Timestamp, id: u64) -> Vec<u8> {
    let mut key = time(at).to_vec();
    key.extend_from_slice(&id.to_be_bytes());
    key.extend_from_slice(&device(of));
    key
}

/// The key in [`history`] of a key in [`history_time`].
pub fn history_of_time(key: &[u8]) -> Result<Vec<u8>> {
    let (when, device) = key.split_at_checked(16).ok_or_else(|| damaged("history"))?;
    let mut history = device.to_vec();
    history.push(SEPARATOR);
    history.extend_from_slice(when);
    Ok(history)
}

/// Time and id of a history key without its device.
pub fn split_history(key: &[u8]) -> Result<(Timestamp, u64)> {
    let (when, id) = key.split_at_checked(8).ok_or_else(|| damaged("history"))?;
    let id = id.try_into().map_err(|_| damaged("history"))?;
    Ok((read_time(when)?, u64::from_be_bytes(id)))
}

/// A task.
pub fn task(of: &TenantId, id: TaskId) -> Vec<u8> {
    in_tenant(of, &id.to_bytes())
}

/// A task in its device's list.
pub fn task_of(of: &DeviceKey, id: TaskId) -> Vec<u8> {
    let mut key = below_device(of);
    key.extend_from_slice(&id.to_bytes());
    key
}

/// A tenant's part of a bucket of the open tasks.
pub fn open_tasks(bucket: u8, of: &TenantId) -> Vec<u8> {
    let mut key = vec![bucket];
    key.extend_from_slice(&tenant(of));
    key
}

/// An open task.
pub fn open_task(bucket: u8, of: &TenantId, id: TaskId) -> Vec<u8> {
    let mut key = open_tasks(bucket, of);
    key.extend_from_slice(&id.to_bytes());
    key
}

/// The id at the end of a task's key.
pub fn task_id(key: &[u8]) -> Result<TaskId> {
    let id = key.last_chunk::<16>().ok_or_else(|| damaged("task"))?;
    Ok(TaskId::from_bytes(*id))
}

/// The tenant at the beginning of a key.
pub fn tenant_of(key: &[u8]) -> Result<TenantId> {
    let part = key.split(|b| *b == SEPARATOR).next().unwrap_or_default();
    text(part, "tenant")?.parse().map_err(|_| damaged("tenant"))
}

/// The documents of a kind and tenant whose keys begin with `key`, or that one.
pub fn document(kind: DocumentKind, of: &TenantId, key: &str) -> Vec<u8> {
    let mut bytes = vec![match kind {
        DocumentKind::Credential => 1,
        DocumentKind::File => 2,
        DocumentKind::Model => 3,
        DocumentKind::Setting => 4,
        DocumentKind::Replica => 5,
    }];
    bytes.extend_from_slice(&in_tenant(of, key.as_bytes()));
    bytes
}

/// A device id that was written as one.
pub fn device_id(bytes: &[u8]) -> Result<DeviceId> {
    text(bytes, "device id")?
        .parse()
        .map_err(|_| damaged("device id"))
}

/// Text that was written as one.
pub fn text<'a>(bytes: &'a [u8], what: &str) -> Result<&'a str> {
    std::str::from_utf8(bytes).map_err(|_| damaged(what))
}

/// What was read is not what was written.
pub fn damaged(what: &str) -> Error {
    Error::Damaged(format!("an entry of `{what}` can't be read"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn times_sort_as_numbers_do() {
        let mut sorted = [i64::MIN, -1, 0, 1, 1_700_000_000_000_000, i64::MAX]
            .map(|t| time(Timestamp::from_micros(t)));
        let expected = sorted;
        sorted.sort_unstable();
        assert_eq!(sorted, expected);
        assert_eq!(read_time(&sorted[1]).unwrap().as_micros(), -1);
    }

    #[test]
    fn index_keys_sort_by_value_then_device() {
        let tenant = TenantId::default();
        let device: DeviceId = "001122-X-1".parse().unwrap();
        let key = |value: &str| index(&tenant, "tag", value, &device);
        let values = ["", "a", "a\0", "a\0b", "a b", "ab"];
        let mut keys: Vec<_> = values.iter().map(|v| key(v)).collect();
        let expected = keys.clone();
        keys.sort();
        assert_eq!(keys, expected);
        let start = attribute(&tenant, "tag").len();
        for (key, value) in keys.iter().zip(values) {
            let (read, id) = split_index(&key[start..]).unwrap();
            assert_eq!((read.as_str(), &id), (value, &device));
        }
    }
}
