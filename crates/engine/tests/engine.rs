//! What the contract promises, on real files: atomicity, order, concurrency, paging, closing.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hearth_engine::{Engine, EngineOptions, Error, Scan, WriteBatch};
use tempfile::TempDir;

fn open(dir: &Path) -> Engine {
    Engine::open(EngineOptions::new(dir)).unwrap()
}

#[tokio::test]
async fn commits_survive_reopening() {
    let dir = TempDir::new().unwrap();
    for round in 0..3_u8 {
        let engine = open(dir.path());
        let a = engine.keyspace("a").unwrap();
        let b = engine.keyspace("b").unwrap();
        for earlier in 0..round {
            assert_eq!(a.get([earlier + 1]).unwrap().unwrap(), "va");
            assert_eq!(b.get([earlier + 1]).unwrap().unwrap().len(), 100_000);
        }
        let mut batch = WriteBatch::new();
        batch.put(&a, [round + 1], "va");
        batch.put(&b, [round + 1], vec![7; 100_000]);
        engine.commit(batch).await.unwrap();
        assert!(a.contains([round + 1]).unwrap());
        if round == 1 {
            engine.close();
        }
    }
}

#[tokio::test]
async fn the_last_operation_on_a_key_wins_within_and_across_batches() {
    let dir = TempDir::new().unwrap();
    {
        let engine = open(dir.path());
        let k = engine.keyspace("k").unwrap();
        let mut batch = WriteBatch::new();
        batch.put(&k, "x", "1");
        batch.delete(&k, "x");
        batch.put(&k, "x", "2");
        batch.put(&k, "y", "1");
        batch.delete(&k, "y");
        engine.commit(batch).await.unwrap();
        assert_eq!(k.get("x").unwrap().unwrap(), "2");
        assert_eq!(k.get("y").unwrap(), None);

        // Enqueued together, these end in one group: their order is the order of the calls.
        let tickets: Vec<_> = (0..1000_u32)
            .map(|i| {
                let mut batch = WriteBatch::new();
                batch.put(&k, "n", i.to_be_bytes());
                engine.submit(batch)
            })
            .collect();
        for ticket in tickets {
            ticket.await.unwrap();
        }
        assert_eq!(*k.get("n").unwrap().unwrap(), 999_u32.to_be_bytes());
        assert!(engine.stats().groups < 1000);
    }
    let engine = open(dir.path());
    let k = engine.keyspace("k").unwrap();
    assert_eq!(k.get("x").unwrap().unwrap(), "2");
    assert_eq!(k.get("y").unwrap(), None);
    assert_eq!(*k.get("n").unwrap().unwrap(), 999_u32.to_be_bytes());
}

