//! What Hearth remembers: devices, their parameters and history, an index to
//! find devices by, the ledger of tasks, and small documents. The contract
//! ([`Store`]), a suite that every backend must pass, and the backends.

#[cfg(feature = "conformance")]
pub mod conformance;
mod contract;
pub mod cql;
mod device;
pub mod embedded;
mod error;
mod merge;
mod task;

pub use contract::Store;
pub use cql::{CqlConfig, CqlStore};
pub use device::{
    Cell, CellValue, DeviceColumn, DeviceRow, HistoryQuery, HistoryRow, IndexEntry, IndexQuery,
    Mutation, ParameterCell, ParameterRow,
};
pub use embedded::EmbeddedStore;
pub use error::{Error, Result};
pub use task::{Created, Document, DocumentKind, TaskQuery, TaskRow};
