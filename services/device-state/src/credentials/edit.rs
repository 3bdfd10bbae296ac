//! Keeping, listing and deleting credentials.

use std::time::Duration;

use hearth_auth::{ExposeSecret, SecretString, generate_password};
use hearth_clients::{Error, Kind, Result};
use hearth_proto::devicestate::v1 as ds;
use hearth_store::{Document, DocumentKind};
use hearth_types::{DeviceKey, TenantId};
use prost::Message;

use super::{decode, keys};
use crate::core::Core;
use crate::errors::from_seal;
use crate::memory::About;
use crate::page;

/// How long other processes are waited for that start at the same time.
const OTHERS: Duration = Duration::from_secs(1);
/// The user name that is made for a tenant.
const ONBOARDING_USER: &str = "onboarding";
/// The longest user name and password (TR-069: ManagementServer.Username).
const MAX_TEXT: usize = 256;
const DEFAULT_PAGE: usize = 50;
const MAX_PAGE: usize = 1000;

impl Core {
    pub async fn put_credential(
        &self,
        request: ds::PutCredentialRequest,
    ) -> Result<ds::PutCredentialResponse> {
        let mut credential = request
            .credential
            .ok_or_else(|| Error::invalid("credential", "must be set"))?;
        let tenant: TenantId = credential.tenant.parse()?;
        let device = Self::check_credential(&mut credential, &request.password)?;
        let _edit = self.edit.lock().await;
        let abouts = abouts(&tenant, &credential.username, device.as_ref());
        let _changing = self.changing(&abouts).await?;
        self.keep_credential(&tenant, credential, device, &request.password)
            .await?;
        Ok(ds::PutCredentialResponse {})
    }

    /// Keeps a checked credential; the caller holds `edit` and has told that it changes.
    pub(super) async fn keep_credential(
        &self,
        tenant: &TenantId,
        mut credential: ds::Credential,
        device: Option<DeviceKey>,
        password: &str,
    ) -> Result<()> {
        let key = key_of(&credential);
        if let Some(old) = self.stored(tenant, &key).await? {
            check_same(&old, &credential)?;
        }
        credential.sealed_password = self
            .secrets
            .seal_password(tenant, &key, password)
            .map_err(from_seal)?;
        credential.update_time_us = self.now().as_micros();
        credential.last_used_us = 0;
        // What an operator sets is neither made here nor at its end.
        (credential.rotated, credential.superseded) = (false, false);
        self.put(tenant, key, &credential).await?;
        if let (ds::CredentialKind::Device, Some(device)) = (credential.kind(), &device) {
            let key = keys::of_device(device.device.as_str()) + &credential.username;
            self.put(tenant, key, &ds::Credential::default()).await?;
        }
        self.forget_credential(tenant, &credential.username, device.as_ref());
        Ok(())
    }

    /// Checks all of a credential that can be checked without looking at others.
    pub(super) fn check_credential(
        credential: &mut ds::Credential,
        password: &str,
    ) -> Result<Option<DeviceKey>> {
        check_text("credential.username", &credential.username)?;
        check_text("password", password)?;
        checked_device(credential)
    }

    /// Whether a credential would take a user name from another owner.
    pub(super) async fn check_owner(
        &self,
        tenant: &TenantId,
        credential: &ds::Credential,
    ) -> Result<()> {
        match self.stored(tenant, &key_of(credential)).await? {
            Some(old) => check_same(&old, credential),
            None => Ok(()),
        }
    }

    pub async fn delete_credential(
        &self,
        request: ds::DeleteCredentialRequest,
    ) -> Result<ds::DeleteCredentialResponse> {
        let tenant: TenantId = request.tenant.parse()?;
        let mut wanted = ds::Credential {
            tenant: request.tenant.clone(),
            username: request.username.clone(),
            kind: request.kind,
            device: request.device.clone(),
            ..ds::Credential::default()
        };
        let _edit = self.edit.lock().await;
        if wanted.kind() == ds::CredentialKind::ConnectionRequest {
            checked_device(&mut wanted)?;
        }
        let key = key_of(&wanted);
        let Some(kept) = self.stored(&tenant, &key).await? else {
            return Ok(ds::DeleteCredentialResponse { existed: false });
        };
        let any_kind = wanted.kind() == ds::CredentialKind::Unspecified;
        if !any_kind && kept.kind() != wanted.kind() {
            return Ok(ds::DeleteCredentialResponse { existed: false });
        }
        let kind = DocumentKind::Credential;
        let mut device = None;
        if kept.kind() == ds::CredentialKind::Device {
            device = Some(DeviceKey::parse(&kept.tenant, &kept.device)?);
        }
        let abouts = abouts(&tenant, &kept.username, device.as_ref());
        let _changing = self.changing(&abouts).await?;
        if device.is_some() {
            let own = keys::of_device(&kept.device) + &kept.username;
            self.delete(&tenant, &own).await?;
        }
        let existed = self.store.delete_document(kind, &tenant, &key).await;
        let existed = existed?;
        if kept.kind() != ds::CredentialKind::ConnectionRequest {
            self.delete(&tenant, &keys::used(&kept.username)).await?;
        }
        self.forget_credential(&tenant, &kept.username, device.as_ref());
        Ok(ds::DeleteCredentialResponse { existed })
    }

