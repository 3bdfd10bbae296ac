//! Whose a STUN user name is: that of a device's own credential towards this server, or the
//! device's id, with the STUNPassword that was set on it.

use hearth_clients::{DeviceState, Kind, Result};
use hearth_proto::devicestate::v1::{
    CredentialKind, GetConnectionRequestRequest, GetCredentialRequest,
};
use hearth_types::DeviceKey;
use moka::future::Cache;
use secrecy::SecretString;
use std::{sync::Arc, time::Duration};

/// Users in memory, those that don't exist included, and for how long.
const CACHED: u64 = 100_000;
const CACHE_TIME: Duration = Duration::from_secs(30);

/// A device that a user name may be of.
pub struct User {
    pub device: DeviceKey,
    pub password: SecretString,
}

type Candidates = Arc<Vec<User>>;

/// Looks users up.
pub struct Users {
    devices: Arc<dyn DeviceState>,
    tenants: Vec<String>,
    cache: Cache<String, Candidates>,
}

impl Users {
    pub fn new(devices: Arc<dyn DeviceState>, tenants: &[String]) -> Self {
        Self {
            devices,
            tenants: tenants.to_vec(),
            cache: Cache::builder()
                .max_capacity(CACHED)
                .time_to_live(CACHE_TIME)
                .build(),
        }
    }

    /// The devices that a name may be of, in the order of the tenants: the signature decides.
    pub async fn find(&self, username: &str) -> Result<Candidates> {
        let looked_up = self
            .cache
            .try_get_with_by_ref(username, self.look_up(username))
            .await;
        looked_up.map_err(|error| (*error).clone())
    }

    async fn look_up(&self, username: &str) -> Result<Candidates> {
        let mut found = Vec::new();
        for tenant in &self.tenants {
            let request = GetCredentialRequest {
                tenant: tenant.clone(),
                username: username.to_owned(),
            };
            let answer = self.devices.get_credential(request).await?;
            let of_device = answer.credential.filter(|credential| {
                credential.kind() == CredentialKind::Device && !credential.device.is_empty()
            });
            if let Some(credential) = of_device
                && let Ok(device) = DeviceKey::parse(tenant, &credential.device)
            {
                let password = answer.password.into();
                found.push(User { device, password });
            }
            found.extend(self.set_on_device(tenant, username).await?);
        }
        Ok(Arc::new(found))
    }

    /// The device whose id the name is, if this user was set on it.
    async fn set_on_device(&self, tenant: &str, username: &str) -> Result<Option<User>> {
        let Ok(device) = DeviceKey::parse(tenant, username) else {
            return Ok(None);
        };
        let request = GetConnectionRequestRequest {
            tenant: tenant.to_owned(),
            device: username.to_owned(),
        };
        let how = match self.devices.get_connection_request(request).await {
            Ok(how) => how,
            Err(error) if error.kind == Kind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let set = how.stun_username == username && !how.stun_password.is_empty();
        let password = how.stun_password.into();
        Ok(set.then_some(User { device, password }))
    }
}
