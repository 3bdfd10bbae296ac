//! How rows are written: protobuf, so that later versions can add fields.

use std::collections::BTreeMap;

use hearth_types::{Timestamp, ValueType};
use prost::Message;

use super::keys::damaged;
use crate::{Cell, CellValue, DeviceColumn, DeviceRow, ParameterRow, Result};

#[derive(Clone, PartialEq, Message)]
struct DeviceProto {
    #[prost(message, repeated, tag = "1")]
    cells: Vec<CellProto>,
}

#[derive(Clone, PartialEq, Message)]
struct CellProto {
    #[prost(uint32, tag = "1")]
    column: u32,
    #[prost(sfixed64, tag = "2")]
    time: i64,
    #[prost(oneof = "ValueProto", tags = "3, 4, 5")]
    value: Option<ValueProto>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum ValueProto {
    #[prost(string, tag = "3")]
    Text(String),
    #[prost(sint64, tag = "4")]
    Int(i64),
    #[prost(message, tag = "5")]
    List(ListProto),
}

#[derive(Clone, PartialEq, Message)]
struct ListProto {
    #[prost(string, repeated, tag = "1")]
    items: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
struct ParameterProto {
    #[prost(string, optional, tag = "1")]
    text: Option<String>,
    #[prost(uint32, tag = "2")]
    value_type: u32,
    #[prost(bytes = "vec", tag = "3")]
    sealed: Vec<u8>,
    #[prost(sfixed64, tag = "4")]
    value_time: i64,
    #[prost(bool, optional, tag = "5")]
    writable: Option<bool>,
    #[prost(sfixed64, tag = "6")]
    writable_time: i64,
    #[prost(uint32, optional, tag = "7")]
    notification: Option<u32>,
    #[prost(sfixed64, tag = "8")]
    notification_time: i64,
    #[prost(message, optional, tag = "9")]
    access_list: Option<ListProto>,
    #[prost(sfixed64, tag = "10")]
    access_list_time: i64,
}

/// An entry of a device's history.
#[derive(Clone, PartialEq, Message)]
pub struct HistoryProto {
    #[prost(string, tag = "1")]
    pub path: String,
    #[prost(bytes = "vec", tag = "2")]
    pub payload: Vec<u8>,
}

/// An entry of a device's list of its index entries.
#[derive(Clone, PartialEq, Message)]
pub struct IndexOfProto {
    #[prost(sfixed64, tag = "1")]
    pub time: i64,
    #[prost(bool, tag = "2")]
    pub removed: bool,
}

/// A task.
#[derive(Clone, PartialEq, Message)]
pub struct TaskProto {
    #[prost(string, tag = "1")]
    pub device: String,
    #[prost(bool, tag = "2")]
    pub open: bool,
    #[prost(uint64, tag = "3")]
    pub revision: u64,
    #[prost(bytes = "vec", tag = "4")]
    pub payload: Vec<u8>,
    /// Empty where there is none.
    #[prost(string, tag = "5")]
    pub idempotency_key: String,
}

/// A document.
#[derive(Clone, PartialEq, Message)]
pub struct DocumentProto {
    #[prost(sfixed64, tag = "1")]
    pub time: i64,
    #[prost(bytes = "vec", tag = "2")]
    pub payload: Vec<u8>,
}

/// Reads a message.
pub fn read<M: Message + Default>(bytes: &[u8], what: &str) -> Result<M> {
    M::decode(bytes).map_err(|_| damaged(what))
}

/// The bytes of a device's row.
pub fn write_device(row: &DeviceRow) -> Vec<u8> {
    let cell = |(column, cell): (&DeviceColumn, &Cell)| CellProto {
        column: column_code(*column),
        time: cell.time.as_micros(),
        value: Some(match &cell.value {
            CellValue::Text(text) => ValueProto::Text(text.clone()),
            CellValue::Int(int) => ValueProto::Int(*int),
            CellValue::List(items) => ValueProto::List(ListProto {
                items: items.clone(),
            }),
        }),
    };
    let cells = row.iter().map(cell).collect();
    DeviceProto { cells }.encode_to_vec()
}

/// A device's row. Columns of a newer version are left out.
pub fn read_device(bytes: &[u8]) -> Result<DeviceRow> {
    let mut row = BTreeMap::new();
    for cell in read::<DeviceProto>(bytes, "device")?.cells {
        let Some(column) = COLUMNS.iter().find(|(code, _)| *code == cell.column) else {
            continue;
        };
        let value = match cell.value.ok_or_else(|| damaged("device"))? {
            ValueProto::Text(text) => CellValue::Text(text),
            ValueProto::Int(int) => CellValue::Int(int),
            ValueProto::List(list) => CellValue::List(list.items),
        };
        let time = Timestamp::from_micros(cell.time);
        row.insert(column.1, Cell { value, time });
    }
    Ok(row)
}

/// The bytes of a parameter's row.
pub fn write_parameter(row: &ParameterRow) -> Vec<u8> {
    let mut proto = ParameterProto::default();
    if let Some((text, value_type, sealed, time)) = &row.value {
        proto.text = Some(text.clone());
        proto.value_type = type_code(*value_type);
        proto.sealed.clone_from(sealed);
        proto.value_time = time.as_micros();
    }
    if let Some((writable, time)) = row.writable {
        proto.writable = Some(writable);
        proto.writable_time = time.as_micros();
    }
    if let Some((notification, time)) = row.notification {
        proto.notification = Some(notification.into());
        proto.notification_time = time.as_micros();
    }
    if let Some((items, time)) = &row.access_list {
        proto.access_list = Some(ListProto {
            items: items.clone(),
        });
        proto.access_list_time = time.as_micros();
    }
    proto.encode_to_vec()
}

/// A parameter's row.
pub fn read_parameter(bytes: &[u8]) -> Result<ParameterRow> {
    let proto = read::<ParameterProto>(bytes, "parameter")?;
    let at = Timestamp::from_micros;
    let value_type = read_type(proto.value_type);
    let sealed = proto.sealed;
    Ok(ParameterRow {
        value: proto
            .text
            .map(|text| (text, value_type, sealed, at(proto.value_time))),
        writable: proto.writable.map(|w| (w, at(proto.writable_time))),
        notification: proto.notification.map(|n| {
            let number = u8::try_from(n).unwrap_or_default();
            (number, at(proto.notification_time))
        }),
        access_list: proto
            .access_list
            .map(|list| (list.items, at(proto.access_list_time))),
    })
}

/// Numbers of columns in stored rows; never reused.
const COLUMNS: [(u32, DeviceColumn); 19] = [
    (1, DeviceColumn::Manufacturer),
    (2, DeviceColumn::Oui),
    (3, DeviceColumn::ProductClass),
    (4, DeviceColumn::SerialNumber),
    (5, DeviceColumn::SoftwareVersion),
    (6, DeviceColumn::HardwareVersion),
    (7, DeviceColumn::Root),
    (8, DeviceColumn::ConnectionRequestUrl),
    (9, DeviceColumn::RemoteAddress),
    (10, DeviceColumn::FirstSeen),
    (11, DeviceColumn::LastSeen),
    (12, DeviceColumn::LastInform),
    (13, DeviceColumn::LastBootstrap),
    (14, DeviceColumn::LastBoot),
    (15, DeviceColumn::LastEvents),
    (16, DeviceColumn::Tags),
    (17, DeviceColumn::PeriodicInformInterval),
    (18, DeviceColumn::CwmpNamespace),
    (19, DeviceColumn::InformCount),
];

fn column_code(column: DeviceColumn) -> u32 {
    COLUMNS
        .iter()
        .find(|(_, c)| *c == column)
        .map_or(0, |(code, _)| *code)
}

/// Number of a type in stored rows; never reused.
const fn type_code(value_type: ValueType) -> u32 {
    match value_type {
        ValueType::String => 0,
        ValueType::Int => 1,
        ValueType::UnsignedInt => 2,
        ValueType::Long => 3,
        ValueType::UnsignedLong => 4,
        ValueType::Boolean => 5,
        ValueType::DateTime => 6,
        ValueType::Base64 => 7,
        ValueType::HexBinary => 8,
    }
}

const fn read_type(code: u32) -> ValueType {
    match code {
        1 => ValueType::Int,
        2 => ValueType::UnsignedInt,
        3 => ValueType::Long,
        4 => ValueType::UnsignedLong,
        5 => ValueType::Boolean,
        6 => ValueType::DateTime,
        7 => ValueType::Base64,
        8 => ValueType::HexBinary,
        _ => ValueType::String,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn rows_read_back() {
        let at = Timestamp::from_micros;
        let full = ParameterRow {
            value: Some((String::new(), ValueType::HexBinary, vec![1, 0], at(-5))),
            writable: Some((false, at(7))),
            notification: Some((6, at(8))),
            access_list: Some((vec![], at(9))),
        };
        for row in [full, ParameterRow::default()] {
            assert_eq!(read_parameter(&write_parameter(&row)).unwrap(), row);
        }
        let values = [
            CellValue::Text("x".into()),
            CellValue::Int(-1),
            CellValue::List(vec!["a".into(), String::new()]),
        ];
        let row: DeviceRow = COLUMNS
            .iter()
            .zip(values.iter().cycle())
            .map(|((_, column), value)| {
                let value = value.clone();
                (*column, Cell { value, time: at(3) })
            })
            .collect();
        assert_eq!(row.len(), COLUMNS.len());
        assert_eq!(read_device(&write_device(&row)).unwrap(), row);
    }

    #[test]
    fn types_read_back() {
        for code in 0..=8 {
            assert_eq!(type_code(read_type(code)), code);
        }
    }
}
