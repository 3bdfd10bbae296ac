//! TLS of the API: a certificate chain and a key from PEM files.

use anyhow::{Context, Result, bail};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use std::{path::Path, sync::Arc};

/// The server side of TLS 1.2 and 1.3, for HTTP/2.
///
/// # Errors
/// Files that can't be read or do not belong together; each names the file.
pub fn for_api(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>> {
    let shown = certificate.display();
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| format!("listen.api_tls_cert: can't read certificates from {shown}"))?;
    if chain.is_empty() {
        bail!("listen.api_tls_cert: there is no certificate in {shown}");
    }
    let shown = key.display();
    let key = PrivateKeyDer::from_pem_file(key)
        .with_context(|| format!("listen.api_tls_key: can't read a private key from {shown}"))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .context("listen.api_tls_cert and listen.api_tls_key do not belong together")?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}
