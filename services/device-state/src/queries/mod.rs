//! Answers about devices, parameters and history.

mod devices;
mod search;
mod tags;

use hearth_clients::{Error, Result};
use hearth_proto::devicestate::v1 as ds;
use hearth_proto::types::v1::ValueType;
use hearth_store::{HistoryQuery, ParameterRow};
use hearth_types::{DeviceKey, MASK, Timestamp, is_secret_name};
use prost::Message;

use crate::core::Core;
use crate::{page, sessions};

const DEFAULT_PARAMETERS: usize = 1000;
const MAX_PARAMETERS: usize = 10_000;
const DEFAULT_HISTORY: usize = 100;
const MAX_HISTORY: usize = 1000;
/// The longest path that is asked for, in bytes.
const MAX_PATH: usize = 1024;

/// There is no such device.
pub fn no_device(device: &DeviceKey) -> Error {
    Error::not_found(format!(
        "tenant {} has no device {}",
        device.tenant, device.device
    ))
}

impl Core {
    /// Fails where a device isn't known.
    pub async fn check_device(&self, device: &DeviceKey) -> Result<()> {
        match self.row(device).await? {
            Some(_) => Ok(()),
            None => Err(no_device(device)),
        }
    }

    pub async fn list_parameters(
        &self,
        request: ds::ListParametersRequest,
    ) -> Result<ds::ListParametersResponse> {
        let device = DeviceKey::parse(&request.tenant, &request.device)?;
        if request.path.len() > MAX_PATH {
            return Err(Error::invalid("path", "expected at most 256 characters"));
        }
        let of = (&request.path, request.values_only);
        let query = page::query(("parameters", device.to_string(), of));
        let token = page::read(&request.page_token, query)?;
        let size = page::size(request.page_size, DEFAULT_PARAMETERS, MAX_PARAMETERS);
        self.check_device(&device).await?;
        self.settle(|overlay| overlay.device(&device).is_some_and(|p| p.has_parameters()))
            .await?;
        let mut after = token.map(|token| token.after);
        let mut parameters = Vec::new();
        // Objects that are left out don't make pages short.
        let more = loop {
            let limit = size + 1 - parameters.len();
            let (path, from) = (request.path.as_str(), after.as_deref());
            let read = self.store.parameters(&device, path, from, limit).await;
            let rows = read?;
            let end = rows.len() < limit;
            after = rows.last().map(|(path, _)| path.clone()).or(after);
            let wanted = rows
                .into_iter()
                .filter(|(path, _)| !(request.values_only && path.ends_with('.')));
            parameters.extend(wanted.map(|(path, row)| parameter(path, row)));
            if parameters.len() > size {
                break true;
            }
            if end {
                break false;
            }
        };
        parameters.truncate(size);
        let last = parameters.last().map(|p| p.path.as_str());
        let next_page_token = match (more, last) {
            (true, Some(last)) => page::after(query, last),
            _ => String::new(),
        };
        Ok(ds::ListParametersResponse {
            parameters,
            next_page_token,
        })
    }

    pub async fn list_history(
        &self,
        request: ds::ListHistoryRequest,
    ) -> Result<ds::ListHistoryResponse> {
        let device = DeviceKey::parse(&request.tenant, &request.device)?;
        let path = (!request.path.is_empty()).then(|| request.path.parse());
        let path = path
            .transpose()
            .map_err(|invalid: hearth_types::Invalid| Error::invalid("path", invalid.reason))?;
        let of = (&request.path, request.since_us, request.until_us);
        let query = page::query(("history", device.to_string(), of));
        let token = page::read(&request.page_token, query)?;
        let size = page::size(request.page_size, DEFAULT_HISTORY, MAX_HISTORY);
        self.check_device(&device).await?;
        self.settle(|overlay| overlay.device(&device).is_some_and(|p| p.has_history()))
            .await?;
        let mut query_rows = HistoryQuery {
            device,
            path,
            since: Timestamp::from_micros(request.since_us),
            until: Timestamp::from_micros(request.until_us),
            before: token.map(|t| (Timestamp::from_micros(t.time), t.id)),
            limit: size + 1,
        };
        let mut rows = Vec::new();
        // What is no entry doesn't make pages short.
        loop {
            query_rows.limit = size + 1 - rows.len();
            let page = self.store.history(&query_rows).await?;
            let end = page.len() < query_rows.limit;
            query_rows.before = page.last().map(|row| (row.time, row.id));
            rows.extend(page.into_iter().filter(|row| !sessions::is_record(row)));
            if end || rows.len() > size {
                break;
            }
        }
        let more = rows.len() > size;
        rows.truncate(size);
        let next_page_token = match rows.last() {
            Some(last) if more => page::before(query, last.time.as_micros(), last.id),
            _ => String::new(),
        };
        let entries: std::result::Result<Vec<_>, _> = rows
            .iter()
            .map(|row| ds::HistoryEntry::decode(row.payload.as_slice()))
            .collect();
        Ok(ds::ListHistoryResponse {
            entries: entries
                .map_err(|_| Error::internal("a stored history entry can't be read"))?,
            next_page_token,
        })
    }
}

/// A parameter as it is answered: secrets masked.
fn parameter(path: String, row: ParameterRow) -> ds::Parameter {
    let mut parameter = ds::Parameter {
        is_object: path.ends_with('.'),
        has_value: row.value.is_some(),
        writable: row.writable.map(|(writable, _)| writable),
        notification: row.notification.map(|(number, _)| number.into()),
        access_list: row.access_list.map(|(list, _)| list).unwrap_or_default(),
        ..ds::Parameter::default()
    };
    if let Some((text, value_type, sealed, time)) = row.value {
        let secret = !sealed.is_empty() || is_secret_name(&path);
        parameter.value = if secret { MASK.to_owned() } else { text };
        parameter.set_type(ValueType::from(value_type));
        parameter.sealed = sealed;
        parameter.value_time_us = time.as_micros();
    }
    parameter.path = path;
    parameter
}
