//! Which certificate a request comes with: its connection's, or one that a proxy passes on.

use std::net::IpAddr;
use std::sync::Arc;

use hearth_config::CidrList;
use hearth_runtime::Clock;
use hearth_runtime::http::{PeerAddr, Proxied, TlsInfo};
use hearth_types::TenantId;
use http::HeaderName;
use http::request::Parts;
use quick_cache::sync::Cache;
use sha2::{Digest, Sha256};

use super::config::{CertificateRule, ClientAuth, ServerName, TlsConfig};
use super::forwarded;
use super::front::ProxyConfig;
use super::identity::Models;
use super::source::Tls;
use crate::proof::{Certificate, Proof};
use crate::refusal::Refusal;

/// Certificates that were passed on and are known: a session brings the same one at every turn.
const CACHED: usize = 4096;
/// How long one is known, in µs: it may expire meanwhile.
const CACHED_FOR: i64 = 60_000_000;

/// What was found of a certificate that was passed on.
#[derive(Clone)]
struct Known {
    generation: u64,
    at: i64,
    certificate: Arc<Certificate>,
}

/// Reads what a request's connection proves.
pub(crate) struct Door {
    tls: Option<Arc<Tls>>,
    models: Models,
    rule: CertificateRule,
    client_auth: ClientAuth,
    header: Option<HeaderName>,
    header_from: CidrList,
    trust_proxy: bool,
    names: Vec<ServerName>,
    known: Cache<[u8; 32], Known>,
    clock: Arc<dyn Clock>,
}

/// What a connection's certificate was found to be, kept with the connection.
type Judged = Result<Arc<Certificate>, String>;

impl Door {
    pub(crate) fn new(
        tls: Option<Arc<Tls>>,
        config: &TlsConfig,
        proxy: &ProxyConfig,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let header = &proxy.certificate_header;
        Self {
            tls,
            models: Models::new(&config.model_certificates),
            rule: config.client_certificate,
            client_auth: config.client_auth,
            // An unusable name is refused at start.
            header: HeaderName::try_from(header.as_str()).ok(),
            header_from: proxy.certificate_networks.clone(),
            trust_proxy: proxy.trust_tls,
            names: config.server_names.clone(),
            known: Cache::new(CACHED),
            clock,
        }
    }

    /// What a request proves before its credentials are looked at.
    ///
    /// # Errors
    /// [`Refusal::Certificate`] for a certificate that isn't good (any more), and
    /// [`Refusal::ForwardedCertificate`] for one from who may not pass any on.
    pub(crate) fn proof(&self, parts: &Parts) -> Result<Proof, Refusal> {
        let proxied = parts.extensions.get::<Proxied>();
        let tls = parts.extensions.get::<TlsInfo>();
        let by_header = self.header_peer(parts);
        let told = proxied.filter(|_| self.trust_proxy);
        let told = told.and_then(|proxied| proxied.0.header.tls.as_ref());
        let certificate = match (self.forwarded(parts)?, tls) {
            (Some(certificate), _) => Some(certificate),
            (None, Some(tls)) => self.shown(tls)?,
            (None, None) => told
                .filter(|told| told.verified)
                .and_then(|told| told.common_name.as_deref())
                .map(|name| Arc::new(self.models.by_common_name(name))),
        };
        let over_tls = tls.is_some() || by_header || told.is_some();
        Ok(Proof {
            user: None,
            certificate,
            certificate_beside: over_tls && self.rule == CertificateRule::RequiredBeside,
            ..Proof::default()
        })
    }

    /// The certificate of the request's own TLS connection.
    fn shown(&self, tls: &TlsInfo) -> Result<Option<Arc<Certificate>>, Refusal> {
        let details = &*tls.0;
        if details.peer_certificates.is_empty() {
            // Resumed from before certificates were required.
            return match self.client_auth {
                ClientAuth::Required => Err(Refusal::Certificate(
                    "a client certificate is needed".to_owned(),
                )),
                _ => Ok(None),
            };
        }
        let judged = details.memo.get_or_init(|| {
            let judged: Judged = match &self.tls {
                // A ticket outlives a revocation: what was verified long ago is verified again.
                Some(tls) => tls
                    .judge(&details.peer_certificates, !details.resumed)
                    .map(Arc::new),
                None => Err("there are no trust anchors".to_owned()),
            };
            Arc::new(judged)
        });
        match judged.downcast_ref::<Judged>() {
            Some(Ok(certificate)) => Ok(Some(certificate.clone())),
            Some(Err(why)) => Err(Refusal::Certificate(why.clone())),
            None => Ok(None),
        }
    }

    /// Whether the TCP connection comes from who may pass certificates on.
    fn header_peer(&self, parts: &Parts) -> bool {
        self.header.is_some()
            && tcp_peer(parts).is_some_and(|address| self.header_from.contains(address))
    }

    /// The certificate that a proxy passes on.
    fn forwarded(&self, parts: &Parts) -> Result<Option<Arc<Certificate>>, Refusal> {
        let Some(name) = &self.header else {
            return Ok(None);
        };
        let mut values = parts.headers.get_all(name).iter();
        let Some(value) = values.next() else {
            return Ok(None);
        };
        if !self.header_peer(parts) || values.next().is_some() {
            return Err(Refusal::ForwardedCertificate);
        }
        let bad = |why: &str| Refusal::Certificate(format!("passed on: {why}"));
        let Some(tls) = &self.tls else {
            return Err(bad("there are no trust anchors"));
        };
        let (key, now) = (Sha256::digest(value).into(), self.clock.now_micros());
        let generation = tls.current().generation;
        let known = self.known.get(&key).filter(|known| {
            known.generation == generation && (0..CACHED_FOR).contains(&(now - known.at))
        });
        if let Some(known) = known {
            return Ok(Some(known.certificate));
        }
        let value = value.to_str().map_err(|_| bad("it is not text"))?;
        let chain = forwarded::chain(value).map_err(bad)?;
        if chain.is_empty() {
            return Ok(None);
        }
        let certificate = tls.judge(&chain, false).map_err(|why| bad(&why))?;
        let certificate = Arc::new(certificate);
        let known = Known {
            generation,
            at: now,
            certificate: certificate.clone(),
        };
        self.known.insert(key, known);
        Ok(Some(certificate))
    }

    /// Whose the server name is that the device asked for, if it is somebody's.
    pub(crate) fn tenant(&self, parts: &Parts) -> Option<&TenantId> {
        if self.names.is_empty() {
            return None;
        }
        let shown = parts.extensions.get::<TlsInfo>();
        let shown = shown.and_then(|tls| tls.0.server_name.as_deref());
        let told = || {
            let proxied = parts.extensions.get::<Proxied>();
            let header = proxied.filter(|_| self.trust_proxy).map(|by| &by.0.header);
            header?.authority.as_deref()
        };
        let asked = shown.or_else(told)?;
        let named = self
            .names
            .iter()
            .find(|of| of.name.eq_ignore_ascii_case(asked));
        named.map(|of| &of.tenant)
    }
}

/// Who the TCP connection is from.
fn tcp_peer(parts: &Parts) -> Option<IpAddr> {
    match parts.extensions.get::<Proxied>() {
        Some(proxied) => Some(proxied.0.proxy.ip()),
        None => parts.extensions.get::<PeerAddr>().map(|peer| peer.0.ip()),
    }
}
