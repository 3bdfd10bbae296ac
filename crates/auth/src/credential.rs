//! Credentials with which CPEs authenticate to the ACS.

use hearth_types::{DeviceId, TenantId};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use crate::digest::{Ha1, VerifyWith};
use crate::seal::{SealError, Sealer};

/// Whom a credential stands for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CredentialScope {
    /// Any device of the tenant, before it has a credential of its own. It proves membership,
    /// not identity.
    Onboarding,
    /// One device: the Inform's DeviceId must be this one.
    Device(DeviceId),
}

/// A CPE's user and what verifies its password.
///
/// HA1 verifies Digest and Basic and is bound to the realm. The password itself, sealed, is kept
/// only where it has to be given to someone again (the onboarding credential that an operator reads).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credential {
    /// The tenant that it belongs to.
    pub tenant: TenantId,
    /// The user; unique within the tenant.
    pub username: String,
    /// The realm that the HA1 values are made for.
    pub realm: String,
    /// HA1 with MD5.
    pub ha1_md5: Ha1,
    /// HA1 with SHA-256.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ha1_sha256: Option<Ha1>,
    /// The password, sealed for [`Credential::place`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed_password: Option<Vec<u8>>,
    /// Whom it stands for.
    pub scope: CredentialScope,
}

impl Credential {
    /// A credential for this password, which is not kept.
    pub fn new(
        tenant: TenantId,
        username: impl Into<String>,
        realm: impl Into<String>,
        password: &SecretString,
        scope: CredentialScope,
    ) -> Self {
        let (username, realm) = (username.into(), realm.into());
        let password = password.expose_secret();
        Self {
            ha1_md5: Ha1::md5(&username, &realm, password),
            ha1_sha256: Some(Ha1::sha256(&username, &realm, password)),
            sealed_password: None,
            tenant,
            username,
            realm,
            scope,
        }
    }

    /// The same with the password kept, sealed. `sealer` is the one at rest
    /// ([`crate::labels::AT_REST`]).
    ///
    /// # Errors
    /// See [`Sealer::seal`].
    pub fn with_sealed_password(
        mut self,
        sealer: &Sealer,
        password: &SecretString,
    ) -> Result<Self, SealError> {
        let sealed = sealer.seal(&self.place(), password.expose_secret().as_bytes())?;
        self.sealed_password = Some(sealed);
        Ok(self)
    }

    /// The kept password, if one is kept.
    ///
    /// # Errors
    /// See [`Sealer::open`].
    pub fn open_password(&self, sealer: &Sealer) -> Result<Option<SecretString>, SealError> {
        let Some(sealed) = &self.sealed_password else {
            return Ok(None);
        };
        let bytes = sealer.open(&self.place(), sealed)?;
        let text = String::from_utf8(bytes).map_err(|_| SealError::Malformed)?;
        Ok(Some(text.into()))
    }

    /// What to verify a Digest or Basic response with.
    pub fn verify_with(&self) -> VerifyWith<'_> {
        VerifyWith::Ha1 {
            md5: &self.ha1_md5,
            sha256: self.ha1_sha256.as_ref(),
        }
    }

    /// The associated data of the sealed password: it opens in this credential only.
    pub fn place(&self) -> Vec<u8> {
        format!("credential/{}/{}", self.tenant, self.username).into_bytes()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{SecretKeys, labels};

    #[test]
    fn a_credential_survives_storage_and_shows_no_secret() {
        let sealer = SecretKeys::from_seed([3; 32])
            .sealer(labels::AT_REST)
            .unwrap();
        let password = SecretString::from("Zaphod-42".to_owned());
        let scope = CredentialScope::Onboarding;
        let made = Credential::new(TenantId::default(), "cpe", "hearth", &password, scope)
            .with_sealed_password(&sealer, &password)
            .unwrap();
        let json = serde_json::to_string(&made).unwrap();
        assert!(!json.contains("Zaphod"));
        let mut read: Credential = serde_json::from_str(&json).unwrap();
        assert_eq!(read, made);
        let opened = read.open_password(&sealer).unwrap().unwrap();
        assert_eq!(opened.expose_secret(), "Zaphod-42");
        let debug = format!("{read:?}");
        assert!(
            !debug.contains(&json[json.find("ha1_md5").unwrap() + 10..][..32]),
            "{debug}"
        );
        read.username = "other".to_owned();
        assert_eq!(read.open_password(&sealer).unwrap_err(), SealError::Forged);
    }
}
