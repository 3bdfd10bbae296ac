//! Clients of the internal services. A role holds `Arc<dyn DeviceState>` and
//! the like; in one process that is the service itself, between processes a
//! gRPC client, and the caller can't tell.

mod error;
mod services;

pub use error::{Error, Kind};
pub use services::{ByteStream, DeviceState, EventStream, Files, Result, Wakeup, Workflow};