    pub async fn list_credentials(
        &self,
        request: ds::ListCredentialsRequest,
    ) -> Result<ds::ListCredentialsResponse> {
        let tenant: TenantId = request.tenant.parse()?;
        let query = page::query(("credentials", tenant.as_str()));
        let size = page::size(request.page_size, DEFAULT_PAGE, MAX_PAGE);
        let token = page::read(&request.page_token, query)?;
        let after = token.map(|token| token.after);
        let mut found = Vec::new();
        // One more than the page, so that the last one has no token.
        for prefix in [keys::CONNECTION_REQUESTS, keys::USERS] {
            let after = after.as_deref();
            let limit = size + 1 - found.len();
            let kind = DocumentKind::Credential;
            let page = self.store.documents(kind, &tenant, prefix, after, limit);
            // A place within the second family lies behind the whole first one.
            if after.is_none_or(|after| after < prefix || after.starts_with(prefix)) {
                found.extend(page.await?);
            }
            if found.len() > size {
                break;
            }
        }
        let more = found.len() > size;
        found.truncate(size);
        let last = found.last().map(|document| document.key.clone());
        let mut credentials = Vec::with_capacity(found.len());
        for document in found {
            let mut credential = decode(&document.payload)?;
            credential.sealed_password.clear();
            if credential.kind() != ds::CredentialKind::ConnectionRequest {
                let used = keys::used(&credential.username);
                let used = self.stored(&tenant, &used).await?;
                credential.last_used_us = used.map_or(0, |used| used.last_used_us);
            }
            credentials.push(credential);
        }
        Ok(ds::ListCredentialsResponse {
            credentials,
            next_page_token: match last {
                Some(last) if more => page::after(query, &last),
                _ => String::new(),
            },
        })
    }

    /// Makes the tenant's ONBOARDING credential if it has none. Answers its user name, and the
    /// password when it was made now.
    pub async fn ensure_onboarding(
        &self,
        tenant: &TenantId,
    ) -> Result<(String, Option<SecretString>)> {
        let mut token = String::new();
        loop {
            let listed = self
                .list_credentials(ds::ListCredentialsRequest {
                    tenant: tenant.as_str().to_owned(),
                    page_size: 1000,
                    page_token: token,
                })
                .await?;
            let onboarding = ds::CredentialKind::Onboarding;
            let mut found = listed.credentials.into_iter();
            if let Some(found) = found.find(|c| c.kind() == onboarding) {
                return Ok((found.username, None));
            }
            token = listed.next_page_token;
            if token.is_empty() {
                break;
            }
        }
        let password =
            generate_password().map_err(|error| Error::new(Kind::Internal, error.to_string()))?;
        let mut credential = ds::Credential {
            tenant: tenant.as_str().to_owned(),
            username: ONBOARDING_USER.to_owned(),
            ..ds::Credential::default()
        };
        credential.set_kind(ds::CredentialKind::Onboarding);
        // Nobody is told: it is made before this process knows the others, and what is new is not
        // remembered for long.
        let edit = self.edit.lock().await;
        let text = password.expose_secret();
        self.keep_credential(tenant, credential, None, text).await?;
        drop(edit);
        if self.parts.is_shared() {
            // Another process may have made one at the same time: the later one stays.
            tokio::time::sleep(OTHERS).await;
            let kept = self
                .read_credential(tenant, &keys::user(ONBOARDING_USER))
                .await?;
            let kept = kept.is_some_and(|k| k.password.expose_secret() == password.expose_secret());
            return Ok((ONBOARDING_USER.to_owned(), kept.then_some(password)));
        }
        Ok((ONBOARDING_USER.to_owned(), Some(password)))
    }

    pub(super) async fn put(
        &self,
        tenant: &TenantId,
        key: String,
        credential: &ds::Credential,
    ) -> Result<()> {
        let kind = DocumentKind::Credential;
        // Later than what is there, also where another process wrote it whose clock is ahead: of two
        // the later one stays, and this one is to stay.
        let before = self.store.document(kind, tenant, &key).await?;
        let step = Duration::from_micros(1);
        let least = before.map(|before| before.time.saturating_add(step));
        let document = Document {
            key,
            time: least.map_or(self.now(), |least| self.now().max(least)),
            payload: credential.encode_to_vec(),
        };
        let put = self.store.put_document(kind, tenant, document);
        put.await.map_err(Error::from)
    }

