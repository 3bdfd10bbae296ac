//! Starts: what is wrong is one clear line, and many at once make the tables once.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use hearth_config::HumanDuration;
use hearth_store::cql::ConnectError;
use hearth_store::{CqlConfig, CqlStore, Document, DocumentKind, Store};
use hearth_telemetry::Registry;
use hearth_types::{TaskId, TenantId};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::ledger::{as_the_first_tables_have_it, row};
use super::ring::ring;
use super::support::{HISTORY, Keyspace, at, device, node, value};

pub async fn refusal(config: CqlConfig) -> String {
    let error = CqlStore::connect(&config, HISTORY, &Registry::new()).await;
    let text = error.unwrap_err().to_string();
    println!("{text}");
    assert!(!text.contains('\n'), "{text}");
    text
}

#[tokio::test]
async fn wrong_settings_give_one_clear_line() {
    let Some(node) = node() else { return };
    let keyspace = Keyspace::new(&node).await;
    let base = CqlConfig {
        connect_timeout: HumanDuration::secs(2),
        ..keyspace.config()
    };
    let nobody = CqlConfig {
        nodes: vec!["127.0.0.1:9".into()],
        ..base.clone()
    };
    let line = refusal(nobody).await;
    assert!(
        line.contains("127.0.0.1:9") && line.contains("cql.nodes"),
        "{line}"
    );
    let elsewhere = CqlConfig {
        local_datacenter: Some("nowhere".into()),
        ..base.clone()
    };
    let line = refusal(elsewhere).await;
    assert!(
        line.contains("cql.local_datacenter") && line.contains("nowhere"),
        "{line}"
    );
    let absent = CqlConfig {
        create_keyspace: false,
        ..base.clone()
    };
    let line = refusal(absent).await;
    assert!(
        line.contains(&base.keyspace) && line.contains("create_keyspace"),
        "{line}"
    );
    let plain = CqlConfig {
        tls_ca: Some("/nonexistent/ca.crt".into()),
        ..base.clone()
    };
    let line = refusal(plain).await;
    assert!(
        line.contains("cql.tls_ca") && line.contains("ca.crt"),
        "{line}"
    );
    let none = CqlConfig {
        nodes: Vec::new(),
        ..base.clone()
    };
    assert!(refusal(none).await.contains("cql.nodes"));
    let copies = CqlConfig {
        replication: vec!["dc9:3".into()],
        ..base.clone()
    };
    let line = refusal(copies).await;
    assert!(line.contains("cql.replication"), "{line}");
    keyspace.drop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_starts_make_the_tables_once_and_a_newer_keyspace_is_refused() {
    let Some(node) = node() else { return };
    let keyspace = Keyspace::new(&node).await;
    let mut starts = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let config = keyspace.config();
        starts.spawn(async move {
            let registry = Registry::new();
            let store = CqlStore::connect(&config, HISTORY, &registry)
                .await
                .unwrap();
            store
                .write(vec![value(&device(1), "Device.X".into(), 1, "x")])
                .await
                .unwrap();
            registry.render()
        });
    }
    while let Some(done) = starts.join_next().await {
        let metrics = done.unwrap();
        let written = "hearth_cql_request_seconds_count{statement=\"parameter_put\"} 1";
        assert!(metrics.contains(written), "{metrics}");
        assert!(
            metrics.contains("hearth_cql_nodes_connected 1"),
            "{metrics}"
        );
    }
    keyspace
        .run("INSERT INTO $.schema_version (part, version) VALUES ('store', 999)")
        .await;
    let refused = CqlStore::connect(&keyspace.config(), HISTORY, &Registry::new()).await;
    assert!(
        matches!(refused, Err(ConnectError::Newer { stored: 999, .. })),
        "{refused:?}"
    );
    keyspace.drop().await;
}

/// Makes the tables and takes away what came after their first version.
async fn first_tables(keyspace: &Keyspace) {
    drop(keyspace.store().await);
    keyspace.run("DROP TABLE $.ledger").await;
    keyspace
        .run("DELETE FROM $.schema_version WHERE part = 'store' AND version > 1")
        .await;
}

