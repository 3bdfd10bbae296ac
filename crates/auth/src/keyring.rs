//! Making the key file and changing its keys without a break.
//!
//! With one process a key is staged and put in use at once. With replicas every one of them must know a key before any
//! of them uses it: [`stage`] it, give all the file and restart them one by one, then put it in use ([`promote`]) and do
//! the same again. A key that nothing is sealed under any more may be [`retire`]d.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use crate::keys::{FORMAT, STAGED, parse};
use crate::secret_file::{self, SecretFileError};

/// What a key of the file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyUse {
    /// Seals and opens.
    Current,
    /// Opens only: older, or of before a rotation.
    Older,
    /// Opens already, will seal.
    Staged,
}

/// The ring can't be changed.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// The file.
    #[error(transparent)]
    File(#[from] SecretFileError),
    /// There is a staged key already.
    #[error("key {0} is staged already: put it in use first, or retire it")]
    AlreadyStaged(u8),
    /// There is none.
    #[error("no key is staged: stage one first, and restart all processes that use the file")]
    NoneStaged,
    /// No id is free.
    #[error("all 256 ids of keys are taken: retire the keys that nothing is sealed under any more")]
    Full,
    /// The current key can't go.
    #[error("key {0} is the one in use; put another in use first")]
    InUse(u8),
    /// There is no such key.
    #[error("there is no key {0} in the file")]
    Unknown(u8),
}

/// One line of the file.
struct Line {
    id: u8,
    key: Zeroizing<String>,
    staged: bool,
}

/// Makes a file with one key; `false` when there is one already, which is left as it is.
///
/// # Errors
/// [`SecretFileError`].
pub fn create(path: &Path) -> Result<bool, SecretFileError> {
    let line = Line {
        id: 1,
        key: generate()?,
        staged: false,
    };
    secret_file::create(path, &text(&[line]))
}

/// The ids of the keys and what each is for.
///
/// # Errors
/// [`KeyringError::File`].
pub fn list(path: &Path) -> Result<Vec<(u8, KeyUse)>, KeyringError> {
    let lines = read(path)?;
    let current = lines.iter().find(|line| !line.staged).map(|line| line.id);
    let used = |line: &Line| match line.staged {
        true => KeyUse::Staged,
        false if Some(line.id) == current => KeyUse::Current,
        false => KeyUse::Older,
    };
    Ok(lines.iter().map(|line| (line.id, used(line))).collect())
}

/// Adds a key that is accepted and not used yet; answers its id.
///
/// # Errors
/// See [`KeyringError`].
pub fn stage(path: &Path) -> Result<u8, KeyringError> {
    let mut lines = read(path)?;
    if let Some(staged) = lines.iter().find(|line| line.staged) {
        return Err(KeyringError::AlreadyStaged(staged.id));
    }
    let newest = lines.iter().map(|line| line.id).max().unwrap_or(0);
    let is_free = |id: &u8| !lines.iter().any(|line| line.id == *id);
    // After the newest, so that the id of a key that was retired long ago comes last.
    let id = (newest.wrapping_add(1)..=u8::MAX)
        .chain(0..newest)
        .find(is_free)
        .ok_or(KeyringError::Full)?;
    lines.push(Line {
        id,
        key: generate()?,
        staged: true,
    });
    secret_file::replace(path, &text(&lines))?;
    Ok(id)
}

/// Puts the staged key in use; answers its id.
///
/// # Errors
/// See [`KeyringError`].
pub fn promote(path: &Path) -> Result<u8, KeyringError> {
    let mut lines = read(path)?;
    let at = lines.iter().position(|line| line.staged);
    let mut line = lines.remove(at.ok_or(KeyringError::NoneStaged)?);
    line.staged = false;
    let id = line.id;
    lines.insert(0, line);
    secret_file::replace(path, &text(&lines))?;
    Ok(id)
}

