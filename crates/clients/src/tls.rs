//! Mutual TLS between processes: who this process is, and whom it trusts, from files that may change while it runs.
//!
//! Both sides must show a certificate of the same CA. What its owner may be and ask is said by the roles that it names
//! (`access.rs`). Sessions are not resumed, so that no connection outlives a change of the CA by a ticket.

use crate::access::CertifiedRoles;
use parking_lot::RwLock;
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime, pem::PemObject};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{
    ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName, Error as TlsError, RootCertStore,
    ServerConfig, SignatureScheme,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often the files are looked at.
const RELOAD_INTERVAL: Duration = Duration::from_secs(5);

/// Certificates can't be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file can't be read as what it should be.
    #[error("{setting}: can't read {what} from {}", path.display())]
    Read {
        /// The setting that names it.
        setting: &'static str,
        /// What it should hold.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// There is no certificate in a file.
    #[error("{setting}: there is no certificate in {}", path.display())]
    Empty {
        /// The setting that names it.
        setting: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// The files don't belong together.
    #[error("internal.tls.cert and internal.tls.key do not belong together")]
    Mismatch,
    /// The certificate is not one of the CA's, or is over.
    #[error(
        "internal.tls.cert is no certificate that internal.tls.ca accepts now; issue a new one"
    )]
    NotOurs(#[source] TlsError),
    /// rustls refuses.
    #[error("internal.tls can't be used")]
    Refused(#[source] TlsError),
}

/// The files.
#[derive(Clone, Debug)]
pub struct IdentityPaths {
    /// Certificates of who signs.
    pub ca: PathBuf,
    /// The own certificate and its chain.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// Who this process is to others; a handle that follows its files.
#[derive(Clone)]
pub struct Identity {
    inner: Arc<Inner>,
}

struct Inner {
    paths: IdentityPaths,
    provider: Arc<CryptoProvider>,
    current: RwLock<Arc<Current>>,
}

/// What the files held when they were last read.
struct Current {
    key: Arc<CertifiedKey>,
    roots: Arc<RootCertStore>,
    verifier: Arc<dyn ClientCertVerifier>,
    /// Seconds since the epoch.
    expires: i64,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity")
            .field("paths", &self.inner.paths)
            .finish_non_exhaustive()
    }
}

impl Identity {
    /// Reads the files.
    ///
    /// # Errors
    /// See [`IdentityError`]; each names the setting.
    pub fn load(paths: IdentityPaths) -> Result<Self, IdentityError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let current = RwLock::new(Arc::new(read(&paths, &provider)?));
        let inner = Inner {
            paths,
            provider,
            current,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Reads the files again; says whether anything changed. What was in force stays so on an error.
    ///
    /// # Errors
    /// See [`IdentityError`].
    pub fn reload(&self) -> Result<bool, IdentityError> {
        let new = read(&self.inner.paths, &self.inner.provider)?;
        let mut current = self.inner.current.write();
        let same = current.key.cert == new.key.cert && current.roots.roots == new.roots.roots;
        if !same {
            *current = Arc::new(new);
        }
        Ok(!same)
    }

    /// Follows the files until `stop`.
    pub async fn follow_files(&self, stop: CancellationToken) {
        let mut failing = false;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(RELOAD_INTERVAL) => {}
            }
            let this = self.clone();
            let read = tokio::task::spawn_blocking(move || this.reload()).await;
            match &read {
                Ok(Ok(true)) => {
                    tracing::info!("the certificates for other processes were read again")
                }
                // Once: files may be halfway replaced, and are looked at again soon.
                Ok(Err(error)) if !failing => {
                    let cause = std::error::Error::source(error).map(ToString::to_string);
                    tracing::warn!(%error, cause, "changed certificates can't be used; the old ones stay in force");
                }
                _ => {}
            }
            failing = matches!(read, Ok(Err(_)));
        }
    }

    /// The roles that the own certificate names.
    pub fn roles(&self) -> CertifiedRoles {
        let current = self.inner.current.read();
        let leaf = current.key.cert.first();
        leaf.map(CertifiedRoles::of).unwrap_or_default()
    }

    /// When the own certificate ends, in seconds since the epoch.
    pub fn expires(&self) -> i64 {
        self.inner.current.read().expires
    }

    /// The server's side, for all connections to come.
    ///
    /// # Errors
    /// [`IdentityError::Refused`].
    pub fn server_config(&self) -> Result<Arc<ServerConfig>, IdentityError> {
        let follower = Arc::new(Follower(self.inner.clone()));
        let mut config = ServerConfig::builder_with_provider(self.inner.provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(IdentityError::Refused)?
            .with_client_cert_verifier(follower.clone())
            .with_cert_resolver(follower);
        config.alpn_protocols = vec![b"h2".to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }

    /// The client's side, for one connection from now.
    ///
    /// # Errors
    /// [`IdentityError::Refused`].
    pub fn client_config(&self) -> Result<Arc<ClientConfig>, IdentityError> {
        let roots = self.inner.current.read().roots.clone();
        let mut config = ClientConfig::builder_with_provider(self.inner.provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(IdentityError::Refused)?
            .with_root_certificates(roots)
            .with_client_cert_resolver(Arc::new(Follower(self.inner.clone())));
        config.alpn_protocols = vec![b"h2".to_vec()];
        config.resumption = Resumption::disabled();
        Ok(Arc::new(config))
    }
}

fn certificates(
    setting: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let found = read.map_err(|source| IdentityError::Read {
        setting,
        what: "certificates",
        path: path.to_owned(),
        source,
    })?;
    if found.is_empty() {
        let path = path.to_owned();
        return Err(IdentityError::Empty { setting, path });
    }
    Ok(found)
}

fn read(paths: &IdentityPaths, provider: &Arc<CryptoProvider>) -> Result<Current, IdentityError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("internal.tls.ca", &paths.ca)? {
        roots.add(certificate).map_err(IdentityError::Refused)?;
    }
    let roots = Arc::new(roots);
    let chain = certificates("internal.tls.cert", &paths.cert)?;
    let key = PrivateKeyDer::from_pem_file(&paths.key).map_err(|source| IdentityError::Read {
        setting: "internal.tls.key",
        what: "a private key",
        path: paths.key.clone(),
        source,
    })?;
    let key = CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
        TlsError::InconsistentKeys(_) => IdentityError::Mismatch,
        error => IdentityError::Refused(error),
    })?;
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone())
        .build()
        .map_err(|error| IdentityError::Refused(TlsError::General(error.to_string())))?;
    let [leaf, intermediates @ ..] = key.cert.as_slice() else {
        return Err(IdentityError::Mismatch);
    };
    verifier
        .verify_client_cert(leaf, intermediates, UnixTime::now())
        .map_err(IdentityError::NotOurs)?;
    let expires = x509_parser::parse_x509_certificate(leaf)
        .map_or(0, |(_, parsed)| parsed.validity().not_after.timestamp());
    Ok(Current {
        key: Arc::new(key),
        roots,
        verifier,
        expires,
    })
}

/// Answers rustls from what the files hold now.
struct Follower(Arc<Inner>);

impl Follower {
    fn now(&self) -> Arc<Current> {
        self.0.current.read().clone()
    }
}

impl std::fmt::Debug for Follower {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Follower")
    }
}

impl ResolvesServerCert for Follower {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.now().key.clone())
    }
}

impl ResolvesClientCert for Follower {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.now().key.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for Follower {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // What may change can't be lent; without hints a client shows the one certificate that it has.
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, TlsError> {
        let current = self.now();
        current
            .verifier
            .verify_client_cert(end_entity, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, TlsError> {
        let current = self.now();
        current
            .verifier
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, TlsError> {
        let current = self.now();
        current
            .verifier
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.now().verifier.supported_verify_schemes()
    }
}
