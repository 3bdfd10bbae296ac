//! Merging what comes with what is stored, by event time, for one device.
//!
//! All rules commute, so that the order of mutations doesn't matter: of two values the later one
//! stays, of the same time the greater one; a delete takes what is not newer than itself. Deletes
//! leave their time in `store.deleted` (by the path that was deleted) and in the entry of
//! `store.index_of`; those times are forgotten when they are [`REMEMBERED`] older than the newest
//! of the device, or when a delete of a wider path covers them.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hearth_engine::{Scan, WriteBatch};
use hearth_types::{DeviceKey, Timestamp};
use prost::Message;

use super::recent::{Deletes, Merged};
use super::rows::{HistoryProto, IndexOfProto};
use super::{Spaces, keys, rows};
use crate::{
    Cell, DeviceColumn, Error, HistoryRow, IndexEntry, Mutation, ParameterCell, ParameterRow,
    Result,
};

/// How long a delete is remembered after newer ones, in event time.
const REMEMBERED: Duration = Duration::from_secs(7 * 24 * 3600);
/// From so many parameters on, one scan is cheaper than point reads.
const SCAN_PARAMETERS: usize = 48;

/// Puts what `mutations`, all of `device`, change into `batch`; answers whether the device is new.
pub fn device(
    spaces: &Spaces,
    device: &DeviceKey,
    mutations: &[Mutation],
    merged: &mut Merged,
) -> Result<bool> {
    let mut cells = Vec::new();
    let mut is_device = false;
    let mut writes = Vec::new();
    let mut deletes = Vec::new();
    let mut entries = Vec::new();
    for mutation in mutations {
        match mutation {
            Mutation::Device { cells: more, .. } => {
                is_device = true;
                cells.extend(more);
            }
            Mutation::Parameter {
                path, time, cells, ..
            } => writes.push((path.as_str(), *time, cells.as_slice())),
            Mutation::DeleteParameters { path, time, .. } => deletes.push((path.as_str(), *time)),
            Mutation::History { row, .. } => history(spaces, device, row, &mut merged.batch),
            Mutation::Index {
                entry,
                time,
                remove,
            } => entries.push((entry, *time, *remove)),
        }
    }
    if !writes.is_empty() || !deletes.is_empty() {
        Parameters::load(spaces, device, &writes, &deletes)?.finish(&writes, &deletes, merged)?;
    }
    if !entries.is_empty() {
        index(spaces, device, &entries, &mut merged.batch)?;
    }
    Ok(is_device && device_row(spaces, device, &cells, merged)?)
}

/// Merges cells into the device's row; answers whether the row is new.
///
/// What every Inform changes lies apart, so that an idle Inform doesn't rewrite the whole row. That
/// part never stands without the other.
fn device_row(
    spaces: &Spaces,
    device: &DeviceKey,
    cells: &[&(DeviceColumn, Cell)],
    merged: &mut Merged,
) -> Result<bool> {
    let key = keys::device(device);
    let (seen, rest): (Vec<_>, Vec<_>) = cells.iter().partition(|(c, _)| is_seen(*c));
    let stored_seen = match seen.is_empty() {
        true => None,
        false => spaces.seen_row(&key)?,
    };
    if let Some(row) = match seen.is_empty() {
        true => None,
        false => merge_cells(stored_seen.as_deref(), &seen)?,
    } {
        spaces.recent.forget(&key);
        merged.batch.put(&spaces.device_seen, &key, &row);
        merged.remember(key.clone(), row);
    }
    if stored_seen.is_some() && rest.is_empty() {
        return Ok(false);
    }
    let stored = spaces.device.get(&key)?;
    if let Some(row) = merge_cells(stored.as_deref(), &rest)? {
        merged.batch.put(&spaces.device, &key, row);
    }
    Ok(stored.is_none())
}

