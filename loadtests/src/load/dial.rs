//! How the load's connections are made: by TCP, or with TLS on it, with or without the session of the
//! connection before and a certificate of the device's own.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::LoadError;

/// What HTTP is spoken over.
pub(crate) trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

/// How connections are made.
#[derive(Clone, Debug, Default)]
pub struct Dialing {
    /// A connection for each session, instead of one for all of them.
    pub each_session: bool,
    /// For `https` URLs.
    pub tls: Option<DialTls>,
}

/// TLS of the generated devices.
#[derive(Clone, Debug)]
pub struct DialTls {
    /// PEM: who may have signed the server's certificate.
    pub trust: PathBuf,
    /// A folder with a certificate and key (`NUMBER.pem`, ten digits) of each connection's first
    /// device, which is then its only one.
    pub certificates: Option<PathBuf>,
    /// Go on with the TLS session of the connection before.
    pub resume: bool,
}

impl Dialing {
    /// What makes the connections of this device.
    ///
    /// # Errors
    /// Files that can't be read or used.
    pub(crate) fn dialer(&self, device: u32) -> Result<Dialer, LoadError> {
        let tls = self.tls.as_ref().map(|tls| tls.connector(device));
        Ok(Dialer {
            each_session: self.each_session,
            tls: tls.transpose()?,
        })
    }
}

impl DialTls {
    fn connector(&self, device: u32) -> Result<TlsConnector, LoadError> {
        let bad = |path: &Path, why: &dyn std::fmt::Display| {
            LoadError::Server(format!("{} can't be used: {why}", path.display()))
        };
        let certificates = |path: &Path| -> Result<Vec<CertificateDer<'static>>, LoadError> {
            let list = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
            list.map_err(|error| bad(path, &error))
        };
        let mut roots = rustls::RootCertStore::empty();
        roots.add_parsable_certificates(certificates(&self.trust)?);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| bad(&self.trust, &error))?
            .with_root_certificates(roots);
        let mut config = match &self.certificates {
            None => config.with_no_client_auth(),
            Some(folder) => {
                let path = folder.join(format!("{device:010}.pem"));
                let key =
                    PrivateKeyDer::from_pem_file(&path).map_err(|error| bad(&path, &error))?;
                let own = config.with_client_auth_cert(certificates(&path)?, key);
                own.map_err(|error| bad(&path, &error))?
            }
        };
        if !self.resume {
            config.resumption = Resumption::disabled();
        }
        Ok(TlsConnector::from(Arc::new(config)))
    }
}

/// Makes connections.
#[derive(Clone, Default)]
pub(crate) struct Dialer {
    pub each_session: bool,
    tls: Option<TlsConnector>,
}

impl std::fmt::Debug for Dialer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let tls = self.tls.is_some();
        f.debug_struct("Dialer").field("tls", &tls).finish()
    }
}

impl Dialer {
    /// The scheme of URLs.
    pub fn scheme(&self) -> &'static str {
        match self.tls {
            Some(_) => "https",
            None => "http",
        }
    }

    /// Connects to `host:port`.
    pub async fn dial(&self, address: &str) -> io::Result<Box<dyn Wire>> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let Some(tls) = &self.tls else {
            return Ok(Box::new(stream));
        };
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        Ok(Box::new(tls.connect(name, stream).await?))
    }
}
