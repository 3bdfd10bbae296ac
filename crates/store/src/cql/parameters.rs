//! Parameters of devices.

use std::collections::HashMap;
use std::ops::ControlFlow;

use hearth_types::{DeviceKey, Timestamp};
use scylla::value::MaybeUnset;

use super::client::{Client, each};
use super::encode::{check_size, event_time, key, read_value, value};
use super::statements::Statement;
use crate::{ParameterCell, ParameterRow, Result};

/// Paths asked for in one request; ScyllaDB takes at most 100.
const PATHS: usize = 64;

/// Values of [`Statement::ParameterPut`]: time, value, writable, notification, access list, tenant,
/// device, path.
pub(super) type Put = (
    i64,
    MaybeUnset<String>,
    MaybeUnset<bool>,
    MaybeUnset<i8>,
    MaybeUnset<Vec<String>>,
    String,
    String,
    String,
);

/// About the bytes of a write.
pub(super) fn weight(put: &Put) -> usize {
    let text = match &put.1 {
        MaybeUnset::Set(text) => text.len(),
        MaybeUnset::Unset => 0,
    };
    let list = match &put.4 {
        MaybeUnset::Set(list) => list.iter().map(|item| item.len() + 4).sum(),
        MaybeUnset::Unset => 0,
    };
    text + list + put.7.len() + 64
}

/// A delete of parameters.
pub(super) enum Delete {
    /// [`Statement::ParameterDelete`].
    One(i64, String),
    /// [`Statement::ParameterDeleteBelow`]: from the first path to before the second.
    Below(i64, String, String),
    /// [`Statement::ParameterDeleteAll`].
    All(i64),
}

/// The write of a parameter's parts; `None` where there are none.
pub(super) fn put(
    device: &DeviceKey,
    path: &str,
    time: Timestamp,
    cells: &[ParameterCell],
) -> Result<Option<Put>> {
    // Parts of a kind that come twice are of the same time: the greater one counts.
    let mut row = ParameterRow::default();
    for cell in cells {
        row.merge(time, cell);
    }
    if row.is_empty() {
        return Ok(None);
    }
    let encoded = row
        .value
        .map(|(text, of, sealed, _)| value(&text, of, &sealed));
    check_size(
        encoded.as_ref().map_or(0, String::len),
        "a parameter's value",
    )?;
    let list = row.access_list.map(|(list, _)| list);
    let size = list.iter().flatten().map(|item| item.len() + 4).sum();
    check_size(size, "an access list")?;
    let notification = row.notification.map(|(number, _)| number.cast_signed());
    Ok(Some((
        event_time(time)?,
        MaybeUnset::from_option(encoded),
        MaybeUnset::from_option(row.writable.map(|(writable, _)| writable)),
        MaybeUnset::from_option(notification),
        MaybeUnset::from_option(list),
        device.tenant.as_str().to_owned(),
        device.device.as_str().to_owned(),
        key(path, "a path")?.to_owned(),
    )))
}

/// The delete of a parameter, or of all below a path that ends in `.`, or of all.
pub(super) fn delete(path: &str, time: Timestamp) -> Result<Delete> {
    let time = event_time(time)?;
    let path = key(path, "a path")?.to_owned();
    Ok(match above(&path) {
        _ if path.is_empty() => Delete::All(time),
        Some(end) => Delete::Below(time, path, end),
        None => Delete::One(time, path),
    })
}

/// Where the paths end that begin with a path that ends in `.`; `None` for a parameter.
fn above(path: &str) -> Option<String> {
    // '/' follows '.'.
    path.strip_suffix('.').map(|object| format!("{object}/"))
}

/// A row as it is selected: path, then each part with its time.
type Selected = (
    String,
    Option<String>,
    Option<i64>,
    Option<bool>,
    Option<i64>,
    Option<i8>,
    Option<i64>,
    Option<Vec<String>>,
    Option<i64>,
);

