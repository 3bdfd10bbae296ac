//! The suite on the embedded backend, and what only it promises.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use hearth_engine::{Engine, EngineOptions};
use hearth_store::conformance::{Persistent, run_all};
use hearth_store::{
    Cell, CellValue, DeviceColumn, EmbeddedStore, Error, IndexEntry, Mutation, Store, TaskQuery,
    TaskRow,
};
use hearth_types::{DeviceKey, TaskId, TenantId, Timestamp};

struct Directory(tempfile::TempDir);

#[async_trait]
impl Persistent for Directory {
    async fn open(&self) -> Arc<dyn Store> {
        let engine = Engine::open(EngineOptions::new(self.0.path())).unwrap();
        Arc::new(EmbeddedStore::open(&engine).unwrap())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conformance() {
    run_all(|| async { Directory(tempfile::tempdir().unwrap()) }).await;
}

fn device(n: u32) -> DeviceKey {
    let id = format!("001122-X-{n}").parse().unwrap();
    DeviceKey::new(TenantId::default(), id)
}

fn seen(n: u32, time: i64) -> Mutation {
    let cell = Cell {
        value: CellValue::Int(time),
        time: Timestamp::from_micros(time),
    };
    Mutation::Device {
        device: device(n),
        cells: vec![(DeviceColumn::LastSeen, cell)],
    }
}

#[tokio::test]
async fn a_full_disk_refuses_writes_and_the_count_stays_right() {
    let dir = tempfile::tempdir().unwrap();
    let free = Arc::new(AtomicU64::new(u64::MAX));
    let mut options = EngineOptions::new(dir.path());
    options.space_check_interval = Duration::ZERO;
    let probe = Arc::clone(&free);
    options.space_probe = Arc::new(move |_| Ok(probe.load(Ordering::SeqCst)));
    let store = EmbeddedStore::open(&Engine::open(options).unwrap()).unwrap();
    store.write(vec![seen(1, 1)]).await.unwrap();
    free.store(0, Ordering::SeqCst);
    let refused = store.write(vec![seen(2, 1)]).await.unwrap_err();
    assert!(matches!(refused, Error::Full) && refused.is_retryable());
    free.store(u64::MAX, Ordering::SeqCst);
    let tenant = TenantId::default();
    assert_eq!(store.device_count(&tenant).await.unwrap(), 1);
    store.write(vec![seen(2, 1)]).await.unwrap();
    assert_eq!(store.device_count(&tenant).await.unwrap(), 2);
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_no_torn_merge() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::open(EngineOptions::new(dir.path())).unwrap();
    let store = EmbeddedStore::open(&engine).unwrap();
    for time in 1..200 {
        // Dropped at its first wait, which is the commit.
        let write = store.write(vec![seen(1, time)]);
        let _ = tokio::time::timeout(Duration::ZERO, write).await;
        let other = Cell {
            value: CellValue::Int(time),
            time: Timestamp::from_micros(time),
        };
        let write = Mutation::Device {
            device: device(1),
            cells: vec![(DeviceColumn::LastInform, other)],
        };
        store.write(vec![write]).await.unwrap();
        let row = store.device(&device(1)).await.unwrap().unwrap();
        assert_eq!(row[&DeviceColumn::LastSeen].value, CellValue::Int(time));
    }
}

#[tokio::test]
async fn removed_index_entries_are_forgotten_in_time() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::open(EngineOptions::new(dir.path())).unwrap();
    let store = EmbeddedStore::open(&engine).unwrap();
    let day = 24 * 3600 * 1_000_000;
    for n in 0..30 {
        let change = |value: i64, remove| Mutation::Index {
            entry: IndexEntry {
                device: device(1),
                attribute: "remote_address".into(),
                value: format!("10.0.0.{value}"),
            },
            time: Timestamp::from_micros(n * day),
            remove,
        };
        let write = vec![change(n, false), change(n - 1, true)];
        store.write(write).await.unwrap();
    }
    let kept = engine.keyspace("store.index_of").unwrap();
    let kept = kept.scan(&hearth_engine::Scan::all()).unwrap().len();
    assert!(kept <= 10, "{kept} entries for one address");
    assert_eq!(store.index_of(&device(1)).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_damaged_task_is_left_out_and_the_others_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::open(EngineOptions::new(dir.path())).unwrap();
    let store = EmbeddedStore::open(&engine).unwrap();
    let tenant = TenantId::default();
    let ids: Vec<TaskId> = (0..5).map(|_| TaskId::generate()).collect();
    for id in &ids {
        let row = TaskRow {
            id: *id,
            device: device(1),
            open: true,
            revision: 1,
            payload: vec![1],
        };
        store.create_task(row, None).await.unwrap();
    }
    let mut sorted = ids.clone();
    sorted.sort_unstable();
    let damaged = sorted[1];
    let tasks = engine.keyspace("store.task").unwrap();
    let mut key = b"default".to_vec();
    key.push(0);
    key.extend_from_slice(&damaged.to_bytes());
    assert!(tasks.contains(&key).unwrap(), "the key is written as here");
    let mut batch = hearth_engine::WriteBatch::new();
    batch.put(&tasks, key, b"\xff\xff\xff");
    engine.commit(batch).await.unwrap();

    assert!(store.task(&tenant, damaged).await.is_err());
    sorted.remove(1);
    // In pages: what is left out must not make one of them look like the last.
    let mut found: Vec<TaskId> = Vec::new();
    loop {
        let after = found.last().map(|id| (&tenant, *id));
        let page = store.open_tasks(device(1).bucket(), after, 2).await;
        let page = page.unwrap();
        found.extend(page.iter().map(|row| row.id));
        if page.len() < 2 {
            break;
        }
    }
    assert_eq!(found, sorted);
    assert_eq!(store.damaged_rows(), 1);
    sorted.reverse();
    for (of, open_only) in [
        (Some(1), true),
        (Some(1), false),
        (None, true),
        (None, false),
    ] {
        let mut query = TaskQuery {
            tenant: tenant.clone(),
            device: of.map(|n| device(n).device),
            open_only,
            before: None,
            limit: 3,
        };
        let first = store.tasks(&query).await.unwrap();
        assert_eq!(first.len(), 3, "{query:?}");
        query.before = first.last().map(|row| row.id);
        let rest = store.tasks(&query).await.unwrap();
        let all: Vec<TaskId> = first.iter().chain(&rest).map(|row| row.id).collect();
        assert_eq!(all, sorted, "{query:?}");
    }
}
