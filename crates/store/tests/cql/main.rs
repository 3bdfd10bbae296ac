//! The suite on ScyllaDB or Cassandra at `HEARTH_TEST_CQL`, and what only that backend promises.
//!
//! Each run has a keyspace of its own, dropped at the end.

#![allow(clippy::unwrap_used)]

mod faults;
mod ledger;
mod probe;
mod ring;
mod starts;
mod support;
mod tls;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hearth_store::conformance::{Persistent, run_all};
use hearth_store::{
    CellValue, CqlStore, Created, DeviceColumn, Error, HistoryQuery, HistoryRow, IndexEntry,
    Mutation, Store, TaskRow,
};
use hearth_telemetry::Registry;
use hearth_types::{TaskId, TenantId, Timestamp};

use support::{Keyspace, at, cell, device, node, value};

/// All cases share a keyspace that is emptied between them: making tables takes seconds.
struct Emptied(Arc<Keyspace>);

#[async_trait]
impl Persistent for Emptied {
    async fn open(&self) -> Arc<dyn Store> {
        Arc::new(self.0.store().await)
    }

    fn trims_history(&self) -> bool {
        false
    }
}

const TABLES: [&str; 15] = [
    "device",
    "device_list",
    "tenant",
    "parameter",
    "device_event",
    "device_event_period",
    "device_index",
    "device_index_of",
    "task",
    "ledger",
    "task_day",
    "task_by_device",
    "open_task",
    "task_key",
    "document",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conformance() {
    let Some(node) = node() else { return };
    let keyspace = Arc::new(Keyspace::new(&node).await);
    drop(keyspace.store().await);
    run_all(|| async {
        for table in TABLES {
            keyspace.run(&format!("TRUNCATE $.{table}")).await;
        }
        Emptied(Arc::clone(&keyspace))
    })
    .await;
    keyspace.run("DROP KEYSPACE IF EXISTS $").await;
}

/// Two processes write the same device, out of order; each reads what the other wrote.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_merge() {
    let Some(node) = node() else { return };
    let keyspace = Keyspace::new(&node).await;
    let (one, two) = (keyspace.store().await, keyspace.store().await);
    let device = device(1);
    let mut writes = tokio::task::JoinSet::new();
    for time in 1..=100_i64 {
        let store = if time % 2 == 0 {
            one.clone()
        } else {
            two.clone()
        };
        let device = device.clone();
        writes.spawn(async move {
            let text = format!("{time:03}");
            let mut batch = vec![
                cell(
                    &device,
                    DeviceColumn::SoftwareVersion,
                    CellValue::Text(text.clone()),
                    time,
                ),
                value(&device, "Device.X".into(), time, &text),
            ];
            if time == 50 {
                batch.push(Mutation::DeleteParameters {
                    device: device.clone(),
                    path: "Device.A.".into(),
                    time: at(50),
                });
            }
            batch.push(value(&device, format!("Device.A.{time}"), time, &text));
            store.write(batch).await.unwrap();
        });
    }
    while let Some(done) = writes.join_next().await {
        done.unwrap();
    }
    for store in [&one, &two] {
        let row = store.device(&device).await.unwrap().unwrap();
        let version = &row[&DeviceColumn::SoftwareVersion];
        assert_eq!(version.value, CellValue::Text("100".into()));
        assert_eq!(version.time, at(100));
        let found = store
            .parameters(&device, "Device.A.", None, 1000)
            .await
            .unwrap();
        assert_eq!(found.len(), 50, "what is not newer than the delete went");
        assert_eq!(store.device_count(&device.tenant).await.unwrap(), 1);
    }
    keyspace.drop().await;
}

