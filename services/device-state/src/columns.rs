//! Columns of a device's row: where they come from, by which attributes they are searched, how
//! they are answered.

use std::borrow::Cow;
use std::net::SocketAddr;

use hearth_proto::{devicestate::v1 as ds, events::v1 as ev};
use hearth_store::{CellValue, DeviceColumn, DeviceRow};
use hearth_types::{DeviceKey, Timestamp};

use crate::online::online_until;

/// The roots of data models (TR-181, TR-098).
const ROOTS: [&str; 2] = ["Device.", "InternetGatewayDevice."];

/// Columns that a parameter brings, by its path below the root.
const DERIVED: [(&str, DeviceColumn); 4] = [
    ("DeviceInfo.SoftwareVersion", DeviceColumn::SoftwareVersion),
    ("DeviceInfo.HardwareVersion", DeviceColumn::HardwareVersion),
    (
        "ManagementServer.ConnectionRequestURL",
        DeviceColumn::ConnectionRequestUrl,
    ),
    (
        "ManagementServer.PeriodicInformInterval",
        DeviceColumn::PeriodicInformInterval,
    ),
];

/// Attributes that devices are searched by and that are columns.
pub const ATTRIBUTES: [(&str, DeviceColumn); 6] = [
    ("serial_number", DeviceColumn::SerialNumber),
    ("oui", DeviceColumn::Oui),
    ("product_class", DeviceColumn::ProductClass),
    ("manufacturer", DeviceColumn::Manufacturer),
    ("software_version", DeviceColumn::SoftwareVersion),
    ("remote_address", DeviceColumn::RemoteAddress),
];
/// The attribute of the device's id.
pub const ID: &str = "id";
/// The attribute of a tag.
pub const TAG: &str = "tag";
/// The attribute that is computed.
pub const ONLINE: &str = "online";

/// The longest indexed text, in characters.
const MAX_INDEXED: usize = 256;

/// Separates an event's code from its CommandKey in `LastEvents`.
const KEY_SEPARATOR: char = '\t';

/// The root of a path.
pub fn root(path: &str) -> Option<&'static str> {
    ROOTS.into_iter().find(|root| path.starts_with(root))
}

/// The column that a parameter brings, with its value.
pub fn derived(path: &str, value: &str) -> Option<(DeviceColumn, CellValue)> {
    let below = path.strip_prefix(root(path)?)?;
    let (_, column) = DERIVED.iter().find(|(suffix, _)| *suffix == below)?;
    let value = match column {
        DeviceColumn::PeriodicInformInterval => {
            CellValue::Int(value.trim().parse::<u32>().ok()?.into())
        }
        _ => CellValue::Text(value.to_owned()),
    };
    Some((*column, value))
}

/// The attribute by which a column is searched.
pub fn attribute(column: DeviceColumn) -> Option<&'static str> {
    let found = ATTRIBUTES.iter().find(|(_, of)| *of == column);
    found.map(|(attribute, _)| *attribute)
}

/// A value as it stands in the index: its beginning, an address without its port.
pub fn indexed(attribute: &str, value: &str) -> String {
    if attribute == "remote_address" {
        return without_port(value);
    }
    value.chars().take(MAX_INDEXED).collect()
}

fn without_port(address: &str) -> String {
    match address.parse::<SocketAddr>() {
        Ok(address) => address.ip().to_canonical().to_string(),
        Err(_) => address.chars().take(MAX_INDEXED).collect(),
    }
}

/// An event as it is kept in `LastEvents`.
pub fn event_text(event: &ev::InformEvent) -> Cow<'_, str> {
    match event.command_key.is_empty() {
        true => Cow::Borrowed(&event.code),
        false => format!("{}{KEY_SEPARATOR}{}", event.code, event.command_key).into(),
    }
}

fn event_of(text: &str) -> ev::InformEvent {
    let (code, key) = text.split_once(KEY_SEPARATOR).unwrap_or((text, ""));
    ev::InformEvent {
        code: code.to_owned(),
        command_key: key.to_owned(),
    }
}

