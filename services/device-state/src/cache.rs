//! What is known of devices that informed lately, as hashes: enough to tell in memory that an
//! Inform brings nothing new.
//!
//! Paths and values are devices' own, so that the hashes are keyed with numbers drawn at start: no
//! device can make two values look the same.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use hearth_store::{CellValue, DeviceColumn, DeviceRow};
use hearth_types::{DeviceKey, Timestamp, ValueType};
use parking_lot::Mutex;

use crate::lifecycle::due;
use crate::lifecycle::heard::Heard;

/// Parameters remembered of one device; an Inform has far fewer.
const MAX_PARAMETERS: usize = 256;
/// Columns of a device's row.
const COLUMNS: usize = 19;

/// Sessions remembered of one device that left no other trace.
const OPENED: usize = 3;

/// What is known of one device.
#[derive(Debug, Clone)]
pub struct Known {
    /// Whether it has informed.
    pub exists: bool,
    /// Whether it was registered before it ever informed.
    pub registered: bool,
    /// Where it stands in the index of due Informs.
    pub due: String,
    /// How it comes, once that was read.
    pub heard: Option<Box<Heard>>,
    /// In which tenure of its part this was learned.
    pub tenure: u64,
    /// Its last Inform.
    pub last_inform: Timestamp,
    /// When it was last heard of.
    pub last_seen: Timestamp,
    /// Its Informs so far.
    pub informs: i64,
    /// PeriodicInformInterval in seconds, 0 when not known.
    pub interval: u32,
    /// Sessions that it opened last, the newest last: ids and times.
    pub opened: [(u128, Timestamp); OPENED],
    columns: [(u64, Timestamp); COLUMNS],
    parameters: HashMap<u64, (u64, Timestamp), ahash::RandomState>,
}

/// How a reported value compares with what is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compared {
    /// Known and the same.
    Same,
    /// Something newer is known.
    Stale,
    /// Another one, or not in memory.
    Differs,
}

type Devices = quick_cache::sync::Cache<
    DeviceKey,
    Arc<Mutex<Known>>,
    quick_cache::UnitWeighter,
    ahash::RandomState,
>;

/// The devices known in memory.
#[derive(Debug)]
pub struct Cache {
    devices: Devices,
    hasher: ahash::RandomState,
}

impl Cache {
    /// For so many devices.
    pub fn new(devices: u64) -> Self {
        Self {
            devices: Devices::with(
                usize::try_from(devices).unwrap_or(usize::MAX),
                devices,
                quick_cache::UnitWeighter,
                ahash::RandomState::new(),
                quick_cache::sync::DefaultLifecycle::default(),
            ),
            hasher: ahash::RandomState::new(),
        }
    }

    /// A device, if it is in memory.
    pub fn get(&self, device: &DeviceKey) -> Option<Arc<Mutex<Known>>> {
        self.devices.get(device)
    }

    /// Remembers a device by its row. With `vouched`, columns that are reported as in the row are
    /// the same; without, they are written again.
    pub fn insert(
        &self,
        device: &DeviceKey,
        row: Option<&DeviceRow>,
        tenure: u64,
        vouched: bool,
    ) -> Arc<Mutex<Known>> {
        let mut known = self.known(row);
        known.tenure = tenure;
        if !vouched {
            known.columns = [(0, Timestamp::ZERO); COLUMNS];
        }
        let known = Arc::new(Mutex::new(known));
        self.devices.insert(device.clone(), Arc::clone(&known));
        known
    }

    /// Forgets a device.
    pub fn forget(&self, device: &DeviceKey) {
        self.devices.remove(device);
    }

    /// The hash of anything.
    pub fn hash(&self, of: impl Hash) -> u64 {
        self.hasher.hash_one(of)
    }

    /// The hash of a parameter's value.
    pub fn value_hash(&self, value_type: ValueType, text: &str) -> u64 {
        self.hash((value_type, text))
    }

