//! The probe fails when writes do, though what is read is answered.

use std::time::{Duration, Instant};

use hearth_store::{Document, DocumentKind, Store};
use hearth_types::TenantId;

use super::support::{Keyspace, at, node};

const MADE: &str = "CREATE TABLE $.document (
    tenant text, kind text, shard tinyint, key text, payload blob,
    PRIMARY KEY ((tenant, kind, shard), key))";
/// The same to who reads by the columns above; a write needs one column more.
const STUBBORN: &str = "CREATE TABLE $.document (
    tenant text, kind text, shard tinyint, key text, more text, payload blob,
    PRIMARY KEY ((tenant, kind, shard), key, more))";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_be_read_and_not_written() {
    let Some(node) = node() else { return };
    let keyspace = Keyspace::new(&node).await;
    let store = keyspace.store().await;
    let (tenant, kind) = (TenantId::default(), DocumentKind::Setting);
    // However often, it is one row.
    for _ in 0..3 {
        store.probe().await.unwrap();
    }
    let count = "SELECT COUNT(*) FROM $.document";
    assert_eq!(keyspace.number(count).await, 1);
    let real = Document {
        key: "real".into(),
        time: at(1),
        payload: vec![1],
    };
    store.put_document(kind, &tenant, real).await.unwrap();

    keyspace.run("DROP TABLE $.document").await;
    keyspace.run(STUBBORN).await;
    // The nodes forget what they had prepared in their own time.
    let deadline = Instant::now() + Duration::from_secs(20);
    while store.document(kind, &tenant, "real").await.is_err() {
        assert!(Instant::now() < deadline, "it can't be read");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let refused = store.probe().await.unwrap_err();
    println!("{refused:?}");
    assert!(refused.is_retryable(), "{refused:?}");

    keyspace.run("DROP TABLE $.document").await;
    keyspace.run(MADE).await;
    let deadline = Instant::now() + Duration::from_secs(20);
    while let Err(error) = store.probe().await {
        assert!(Instant::now() < deadline, "{error:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    keyspace.drop().await;
}
