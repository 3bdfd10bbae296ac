//! HTTP Basic (RFC 7617), for CPEs that know nothing better and for tools.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::digest::{Ha1, VerifyWith};

/// Padding is forgotten or doubled in the field.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// A user and a password as Basic carries them.
#[derive(Debug, Clone)]
pub struct BasicCredentials {
    /// The user.
    pub username: String,
    /// The password.
    pub password: SecretString,
}

impl BasicCredentials {
    /// Reads what follows `Basic` in an Authorization header. Bytes that aren't UTF-8 are taken
    /// as ISO-8859-1. `None` when it isn't base64 of `user:password`.
    pub fn parse(token: &str) -> Option<Self> {
        let bytes = LENIENT.decode(token.trim()).ok()?;
        let text = Zeroizing::new(match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => Zeroizing::new(error.into_bytes())
                .iter()
                .copied()
                .map(char::from)
                .collect(),
        });
        let (username, password) = text.split_once(':')?;
        Some(Self {
            username: username.to_owned(),
            password: password.to_owned().into(),
        })
    }

    /// Whether the password is the stored one, in constant time. `realm` is the realm that a
    /// stored HA1 was made for. The user's name is not compared: it chose what is stored.
    pub fn verify(&self, realm: &str, stored: VerifyWith<'_>) -> bool {
        let given = self.password.expose_secret();
        match stored {
            VerifyWith::Password(password) => given.as_bytes().ct_eq(password.as_bytes()).into(),
            VerifyWith::Ha1 { md5, .. } => md5 == &Ha1::md5(&self.username, realm, given),
        }
    }

    /// The Authorization header's value.
    pub fn header(&self) -> SecretString {
        let pair = SecretString::from(format!(
            "{}:{}",
            self.username,
            self.password.expose_secret()
        ));
        format!("Basic {}", STANDARD.encode(pair.expose_secret())).into()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn rfc_7617_example_with_and_without_padding() {
        for token in ["QWxhZGRpbjpvcGVuIHNlc2FtZQ==", "QWxhZGRpbjpvcGVuIHNlc2FtZQ"] {
            let read = BasicCredentials::parse(token).unwrap();
            assert_eq!(read.username, "Aladdin");
            assert!(read.verify("r", VerifyWith::Password("open sesame")));
            assert!(!read.verify("r", VerifyWith::Password("open sesam")));
            let md5 = Ha1::md5("Aladdin", "r", "open sesame");
            assert!(read.verify(
                "r",
                VerifyWith::Ha1 {
                    md5: &md5,
                    sha256: None
                }
            ));
            assert!(!read.verify(
                "other",
                VerifyWith::Ha1 {
                    md5: &md5,
                    sha256: None
                }
            ));
            assert!(!format!("{read:?}").contains("sesame"));
        }
    }

    #[test]
    fn colons_and_latin1() {
        let made = BasicCredentials {
            username: "u".into(),
            password: "a:b".to_owned().into(),
        };
        let header = made.header();
        let (_, token) = header.expose_secret().split_once(' ').unwrap();
        let read = BasicCredentials::parse(token).unwrap();
        assert_eq!(read.password.expose_secret(), "a:b");
        let latin = BasicCredentials::parse(&STANDARD.encode(b"u:\xe9")).unwrap();
        assert_eq!(latin.password.expose_secret(), "é");
        assert!(BasicCredentials::parse("!!").is_none());
        assert!(BasicCredentials::parse(&STANDARD.encode("nocolon")).is_none());
    }
}
