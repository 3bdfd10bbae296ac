//! The suite on the embedded backend, and what only it promises.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use hearth_engine::{Engine, EngineOptions};
use hearth_store::conformance::{Persistent, run_all};
use hearth_store::{
    Cell, CellValue, DeviceColumn, EmbeddedStore, Error, IndexEntry, Mutation, Store,
};
use hearth_types::{DeviceKey, TenantId, Timestamp};

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
