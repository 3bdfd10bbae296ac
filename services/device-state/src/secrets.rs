//! Sealing of secret values, each bound to its place.

use hearth_auth::seal::parameter_place;
use hearth_auth::{ExposeSecret, SealError, Sealer, SecretString};
use hearth_types::{DeviceKey, TenantId, is_secret_name};

/// Seals and opens secret values of devices and passwords of credentials.
#[derive(Clone, Debug)]
pub struct Secrets {
    sealer: Sealer,
}

impl Secrets {
    /// With the sealer for values at rest.
    pub const fn new(sealer: Sealer) -> Self {
        Self { sealer }
    }

    /// Seals a parameter's value; bound to `tenant/device/path`.
    pub fn seal(&self, device: &DeviceKey, path: &str, value: &str) -> Result<Vec<u8>, SealError> {
        self.sealer
            .seal(&parameter_place(device, path), value.as_bytes())
    }

    /// Opens a parameter's value.
    pub fn open(
        &self,
        device: &DeviceKey,
        path: &str,
        sealed: &[u8],
    ) -> Result<SecretString, SealError> {
        text(self.sealer.open(&parameter_place(device, path), sealed)?)
    }

    /// Seals a credential's password; bound to its key.
    pub fn seal_password(
        &self,
        tenant: &TenantId,
        key: &str,
        password: &str,
    ) -> Result<Vec<u8>, SealError> {
        let place = format!("{tenant}/credential/{key}");
        self.sealer.seal(place.as_bytes(), password.as_bytes())
    }

    /// Seals a text for a place of its own.
    pub fn seal_at(&self, place: &[u8], text: &str) -> Result<Vec<u8>, SealError> {
        self.sealer.seal(place, text.as_bytes())
    }

    /// Opens a credential's password.
    pub fn open_password(
        &self,
        tenant: &TenantId,
        key: &str,
        sealed: &[u8],
    ) -> Result<SecretString, SealError> {
        let place = format!("{tenant}/credential/{key}");
        text(self.sealer.open(place.as_bytes(), sealed)?)
    }
}

fn text(bytes: Vec<u8>) -> Result<SecretString, SealError> {
    let text = String::from_utf8(bytes).map_err(|_| SealError::Malformed)?;
    Ok(SecretString::from(text))
}

/// Whether a reported value is to be sealed.
pub fn is_secret(path: &str, sealed: &[u8]) -> bool {
    !sealed.is_empty() || is_secret_name(path)
}

/// Whether a device hides a secret when it is read: nothing, or only asterisks (TR-106: hidden
/// parameters read back empty).
pub fn is_hidden(value: &str) -> bool {
    value.bytes().all(|b| b == b'*')
}

/// Whether a sealed value holds this text.
pub fn holds(opened: &SecretString, text: &str) -> bool {
    opened.expose_secret() == text
}
