//! Tokens of the API: shown once, kept as a hash.

use std::fmt;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::NoRandomness;
use crate::secret_file::{self, SecretFileError};

/// The prefix by which people and secret scanners recognise a token.
const PREFIX: &str = "hearth_";

/// A bearer token: `hearth_` and 43 characters of base64url (256 bits).
#[derive(Debug, Clone)]
pub struct ApiToken(SecretString);

impl ApiToken {
    /// A new token.
    ///
    /// # Errors
    /// [`NoRandomness`].
    pub fn generate() -> Result<Self, NoRandomness> {
        let mut bytes = Zeroizing::new([0u8; 32]);
        crate::random(bytes.as_mut())?;
        Ok(Self(
            format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes.as_ref())).into(),
        ))
    }

    /// Reads a token: 20 to 200 visible characters without spaces. The text needn't be one of
    /// [`ApiToken::generate`]: an operator may choose their own.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let plausible =
            (20..=200).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        plausible.then(|| Self(text.into()))
    }

    /// The token's text, to be shown once or sent.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// What is stored of it.
    pub fn hash(&self) -> TokenHash {
        TokenHash::of(self.expose())
    }
}

/// SHA-256 of a token. A token is random, so no slow hash is needed; the comparison is in constant
/// time all the same. Serialized as base64url.
#[derive(Clone, Copy)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// The hash of a token's text.
    pub fn of(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }

    /// Whether `token` is the one.
    pub fn verify(&self, token: &str) -> bool {
        *self == Self::of(token)
    }
}

impl PartialEq for TokenHash {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for TokenHash {}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(********)")
    }
}

impl Serialize for TokenHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl<'de> Deserialize<'de> for TokenHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = URL_SAFE_NO_PAD.decode(text).unwrap_or_default();
        let bytes = bytes.try_into();
        bytes
            .map(Self)
            .map_err(|_| serde::de::Error::custom("base64url of 32 bytes expected"))
    }
}

/// Reads the token in `path`, or makes one (mode 0600); `true` when it was made.
///
/// # Errors
/// [`SecretFileError`]: readable by others, not a token, or the file system's refusal.
pub fn load_or_create_token_file(path: &Path) -> Result<(ApiToken, bool), SecretFileError> {
    let damaged = || SecretFileError::Damaged {
        path: path.to_owned(),
        reason: "no token in it",
    };
    if let Some(text) = secret_file::read(path)? {
        return ApiToken::parse(&text)
            .map(|token| (token, false))
            .ok_or_else(damaged);
    }
    let token = ApiToken::generate()?;
    let text = Zeroizing::new(format!("{}\n", token.expose()));
    if secret_file::create(path, &text)? {
        return Ok((token, true));
    }
    let text = secret_file::read(path)?.ok_or_else(damaged)?;
    ApiToken::parse(&text)
        .map(|token| (token, false))
        .ok_or_else(damaged)
}

/// Reads the token in `path`.
///
/// # Errors
/// [`SecretFileError`]: not there, readable by others, not a token, or the file system's refusal.
pub fn load_token_file(path: &Path) -> Result<ApiToken, SecretFileError> {
    let path_buf = || path.to_owned();
    let text =
        secret_file::read(path)?.ok_or_else(|| SecretFileError::Missing { path: path_buf() })?;
    ApiToken::parse(&text).ok_or_else(|| SecretFileError::Damaged {
        path: path_buf(),
        reason: "no token in it",
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_token_verifies_against_its_hash_only() {
        let token = ApiToken::generate().unwrap();
        assert_eq!(token.expose().len(), PREFIX.len() + 43);
        let json = serde_json::to_string(&token.hash()).unwrap();
        let hash: TokenHash = serde_json::from_str(&json).unwrap();
        assert!(hash.verify(token.expose()));
        assert!(!hash.verify(ApiToken::generate().unwrap().expose()));
        assert!(!format!("{token:?}").contains(&token.expose()[PREFIX.len()..]));
        assert!(ApiToken::parse("short").is_none());
        assert!(ApiToken::parse("with a space in the middle of it").is_none());
    }

    #[test]
    fn the_token_file_is_made_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("admin.token");
        let (made, new) = load_or_create_token_file(&path).unwrap();
        assert!(new);
        let (read, new) = load_or_create_token_file(&path).unwrap();
        assert!(!new);
        assert_eq!(made.expose(), read.expose());
    }
}