    pub(super) async fn delete(&self, tenant: &TenantId, key: &str) -> Result<bool> {
        let kind = DocumentKind::Credential;
        let deleted = self.store.delete_document(kind, tenant, key);
        deleted.await.map_err(Error::from)
    }

    /// Memory must not answer what was changed.
    pub(super) fn forget_credential(
        &self,
        tenant: &TenantId,
        username: &str,
        device: Option<&DeviceKey>,
    ) {
        let place = (tenant.clone(), username.to_owned());
        self.credentials.users.forget(&place);
        self.credentials.proved.forget(&place);
        self.credentials.used.lock().remove(&place);
        if let Some(device) = device {
            self.credentials.own.forget(device);
        }
    }
}

/// What changes with a credential.
pub(super) fn abouts(tenant: &TenantId, username: &str, device: Option<&DeviceKey>) -> Vec<About> {
    let device = device.map(About::device);
    [About::user(tenant, username)]
        .into_iter()
        .chain(device)
        .collect()
}

fn key_of(credential: &ds::Credential) -> String {
    match credential.kind() {
        ds::CredentialKind::ConnectionRequest => keys::connection_request(&credential.device),
        _ => keys::user(&credential.username),
    }
}

fn check_text(field: &str, text: &str) -> Result<()> {
    let length = text.chars().count();
    if length == 0 || length > MAX_TEXT || text.chars().any(char::is_control) {
        return Err(Error::invalid(
            field,
            "expected 1 to 256 characters, none of them a control character",
        ));
    }
    // Basic authentication (RFC 7617) ends the user name at the first colon.
    if field.ends_with("username") && text.contains(':') {
        return Err(Error::invalid(field, "must not hold a colon"));
    }
    Ok(())
}

/// Checks kind and device; the device becomes canonical.
fn checked_device(credential: &mut ds::Credential) -> Result<Option<DeviceKey>> {
    let field = "credential.device";
    let empty = credential.device.is_empty();
    match credential.kind() {
        ds::CredentialKind::Unspecified => Err(Error::invalid(
            "credential.kind",
            "expected ONBOARDING, DEVICE, MODEL or CONNECTION_REQUEST",
        )),
        ds::CredentialKind::Model if !empty => Err(Error::invalid(
            field,
            "must be empty: a model's credential is for all its devices",
        )),
        ds::CredentialKind::Model => {
            check_model(credential)?;
            Ok(None)
        }
        ds::CredentialKind::Onboarding if !empty => Err(Error::invalid(
            field,
            "must be empty: the onboarding credential is for all devices",
        )),
        ds::CredentialKind::Device if empty => {
            Err(Error::invalid(field, "must be set for a DEVICE credential"))
        }
        _ if empty => Ok(None),
        _ => {
            let device = DeviceKey::parse(&credential.tenant, &credential.device)
                .map_err(|invalid| Error::invalid(field, invalid.reason))?;
            device.device.as_str().clone_into(&mut credential.device);
            Ok(Some(device))
        }
    }
}

/// Checks the model; its OUI becomes upper case.
fn check_model(credential: &mut ds::Credential) -> Result<()> {
    let (oui, class) = match credential.model.split_once('/') {
        Some((oui, class)) => (oui, Some(class)),
        None => (credential.model.as_str(), None),
    };
    let good = oui.len() == 6
        && oui.bytes().all(|b| b.is_ascii_hexdigit())
        && class.is_none_or(|class| {
            class.chars().count() <= 64 && !class.chars().any(char::is_control)
        });
    if !good {
        return Err(Error::invalid(
            "credential.model",
            "expected OUI or OUI/ProductClass: 00D09E, 00D09E/HomeRouter",
        ));
    }
    let oui = oui.to_ascii_uppercase();
    credential.model = match class {
        Some(class) => format!("{oui}/{class}"),
        None => oui,
    };
    Ok(())
}

/// A user name can't change hands: a device that lost it would otherwise be locked out unnoticed.
fn check_same(old: &ds::Credential, new: &ds::Credential) -> Result<()> {
    if old.kind() == new.kind() && old.device == new.device && old.model == new.model {
        return Ok(());
    }
    let owner = match (old.device.is_empty(), old.model.is_empty()) {
        (true, true) => "the onboarding credential".to_owned(),
        (true, false) => format!("model {}", old.model),
        (false, _) => format!("device {}", old.device),
    };
    Err(Error {
        kind: Kind::AlreadyExists,
        field: "credential.username".to_owned(),
        message: format!("this user name belongs to {owner}; take another one, or delete it first"),
    })
}
