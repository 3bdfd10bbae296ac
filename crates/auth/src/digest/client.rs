//! The client's side of Digest: answering a CPE that is asked to connect (TR-069 section 3.2.2).

use std::fmt::Write as _;

use crate::NoRandomness;
use crate::header::{Item, Items, quote};

use super::{Algorithm, Computation, Ha1, Hex};

/// One challenge of a 401.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Challenge {
    /// HTTP Digest.
    Digest(DigestChallenge),
    /// HTTP Basic, to be answered by policy only: it gives the password away.
    Basic {
        /// The realm.
        realm: String,
    },
}

/// The parameters of a Digest challenge.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DigestChallenge {
    /// The realm; empty when missing.
    pub realm: String,
    /// The server's nonce.
    pub nonce: String,
    /// To be sent back.
    pub opaque: Option<String>,
    /// The algorithm's name as sent; MD5 when missing.
    pub algorithm: Option<String>,
    /// The qop values offered as sent; RFC 2069 when missing.
    pub qop: Option<String>,
    /// The nonce was too old, the password right.
    pub stale: bool,
}

/// A challenge that can't be answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unanswerable {
    /// The algorithm is unknown.
    #[error("the device asks for the digest algorithm {0:?}, which is not supported")]
    Algorithm(String),
    /// Only other qop values than `auth` are offered.
    #[error("the device offers only the qop {0:?}; \"auth\" or none is supported")]
    Qop(String),
    /// No client nonce can be made.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
}

const SCHEMES: [&str; 5] = ["digest", "basic", "bearer", "negotiate", "ntlm"];

impl Challenge {
    /// Reads the values of all WWW-Authenticate headers of a response, in order. Challenges of
    /// other schemes are left out. Never fails.
    pub fn parse_all<'a>(values: impl IntoIterator<Item = &'a str>) -> Vec<Self> {
        let mut all = Vec::new();
        for value in values {
            // Without a scheme it is taken as Digest if it has a nonce: seen in the field.
            let mut scheme = String::from("digest");
            let mut named = false;
            let mut read = DigestChallenge::default();
            for item in Items::new(value) {
                match item {
                    Item::Word(word) => {
                        let word = word.to_ascii_lowercase();
                        // Other words are list members of a bare `qop=auth,auth-int`.
                        if SCHEMES.contains(&word.as_str()) {
                            all.extend(finish(&scheme, named, std::mem::take(&mut read)));
                            (scheme, named) = (word, true);
                        }
                    }
                    Item::Param(name, value) => read.set(name, &value),
                }
            }
            all.extend(finish(&scheme, named, read));
        }
        all
    }

    /// The first Digest challenge that can be answered.
    pub fn first_digest(all: &[Self]) -> Option<&DigestChallenge> {
        all.iter().find_map(|challenge| match challenge {
            Self::Digest(digest) if digest.method().is_ok() => Some(digest),
            _ => None,
        })
    }
}

fn finish(scheme: &str, named: bool, read: DigestChallenge) -> Option<Challenge> {
    match scheme {
        "digest" if !read.nonce.is_empty() => Some(Challenge::Digest(read)),
        "basic" if named => Some(Challenge::Basic { realm: read.realm }),
        _ => None,
    }
}

impl DigestChallenge {
    fn set(&mut self, name: &str, value: &str) {
        let value = value.to_owned();
        match name.to_ascii_lowercase().as_str() {
            "realm" => self.realm = value,
            "nonce" => self.nonce = value,
            "opaque" => self.opaque = Some(value),
            "algorithm" if !value.is_empty() => self.algorithm = Some(value),
            "qop" if !value.is_empty() => self.qop = Some(value),
            "stale" => self.stale = value.eq_ignore_ascii_case("true"),
            _ => {}
        }
    }

    /// The algorithm, and whether qop=auth is used.
    fn method(&self) -> Result<(Algorithm, bool), Unanswerable> {
        let name = self.algorithm.as_deref().unwrap_or("MD5");
        let algorithm =
            Algorithm::parse(name).ok_or_else(|| Unanswerable::Algorithm(name.to_owned()))?;
        let Some(offered) = &self.qop else {
            return Ok((algorithm, false));
        };
        let auth = offered
            .split([',', ' '])
            .any(|qop| qop.trim().eq_ignore_ascii_case("auth"));
        if auth {
            Ok((algorithm, true))
        } else {
            Err(Unanswerable::Qop(offered.clone()))
        }
    }

