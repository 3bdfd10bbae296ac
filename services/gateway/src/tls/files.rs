//! Certificates, trust anchors and revocation lists, as they are in their files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hearth_auth::SealError;
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::config::TlsConfig;
use super::identity::{common_name, names_of};

/// Files can't be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file can't be read.
    #[error("{setting}: can't read {}", path.display())]
    Read {
        /// The setting that names it.
        setting: String,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file holds something else than it should.
    #[error("{setting}: {} holds no {what}", path.display())]
    Content {
        /// The setting that names it.
        setting: String,
        /// The file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
    },
    /// Certificate and key don't belong together, or can't be used.
    #[error("{setting}: {} and its key can't be used together", path.display())]
    Pair {
        /// The setting that names it.
        setting: String,
        /// The certificate's file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls::Error,
    },
    /// rustls refuses.
    #[error("gateway.tls can't be used: {0}")]
    Refused(String),
    /// The key of the tickets can't be had.
    #[error("gateway.tls can't have session tickets")]
    Tickets(#[source] SealError),
}

/// One of the server's certificates.
#[derive(Debug)]
pub(crate) struct ServerCertificate {
    pub key: Arc<CertifiedKey>,
    /// In lower case; may begin with `*.`.
    pub names: Vec<String>,
}

/// A file of trust anchors.
#[derive(Debug)]
pub(crate) struct Anchors {
    pub roots: Arc<RootCertStore>,
    /// In capitals; none: all.
    pub ouis: Vec<String>,
}

/// When something ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Expiry {
    /// `certificate`, `trust_anchor` or `crl`.
    pub kind: &'static str,
    pub name: String,
    /// Seconds since 1970.
    pub not_after: i64,
}

/// All that the files hold, checked.
#[derive(Debug)]
pub(crate) struct Material {
    pub certificates: Vec<ServerCertificate>,
    pub anchors: Vec<Anchors>,
    pub crls: Vec<CertificateRevocationListDer<'static>>,
    pub expiries: Vec<Expiry>,
}

/// The bytes of all files, or why one can't be read.
pub(crate) struct Files {
    read: Vec<(String, PathBuf, std::io::Result<Vec<u8>>)>,
}

impl Files {
    /// Reads them.
    pub(crate) fn read(config: &TlsConfig) -> Self {
        let mut wanted: Vec<(String, &Path)> = Vec::new();
        for (at, certificate) in config.certificates.iter().enumerate() {
            let setting = |name| format!("gateway.tls.certificates[{at}].{name}");
            wanted.push((setting("cert"), &certificate.cert));
            wanted.push((setting("key"), &certificate.key));
        }
        for (at, anchor) in config.trust_anchors.iter().enumerate() {
            wanted.push((
                format!("gateway.tls.trust_anchors[{at}].file"),
                &anchor.file,
            ));
        }
        for (at, crl) in config.crls.iter().enumerate() {
            wanted.push((format!("gateway.tls.crls[{at}]"), crl));
        }
        let read = wanted
            .into_iter()
            .map(|(setting, path)| (setting, path.to_owned(), std::fs::read(path)));
        Self {
            read: read.collect(),
        }
    }

    /// Tells whether anything changed.
    pub(crate) fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        for (_, _, content) in &self.read {
            match content {
                Ok(bytes) => {
                    hash.update(b"ok");
                    hash.update(bytes.len().to_be_bytes());
                    hash.update(bytes);
                }
                Err(error) => hash.update(error.to_string()),
            }
        }
        hash.finalize().into()
    }

    /// Makes of them what TLS needs.
    pub(crate) fn into_material(
        self,
        config: &TlsConfig,
        provider: &CryptoProvider,
    ) -> Result<Material, TlsError> {
        let mut files = self.read.into_iter().map(|(setting, path, content)| {
            let content = content.map_err(|source| TlsError::Read {
                setting: setting.clone(),
                path: path.clone(),
                source,
            })?;
            Ok(File {
                setting,
                path,
                content,
            })
        });
        let mut next = || files.next().unwrap_or_else(|| Err(lost()));
        let mut material = Material {
            certificates: Vec::new(),
            anchors: Vec::new(),
            crls: Vec::new(),
            expiries: Vec::new(),
        };
        for wanted in &config.certificates {
            let (chain, key) = (next()?, next()?);
            let made = certificate(
                &wanted.names,
                &chain,
                &key,
                provider,
                &mut material.expiries,
            )?;
            material.certificates.push(made);
        }
        for wanted in &config.trust_anchors {
            let roots = Arc::new(anchors(&next()?, &mut material.expiries)?);
            let ouis = wanted.ouis.iter().map(|oui| oui.to_ascii_uppercase());
            material.anchors.push(Anchors {
                roots,
                ouis: ouis.collect(),
            });
        }
        for _ in &config.crls {
            let found = crls(&next()?, &mut material.expiries)?;
            material.crls.extend(found);
        }
        Ok(material)
    }
}

