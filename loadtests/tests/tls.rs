//! A device that reaches its ACS by TLS, and one that doesn't trust it.

use std::sync::Arc;

use crate::support::{Acs, until};
use hearth_sim::Fleet;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::{TcpListener, TcpStream};

/// Takes TLS off connections and hands the rest on to the ACS.
async fn terminator(acs: &Acs) -> (u16, rustls::RootCertStore) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let to = acs.address;
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                if let Ok(mut outer) = acceptor.accept(stream).await {
                    let mut inner = TcpStream::connect(to).await.unwrap();
                    tokio::io::copy_bidirectional(&mut outer, &mut inner)
                        .await
                        .ok();
                }
            });
        }
    });
    (port, roots)
}

fn trusting(roots: rustls::RootCertStore) -> Option<Arc<rustls::ClientConfig>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Some(Arc::new(config))
}

#[tokio::test]
async fn an_acs_behind_tls() {
    let acs = Acs::start().await;
    let (port, roots) = terminator(&acs).await;
    for (roots, good) in [(rustls::RootCertStore::empty(), false), (roots, true)] {
        let mut options = acs.options();
        options.acs_url = format!("https://localhost:{port}/acs");
        options.tls = trusting(roots);
        let fleet = Fleet::start(options).await.unwrap();
        until("a session's end", || {
            let stats = fleet.stats();
            stats.sessions + stats.failed_sessions > 0
        })
        .await;
        assert_eq!(fleet.stats().sessions > 0, good);
        fleet.stop().await;
    }
}
