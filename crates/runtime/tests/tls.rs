//! The HTTP server over TLS: what requests learn of it, and handshakes that never end.
#![allow(clippy::unwrap_used, missing_docs)]

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Extension;
use axum::routing::get;
use hearth_runtime::CancellationToken;
use hearth_runtime::http::{HttpOptions, HttpServer, TlsInfo, bind};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[tokio::test]
async fn requests_over_tls_know_name_and_certificate() {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let made = rcgen::generate_simple_self_signed(vec!["acs.example.com".to_owned()]).unwrap();
    let certificate = made.cert.der().clone();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let roots = Arc::new(roots);
    let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(
        roots.clone(),
        provider.clone(),
    )
    .allow_unauthenticated()
    .build()
    .unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();

    let app = Router::new().route(
        "/",
        get(|Extension(TlsInfo(tls)): Extension<TlsInfo>| async move {
            format!("{:?} {}", tls.server_name, tls.peer_certificates.len())
        }),
    );
    let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let mut options = HttpOptions::new("test");
    options.tls = Some(Arc::new(config));
    options.tls_handshake_timeout = Duration::from_secs(1);
    let server = HttpServer::new(listener, app, options);
    let (addr, stats, stop) = (
        server.local_addr().unwrap(),
        server.stats(),
        CancellationToken::new(),
    );
    let task = tokio::spawn(server.run(stop.clone()));

    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(client));
    let name = ServerName::try_from("acs.example.com").unwrap();
    let stream = TcpStream::connect(addr).await.unwrap();
    let mut stream = connector.connect(name, stream).await.unwrap();
    let request = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    let text = String::from_utf8(bytes).unwrap();
    assert!(text.ends_with("Some(\"acs.example.com\") 0"), "{text}");

    let mut silent = TcpStream::connect(addr).await.unwrap();
    let mut plain = TcpStream::connect(addr).await.unwrap();
    plain.write_all(request).await.unwrap();
    let mut rest = Vec::new();
    let _ = silent.read_to_end(&mut rest).await;
    assert!(rest.is_empty());
    assert_eq!(stats.snapshot().tls_failures, 2);
    stop.cancel();
    task.await.unwrap();
}
