//! The server's side of Digest: challenges and their verification.

use std::fmt::Write as _;
use std::time::Duration;

use hearth_types::Timestamp;

use crate::NoRandomness;
use crate::header::quote;

use super::nonce::Nonces;
use super::replay::Replays;
use super::response::{DigestResponse, Qop};
use super::{Algorithm, Computation, Ha1};

/// Settings of a [`DigestServer`].
#[derive(Debug, Clone)]
pub struct DigestOptions {
    /// The realm; stored HA1 values are bound to it.
    pub realm: String,
    /// How long a nonce can be used. Without qop this is also how long a captured response can
    /// be repeated.
    pub nonce_lifetime: Duration,
    /// The algorithms offered, best first; a challenge for each. Many CPEs give up at a first
    /// challenge that they don't know: MD5 alone is the safe choice for them.
    pub algorithms: Vec<Algorithm>,
    /// Take responses without qop (RFC 2069), as old CPEs send them.
    pub allow_without_qop: bool,
    /// Which `uri` parameters are taken.
    pub uri_match: UriMatch,
    /// How many used responses are remembered, about 16 bytes each.
    pub replay_capacity: usize,
}

impl DigestOptions {
    /// The defaults for CPEs: MD5, five minutes, RFC 2069 allowed, lenient targets.
    pub fn new(realm: impl Into<String>) -> Self {
        Self {
            realm: realm.into(),
            nonce_lifetime: Duration::from_secs(300),
            algorithms: vec![Algorithm::Md5],
            allow_without_qop: true,
            uri_match: UriMatch::Lenient,
            replay_capacity: 1 << 20,
        }
    }
}

/// How the `uri` parameter must fit the request's target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UriMatch {
    /// Equal, or an absolute URI with that target.
    Strict,
    /// Also another query, or the path `/`, or nothing: CPEs were seen to hash `/` or the
    /// absolute ACS URL whatever they ask for. A captured response can then be used for another
    /// target of the same server, but still only once.
    #[default]
    Lenient,
}

/// The request that a response belongs to.
#[derive(Debug, Clone, Copy)]
pub struct RequestTarget<'a> {
    /// The method, e.g. `POST`.
    pub method: &'a str,
    /// Path and query as received.
    pub uri: &'a str,
}

/// What the server knows to verify a response with.
#[derive(Clone, Copy)]
pub enum VerifyWith<'a> {
    /// HA1 for each hash, made for the server's realm.
    Ha1 {
        /// With MD5.
        md5: &'a Ha1,
        /// With SHA-256, if it was made.
        sha256: Option<&'a Ha1>,
    },
    /// The password itself.
    Password(&'a str),
}

impl std::fmt::Debug for VerifyWith<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Ha1 { .. } => "Ha1(********)",
            Self::Password(_) => "Password(********)",
        })
    }
}

/// What a verified response was like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DigestVerified {
    /// The algorithm used.
    pub algorithm: Algorithm,
    /// Whether the response was protected against repetition (qop=auth).
    pub with_qop: bool,
    /// Whether its `uri` was exactly the request's target.
    pub exact_uri: bool,
}

/// Why a response is refused. All are answered with 401 and fresh challenges; `stale=true`
/// ([`DigestFailure::is_stale`]) tells the client that its password was right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DigestFailure {
    /// The proof is right, but the nonce is expired, unknown or used up.
    #[error("the nonce is stale")]
    Stale,
    /// The proof is wrong: wrong user, password or realm.
    #[error("the response does not match the password")]
    WrongResponse,
    /// A parameter is missing or not readable.
    #[error("the parameter {0} is missing or malformed")]
    Malformed(&'static str),
    /// Hashed for another realm.
    #[error("the realm is not this server's")]
    WrongRealm,
    /// An algorithm that was not offered or has no stored hash.
    #[error("the algorithm was not offered")]
    Algorithm,
    /// A qop that was not offered, or none where one is needed.
    #[error("the qop was not offered")]
    Qop,
    /// Hashed for another target.
    #[error("the uri is not the request's target")]
    WrongUri,
}

impl DigestFailure {
    /// Whether the next challenge should say `stale=true`.
    pub fn is_stale(self) -> bool {
        self == Self::Stale
    }
}

/// Challenges clients and verifies their responses. Shared by all connections.
#[derive(Debug)]
pub struct DigestServer {
    options: DigestOptions,
    nonces: Nonces,
    replays: Replays,
}

impl DigestServer {
    /// A server with these nonces ([`crate::SecretKeys::digest_nonces`]).
    pub fn new(nonces: Nonces, options: DigestOptions) -> Self {
        let replays = Replays::new(options.replay_capacity, options.nonce_lifetime);
        Self {
            options,
            nonces,
            replays,
        }
    }

    /// The realm.
    pub fn realm(&self) -> &str {
        &self.options.realm
    }

    /// The values of the WWW-Authenticate headers of a 401, best algorithm first.
    ///
    /// # Errors
    /// [`NoRandomness`].
    pub fn challenges(&self, now: Timestamp, stale: bool) -> Result<Vec<String>, NoRandomness> {
        let nonce = self.nonces.make(now)?;
        let challenge = |algorithm: &Algorithm| {
            let mut value = String::with_capacity(128);
            value.push_str("Digest realm=");
            quote(&mut value, &self.options.realm);
            let _ = write!(
                value,
                ", nonce=\"{nonce}\", algorithm={algorithm}, qop=\"auth\""
            );
            if stale {
                value.push_str(", stale=true");
            }
            value
        };
        Ok(self.options.algorithms.iter().map(challenge).collect())
    }