/// The text of a column, empty where there is none.
pub fn text(row: &DeviceRow, column: DeviceColumn) -> &str {
    match row.get(&column).map(|cell| &cell.value) {
        Some(CellValue::Text(text)) => text,
        _ => "",
    }
}

/// The number of a column, 0 where there is none.
pub fn int(row: &DeviceRow, column: DeviceColumn) -> i64 {
    match row.get(&column).map(|cell| &cell.value) {
        Some(CellValue::Int(int)) => *int,
        _ => 0,
    }
}

/// The list of a column.
pub fn list(row: &DeviceRow, column: DeviceColumn) -> &[String] {
    match row.get(&column).map(|cell| &cell.value) {
        Some(CellValue::List(list)) => list,
        _ => &[],
    }
}

/// When a device was last heard of.
pub fn last_seen(row: &DeviceRow) -> Timestamp {
    Timestamp::from_micros(int(row, DeviceColumn::LastSeen))
}

/// A device's periodic interval in seconds, 0 when it isn't known.
pub fn interval(row: &DeviceRow) -> u32 {
    u32::try_from(int(row, DeviceColumn::PeriodicInformInterval)).unwrap_or_default()
}

/// Whether a device is online.
pub fn is_online(row: &DeviceRow, now: Timestamp) -> bool {
    online_until(last_seen(row), interval(row)) >= now
}

/// A device as it is answered.
pub fn message(device: &DeviceKey, row: &DeviceRow, now: Timestamp) -> ds::Device {
    use DeviceColumn as C;
    let text = |column| text(row, column).to_owned();
    let last_events = list(row, C::LastEvents).iter().map(|e| event_of(e));
    ds::Device {
        tenant: device.tenant.as_str().to_owned(),
        id: device.device.as_str().to_owned(),
        manufacturer: text(C::Manufacturer),
        oui: text(C::Oui),
        product_class: text(C::ProductClass),
        serial_number: text(C::SerialNumber),
        software_version: text(C::SoftwareVersion),
        hardware_version: text(C::HardwareVersion),
        root: text(C::Root),
        connection_request_url: text(C::ConnectionRequestUrl),
        remote_address: text(C::RemoteAddress),
        first_seen_us: int(row, C::FirstSeen),
        last_seen_us: int(row, C::LastSeen),
        last_inform_us: int(row, C::LastInform),
        last_bootstrap_us: int(row, C::LastBootstrap),
        last_boot_us: int(row, C::LastBoot),
        last_events: last_events.collect(),
        tags: list(row, C::Tags).to_vec(),
        periodic_inform_interval: interval(row),
        cwmp_namespace: text(C::CwmpNamespace),
        inform_count: u64::try_from(int(row, C::InformCount)).unwrap_or_default(),
        online: is_online(row, now),
        ..ds::Device::default()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn columns_come_from_either_root() {
        for root in ROOTS {
            let path = format!("{root}DeviceInfo.SoftwareVersion");
            let text = CellValue::Text("1.2".into());
            assert_eq!(
                derived(&path, "1.2"),
                Some((DeviceColumn::SoftwareVersion, text))
            );
        }
        let path = "Device.ManagementServer.PeriodicInformInterval";
        let number = Some((DeviceColumn::PeriodicInformInterval, CellValue::Int(300)));
        assert_eq!(derived(path, " 300"), number);
        assert_eq!(derived(path, "often"), None);
        assert_eq!(derived("Device.X.DeviceInfo.SoftwareVersion", "1"), None);
    }

    #[test]
    fn addresses_are_indexed_without_port() {
        assert_eq!(indexed("remote_address", "10.0.0.1:3300"), "10.0.0.1");
        assert_eq!(indexed("remote_address", "[2001:db8::1]:1"), "2001:db8::1");
        assert_eq!(indexed("remote_address", "[::ffff:10.0.0.1]:1"), "10.0.0.1");
        assert_eq!(indexed("remote_address", "10.0.0.1"), "10.0.0.1");
    }
}
