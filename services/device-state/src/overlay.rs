//! What events changed and is not yet in the store.

use std::collections::{BTreeMap, HashMap};

use hearth_store::{
    Cell, DeviceColumn, DeviceRow, HistoryRow, IndexEntry, Mutation, ParameterCell, ParameterRow,
};
use hearth_types::{DeviceKey, Timestamp};

use crate::core::Mark;

/// What one event changes.
#[derive(Debug, Default)]
pub struct Change {
    pub cells: Vec<(DeviceColumn, Cell)>,
    pub parameters: Vec<(String, Timestamp, ParameterCell)>,
    pub deletes: Vec<(String, Timestamp)>,
    pub history: Vec<HistoryRow>,
    /// Attribute, value, time, whether the entry goes.
    pub index: Vec<(String, String, Timestamp, bool)>,
}

/// What changed of one device.
#[derive(Debug, Default)]
pub struct Pending {
    /// Each column once; so few that a list is cheaper than a map.
    cells: Vec<(DeviceColumn, Cell)>,
    parameters: HashMap<String, ParameterRow, ahash::RandomState>,
    deletes: Vec<(String, Timestamp)>,
    history: Vec<HistoryRow>,
    index: BTreeMap<(String, String), (Timestamp, bool)>,
    /// The events that brought it.
    marks: Vec<Mark>,
    /// Whether the device is not in the store yet.
    is_new: bool,
}

/// What changed of all devices.
#[derive(Debug, Default)]
pub struct Overlay {
    devices: HashMap<DeviceKey, Pending, ahash::RandomState>,
    /// Events that changed nothing.
    idle: Vec<Mark>,
    changes: usize,
    /// Devices that are new or have index entries here: lists must wait for them.
    listed: usize,
}

impl Overlay {
    /// Adds what an event changes.
    pub fn add(&mut self, device: &DeviceKey, mark: Mark, is_new: bool, change: Change) {
        if change.is_empty() {
            self.idle.push(mark);
            return;
        }
        let pending = match self.devices.get_mut(device) {
            Some(pending) => pending,
            None => self.devices.entry(device.clone()).or_default(),
        };
        let before = (pending.len(), pending.is_listed());
        pending.is_new |= is_new;
        pending.add(mark, change);
        self.changes += pending.len() - before.0;
        self.listed += usize::from(pending.is_listed() && !before.1);
    }

    /// How many changes wait.
    pub const fn len(&self) -> usize {
        self.changes
    }

    /// Whether nothing waits, not even an event's end.
    pub fn is_empty(&self) -> bool {
        self.devices.is_empty() && self.idle.is_empty()
    }

    /// Whether the list of devices or a search could differ from the store's.
    pub const fn changes_lists(&self) -> bool {
        self.listed > 0
    }

    /// What waits for a device.
    pub fn device(&self, device: &DeviceKey) -> Option<&Pending> {
        self.devices.get(device)
    }

    /// As mutations, those of a device one after another: everything, or all but devices that were
    /// only seen.
    pub fn mutations(&self, seen: bool) -> Vec<Mutation> {
        let mut all = Vec::with_capacity(self.changes);
        let devices = self.devices.iter();
        for (device, pending) in devices.filter(|(_, p)| seen || !p.is_only_seen()) {
            pending.mutations(device, &mut all);
        }
        all
    }

    /// The devices that something waits for.
    pub fn devices(&self) -> Vec<DeviceKey> {
        self.devices.keys().cloned().collect()
    }

    /// What waits for a device as mutations.
    pub fn mutations_of(&self, device: &DeviceKey) -> Vec<Mutation> {
        let mut all = Vec::new();
        if let Some(pending) = self.devices.get(device) {
            pending.mutations(device, &mut all);
        }
        all
    }

    /// A device's events; what waited for it is forgotten.
    pub fn take_device(&mut self, device: &DeviceKey) -> Vec<Mark> {
        let Some(pending) = self.devices.remove(device) else {
            return Vec::new();
        };
        self.recount();
        pending.marks
    }

    /// The same of all such devices.
    pub fn take_devices(
        &mut self,
        mut which: impl FnMut(&DeviceKey) -> bool,
    ) -> Vec<(DeviceKey, Vec<Mark>)> {
        let taken = self.devices.extract_if(|device, _| which(device));
        let taken = taken.map(|(device, pending)| (device, pending.marks));
        let taken = taken.collect();
        self.recount();
        taken
    }

    /// Counted anew: adding may have been broken off by a panic.
    fn recount(&mut self) {
        self.changes = self.devices.values().map(Pending::len).sum();
        self.listed = self.devices.values().filter(|p| p.is_listed()).count();
    }

    /// Whether an event has a part in what waits for a device.
    pub fn has(&self, device: &DeviceKey, mark: Mark) -> bool {
        let pending = self.devices.get(device);
        pending.is_some_and(|pending| pending.marks.contains(&mark))
    }

    /// What [`Overlay::mutations`] gave is in the store: forgets it, and moves its events to
    /// `done`.
    pub fn clear(&mut self, seen: bool, done: &mut Vec<Mark>) {
        let written = |pending: &Pending| seen || !pending.is_only_seen();
        for (_, pending) in self.devices.extract_if(|_, pending| written(pending)) {
            self.changes -= pending.len();
            self.listed -= usize::from(pending.is_listed());
            done.extend(pending.marks);
        }
        done.append(&mut self.idle);
    }

    /// Moves events for which nothing is to be written to `done`.
    pub fn take_idle(&mut self, done: &mut Vec<Mark>) {
        done.append(&mut self.idle);
    }
}

