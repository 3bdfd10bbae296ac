//! Errors of queries.

use hearth_clients::Error;

/// What a caller is told of a store's error; the cause is logged.
pub fn from_store(error: hearth_store::Error) -> Error {
    use hearth_store::Error as E;
    match error {
        E::Full => Error::unavailable("the server's disk is full; try again when there is room"),
        E::Unavailable(_) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "a query failed");
            Error::unavailable("the store can't be used now; try again later")
        }
        E::TooLarge(_) => Error::new(hearth_clients::Kind::InvalidArgument, error.to_string()),
        E::Damaged(_) => {
            tracing::error!(error = &error as &dyn std::error::Error, "a query failed");
            Error::internal("stored data can't be read; the server's log says which")
        }
    }
}

/// A sealed value can't be opened or made: the key file is another one, or data was changed.
pub fn from_seal(error: hearth_auth::SealError) -> Error {
    tracing::error!(
        error = &error as &dyn std::error::Error,
        "a secret can't be used"
    );
    Error::internal("a secret can't be opened or sealed; is the server's key file the right one?")
}
