//! The listener: versions, names, tenants, reload, limits.

use std::time::Duration;

use hearth_config::HumanDuration;
use hearth_gateway::{CertificateFiles, ClientAuth, ServerName, TlsVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::pki::{Pki, cpe_to, tls_to};
use crate::support::client::basic;
use crate::support::house_with;
use crate::support::xml::inform;

const FAILED: &str = "hearth_gateway_tls_handshake_failures_total";

fn failed(reason: &str) -> String {
    format!("{FAILED}{{reason=\"{reason}\"}}")
}

#[tokio::test]
async fn a_session_over_tls_beside_one_without() {
    let pki = Pki::new();
    let house = house_with(pki.config(ClientAuth::None)).await;
    let tls = house.addresses.tls.unwrap();
    let mut cpe = cpe_to(tls, "acs.example", &pki.client(None)).await;
    let answer = cpe.post(&basic(), inform()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.head.contains("Content-Type"), "as CPEs like it");
    let cookie = answer.cookie();
    // The session goes on without TLS: its cookie is sealed.
    let mut plain = house.connect().await;
    assert_eq!(plain.turn(&cookie, "").await.status, 204);
    let full = "hearth_gateway_tls_handshakes_total{kind=\"full\"}";
    assert_eq!(house.metric(full), 1.0);
    assert_eq!(
        house.metric("hearth_gateway_connections_accepted_total"),
        2.0
    );
    let days = house
        .metric("hearth_gateway_tls_expires_seconds{kind=\"certificate\",name=\"acs.example\"}")
        / 86_400.0;
    assert!((36_523.0..=36_525.0).contains(&days), "{days}");
}

#[tokio::test]
async fn without_plain_there_is_tls_only() {
    let pki = Pki::new();
    let mut config = pki.config(ClientAuth::None);
    config.plain = false;
    config.tls.min_version = TlsVersion::V13;
    let house = house_with(config).await;
    assert!(house.addresses.plain.is_none());
    let old = pki.client_of(None, &[&rustls::version::TLS12]);
    assert!(tls_to(house.address, "acs.example", &old).await.is_err());
    house.until(&failed("incompatible"), 1.0).await;
    let mut cpe = cpe_to(house.address, "acs.example", &pki.client(None)).await;
    assert_eq!(cpe.post("", inform()).await.status, 401);
}

#[tokio::test]
async fn the_name_chooses_certificate_and_tenant() {
    let pki = Pki::new();
    let mut config = pki.config(ClientAuth::None);
    config
        .tls
        .certificates
        .push(pki.server("b", &["*.b.example"]));
    let of = |name: &str, tenant: &str| ServerName {
        name: name.to_owned(),
        tenant: tenant.parse().unwrap(),
    };
    config.tls.server_names = vec![of("acs.b.example", "b"), of("x.b.example", "x")];
    let house = house_with(config).await;
    let tls = house.addresses.tls.unwrap();
    // Only the right certificate is good for the name.
    for (name, path, status) in [
        ("acs.example", "/", 200),
        ("acs.example", "/t/b", 200),
        ("ACS.B.example", "/", 200),
        ("acs.b.example", "/acs", 200),
        ("acs.b.example", "/t/b", 200),
        ("acs.b.example", "/t/x", 404),
        ("x.b.example", "/t/b", 404),
        ("y.b.example", "/t/b", 200),
    ] {
        let mut cpe = cpe_to(tls, name, &pki.client(None)).await;
        let answer = cpe.post_to(path, &basic(), inform()).await;
        assert_eq!(answer.status, status, "{name} {path}");
    }
    let tenants: Vec<String> = house
        .workflow
        .opened
        .lock()
        .iter()
        .map(|opened| opened.tenant.clone())
        .collect();
    assert_eq!(tenants, ["default", "b", "b", "b", "b", "b"]);
    let refused = "hearth_gateway_refused_total{reason=\"tenant\",status=\"404\"}";
    assert_eq!(house.metric(refused), 2.0);
    assert!(
        tls_to(tls, "unknown.example", &pki.client(None))
            .await
            .is_err()
    );
    house
        .until(&failed("server_certificate_refused"), 1.0)
        .await;
}

#[tokio::test]
async fn certificates_change_without_a_restart_and_never_for_worse() {
    let pki = Pki::new();
    let house = house_with(pki.config(ClientAuth::None)).await;
    let tls = house.addresses.tls.unwrap();
    let serving = async || {
        let stream = tls_to(tls, "acs.example", &pki.client(None)).await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].clone()
    };
    let before = serving().await;
    let reloads = |result: &str| format!("hearth_gateway_tls_reloads_total{{result=\"{result}\"}}");

    let good = std::fs::read_to_string(pki.path("server.key")).unwrap();
    pki.write(
        "server.key",
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
    );
    house.until(&reloads("failed"), 1.0).await;
    assert_eq!(serving().await, before);
    std::fs::remove_file(pki.path("server.key")).unwrap();
    house.until(&reloads("failed"), 2.0).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(
        house.metric(&reloads("failed")),
        2.0,
        "told once for each change"
    );
    assert_eq!(serving().await, before);
    pki.write("server.key", &good);
    house.until(&reloads("changed"), 1.0).await;

    // A new pair: for a moment the files may not fit together.
    pki.server("server", &["acs.example", "new.example"]);
    let waiting = async {
        while serving().await == before {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting)
        .await
        .unwrap();
    assert!(tls_to(tls, "new.example", &pki.client(None)).await.is_ok());
}

#[tokio::test]
async fn what_cannot_be_used_is_told_at_start() {
    let pki = Pki::new();
    let other = pki.server("other", &["acs.example"]);
    let start = |certificate: CertificateFiles| {
        let mut config = pki.config(ClientAuth::None);
        config.tls.certificates = vec![certificate];
        crate::support::try_house(config)
    };
    let mut missing = other.clone();
    missing.key = pki.path("nowhere.key");
    let error = start(missing).unwrap_err().to_string();
    assert!(error.contains("gateway.tls.certificates[0].key"), "{error}");
    assert!(error.contains("nowhere.key"), "{error}");
    let mut mixed = other.clone();
    mixed.key = pki.path("server.key");
    let error = start(mixed).unwrap_err().to_string();
    assert!(error.contains("can't be used together"), "{error}");
    let mut junk = other;
    junk.cert = pki.path("ca.key");
    pki.write("ca.key", "nothing");
    let error = start(junk).unwrap_err().to_string();
    assert!(error.contains("holds no certificates in PEM"), "{error}");
}

#[tokio::test]
async fn slow_and_wrong_handshakes_end() {
    let pki = Pki::new();
    let mut config = pki.config(ClientAuth::None);
    config.tls.handshake_timeout = HumanDuration::millis(300);
    config.tls.max_handshakes = 1;
    let house = house_with(config).await;
    let tls = house.addresses.tls.unwrap();
    // Who says nothing takes no place: others still get in.
    let mut silent = Vec::new();
    for _ in 0..8 {
        silent.push(TcpStream::connect(tls).await.unwrap());
    }
    let mut cpe = cpe_to(tls, "acs.example", &pki.client(None)).await;
    assert_eq!(cpe.post(&basic(), inform()).await.status, 200);
    let mut byte = [0];
    for stream in &mut silent {
        let read = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut byte));
        assert_eq!(read.await.unwrap().unwrap_or(0), 0);
    }
    house.until(&failed("timeout"), 8.0).await;

    let mut plain = TcpStream::connect(tls).await.unwrap();
    plain.write_all(b"POST / HTTP/1.1\r\n\r\n").await.unwrap();
    house.until(&failed("not_tls"), 1.0).await;
    drop(TcpStream::connect(tls).await.unwrap());
    house.until(&failed("disconnected"), 1.0).await;
}

#[tokio::test]
async fn a_hangup_reads_the_files_at_once() {
    use tokio::signal::unix::{SignalKind, signal};
    // From now on the signal doesn't end this process, wherever the gateway is with its own.
    let _held = signal(SignalKind::hangup()).unwrap();
    let pki = Pki::new();
    let mut config = pki.config(ClientAuth::None);
    config.tls.reload_interval = HumanDuration::secs(3600);
    let house = house_with(config).await;
    pki.server("server", &["new.example"]);
    let changed = "hearth_gateway_tls_reloads_total{result=\"changed\"}";
    let waiting = async {
        while house.metric(changed) != 1.0 {
            let process = std::process::id().to_string();
            let mut kill = tokio::process::Command::new("kill");
            kill.args(["-HUP", &process]).status().await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let waiting = tokio::time::timeout(Duration::from_secs(20), waiting);
    waiting.await.unwrap();
    let tls = house.addresses.tls.unwrap();
    let client = pki.client(None);
    assert!(tls_to(tls, "new.example", &client).await.is_ok());
}
