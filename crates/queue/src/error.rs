//! What goes wrong in a queue.

/// What a call to a queue brings.
pub type Result<T> = std::result::Result<T, Error>;

/// An error of a queue.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The queue can't be reached now; whether the call had its effect is not known. Calls may be
    /// made again.
    #[error("the task queue is unavailable")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The index of the device's bucket was lost and is not whole yet; the call changed nothing and
    /// may be made again in a moment.
    #[error("the task queue is being rebuilt from the ledger")]
    Rebuilding,
}

impl Error {
    /// Whether the same call may succeed later.
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Rebuilding)
    }
}