/// Removes a key: what is sealed under it can't be opened any more.
///
/// # Errors
/// See [`KeyringError`].
pub fn retire(path: &Path, id: u8) -> Result<(), KeyringError> {
    let mut lines = read(path)?;
    match list(path)?.iter().find(|(known, _)| *known == id) {
        None => return Err(KeyringError::Unknown(id)),
        Some((_, KeyUse::Current)) => return Err(KeyringError::InUse(id)),
        Some(_) => lines.retain(|line| line.id != id),
    }
    secret_file::replace(path, &text(&lines))?;
    Ok(())
}

fn generate() -> Result<Zeroizing<String>, SecretFileError> {
    let mut key = Zeroizing::new([0u8; 32]);
    crate::random(key.as_mut())?;
    Ok(Zeroizing::new(URL_SAFE_NO_PAD.encode(key.as_ref())))
}

fn read(path: &Path) -> Result<Vec<Line>, SecretFileError> {
    let missing = || SecretFileError::Missing {
        path: path.to_owned(),
    };
    let text = secret_file::read(path)?.ok_or_else(missing)?;
    // Says what is wrong with it, if anything is.
    parse(path, &text)?;
    let line = |line: &str| {
        let mut words = line.split_whitespace().skip_while(|word| *word == FORMAT);
        let id = words.next()?.parse().ok()?;
        let key = Zeroizing::new(words.next()?.to_owned());
        let staged = words.next() == Some(STAGED);
        Some(Line { id, key, staged })
    };
    Ok(text.lines().filter_map(line).collect())
}

fn text(lines: &[Line]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::new());
    for line in lines {
        let end = if line.staged { " staged" } else { "" };
        let line = Zeroizing::new(format!("{FORMAT} {} {}{end}\n", line.id, line.key.as_str()));
        text.push_str(&line);
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{SecretKeys, labels};

    #[test]
    fn replicas_rotate_one_after_another_without_a_break() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ring");
        assert!(create(&path).unwrap());
        assert!(!create(&path).unwrap());
        let sealer = || {
            SecretKeys::load(&path)
                .unwrap()
                .sealer(labels::COOKIE)
                .unwrap()
        };
        let nonces = || SecretKeys::load(&path).unwrap().digest_nonces().unwrap();
        let now = hearth_types::Timestamp::from_micros(1_700_000_000_000_000);

        let before = sealer();
        assert_eq!(stage(&path).unwrap(), 2);
        assert!(matches!(stage(&path), Err(KeyringError::AlreadyStaged(2))));
        // One replica knows the staged key, another not yet: both read each other.
        let (knows, knows_nonces) = (sealer(), nonces());
        let from_old = before.seal(b"", b"x").unwrap();
        assert_eq!(knows.open(b"", &from_old).unwrap(), b"x");
        let from_new = knows.seal(b"", b"y").unwrap();
        assert_eq!(before.open(b"", &from_new).unwrap(), b"y", "not used yet");

        assert_eq!(promote(&path).unwrap(), 2);
        assert!(matches!(promote(&path), Err(KeyringError::NoneStaged)));
        let (uses, uses_nonces) = (sealer(), nonces());
        let sealed = uses.seal(b"", b"z").unwrap();
        assert_eq!(sealed[0], 2);
        assert_eq!(knows.open(b"", &sealed).unwrap(), b"z");
        assert_eq!(uses.open(b"", &from_old).unwrap(), b"x");
        let nonce = uses_nonces.make(now).unwrap();
        assert_eq!(knows_nonces.made_at(&nonce), Some(now));
        let nonce = knows_nonces.make(now).unwrap();
        assert_eq!(uses_nonces.made_at(&nonce), Some(now));

        let known = list(&path).unwrap();
        assert_eq!(known, [(2, KeyUse::Current), (1, KeyUse::Older)]);
        assert!(matches!(retire(&path, 2), Err(KeyringError::InUse(2))));
        assert!(matches!(retire(&path, 9), Err(KeyringError::Unknown(9))));
        retire(&path, 1).unwrap();
        assert!(sealer().open(b"", &from_old).is_err());
        assert_eq!(stage(&path).unwrap(), 3);
        assert_eq!(list(&path).unwrap()[1], (3, KeyUse::Staged));
    }
}
