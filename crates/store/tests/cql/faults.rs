//! Trouble: it is told as such, soon, and it passes without a restart.

use std::time::{Duration, Instant};

use hearth_config::HumanDuration;
use hearth_store::{CqlConfig, CqlStore, IndexQuery, Store, TaskRow};
use hearth_telemetry::Registry;
use hearth_types::{TaskId, TenantId, Timestamp};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::support::{HISTORY, Keyspace, device, node, value};

/// A table that is missing for a while is trouble that passes, and no reason to throw data away.
#[tokio::test]
async fn trouble_is_unavailable_and_passes_without_a_restart() {
    let Some(node) = node() else { return };
    let keyspace = Keyspace::new(&node).await;
    let store = keyspace.store().await;
    let write = || vec![value(&device(1), "Device.X".into(), 1, "x")];
    keyspace.run("DROP TABLE $.parameter").await;
    let started = Instant::now();
    let error = store.write(write()).await.unwrap_err();
    assert!(error.is_retryable(), "{error:?}");
    assert!(started.elapsed() < Duration::from_secs(6));
    let search = IndexQuery {
        tenant: TenantId::default(),
        attribute: "tag".into(),
        value: String::new(),
        prefix: true,
        after: None,
        limit: 10,
    };
    assert!(
        store.search(&search).await.unwrap().is_empty(),
        "the rest works"
    );
    keyspace.drop().await;
}

/// What a proxy before the node does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Line {
    Up,
    /// Bytes stay where they are, as when a node is stopped and not killed.
    Frozen,
    /// Connections break, and new ones are refused.
    Down,
}

/// Listens before `node`; answers its address and what to do with the line.
async fn proxy(node: String) -> (String, watch::Sender<Line>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (set, line) = watch::channel(Line::Up);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (node, line) = (node.clone(), line.clone());
            tokio::spawn(async move {
                if *line.borrow() != Line::Down {
                    forward(client, &node, line).await;
                }
            });
        }
    });
    (address, set)
}

async fn forward(mut client: TcpStream, node: &str, mut line: watch::Receiver<Line>) {
    let mut server = TcpStream::connect(node).await.unwrap();
    loop {
        let now = *line.borrow_and_update();
        let changed = async {
            // The sender's end is the test's.
            line.changed().await.is_ok()
        };
        match now {
            Line::Up => tokio::select! {
                _ = copy_bidirectional(&mut client, &mut server) => return,
                goes_on = changed => if !goes_on { return },
            },
            Line::Frozen => {
                if !changed.await {
                    return;
                }
            }
            Line::Down => return,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_freezes_or_dies_is_unavailable_and_comes_back() {
    let Some(node) = node() else { return };
    let keyspace = Keyspace::new(&node).await;
    let (address, line) = proxy(node).await;
    let config = CqlConfig {
        nodes: vec![address],
        request_timeout: HumanDuration::secs(2),
        ..keyspace.config()
    };
    let store = CqlStore::connect(&config, HISTORY, &Registry::new())
        .await
        .unwrap();
    let write = |time| vec![value(&device(1), "Device.X".into(), time, "x")];
    store.write(write(1)).await.unwrap();
    for (time, fault) in [(2, Line::Frozen), (3, Line::Down)] {
        line.send(fault).unwrap();
        let started = Instant::now();
        let error = store.write(write(time)).await.unwrap_err();
        assert!(error.is_retryable(), "{error:?}");
        assert!(
            started.elapsed() < Duration::from_secs(3),
            "{:?}",
            started.elapsed()
        );
        // Once that is known, nobody waits.
        tokio::time::sleep(Duration::from_secs(7)).await;
        let started = Instant::now();
        store.write(write(time)).await.unwrap_err();
        let took = started.elapsed();
        assert!(
            took < Duration::from_millis(500),
            "known to be down, and yet {took:?}"
        );
        line.send(Line::Up).unwrap();
        let back = Instant::now();
        while store.write(write(time)).await.is_err() {
            assert!(
                back.elapsed() < Duration::from_secs(20),
                "it doesn't come back"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        eprintln!("back after {:?}", back.elapsed());
        let found = store.parameters(&device(1), "", None, 9).await.unwrap();
        let (.., at) = found[0].1.value.clone().unwrap();
        assert_eq!(at, Timestamp::from_micros(time));
    }
    keyspace.drop().await;
}

/// A task's revision whose writing was never answered is written by the same call again, once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revision_of_unknown_outcome_can_be_written_again() {
    let Some(node) = node() else { return };
    let keyspace = Keyspace::new(&node).await;
    let (address, line) = proxy(node).await;
    let config = CqlConfig {
        nodes: vec![address],
        request_timeout: HumanDuration::secs(2),
        ..keyspace.config()
    };
    let store = CqlStore::connect(&config, HISTORY, &Registry::new())
        .await
        .unwrap();
    let row = |revision| TaskRow {
        id: TaskId::from_bytes([1; 16]),
        device: device(1),
        open: true,
        revision,
        payload: vec![7],
    };
    store.create_task(row(1), None).await.unwrap();
    for revision in 2..=6 {
        let put = tokio::spawn({
            let (store, row) = (store.clone(), row(revision));
            async move { store.put_tasks(vec![row]).await }
        });
        // Somewhere between the request and its answer.
        tokio::time::sleep(Duration::from_millis(2 * (revision - 2))).await;
        line.send(Line::Frozen).unwrap();
        let started = Instant::now();
        let told = put.await.unwrap();
        assert!(started.elapsed() < Duration::from_secs(6));
        line.send(Line::Up).unwrap();
        eprintln!("revision {revision}: {told:?}");
        let back = Instant::now();
        while let Err(error) = store.put_tasks(vec![row(revision)]).await {
            assert!(error.is_retryable(), "{error}");
            assert!(back.elapsed() < Duration::from_secs(20), "{error}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let found = store.decided_task(&TenantId::default(), row(1).id).await;
        assert_eq!(found.unwrap().unwrap(), row(revision));
    }
    keyspace.drop().await;
}
