//! How many messages a second the bus takes, each durable before its publisher goes on, and what a
//! message costs in CPU time of this process, with one consumer that keeps up: the embedded bus,
//! and beside it NATS, where `HEARTH_TEST_NATS` names a server; there also with a sole consumer, as
//! device-state's are, which deletes what it has worked on. `HEARTH_BENCH_REPLICAS` (1) is how many
//! of the servers have each message.
//!
//! `cargo bench -p hearth-bus --bench publish [-- DIRECTORY]`
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hearth_bus::conformance::device;
use hearth_bus::{
    Bus, ConsumerSpec, EmbeddedBus, EmbeddedOptions, NatsBus, NatsConfig, Publish, Stream,
};
use hearth_config::HumanDuration;
use hearth_engine::{Engine, EngineOptions};
use hearth_telemetry::Registry;
use hearth_types::Timestamp;
use rustix::time::{ClockId, clock_gettime};

const RUN: Duration = Duration::from_secs(3);
const PAYLOAD: usize = 3 * 1024;

fn main() {
    let root = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with('-'))
        .map_or_else(std::env::temp_dir, PathBuf::from);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    println!("{PAYLOAD} bytes a message, files in {}", root.display());
    println!("bus        publishers  messages/s  CPU µs/message  mean ms");
    for publishers in [1, 16, 64, 256, 1024] {
        runtime.block_on(async {
            embedded(&root, publishers).await;
            nats(publishers, false).await;
            nats(publishers, true).await;
        });
    }
}

async fn embedded(root: &std::path::Path, publishers: u32) {
    let directory = tempfile::TempDir::new_in(root).unwrap();
    let engine = Engine::open(EngineOptions::new(directory.path())).unwrap();
    let bus = EmbeddedBus::open(engine, EmbeddedOptions::default());
    run("embedded", Arc::new(bus.await.unwrap()), publishers, false).await;
}

async fn nats(publishers: u32, sole: bool) {
    let Ok(server) = std::env::var("HEARTH_TEST_NATS") else {
        return;
    };
    let config = NatsConfig {
        servers: vec![server.clone()],
        prefix: format!("bench-{}", std::process::id()),
        replicas: std::env::var("HEARTH_BENCH_REPLICAS")
            .map_or(1, |replicas| replicas.parse().unwrap()),
        ack_timeout: HumanDuration::secs(60),
        ..NatsConfig::default()
    };
    let bus = NatsBus::connect(&config, &Registry::new()).await.unwrap();
    let name = if sole { "nats sole" } else { "nats" };
    run(name, Arc::new(bus), publishers, sole).await;
    let client = async_nats::connect(server).await.unwrap();
    let context = async_nats::jetstream::new(client);
    for kind in ["events", "dead"] {
        let stream = format!("{}-{kind}", config.prefix);
        context.delete_stream(stream).await.unwrap();
    }
}

async fn run(name: &str, bus: Arc<dyn Bus>, publishers: u32, sole: bool) {
    let spec = ConsumerSpec {
        sole,
        ..ConsumerSpec::new("bench", [Stream::Inform])
    };
    let consumer = bus.consumer(spec).await.unwrap();
    let consumed = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&consumed);
    let consuming = tokio::spawn(async move {
        while let Ok(messages) = consumer.fetch(1000, Duration::from_secs(1)).await {
            let seqs: Vec<_> = messages.iter().map(|m| m.seq).collect();
            if consumer.ack(&seqs).await.is_err() {
                break;
            }
            count.fetch_add(seqs.len() as u64, Relaxed);
        }
    });
    let (cpu, started) = (cpu_seconds(), Instant::now());
    let tasks: Vec<_> = (0..publishers)
        .map(|n| tokio::spawn(publish(Arc::clone(&bus), n, started)))
        .collect();
    let mut published = 0_u64;
    for task in tasks {
        published += task.await.unwrap();
    }
    let elapsed = started.elapsed().as_secs_f64();
    let cpu = cpu_seconds() - cpu;
    bus.close().await.unwrap();
    consuming.await.unwrap();
    let behind = published.saturating_sub(consumed.load(Relaxed));
    println!(
        "{name:<9}  {publishers:>10}  {:>10.0}  {:>14.1}  {:>7.2}{}",
        published as f64 / elapsed,
        cpu * 1e6 / published as f64,
        elapsed * 1e3 * f64::from(publishers) / published as f64,
        if behind > 100_000 {
            format!("  (consumer {behind} behind)")
        } else {
            String::new()
        },
    );
}

async fn publish(bus: Arc<dyn Bus>, n: u32, started: Instant) -> u64 {
    let device = device(n);
    let payload = Bytes::from(vec![b'x'; PAYLOAD]);
    let mut published = 0;
    while started.elapsed() < RUN {
        let message = Publish {
            stream: Stream::Inform,
            device: device.clone(),
            message_id: None,
            time: Timestamp::ZERO,
            payload: payload.clone(),
        };
        bus.publish(message).await.unwrap();
        published += 1;
    }
    published
}

fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
