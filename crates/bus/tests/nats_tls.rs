//! The JetStream backend on a server that speaks TLS and asks for a client's certificate, and what
//! is said when one of them is wrong.
//!
//! The test starts a `nats-server` of its own, as `nats_faults.rs` does; without one nothing is
//! tested.
#![allow(clippy::unwrap_used)]

#[path = "nats_faults/server.rs"]
#[allow(dead_code, reason = "shared with another test")]
mod server;

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use hearth_bus::conformance::message;
use hearth_bus::{Bus, ConsumerSpec, NatsBus, NatsConfig, Stream};
use hearth_config::{ByteSize, HumanDuration};
use hearth_telemetry::Registry;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, SanType,
};
use server::Server;

/// An authority, and a certificate by it for an address.
struct Certificates {
    ca: PathBuf,
    cert: PathBuf,
    key: PathBuf,
}

impl Certificates {
    fn make(dir: &Path, name: &str, address: Ipv4Addr) -> Self {
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let named = format!("authority of {name}");
        authority.distinguished_name = DistinguishedName::new();
        authority.distinguished_name.push(DnType::CommonName, named);
        let ca_key = KeyPair::generate().unwrap();
        let ca = authority.self_signed(&ca_key).unwrap();
        let issuer = Issuer::new(authority, ca_key);
        let mut params = CertificateParams::default();
        // A certificate with its issuer's name would be taken for a self-signed one.
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.subject_alt_names = vec![SanType::IpAddress(IpAddr::from(address))];
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &issuer).unwrap();
        let file = |kind: &str, text: String| {
            let path = dir.join(format!("{name}.{kind}"));
            std::fs::write(&path, text).unwrap();
            path
        };
        Self {
            ca: file("ca", ca.pem()),
            cert: file("crt", cert.pem()),
            key: file("key", key.serialize_pem()),
        }
    }

    /// A server's settings with them; each client must have one of the same authority.
    fn settings(&self) -> String {
        format!(
            "tls {{ cert_file: {:?}, key_file: {:?}, ca_file: {:?}, verify: true }}\n",
            self.cert, self.key, self.ca
        )
    }
}

fn config(server: &Server, of: &Certificates) -> NatsConfig {
    NatsConfig {
        servers: vec![server.url()],
        tls: true,
        tls_ca: Some(of.ca.clone()),
        tls_cert: Some(of.cert.clone()),
        tls_key: Some(of.key.clone()),
        max_bytes: ByteSize::mib(16),
        dead_letter_bytes: ByteSize::mib(16),
        connect_timeout: HumanDuration::secs(5),
        ..NatsConfig::default()
    }
}

/// What connecting fails with: a line that names the settings, without a wait.
async fn refusal(config: &NatsConfig) -> String {
    let registry = Registry::new();
    let refused = NatsBus::connect(config, &registry);
    let refused = tokio::time::timeout(Duration::from_secs(15), refused);
    let line = refused.await.unwrap().unwrap_err().to_string();
    println!("{line}");
    assert!(!line.contains('\n'), "{line}");
    assert!(
        line.contains("TLS") && line.contains("nats.tls_ca"),
        "{line}"
    );
    line
}

#[tokio::test]
async fn tls_with_a_clients_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let own = Certificates::make(dir.path(), "own", Ipv4Addr::LOCALHOST);
    let other = Certificates::make(dir.path(), "other", Ipv4Addr::LOCALHOST);
    let Some(mut server) = Server::start(&own.settings()) else {
        return;
    };
    let good = config(&server, &own);
    let bus = NatsBus::connect(&good, &Registry::new()).await.unwrap();
    let consumer = bus.consumer(ConsumerSpec::new("c", [Stream::Inform]));
    let consumer = consumer.await.unwrap();
    let ack = bus.publish(message(Stream::Inform, 1, "sealed")).await;
    let got = consumer.fetch(10, Duration::from_secs(5)).await.unwrap();
    assert_eq!(got[0].seq, ack.unwrap().seq);

    // The connection comes back by the same certificates.
    server.kill();
    server.restart();
    let ack = bus.publish(message(Stream::Inform, 1, "again")).await;
    assert!(!ack.unwrap().duplicate);
    bus.close().await.unwrap();

    // `tls://` asks for it as `nats.tls` does.
    let address = NatsConfig {
        servers: vec![server.url().replace("nats://", "tls://")],
        tls: false,
        ..good.clone()
    };
    let bus = NatsBus::connect(&address, &Registry::new()).await.unwrap();
    bus.close().await.unwrap();

    let wrong_authority = NatsConfig {
        tls_ca: Some(other.ca.clone()),
        ..good.clone()
    };
    let line = refusal(&wrong_authority).await;
    assert!(line.contains("UnknownIssuer"), "{line}");
    let wrong_client = NatsConfig {
        tls_cert: Some(other.cert.clone()),
        tls_key: Some(other.key.clone()),
        ..good.clone()
    };
    refusal(&wrong_client).await;
    let no_client = NatsConfig {
        tls_cert: None,
        tls_key: None,
        ..good.clone()
    };
    refusal(&no_client).await;
    let swapped = NatsConfig {
        tls_cert: good.tls_key.clone(),
        tls_key: good.tls_cert.clone(),
        ..good.clone()
    };
    refusal(&swapped).await;
}

#[tokio::test]
async fn a_certificate_for_another_host_and_a_server_without_tls() {
    let dir = tempfile::tempdir().unwrap();
    let elsewhere = Certificates::make(dir.path(), "elsewhere", Ipv4Addr::new(127, 0, 0, 9));
    let Some(server) = Server::start(&elsewhere.settings()) else {
        return;
    };
    let line = refusal(&config(&server, &elsewhere)).await;
    assert!(line.contains("127.0.0.1"), "{line}");
    let Some(plain) = Server::start("") else {
        return;
    };
    refusal(&config(&plain, &elsewhere)).await;
}