/// Whether a column is one that every Inform changes.
fn is_seen(column: DeviceColumn) -> bool {
    use DeviceColumn::{InformCount, LastInform, LastSeen};
    matches!(column, LastSeen | LastInform | InformCount)
}

/// Merges cells into what is stored of a row; the row's bytes if it changed.
fn merge_cells(stored: Option<&[u8]>, cells: &[&&(DeviceColumn, Cell)]) -> Result<Option<Vec<u8>>> {
    let mut row = match stored {
        Some(bytes) => rows::read_device(bytes)?,
        None => BTreeMap::new(),
    };
    let mut changed = stored.is_none();
    for (column, cell) in cells {
        changed |= cell.merge_into(&mut row, *column);
    }
    Ok(changed.then(|| rows::write_device(&row)))
}

/// The same entry again is the same key again.
fn history(spaces: &Spaces, device: &DeviceKey, row: &HistoryRow, batch: &mut WriteBatch) {
    let value = HistoryProto {
        path: row.path.clone(),
        payload: row.payload.clone(),
    };
    let key = keys::history(device, row.time, row.id);
    batch.put(&spaces.history, key, value.encode_to_vec());
    let key = keys::history_time(device, row.time, row.id);
    batch.put(&spaces.history_time, key, []);
}

/// Merges index entries: time and whether it was removed, of the same time the removal stays.
fn index(
    spaces: &Spaces,
    device: &DeviceKey,
    entries: &[(&IndexEntry, Timestamp, bool)],
    batch: &mut WriteBatch,
) -> Result<()> {
    let below = keys::below_device(device);
    let mut known = BTreeMap::new();
    for stored in spaces.index_of.scan(&Scan::prefix(&below))? {
        let (attribute, value) = keys::split_index_of(&stored.key[below.len()..])?;
        let row: IndexOfProto = rows::read(&stored.value, "index")?;
        let entry = (attribute.to_owned(), value.to_owned());
        known.insert(entry, (row.time, row.removed));
    }
    let mut newest = known.values().map(|(time, _)| *time).max();
    for (entry, time, remove) in entries {
        if entry.value.len() > IndexEntry::MAX_VALUE {
            return Err(Error::TooLarge(format!(
                "a value of {} bytes for the index, at most {} are possible",
                entry.value.len(),
                IndexEntry::MAX_VALUE
            )));
        }
        let next = (time.as_micros(), *remove);
        newest = newest.max(Some(next.0));
        let name = (entry.attribute.clone(), entry.value.clone());
        if known.get(&name).is_some_and(|old| *old >= next) {
            continue;
        }
        known.insert(name, next);
        let (attribute, value) = (&entry.attribute, &entry.value);
        let row = IndexOfProto {
            time: next.0,
            removed: *remove,
        };
        let of = keys::index_of(device, attribute, value);
        batch.put(&spaces.index_of, of, row.encode_to_vec());
        let key = keys::index(&device.tenant, attribute, value, &device.device);
        if *remove {
            batch.delete(&spaces.index, key);
        } else {
            batch.put(&spaces.index, key, []);
        }
    }
    for ((attribute, value), (time, removed)) in &known {
        if *removed && newest.is_some_and(|newest| forgotten(*time, newest)) {
            batch.delete(&spaces.index_of, keys::index_of(device, attribute, value));
        }
    }
    Ok(())
}

/// Whether a delete of `time` no longer needs to be remembered.
fn forgotten(time: i64, newest: i64) -> bool {
    let (time, newest) = (Timestamp::from_micros(time), Timestamp::from_micros(newest));
    newest.saturating_since(time) > REMEMBERED
}

/// The parameters of one device that a write touches.
struct Parameters<'a> {
    spaces: &'a Spaces,
    device: &'a DeviceKey,
    deleted: Arc<Deletes>,
    rows: HashMap<String, Touched, ahash::RandomState>,
}

