//! Asks devices to connect (TR-069 3.2.2): HTTP connection requests with
//! digest, to addresses that the operator allows only.
//!
//! [`WakeupService`] is the role; `guard` decides which addresses may be
//! asked; `request` speaks to the small and often broken HTTP servers of
//! devices.

mod answer;
mod config;
mod guard;
mod metrics;
mod request;
mod service;

pub use config::WakeupConfig;
pub use metrics::METRICS;
pub use service::WakeupService;