fn read(row: Selected) -> Result<(String, ParameterRow)> {
    let (
        path,
        value,
        value_at,
        writable,
        writable_at,
        notification,
        notification_at,
        list,
        list_at,
    ) = row;
    let at = Timestamp::from_micros;
    let value = match value.zip(value_at) {
        Some((encoded, time)) => {
            let (text, value_type, sealed) = read_value(&encoded)?;
            Some((text, value_type, sealed, at(time)))
        }
        None => None,
    };
    let row = ParameterRow {
        value,
        writable: writable.zip(writable_at).map(|(w, time)| (w, at(time))),
        notification: notification
            .zip(notification_at)
            .map(|(n, time)| (n.cast_unsigned(), at(time))),
        access_list: list.zip(list_at).map(|(list, time)| (list, at(time))),
    };
    Ok((path, row))
}

impl Client {
    /// Parameters in the order of their paths.
    pub(super) async fn parameters(
        &self,
        device: &DeviceKey,
        path: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, ParameterRow)>> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        let end = above(path);
        if end.is_none() && !path.is_empty() {
            if after.is_some_and(|after| after >= path) {
                return Ok(Vec::new());
            }
            let paths = [path.to_owned()];
            let row = self
                .parameters_by_path(device, &paths)
                .await?
                .pop()
                .flatten();
            return Ok(row.map(|row| (path.to_owned(), row)).into_iter().collect());
        }
        // A zero byte behind a path is the next path possible.
        let from = match after.filter(|after| *after >= path) {
            Some(after) => format!("{after}\0"),
            None => path.to_owned(),
        };
        let (tenant, id) = (device.tenant.as_str(), device.device.as_str());
        let most = i32::try_from(limit).unwrap_or(i32::MAX);
        let mut found = Vec::new();
        let mut bad = None;
        let visit = |row: Selected| match read(row) {
            Ok(row) => {
                found.push(row);
                ControlFlow::Continue(())
            }
            Err(error) => {
                bad = Some(error);
                ControlFlow::Break(())
            }
        };
        match end {
            Some(end) => {
                let values = (tenant, id, from, end, most);
                self.visit(Statement::ParameterBetween, values, visit)
                    .await?;
            }
            None => {
                let values = (tenant, id, from, most);
                self.visit(Statement::ParameterFrom, values, visit).await?;
            }
        }
        bad.map_or(Ok(found), Err)
    }

    /// The rows of these parameters, in their order.
    pub(super) async fn parameters_by_path(
        &self,
        device: &DeviceKey,
        paths: &[String],
    ) -> Result<Vec<Option<ParameterRow>>> {
        let (tenant, id) = (device.tenant.as_str(), device.device.as_str());
        let chunks = paths
            .chunks(PATHS)
            .map(|chunk| self.rows::<Selected>(Statement::ParameterByPath, (tenant, id, chunk)));
        let mut known = HashMap::with_capacity(paths.len());
        for rows in each(chunks).await? {
            for row in rows {
                let (path, row) = read(row)?;
                known.insert(path, row);
            }
        }
        Ok(paths.iter().map(|path| known.get(path).cloned()).collect())
    }

    /// Deletes parameters.
    pub(super) async fn delete_parameters(&self, device: &DeviceKey, delete: Delete) -> Result<()> {
        let (tenant, id) = (device.tenant.as_str(), device.device.as_str());
        match delete {
            Delete::One(time, path) => {
                let values = (time, tenant, id, path);
                self.run(Statement::ParameterDelete, values).await
            }
            Delete::Below(time, from, end) => {
                let values = (time, tenant, id, from, end);
                self.run(Statement::ParameterDeleteBelow, values).await
            }
            Delete::All(time) => {
                let values = (time, tenant, id);
                self.run(Statement::ParameterDeleteAll, values).await
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::Error;

    #[test]
    fn a_subtree_ends_before_its_neighbours() {
        let end = above("Device.A.1.").unwrap_or_default();
        let inside = ["Device.A.1.", "Device.A.1.X", "Device.A.1.Ä"];
        assert!(inside.iter().all(|path| *path < end.as_str()));
        assert!(
            ["Device.A.10.", "Device.A.1A"]
                .iter()
                .all(|path| *path >= end.as_str())
        );
        assert_eq!(above("Device.A"), None);
    }

    #[test]
    fn too_large_values_are_refused() {
        let device = DeviceKey::parse("a", "001122-X-1").unwrap();
        let cells = [ParameterCell::Notification(1)];
        let put = put(&device, &"x".repeat(100_000), Timestamp::ZERO, &cells);
        assert!(matches!(put, Err(Error::TooLarge(_))));
    }
}
