//! The backend on servers that speak TLS and ask for a client's certificate: one with a password, a cluster, one with a
//! Sentinel; and what is said when something is wrong.
//!
//! Needs a server whose build speaks TLS (`tls_program` tells where it is looked for); without one nothing
//! is tested.
#![allow(clippy::unwrap_used)]

#[path = "redis_faults/server.rs"]
#[allow(dead_code, reason = "shared with another test")]
mod server;

use hearth_config::{HumanDuration, SecretString};
use hearth_queue::{Error, Queue, RedisConfig, RedisQueue};
use hearth_telemetry::Registry;
use hearth_types::{DeviceKey, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, SanType,
};
use server::{Server, Tls, cluster, program, until};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// A program whose build speaks TLS, which not each does: what `HEARTH_TEST_REDIS_TLS_SERVER` names, or the one that
/// the system has.
fn tls_program() -> Option<PathBuf> {
    let named = std::env::var_os("HEARTH_TEST_REDIS_TLS_SERVER").map(PathBuf::from);
    let usual = ["valkey-server", "redis-server"].map(PathBuf::from);
    let speaks = |program: &PathBuf| {
        // Without a certificate both kinds end at once, and say why.
        let tried = Command::new(program)
            .args(["--port", "0", "--tls-port", "1"])
            .output();
        tried.is_ok_and(|out| String::from_utf8_lossy(&out.stdout).contains("tls-cert-file"))
    };
    let found = named.into_iter().chain(usual).find(speaks);
    if found.is_none() {
        println!("SKIPPED: there is no redis-server or valkey-server with TLS");
    }
    found
}

/// An authority, and a certificate by it for 127.0.0.1.
fn certificates(dir: &Path, name: &str) -> Tls {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let ca_key = KeyPair::generate().unwrap();
    let ca = authority.self_signed(&ca_key).unwrap();
    let issuer = Issuer::new(authority, ca_key);
    let mut params = CertificateParams::default();
    // A certificate with its issuer's name would be taken for a self-signed one.
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let local = IpAddr::from(Ipv4Addr::LOCALHOST);
    params.subject_alt_names = vec![SanType::IpAddress(local)];
    let key = KeyPair::generate().unwrap();
    let cert = params.signed_by(&key, &issuer).unwrap();
    let file = |kind: &str, text: String| {
        let path = dir.join(format!("{name}.{kind}"));
        std::fs::write(&path, text).unwrap();
        path
    };
    Tls {
        ca: file("ca", ca.pem()),
        cert: file("crt", cert.pem()),
        key: file("key", key.serialize_pem()),
    }
}

fn config(server: &Server, tls: &Tls) -> RedisConfig {
    RedisConfig {
        nodes: vec![server.url()],
        tls_ca: Some(tls.ca.clone()),
        tls_cert: Some(tls.cert.clone()),
        tls_key: Some(tls.key.clone()),
        call_timeout: HumanDuration::millis(1000),
        ..RedisConfig::default()
    }
}

async fn open(queue: &RedisQueue, serial: usize, session: &str) -> Result<u64, Error> {
    let device = DeviceKey::parse("default", &format!("001122-Box-{serial}")).unwrap();
    let now = Timestamp::from_micros(1_800_000_000_000_000);
    let ttl = Duration::from_secs(30);
    let opened = queue.open_session(&device, session, ttl, now).await;
    opened.map(|session| session.epoch)
}

/// What connecting fails with.
async fn refusal(config: &RedisConfig) -> String {
    let config = RedisConfig {
        connect_timeout: HumanDuration::millis(300),
        ..config.clone()
    };
    let refused = RedisQueue::connect(&config, &Registry::new()).await;
    let line = refused.map(drop).unwrap_err().to_string();
    println!("{line}");
    assert!(
        !line.contains('\n') && !line.contains("open sesame"),
        "{line}"
    );
    line
}

/// A server whose certificate is by an authority that isn't trusted is told in a line.
async fn refuses_another_ca(good: &RedisConfig, other: &Tls) {
    let wrong_ca = RedisConfig {
        tls_ca: Some(other.ca.clone()),
        ..good.clone()
    };
    let line = refusal(&wrong_ca).await;
    assert!(line.starts_with("TLS with Redis at rediss://"), "{line}");
    assert!(line.contains("check redis.tls, redis.tls_ca"), "{line}");
}

