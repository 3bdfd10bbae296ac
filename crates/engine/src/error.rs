//! What can go wrong, and whether trying again can help.

use std::path::PathBuf;
use std::sync::Arc;

/// The result of every operation of the engine.
pub type Result<T> = std::result::Result<T, Error>;

/// An error of the engine. Cheap to clone: one failed group answers many callers.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// Less than the reserve is free on the disk of the data directory. Nothing was written.
    #[error("the disk is full: {free} bytes are free, {reserve} are kept in reserve")]
    DiskFull {
        /// Bytes that were free when it was last measured.
        free: u64,
        /// Bytes that must be free before commits are accepted again.
        reserve: u64,
    },
    /// The operating system refused a read or write. The outcome of a commit is unknown.
    #[error("the data directory can't be read or written")]
    Io(#[source] Arc<std::io::Error>),
    /// The files are damaged, or written by a newer version.
    #[error("the stored data can't be used")]
    Storage(#[source] Arc<dyn std::error::Error + Send + Sync>),
    /// Another process has the directory open.
    #[error("the data directory {path} is in use by another process")]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// So much waits to be written that no more is taken. Nothing was written.
    #[error("too many writes are waiting")]
    Overloaded,
    /// The engine is closed or closing. Nothing was written.
    #[error("the engine is closed")]
    Closed,
    /// A key was empty or longer than 65,535 bytes. Nothing was written.
    #[error("a key of {len} bytes: 1 to 65535 are possible")]
    InvalidKey {
        /// The key's length.
        len: usize,
    },
    /// A value was longer than the engine stores. Nothing was written.
    #[error("a value of {len} bytes: at most {max} are possible")]
    ValueTooLarge {
        /// The value's length.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// A keyspace's name was empty or longer than 255 bytes.
    #[error("a keyspace's name has 1 to 255 bytes")]
    InvalidKeyspaceName,
    /// A batch names a keyspace of another engine.
    #[error("a batch belongs to one engine")]
    ForeignKeyspace,
}

impl Error {
    /// Whether the same call can succeed later without anyone changing it.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::DiskFull { .. } | Self::Io(_) | Self::Overloaded)
    }

    /// The outcome of a commit that failed so isn't known: it may be found after a restart.
    #[must_use]
    pub fn is_outcome_unknown(&self) -> bool {
        matches!(self, Self::Io(_))
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Self::Io(Arc::new(error))
    }
}

impl From<fjall::Error> for Error {
    fn from(error: fjall::Error) -> Self {
        match error {
            fjall::Error::Io(io) | fjall::Error::Storage(fjall::LsmError::Io(io)) => io.into(),
            // Set after an earlier write failed; the committer reopens and the next one works.
            fjall::Error::Poisoned => {
                std::io::Error::other("an earlier write failed; the files are being reopened")
                    .into()
            }
            other => Self::Storage(Arc::new(other)),
        }
    }
}