impl Change {
    fn is_empty(&self) -> bool {
        self.cells.is_empty()
            && self.parameters.is_empty()
            && self.deletes.is_empty()
            && self.history.is_empty()
            && self.index.is_empty()
    }
}

/// Whether cells only say that a device was heard of.
fn is_seen(cells: &[(DeviceColumn, Cell)]) -> bool {
    use DeviceColumn::{InformCount, LastInform, LastSeen};
    let mut columns = cells.iter().map(|(column, _)| column);
    columns.all(|column| matches!(column, LastSeen | LastInform | InformCount))
}

impl Pending {
    fn add(&mut self, mark: Mark, change: Change) {
        self.marks.push(mark);
        for (column, cell) in change.cells {
            match self.cells.iter_mut().find(|(known, _)| *known == column) {
                Some((_, old)) if (old.time, &old.value) >= (cell.time, &cell.value) => {}
                Some((_, old)) => *old = cell,
                None => self.cells.push((column, cell)),
            }
        }
        for (path, time) in change.deletes {
            for (known, row) in &mut self.parameters {
                if covers(&path, known) {
                    row.delete_until(time);
                }
            }
            self.deletes.push((path, time));
        }
        for (path, time, part) in change.parameters {
            let deleted = self.deletes.iter().filter(|(of, _)| covers(of, &path));
            if deleted.map(|(_, at)| *at).max() < Some(time) {
                self.parameters.entry(path).or_default().merge(time, &part);
            }
        }
        self.history.extend(change.history);
        for (attribute, value, time, remove) in change.index {
            let entry = self.index.entry((attribute, value)).or_default();
            *entry = (*entry).max((time, remove));
        }
    }

    fn len(&self) -> usize {
        usize::from(!self.cells.is_empty())
            + self.parameters.len()
            + self.deletes.len()
            + self.history.len()
            + self.index.len()
    }

    fn is_only_seen(&self) -> bool {
        !self.is_new
            && is_seen(&self.cells)
            && self.parameters.is_empty()
            && self.deletes.is_empty()
            && self.history.is_empty()
            && self.index.is_empty()
    }

    fn is_listed(&self) -> bool {
        self.is_new || !self.index.is_empty()
    }

    /// Whether parameters changed.
    pub fn has_parameters(&self) -> bool {
        !self.parameters.is_empty() || !self.deletes.is_empty()
    }

    /// Whether history was added.
    pub fn has_history(&self) -> bool {
        !self.history.is_empty()
    }

    /// The device's row as it becomes.
    pub fn over_row(&self, stored: &mut DeviceRow) {
        for (column, cell) in &self.cells {
            cell.merge_into(stored, *column);
        }
    }

    /// A parameter's row as it becomes.
    pub fn over_parameter(&self, path: &str, stored: &mut ParameterRow) {
        for (of, time) in &self.deletes {
            if covers(of, path) {
                stored.delete_until(*time);
            }
        }
        if let Some(row) = self.parameters.get(path) {
            for (time, part) in row.parts() {
                stored.merge(time, &part);
            }
        }
    }

    fn mutations(&self, device: &DeviceKey, all: &mut Vec<Mutation>) {
        if !self.cells.is_empty() {
            all.push(Mutation::Device {
                device: device.clone(),
                cells: self.cells.clone(),
            });
        }
        for (path, time) in &self.deletes {
            all.push(Mutation::DeleteParameters {
                device: device.clone(),
                path: path.clone(),
                time: *time,
            });
        }
        for (path, row) in &self.parameters {
            let parts = row
                .parts()
                .into_iter()
                .map(|(time, part)| Mutation::Parameter {
                    device: device.clone(),
                    path: path.clone(),
                    time,
                    cells: vec![part],
                });
            all.extend(parts);
        }
        all.extend(self.history.iter().map(|row| Mutation::History {
            device: device.clone(),
            row: row.clone(),
        }));
        for ((attribute, value), (time, remove)) in &self.index {
            all.push(Mutation::Index {
                entry: IndexEntry {
                    device: device.clone(),
                    attribute: attribute.clone(),
                    value: value.clone(),
                },
                time: *time,
                remove: *remove,
            });
        }
    }
}

/// Whether a delete of `deleted` takes the parameter `path`.
fn covers(deleted: &str, path: &str) -> bool {
    deleted.is_empty() || deleted == path || deleted.ends_with('.') && path.starts_with(deleted)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_left_without_a_device_is_counted() {
        let mut overlay = Overlay::default();
        let device = |id| DeviceKey::parse("default", id).unwrap();
        let mark = |seq| Mark { part: 0, seq };
        for (seq, id) in [(1, "001122-X-1"), (2, "001122-X-1"), (3, "001122-X-2")] {
            let change = Change {
                deletes: vec![(format!("Device.{seq}"), Timestamp::ZERO)],
                ..Change::default()
            };
            overlay.add(&device(id), mark(seq), true, change);
        }
        assert!(overlay.has(&device("001122-X-1"), mark(2)));
        assert!(!overlay.has(&device("001122-X-1"), mark(3)));
        // As after a panic while something was added.
        (overlay.changes, overlay.listed) = (0, 7);
        let taken = overlay.take_device(&device("001122-X-1"));
        assert_eq!(taken, [mark(1), mark(2)]);
        assert_eq!((overlay.len(), overlay.listed), (1, 1));
        let mut done = Vec::new();
        overlay.clear(true, &mut done);
        assert_eq!(done, [mark(3)]);
        assert_eq!((overlay.changes, overlay.listed), (0, 0));
    }
}
