//! Nonces that need no memory: time and random bytes under a MAC.
//!
//! A nonce is valid on any connection and any replica that has the key (TR-069 3.4.5: a
//! session outlives its TCP connections).

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hearth_types::Timestamp;

use crate::NoRandomness;

/// Bytes of time, of randomness and of the MAC.
const TIME: usize = 8;
const RANDOM: usize = 8;
const MAC: usize = 16;

/// Makes and recognises nonces.
#[derive(Clone)]
pub struct Nonces {
    key: hmac::Key,
    /// Those of other replicas, or of before a rotation.
    others: Vec<hmac::Key>,
}

impl std::fmt::Debug for Nonces {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Nonces(********)")
    }
}

impl Nonces {
    /// Nonces under this key (32 bytes; see [`crate::SecretKeys::digest_nonces`]).
    pub fn new(key: &[u8; 32]) -> Self {
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, key),
            others: Vec::new(),
        }
    }

    /// The same, which also recognises nonces that were made under these keys.
    #[must_use]
    pub fn also<'a>(mut self, keys: impl IntoIterator<Item = &'a [u8; 32]>) -> Self {
        let keys = keys.into_iter();
        self.others
            .extend(keys.map(|key| hmac::Key::new(hmac::HMAC_SHA256, key)));
        self
    }

    /// A fresh nonce: 43 characters of base64url.
    ///
    /// # Errors
    /// [`NoRandomness`].
    pub fn make(&self, now: Timestamp) -> Result<String, NoRandomness> {
        let mut bytes = [0u8; TIME + RANDOM + MAC];
        bytes[..TIME].copy_from_slice(&now.as_micros().to_be_bytes());
        crate::random(&mut bytes[TIME..TIME + RANDOM])?;
        let mac = hmac::sign(&self.key, &bytes[..TIME + RANDOM]);
        bytes[TIME + RANDOM..].copy_from_slice(&mac.as_ref()[..MAC]);
        Ok(URL_SAFE_NO_PAD.encode(bytes))
    }

    /// When a nonce was made; `None` when it isn't one of ours.
    pub fn made_at(&self, nonce: &str) -> Option<Timestamp> {
        let mut bytes = [0u8; TIME + RANDOM + MAC];
        let length = URL_SAFE_NO_PAD.decode_slice(nonce, &mut bytes).ok()?;
        if length != bytes.len() {
            return None;
        }
        let (signed, mac) = bytes.split_at(TIME + RANDOM);
        let is_under = |key: &hmac::Key| {
            let expected = hmac::sign(key, signed);
            bool::from(subtle::ConstantTimeEq::ct_eq(
                &expected.as_ref()[..MAC],
                mac,
            ))
        };
        if !is_under(&self.key) && !self.others.iter().any(is_under) {
            return None;
        }
        let time: [u8; TIME] = signed.get(..TIME)?.try_into().ok()?;
        Some(Timestamp::from_micros(i64::from_be_bytes(time)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn ours_are_recognised_and_others_not() {
        let nonces = Nonces::new(&[7; 32]);
        let now = Timestamp::from_micros(1_700_000_000_000_000);
        let nonce = nonces.make(now).unwrap();
        assert_eq!(nonce.len(), 43);
        assert_ne!(nonce, nonces.make(now).unwrap());
        assert_eq!(nonces.made_at(&nonce), Some(now));
        assert_eq!(Nonces::new(&[8; 32]).made_at(&nonce), None);
        let rotated = Nonces::new(&[8; 32]).also([&[7; 32]]);
        assert_eq!(
            rotated.made_at(&nonce),
            Some(now),
            "made under an older key"
        );
        let mut forged = nonce.into_bytes();
        forged[3] ^= 1;
        assert_eq!(nonces.made_at(std::str::from_utf8(&forged).unwrap()), None);
        assert_eq!(nonces.made_at(""), None);
        assert_eq!(nonces.made_at(&"A".repeat(1000)), None);
    }
}
