//! What goes wrong in a store.

/// What a call to a store brings.
pub type Result<T> = std::result::Result<T, Error>;

/// An error of a store.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no room; nothing of the call was kept. Later it may go.
    #[error("the store's disk is full")]
    Full,
    /// The store can't be used now; whether the call was kept is not known.
    /// Calls are idempotent, so that it may be made again.
    #[error("the store is unavailable")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A key or value is larger than the store keeps; nothing of the call was
    /// kept, and it never will be.
    #[error("the store can't keep this: {0}")]
    TooLarge(String),
    /// What was read is not what was written.
    #[error("the store holds damaged data: {0}")]
    Damaged(String),
}

impl Error {
    /// Whether the same call may succeed later.
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Full | Self::Unavailable(_))
    }
}