/// Times of a device's deletes. The caller holds the device's lock.
fn deleted_of(spaces: &Spaces, device: &DeviceKey) -> Result<Arc<Deletes>> {
    if let Some(known) = spaces.recent.deleted(device) {
        return Ok(known);
    }
    let below = keys::below_device(device);
    let mut deleted = Deletes::new();
    for stored in spaces.deleted.scan(&Scan::prefix(&below))? {
        let path = keys::text(&stored.key[below.len()..], "path")?;
        let time = keys::read_time(&stored.value)?;
        deleted.insert(path.to_owned(), time);
    }
    let deleted = Arc::new(deleted);
    spaces.recent.remember_deleted(device, Arc::clone(&deleted));
    Ok(deleted)
}

/// A row as it becomes, and what is stored of it.
#[derive(Default)]
struct Touched {
    row: ParameterRow,
    stored: Option<Bytes>,
}

impl<'a> Parameters<'a> {
    fn load(
        spaces: &'a Spaces,
        device: &'a DeviceKey,
        writes: &[(&str, Timestamp, &[ParameterCell])],
        deletes: &[(&str, Timestamp)],
    ) -> Result<Self> {
        let mut this = Self {
            spaces,
            device,
            deleted: deleted_of(spaces, device)?,
            rows: HashMap::with_capacity_and_hasher(writes.len(), ahash::RandomState::new()),
        };
        for (path, _) in deletes {
            if path.is_empty() || path.ends_with('.') {
                this.load_range(&Scan::prefix(keys::path(device, path)))?;
            } else {
                this.load_one(path)?;
            }
        }
        if writes.len() >= SCAN_PARAMETERS {
            let paths = || writes.iter().map(|(path, ..)| *path);
            let first = keys::path(device, paths().min().unwrap_or_default());
            let mut end = keys::path(device, paths().max().unwrap_or_default());
            end.push(0);
            this.load_range(&Scan::range(first, end))?;
        } else {
            for (path, ..) in writes {
                this.load_one(path)?;
            }
        }
        Ok(this)
    }

    fn load_one(&mut self, path: &str) -> Result<()> {
        if self.rows.contains_key(path) {
            return Ok(());
        }
        let stored = self.spaces.parameter_row(&keys::path(self.device, path))?;
        let row = match &stored {
            Some(bytes) => rows::read_parameter(bytes)?,
            None => ParameterRow::default(),
        };
        self.rows.insert(path.to_owned(), Touched { row, stored });
        Ok(())
    }

    fn load_range(&mut self, scan: &Scan) -> Result<()> {
        let below = keys::below_device(self.device).len();
        for entry in self.spaces.parameter.scan(scan)? {
            let path = keys::text(&entry.key[below..], "path")?;
            let touched = Touched {
                row: rows::read_parameter(&entry.value)?,
                stored: Some(entry.value),
            };
            self.rows.insert(path.to_owned(), touched);
        }
        Ok(())
    }

    fn finish(
        mut self,
        writes: &[(&str, Timestamp, &[ParameterCell])],
        deletes: &[(&str, Timestamp)],
        merged: &mut Merged,
    ) -> Result<()> {
        for (path, time) in deletes {
            let newest = Arc::make_mut(&mut self.deleted)
                .entry((*path).to_owned())
                .or_insert(*time);
            *newest = (*newest).max(*time);
        }
        for (path, time, cells) in writes {
            let touched = self.rows.entry((*path).to_owned()).or_default();
            for cell in *cells {
                touched.row.merge(*time, cell);
            }
        }
        let (parameter, recent) = (&self.spaces.parameter, &self.spaces.recent);
        // A whole tree at once would only drive out what is read again.
        let few = writes.len() < SCAN_PARAMETERS;
        for (path, Touched { mut row, stored }) in std::mem::take(&mut self.rows) {
            if let Some(time) = self.deleted_at(&path) {
                row.delete_until(time);
            }
            let key = keys::path(self.device, &path);
            if row.is_empty() {
                if stored.is_some() {
                    recent.forget(&key);
                    merged.batch.delete(parameter, key);
                }
                continue;
            }
            let bytes = rows::write_parameter(&row);
            if stored.as_deref() != Some(bytes.as_slice()) {
                recent.forget(&key);
                merged.batch.put(parameter, &key, &bytes);
                if few {
                    merged.remember(key, bytes);
                }
            }
        }
        if !deletes.is_empty() {
            self.spaces.recent.forget_deleted(self.device);
            self.remember(deletes, &mut merged.batch);
        }
        Ok(())
    }

