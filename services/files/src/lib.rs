//! Firmware and configuration files down to devices, logs and backups up from
//! them.
//!
//! [`FilesService`] keeps files: bytes as objects, metadata in the store.
//! [`FilesService::router`] serves them to devices over HTTP, each transfer
//! with a credential of its own (`ticket`).

mod catalog;
mod config;
mod http;
mod metrics;
mod objects;
mod service;
mod ticket;

pub use config::FilesConfig;
pub use metrics::METRICS;
pub use service::{FilesError, FilesService};
