//! How a device is woken, and when credentials were used.

use std::time::Duration;

use futures::stream::{self, TryStreamExt};
use hearth_auth::ExposeSecret;
use hearth_clients::Result;
use hearth_proto::devicestate::v1 as ds;
use hearth_store::{DeviceColumn, Document, DocumentKind, ParameterRow};
use hearth_types::{DeviceKey, TenantId, Timestamp};
use prost::Message;

use super::keys;
use crate::columns;
use crate::core::Core;
use crate::errors::from_seal;

/// A use is noted again when the one noted is older than this.
const USE_RESOLUTION: Duration = Duration::from_secs(10);
/// Last uses that are written at once.
const WRITES: usize = 64;

impl Core {
    pub(super) fn note_use(&self, tenant: &TenantId, username: &str) {
        let now = self.now();
        let mut used = self.credentials.used.lock();
        let place = (tenant.clone(), username.to_owned());
        match used.get_mut(&place) {
            Some(noted) if now.saturating_since(*noted) < USE_RESOLUTION => {}
            Some(noted) => *noted = now,
            None => {
                used.insert(place, now);
            }
        }
    }

    /// Writes the last uses that were noted since the last time.
    ///
    /// Each stays noted until it is on disk.
    pub async fn write_last_used(&self) -> hearth_store::Result<()> {
        let noted: Vec<_> = {
            let used = self.credentials.used.lock();
            used.iter()
                .map(|(place, at)| (place.clone(), *at))
                .collect()
        };
        let writes = noted.into_iter().map(Ok);
        // Those under way together share a sync.
        stream::iter(writes)
            .try_for_each_concurrent(WRITES, |(place, time)| async move {
                let document = used_document(keys::used(&place.1), time);
                let kind = DocumentKind::Credential;
                self.store.put_document(kind, &place.0, document).await?;
                let mut used = self.credentials.used.lock();
                if used.get(&place) == Some(&time) {
                    used.remove(&place);
                }
                Ok(())
            })
            .await
    }

    /// Where and how to wake a device: with its own credential, else with what was set on it, else
    /// with the tenant's.
    pub async fn get_connection_request(
        &self,
        request: ds::GetConnectionRequestRequest,
    ) -> Result<ds::GetConnectionRequestResponse> {
        let device = DeviceKey::parse(&request.tenant, &request.device)?;
        let row = self.row(&device).await?;
        let row = row.ok_or_else(|| crate::queries::no_device(&device))?;
        let url = columns::text(&row, DeviceColumn::ConnectionRequestUrl).to_owned();
        let root = columns::text(&row, DeviceColumn::Root).to_owned();
        let found = match self.newest_connection_request(&device, &root).await? {
            Some(own) => Some(own),
            None => match self.set_on_device(&device, &root).await? {
                Some(set) => Some(set),
                None => self.connection_request(&device.tenant, "").await?,
            },
        };
        let (username, password) = found.unwrap_or_default();
        let answer = ds::GetConnectionRequestResponse {
            url,
            username,
            password,
            ..ds::GetConnectionRequestResponse::default()
        };
        self.other_ways(&device, &row, answer).await
    }

    /// The device's own: that of a pending rotation, if it was set already, else the one before.
    async fn newest_connection_request(
        &self,
        device: &DeviceKey,
        root: &str,
    ) -> Result<Option<(String, String)>> {
        if let Some(pending) = self.rotation(device).await? {
            let path = format!("{root}ManagementServer.ConnectionRequestUsername");
            let paths = std::slice::from_ref(&path);
            let row = self.store.parameters_by_path(device, paths).await?.pop();
            let set = row.flatten().and_then(|row| row.value);
            if set.is_some_and(|(name, ..)| name == pending.connection_request_username) {
                return Ok(Some(self.pending_connection_request(device, &pending)?));
            }
        }
        self.connection_request(&device.tenant, device.device.as_str())
            .await
    }

    async fn connection_request(
        &self,
        tenant: &TenantId,
        device: &str,
    ) -> Result<Option<(String, String)>> {
        let key = keys::connection_request(device);
        let found = self.read_credential(tenant, &key).await?;
        Ok(found.map(|opened| {
            let password = opened.password.expose_secret().to_owned();
            (opened.credential.username, password)
        }))
    }

    /// ConnectionRequestUsername and -Password (TR-069 3.2.2) as they were set on the device.
    async fn set_on_device(
        &self,
        device: &DeviceKey,
        root: &str,
    ) -> Result<Option<(String, String)>> {
        let of_device = device.clone();
        self.settle(|overlay| {
            overlay
                .device(&of_device)
                .is_some_and(|p| p.has_parameters())
        })
        .await?;
        let paths = ["ConnectionRequestUsername", "ConnectionRequestPassword"]
            .map(|name| format!("{root}ManagementServer.{name}"));
        let rows = self.store.parameters_by_path(device, &paths).await;
        let mut rows = rows?.into_iter();
        let mut value = || {
            let row: Option<ParameterRow> = rows.next().flatten();
            row.and_then(|row| row.value)
        };
        let (Some((username, ..)), Some((_, _, sealed, _))) = (value(), value()) else {
            return Ok(None);
        };
        if username.is_empty() || sealed.is_empty() {
            return Ok(None);
        }
        let password = self
            .secrets
            .open(device, &paths[1], &sealed)
            .map_err(from_seal)?;
        Ok(Some((username, password.expose_secret().to_owned())))
    }
}

pub(super) fn used_document(key: String, time: Timestamp) -> Document {
    let note = ds::Credential {
        last_used_us: time.as_micros(),
        ..ds::Credential::default()
    };
    Document {
        key,
        time,
        payload: note.encode_to_vec(),
    }
}
