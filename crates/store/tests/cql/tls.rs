//! A node with TLS, a login and clients' certificates; and what is said when one of them is wrong.
//!
//! `scripts/servers start --env cql-tls` starts one, and sets `HEARTH_TEST_CQL_TLS` (its address) and
//! `HEARTH_TEST_CQL_TLS_DIR` (certificates).

use std::path::PathBuf;

use hearth_config::{HumanDuration, SecretString};
use hearth_store::{CqlConfig, CqlStore, Store};
use hearth_telemetry::Registry;

use super::starts::refusal;
use super::support::{HISTORY, device, node, value};

/// What connects, and where the certificates are.
fn secured() -> Option<(CqlConfig, PathBuf)> {
    let (node, folder) = (
        std::env::var("HEARTH_TEST_CQL_TLS"),
        std::env::var("HEARTH_TEST_CQL_TLS_DIR"),
    );
    let (Ok(node), Ok(folder)) = (node, folder) else {
        eprintln!("SKIPPED: HEARTH_TEST_CQL_TLS is not set (scripts/servers start --env cql-tls)");
        return None;
    };
    let folder = PathBuf::from(folder);
    let config = CqlConfig {
        nodes: vec![node],
        keyspace: format!("hearth_tls_{}", std::process::id()),
        user: Some("cassandra".into()),
        password: Some(SecretString::new("cassandra")),
        tls_ca: Some(folder.join("ca.crt")),
        tls_cert: Some(folder.join("client.crt")),
        tls_key: Some(folder.join("client.key")),
        connect_timeout: HumanDuration::secs(2),
        ..CqlConfig::default()
    };
    Some((config, folder))
}

#[tokio::test]
async fn tls_with_a_clients_certificate_and_a_password() {
    let Some((good, folder)) = secured() else {
        return;
    };
    let store = CqlStore::connect(&good, HISTORY, &Registry::new()).await;
    let store = store.unwrap_or_else(|error| panic!("{error}"));
    let written = vec![value(&device(1), "Device.X".into(), 1, "x")];
    store.write(written).await.unwrap();
    let found = store.parameters(&device(1), "", None, 9).await.unwrap();
    assert_eq!(found.len(), 1);

    let other_ca = CqlConfig {
        tls_ca: Some(folder.join("other-ca.crt")),
        ..good.clone()
    };
    let line = refusal(other_ca).await;
    assert!(
        line.starts_with("TLS with CQL fails") && line.contains("cql.tls_ca"),
        "{line}"
    );
    let other_certificate = CqlConfig {
        tls_cert: Some(folder.join("other.crt")),
        tls_key: Some(folder.join("other.key")),
        ..good.clone()
    };
    let line = refusal(other_certificate).await;
    assert!(
        line.starts_with("TLS with CQL fails") && line.contains("cql.tls_cert"),
        "{line}"
    );
    let no_certificate = CqlConfig {
        tls_cert: None,
        tls_key: None,
        ..good.clone()
    };
    let line = refusal(no_certificate.clone()).await;
    assert!(
        line.starts_with("TLS with CQL fails") && line.contains("cql.tls_cert"),
        "{line}"
    );
    let no_tls = CqlConfig {
        tls_ca: None,
        ..no_certificate
    };
    let line = refusal(no_tls).await;
    assert!(
        line.contains("speaks TLS") && line.contains("set cql.tls_ca"),
        "{line}"
    );
    let wrong_password = CqlConfig {
        password: Some(SecretString::new("hunter2")),
        ..good.clone()
    };
    let line = refusal(wrong_password).await;
    assert!(
        line.contains("cql.password") && !line.contains("hunter2"),
        "{line}"
    );
    let no_password = CqlConfig {
        user: None,
        password: None,
        ..good
    };
    let line = refusal(no_password).await;
    assert!(line.contains("cql.user"), "{line}");
}

#[tokio::test]
async fn a_node_without_tls_is_told_apart() {
    let (Some(node), Some((config, _))) = (node(), secured()) else {
        return;
    };
    let plain = CqlConfig {
        nodes: vec![node],
        ..config
    };
    let line = refusal(plain).await;
    assert!(
        line.contains("speaks no TLS") && line.contains("unset cql.tls_ca"),
        "{line}"
    );
}
