//! Authenticated encryption of what travels and of what rests.
//!
//! A sealed value is `key id (1) ‖ nonce (12) ‖ ciphertext ‖ tag (16)`, AES-256-GCM. The associated
//! data binds it to its place (a cookie's purpose, a tenant/device/path): moved elsewhere it
//! doesn't open.
//!
//! GCM must never see a nonce twice under one key. Random 96-bit nonces are safe for 2^32 values
//! only, which a busy gateway seals in two days. So a sealer draws a random 64-bit prefix when it
//! is made, counts in the remaining 32 bits, and draws a new prefix when they are used up.

use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hearth_types::{DeviceKey, TenantId};
use parking_lot::Mutex;

use crate::NoRandomness;

/// The associated data of a parameter's sealed value: `{tenant}/{device}/{path}`. Who seals it and
/// who opens it are different services, so that the place is said once, here.
#[must_use]
pub fn parameter_place(device: &DeviceKey, path: &str) -> Vec<u8> {
    format!("{device}/{path}").into_bytes()
}

/// The associated data of a secret of a tenant's policy: `{tenant}/policy/{field}`. device-state seals
/// it, gateways open it.
#[must_use]
pub fn policy_place(tenant: &TenantId, field: &str) -> Vec<u8> {
    format!("{tenant}/policy/{field}").into_bytes()
}

const TAG: usize = 16;
/// Bytes that sealing adds.
pub const OVERHEAD: usize = 1 + NONCE_LEN + TAG;

/// A value could not be sealed or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// It isn't a sealed value: too short, or not base64url.
    #[error("this is not a sealed value")]
    Malformed,
    /// Sealed under a key that isn't in the key file.
    #[error("sealed under key {0}, which is not in the key file")]
    UnknownKey(u8),
    /// Changed, or sealed for another place or purpose.
    #[error("the sealed value was changed or belongs elsewhere")]
    Forged,
    /// The cipher refused: a value beyond its limits.
    #[error("the value can't be sealed")]
    Refused,
    /// No nonce can be made.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
}

/// Seals with the current key and opens with any key of its ring; cheap to clone.
#[derive(Clone)]
pub struct Sealer {
    inner: Arc<Inner>,
}

struct Inner {
    /// The current key first.
    keys: Vec<(u8, LessSafeKey)>,
    nonces: Mutex<NonceCounter>,
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealer(********)")
    }
}

impl Sealer {
    /// A sealer on this ring: the current key, then older ones that still open. See
    /// [`crate::SecretKeys::sealer`].
    ///
    /// # Errors
    /// [`SealError::Refused`] for an empty ring.
    pub fn new(ring: &[(u8, [u8; 32])]) -> Result<Self, SealError> {
        let keys = ring
            .iter()
            .map(|(id, key)| {
                let key = UnboundKey::new(&AES_256_GCM, key).map_err(|_| SealError::Refused)?;
                Ok((*id, LessSafeKey::new(key)))
            })
            .collect::<Result<Vec<_>, SealError>>()?;
        if keys.is_empty() {
            return Err(SealError::Refused);
        }
        let nonces = Mutex::new(NonceCounter::new()?);
        Ok(Self {
            inner: Arc::new(Inner { keys, nonces }),
        })
    }

