//! HTTP Digest: RFC 7616, and RFC 2617 and 2069 for what CPEs really speak.
//!
//! [`server`] challenges and verifies CPEs; [`client`] answers a CPE's challenge when it is asked
//! to connect; [`nonce`] and [`replay`] make the server's nonces stateless and their use single.

pub mod client;
pub mod nonce;
pub mod replay;
pub mod response;
pub mod server;

use std::fmt;

use md5::Md5;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

pub use client::{Challenge, DigestChallenge, Unanswerable};
pub use response::{Authorization, DigestResponse, Qop};
pub use server::{
    DigestFailure, DigestOptions, DigestServer, DigestVerified, RequestTarget, UriMatch, VerifyWith,
};

/// A digest algorithm (RFC 7616 section 3.4), the session variants included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Algorithm {
    /// MD5: what CPEs speak.
    #[serde(rename = "MD5")]
    Md5,
    /// MD5 with HA1 bound to nonce and cnonce.
    #[serde(rename = "MD5-sess")]
    Md5Sess,
    /// SHA-256.
    #[serde(rename = "SHA-256")]
    Sha256,
    /// SHA-256 with HA1 bound to nonce and cnonce.
    #[serde(rename = "SHA-256-sess")]
    Sha256Sess,
}

impl Algorithm {
    /// The name in headers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Md5Sess => "MD5-sess",
            Self::Sha256 => "SHA-256",
            Self::Sha256Sess => "SHA-256-sess",
        }
    }

    /// Reads a name in any case; `None` for an unknown one.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Md5, Self::Md5Sess, Self::Sha256, Self::Sha256Sess]
            .into_iter()
            .find(|algorithm| algorithm.as_str().eq_ignore_ascii_case(name.trim()))
    }

    /// The algorithm without its session variant.
    pub const fn base(self) -> Self {
        match self {
            Self::Md5 | Self::Md5Sess => Self::Md5,
            Self::Sha256 | Self::Sha256Sess => Self::Sha256,
        }
    }

    const fn is_session(self) -> bool {
        matches!(self, Self::Md5Sess | Self::Sha256Sess)
    }

    /// Hash of the parts joined with colons, in lower-case hex.
    pub(crate) fn hash(self, parts: &[&[u8]]) -> Hex {
        match self.base() {
            Self::Md5 => Hex::of(&joined::<Md5>(parts)),
            _ => Hex::of(&joined::<Sha256>(parts)),
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn joined<D: sha2::Digest>(parts: &[&[u8]]) -> sha2::digest::Output<D> {
    let mut hasher = D::new();
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            hasher.update(b":");
        }
        hasher.update(part);
    }
    hasher.finalize()
}

/// A hash in lower-case hex, on the stack.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub(crate) struct Hex {
    bytes: [u8; 64],
    len: usize,
}

impl Hex {
    pub(crate) fn of(hash: &[u8]) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut bytes = [0; 64];
        for (pair, byte) in bytes.as_chunks_mut::<2>().0.iter_mut().zip(hash) {
            *pair = [
                DIGITS[usize::from(byte >> 4)],
                DIGITS[usize::from(byte & 15)],
            ];
        }
        Self {
            bytes,
            len: (hash.len() * 2).min(64),
        }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    pub(crate) fn as_str(&self) -> &str {
        // Only hex digits are ever written.
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    /// Constant-time comparison with what a peer wrote, in any case.
    pub(crate) fn matches(&self, given: &str) -> bool {
        let mut lower = [0u8; 64];
        let given = given.trim().as_bytes();
        if given.len() != self.len {
            return false;
        }
        for (to, from) in lower.iter_mut().zip(given) {
            *to = from.to_ascii_lowercase();
        }
        lower[..self.len].ct_eq(self.as_bytes()).into()
    }
}

/// HA1 = H(user ":" realm ":" password): as good as the password within its realm, so it is
/// masked, wiped after use and compared in constant time. Serialized as hex.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Ha1(Hex);

impl Ha1 {
    /// HA1 with MD5.
    pub fn md5(username: &str, realm: &str, password: &str) -> Self {
        Self::new(Algorithm::Md5, username, realm, password)
    }

    /// HA1 with SHA-256.
    pub fn sha256(username: &str, realm: &str, password: &str) -> Self {
        Self::new(Algorithm::Sha256, username, realm, password)
    }

    /// HA1 with the hash of `algorithm`.
    pub fn new(algorithm: Algorithm, username: &str, realm: &str, password: &str) -> Self {
        let parts = [username.as_bytes(), realm.as_bytes(), password.as_bytes()];
        Self(algorithm.hash(&parts))
    }