    fn known(&self, row: Option<&DeviceRow>) -> Known {
        let mut known = Known {
            exists: row.is_some_and(|row| row.contains_key(&DeviceColumn::FirstSeen)),
            registered: row.is_some_and(|row| !row.contains_key(&DeviceColumn::FirstSeen)),
            due: String::new(),
            heard: None,
            tenure: 0,
            last_inform: Timestamp::ZERO,
            last_seen: Timestamp::ZERO,
            informs: 0,
            interval: 0,
            opened: [(0, Timestamp::ZERO); OPENED],
            columns: [(0, Timestamp::ZERO); COLUMNS],
            parameters: HashMap::default(),
        };
        for (column, cell) in row.into_iter().flatten() {
            match (&cell.value, column) {
                (CellValue::Int(_), DeviceColumn::LastInform) => known.last_inform = cell.time,
                (CellValue::Int(_), DeviceColumn::LastSeen) => known.last_seen = cell.time,
                (CellValue::Int(n), DeviceColumn::InformCount) => known.informs = *n,
                (CellValue::Int(n), DeviceColumn::PeriodicInformInterval) => {
                    known.interval = u32::try_from(*n).unwrap_or_default();
                }
                _ => {}
            }
            known.set_column(*column, self.cell_hash(&cell.value), cell.time);
        }
        if known.exists {
            known.due = due(known.last_inform, known.interval);
        }
        known
    }

    /// The hash of a cell's value. Text hashes as `&str`, a list as its items one after another.
    pub fn cell_hash(&self, value: &CellValue) -> u64 {
        match value {
            CellValue::Text(text) => self.hash(text.as_str()),
            CellValue::Int(int) => self.hash(int),
            CellValue::List(list) => self.hash(list),
        }
    }
}

impl Known {
    /// How a column's value compares.
    pub fn compare_column(&self, column: DeviceColumn, hash: u64, time: Timestamp) -> Compared {
        compare(self.columns.get(column as usize), hash, time)
    }

    /// Remembers a column's value unless a later one is known.
    pub fn set_column(&mut self, column: DeviceColumn, hash: u64, time: Timestamp) {
        if let Some(known) = self.columns.get_mut(column as usize)
            && known.1 <= time
        {
            *known = (hash, time);
        }
    }

    /// How a parameter's value compares; its time counts as known from now on when it is the same.
    pub fn compare_parameter(&mut self, path: u64, value: u64, time: Timestamp) -> Compared {
        let known = self.parameters.get_mut(&path);
        let compared = compare(known.as_deref(), value, time);
        if let (Compared::Same, Some(known)) = (compared, known) {
            known.1 = time;
        }
        compared
    }

    /// Remembers a parameter's value; a new path only when `adopt` and there is room.
    pub fn set_parameter(&mut self, path: u64, value: u64, time: Timestamp, adopt: bool) {
        let room = adopt && self.parameters.len() < MAX_PARAMETERS;
        match self.parameters.get_mut(&path) {
            Some(known) if known.1 <= time => *known = (value, time),
            None if room => {
                self.parameters.insert(path, (value, time));
            }
            _ => {}
        }
    }

    /// Remembers a session; one that is delivered again is known.
    pub fn open(&mut self, session: u128, time: Timestamp) {
        if session != 0 && self.opened[OPENED - 1].1 < time {
            self.opened.rotate_left(1);
            self.opened[OPENED - 1] = (session, time);
        }
    }

    /// Parameters were deleted: nothing that is older than `time` is known any more.
    pub fn forget_parameters(&mut self, time: Timestamp) {
        self.parameters.retain(|_, (_, at)| *at >= time);
    }
}

fn compare(known: Option<&(u64, Timestamp)>, hash: u64, time: Timestamp) -> Compared {
    match known {
        Some((_, at)) if *at > time => Compared::Stale,
        Some((known, _)) if *known == hash => Compared::Same,
        _ => Compared::Differs,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn values_are_told_apart_by_text_type_and_time() {
        let cache = Cache::new(10);
        let mut known = cache.known(None);
        let at = Timestamp::from_micros;
        let (path, value) = (
            cache.hash("Device.X"),
            cache.value_hash(ValueType::Int, "1"),
        );
        assert_eq!(
            known.compare_parameter(path, value, at(1)),
            Compared::Differs
        );
        known.set_parameter(path, value, at(1), true);
        assert_eq!(known.compare_parameter(path, value, at(3)), Compared::Same);
        let other = cache.value_hash(ValueType::String, "1");
        assert_eq!(
            known.compare_parameter(path, other, at(4)),
            Compared::Differs
        );
        assert_eq!(known.compare_parameter(path, other, at(2)), Compared::Stale);
        known.forget_parameters(at(4));
        assert_eq!(
            known.compare_parameter(path, value, at(5)),
            Compared::Differs
        );
    }

    #[test]
    fn a_device_remembers_a_bounded_number_of_parameters() {
        let cache = Cache::new(10);
        let mut known = cache.known(None);
        for path in 0..10_000 {
            known.set_parameter(path, 1, Timestamp::ZERO, true);
        }
        assert_eq!(known.parameters.len(), MAX_PARAMETERS);
    }
}