#[tokio::test]
async fn first_seen_is_the_earliest_and_starts_anew_after_a_delete() {
    let Some(node) = node() else { return };
    let keyspace = Keyspace::new(&node).await;
    let store = keyspace.store().await;
    let device = device(1);
    let seen = |time: i64| {
        cell(
            &device,
            DeviceColumn::FirstSeen,
            CellValue::Int(time),
            -time,
        )
    };
    for time in [7, 5, 9] {
        store.write(vec![seen(time)]).await.unwrap();
    }
    let row = store.device(&device).await.unwrap().unwrap();
    let first = &row[&DeviceColumn::FirstSeen];
    assert_eq!((&first.value, first.time), (&CellValue::Int(5), at(-5)));
    store.delete_device(&device).await.unwrap();
    assert_eq!(store.device(&device).await.unwrap(), None);
    let now = Timestamp::ZERO.saturating_add(
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap(),
    );
    let later = now.as_micros() + 1_000_000;
    store.write(vec![seen(5), seen(later)]).await.unwrap();
    let row = store.device(&device).await.unwrap().unwrap();
    assert_eq!(row[&DeviceColumn::FirstSeen].value, CellValue::Int(later));
    let listed = store.devices(&device.tenant, None, 9).await.unwrap();
    assert_eq!(listed.len(), 1);
    keyspace.drop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn big_devices_and_pages() {
    let Some(node) = node() else { return };
    let keyspace = Keyspace::new(&node).await;
    let store = keyspace.store().await;
    let big = device(1);
    let path = |n: u32| format!("Device.WiFi.AccessPoint.{n:05}.AssociatedDeviceNumberOfEntries");
    let writes = (0..5000).map(|n| value(&big, path(n), 1, &n.to_string()));
    store.write(writes.collect()).await.unwrap();
    // More than a page of the driver, and several of the caller's.
    let all = store.parameters(&big, "", None, usize::MAX).await.unwrap();
    assert_eq!(all.len(), 5000);
    assert!(all.is_sorted_by_key(|(path, _)| path.clone()));
    let mut seen: Vec<String> = Vec::new();
    loop {
        let after = seen.last().map(String::as_str);
        let page = store
            .parameters(&big, "Device.WiFi.", after, 999)
            .await
            .unwrap();
        let end = page.len() < 999;
        seen.extend(page.into_iter().map(|(path, _)| path));
        if end {
            break;
        }
    }
    assert_eq!(seen.len(), 5000);
    let paths: Vec<String> = (0..5000).step_by(7).map(path).collect();
    let rows = store.parameters_by_path(&big, &paths).await.unwrap();
    assert!(rows.iter().all(Option::is_some) && rows.len() == paths.len());
    let delete = Mutation::DeleteParameters {
        device: big.clone(),
        path: "Device.WiFi.".into(),
        time: at(1),
    };
    store.write(vec![delete]).await.unwrap();
    assert!(
        store
            .parameters(&big, "", None, 9)
            .await
            .unwrap()
            .is_empty()
    );
    // 300 devices, in pages that end inside and between shards.
    let write = (0..300).map(|n| {
        cell(
            &device(n),
            DeviceColumn::Oui,
            CellValue::Text("x".into()),
            1,
        )
    });
    store.write(write.collect()).await.unwrap();
    for size in [1, 16, 17, 100, 299, 300, 301] {
        let mut seen = Vec::new();
        while let page @ [_, ..] = &store.devices(&big.tenant, seen.last(), size).await.unwrap()[..]
        {
            seen.extend(page.iter().map(|(id, _)| id.clone()));
            if size == 1 && seen.len() > 20 {
                break;
            }
        }
        assert!(
            seen.is_sorted() && (seen.len() == 300 || size == 1),
            "pages of {size}"
        );
    }
    keyspace.drop().await;
}

/// Many calls with the same key, from two processes: one task, and it is there for all of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_belongs_to_one_task() {
    let Some(node) = node() else { return };
    let keyspace = Keyspace::new(&node).await;
    let stores = [keyspace.store().await, keyspace.store().await];
    for round in 0..5 {
        let key = format!("key {round}");
        let mut calls = tokio::task::JoinSet::new();
        for n in 0..16_usize {
            let (store, key) = (stores[n % 2].clone(), key.clone());
            calls.spawn(async move {
                let task = TaskRow {
                    id: TaskId::generate(),
                    device: device(1),
                    open: true,
                    revision: 1,
                    payload: vec![1],
                };
                let id = task.id;
                let created = store.create_task(task, Some(&key)).await.unwrap();
                let id = match created {
                    Created::New => id,
                    Created::Existed(id) => id,
                };
                let row = store.task(&TenantId::default(), id).await.unwrap();
                assert!(row.is_some(), "a key's task is there");
                (id, created == Created::New)
            });
        }
        let mut ids = HashSet::new();
        let mut new = 0;
        while let Some(done) = calls.join_next().await {
            let (id, created) = done.unwrap();
            ids.insert(id);
            new += usize::from(created);
        }
        assert_eq!((ids.len(), new), (1, 1));
    }
    let bucket = device(1).bucket();
    let open = stores[0].open_tasks(bucket, None, 100).await.unwrap();
    assert_eq!(open.len(), 5);
    keyspace.drop().await;
}