fn lost() -> TlsError {
    TlsError::Refused("a file is missing".to_owned())
}

struct File {
    setting: String,
    path: PathBuf,
    content: Vec<u8>,
}

impl File {
    fn holds_no(&self, what: &'static str) -> TlsError {
        TlsError::Content {
            setting: self.setting.clone(),
            path: self.path.clone(),
            what,
        }
    }

    fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.content).collect();
        match found {
            Ok(found) if !found.is_empty() => Ok(found),
            _ => Err(self.holds_no("certificates in PEM")),
        }
    }
}

fn certificate(
    names: &[String],
    chain_file: &File,
    key_file: &File,
    provider: &CryptoProvider,
    expiries: &mut Vec<Expiry>,
) -> Result<ServerCertificate, TlsError> {
    let chain = chain_file.certificates()?;
    let key = PrivateKeyDer::from_pem_slice(&key_file.content)
        .map_err(|_| key_file.holds_no("private key in PEM"))?;
    let pair = |source| TlsError::Pair {
        setting: chain_file.setting.clone(),
        path: chain_file.path.clone(),
        source,
    };
    let key = CertifiedKey::from_der(chain, key, provider).map_err(pair)?;
    let leaf = key.cert.first().map(|leaf| leaf.as_ref());
    let (_, parsed) = X509Certificate::from_der(leaf.unwrap_or_default())
        .map_err(|_| chain_file.holds_no("certificate that can be read"))?;
    let names: Vec<String> = match names {
        [] => names_of(&parsed),
        given => given.to_vec(),
    };
    let names: Vec<String> = names.iter().map(|name| name.to_ascii_lowercase()).collect();
    expiries.push(Expiry {
        kind: "certificate",
        name: names.first().cloned().unwrap_or_default(),
        not_after: parsed.validity().not_after.timestamp(),
    });
    Ok(ServerCertificate {
        key: Arc::new(key),
        names,
    })
}

fn anchors(file: &File, expiries: &mut Vec<Expiry>) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in file.certificates()? {
        let bad = || file.holds_no("trust anchors that can be used");
        let (_, parsed) = X509Certificate::from_der(&certificate).map_err(|_| bad())?;
        expiries.push(Expiry {
            kind: "trust_anchor",
            name: common_name(parsed.subject()).unwrap_or_default(),
            not_after: parsed.validity().not_after.timestamp(),
        });
        roots.add(certificate.clone()).map_err(|_| bad())?;
    }
    Ok(roots)
}

fn crls(
    file: &File,
    expiries: &mut Vec<Expiry>,
) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    let is_pem = file.content.starts_with(b"-----");
    let found: Vec<CertificateRevocationListDer<'static>> = match is_pem {
        true => CertificateRevocationListDer::pem_slice_iter(&file.content)
            .collect::<Result<_, _>>()
            .unwrap_or_default(),
        false => vec![file.content.clone().into()],
    };
    let bad = || file.holds_no("revocation list in PEM or DER");
    if found.is_empty() {
        return Err(bad());
    }
    for crl in &found {
        let (_, parsed) =
            x509_parser::revocation_list::CertificateRevocationList::from_der(crl.as_ref())
                .map_err(|_| bad())?;
        if let Some(next) = parsed.next_update() {
            expiries.push(Expiry {
                kind: "crl",
                name: common_name(parsed.issuer()).unwrap_or_default(),
                not_after: next.timestamp(),
            });
        }
    }
    Ok(found)
}
