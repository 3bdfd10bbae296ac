//! Errors of queries.

use hearth_clients::{Error, Kind};

/// A sealed value can't be opened or made: the key file is another one, or data was changed.
pub fn from_seal(error: hearth_auth::SealError) -> Error {
    tracing::error!(
        error = &error as &dyn std::error::Error,
        "a secret can't be used"
    );
    Error::internal("a secret can't be opened or sealed; is the server's key file the right one?")
}

/// What the bus could not do, in terms of a query about dead letters.
pub fn from_bus(error: hearth_bus::Error) -> Error {
    use hearth_bus::Error as Bus;
    match error {
        Bus::NotFound(_) => Error::not_found("there is no such dead letter"),
        Bus::Full { .. } | Bus::DiskFull => Error::new(Kind::ResourceExhausted, error.to_string()),
        Bus::Unavailable(_) | Bus::Closed => Error::unavailable(error.to_string()),
        Bus::Corrupt(_) | Bus::TooLarge { .. } | Bus::InvalidSpec(_) => {
            Error::internal(error.to_string())
        }
    }
}
