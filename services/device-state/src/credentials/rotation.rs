//! Credentials of a device's own in place of those that it came with.
//!
//! A rotation is a document, `rotation/{device}`, while it is pending. What follows what:
//! 1. [`Core::prepare_rotation`]: the document is written, with all its secrets sealed, and then the
//!    new user. From here on the old and the new are valid.
//! 2. A task sets them on the device. It knows the rotation by its id and opens the secrets when its
//!    request leaves ([`Core::open_rotation`]). If it fails, nothing has changed; another one tries
//!    with the same.
//! 3. The device proves the new user ([`Core::finish_rotation`]): that it did is written, the
//!    connection request's credential takes its place, what was before ends, and only then the
//!    document goes. Each step done again is the same, and is done again at the next Inform after a
//!    crash in between.
//!
//! A credential that was given from outside is not deleted but superseded: after a factory reset the
//! device has it again, and comes with it and `0 BOOTSTRAP`. Then it serves until there is a new one.

use hearth_auth::{ExposeSecret, SecretString, generate_password};
use hearth_clients::{Error, Kind, Result};
use hearth_proto::devicestate::v1 as ds;
use hearth_store::{Document, DocumentKind};
use hearth_types::{DeviceKey, TenantId};
use prost::Message;
use ulid::Ulid;

use super::edit::abouts;
use super::{OWN, decode, keys};
use crate::core::Core;
use crate::errors::from_seal;
use crate::memory::About;

const KIND: DocumentKind = DocumentKind::Credential;
/// The longest part of a user name that is the device's serial number.
const MAX_SERIAL: usize = 64;

/// A rotation that is pending.
#[derive(Clone, PartialEq, Message)]
pub struct Rotation {
    /// Its name.
    #[prost(string, tag = "1")]
    pub id: String,
    /// The new user towards this server.
    #[prost(string, tag = "2")]
    pub username: String,
    /// Its password, sealed as that user's.
    #[prost(bytes = "vec", tag = "3")]
    pub sealed_password: Vec<u8>,
    /// The new user of connection requests.
    #[prost(string, tag = "4")]
    pub connection_request_username: String,
    /// Its password, sealed as that of the device's connection requests.
    #[prost(bytes = "vec", tag = "5")]
    pub sealed_connection_request_password: Vec<u8>,
    /// Which try to set it is under way, from 1.
    #[prost(uint32, tag = "6")]
    pub attempt: u32,
}

fn key(device: &DeviceKey) -> String {
    format!("rotation/{}", device.device)
}

fn made<T>(made: std::result::Result<T, impl std::fmt::Display>) -> Result<T> {
    made.map_err(|error| Error::new(Kind::Internal, error.to_string()))
}

impl Core {
    /// The pending rotation of a device.
    pub(super) async fn rotation(&self, device: &DeviceKey) -> Result<Option<Rotation>> {
        let key = key(device);
        let document = self.store.document(KIND, &device.tenant, &key).await?;
        let read = |document: Document| Rotation::decode(document.payload.as_slice());
        document
            .map(read)
            .transpose()
            .map_err(|_| Error::internal("a stored rotation can't be read"))
    }

    async fn put_rotation(&self, device: &DeviceKey, rotation: &Rotation) -> Result<()> {
        let document = Document {
            key: key(device),
            time: self.now(),
            payload: rotation.encode_to_vec(),
        };
        let put = self.store.put_document(KIND, &device.tenant, document);
        put.await.map_err(Error::from)
    }

    pub async fn prepare_rotation(
        &self,
        request: ds::PrepareRotationRequest,
    ) -> Result<ds::PrepareRotationResponse> {
        let device = DeviceKey::parse(&request.tenant, &request.device)?;
        let _edit = self.edit.lock().await;
        let rotation = match self.rotation(&device).await? {
            Some(pending) if pending.attempt >= request.attempt => pending,
            Some(mut pending) => {
                pending.attempt = request.attempt;
                self.put_rotation(&device, &pending).await?;
                pending
            }
            None => {
                let new = self.new_rotation(&device)?;
                self.put_rotation(&device, &new).await?;
                new
            }
        };
        self.ensure_user(&device, &rotation).await?;
        Ok(ds::PrepareRotationResponse {
            rotation: rotation.id,
            username: rotation.username,
            connection_request_username: rotation.connection_request_username,
            attempt: rotation.attempt,
        })
    }