    /// Reads 32 (MD5) or 64 (SHA-256) hex digits.
    pub fn from_hex(hex: &str) -> Option<Self> {
        let valid = matches!(hex.len(), 32 | 64) && hex.bytes().all(|b| b.is_ascii_hexdigit());
        if !valid {
            return None;
        }
        let mut bytes = [0; 64];
        for (to, from) in bytes.iter_mut().zip(hex.bytes()) {
            *to = from.to_ascii_lowercase();
        }
        Some(Self(Hex {
            bytes,
            len: hex.len(),
        }))
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl PartialEq for Ha1 {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes().ct_eq(other.as_bytes()).into()
    }
}

impl Eq for Ha1 {}

impl fmt::Debug for Ha1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ha1(********)")
    }
}

impl Serialize for Ha1 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.as_str())
    }
}

impl<'de> Deserialize<'de> for Ha1 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let hex = String::deserialize(deserializer)?;
        // The text is not repeated in the error: it may be nearly a secret.
        Self::from_hex(&hex).ok_or_else(|| serde::de::Error::custom("32 or 64 hex digits expected"))
    }
}

/// What both sides compute: the request-digest of RFC 7616 section 3.4.1.
pub(crate) struct Computation<'a> {
    pub(crate) algorithm: Algorithm,
    pub(crate) nonce: &'a str,
    /// `(nc, cnonce, qop)` as sent; `None` for RFC 2069.
    pub(crate) protection: Option<(&'a str, &'a str, &'a str)>,
    /// For the session variants without qop.
    pub(crate) cnonce: &'a str,
    pub(crate) method: &'a str,
    pub(crate) uri: &'a str,
}

impl Computation<'_> {
    pub(crate) fn response(&self, ha1: &Ha1) -> Hex {
        let algorithm = self.algorithm;
        let nonce = self.nonce.as_bytes();
        let ha2 = algorithm.hash(&[self.method.as_bytes(), self.uri.as_bytes()]);
        let session;
        let ha1 = if algorithm.is_session() {
            session = algorithm.hash(&[ha1.as_bytes(), nonce, self.cnonce.as_bytes()]);
            session.as_bytes()
        } else {
            ha1.as_bytes()
        };
        match self.protection {
            Some((nc, cnonce, qop)) => algorithm.hash(&[
                ha1,
                nonce,
                nc.as_bytes(),
                cnonce.as_bytes(),
                qop.as_bytes(),
                ha2.as_bytes(),
            ]),
            None => algorithm.hash(&[ha1, nonce, ha2.as_bytes()]),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn rfc_7616_and_2617_examples() {
        let mut call = Computation {
            algorithm: Algorithm::Md5,
            nonce: "dcd98b7102dd2f0e8b11d0f600bfb0c093",
            protection: Some(("00000001", "0a4f113b", "auth")),
            cnonce: "0a4f113b",
            method: "GET",
            uri: "/dir/index.html",
        };
        let ha1 = Ha1::md5("Mufasa", "testrealm@host.com", "Circle Of Life");
        assert!(
            call.response(&ha1)
                .matches("6629fae49393a05397450978507c4ef1")
        );
        assert!(
            call.response(&ha1)
                .matches("6629FAE49393A05397450978507C4EF1")
        );
        assert!(
            !call
                .response(&ha1)
                .matches("6629fae49393a05397450978507c4ef0")
        );

        let nonce = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v";
        let cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";
        call.nonce = nonce;
        call.protection = Some(("00000001", cnonce, "auth"));
        let ha1 = Ha1::md5("Mufasa", "http-auth@example.org", "Circle of Life");
        assert!(
            call.response(&ha1)
                .matches("8ca523f5e9506fed4657c9700eebdbec")
        );
        call.algorithm = Algorithm::Sha256;
        let ha1 = Ha1::sha256("Mufasa", "http-auth@example.org", "Circle of Life");
        let expected = "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1";
        assert!(call.response(&ha1).matches(expected));
    }

    #[test]
    fn ha1_is_hex_outside_and_masked_in_debug() {
        let ha1 = Ha1::md5("u", "r", "p");
        let json = serde_json::to_string(&ha1).unwrap();
        assert_eq!(json.len(), 34);
        assert_eq!(serde_json::from_str::<Ha1>(&json).unwrap(), ha1);
        assert!(serde_json::from_str::<Ha1>("\"xyz\"").is_err());
        assert_eq!(format!("{ha1:?}"), "Ha1(********)");
    }
}
