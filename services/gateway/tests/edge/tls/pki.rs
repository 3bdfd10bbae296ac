//! Certificates in files, and clients that show them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use hearth_gateway::{CertificateFiles, ClientAuth, GatewayConfig, TlsConfig, TrustAnchor};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedKey, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    RevokedCertParams, SerialNumber, date_time_ymd,
};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::Cpe;

/// A CA with its files.
pub struct Pki {
    pub dir: TempDir,
    pub ca: rcgen::Certificate,
    issuer: Issuer<'static, KeyPair>,
}

pub type Pair = CertifiedKey<KeyPair>;

impl Pki {
    pub fn new() -> Self {
        Self::named("Acme Devices")
    }

    pub fn named(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        let ca = params.self_signed(&key).unwrap();
        let pki = Self {
            dir: tempfile::tempdir().unwrap(),
            ca,
            issuer: Issuer::new(params, key),
        };
        pki.write("ca.pem", &pki.ca.pem());
        pki
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, content: &str) {
        std::fs::write(self.path(name), content).unwrap();
    }

    /// A server's certificate in `{file}.pem` and `{file}.key`. Clients judge it by the machine's clock: its end, a
    /// hundred years after the gateway's, is far away by both.
    pub fn server(&self, file: &str, names: &[&str]) -> CertificateFiles {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_after = date_time_ymd(2127, 1, 15);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.save(file, &self.sign(params))
    }

    pub fn save(&self, file: &str, pair: &Pair) -> CertificateFiles {
        self.write(&format!("{file}.pem"), &pair.cert.pem());
        self.write(&format!("{file}.key"), &pair.signing_key.serialize_pem());
        CertificateFiles {
            cert: self.path(&format!("{file}.pem")),
            key: self.path(&format!("{file}.key")),
            names: Vec::new(),
        }
    }

    /// A device's certificate with this common name.
    pub fn device(&self, cn: &str) -> Pair {
        self.sign(device(cn))
    }

    pub fn sign(&self, params: CertificateParams) -> Pair {
        let signing_key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&signing_key, &self.issuer).unwrap();
        CertifiedKey { cert, signing_key }
    }

    /// A revocation list in `crl.pem`.
    pub fn revoke(&self, serials: &[u64]) {
        let revoked = serials.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2026, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2026, 1, 1),
            next_update: date_time_ymd(2028, 1, 1),
            crl_number: SerialNumber::from(1u64),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = list.signed_by(&self.issuer).unwrap();
        self.write("crl.pem", &list.pem().unwrap());
    }

    /// Settings with a TLS listener, its certificate for `acs.example`, and this CA.
    pub fn config(&self, client_auth: ClientAuth) -> GatewayConfig {
        GatewayConfig {
            tls: TlsConfig {
                listen: Some(([127, 0, 0, 1], 0).into()),
                certificates: vec![self.server("server", &["acs.example"])],
                client_auth,
                trust_anchors: vec![TrustAnchor {
                    file: self.path("ca.pem"),
                    ouis: Vec::new(),
                }],
                reload_interval: hearth_config::HumanDuration::millis(20),
                ..TlsConfig::default()
            },
            ..GatewayConfig::default()
        }
    }

    /// A client's settings, with or without a certificate.
    pub fn client(&self, pair: Option<&Pair>) -> Arc<ClientConfig> {
        self.client_of(pair, rustls::DEFAULT_VERSIONS)
    }

    pub fn client_of(
        &self,
        pair: Option<&Pair>,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.ca.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
        Arc::new(match pair {
            None => builder.with_no_client_auth(),
            Some(pair) => {
                let key = PrivateKeyDer::try_from(pair.signing_key.serialize_der()).unwrap();
                let chain = vec![pair.cert.der().clone()];
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        })
    }
}

/// What a device's certificate says.
pub fn device(cn: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, cn);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params
}

pub async fn tls_to(
    address: SocketAddr,
    name: &str,
    config: &Arc<ClientConfig>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    TlsConnector::from(config.clone())
        .connect(name, stream)
        .await
}

/// A CPE over TLS.
pub async fn cpe_to(address: SocketAddr, name: &str, config: &Arc<ClientConfig>) -> Cpe {
    Cpe::over(tls_to(address, name, config).await.unwrap(), name)
}

/// A connection from another loopback address.
pub async fn from(source: &str, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{source}:0").parse().unwrap()).unwrap();
    socket.connect(to).await.unwrap()
}