/// The version of the tables.
async fn version(keyspace: &Keyspace) -> i64 {
    let text = "SELECT CAST(version AS bigint) FROM $.schema_version WHERE part = 'store' LIMIT 1";
    keyspace.number(text).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_tables_are_brought_up_to_date_with_their_rows() {
    let Some(node) = node() else { return };
    let keyspace = Keyspace::new(&node).await;
    let (id, tenant) = (TaskId::from_bytes([1; 16]), TenantId::default());
    let store = keyspace.store().await;
    let newest = version(&keyspace).await;
    store.create_task(row(id, 1, true, 1), None).await.unwrap();
    let kept = vec![value(&device(1), "Device.X".into(), 1, "x")];
    store.write(kept).await.unwrap();
    as_the_first_tables_have_it(&keyspace).await;
    drop(store);
    first_tables(&keyspace).await;
    assert_eq!(version(&keyspace).await, 1);

    let store = keyspace.store().await;
    assert_eq!(version(&keyspace).await, newest);
    let found = store.parameters(&device(1), "", None, 9).await.unwrap();
    assert_eq!(found.len(), 1);
    let found = store.task(&tenant, id).await.unwrap();
    assert_eq!(found, Some(row(id, 3, true, 7)));
    let next = row(id, 4, true, 8);
    store.put_tasks(vec![next.clone()]).await.unwrap();
    assert_eq!(store.task(&tenant, id).await.unwrap(), Some(next));
    keyspace.drop().await;
}

/// The second version placed documents by their whole keys.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_of_the_second_version_are_found() {
    let Some(node) = node() else { return };
    let keyspace = Keyspace::new(&node).await;
    let (kind, tenant) = (DocumentKind::Credential, TenantId::default());
    let store = keyspace.store().await;
    let prefix = "device/001122-X-1/";
    // In a partition each: in all but one they are wrong.
    for shard in 0..16 {
        keyspace
            .run(&format!(
                "INSERT INTO $.document (tenant, kind, shard, key, payload) VALUES \
                 ('default', 'credential', {shard}, '{prefix}{shard:02}', 0x{shard:02x}) \
                 USING TIMESTAMP {}",
                1_000 + shard
            ))
            .await;
    }
    let found = store.documents(kind, &tenant, prefix, None, 99).await;
    assert!(found.unwrap().len() <= 1);
    drop(store);
    keyspace
        .run("DELETE FROM $.schema_version WHERE part = 'store' AND version > 2")
        .await;

    let store = keyspace.store().await;
    let found = store.documents(kind, &tenant, prefix, None, 99).await;
    let found = found.unwrap();
    let expected = (0..16_u8).map(|shard| Document {
        key: format!("{prefix}{shard:02}"),
        time: at(1_000 + i64::from(shard)),
        payload: vec![shard],
    });
    assert_eq!(found, expected.collect::<Vec<_>>());
    let rows = "SELECT COUNT(*) FROM $.document WHERE kind = 'credential' ALLOW FILTERING";
    assert_eq!(keyspace.number(rows).await, 16, "none is left behind");
    keyspace.drop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_of_a_process_that_died_is_waited_for() {
    let Some(node) = node() else { return };
    let keyspace = Keyspace::new(&node).await;
    first_tables(&keyspace).await;
    let started = Instant::now();
    keyspace
        .run(
            "INSERT INTO $.schema_lock (part, owner) VALUES ('store', 'dead') \
             IF NOT EXISTS USING TTL 5",
        )
        .await;
    let store = keyspace.store().await;
    let took = started.elapsed();
    assert!(
        took >= Duration::from_secs(4),
        "it was not waited for: {took:?}"
    );
    let written = vec![value(&device(1), "Device.X".into(), 1, "x")];
    store.write(written).await.unwrap();
    keyspace.drop().await;
}

/// `CREATE TABLE IF NOT EXISTS` looks at one node only: two that make a table at once through two nodes could give it
/// two ids, and the nodes would never agree again. Each start here begins with another node.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_starts_through_different_nodes_make_the_tables_once() {
    let Some(nodes) = ring() else { return };
    for round in 0..2 {
        let keyspace = Keyspace::new(&nodes[round % nodes.len()]).await;
        let mut starts = tokio::task::JoinSet::new();
        for start in 0..6_u32 {
            let config = CqlConfig {
                nodes: vec![nodes[start as usize % nodes.len()].clone()],
                connect_timeout: HumanDuration::secs(60),
                ..keyspace.config()
            };
            starts.spawn(async move {
                let store = CqlStore::connect(&config, HISTORY, &Registry::new()).await;
                let store = store.unwrap_or_else(|error| panic!("{error}"));
                let device = device(start);
                let written = vec![value(&device, "Device.X".into(), 1, "x")];
                store.write(written).await.unwrap();
                store.parameters(&device, "", None, 9).await.unwrap().len()
            });
        }
        while let Some(found) = starts.join_next().await {
            assert_eq!(found.unwrap(), 1, "round {round}");
        }
        let mut known = HashSet::new();
        for node in &nodes {
            known.insert(keyspace.ids_known_by(node).await);
        }
        assert_eq!(
            known.len(),
            1,
            "the nodes know tables by other ids: {known:?}"
        );
        keyspace.drop().await;
    }
}

/// A node that is too busy: it takes connections and answers no question about the cluster.
async fn greet_only(mut stream: TcpStream) -> std::io::Result<()> {
    const SUPPORTED: u8 = 6;
    const READY: u8 = 2;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        let [_, _, id_high, id_low, asked, length @ ..] = head;
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap();
        stream.read_exact(&mut vec![0; length]).await?;
        let (answer, body): (u8, &[u8]) = match asked {
            // OPTIONS: no options.
            5 => (SUPPORTED, &[0, 0]),
            // STARTUP and REGISTER.
            1 | 11 => (READY, &[]),
            _ => continue,
        };
        let length = u8::try_from(body.len()).unwrap();
        let head = [0x84, 0, id_high, id_low, answer, 0, 0, 0, length];
        stream.write_all(&[&head, body].concat()).await?;
    }
}

#[tokio::test]
async fn nodes_that_tell_nothing_are_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let busy = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(greet_only(stream));
        }
    });
    let config = CqlConfig {
        nodes: vec![busy.clone()],
        connect_timeout: HumanDuration::secs(1),
        request_timeout: HumanDuration::secs(1),
        ..CqlConfig::default()
    };
    let line = refusal(config).await;
    assert!(line.contains("no CQL node answers"), "{line}");
    assert!(line.contains(&busy), "{line}");
}
