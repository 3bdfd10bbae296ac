//! Which requests were refused, so that somebody can be told why a device doesn't connect: put
//! together here by whom they concern, and told to device-state a few at a time.
//!
//! Nothing waits for it, and nobody is refused because of it. Whatever comes, it takes a fixed
//! amount of memory ([`table`]) and a fixed number of calls ([`tell`]).

mod silent;
mod table;
mod tell;

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};

use hearth_auth::Authorization;
use hearth_clients::DeviceState;
use hearth_runtime::http::TlsInfo;
use hearth_telemetry::{MetricError, Registry, for_log_capped};
use hearth_types::TenantId;
use http::header;
use http::request::Parts;
use parking_lot::Mutex;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::cookie::Found;
use crate::edge::{Edge, Turn};
use crate::proof::Proof;
use crate::refusal::Refusal;
use silent::Silent;
use table::{Refused, Table};
pub(crate) use tell::{METRICS, tell};

/// The device of a request, once its Inform was read.
pub(crate) type Whose = Arc<OnceLock<String>>;

/// The longest name and detail that are kept, in bytes.
const MAX_TEXT: usize = 256;

/// Refusals that are not told yet.
pub(crate) struct Noted {
    table: Mutex<Table>,
    silent: Silent,
    device_state: Arc<dyn DeviceState>,
    metrics: tell::Metrics,
}

impl Noted {
    pub(crate) fn new(
        device_state: Arc<dyn DeviceState>,
        registry: &Registry,
    ) -> Result<Self, MetricError> {
        Ok(Self {
            table: Mutex::default(),
            silent: Silent::default(),
            device_state,
            metrics: tell::Metrics::new(registry)?,
        })
    }

    /// A request was served: whoever is at this address knows how to prove who it is.
    pub(crate) fn served(&self, peer: Option<SocketAddr>) {
        if let Some(peer) = peer {
            self.silent.served(canonical(peer));
        }
    }

    fn note(&self, refused: Refused, now: i64) {
        if !self.table.lock().note(refused, now) {
            self.metrics.left_out.inc();
        }
    }
}

fn canonical(peer: SocketAddr) -> IpAddr {
    peer.ip().to_canonical()
}

impl Edge {
    /// Remembers a refusal. Answers how many requests without credentials came from an address that
    /// never sends any, where that is to be said.
    pub(crate) fn remember(
        &self,
        refusal: &Refusal,
        parts: &Parts,
        peer: Option<SocketAddr>,
        now: i64,
        whose: &Whose,
    ) -> Option<u32> {
        let address = peer.map(canonical);
        let mut asked = None;
        let reason = match refusal {
            Refusal::Unauthorized {
                reason: "missing", ..
            } => {
                // How every session begins, unless nothing else follows.
                asked = Some(self.noted.silent.asked(address?, now)?);
                "no_credentials"
            }
            Refusal::Unauthorized {
                reason: "stale_nonce",
                ..
            }
            | Refusal::Method
            | Refusal::Path
            | Refusal::Disconnected
            | Refusal::Superseded => return None,
            other => other.reason(),
        };
        let named = self.door.tenant(parts);
        let tenant = match crate::http::tenant(parts, &self.default_tenant, named) {
            Ok(tenant) => tenant,
            Err(_) => named?.clone(),
        };
        let device = match whose.get() {
            Some(device) => device.clone(),
            None => self.device_of_session(parts, &tenant, now),
        };
        let detail = match refusal {
            Refusal::Unauthorized { .. } => "",
            other => other.detail(),
        };
        let refused = Refused {
            tenant,
            device,
            user: cut(&claimed_user(parts)),
            certificate: cut(&subject(parts)),
            address,
            reason,
            status: refusal.status().as_u16(),
            fault: 0,
            detail: for_log_capped(detail, MAX_TEXT).to_string(),
            count: u64::from(asked.unwrap_or(1)),
        };
        self.noted.note(refused, now);
        asked
    }

    /// The device of a request in mid-session.
    fn device_of_session(&self, parts: &Parts, tenant: &TenantId, now: i64) -> String {
        match self.cookies.find(&parts.headers, tenant, now) {
            Found::Live(session) => session.device,
            _ => String::new(),
        }
    }
}

impl Turn {
    /// Remembers that an Inform was answered by a fault.
    pub(crate) fn remember_fault(&self, fault: &hearth_cwmp::Fault, proof: &Proof) {
        let said = fault.string.as_deref().unwrap_or_default();
        let refused = Refused {
            tenant: self.tenant.clone(),
            device: self.whose.get().cloned().unwrap_or_default(),
            user: cut(proof.user.as_deref().unwrap_or_default()),
            certificate: String::new(),
            address: self.peer.map(canonical),
            reason: "inform_fault",
            status: 200,
            fault: fault.code.0,
            detail: for_log_capped(said, MAX_TEXT).to_string(),
            count: 1,
        };
        self.edge.noted.note(refused, self.now);
    }
}

/// The user name of a request's Authorization; nothing else of it.
fn claimed_user(parts: &Parts) -> String {
    let Some(value) = parts.headers.get(header::AUTHORIZATION) else {
        return String::new();
    };
    let value = String::from_utf8_lossy(value.as_bytes());
    let claim = Authorization::parse(&value);
    claim.username().unwrap_or_default().to_owned()
}

/// The subject of the connection's client certificate, verified or not.
fn subject(parts: &Parts) -> String {
    let shown = parts.extensions.get::<TlsInfo>();
    let leaf = shown.and_then(|tls| tls.0.peer_certificates.first());
    let parsed = leaf.and_then(|leaf| X509Certificate::from_der(leaf).ok());
    parsed.map_or_else(String::new, |(_, parsed)| parsed.subject().to_string())
}

/// Without what would spoil a terminal, and not too long.
fn cut(text: &str) -> String {
    for_log_capped(text, MAX_TEXT).to_string()
}