    fn new_rotation(&self, device: &DeviceKey) -> Result<Rotation> {
        let id = Ulid::generate().to_string().to_ascii_lowercase();
        // A user name of its own, so that the old one and the new one stand side by side. Digest
        // implementations of CPEs are not to be trusted with more than letters and digits.
        let (oui, _, serial) = device.device.parts();
        let plain = |c: &char| c.is_ascii_alphanumeric();
        let serial: String = serial.chars().filter(plain).take(MAX_SERIAL).collect();
        let username = format!("{oui}-{serial}-{}", &id[id.len() - 8..]);
        let (tenant, name) = (&device.tenant, device.device.as_str());
        let seal = |key: &str, password: &SecretString| {
            let password = password.expose_secret();
            let sealed = self.secrets.seal_password(tenant, key, password);
            sealed.map_err(from_seal)
        };
        let password = made(generate_password())?;
        let to_device = made(generate_password())?;
        Ok(Rotation {
            sealed_password: seal(&keys::user(&username), &password)?,
            sealed_connection_request_password: seal(&keys::connection_request(name), &to_device)?,
            connection_request_username: username.clone(),
            username,
            attempt: 1,
            id,
        })
    }

    /// The new user is there, also after a crash right behind the rotation's document.
    async fn ensure_user(&self, device: &DeviceKey, rotation: &Rotation) -> Result<()> {
        let user = keys::user(&rotation.username);
        if self.stored(&device.tenant, &user).await?.is_some() {
            return Ok(());
        }
        let mut credential = ds::Credential {
            tenant: device.tenant.to_string(),
            username: rotation.username.clone(),
            device: device.device.to_string(),
            sealed_password: rotation.sealed_password.clone(),
            update_time_us: self.now().as_micros(),
            rotated: true,
            ..ds::Credential::default()
        };
        credential.set_kind(ds::CredentialKind::Device);
        let own = keys::of_device(device.device.as_str()) + &rotation.username;
        let tenant = &device.tenant;
        let abouts = abouts(tenant, &rotation.username, Some(device));
        let _changing = self.changing(&abouts).await?;
        self.put(tenant, own, &ds::Credential::default()).await?;
        self.put(tenant, user, &credential).await?;
        self.forget_credential(tenant, &rotation.username, Some(device));
        Ok(())
    }

    pub async fn open_rotation(
        &self,
        request: ds::OpenRotationRequest,
    ) -> Result<ds::OpenRotationResponse> {
        let device = DeviceKey::parse(&request.tenant, &request.device)?;
        let pending = self.rotation(&device).await?;
        let Some(pending) = pending.filter(|pending| pending.id == request.rotation) else {
            return Err(Error::not_found(
                "these credentials are not pending any more: the device has used them, or others \
                 have taken their place",
            ));
        };
        let (_, to_device) = self.pending_connection_request(&device, &pending)?;
        let user = keys::user(&pending.username);
        let password = self.open_at(&device.tenant, &user, &pending.sealed_password)?;
        Ok(ds::OpenRotationResponse {
            password: password.expose_secret().to_owned(),
            connection_request_password: to_device,
        })
    }

    /// The connection request's user and password of a pending rotation.
    pub(super) fn pending_connection_request(
        &self,
        device: &DeviceKey,
        pending: &Rotation,
    ) -> Result<(String, String)> {
        let key = keys::connection_request(device.device.as_str());
        let sealed = &pending.sealed_connection_request_password;
        let password = self.open_at(&device.tenant, &key, sealed)?;
        let username = pending.connection_request_username.clone();
        Ok((username, password.expose_secret().to_owned()))
    }

