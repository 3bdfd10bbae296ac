//! Errors of queries.

use hearth_clients::Error;

/// A sealed value can't be opened or made: the key file is another one, or data was changed.
pub fn from_seal(error: hearth_auth::SealError) -> Error {
    tracing::error!(
        error = &error as &dyn std::error::Error,
        "a secret can't be used"
    );
    Error::internal("a secret can't be opened or sealed; is the server's key file the right one?")
}
