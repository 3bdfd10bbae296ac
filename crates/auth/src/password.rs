//! Passwords that people may have to type and CPEs have to store.

use secrecy::SecretString;
use zeroize::Zeroizing;

use crate::NoRandomness;

/// Letters and digits without those that are taken for each other (0 O, 1 l I): safe in URLs,
/// XML, shells and on paper.
const ALPHABET: &[u8] = b"abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789";

/// Characters of a generated password: 140 bits, and short enough for any CPE (TR-069 allows 256).
pub const PASSWORD_LENGTH: usize = 24;

/// A new password of [`PASSWORD_LENGTH`] characters.
///
/// # Errors
/// [`NoRandomness`].
pub fn generate_password() -> Result<SecretString, NoRandomness> {
    // Bytes beyond the last whole multiple would favour the first letters.
    let limit = 256 / ALPHABET.len() * ALPHABET.len();
    let mut password = Zeroizing::new(String::with_capacity(PASSWORD_LENGTH));
    let mut bytes = Zeroizing::new([0u8; PASSWORD_LENGTH * 2]);
    while password.len() < PASSWORD_LENGTH {
        crate::random(bytes.as_mut())?;
        let usable = bytes
            .iter()
            .map(|byte| usize::from(*byte))
            .filter(|byte| *byte < limit);
        let letters = usable.map(|byte| char::from(ALPHABET[byte % ALPHABET.len()]));
        let missing = PASSWORD_LENGTH - password.len();
        password.extend(letters.take(missing));
    }
    Ok(SecretString::from(password.as_str()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use secrecy::ExposeSecret;
    use std::collections::HashSet;

    #[test]
    fn passwords_are_long_plain_and_different() {
        let made: HashSet<String> = (0..200)
            .map(|_| generate_password().unwrap().expose_secret().to_owned())
            .collect();
        assert_eq!(made.len(), 200);
        for password in &made {
            assert_eq!(password.len(), PASSWORD_LENGTH);
            assert!(password.bytes().all(|byte| ALPHABET.contains(&byte)));
        }
        let seen: HashSet<char> = made.iter().flat_map(|password| password.chars()).collect();
        assert_eq!(seen.len(), ALPHABET.len(), "every letter occurs");
    }
}