    /// Verifies a response to one of our challenges, and uses it up.
    ///
    /// # Errors
    /// See [`DigestFailure`].
    pub fn verify(
        &self,
        request: RequestTarget<'_>,
        response: &DigestResponse<'_>,
        stored: VerifyWith<'_>,
        now: Timestamp,
    ) -> Result<DigestVerified, DigestFailure> {
        let algorithm = self.check_algorithm(response)?;
        let counter = self.check_protection(response)?;
        let exact_uri = self.check_uri(request.uri, &response.uri)?;
        self.check_proof(
            algorithm,
            counter.is_some(),
            request.method,
            response,
            stored,
        )?;
        // Only who knows the password learns whether a nonce is stale (RFC 7616 section 3.3), and
        // only they can put anything into the memory of used responses.
        self.check_nonce(response, counter, now)?;
        Ok(DigestVerified {
            algorithm,
            with_qop: counter.is_some(),
            exact_uri,
        })
    }

    fn check_algorithm(&self, response: &DigestResponse<'_>) -> Result<Algorithm, DigestFailure> {
        let algorithm = response.algorithm().ok_or(DigestFailure::Algorithm)?;
        let offered = self
            .options
            .algorithms
            .iter()
            .any(|offer| offer.base() == algorithm.base());
        if offered {
            Ok(algorithm)
        } else {
            Err(DigestFailure::Algorithm)
        }
    }

    /// The counter, with qop.
    fn check_protection(
        &self,
        response: &DigestResponse<'_>,
    ) -> Result<Option<u32>, DigestFailure> {
        match response.qop() {
            Qop::None if self.options.allow_without_qop => Ok(None),
            Qop::None | Qop::Other => Err(DigestFailure::Qop),
            Qop::Auth => {
                let counter = u32::from_str_radix(response.nc.trim(), 16)
                    .map_err(|_| DigestFailure::Malformed("nc"))?;
                if response.cnonce.is_empty() {
                    return Err(DigestFailure::Malformed("cnonce"));
                }
                Ok(Some(counter))
            }
        }
    }

    fn check_uri(&self, target: &str, hashed: &str) -> Result<bool, DigestFailure> {
        if hashed == target {
            return Ok(true);
        }
        let hashed = without_authority(hashed);
        if hashed == target {
            return Ok(false);
        }
        let path = |uri: &str| uri.split(['?', '#']).next().unwrap_or_default().to_owned();
        let tolerated = matches!(hashed, "" | "/" | "*") || path(hashed) == path(target);
        if self.options.uri_match == UriMatch::Lenient && tolerated {
            Ok(false)
        } else {
            Err(DigestFailure::WrongUri)
        }
    }

    fn check_proof(
        &self,
        algorithm: Algorithm,
        with_qop: bool,
        method: &str,
        response: &DigestResponse<'_>,
        stored: VerifyWith<'_>,
    ) -> Result<(), DigestFailure> {
        let realm = &self.options.realm;
        if !response.realm.is_empty() && response.realm != *realm {
            return Err(DigestFailure::WrongRealm);
        }
        let made;
        let ha1 = match (stored, algorithm.base()) {
            (VerifyWith::Password(password), _) => {
                made = Ha1::new(algorithm, &response.username, realm, password);
                &made
            }
            (VerifyWith::Ha1 { md5, .. }, Algorithm::Md5) => md5,
            (VerifyWith::Ha1 { sha256, .. }, _) => sha256.ok_or(DigestFailure::Algorithm)?,
        };
        let computation = Computation {
            algorithm,
            nonce: &response.nonce,
            protection: with_qop.then_some((
                response.nc.as_ref(),
                response.cnonce.as_ref(),
                response.qop.as_ref(),
            )),
            cnonce: &response.cnonce,
            method,
            uri: &response.uri,
        };
        if computation.response(ha1).matches(&response.response) {
            Ok(())
        } else {
            Err(DigestFailure::WrongResponse)
        }
    }

    fn check_nonce(
        &self,
        response: &DigestResponse<'_>,
        counter: Option<u32>,
        now: Timestamp,
    ) -> Result<(), DigestFailure> {
        let made = self
            .nonces
            .made_at(&response.nonce)
            .ok_or(DigestFailure::Stale)?;
        let lifetime = self.options.nonce_lifetime;
        // Also when the clock was set back, or another replica's is ahead, by so much.
        if now.saturating_since(made) > lifetime || made.saturating_since(now) > lifetime {
            return Err(DigestFailure::Stale);
        }
        match counter {
            Some(nc)
                if !self
                    .replays
                    .first_use(&response.nonce, made, &response.cnonce, nc, now) =>
            {
                Err(DigestFailure::Stale)
            }
            _ => Ok(()),
        }
    }
}

/// The path and query of an absolute URI; the text itself when it isn't one.
fn without_authority(uri: &str) -> &str {
    let Some((scheme, rest)) = uri.split_once("://") else {
        return uri;
    };
    if !scheme.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return uri;
    }
    rest.find(['/', '?']).map_or("/", |start| &rest[start..])
}
