//! A device's tags. Each is a cell of its own, its entry in the index, so that changes through two
//! replicas at the same time both count. The column in the device's row repeats them for answers;
//! whoever changes a tag makes the column right after it, by reading both again.

use std::collections::BTreeSet;
use std::time::Duration;

use hearth_clients::{Error, Result};
use hearth_proto::devicestate::v1 as ds;
use hearth_store::{Cell, CellValue, DeviceColumn, DeviceRow, IndexEntry, Mutation};
use hearth_types::{DeviceKey, Timestamp};

use super::no_device;
use crate::columns;
use crate::core::Core;

/// The longest tag, in characters, and the most of a device.
const MAX_TAG: usize = 64;
const MAX_TAGS: usize = 64;
/// How often others may come in between before it is left to them to make the column right.
const ROUNDS: usize = 16;

impl Core {
    /// Adds and removes tags; the device's row with what it has then.
    pub(super) async fn change_tags(
        &self,
        device: &DeviceKey,
        request: &ds::SetTagsRequest,
    ) -> Result<DeviceRow> {
        for tag in &request.add {
            check_tag(tag)?;
        }
        let _edit = self.edit.lock().await;
        let (mut row, mut tags) = self.tags(device).await?;
        let mut wanted = tags.clone();
        wanted.extend(request.add.iter().cloned());
        for tag in &request.remove {
            wanted.remove(tag);
        }
        if wanted.len() > MAX_TAGS.max(tags.len()) {
            let message = format!("a device has at most {MAX_TAGS} tags; remove some");
            return Err(Error::invalid("add", message));
        }
        for _ in 0..ROUNDS {
            let column: BTreeSet<String> = columns::list(&row, DeviceColumn::Tags)
                .iter()
                .cloned()
                .collect();
            if wanted == tags && wanted == column {
                return Ok(row);
            }
            self.write_tags(device, &row, &tags, &wanted).await?;
            // What is there now counts, also what another replica has changed meanwhile: it may
            // have written the column without this one's tags, or this one without its.
            (row, tags) = self.tags(device).await?;
            wanted.clone_from(&tags);
        }
        Ok(row)
    }

    /// A device's row and its tags.
    async fn tags(&self, device: &DeviceKey) -> Result<(DeviceRow, BTreeSet<String>)> {
        let row = self.row(device).await?;
        let row = row.ok_or_else(|| no_device(device))?;
        let entries = self.store.index_of(device).await?.into_iter();
        let tags =
            entries.filter_map(|(attribute, tag)| (attribute == columns::TAG).then_some(tag));
        Ok((row, tags.collect()))
    }

    async fn write_tags(
        &self,
        device: &DeviceKey,
        row: &DeviceRow,
        old: &BTreeSet<String>,
        new: &BTreeSet<String>,
    ) -> Result<()> {
        let last = row.get(&DeviceColumn::Tags).map(|cell| cell.time);
        let step = Duration::from_micros(1);
        let after = last.map_or(Timestamp::ZERO, |last| last.saturating_add(step));
        let time = self.now().max(after);
        let cell = Cell {
            value: CellValue::List(new.iter().cloned().collect()),
            time,
        };
        let mut mutations = vec![Mutation::Device {
            device: device.clone(),
            cells: vec![(DeviceColumn::Tags, cell)],
        }];
        mutations.extend(new.symmetric_difference(old).map(|tag| Mutation::Index {
            entry: IndexEntry {
                device: device.clone(),
                attribute: columns::TAG.to_owned(),
                value: tag.clone(),
            },
            time,
            remove: old.contains(tag),
        }));
        Ok(self.store.write(mutations).await?)
    }
}

fn check_tag(tag: &str) -> Result<()> {
    let length = tag.chars().count();
    let good = (1..=MAX_TAG).contains(&length)
        && !tag.chars().any(|c| c.is_control() || c.is_whitespace());
    match good {
        true => Ok(()),
        false => Err(Error::invalid(
            "add",
            "a tag has 1 to 64 characters, no white space or control characters",
        )),
    }
}
