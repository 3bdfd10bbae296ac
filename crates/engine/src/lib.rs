//! Hearth's embedded storage engine: one crash-safe key-value engine for one data directory.
//!
//! Everything that Hearth keeps on a bare machine (bus, store, ledger, files' index) lies in one
//! [`Engine`]. Callers see ordered [`Keyspace`]s and atomic [`WriteBatch`]es; nothing of the
//! library underneath (`fjall`) shows, so that no other crate depends on it.
//!
//! # Contract
//! - A commit that returned `Ok` MUST survive the death of the process and of the machine: it is
//!   on disk (fsync) before anyone is told.
//! - A batch MUST be applied whole or not at all, over all its keyspaces.
//! - Batches MUST be applied in the order in which they were submitted
//!   ([`Engine::submit`], and [`Engine::commit`] when there is room, enqueue at call time).
//! - Reads MUST see every commit that returned `Ok`, and SHOULD see nothing that isn't on disk.
//! - A commit that returned an error was not acknowledged. Its outcome is unknown when the error
//!   is [`Error::Io`] (it may be found after a restart); for every other error it was not applied.
//! - A full disk MUST NOT stop the engine for good: commits fail with [`Error::DiskFull`] while
//!   less than the reserve is free, and succeed again above it. After a failed write the engine
//!   reopens its files by itself.
//!
//! # Group commit
//! One thread drains the queue, writes all batches that wait as one journal entry, calls
//! `fdatasync` once, and wakes all callers. While it syncs, the next group gathers; a lone commit
//! is never delayed.

mod batch;
mod committer;
mod database;
mod engine;
mod error;
mod journal;
mod keyspace;
mod options;
mod queue;
mod repair;
mod scan;
mod stats;

pub use batch::WriteBatch;
pub use engine::{CommitTicket, Engine};
pub use error::{Error, Result};
pub use keyspace::Keyspace;
pub use options::{EngineOptions, KeyspaceOptions, SpaceProbe};
pub use scan::{Entry, Scan};
pub use stats::EngineStats;
