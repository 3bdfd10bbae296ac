//! TLS as its files say now: they are looked at again and again, and what can't be used changes
//! nothing.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use hearth_auth::{KeyError, SecretKeys, labels};
use hearth_runtime::{CancellationToken, Clock};
use hearth_telemetry::{GaugeVec, IntCounter};
use hearth_types::DeviceId;
use parking_lot::{Mutex, RwLock};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{
    ClientHello, NoServerSessionStorage, ProducesTickets, ResolvesServerCert, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::time_provider::TimeProvider;
use rustls::{RootCertStore, ServerConfig};

use super::config::{ClientAuth, TlsConfig, TlsVersion};
use super::files::{Expiry, Files, Material, ServerCertificate, TlsError};
use super::identity::Models;
use super::tickets::Tickets;
use crate::proof::{Certificate, Subject};

/// TLS as it is now; follows its files.
pub(crate) struct Tls {
    config: TlsConfig,
    provider: Arc<CryptoProvider>,
    clock: Arc<dyn Clock>,
    tickets: Option<Arc<dyn ProducesTickets>>,
    models: Models,
    current: RwLock<Arc<Current>>,
    /// Of the files as they were last seen, good or not.
    seen: Mutex<[u8; 32]>,
}

/// What the files held when they were last good.
pub(crate) struct Current {
    /// For connections from now; `None` without a certificate.
    server: Option<Arc<ServerConfig>>,
    anchors: Vec<Anchor>,
    expiries: Vec<Expiry>,
    /// Grows with every change.
    pub generation: u64,
}

/// A file of trust anchors.
struct Anchor {
    verifier: Arc<dyn ClientCertVerifier>,
    /// None: all.
    ouis: Vec<String>,
}

/// What following the files counts and shows.
pub(crate) struct Followed {
    pub changed: IntCounter,
    pub failed: IntCounter,
    pub expires: GaugeVec,
}

impl Tls {
    /// Reads the files; `None` when the settings name none.
    ///
    /// # Errors
    /// See [`TlsError`] and [`KeyError`]; each says which setting.
    pub(crate) fn load(
        config: &TlsConfig,
        keys: &SecretKeys,
        clock: Arc<dyn Clock>,
    ) -> Result<Option<Self>, TlsError> {
        if config.listen.is_none() && config.trust_anchors.is_empty() {
            return Ok(None);
        }
        let mut config = config.clone();
        if config.listen.is_none() {
            // Not needed, so not read.
            config.certificates.clear();
        }
        let tickets: Option<Arc<dyn ProducesTickets>> = match config.session_tickets {
            true => {
                let sealer = keys
                    .sealer(labels::TLS_TICKET)
                    .map_err(|error| match error {
                        KeyError::Seal(error) => TlsError::Tickets(error),
                        error => TlsError::Refused(error.to_string()),
                    })?;
                let lifetime = config.ticket_lifetime.get();
                Some(Arc::new(Tickets::new(sealer, clock.clone(), lifetime)))
            }
            false => None,
        };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let files = Files::read(&config);
        let seen = Mutex::new(files.digest());
        let material = files.into_material(&config, &provider)?;
        let maker = Maker {
            config: &config,
            provider: &provider,
            clock: &clock,
            tickets: tickets.as_ref(),
        };
        let current = RwLock::new(Arc::new(maker.make(material, 1)?));
        Ok(Some(Self {
            models: Models::new(&config.model_certificates),
            config,
            provider,
            clock,
            tickets,
            current,
            seen,
        }))
    }

    /// What the files hold now.
    pub(crate) fn current(&self) -> Arc<Current> {
        self.current.read().clone()
    }

    /// For the connections from now.
    pub(crate) fn server_config(&self) -> Option<Arc<ServerConfig>> {
        self.current.read().server.clone()
    }

    /// Looks at the files; says whether anything changed. What was in force stays so on an error,
    /// which is told once for the same content.
    ///
    /// # Errors
    /// See [`TlsError`].
    pub(crate) fn reload(&self) -> Result<bool, TlsError> {
        let files = Files::read(&self.config);
        let digest = files.digest();
        if std::mem::replace(&mut *self.seen.lock(), digest) == digest {
            return Ok(false);
        }
        let material = files.into_material(&self.config, &self.provider)?;
        let maker = Maker {
            config: &self.config,
            provider: &self.provider,
            clock: &self.clock,
            tickets: self.tickets.as_ref(),
        };
        let generation = self.current().generation + 1;
        let new = Arc::new(maker.make(material, generation)?);
        *self.current.write() = new;
        Ok(true)
    }

    /// Follows the files until `stop`, at intervals and at each SIGHUP.
    pub(crate) async fn follow(self: Arc<Self>, followed: Followed, stop: CancellationToken) {
        use tokio::signal::unix::{SignalKind, signal};
        // Without it there are still the intervals.
        let mut hangup = signal(SignalKind::hangup()).ok();
        let every = self
            .config
            .reload_interval
            .get()
            .max(Duration::from_millis(10));
        loop {
            self.show(&followed.expires);
            let hung_up = async {
                match &mut hangup {
                    Some(signal) => drop(signal.recv().await),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(every) => {}
                () = hung_up => {}
            }
            let this = self.clone();
            match tokio::task::spawn_blocking(move || this.reload()).await {
                Ok(Ok(true)) => {
                    followed.changed.inc();
                    tracing::info!(
                        "certificates, trust anchors and revocation lists for devices were read again"
                    );
                }
                Ok(Err(error)) => {
                    followed.failed.inc();
                    let cause = std::error::Error::source(&error).map(ToString::to_string);
                    tracing::warn!(%error, cause, "changed certificates can't be used; the old ones stay in force");
                }
                _ => {}
            }
        }
    }

    /// Shows when everything ends.
    fn show(&self, expires: &GaugeVec) {
        let now = self.clock.now_micros() / 1_000_000;
        expires.reset();
        let current = self.current();
        // Of two with one name, what ends first.
        let mut sorted: Vec<&Expiry> = current.expiries.iter().collect();
        sorted.sort_by_key(|expiry| std::cmp::Reverse(expiry.not_after));
        for expiry in sorted {
            #[allow(clippy::cast_precision_loss)]
            let seconds = (expiry.not_after - now) as f64;
            expires
                .with_label_values(&[expiry.kind, &expiry.name])
                .set(seconds);
        }
    }

    /// What a chain proves, leaf first. `fresh`: the handshake has just verified it.
    ///
    /// # Errors
    /// Why it proves nothing, for the log.
    pub(crate) fn judge(
        &self,
        chain: &[CertificateDer<'static>],
        fresh: bool,
    ) -> Result<Certificate, String> {
        let (leaf, intermediates) = chain.split_first().ok_or("there is no certificate")?;
        let certificate = self.models.read(leaf)?;
        let current = self.current();
        if fresh && current.anchors.iter().all(|anchor| anchor.ouis.is_empty()) {
            return Ok(certificate);
        }
        let now = unix_time(&*self.clock);
        let mut problem = "there are no trust anchors".to_owned();
        for anchor in &current.anchors {
            match anchor.verifier.verify_client_cert(leaf, intermediates, now) {
                Ok(_) if anchor.signs_for(&certificate.subject) => return Ok(certificate),
                Ok(_) => "its trust anchor does not sign for this OUI".clone_into(&mut problem),
                Err(error) => problem = error.to_string(),
            }
        }
        Err(problem)
    }
}

impl Anchor {
    fn signs_for(&self, subject: &Subject) -> bool {
        let oui_of = |device: &DeviceId| device.parts().0;
        self.ouis.is_empty()
            || match subject {
                Subject::Device(device) => self.ouis.contains(&oui_of(device)),
                Subject::Model { oui, .. } => self.ouis.contains(oui),
                Subject::Other(_) => true,
            }
    }
}

fn unix_time(clock: &dyn Clock) -> UnixTime {
    let micros = u64::try_from(clock.now_micros()).unwrap_or(0);
    UnixTime::since_unix_epoch(Duration::from_micros(micros))
}

/// What makes [`Current`].
struct Maker<'a> {
    config: &'a TlsConfig,
    provider: &'a Arc<CryptoProvider>,
    clock: &'a Arc<dyn Clock>,
    tickets: Option<&'a Arc<dyn ProducesTickets>>,
}

impl Maker<'_> {
    fn make(&self, material: Material, generation: u64) -> Result<Current, TlsError> {
        let crls = &material.crls;
        let mut all = RootCertStore::empty();
        let mut anchors = Vec::with_capacity(material.anchors.len());
        for file in &material.anchors {
            all.extend(file.roots.roots.iter().cloned());
            anchors.push(Anchor {
                verifier: self.verifier(file.roots.clone(), crls)?,
                ouis: file.ouis.clone(),
            });
        }
        let server = match material.certificates.is_empty() {
            true => None,
            false => Some(self.server(material.certificates, Arc::new(all), crls)?),
        };
        Ok(Current {
            server,
            anchors,
            expiries: material.expiries,
            generation,
        })
    }

    fn verifier(
        &self,
        roots: Arc<RootCertStore>,
        crls: &[CertificateRevocationListDer<'static>],
    ) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
        let mut builder = WebPkiClientVerifier::builder_with_provider(roots, self.provider.clone())
            .with_crls(crls.iter().cloned())
            // Not every issuer has a list here.
            .allow_unknown_revocation_status();
        if self.config.refuse_expired_crls {
            builder = builder.enforce_revocation_expiration();
        }
        if self.config.client_auth == ClientAuth::Optional {
            builder = builder.allow_unauthenticated();
        }
        let built = builder.build();
        built.map_err(|error| TlsError::Refused(error.to_string()))
    }

    fn server(
        &self,
        certificates: Vec<ServerCertificate>,
        roots: Arc<RootCertStore>,
        crls: &[CertificateRevocationListDer<'static>],
    ) -> Result<Arc<ServerConfig>, TlsError> {
        let versions: &[_] = match self.config.min_version {
            TlsVersion::V12 => &[&rustls::version::TLS13, &rustls::version::TLS12],
            TlsVersion::V13 => &[&rustls::version::TLS13],
        };
        let time = Arc::new(HouseTime(self.clock.clone()));
        let builder = ServerConfig::builder_with_details(self.provider.clone(), time)
            .with_protocol_versions(versions)
            .map_err(|error| TlsError::Refused(error.to_string()))?;
        let builder = match self.config.client_auth {
            ClientAuth::None => builder.with_no_client_auth(),
            ClientAuth::Optional | ClientAuth::Required => {
                builder.with_client_cert_verifier(self.verifier(roots, crls)?)
            }
        };
        let mut server = builder.with_cert_resolver(Arc::new(Chooser(certificates)));
        server.alpn_protocols = vec![b"http/1.1".to_vec()];
        // Of no use at another replica, and memory for each that connects.
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = usize::from(self.tickets.is_some());
        if let Some(tickets) = self.tickets {
            server.ticketer = tickets.clone();
        }
        Ok(Arc::new(server))
    }
}

/// rustls' time is the house's.
struct HouseTime(Arc<dyn Clock>);

impl fmt::Debug for HouseTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HouseTime")
    }
}

