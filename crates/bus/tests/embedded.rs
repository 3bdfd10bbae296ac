//! The embedded backend: the conformance suite, and what is its own.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hearth_bus::conformance::{self, Harness, message};
use hearth_bus::{Bus, ConsumerSpec, EmbeddedBus, EmbeddedOptions, Error, Stream};
use hearth_engine::{Engine, EngineOptions};
use parking_lot::Mutex;
use tempfile::TempDir;

/// A crash is simulated by a copy of the files as they are: what the process hadn't written to
/// them is lost.
struct Embedded {
    root: TempDir,
    state: Mutex<(u32, Option<Engine>)>,
    options: EmbeddedOptions,
}

impl Embedded {
    fn new() -> Self {
        Self::with(EmbeddedOptions {
            // Small, so that consumers that are behind read from disk.
            tail_bytes: 256 << 10,
            ..EmbeddedOptions::default()
        })
    }

    fn with(options: EmbeddedOptions) -> Self {
        Self {
            root: TempDir::new().unwrap(),
            state: Mutex::new((0, None)),
            options,
        }
    }

    fn dir(&self, generation: u32) -> PathBuf {
        self.root.path().join(generation.to_string())
    }

    async fn open_bus(&self) -> EmbeddedBus {
        let engine = {
            let mut state = self.state.lock();
            if let Some(old) = state.1.take() {
                old.close();
            }
            let engine = Engine::open(EngineOptions::new(self.dir(state.0))).unwrap();
            state.1 = Some(engine.clone());
            engine
        };
        EmbeddedBus::open(engine, self.options.clone())
            .await
            .unwrap()
    }
}

#[async_trait]
impl Harness for Embedded {
    async fn open(&self) -> Arc<dyn Bus> {
        Arc::new(self.open_bus().await)
    }

