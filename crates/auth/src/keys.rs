//! The key file, and the keys derived from it.
//!
//! `secret.key` holds one line for each master key, the current one first: `hearth-key-1 <id>
//! <base64url of 32 bytes>`. To rotate, a new line with another id is put on top; old lines stay as
//! long as something sealed under them is to be opened. A line that ends in `staged` is a key that
//! is accepted already and not used yet: with replicas all must know a key before one uses it
//! ([`crate::keyring`]). No master key is used itself: each purpose has a key of its own
//! (HKDF-SHA256, the purpose as info), so that a cookie can't be taken for a sealed password.

use std::path::Path;

use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::digest::nonce::Nonces;
use crate::seal::{SealError, Sealer};
use crate::secret_file::{self, SecretFileError};

/// The purposes that keys are derived for.
pub mod labels {
    /// The session cookie of the CPE edge.
    pub const COOKIE: &str = "cookie";
    /// Digest nonces.
    pub const DIGEST_NONCE: &str = "digest-nonce";
    /// Secret values in the ledger and the store.
    pub const AT_REST: &str = "at-rest";
    /// TLS session tickets of the CPE edge.
    pub const TLS_TICKET: &str = "tls-ticket";
    /// Credentials in the URLs of files.
    pub const FILE_ACCESS: &str = "file-access";
}

/// The key file's name in a data directory.
pub const KEY_FILE: &str = "secret.key";
pub(crate) const FORMAT: &str = "hearth-key-1";

/// What a staged key's line ends in.
pub(crate) const STAGED: &str = "staged";

/// Keys could not be loaded or derived.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The key file.
    #[error(transparent)]
    File(#[from] SecretFileError),
    /// A derived key was refused.
    #[error("a key can't be derived")]
    Derivation,
    /// A sealer was refused.
    #[error(transparent)]
    Seal(#[from] SealError),
}

/// The master keys, current one first. Wiped when dropped.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SecretKeys {
    pub(crate) ring: Vec<(u8, [u8; 32])>,
}

impl std::fmt::Debug for SecretKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretKeys(********)")
    }
}

impl SecretKeys {
    /// Reads `dir/secret.key`, or makes it (mode 0600, on disk before it is used).
    ///
    /// # Errors
    /// [`KeyError::File`]: readable by others, damaged, or the file system's refusal.
    pub fn load_or_create(dir: &Path) -> Result<Self, KeyError> {
        let path = dir.join(KEY_FILE);
        if let Some(text) = secret_file::read(&path)? {
            return Ok(parse(&path, &text)?);
        }
        crate::keyring::create(&path)?;
        // Read back: another process may have been first.
        Self::load(&path)
    }

    /// Reads a key file.
    ///
    /// # Errors
    /// [`KeyError::File`]: not there, readable by others, damaged, or the file system's refusal.
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        let text = secret_file::read(path)?.ok_or_else(|| SecretFileError::Missing {
            path: path.to_owned(),
        })?;
        Ok(parse(path, &text)?)
    }

    /// Keys of one's own, for tests: the same seed gives the same keys.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self {
            ring: vec![(1, seed)],
        }
    }

    /// A sealer for one purpose (see [`labels`]) over the whole ring.
    ///
    /// # Errors
    /// [`KeyError::Derivation`], [`KeyError::Seal`].
    pub fn sealer(&self, label: &str) -> Result<Sealer, KeyError> {
        let mut ring = Vec::with_capacity(self.ring.len());
        for (id, master) in &self.ring {
            ring.push((*id, derive(master, label)?));
        }
        let sealer = Sealer::new(&ring);
        ring.zeroize();
        Ok(sealer?)
    }

    /// The current key for one purpose, for MACs.
    ///
    /// # Errors
    /// [`KeyError::Derivation`].
    pub fn derived(&self, label: &str) -> Result<Zeroizing<[u8; 32]>, KeyError> {
        let (_, master) = self.ring.first().ok_or(KeyError::Derivation)?;
        Ok(Zeroizing::new(derive(master, label)?))
    }

    /// The keys of the whole ring for one purpose, the current one first: what was made under any
    /// of them is to be accepted.
    ///
    /// # Errors
    /// [`KeyError::Derivation`].
    pub fn derived_ring(&self, label: &str) -> Result<Vec<Zeroizing<[u8; 32]>>, KeyError> {
        let derived = |(_, master): &(u8, [u8; 32])| Ok(Zeroizing::new(derive(master, label)?));
        self.ring.iter().map(derived).collect()
    }

    /// The maker of digest nonces, which takes those of the whole ring: while keys are rotated, a
    /// device may come to a replica that made its nonce under another key.
    ///
    /// # Errors
    /// [`KeyError::Derivation`].
    pub fn digest_nonces(&self) -> Result<Nonces, KeyError> {
        let ring = self.derived_ring(labels::DIGEST_NONCE)?;
        let [current, others @ ..] = ring.as_slice() else {
            return Err(KeyError::Derivation);
        };
        Ok(Nonces::new(current).also(others.iter().map(|key| &**key)))
    }
}

