//! Who may do what at Hearth's edges, and how its secrets are kept.
//!
//! - [`digest`]: HTTP Digest (RFC 7616 and 2617), as server for CPEs and as client for connection
//!   requests (TR-069 sections 3.4.5 and 3.2.2); [`basic`]: HTTP Basic.
//! - [`seal`]: authenticated encryption for what travels (session cookies) and what rests
//!   (passwords in the ledger and the store).
//! - [`keys`]: the key file in the data directory, and the keys derived from it; [`keyring`]: its
//!   making and rotation; [`secret_file`]: files that hold secrets.
//! - [`password`], [`token`]: passwords of CPEs, tokens of the API.
//!
//! Nothing here prints a secret: Debug of every type that holds one is masked.

pub mod basic;
pub mod digest;
mod header;
pub mod keyring;
pub mod keys;
pub mod line_header;
pub mod password;
pub mod seal;
pub mod secret_file;
pub mod token;

pub use basic::BasicCredentials;
pub use digest::nonce::Nonces;
pub use digest::{
    Algorithm, Authorization, Challenge, DigestChallenge, DigestFailure, DigestOptions,
    DigestResponse, DigestServer, DigestVerified, Ha1, RequestTarget, UriMatch, VerifyWith,
};
pub use keys::{KEY_FILE, KeyError, SecretKeys, labels};
pub use password::generate_password;
pub use seal::{SealError, Sealer};
pub use secrecy::{ExposeSecret, SecretString};
pub use secret_file::SecretFileError;
pub use token::{ApiToken, TokenHash, load_or_create_token_file, load_token_file};

/// The operating system gave no random bytes; nothing secret can be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gives no random bytes")]
pub struct NoRandomness;

/// Fills `bytes` from the operating system's generator.
fn random(bytes: &mut [u8]) -> Result<(), NoRandomness> {
    aws_lc_rs::rand::fill(bytes).map_err(|_| NoRandomness)
}
