//! The ledger of tasks: rows of the tables' first version go on.

use std::sync::Arc;

use hearth_store::{Created, Error, Store, TaskQuery, TaskRow};
use hearth_types::{DeviceKey, TaskId, TenantId, Timestamp};

use super::support::{Keyspace, device, node};

pub fn row(id: TaskId, revision: u64, open: bool, payload: u8) -> TaskRow {
    TaskRow {
        id,
        device: device(1),
        open,
        revision,
        payload: vec![payload],
    }
}

/// The keyspace's only task, of the id below, as the first version wrote it with revision 3: the state in `task`, its
/// revision the cell's time.
pub async fn as_the_first_tables_have_it(keyspace: &Keyspace) {
    let column = async |name: &str| {
        let text = format!("SELECT CAST({name} AS bigint) FROM $.task");
        keyspace.number(&text).await
    };
    let (day, shard) = (column("day").await, column("shard").await);
    keyspace
        .run(&format!(
            "INSERT INTO $.task (tenant, day, shard, id, device, state, key) \
             VALUES ('{}', {day}, {shard}, 0x{}, '001122-X-1', 0x0007, 'key') \
             USING TIMESTAMP 3",
            TenantId::default(),
            "01".repeat(16)
        ))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_of_the_first_tables_goes_on() {
    let Some(node) = node() else { return };
    let keyspace = Keyspace::new(&node).await;
    let stores = [keyspace.store().await, keyspace.store().await];
    let (store, tenant) = (&stores[0], TenantId::default());
    let id = TaskId::from_bytes([1; 16]);
    let created = store.create_task(row(id, 1, true, 1), Some("key")).await;
    assert_eq!(created.unwrap(), Created::New);
    as_the_first_tables_have_it(&keyspace).await;
    keyspace.run("TRUNCATE $.ledger").await;
    let third = row(id, 3, true, 7);
    for found in [
        store.task(&tenant, id).await,
        store.decided_task(&tenant, id).await,
    ] {
        assert_eq!(found.unwrap().as_ref(), Some(&third));
    }
    store.put_tasks(vec![third]).await.unwrap();
    for refused in [
        row(id, 3, true, 8),
        row(id, 5, true, 8),
        row(id, 1, true, 1),
    ] {
        let refused = store.put_tasks(vec![refused]).await.unwrap_err();
        assert!(
            matches!(refused, Error::Conflict(task) if task == id),
            "{refused}"
        );
    }
    // Two processes move it, and one does.
    let mut calls = tokio::task::JoinSet::new();
    for n in 0..8 {
        let store = Arc::new(stores[usize::from(n) % 2].clone());
        calls.spawn(async move { store.put_tasks(vec![row(id, 4, true, n)]).await.map(|()| n) });
    }
    let mut won = Vec::new();
    while let Some(done) = calls.join_next().await {
        match done.unwrap() {
            Ok(n) => won.push(n),
            Err(Error::Conflict(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(won.len(), 1);
    assert_eq!(
        store.task(&tenant, id).await.unwrap(),
        Some(row(id, 4, true, won[0]))
    );
    let bucket = DeviceKey::bucket(&device(1));
    assert_eq!(store.open_tasks(bucket, None, 9).await.unwrap().len(), 1);
    let last = row(id, 5, false, 9);
    store.put_tasks(vec![last.clone()]).await.unwrap();
    assert_eq!(store.open_tasks(bucket, None, 9).await.unwrap().len(), 0);
    let query = TaskQuery {
        tenant: tenant.clone(),
        device: None,
        open_only: false,
        before: None,
        limit: 9,
    };
    assert_eq!(store.tasks(&query).await.unwrap(), [last]);
    // And goes when its time has come, with its key.
    let before = Timestamp::from_micros(i64::MAX / 2);
    assert_eq!(store.trim_tasks(before, 9).await.unwrap(), 1);
    assert_eq!(store.task(&tenant, id).await.unwrap(), None);
    assert_eq!(store.task_by_key(&tenant, "key").await.unwrap(), None);
    assert_eq!(store.tasks(&query).await.unwrap(), []);
    assert_eq!(store.trim_tasks(before, 9).await.unwrap(), 0);
    keyspace.drop().await;
}