#[tokio::test]
async fn tls_with_a_clients_certificate_and_a_password() {
    let Some(program) = tls_program() else { return };
    let dir = tempfile::tempdir().unwrap();
    let own = certificates(dir.path(), "own");
    let other = certificates(dir.path(), "other");
    let login = ["--requirepass", "open sesame"];
    let mut server = Server::start_with(&program, &login, Some(&own));
    let good = RedisConfig {
        password: Some(SecretString::new("open sesame")),
        ..config(&server, &own)
    };
    let queue = RedisQueue::connect(&good, &Registry::new()).await.unwrap();
    open(&queue, 1, "s1").await.unwrap();

    // A connection that is lost is made anew by TLS, too.
    server.kill();
    server.run();
    let again = async || open(&queue, 1, "s2").await.is_ok();
    until("it comes back", again).await;

    refuses_another_ca(&good, &other).await;

    let wrong_cert = RedisConfig {
        tls_cert: Some(other.cert.clone()),
        tls_key: Some(other.key.clone()),
        ..good.clone()
    };
    let line = refusal(&wrong_cert).await;
    assert!(line.starts_with("TLS with Redis at"), "{line}");

    let no_cert = RedisConfig {
        tls_cert: None,
        tls_key: None,
        ..good.clone()
    };
    let line = refusal(&no_cert).await;
    assert!(line.starts_with("TLS with Redis at"), "{line}");

    let no_tls = RedisConfig {
        nodes: vec![format!("redis://127.0.0.1:{}", server.port)],
        tls_ca: None,
        tls_cert: None,
        tls_key: None,
        ..good.clone()
    };
    let line = refusal(&no_tls).await;
    assert!(
        line.contains("speaks TLS") && line.contains("redis.tls = true"),
        "{line}"
    );

    let wrong_password = RedisConfig {
        password: Some(SecretString::new("hunter2")),
        ..good.clone()
    };
    let line = refusal(&wrong_password).await;
    assert!(
        line.contains("redis.password") && !line.contains("hunter2"),
        "{line}"
    );

    let missing = RedisConfig {
        tls_ca: Some(dir.path().join("none.crt")),
        ..good
    };
    let line = refusal(&missing).await;
    assert!(
        line.contains("none.crt") && line.contains("redis.tls_ca"),
        "{line}"
    );
}

#[tokio::test]
async fn a_server_without_tls_is_told_apart() {
    let Some(program) = program() else { return };
    let plain = Server::start(&program, &[]);
    let config = RedisConfig {
        nodes: vec![plain.url().replace("redis://", "rediss://")],
        ..RedisConfig::default()
    };
    let line = refusal(&config).await;
    assert!(
        line.contains("speaks no TLS") && line.contains("redis.tls = false"),
        "{line}"
    );
}

/// Nodes are learned from one of them, and each is spoken to by TLS.
#[tokio::test]
async fn a_cluster_speaks_tls() {
    let Some(program) = tls_program() else { return };
    let dir = tempfile::tempdir().unwrap();
    let own = certificates(dir.path(), "own");
    let other = certificates(dir.path(), "other");
    let mut nodes = cluster(&program, 0, Some(&own)).await;
    let good = config(&nodes[0], &own);
    let queue = RedisQueue::connect(&good, &Registry::new()).await.unwrap();
    // As many as are at all three.
    for serial in 0..100 {
        open(&queue, serial, "s1").await.unwrap();
    }
    nodes[2].kill();
    nodes[2].run();
    for serial in 0..100 {
        let again = async || open(&queue, serial, "s2").await.is_ok();
        until("the node comes back", again).await;
    }
    refuses_another_ca(&good, &other).await;
}

/// The Sentinel, its primary and the replica that follows it speak nothing else.
#[tokio::test]
async fn a_sentinel_and_its_servers_speak_tls() {
    let Some(program) = tls_program() else { return };
    let dir = tempfile::tempdir().unwrap();
    let own = certificates(dir.path(), "own");
    let other = certificates(dir.path(), "other");
    let mut primary = Server::start_with(&program, &[], Some(&own));
    let follow = format!("127.0.0.1 {}", primary.port);
    let replica = Server::start_with(&program, &["--replicaof", &follow], Some(&own));
    replica.says("master_link_status", "up").await;
    let sentinel = Server::sentinel(&program, "hearth", primary.port, 1, Some(&own));
    let good = RedisConfig {
        sentinel_group: Some("hearth".into()),
        ..config(&sentinel, &own)
    };
    let queue = RedisQueue::connect(&good, &Registry::new()).await.unwrap();
    let before = open(&queue, 1, "s1").await.unwrap();
    sentinel.watches("hearth", 1, 0).await;
    primary.kill();
    let taken_over = async || matches!(open(&queue, 1, "s2").await, Ok(epoch) if epoch > before);
    until("the replica takes over", taken_over).await;

    refuses_another_ca(&good, &other).await;
}
