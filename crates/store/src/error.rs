//! What goes wrong in a store.

use std::time::Duration;

use hearth_runtime::Seldom;

/// A store that is full or gone is told once in this time; each call is at debug level.
const TOLD_EVERY: Duration = Duration::from_secs(5);
static FULL: Seldom = Seldom::new(1, TOLD_EVERY);
static UNAVAILABLE: Seldom = Seldom::new(1, TOLD_EVERY);

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
    /// The ledger's row of this task is not the one before that which was to be written: somebody
    /// else has written it since it was read. Those before it in the call were written, those
    /// behind it were not. To be read and decided again.
    #[error("task {0} was changed by someone else meanwhile")]
    Conflict(hearth_types::TaskId),
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

/// What a caller of a service is told; the cause is logged here.
impl From<Error> for hearth_clients::Error {
    fn from(error: Error) -> Self {
        let cause = &error as &dyn std::error::Error;
        match &error {
            Error::Full => {
                if let Some(untold) = FULL.due() {
                    tracing::warn!(untold, "the store's disk is full: nothing more is taken");
                }
                Self::unavailable(
                    "the server's disk is full: nothing was changed; try again when there is room",
                )
            }
            Error::Unavailable(_) => {
                match UNAVAILABLE.due() {
                    Some(untold) => {
                        tracing::warn!(error = cause, untold, "the store can't be used")
                    }
                    None => tracing::debug!(error = cause, "the store can't be used"),
                }
                Self::unavailable("the store can't be used now; try again later")
            }
            Error::TooLarge(_) => {
                Self::new(hearth_clients::Kind::InvalidArgument, error.to_string())
            }
            Error::Conflict(_) => Self::unavailable(format!("{error}; try again")),
            Error::Damaged(_) => {
                tracing::error!(error = cause, "stored data can't be read");
                Self::internal("stored data can't be read; the server's log says which")
            }
        }
    }
}
