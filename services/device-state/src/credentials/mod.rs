//! Credentials of the edge: what devices prove to this server, and this server to devices.
//!
//! Documents of the kind `Credential`: `user/{username}` for ONBOARDING and DEVICE (a user name
//! belongs to one of them), `device/{device}/{username}` says that a device has one of its own,
//! `connection-request/{device}` (an empty device: the tenant's), and `used/{username}` when one
//! was last proved, apart so that it never collides with a new password.

mod check;
mod edit;
mod facts;
mod identity;
mod import;
mod rotation;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use hearth_auth::{ExposeSecret, SecretString};
use hearth_clients::Result;
use hearth_proto::devicestate::v1 as ds;
use hearth_store::DocumentKind;
use hearth_types::{DeviceKey, TenantId, Timestamp};
use parking_lot::Mutex;
use prost::Message;

use crate::core::Core;
use crate::errors::from_seal;
use crate::memory::{About, Memory};
use hearth_runtime::Expiring;

/// Credentials of one device that are looked at.
const OWN: usize = 16;

/// How long it need not be read again that a credential was used: it goes only with the credential.
const PROVED_TIME: Duration = Duration::from_secs(24 * 3600);
/// A credential that was changed less long ago is not remembered for long: the servers' clocks may
/// differ, and two processes that start at once may have written it.
const NEW: Duration = Duration::from_secs(60);

/// The keys of documents.
mod keys {
    pub const USERS: &str = "user/";
    pub const CONNECTION_REQUESTS: &str = "connection-request/";

    pub fn user(username: &str) -> String {
        format!("{USERS}{username}")
    }

    pub fn connection_request(device: &str) -> String {
        format!("{CONNECTION_REQUESTS}{device}")
    }

    /// The beginning of a device's own credentials' keys. A device id has no slash.
    pub fn of_device(device: &str) -> String {
        format!("device/{device}/")
    }

    pub fn used(username: &str) -> String {
        format!("used/{username}")
    }
}

/// A credential with its password.
pub struct Opened {
    pub credential: ds::Credential,
    pub password: SecretString,
}

type Users = Memory<(TenantId, String), Option<Arc<Opened>>>;

/// Looks a user up without copying its name.
#[derive(Hash)]
struct UserOf<'a>(&'a TenantId, &'a str);

impl quick_cache::Equivalent<(TenantId, String)> for UserOf<'_> {
    fn equivalent(&self, key: &(TenantId, String)) -> bool {
        *self.0 == key.0 && self.1 == key.1
    }
}

/// Credentials in memory, and last uses that are not yet written.
pub struct CredentialCache {
    users: Users,
    /// Credentials of devices' own whose first use is on disk.
    proved: Expiring<(TenantId, String), ()>,
    /// Whether a device has a credential of its own.
    own: Memory<DeviceKey, bool>,
    used: Mutex<HashMap<(TenantId, String), Timestamp>>,
}

impl CredentialCache {
    /// For so many devices, and how long a credential is remembered.
    pub fn new(devices: usize, time: Duration) -> Self {
        Self {
            users: Memory::new(devices, time),
            proved: Expiring::new(devices, PROVED_TIME),
            own: Memory::new(devices, time),
            used: Mutex::default(),
        }
    }
}

impl Core {
    /// The ONBOARDING or DEVICE credential of a user name.
    async fn user(&self, tenant: &TenantId, username: &str) -> Result<Option<Arc<Opened>>> {
        let glance = self.glance(About::user(tenant, username));
        let place = UserOf(tenant, username);
        if let Some(found) = self.credentials.users.get(&place, glance) {
            return Ok(found);
        }
        let found = self.read_credential(tenant, &keys::user(username)).await?;
        let found = found.map(Arc::new);
        let place = (tenant.clone(), username.to_owned());
        let changed = |found: &Arc<Opened>| Timestamp::from_micros(found.credential.update_time_us);
        let is_old = |found| self.now().saturating_since(changed(found)) >= NEW;
        match found.as_ref().is_some_and(is_old) {
            true => self.credentials.users.keep(place, glance, found.clone()),
            false => self
                .credentials
                .users
                .keep_short(place, glance, found.clone()),
        }
        Ok(found)
    }

    async fn read_credential(&self, tenant: &TenantId, key: &str) -> Result<Option<Opened>> {
        let document = self.store.document(DocumentKind::Credential, tenant, key);
        let Some(document) = document.await? else {
            return Ok(None);
        };
        let credential = decode(&document.payload)?;
        let password = self
            .secrets
            .open_password(tenant, key, &credential.sealed_password)
            .map_err(from_seal)?;
        Ok(Some(Opened {
            credential,
            password,
        }))
    }

    /// Whether a device has proved a credential of its own. Until it has, the onboarding one still
    /// serves: one that was only set here does not lock the device out.
    async fn has_own_credential(&self, device: &DeviceKey) -> Result<bool> {
        let glance = self.glance(About::device(device));
        if let Some(has) = self.credentials.own.get(device, glance) {
            return Ok(has);
        }
        let tenant = &device.tenant;
        let prefix = keys::of_device(device.device.as_str());
        let kind = DocumentKind::Credential;
        let found = self.store.documents(kind, tenant, &prefix, None, OWN);
        let mut has = false;
        for own in found.await? {
            let username = own.key.strip_prefix(&prefix).unwrap_or_default().to_owned();
            let key = keys::used(&username);
            let noted = self
                .credentials
                .used
                .lock()
                .contains_key(&(tenant.clone(), username));
            let written = self.store.document(kind, tenant, &key).await?;
            has |= noted || written.is_some();
        }
        self.credentials.own.keep(device.clone(), glance, has);
        Ok(has)
    }

    pub async fn get_credential(
        &self,
        request: ds::GetCredentialRequest,
    ) -> Result<ds::GetCredentialResponse> {
        let tenant: TenantId = request.tenant.parse()?;
        let Some(found) = self.user(&tenant, &request.username).await? else {
            return Ok(ds::GetCredentialResponse::default());
        };
        Ok(ds::GetCredentialResponse {
            credential: Some(found.credential.clone()),
            password: found.password.expose_secret().to_owned(),
        })
    }
}

fn decode(payload: &[u8]) -> Result<ds::Credential> {
    ds::Credential::decode(payload)
        .map_err(|_| hearth_clients::Error::internal("a stored credential can't be read"))
}
