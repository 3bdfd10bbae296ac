//! What is known of a device's logins, without their passwords.

use hearth_clients::Result;
use hearth_proto::devicestate::v1 as ds;
use hearth_store::DocumentKind;
use hearth_types::{DeviceKey, TenantId};

use super::{OWN, decode, keys};
use crate::core::Core;

/// Credentials that are looked through for one to begin with.
const LOOKED_AT: usize = 500;

impl Core {
    /// The user name of a device's own credential that was proved last, and when (0: never); empty
    /// where it has none.
    pub async fn own_user(&self, device: &DeviceKey) -> Result<(String, i64)> {
        let tenant = &device.tenant;
        let kind = DocumentKind::Credential;
        let prefix = keys::of_device(device.device.as_str());
        let mut best = (String::new(), 0);
        for own in self
            .store
            .documents(kind, tenant, &prefix, None, OWN)
            .await?
        {
            let username = own.key.strip_prefix(&prefix).unwrap_or_default();
            let key = keys::used(username);
            let used = self.store.document(kind, tenant, &key).await?;
            let used = used.map_or(0, |document| document.time.as_micros());
            if best.0.is_empty() || used > best.1 {
                best = (username.to_owned(), used);
            }
        }
        Ok(best)
    }

    /// Whether the tenant has a credential that a new device may begin with, as far as can be seen.
    pub async fn may_onboard(&self, tenant: &TenantId) -> Result<bool> {
        let kind = DocumentKind::Credential;
        let found = self
            .store
            .documents(kind, tenant, keys::USERS, None, LOOKED_AT);
        let found = found.await?;
        let begins = |payload: &[u8]| {
            use ds::CredentialKind::{Model, Onboarding};
            decode(payload).is_ok_and(|credential| matches!(credential.kind(), Onboarding | Model))
        };
        Ok(found.len() == LOOKED_AT || found.iter().any(|document| begins(&document.payload)))
    }

    /// Whether there is a login for connection requests to a device.
    pub async fn has_login(&self, device: &DeviceKey) -> Result<bool> {
        let (tenant, kind) = (&device.tenant, DocumentKind::Credential);
        for of in [device.device.as_str(), ""] {
            let key = keys::connection_request(of);
            if self.store.document(kind, tenant, &key).await?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