    /// The value of the Authorization header for a request, with a fresh client nonce. `counter`
    /// is how often this challenge's nonce was used, this time included: 1 at first.
    ///
    /// # Errors
    /// See [`Unanswerable`].
    pub fn authorization(
        &self,
        method: &str,
        uri: &str,
        username: &str,
        password: &str,
        counter: u32,
    ) -> Result<String, Unanswerable> {
        let mut cnonce = [0u8; 16];
        crate::random(&mut cnonce)?;
        let cnonce = Hex::of(&cnonce);
        self.authorization_with(method, uri, (username, password), counter, cnonce.as_str())
    }

    fn authorization_with(
        &self,
        method: &str,
        uri: &str,
        (username, password): (&str, &str),
        counter: u32,
        cnonce: &str,
    ) -> Result<String, Unanswerable> {
        let (algorithm, with_qop) = self.method()?;
        let nc = format!("{counter:08x}");
        let computation = Computation {
            algorithm,
            nonce: &self.nonce,
            protection: with_qop.then_some((nc.as_str(), cnonce, "auth")),
            cnonce,
            method,
            uri,
        };
        let ha1 = Ha1::new(algorithm, username, &self.realm, password);
        let response = computation.response(&ha1);
        let mut value = String::with_capacity(256);
        for (prefix, text) in [
            ("Digest username=", username),
            (", realm=", &self.realm),
            (", nonce=", &self.nonce),
            (", uri=", uri),
            (", response=", response.as_str()),
        ] {
            value.push_str(prefix);
            quote(&mut value, text);
        }
        if with_qop {
            let _ = write!(value, ", qop=auth, nc={nc}");
        }
        if with_qop || algorithm.is_session() {
            let _ = write!(value, ", cnonce=\"{cnonce}\"");
        }
        if let Some(opaque) = &self.opaque {
            value.push_str(", opaque=");
            quote(&mut value, opaque);
        }
        if self.algorithm.is_some() {
            let _ = write!(value, ", algorithm={algorithm}");
        }
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_rfc_2617_example_is_answered() {
        let header = "Digest realm=\"testrealm@host.com\", qop=\"auth,auth-int\", \
            nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\", opaque=\"5ccc069c403ebaf9f0171e9517f40e41\"";
        let all = Challenge::parse_all([header]);
        let challenge = Challenge::first_digest(&all).unwrap();
        let user = ("Mufasa", "Circle Of Life");
        let value = challenge
            .authorization_with("GET", "/dir/index.html", user, 1, "0a4f113b")
            .unwrap();
        assert_eq!(
            value,
            "Digest username=\"Mufasa\", realm=\"testrealm@host.com\", \
             nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\", uri=\"/dir/index.html\", \
             response=\"6629fae49393a05397450978507c4ef1\", qop=auth, nc=00000001, \
             cnonce=\"0a4f113b\", opaque=\"5ccc069c403ebaf9f0171e9517f40e41\""
        );
    }

    #[test]
    fn several_folded_and_bare_challenges() {
        let folded = "Digest realm=\"a\",\r\n\tnonce=n1,\n algorithm=SHA-512-256, \
                      Basic realm=\"b\", digest nonce=\"n2\" qop=auth,auth-int stale=TRUE";
        let all = Challenge::parse_all([folded, "Negotiate abc==", "realm=\"x\" nonce=\"n3\""]);
        assert_eq!(all.len(), 4, "{all:?}");
        assert!(matches!(&all[1], Challenge::Basic { realm } if realm == "b"));
        let chosen = Challenge::first_digest(&all).unwrap();
        assert_eq!(
            (chosen.nonce.as_str(), chosen.stale),
            ("n2", true),
            "SHA-512-256 is skipped"
        );
        let value = chosen.authorization("GET", "/", "u", "p", 1).unwrap();
        assert!(
            value.contains("qop=auth") && value.contains("nc=00000001"),
            "{value}"
        );
        assert!(matches!(&all[3], Challenge::Digest(digest) if digest.nonce == "n3"));
    }

    #[test]
    fn without_qop_there_is_no_counter() {
        let all = Challenge::parse_all(["Digest realm=\"r\", nonce=\"n\""]);
        let chosen = Challenge::first_digest(&all).unwrap();
        let value = chosen.authorization("GET", "/x", "u", "p", 1).unwrap();
        assert!(
            !value.contains("cnonce") && !value.contains("nc="),
            "{value}"
        );
        let only_int = Challenge::parse_all(["Digest realm=r, nonce=n, qop=auth-int"]);
        assert!(Challenge::first_digest(&only_int).is_none());
    }
}
