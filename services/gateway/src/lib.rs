//! The CPE edge: HTTP/1.1, authentication, admission and CWMP sessions (TR-069 3).
//!
//! A gateway keeps nothing: a session travels in its sealed cookie, tasks are workflow's, events go
//! to the bus, and a CPE is told that it was heard only when the bus has the event on disk.
//!
//! A request's way, from file to file: `service` (the listener) → `edge` (who is it, what is it,
//! what does the session machine say) → `inform` for an Inform, `answer` for the CPE's other
//! requests, `turn` for empty POSTs and the CPE's answers. `outcome` and `request` map CWMP to the
//! house's contracts and back. What isn't served is a `refusal`.
//!
//! Decisions where TR-069 leaves room:
//! - A session is authenticated at its Inform; later turns need its cookie, or credentials each
//!   time ([`GatewayConfig::reauthenticate_every_turn`]). Credentials that are sent must be right
//!   at every turn; those of another user must be allowed for the session's device.
//! - A device that its credentials aren't for gets HTTP 403, not a fault: whoever sits there is not
//!   a CPE that can mend it.
//! - A turn of a superseded session gets HTTP 400 and the connection ends, as without a session.
//! - The cookie isn't cleared with the closing 204: a late TransferComplete of the same session is
//!   answered. It dies by silence; on an Inform it is ignored.

mod admission;
mod answer;
mod auth;
mod capture;
mod config;
mod cookie;
mod edge;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod heard;
mod http;
mod inform;
mod line;
mod listeners;
mod metrics;
mod noted;
mod outcome;
mod proof;
mod publish;
mod quirks;
mod redirect;
mod refusal;
mod request;
mod send;
mod service;
mod software;
mod timeline;
mod tls;
mod trace;
mod turn;
mod wishes;

pub use config::{AuthSchemes, GatewayConfig};
pub use listeners::{ListenAddresses, Listeners};
pub use metrics::METRICS;
pub use service::{Dependencies, Gateway, GatewayError};
pub use tls::config::{
    CertificateFiles, CertificateRule, ClientAuth, ModelCertificate, ServerName, TlsConfig,
    TlsVersion, TrustAnchor,
};
pub use tls::files::TlsError;
pub use tls::front::{LegacyConfig, ProxyConfig, RedirectRule};
