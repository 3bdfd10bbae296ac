//! The one way in which Hearth serves HTTP: the CPE edge, files, the API and the admin port.
//!
//! [`HttpServer`] puts a tower service (an axum router, tonic's routes, or a hand-written one) on a
//! TCP listener. It accepts until told to stop, limits connections in total and by peer, closes
//! connections that stall, and drains within a bounded time. It may speak TLS, and take the peer's
//! real address from a proxy's header ([`proxy`]). [`read_body_limited`] is
//! how a handler reads a body from a stranger.

mod body;
mod conn;
mod handshake;
mod limits;
mod listen;
mod options;
pub mod proxy;
mod server;
mod stats;
mod watch;

pub use body::{BodyError, BodyLimits, read_body_limited};
pub use conn::{PeerAddr, TlsDetails, TlsInfo};
pub use handshake::HandshakeFailure;
pub use listen::{BindError, bind};
pub use options::{HttpOptions, TlsSource};
pub use proxy::{Proxied, ProxyOptions};
pub use server::HttpServer;
pub use stats::{HttpStats, HttpStatsSnapshot};