impl TimeProvider for HouseTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(unix_time(&*self.0))
    }
}

/// Chooses the certificate by the name that is asked for; otherwise the first. Of several for one
/// name (RSA beside ECDSA), the first whose signatures the client knows.
#[derive(Debug)]
struct Chooser(Vec<ServerCertificate>);

impl ResolvesServerCert for Chooser {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().map(str::to_ascii_lowercase);
        let named = |certificate: &&ServerCertificate| {
            let names = &certificate.names;
            name.as_deref()
                .is_some_and(|name| names.iter().any(|own| is_name(own, name)))
        };
        let schemes = hello.signature_schemes();
        let usable =
            |certificate: &&ServerCertificate| certificate.key.key.choose_scheme(schemes).is_some();
        let all = || self.0.iter();
        let chosen = all()
            .filter(named)
            .find(usable)
            .or_else(|| all().find(named))
            .or_else(|| all().find(usable))
            .or_else(|| all().next())?;
        Some(chosen.key.clone())
    }
}

/// Whether a certificate's name is for what was asked; `*.` stands for one label.
fn is_name(own: &str, asked: &str) -> bool {
    match own.strip_prefix("*.") {
        None => own == asked,
        Some(rest) => asked.split_once('.').is_some_and(|(_, of)| of == rest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_is_for_one_label() {
        assert!(is_name("acs.example", "acs.example"));
        assert!(is_name("*.example", "acs.example"));
        assert!(!is_name("*.example", "a.acs.example"));
        assert!(!is_name("*.example", "example"));
        assert!(!is_name("acs.example", "acs.example.org"));
    }
}