#[tokio::test]
async fn commit_enqueues_when_it_is_called() {
    let dir = TempDir::new().unwrap();
    let engine = open(dir.path());
    let k = engine.keyspace("k").unwrap();
    let mut first = WriteBatch::new();
    first.put(&k, "x", "first");
    let first = engine.commit(first);
    let mut second = WriteBatch::new();
    second.put(&k, "x", "second");
    engine.commit(second).await.unwrap();
    assert_eq!(k.get("x").unwrap().unwrap(), "second");
    first.await.unwrap();
    assert_eq!(k.get("x").unwrap().unwrap(), "second");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn readers_never_see_half_a_batch() {
    let dir = TempDir::new().unwrap();
    let engine = open(dir.path());
    let k = engine.keyspace("k").unwrap();
    let writers: Vec<_> = (0..8_u8)
        .map(|w| {
            let (engine, k) = (engine.clone(), k.clone());
            tokio::spawn(async move {
                for n in 0..100_u32 {
                    let mut batch = WriteBatch::new();
                    batch.put(&k, [b'a', w], n.to_be_bytes());
                    batch.put(&k, [b'b', w], n.to_be_bytes());
                    engine.commit(batch).await.unwrap();
                    assert_eq!(*k.get([b'a', w]).unwrap().unwrap(), n.to_be_bytes());
                }
            })
        })
        .collect();
    while !writers.iter().all(tokio::task::JoinHandle::is_finished) {
        // One scan is one snapshot.
        let all = k.scan(&Scan::all()).unwrap();
        for w in 0..8 {
            let value = |half: u8| all.iter().find(|e| *e.key == [half, w]).map(|e| &e.value);
            assert_eq!(value(b'a'), value(b'b'));
        }
        tokio::task::yield_now().await;
    }
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(engine.stats().commits, 800);
}

#[tokio::test]
async fn scans_page_both_ways() {
    let dir = TempDir::new().unwrap();
    let engine = open(dir.path());
    let k = engine.keyspace("k").unwrap();
    let mut batch = WriteBatch::new();
    for n in 0..100_u8 {
        batch.put(&k, [b'p', n], [n]);
    }
    batch.put(&k, "o", "before");
    batch.put(&k, "q", "behind");
    batch.put(&k, [0xff, 0xff], "last");
    engine.commit(batch).await.unwrap();

    for reverse in [false, true] {
        let scan = |after: Option<Vec<u8>>| {
            let mut scan = Scan::prefix("p").limit(7);
            if reverse {
                scan = scan.reverse();
            }
            after.map_or(scan.clone(), |key| scan.after(key))
        };
        let mut seen = Vec::new();
        let mut after = None;
        loop {
            let page = k.scan(&scan(after.take())).unwrap();
            let Some(last) = page.last() else { break };
            after = Some(last.key.to_vec());
            seen.extend(page.iter().map(|e| e.value[0]));
        }
        let mut expected: Vec<u8> = (0..100).collect();
        if reverse {
            expected.reverse();
        }
        assert_eq!(seen, expected);
    }
    assert_eq!(k.scan(&Scan::prefix([0xff])).unwrap().len(), 1);
    assert_eq!(k.scan(&Scan::range("q", "o")).unwrap().len(), 0);
    assert_eq!(k.scan(&Scan::range("o", "q")).unwrap().len(), 101);
    assert_eq!(k.scan(&Scan::all().max_bytes(1)).unwrap().len(), 1);
    assert_eq!(k.first().unwrap().unwrap().key, "o");
    assert_eq!(k.last().unwrap().unwrap().value, "last");
}

#[tokio::test]
async fn mistakes_are_named_and_cost_nothing() {
    let dir = TempDir::new().unwrap();
    let other_dir = TempDir::new().unwrap();
    let engine = open(dir.path());
    let other = open(other_dir.path());
    let k = engine.keyspace("k").unwrap();
    let mut batch = WriteBatch::new();
    batch.put(&k, "", "x");
    batch.put(&k, "fine", "x");
    assert!(matches!(
        engine.commit(batch).await,
        Err(Error::InvalidKey { len: 0 })
    ));
    let mut batch = WriteBatch::new();
    batch.put(&k, vec![1; 70_000], "x");
    assert!(matches!(
        engine.submit(batch).await,
        Err(Error::InvalidKey { len: 70_000 })
    ));
    let mut batch = WriteBatch::new();
    batch.put(&k, "a", "x");
    assert!(matches!(
        other.commit(batch).await,
        Err(Error::ForeignKeyspace)
    ));
    assert!(matches!(
        engine.keyspace(""),
        Err(Error::InvalidKeyspaceName)
    ));
    assert_eq!(k.first().unwrap(), None);
    engine.commit(WriteBatch::new()).await.unwrap();
}

#[tokio::test]
async fn a_closed_engine_says_so() {
    let dir = TempDir::new().unwrap();
    let engine = open(dir.path());
    let k = engine.keyspace("k").unwrap();
    let batch = |key: &str| {
        let mut batch = WriteBatch::new();
        batch.put(&k, key, "x");
        batch
    };
    let waiting: Vec<_> = (0..100)
        .map(|n| engine.submit(batch(&n.to_string())))
        .collect();
    engine.close();
    for ticket in waiting {
        ticket.await.unwrap();
    }
    assert!(matches!(
        engine.commit(batch("b")).await,
        Err(Error::Closed)
    ));
    assert!(k.get("1").is_err());
    drop((k, engine));
    let engine = open(dir.path());
    assert!(engine.keyspace("k").unwrap().contains("99").unwrap());
}

#[tokio::test]
async fn a_second_opener_is_told() {
    let dir = TempDir::new().unwrap();
    let engine = open(dir.path());
    let error = Engine::open(EngineOptions::new(dir.path())).unwrap_err();
    assert!(matches!(error, Error::Locked { .. }), "{error}");
    drop(engine);
    open(dir.path());
}

#[tokio::test]
async fn a_full_queue_refuses_submit_and_holds_commit() {
    let dir = TempDir::new().unwrap();
    let mut options = EngineOptions::new(dir.path());
    options.queue_bytes = 4096;
    let engine = Engine::open(options).unwrap();
    let k = engine.keyspace("k").unwrap();
    let batch = |n: u32| {
        let mut batch = WriteBatch::new();
        batch.put(&k, n.to_be_bytes(), vec![0; 100_000]);
        batch
    };
    let first = engine.submit(batch(0));
    let refused = engine.submit(batch(1)).await;
    assert!(matches!(refused, Err(Error::Overloaded)));
    assert!(refused.unwrap_err().is_retryable());
    let commits: Vec<_> = (2..20).map(|n| engine.commit(batch(n))).collect();
    for commit in commits {
        commit.await.unwrap();
    }
    first.await.unwrap();
    assert_eq!(k.scan(&Scan::all()).unwrap().len(), 19);
}

#[tokio::test]
async fn a_full_disk_refuses_and_recovers_by_itself() {
    let dir = TempDir::new().unwrap();
    let free = Arc::new(AtomicU64::new(u64::MAX));
    let mut options = EngineOptions::new(dir.path());
    options.disk_reserve_bytes = 1 << 20;
    options.space_check_interval = Duration::ZERO;
    let probe = Arc::clone(&free);
    options.space_probe = Arc::new(move |_| Ok(probe.load(Ordering::Relaxed)));
    let engine = Engine::open(options).unwrap();
    let k = engine.keyspace("k").unwrap();
    let batch = |key: &str| {
        let mut batch = WriteBatch::new();
        batch.put(&k, key, "x");
        batch
    };
    engine.commit(batch("a")).await.unwrap();

    free.store((1 << 20) - 1, Ordering::Relaxed);
    let error = engine.commit(batch("b")).await.unwrap_err();
    assert!(matches!(error, Error::DiskFull { .. }), "{error}");
    assert!(error.is_retryable() && !error.is_outcome_unknown());
    assert!(!k.contains("b").unwrap());
    assert!(k.contains("a").unwrap());

    // What frees space may use half of the reserve, and no more.
    let mut reclaiming = WriteBatch::new();
    reclaiming.delete(&k, "a");
    reclaiming.set_reclaims();
    engine.commit(reclaiming).await.unwrap();
    assert!(!k.contains("a").unwrap());
    free.store(1000, Ordering::Relaxed);
    let mut reclaiming = batch("c");
    reclaiming.set_reclaims();
    assert!(engine.commit(reclaiming).await.is_err());

    free.store(1 << 30, Ordering::Relaxed);
    engine.commit(batch("b")).await.unwrap();
    assert!(k.contains("b").unwrap());
    let stats = engine.stats();
    assert_eq!((stats.disk_full, stats.reopened), (2, 0));
    assert_eq!(stats.disk_free_bytes, 1 << 30);
}

#[test]
fn blocking_commits_work_without_a_runtime() {
    let dir = TempDir::new().unwrap();
    let engine = open(dir.path());
    let k = engine.keyspace("k").unwrap();
    let mut batch = WriteBatch::new();
    batch.put(&k, "a", "1");
    engine.commit_blocking(batch).unwrap();
    let mut batch = WriteBatch::new();
    batch.put(&k, "a", "2");
    engine.submit(batch).wait().unwrap();
    assert_eq!(k.get("a").unwrap().unwrap(), "2");
}
