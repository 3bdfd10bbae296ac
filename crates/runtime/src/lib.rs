//! What every Hearth process is made of: services with an ordered start, readiness and a bounded
//! drain ([`Runtime`]), the [`Clock`], a cache whose entries end ([`Expiring`]), pauses between tries
//! ([`backoff`]), telling seldom what happens often ([`Seldom`]), and the one way to serve HTTP
//! ([`http`]).
//!
//! Nothing here is global. A process builds its [`Runtime`], hands each [`Service`] what it needs,
//! and runs it; a test does the same with a [`ManualClock`] and a [`Shutdown`] of its own.

pub mod backoff;
pub mod clock;
mod expiring;
pub mod http;
pub mod readiness;
mod seldom;
pub mod service;
pub mod shutdown;
pub mod supervisor;

pub use backoff::{Backoff, Patience};
pub use clock::{Clock, ManualClock, SystemClock};
pub use expiring::Expiring;
pub use readiness::{Readiness, ReadinessReporter, ServiceReadiness, ServiceState};
pub use seldom::Seldom;
pub use service::{BoxError, FnService, Service, ServiceContext};
pub use shutdown::Shutdown;
pub use supervisor::{Runtime, RuntimeError, RuntimeOptions};
pub use tokio_util::sync::CancellationToken;