    async fn crash(&self, bus: Arc<dyn Bus>) {
        let mut state = self.state.lock();
        copy(&self.dir(state.0), &self.dir(state.0 + 1));
        state.0 += 1;
        if let Some(engine) = state.1.take() {
            engine.close();
        }
        drop(bus);
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

hearth_bus::conformance_cases!(Some(Embedded::new()));

#[tokio::test]
async fn the_suite_runs_on_one_thread_too() {
    conformance::run_all(Embedded::new).await;
}

#[tokio::test]
async fn a_backlog_over_the_limit_refuses_until_it_is_worked_on() {
    let harness = Embedded::with(EmbeddedOptions {
        max_backlog: 50_000,
        progress_interval: Duration::from_millis(20),
        ..EmbeddedOptions::default()
    });
    let bus = harness.open_bus().await;
    let spec = ConsumerSpec::new("c", [Stream::Inform]);
    let consumer = bus.consumer(spec).await.unwrap();
    let text = "x".repeat(10_000);
    let mut published = 0;
    let error = loop {
        match bus.publish(message(Stream::Inform, 1, &text)).await {
            Ok(_) => published += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::Full { .. }) && error.is_retryable());
    assert!(matches!(bus.probe().await, Err(Error::Full { .. })));
    assert_eq!(published, 5);
    let got = consumer.fetch(10, Duration::from_secs(5)).await.unwrap();
    assert_eq!(got.len(), 5, "nothing was dropped");
    let seqs: Vec<_> = got.iter().map(|m| m.seq).collect();
    consumer.ack(&seqs).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    bus.probe().await.unwrap();
    bus.publish(message(Stream::Inform, 1, &text))
        .await
        .unwrap();
}

#[tokio::test]
async fn worked_messages_are_removed_and_unclaimed_ones_bounded() {
    let harness = Embedded::with(EmbeddedOptions {
        unclaimed: 30_000,
        progress_interval: Duration::from_millis(20),
        ..EmbeddedOptions::default()
    });
    let bus = harness.open_bus().await;
    let text = "x".repeat(10_000);
    for n in 0..10 {
        bus.publish(message(Stream::Inform, n, &text))
            .await
            .unwrap();
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let kept = bus.stats().await.backlog_bytes;
    assert!((1..=30_000).contains(&kept), "{kept}");

    let spec = ConsumerSpec::new("c", [Stream::Inform]);
    let consumer = bus.consumer(spec).await.unwrap();
    let got = consumer.fetch(10, Duration::from_secs(5)).await.unwrap();
    assert_eq!(got.len(), 2, "the newest are kept");
    let seqs: Vec<_> = got.iter().map(|m| m.seq).collect();
    consumer.ack(&seqs).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(bus.stats().await.backlog_bytes, 0);
    // Numbers go on although the log is empty.
    let last = bus.stats().await.last_seq;
    bus.close().await.unwrap();
    drop((consumer, bus));
    let bus = harness.open_bus().await;
    let ack = bus
        .publish(message(Stream::Inform, 1, "next"))
        .await
        .unwrap();
    assert!(ack.seq > last);
}

#[tokio::test]
async fn a_backlog_from_before_a_restart_is_removed_too() {
    let harness = Embedded::with(EmbeddedOptions {
        progress_interval: Duration::from_millis(20),
        ..EmbeddedOptions::default()
    });
    let spec = ConsumerSpec::new("c", [Stream::Inform]);
    let bus = harness.open_bus().await;
    bus.consumer(spec.clone()).await.unwrap();
    for n in 0..20 {
        bus.publish(message(Stream::Inform, n, "text"))
            .await
            .unwrap();
    }
    bus.close().await.unwrap();
    drop(bus);
    let bus = harness.open_bus().await;
    let consumer = bus.consumer(spec).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(bus.stats().await.backlog_bytes > 0);
    let mut seqs = Vec::new();
    while seqs.len() < 20 {
        let got = consumer.fetch(20, Duration::from_secs(5)).await.unwrap();
        seqs.extend(got.iter().map(|m| m.seq));
    }
    consumer.ack(&seqs).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(bus.stats().await.backlog_bytes, 0);
}

#[tokio::test]
async fn a_full_disk_refuses_and_recovers() {
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
    let root = TempDir::new().unwrap();
    let free = Arc::new(AtomicU64::new(u64::MAX));
    let mut options = EngineOptions::new(root.path());
    options.space_check_interval = Duration::ZERO;
    let probe = Arc::clone(&free);
    options.space_probe = Arc::new(move |_| Ok(probe.load(Relaxed)));
    let engine = Engine::open(options).unwrap();
    let bus = EmbeddedBus::open(engine, EmbeddedOptions::default())
        .await
        .unwrap();
    let first = bus.publish(message(Stream::Inform, 1, "a")).await.unwrap();
    free.store(1000, Relaxed);
    let refused = bus.publish(message(Stream::Inform, 1, "b")).await;
    assert!(matches!(refused, Err(Error::DiskFull)));
    free.store(u64::MAX, Relaxed);
    let second = bus.publish(message(Stream::Inform, 1, "b")).await.unwrap();
    assert!(second.seq > first.seq);
    let spec = ConsumerSpec::new("c", [Stream::Inform]);
    let consumer = bus.consumer(spec).await.unwrap();
    let got = consumer.fetch(10, Duration::from_secs(5)).await.unwrap();
    let seqs: Vec<_> = got.iter().map(|m| m.seq).collect();
    assert_eq!(seqs, [first.seq, second.seq]);
}

#[tokio::test]
async fn a_watcher_that_is_too_slow_is_told() {
    use futures::StreamExt;
    use hearth_bus::TailEvent;
    let harness = Embedded::with(EmbeddedOptions {
        tail_messages: 5,
        ..EmbeddedOptions::default()
    });
    let bus = harness.open_bus().await;
    let mut tail = bus.tail(&[Stream::Inform]);
    for n in 0..20 {
        bus.publish(message(Stream::Inform, n, "text"))
            .await
            .unwrap();
    }
    assert_eq!(tail.next().await, Some(TailEvent::Lagged(15)));
    assert!(matches!(tail.next().await, Some(TailEvent::Message(_))));
}
