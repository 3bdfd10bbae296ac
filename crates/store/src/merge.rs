//! The rule of merging, the same in every backend and in what is kept in front of a store.

use std::collections::btree_map::Entry;

use hearth_types::{Timestamp, ValueType};

use crate::{Cell, DeviceColumn, DeviceRow, ParameterCell, ParameterRow};

impl Cell {
    /// Puts this cell into a row unless the row has a later one, or a greater one of the same
    /// time. Answers whether it did.
    pub fn merge_into(&self, row: &mut DeviceRow, column: DeviceColumn) -> bool {
        match row.entry(column) {
            Entry::Occupied(mut old) => {
                let known = old.get();
                if (known.time, &known.value) >= (self.time, &self.value) {
                    return false;
                }
                old.insert(self.clone());
            }
            Entry::Vacant(place) => {
                place.insert(self.clone());
            }
        }
        true
    }
}

impl ParameterRow {
    /// Whether no part is known.
    pub const fn is_empty(&self) -> bool {
        self.value.is_none()
            && self.writable.is_none()
            && self.notification.is_none()
            && self.access_list.is_none()
    }

    /// Puts a part of `time` into the row unless the row has a later one, or a greater one of
    /// the same time.
    pub fn merge(&mut self, time: Timestamp, part: &ParameterCell) {
        match part {
            ParameterCell::Value {
                text,
                value_type,
                sealed,
            } => {
                let newer = self.value.as_ref().is_none_or(|(old, of, was, at)| {
                    (*at, old, rank(*of), was) < (time, text, rank(*value_type), sealed)
                });
                if newer {
                    self.value = Some((text.clone(), *value_type, sealed.clone(), time));
                }
            }
            ParameterCell::Writable(writable) => {
                let new = (time, *writable);
                if self.writable.is_none_or(|(old, at)| (at, old) < new) {
                    self.writable = Some((*writable, time));
                }
            }
            ParameterCell::Notification(number) => {
                let new = (time, *number);
                if self.notification.is_none_or(|(old, at)| (at, old) < new) {
                    self.notification = Some((*number, time));
                }
            }
            ParameterCell::AccessList(list) => {
                let newer = self
                    .access_list
                    .as_ref()
                    .is_none_or(|(old, at)| (*at, old) < (time, list));
                if newer {
                    self.access_list = Some((list.clone(), time));
                }
            }
        }
    }

    /// Forgets the parts that are not newer than `time`.
    pub fn delete_until(&mut self, time: Timestamp) {
        self.value = self.value.take().filter(|(.., at)| *at > time);
        self.writable = self.writable.filter(|(_, at)| *at > time);
        self.notification = self.notification.filter(|(_, at)| *at > time);
        self.access_list = self.access_list.take().filter(|(_, at)| *at > time);
    }

    /// The row as parts, each with its time.
    pub fn parts(&self) -> Vec<(Timestamp, ParameterCell)> {
        let mut parts = Vec::with_capacity(2);
        if let Some((text, value_type, sealed, time)) = &self.value {
            let part = ParameterCell::Value {
                text: text.clone(),
                value_type: *value_type,
                sealed: sealed.clone(),
            };
            parts.push((*time, part));
        }
        parts.extend(
            self.writable
                .map(|(w, at)| (at, ParameterCell::Writable(w))),
        );
        let notification = |(n, at)| (at, ParameterCell::Notification(n));
        parts.extend(self.notification.map(notification));
        if let Some((list, time)) = &self.access_list {
            parts.push((*time, ParameterCell::AccessList(list.clone())));
        }
        parts
    }
}

/// Types by their rank.
pub(crate) const TYPES: [ValueType; 9] = [
    ValueType::String,
    ValueType::Int,
    ValueType::UnsignedInt,
    ValueType::Long,
    ValueType::UnsignedLong,
    ValueType::Boolean,
    ValueType::DateTime,
    ValueType::Base64,
    ValueType::HexBinary,
];

/// An order of types that stays: part of what is stored.
pub(crate) const fn rank(value_type: ValueType) -> u8 {
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