#[tokio::test]
async fn what_has_no_place_is_refused() {
    let Some(node) = node() else { return };
    let keyspace = Keyspace::new(&node).await;
    let store = keyspace.store().await;
    let device = device(1);
    let refused = [
        value(&device, "x".repeat(40_000), 1, "v"),
        value(&device, "Device.X".into(), 1, &"x".repeat(5 << 20)),
        value(&device, "Device.X".into(), i64::MAX, "v"),
        value(&device, "Device.X".into(), i64::MIN, "v"),
        cell(&device, DeviceColumn::Oui, CellValue::Int(1), 1),
        Mutation::Index {
            entry: IndexEntry {
                device: device.clone(),
                attribute: "tag".into(),
                value: "x".repeat(2000),
            },
            time: at(1),
            remove: false,
        },
    ];
    for mutation in refused {
        let error = store.write(vec![mutation]).await.unwrap_err();
        assert!(matches!(error, Error::TooLarge(_)), "{error}");
    }
    // As large as it may be.
    let write = vec![value(&device, "Device.X".into(), 0, &"x".repeat(4_000_000))];
    store.write(write).await.unwrap();
    keyspace.drop().await;
}

#[tokio::test]
async fn history_expires_and_spans_partitions() {
    let Some(node) = node() else { return };
    let keyspace = Keyspace::new(&node).await;
    let (config, registry) = (keyspace.config(), Registry::new());
    let short = CqlStore::connect(&config, Duration::from_secs(2), &registry);
    let (short, store) = (short.await.unwrap(), keyspace.store().await);
    let device = device(1);
    let entry = |time: i64| Mutation::History {
        device: device.clone(),
        row: HistoryRow {
            time: at(time),
            id: u64::MAX - u64::try_from(time).unwrap(),
            path: "Device.X".into(),
            payload: vec![1],
        },
    };
    let month = 30 * 24 * 3_600_000_000_i64;
    store
        .write((0..40).map(|n| entry(n * month / 4)).collect())
        .await
        .unwrap();
    short.write(vec![entry(month * 11)]).await.unwrap();
    let mut query = HistoryQuery {
        device: device.clone(),
        path: None,
        since: Timestamp::ZERO,
        until: Timestamp::ZERO,
        before: None,
        limit: 7,
    };
    tokio::time::sleep(Duration::from_secs(4)).await;
    let mut seen = Vec::new();
    loop {
        let page = store.history(&query).await.unwrap();
        query.before = page.last().map(|row| (row.time, row.id));
        seen.extend(page.iter().map(|row| row.time.as_micros()));
        if page.len() < query.limit {
            break;
        }
    }
    let expected: Vec<i64> = (0..40).rev().map(|n| n * month / 4).collect();
    assert_eq!(seen, expected, "the short-lived one has gone");
    keyspace.drop().await;
}