    fn open_at(&self, tenant: &TenantId, key: &str, sealed: &[u8]) -> Result<SecretString> {
        let opened = self.secrets.open_password(tenant, key, sealed);
        opened.map_err(from_seal)
    }

    /// A device has proved this user, and that is on disk: if it is a pending rotation's, the new
    /// takes the place of the old.
    pub(super) async fn finish_rotation(&self, device: &DeviceKey, username: &str) -> Result<()> {
        let Some(pending) = self.rotation(device).await? else {
            return Ok(());
        };
        if pending.username != username {
            return Ok(());
        }
        let _edit = self.edit.lock().await;
        let tenant = &device.tenant;
        let mut to_device = ds::Credential {
            tenant: tenant.to_string(),
            username: pending.connection_request_username.clone(),
            device: device.device.to_string(),
            sealed_password: pending.sealed_connection_request_password.clone(),
            update_time_us: self.now().as_micros(),
            rotated: true,
            ..ds::Credential::default()
        };
        to_device.set_kind(ds::CredentialKind::ConnectionRequest);
        let place = keys::connection_request(device.device.as_str());
        let users = self.own_users(device).await?;
        let mut abouts = vec![About::device(device)];
        abouts.extend(users.iter().map(|user| About::user(tenant, user)));
        let _changing = self.changing(&abouts).await?;
        self.put(tenant, place, &to_device).await?;
        for other in users {
            if other != username {
                self.end_user(device, &other).await?;
            }
        }
        self.delete(tenant, &key(device)).await?;
        tracing::info!(device = %device, "the device uses its new credentials; the old ones have ended");
        Ok(())
    }

    /// The user names of a device's own credentials.
    async fn own_users(&self, device: &DeviceKey) -> Result<Vec<String>> {
        let prefix = keys::of_device(device.device.as_str());
        let found = self
            .store
            .documents(KIND, &device.tenant, &prefix, None, OWN);
        let found = found.await?.into_iter();
        Ok(found
            .filter_map(|own| own.key.strip_prefix(&prefix).map(str::to_owned))
            .collect())
    }

    /// A device's former user ends: one made here is deleted, one from outside is superseded.
    async fn end_user(&self, device: &DeviceKey, username: &str) -> Result<()> {
        let tenant = &device.tenant;
        let place = keys::user(username);
        match self.stored(tenant, &place).await? {
            Some(mut given) if !given.rotated => {
                given.superseded = true;
                self.put(tenant, place, &given).await?;
            }
            _ => {
                self.delete(tenant, &place).await?;
                let own = keys::of_device(device.device.as_str()) + username;
                self.delete(tenant, &own).await?;
                self.delete(tenant, &keys::used(username)).await?;
            }
        }
        self.forget_credential(tenant, username, Some(device));
        Ok(())
    }

    /// A device has come back with a superseded credential and `0 BOOTSTRAP`: it has nothing else.
    pub(super) async fn reinstate(&self, device: &DeviceKey, username: &str) -> Result<()> {
        let _edit = self.edit.lock().await;
        let place = keys::user(username);
        if let Some(mut given) = self.stored(&device.tenant, &place).await?
            && given.superseded
        {
            let abouts = abouts(&device.tenant, username, Some(device));
            let _changing = self.changing(&abouts).await?;
            given.superseded = false;
            self.put(&device.tenant, place, &given).await?;
            self.forget_credential(&device.tenant, username, Some(device));
        }
        Ok(())
    }

    /// Whether a device has any credential of its own.
    pub async fn has_credential(&self, device: &DeviceKey) -> Result<bool> {
        Ok(!self.own_users(device).await?.is_empty())
    }

    pub(super) async fn stored(
        &self,
        tenant: &TenantId,
        key: &str,
    ) -> Result<Option<ds::Credential>> {
        let document = self.store.document(KIND, tenant, key).await?;
        document.map(|d| decode(&d.payload)).transpose()
    }
}