    /// When `path` was last deleted, alone or with what it lies below.
    fn deleted_at(&self, path: &str) -> Option<Timestamp> {
        if self.deleted.is_empty() {
            return None;
        }
        let above = path.match_indices('.').map(|(at, _)| &path[..=at]);
        std::iter::once("")
            .chain(above)
            .chain(std::iter::once(path))
            .filter_map(|p| self.deleted.get(p).copied())
            .max()
    }

    /// Writes the times of new deletes, and forgets those that are old or covered.
    fn remember(&self, deletes: &[(&str, Timestamp)], batch: &mut WriteBatch) {
        let deleted = &self.spaces.deleted;
        let newest = self.deleted.values().max().copied().unwrap_or_default();
        for (path, time) in self.deleted.iter() {
            let key = keys::path(self.device, path);
            let covered = self.deleted.iter().any(|(other, at)| {
                other != path
                    && at >= time
                    && (other.is_empty() || other.ends_with('.') && path.starts_with(other))
            });
            if covered || forgotten(time.as_micros(), newest.as_micros()) {
                batch.delete(deleted, key);
            } else if deletes.iter().any(|(new, _)| new == path) {
                batch.put(deleted, key, keys::time(*time));
            }
        }
    }
}

/// A batch that forgets a device, and whether it had a row.
pub fn forget(spaces: &Spaces, device: &DeviceKey) -> Result<(WriteBatch, bool)> {
    let mut batch = WriteBatch::new();
    batch.set_reclaims();
    let key = keys::device(device);
    let existed = spaces.device.contains(&key)?;
    batch.delete(&spaces.device, &key);
    spaces.recent.forget(&key);
    spaces.recent.forget_deleted(device);
    batch.delete(&spaces.device_seen, key);
    let below = keys::below_device(device);
    for space in [&spaces.parameter, &spaces.deleted] {
        space.scan_with(&Scan::prefix(&below), |key, _| {
            spaces.recent.forget(key);
            batch.delete(space, key);
            ControlFlow::Continue(())
        })?;
    }
    for stored in spaces.index_of.scan(&Scan::prefix(&below))? {
        let (attribute, value) = keys::split_index_of(&stored.key[below.len()..])?;
        let key = keys::index(&device.tenant, attribute, value, &device.device);
        batch.delete(&spaces.index, key);
        batch.delete(&spaces.index_of, &stored.key);
    }
    for stored in spaces.history.scan(&Scan::prefix(&below))? {
        let (time, id) = keys::split_history(&stored.key[below.len()..])?;
        batch.delete(&spaces.history_time, keys::history_time(device, time, id));
        batch.delete(&spaces.history, &stored.key);
    }
    Ok((batch, existed))
}

/// A batch that deletes the oldest history, and how many entries it takes.
pub fn trim_history(
    spaces: &Spaces,
    before: Timestamp,
    limit: usize,
) -> Result<(WriteBatch, usize)> {
    let mut batch = WriteBatch::new();
    batch.set_reclaims();
    let start = keys::time(Timestamp::from_micros(i64::MIN));
    let scan = Scan::range(start, keys::time(before)).limit(limit);
    let old = spaces.history_time.scan(&scan)?;
    for entry in &old {
        batch.delete(&spaces.history, keys::history_of_time(&entry.key)?);
        batch.delete(&spaces.history_time, &entry.key);
    }
    Ok((batch, old.len()))
}
