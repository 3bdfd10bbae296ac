//! Reads of devices, parameters, index and history.

use std::ops::ControlFlow;

use hearth_engine::Scan;
use hearth_types::{DeviceId, DeviceKey, TenantId, Timestamp};

use super::rows::{HistoryProto, IndexOfProto};
use super::{Spaces, keys, rows};
use crate::{DeviceRow, HistoryQuery, HistoryRow, IndexQuery, ParameterRow, Result};

/// A device's row.
pub fn device(spaces: &Spaces, device: &DeviceKey) -> Result<Option<DeviceRow>> {
    let key = keys::device(device);
    let stored = spaces.device.get(&key)?;
    stored
        .map(|bytes| whole_row(spaces, &key, &bytes))
        .transpose()
}

/// A device's row with the part that lies apart.
fn whole_row(spaces: &Spaces, key: &[u8], stored: &[u8]) -> Result<DeviceRow> {
    let mut row = rows::read_device(stored)?;
    if let Some(seen) = spaces.seen_row(key)? {
        row.extend(rows::read_device(&seen)?);
    }
    Ok(row)
}

/// Devices in the order of their ids.
pub fn devices(
    spaces: &Spaces,
    tenant: &TenantId,
    after: Option<&DeviceId>,
    limit: usize,
) -> Result<Vec<(DeviceId, DeviceRow)>> {
    let prefix = keys::tenant(tenant);
    let mut scan = Scan::prefix(&prefix).limit(limit);
    if let Some(after) = after {
        scan = scan.after(keys::in_tenant(tenant, after.as_str().as_bytes()));
    }
    let entries = spaces.device.scan(&scan)?;
    entries
        .iter()
        .map(|e| {
            Ok((
                keys::device_id(&e.key[prefix.len()..])?,
                whole_row(spaces, &e.key, &e.value)?,
            ))
        })
        .collect()
}

/// How many devices a tenant has.
pub fn device_count(spaces: &Spaces, tenant: &TenantId) -> Result<u64> {
    let Some(bytes) = spaces.device_count.get(tenant.as_str())? else {
        return Ok(0);
    };
    let bytes = bytes[..].try_into().map_err(|_| keys::damaged("count"))?;
    Ok(u64::from_be_bytes(bytes))
}

/// Parameters in the order of their paths.
pub fn parameters(
    spaces: &Spaces,
    device: &DeviceKey,
    path: &str,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<(String, ParameterRow)>> {
    if !path.is_empty() && !path.ends_with('.') {
        let wanted = limit > 0 && after.is_none_or(|after| after < path);
        let stored = match wanted {
            true => spaces.parameter_row(&keys::path(device, path))?,
            false => None,
        };
        let row = stored.map(|bytes| rows::read_parameter(&bytes));
        return Ok(row
            .transpose()?
            .map(|row| (path.to_owned(), row))
            .into_iter()
            .collect());
    }
    let mut scan = Scan::prefix(keys::path(device, path)).limit(limit);
    // An `after` that lies before the subtree must not widen the scan.
    if let Some(after) = after.filter(|after| *after >= path) {
        scan = scan.after(keys::path(device, after));
    }
    let below = keys::below_device(device).len();
    let mut found = Vec::new();
    let mut bad = None;
    spaces.parameter.scan_with(&scan, |key, value| {
        let row = keys::text(&key[below..], "path")
            .and_then(|path| Ok((path.to_owned(), rows::read_parameter(value)?)));
        match row {
            Ok(row) => found.push(row),
            Err(error) => {
                bad = Some(error);
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    })?;
    bad.map_or(Ok(found), Err)
}

/// The rows of these parameters.
pub fn parameters_by_path(
    spaces: &Spaces,
    device: &DeviceKey,
    paths: &[String],
) -> Result<Vec<Option<ParameterRow>>> {
    let read = |path: &String| {
        let stored = spaces.parameter_row(&keys::path(device, path))?;
        stored.map(|bytes| rows::read_parameter(&bytes)).transpose()
    };
    paths.iter().map(read).collect()
}

/// Devices by an attribute.
pub fn search(spaces: &Spaces, query: &IndexQuery) -> Result<Vec<(String, DeviceId)>> {
    let (tenant, attribute) = (&query.tenant, &query.attribute);
    let start = if query.prefix {
        keys::value_prefix(tenant, attribute, &query.value)
    } else {
        keys::value(tenant, attribute, &query.value)
    };
    let scan = if query.prefix {
        Scan::prefix(&start)
    } else {
        // Not a prefix: a longer value whose next byte is an escaped zero begins the same.
        Scan::range(&start, [start.as_slice(), &[0xFF]].concat())
    };
    let mut scan = scan.limit(query.limit);
    if let Some((value, device)) = &query.after {
        let after = keys::index(tenant, attribute, value, device);
        if after >= start {
            scan = scan.after(after);
        }
    }
    let skip = keys::attribute(tenant, attribute).len();
    let entries = spaces.index.scan(&scan)?;
    entries
        .iter()
        .map(|e| keys::split_index(&e.key[skip..]))
        .collect()
}

/// Index entries of one device.
pub fn index_of(spaces: &Spaces, device: &DeviceKey) -> Result<Vec<(String, String)>> {
    let below = keys::below_device(device);
    let mut found = Vec::new();
    for entry in spaces.index_of.scan(&Scan::prefix(&below))? {
        let row: IndexOfProto = rows::read(&entry.value, "index")?;
        if !row.removed {
            let (attribute, value) = keys::split_index_of(&entry.key[below.len()..])?;
            found.push((attribute.to_owned(), value.to_owned()));
        }
    }
    Ok(found)
}

/// A device's history, newest first.
pub fn history(spaces: &Spaces, query: &HistoryQuery) -> Result<Vec<HistoryRow>> {
    let below = keys::below_device(&query.device);
    let since = keys::history(&query.device, query.since, 0);
    let mut end = match query.until {
        // Behind the last possible entry; no time begins with nine bytes of 0xFF.
        Timestamp::ZERO => [below.as_slice(), &[0xFF; 17]].concat(),
        until => keys::history(&query.device, until, 0),
    };
    if let Some((time, id)) = query.before {
        end = end.min(keys::history(&query.device, time, id));
    }
    let scan = Scan::range(since, end).reverse();
    let mut found = Vec::new();
    let mut bad = None;
    if query.limit == 0 {
        return Ok(found);
    }
    spaces.history.scan_with(&scan, |key, value| {
        match history_row(&key[below.len()..], value) {
            Ok(row) if matches(&row.path, query) => found.push(row),
            Ok(_) => {}
            Err(error) => {
                bad = Some(error);
                return ControlFlow::Break(());
            }
        }
        match found.len() < query.limit {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        }
    })?;
    bad.map_or(Ok(found), Err)
}

fn history_row(key: &[u8], value: &[u8]) -> Result<HistoryRow> {
    let (time, id) = keys::split_history(key)?;
    let HistoryProto { path, payload } = rows::read(value, "history")?;
    Ok(HistoryRow {
        time,
        id,
        path,
        payload,
    })
}

fn matches(path: &str, query: &HistoryQuery) -> bool {
    query.path.as_ref().is_none_or(|wanted| {
        if wanted.is_partial() {
            path.starts_with(wanted.as_str())
        } else {
            path == wanted.as_str()
        }
    })
}