    /// Seals `plaintext` for the place `aad`; [`OVERHEAD`] bytes longer.
    ///
    /// # Errors
    /// [`SealError::Refused`], [`SealError::NoRandomness`].
    pub fn seal(&self, aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, SealError> {
        let (id, key) = self.inner.keys.first().ok_or(SealError::Refused)?;
        let nonce = self.inner.nonces.lock().next()?;
        let mut sealed = Vec::with_capacity(OVERHEAD + plaintext.len());
        sealed.push(*id);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(plaintext);
        let body = sealed.get_mut(1 + NONCE_LEN..).ok_or(SealError::Refused)?;
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = key
            .seal_in_place_separate_tag(nonce, Aad::from(aad), body)
            .map_err(|_| SealError::Refused)?;
        sealed.extend_from_slice(tag.as_ref());
        Ok(sealed)
    }

    /// Opens what was sealed for the same place.
    ///
    /// # Errors
    /// [`SealError::Malformed`], [`SealError::UnknownKey`], [`SealError::Forged`].
    pub fn open(&self, aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        let (id, rest) = sealed.split_first().ok_or(SealError::Malformed)?;
        let (nonce, body) = rest
            .split_first_chunk::<NONCE_LEN>()
            .ok_or(SealError::Malformed)?;
        if body.len() < TAG {
            return Err(SealError::Malformed);
        }
        let key = self.inner.keys.iter().find(|(known, _)| known == id);
        let (_, key) = key.ok_or(SealError::UnknownKey(*id))?;
        let mut body = body.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let length = key
            .open_in_place(nonce, Aad::from(aad), &mut body)
            .map_err(|_| SealError::Forged)?
            .len();
        body.truncate(length);
        Ok(body)
    }

    /// [`Sealer::seal`] as base64url text without padding, for cookies and page tokens.
    ///
    /// # Errors
    /// As [`Sealer::seal`].
    pub fn seal_text(&self, aad: &[u8], plaintext: &[u8]) -> Result<String, SealError> {
        Ok(URL_SAFE_NO_PAD.encode(self.seal(aad, plaintext)?))
    }

    /// Opens [`Sealer::seal_text`].
    ///
    /// # Errors
    /// As [`Sealer::open`].
    pub fn open_text(&self, aad: &[u8], text: &str) -> Result<Vec<u8>, SealError> {
        let sealed = URL_SAFE_NO_PAD
            .decode(text)
            .map_err(|_| SealError::Malformed)?;
        self.open(aad, &sealed)
    }

    /// Whether a value was sealed under an older key, and should be sealed again.
    pub fn is_outdated(&self, sealed: &[u8]) -> bool {
        let current = self.inner.keys.first().map(|(id, _)| id);
        sealed.first().is_some_and(|id| Some(id) != current)
    }
}

/// The next nonce: a random prefix and a counter.
struct NonceCounter {
    prefix: [u8; 8],
    next: Option<u32>,
}

impl NonceCounter {
    fn new() -> Result<Self, NoRandomness> {
        let mut prefix = [0; 8];
        crate::random(&mut prefix)?;
        Ok(Self {
            prefix,
            next: Some(0),
        })
    }

    fn next(&mut self) -> Result<[u8; NONCE_LEN], NoRandomness> {
        let count = match self.next {
            Some(count) => count,
            None => {
                *self = Self::new()?;
                0
            }
        };
        self.next = count.checked_add(1);
        let mut nonce = [0; NONCE_LEN];
        nonce[..8].copy_from_slice(&self.prefix);
        nonce[8..].copy_from_slice(&count.to_be_bytes());
        Ok(nonce)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn opens_only_in_its_place_and_unchanged() {
        let sealer = Sealer::new(&[(1, [1; 32])]).unwrap();
        let sealed = sealer.seal(b"a/b", b"secret").unwrap();
        assert_eq!(sealed.len(), 6 + OVERHEAD);
        assert_eq!(sealer.open(b"a/b", &sealed).unwrap(), b"secret");
        assert_eq!(sealer.open(b"a/c", &sealed), Err(SealError::Forged));
        for at in 1..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(sealer.open(b"a/b", &changed), Err(SealError::Forged));
        }
        for length in 0..OVERHEAD {
            assert_eq!(
                sealer.open(b"a/b", &sealed[..length]),
                Err(SealError::Malformed)
            );
        }
        assert_ne!(
            sealer.seal(b"a/b", b"secret").unwrap(),
            sealed,
            "never the same nonce"
        );
    }

    #[test]
    fn keys_rotate() {
        let old = Sealer::new(&[(1, [1; 32])]).unwrap();
        let new = Sealer::new(&[(2, [2; 32]), (1, [1; 32])]).unwrap();
        let text = old.seal_text(b"", b"x").unwrap();
        assert_eq!(new.open_text(b"", &text).unwrap(), b"x");
        assert!(new.is_outdated(&old.seal(b"", b"x").unwrap()));
        let sealed = new.seal(b"", b"y").unwrap();
        assert!(!new.is_outdated(&sealed));
        assert_eq!(old.open(b"", &sealed), Err(SealError::UnknownKey(2)));
        assert_eq!(new.open_text(b"", "not base64!"), Err(SealError::Malformed));
        assert!(matches!(Sealer::new(&[]), Err(SealError::Refused)));
    }

    #[test]
    fn the_counter_takes_a_new_prefix_when_used_up() {
        let mut counter = NonceCounter::new().unwrap();
        counter.next = Some(u32::MAX);
        let last = counter.next().unwrap();
        let first = counter.next().unwrap();
        assert_eq!(last[8..], [255; 4]);
        assert_eq!(first[8..], [0; 4]);
        assert_ne!(last[..8], first[..8]);
    }
}