pub(crate) fn parse(path: &Path, text: &str) -> Result<SecretKeys, SecretFileError> {
    let damaged = |reason| SecretFileError::Damaged {
        path: path.to_owned(),
        reason,
    };
    let mut keys = SecretKeys { ring: Vec::new() };
    let mut staged = SecretKeys { ring: Vec::new() };
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if line.starts_with('#') {
            continue;
        }
        let mut words = line.split_whitespace();
        if words.next() != Some(FORMAT) {
            return Err(damaged("a line does not begin with \"hearth-key-1\""));
        }
        let id = words.next().and_then(|id| id.parse::<u8>().ok());
        let id = id.ok_or_else(|| damaged("a key's id is not a number from 0 to 255"))?;
        let bytes = words
            .next()
            .and_then(|key| URL_SAFE_NO_PAD.decode(key).ok());
        let bytes = Zeroizing::new(bytes.unwrap_or_default());
        let key = <[u8; 32]>::try_from(bytes.as_slice());
        let key = key.map_err(|_| damaged("a key is not base64url of 32 bytes"))?;
        let mut known = keys.ring.iter().chain(&staged.ring);
        if known.any(|(known, _)| *known == id) {
            return Err(damaged("two keys have the same id"));
        }
        let ring = match words.next() {
            None => &mut keys.ring,
            Some(STAGED) => &mut staged.ring,
            Some(_) => {
                return Err(damaged(
                    "a line has a word that is not \"staged\" after its key",
                ));
            }
        };
        ring.push((id, key));
    }
    if keys.ring.is_empty() {
        return Err(damaged("it holds no key in use"));
    }
    keys.ring.append(&mut staged.ring);
    Ok(keys)
}

struct Bytes32;

impl KeyType for Bytes32 {
    fn len(&self) -> usize {
        32
    }
}

fn derive(master: &[u8; 32], label: &str) -> Result<[u8; 32], KeyError> {
    let mut key = [0u8; 32];
    Salt::new(HKDF_SHA256, b"hearth/v1")
        .extract(master)
        .expand(&[label.as_bytes()], Bytes32)
        .and_then(|okm| okm.fill(&mut key))
        .map_err(|_| KeyError::Derivation)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::fs;

    #[test]
    fn the_file_is_made_once_and_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let first = SecretKeys::load_or_create(dir.path()).unwrap();
        let sealed = first
            .sealer(labels::AT_REST)
            .unwrap()
            .seal(b"", b"x")
            .unwrap();
        let second = SecretKeys::load_or_create(dir.path()).unwrap();
        assert_eq!(
            second
                .sealer(labels::AT_REST)
                .unwrap()
                .open(b"", &sealed)
                .unwrap(),
            b"x"
        );
        let other = second.sealer(labels::COOKIE).unwrap();
        assert_eq!(
            other.open(b"", &sealed),
            Err(SealError::Forged),
            "one key for each purpose"
        );
        assert_eq!(format!("{second:?}"), "SecretKeys(********)");
    }

    #[test]
    fn a_new_line_on_top_rotates() {
        let dir = tempfile::tempdir().unwrap();
        let sealed = {
            let keys = SecretKeys::load_or_create(dir.path()).unwrap();
            keys.sealer(labels::AT_REST)
                .unwrap()
                .seal(b"", b"x")
                .unwrap()
        };
        let path = dir.path().join(KEY_FILE);
        let old = fs::read_to_string(&path).unwrap();
        let new = URL_SAFE_NO_PAD.encode([9; 32]);
        fs::write(&path, format!("# rotated\n{FORMAT} 2 {new}\n{old}")).unwrap();
        let sealer = SecretKeys::load_or_create(dir.path())
            .unwrap()
            .sealer(labels::AT_REST);
        let sealer = sealer.unwrap();
        assert_eq!(sealer.open(b"", &sealed).unwrap(), b"x");
        assert!(sealer.is_outdated(&sealed));
        assert_eq!(sealer.seal(b"", b"y").unwrap()[0], 2);
    }

    #[test]
    fn damage_is_told_without_the_content() {
        for text in [
            "",
            "junk",
            "hearth-key-1 x AAAA",
            "hearth-key-1 1 SECRETSECRET",
        ] {
            let dir = tempfile::tempdir().unwrap();
            secret_file::create(&dir.path().join(KEY_FILE), text).unwrap();
            let error = SecretKeys::load_or_create(dir.path())
                .unwrap_err()
                .to_string();
            assert!(
                error.contains("damaged") && !error.contains("SECRETSECRET"),
                "{error}"
            );
        }
    }
}
