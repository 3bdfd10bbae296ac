//! The JetStream backend against a real server: the conformance suite.
//!
//! `HEARTH_TEST_NATS` names the server (`nats://127.0.0.1:4222`); without it nothing is tested.
//! Faults of the server are in `nats_faults.rs`, which starts its own.
#![allow(clippy::unwrap_used)]

#[path = "nats/sole.rs"]
mod sole;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use async_trait::async_trait;
use hearth_bus::conformance::{Harness, message};
use hearth_bus::{Bus, Consumer, ConsumerSpec, NatsBus, NatsConfig, Stream};
use hearth_config::HumanDuration;
use hearth_telemetry::Registry;

/// Buses with a prefix of their own on the server of the tests.
struct Nats {
    config: NatsConfig,
}

impl Nats {
    fn new() -> Option<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let Ok(server) = std::env::var("HEARTH_TEST_NATS") else {
            println!("SKIPPED: HEARTH_TEST_NATS is not set");
            return None;
        };
        let n = NEXT.fetch_add(1, Relaxed);
        let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis();
        let config = NatsConfig {
            servers: vec![server],
            prefix: format!("test-{}-{n}-{:x}", std::process::id(), now & 0xff_ffff),
            max_bytes: hearth_config::ByteSize::mib(64),
            dead_letter_bytes: hearth_config::ByteSize::mib(16),
            lease: HumanDuration::secs(1),
            // The server syncs each message, for all tests at once.
            ack_timeout: HumanDuration::secs(30),
            ..NatsConfig::default()
        };
        Some(Self { config })
    }

    async fn connect(&self) -> NatsBus {
        let registry = Registry::new();
        NatsBus::connect(&self.config, &registry).await.unwrap()
    }
}

impl Drop for Nats {
    /// Removes what the test left on the server.
    fn drop(&mut self) {
        let config = self.config.clone();
        let removing = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let client = async_nats::connect(config.servers).await.unwrap();
                let context = async_nats::jetstream::new(client);
                for kind in ["events", "dead"] {
                    let _ = context
                        .delete_stream(format!("{}-{kind}", config.prefix))
                        .await;
                }
            });
        });
        let _ = removing.join();
    }
}

#[async_trait]
impl Harness for Nats {
    async fn open(&self) -> Arc<dyn Bus> {
        Arc::new(self.connect().await)
    }

    /// A server that was not told otherwise takes 1 MiB, subject and headers included.
    fn max_payload(&self) -> usize {
        1_000_000
    }

    async fn crash(&self, bus: Arc<dyn Bus>) {
        drop(bus);
    }
}

hearth_bus::conformance_cases!(Nats::new());

