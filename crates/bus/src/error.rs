//! What can go wrong, and whether trying again can help.

use std::sync::Arc;

/// The result of every operation of the bus.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of the bus. None of them means that a message was accepted.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// A payload is longer than the bus carries.
    #[error("a message of {len} bytes: at most {max} are possible")]
    TooLarge {
        /// The payload's length in bytes.
        len: usize,
        /// The limit in bytes.
        max: usize,
    },
    /// Consumers are so far behind that no more is taken.
    #[error("the bus is full: {backlog} bytes wait for consumers, {max} may")]
    Full {
        /// Bytes that wait.
        backlog: u64,
        /// The limit in bytes.
        max: u64,
    },
    /// The disk under the bus is full.
    #[error("the disk under the bus is full")]
    DiskFull,
    /// The bus can't write or read now. A published message's outcome is unknown.
    #[error("the bus is not available")]
    Unavailable(#[source] Arc<dyn std::error::Error + Send + Sync>),
    /// What is stored can't be read: damaged, or of a newer version.
    #[error("a stored message can't be read: {0}")]
    Corrupt(String),
    /// The bus is closed.
    #[error("the bus is closed")]
    Closed,
    /// There is no such dead letter or consumer.
    #[error("no such {0}")]
    NotFound(&'static str),
    /// A consumer's specification can't be used.
    #[error("{0}")]
    InvalidSpec(&'static str),
}

impl Error {
    /// Whether the same call can succeed later without anyone changing it.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(
            self,
            Self::Full { .. } | Self::DiskFull | Self::Unavailable(_)
        )
    }
}

impl From<hearth_engine::Error> for Error {
    fn from(error: hearth_engine::Error) -> Self {
        match error {
            hearth_engine::Error::DiskFull { .. } => Self::DiskFull,
            hearth_engine::Error::Closed => Self::Closed,
            other => Self::Unavailable(Arc::new(other)),
        }
    }
}
