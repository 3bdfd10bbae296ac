//! Rows of devices.

use std::collections::BTreeMap;

use hearth_types::{DeviceKey, Timestamp};
use scylla::value::{CqlValue, MaybeUnset, Row};

use super::client::Client;
use super::encode::{check_size, event_time, now};
use super::statements::Statement;
use crate::{Cell, CellValue, DeviceColumn, DeviceRow, Error, Result};

/// Values bound to a statement.
pub(super) type Values = Vec<MaybeUnset<CqlValue>>;

/// What a column holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Int,
    List,
}

/// The columns in the order in which [`Statement::DevicePut`] and [`Statement::DeviceRead`] name
/// them. First seen is not among them: it is a set of which the least counts.
const COLUMNS: [(DeviceColumn, Kind); 18] = [
    (DeviceColumn::Manufacturer, Kind::Text),
    (DeviceColumn::Oui, Kind::Text),
    (DeviceColumn::ProductClass, Kind::Text),
    (DeviceColumn::SerialNumber, Kind::Text),
    (DeviceColumn::SoftwareVersion, Kind::Text),
    (DeviceColumn::HardwareVersion, Kind::Text),
    (DeviceColumn::Root, Kind::Text),
    (DeviceColumn::ConnectionRequestUrl, Kind::Text),
    (DeviceColumn::RemoteAddress, Kind::Text),
    (DeviceColumn::LastSeen, Kind::Int),
    (DeviceColumn::LastInform, Kind::Int),
    (DeviceColumn::LastBootstrap, Kind::Int),
    (DeviceColumn::LastBoot, Kind::Int),
    (DeviceColumn::LastEvents, Kind::List),
    (DeviceColumn::Tags, Kind::List),
    (DeviceColumn::PeriodicInformInterval, Kind::Int),
    (DeviceColumn::CwmpNamespace, Kind::Text),
    (DeviceColumn::InformCount, Kind::Int),
];

/// Whether a column is one that every Inform changes.
pub(super) fn is_seen(column: DeviceColumn) -> bool {
    use DeviceColumn::{InformCount, LastInform, LastSeen};
    matches!(column, LastSeen | LastInform | InformCount)
}

/// The writes that a device's cells need.
#[derive(Default)]
pub(super) struct DeviceWrites {
    /// For [`Statement::DevicePut`], one for each time.
    pub(super) puts: Vec<Values>,
    /// For [`Statement::DeviceFirstSeen`].
    pub(super) first_seen: Vec<(i64, Vec<i64>, String, String)>,
    /// The latest time of all.
    pub(super) latest: i64,
}

/// The writes for `cells`. No cells at all make the row.
pub(super) fn writes(device: &DeviceKey, cells: &[&(DeviceColumn, Cell)]) -> Result<DeviceWrites> {
    let mut writes = DeviceWrites::default();
    let mut rows: BTreeMap<i64, DeviceRow> = BTreeMap::new();
    for (column, cell) in cells {
        let time = if *column == DeviceColumn::FirstSeen {
            let seen = first_seen(cell)?;
            let (tenant, device) = names(device);
            writes.first_seen.push((seen, vec![seen], tenant, device));
            seen
        } else {
            let time = event_time(cell.time)?;
            cell.merge_into(rows.entry(time).or_default(), *column);
            time
        };
        writes.latest = writes.latest.max(time);
    }
    if cells.is_empty() {
        writes.latest = now().as_micros();
        rows.insert(writes.latest, DeviceRow::new());
    }
    for (time, row) in rows {
        writes.puts.push(put(device, time, &row)?);
    }
    Ok(writes)
}

fn names(device: &DeviceKey) -> (String, String) {
    let text = |name: &str| name.to_owned();
    (text(device.tenant.as_str()), text(device.device.as_str()))
}

/// The first sign of life is the earliest one, and its cell's time says so by running backwards.
/// CQL has no such order; so it is an element of a set, written at the time of that sign.
fn first_seen(cell: &Cell) -> Result<i64> {
    match cell.value {
        CellValue::Int(seen) if Some(seen) == cell.time.as_micros().checked_neg() => {
            event_time(Timestamp::from_micros(seen))
        }
        _ => Err(Error::TooLarge(
            "a first sign of life whose cell's time doesn't run backwards".into(),
        )),
    }
}

fn put(device: &DeviceKey, time: i64, row: &DeviceRow) -> Result<Values> {
    let (tenant, id) = names(device);
    let text = |text: String| MaybeUnset::Set(CqlValue::Text(text));
    let mut values = Vec::with_capacity(COLUMNS.len() + 3);
    values.extend([text(tenant), text(id)]);
    for (column, kind) in COLUMNS {
        values.push(match row.get(&column) {
            Some(cell) => MaybeUnset::Set(to_cql(column, kind, &cell.value)?),
            None => MaybeUnset::Unset,
        });
    }
    values.push(MaybeUnset::Set(CqlValue::BigInt(time)));
    Ok(values)
}

fn to_cql(column: DeviceColumn, kind: Kind, value: &CellValue) -> Result<CqlValue> {
    let size = match value {
        CellValue::Text(text) => text.len(),
        CellValue::Int(_) => 8,
        CellValue::List(list) => list.iter().map(|item| item.len() + 4).sum(),
    };
    check_size(size, "a value of a device")?;
    match (kind, value) {
        (Kind::Text, CellValue::Text(text)) => Ok(CqlValue::Text(text.clone())),
        (Kind::Int, CellValue::Int(int)) => Ok(CqlValue::BigInt(*int)),
        (Kind::List, CellValue::List(list)) => {
            let items = list.iter().cloned().map(CqlValue::Text);
            Ok(CqlValue::List(items.collect()))
        }
        _ => Err(Error::TooLarge(format!(
            "a value of another kind than the column {column:?} has"
        ))),
    }
}

impl Client {
    /// A device's row.
    pub(super) async fn device(&self, device: &DeviceKey) -> Result<Option<DeviceRow>> {
        let key = (device.tenant.as_str(), device.device.as_str());
        let row: Option<Row> = self.row(Statement::DeviceRead, key).await?;
        row.map(read).transpose()
    }
}

/// A row as [`Statement::DeviceRead`] gives it.
fn read(row: Row) -> Result<DeviceRow> {
    let damaged = || Error::Damaged("a device's row".into());
    let mut found = DeviceRow::new();
    let mut columns = row.columns.into_iter();
    if let Some(CqlValue::Set(seen)) = columns.next().ok_or_else(damaged)? {
        let seen = seen.iter().filter_map(CqlValue::as_bigint).min();
        if let Some(seen) = seen {
            let cell = Cell {
                value: CellValue::Int(seen),
                time: Timestamp::from_micros(-seen),
            };
            found.insert(DeviceColumn::FirstSeen, cell);
        }
    }
    for (column, _) in COLUMNS {
        let (Some(value), Some(time)) = (columns.next(), columns.next()) else {
            return Err(damaged());
        };
        let (Some(value), Some(CqlValue::BigInt(time))) = (value, time) else {
            continue;
        };
        let value = from_cql(value).ok_or_else(damaged)?;
        let time = Timestamp::from_micros(time);
        found.insert(column, Cell { value, time });
    }
    Ok(found)
}

fn from_cql(value: CqlValue) -> Option<CellValue> {
    Some(match value {
        CqlValue::Text(text) => CellValue::Text(text),
        CqlValue::BigInt(int) => CellValue::Int(int),
        CqlValue::List(items) => {
            let texts = items.into_iter().map(CqlValue::into_string);
            CellValue::List(texts.collect::<Option<_>>()?)
        }
        _ => return None,
    })
}
