//! What it costs that a task's revision is decided among the replicas (Paxos), beside a plain write:
//!
//! ```text
//! HEARTH_TEST_CQL=127.0.0.1:9042 cargo run --release -p hearth-store --example cql_commits
//! ```
//!
//! Argument: how many of each (2000). The keyspace is its own, and dropped at the end.

#![allow(clippy::unwrap_used, clippy::cast_precision_loss)]

use std::time::{Duration, Instant};

use futures::StreamExt;
use hearth_store::{CqlConfig, CqlStore, Document, DocumentKind, Store, TaskRow};
use hearth_telemetry::Registry;
use hearth_types::{DeviceKey, TaskId, TenantId, Timestamp};
use scylla::client::session_builder::SessionBuilder;

const KEYSPACE: &str = "hearth_measure_commits";
/// Bytes of a task, about.
const SIZE: usize = 600;

#[tokio::main]
async fn main() {
    let Ok(node) = std::env::var("HEARTH_TEST_CQL") else {
        println!("SKIPPED: HEARTH_TEST_CQL is not set");
        return;
    };
    let count = std::env::args().nth(1).map_or(2000, |n| n.parse().unwrap());
    let config = CqlConfig {
        nodes: vec![node.clone()],
        keyspace: KEYSPACE.into(),
        ..CqlConfig::default()
    };
    let history = Duration::from_secs(3600);
    let store = CqlStore::connect(&config, history, &Registry::new())
        .await
        .unwrap();
    for at_once in [1, 8, 32] {
        let ids: Vec<TaskId> = (0..count).map(|_| TaskId::generate()).collect();
        let plain = measure(at_once, &ids, |id| {
            let document = Document {
                key: id.to_string(),
                time: Timestamp::from_micros(1),
                payload: vec![7; SIZE],
            };
            let store = store.clone();
            async move {
                let tenant = TenantId::default();
                let put = store.put_document(DocumentKind::Setting, &tenant, document);
                put.await.unwrap();
            }
        });
        let plain = plain.await;
        let create = measure(at_once, &ids, |id| {
            let store = store.clone();
            async move {
                store.create_task(row(id, 1), None).await.unwrap();
            }
        });
        let create = create.await;
        let commit = measure(at_once, &ids, |id| {
            let store = store.clone();
            async move { store.put_tasks(vec![row(id, 2)]).await.unwrap() }
        });
        let commit = commit.await;
        for (what, times) in [
            ("plain write", plain),
            ("create", create),
            ("commit", commit),
        ] {
            println!("{at_once:3} at once, {what:12} {times}");
        }
    }
    let session = SessionBuilder::new()
        .known_node(&node)
        .build()
        .await
        .unwrap();
    let text = format!("DROP KEYSPACE {KEYSPACE}");
    let mut drop = scylla::statement::unprepared::Statement::new(text);
    drop.set_request_timeout(Some(Duration::from_secs(60)));
    session.query_unpaged(drop, ()).await.unwrap();
}

fn row(id: TaskId, revision: u64) -> TaskRow {
    TaskRow {
        id,
        device: DeviceKey::new(TenantId::default(), "001122-X-1".parse().unwrap()),
        open: true,
        revision,
        payload: vec![7; SIZE],
    }
}

/// Rate, median and 99th percentile.
async fn measure<F: Future<Output = ()>>(
    at_once: usize,
    ids: &[TaskId],
    call: impl Fn(TaskId) -> F,
) -> String {
    let started = Instant::now();
    let calls = futures::stream::iter(ids.iter().map(|id| {
        let call = call(*id);
        async move {
            let started = Instant::now();
            call.await;
            started.elapsed()
        }
    }));
    let mut times: Vec<Duration> = calls.buffer_unordered(at_once).collect().await;
    let rate = ids.len() as f64 / started.elapsed().as_secs_f64();
    times.sort_unstable();
    let place = |part: usize| times[(times.len() * part / 100).min(times.len() - 1)];
    let millis = |time: Duration| time.as_secs_f64() * 1000.0;
    format!(
        "{rate:7.0}/s, p50 {:6.2} ms, p99 {:6.2} ms",
        millis(place(50)),
        millis(place(99))
    )
}
