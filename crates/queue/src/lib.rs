//! The index of open tasks by device: which task a device is given next, and which session may be
//! given it.
//!
//! The ledger (`hearth-store`) is the record of tasks; a queue only orders the open ones and may be
//! lost at any moment: buckets of it that are gone are rebuilt from the ledger ([`Queue::suspects`],
//! [`Queue::restore`]). The contract is written at [`Queue`]; the suite in `conformance` (feature of the same name) runs it
//! against a backend.

#[cfg(feature = "conformance")]
pub mod conformance;
mod contract;
mod embedded;
mod error;
mod model;
mod redis;

pub use contract::Queue;
pub use embedded::EmbeddedQueue;
pub use error::{Error, Result};
pub use model::{
    Claim, Depth, Due, DueKind, Enqueue, Peek, Phase, Released, Removed, Session, Suspect,
};
pub use redis::{ConnectError, METRICS, RedisConfig, RedisQueue};