#[tokio::test]
async fn what_nobody_asked_for_yet_is_kept() {
    let Some(harness) = Nats::new() else { return };
    let bus = harness.connect().await;
    let ack = bus
        .publish(message(Stream::Inform, 1, "early"))
        .await
        .unwrap();
    // Another process comes and goes.
    let other = harness.connect().await;
    other.close().await.unwrap();
    let spec = ConsumerSpec::new("late", [Stream::Inform]);
    let late = bus.consumer(spec.clone()).await.unwrap();
    let got = late
        .fetch(10, std::time::Duration::from_secs(5))
        .await
        .unwrap();
    assert_eq!(got[0].seq, ack.seq);
    late.ack(&[ack.seq]).await.unwrap();
    // From then on what everybody has worked on goes.
    drop(harness.connect().await);
    let started = std::time::Instant::now();
    while bus.stats().await.backlog_bytes > 0 {
        assert!(started.elapsed().as_secs() < 10);
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    // The last consumer is deleted: what comes is kept for the next one.
    bus.delete_consumer("late").await.unwrap();
    let ack = bus
        .publish(message(Stream::Inform, 1, "later"))
        .await
        .unwrap();
    let late = bus.consumer(spec).await.unwrap();
    let got = late
        .fetch(10, std::time::Duration::from_secs(5))
        .await
        .unwrap();
    assert_eq!(got[0].seq, ack.seq);
}

#[tokio::test]
async fn a_message_that_is_not_ours_becomes_a_dead_letter() {
    let Some(harness) = Nats::new() else { return };
    let bus = harness.connect().await;
    let spec = ConsumerSpec::new("c", Stream::ALL);
    let consumer = bus.consumer(spec).await.unwrap();
    let client = async_nats::connect(harness.config.servers.clone())
        .await
        .unwrap();
    let context = async_nats::jetstream::new(client);
    let prefix = &harness.config.prefix;
    for subject in ["inform.default.7", "no-such-kind.default.7"] {
        let subject = format!("{prefix}.v1.{subject}");
        let ack = context.publish(subject, "?".into()).await.unwrap();
        // A kind that no consumer asks for is not kept for anyone.
        ack.await.unwrap();
    }
    let ours = bus
        .publish(message(Stream::Inform, 1, "ours"))
        .await
        .unwrap();
    let got = consumer.fetch(10, Duration::from_secs(5)).await.unwrap();
    let got = match got.is_empty() {
        true => consumer.fetch(10, Duration::from_secs(5)).await.unwrap(),
        false => got,
    };
    assert_eq!(got[0].seq, ours.seq);
    let page = bus.dead_letters(None, 10).await.unwrap();
    assert_eq!(page.letters.len(), 1);
    assert_eq!(page.letters[0].message.payload, "?");
    assert!(
        page.letters[0].reason.contains("header"),
        "{:?}",
        page.letters[0]
    );
    // Replayed it dies again, and blocks nobody.
    bus.replay_dead_letter(page.letters[0].id).await.unwrap();
    let started = std::time::Instant::now();
    while bus.dead_letters(None, 10).await.unwrap().letters.is_empty() {
        assert!(started.elapsed() < Duration::from_secs(10));
        consumer
            .fetch(10, Duration::from_millis(100))
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_second_process_takes_over_what_the_first_held() {
    let Some(harness) = Nats::new() else { return };
    let spec = ConsumerSpec {
        ack_wait: Duration::from_secs(300),
        ..ConsumerSpec::new("c", [Stream::Inform])
    };
    let first = harness.connect().await;
    let of_first = first.consumer(spec.clone()).await.unwrap();
    for n in 0..10 {
        let text = n.to_string();
        first
            .publish(message(Stream::Inform, n, &text))
            .await
            .unwrap();
    }
    let held = of_first.fetch(10, Duration::from_secs(5)).await.unwrap();
    assert_eq!(held.len(), 10);
    let second = harness.connect().await;
    let of_second = second.consumer(spec).await.unwrap();
    // The first one lives: its leases are renewed for as long as it works.
    let got = of_second.fetch(10, Duration::from_secs(3)).await.unwrap();
    assert!(got.is_empty(), "{got:?}");
    drop((of_first, first));
    let mut seqs = Vec::new();
    let started = std::time::Instant::now();
    while seqs.len() < 10 {
        assert!(started.elapsed() < Duration::from_secs(10));
        let got = of_second.fetch(10, Duration::from_secs(1)).await.unwrap();
        assert!(got.iter().all(|m| m.deliveries == 2));
        seqs.extend(got.iter().map(|m| m.seq));
    }
    of_second.ack(&seqs).await.unwrap();
}

/// A process and its handle of a consumer.
type Process = (NatsBus, Box<dyn Consumer>);

/// Two processes that work on one consumer in order, the first of which holds the messages 1 and 2.
async fn in_turn(harness: &Nats) -> (Process, Process) {
    let spec = ConsumerSpec {
        ack_wait: Duration::from_secs(300),
        in_order: true,
        ..ConsumerSpec::new("c", [Stream::Inform])
    };
    let first = harness.connect().await;
    let of_first = first.consumer(spec.clone()).await.unwrap();
    publish(&first, 2).await;
    let held = of_first.fetch(10, Duration::from_secs(5)).await.unwrap();
    assert_eq!(held.len(), 2);
    let second = harness.connect().await;
    let of_second = second.consumer(spec).await.unwrap();
    ((first, of_first), (second, of_second))
}

async fn publish(bus: &NatsBus, count: u32) {
    for n in 0..count {
        let message = message(Stream::Inform, n, "x");
        bus.publish(message).await.unwrap();
    }
}

/// So many messages, within a limit.
async fn fetched(consumer: &dyn Consumer, count: usize) -> Vec<u64> {
    let (mut seqs, started) = (Vec::new(), std::time::Instant::now());
    while seqs.len() < count && started.elapsed() < Duration::from_secs(10) {
        let got = consumer.fetch(10, Duration::from_secs(1)).await.unwrap();
        seqs.extend(got.iter().map(|m| m.seq));
    }
    seqs
}

/// Fetches nothing for so long.
async fn fetches_nothing(consumer: &dyn Consumer, wait: u64) {
    let got = consumer.fetch(10, Duration::from_millis(wait)).await;
    assert_eq!(got.unwrap(), []);
}

#[tokio::test]
async fn in_order_what_a_dead_process_held_comes_before_later_messages() {
    let Some(harness) = Nats::new() else { return };
    let (first, (bus, second)) = in_turn(&harness).await;
    publish(&bus, 2).await;
    fetches_nothing(&*second, 500).await;
    drop(first);
    assert_eq!(fetched(&*second, 4).await, [1, 2, 3, 4]);
}

#[tokio::test]
async fn in_order_a_living_process_is_waited_for() {
    let Some(harness) = Nats::new() else { return };
    let ((_bus, first), (bus, second)) = in_turn(&harness).await;
    publish(&bus, 1).await;
    // Longer than a lease.
    fetches_nothing(&*second, 2500).await;
    first.ack(&[1]).await.unwrap();
    first.nak(2, Duration::ZERO).await.unwrap();
    assert_eq!(fetched(&*second, 2).await, [2, 3]);
    second.ack(&[2]).await.unwrap();
    publish(&bus, 1).await;
    // The second one has 3; what came for the first one and wasn't fetched doesn't stay there.
    fetches_nothing(&*first, 300).await;
    first.rest().await.unwrap();
    assert_eq!(fetched(&*second, 1).await, [4]);
}

#[tokio::test]
async fn settings_change_the_streams_that_are_there() {
    let Some(mut harness) = Nats::new() else {
        return;
    };
    harness.connect().await.close().await.unwrap();
    harness.config.max_bytes = hearth_config::ByteSize::mib(32);
    harness.config.dead_letter_age = Some(HumanDuration::secs(3600));
    harness.connect().await.close().await.unwrap();
    let client = async_nats::connect(harness.config.servers.clone())
        .await
        .unwrap();
    let context = async_nats::jetstream::new(client);
    let stream = format!("{}-events", harness.config.prefix);
    let stream = context.get_stream(stream).await.unwrap();
    assert_eq!(stream.cached_info().config.max_bytes, 32 << 20);
}

#[tokio::test]
async fn a_start_between_two_parts_drops_nothing() {
    let Some(harness) = Nats::new() else { return };
    let part = |index| ConsumerSpec {
        part: Some(hearth_bus::Part { index, of: 2 }),
        ..ConsumerSpec::new(format!("part-{index}"), Stream::ALL)
    };
    let bus = harness.connect().await;
    let mut consumers = vec![bus.consumer(part(0)).await.unwrap()];
    for n in 0..20 {
        bus.publish(message(Stream::Inform, n, "early"))
            .await
            .unwrap();
    }
    // Another process starts in between.
    drop(harness.connect().await);
    consumers.push(bus.consumer(part(1)).await.unwrap());
    let mut count = 0;
    for consumer in &consumers {
        let got = consumer.fetch(100, std::time::Duration::from_secs(1)).await;
        count += got.unwrap().len();
    }
    assert_eq!(count, 20);
}

#[tokio::test]
async fn parts_that_come_in_another_order_drop_nothing() {
    let Some(harness) = Nats::new() else { return };
    let part = |index| ConsumerSpec {
        part: Some(hearth_bus::Part { index, of: 4 }),
        ..ConsumerSpec::new(format!("part-{index}"), Stream::ALL)
    };
    let bus = harness.connect().await;
    // As after servers that lost everything: whoever notices first is there first.
    let mut consumers = vec![bus.consumer(part(3)).await.unwrap()];
    for n in 0..20 {
        let early = message(Stream::Inform, n, "early");
        bus.publish(early).await.unwrap();
        if n == 10 {
            consumers.push(bus.consumer(part(1)).await.unwrap());
            drop(harness.connect().await);
        }
    }
    for index in [0, 2] {
        consumers.push(bus.consumer(part(index)).await.unwrap());
    }
    let mut count = 0;
    for consumer in &consumers {
        let wait = std::time::Duration::from_secs(1);
        let got = consumer.fetch(100, wait).await.unwrap();
        let seqs: Vec<_> = got.iter().map(|m| m.seq).collect();
        count += got.len();
        consumer.ack(&seqs).await.unwrap();
    }
    assert_eq!(count, 20);
    // The keeper has gone: what all parts have worked on is no longer kept.
    let started = std::time::Instant::now();
    while bus.stats().await.backlog_bytes > 0 {
        assert!(started.elapsed().as_secs() < 10);
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn parts_without_their_keeper_get_one_at_the_next_start() {
    let Some(harness) = Nats::new() else { return };
    let part = |index| ConsumerSpec {
        part: Some(hearth_bus::Part { index, of: 2 }),
        ..ConsumerSpec::new(format!("part-{index}"), Stream::ALL)
    };
    let bus = harness.connect().await;
    let first = bus.consumer(part(0)).await.unwrap();
    let client = async_nats::connect(harness.config.servers.clone());
    let context = async_nats::jetstream::new(client.await.unwrap());
    let stream = format!("{}-events", harness.config.prefix);
    let stream = context.get_stream(stream).await.unwrap();
    stream.delete_consumer("_unclaimed").await.unwrap();
    drop(harness.connect().await);
    for n in 0..20 {
        let early = message(Stream::Inform, n, "early");
        bus.publish(early).await.unwrap();
    }
    let second = bus.consumer(part(1)).await.unwrap();
    let mut count = 0;
    for consumer in [&first, &second] {
        let wait = std::time::Duration::from_secs(1);
        count += consumer.fetch(100, wait).await.unwrap().len();
    }
    assert_eq!(count, 20);
    assert!(
        stream
            .get_consumer::<async_nats::jetstream::consumer::pull::Config>("_unclaimed")
            .await
            .is_err()
    );
}
