//! Asks devices to connect: by HTTP and HTTPS (TR-069 3.2.2), by UDP through their NAT (Annex G),
//! by XMPP (Annex K). Hears their lightweight notifications (Annex M).
//!
//! [`WakeupService`] is the role as others see it: `ways` says which way is tried first, `attempt`
//! tries them, `record` keeps what came of it. `guard` decides which addresses may be asked;
//! `request` speaks to the small and often broken HTTP servers of devices; `stun` and `udp` are
//! one socket's two sides; `xmpp` is a component of the operator's server; `notify` listens.
//! [`WakeupRole`] runs the sockets.

mod answer;
mod attempt;
mod config;
mod guard;
mod metrics;
mod notify;
mod pace;
mod record;
mod request;
mod role;
mod service;
mod stun;
mod tls;
mod udp;
mod ways;
mod xmpp;

pub use config::{
    BasicPolicy, HttpsPolicy, NotificationConfig, StunConfig, WakeupConfig, XmppConfig,
};
pub use metrics::METRICS;
pub use role::{Sockets, WakeupRole};
pub use service::{Dependencies, StartError, WakeupService};
pub use udp::Siblings;
