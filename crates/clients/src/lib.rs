//! Clients of the internal services. A role holds `Arc<dyn DeviceState>` and
//! the like; in one process that is the service itself, between processes a
//! gRPC client ([`remote`]) of the other's server ([`serve`]), and the caller
//! can't tell.

mod access;
mod config;
mod deadline;
mod error;
mod methods;
pub mod metrics;
mod propagation;
pub mod remote;
pub mod serve;
mod services;
mod tls;
mod wire;

pub use access::{CertifiedRoles, ROLE_URI};
pub use config::{InternalConfig, InternalTlsConfig, PeersConfig};
pub use deadline::{deadline, with_deadline, within_deadline};
pub use error::{Error, Kind};
pub use methods::ServiceName;
pub use services::{ByteStream, DeviceState, EventStream, Files, Result, Wakeup, Workflow};
pub use tls::{Identity, IdentityError, IdentityPaths};
