//! The JetStream backend while its server is killed, stopped, full, gone or wrong.
//!
//! Each test starts a `nats-server` of its own: the one of `scripts/tools servers`, or what
//! `HEARTH_TEST_NATS_SERVER` names. Without one nothing is tested.
#![allow(clippy::unwrap_used)]

#[path = "nats_faults/flow.rs"]
mod flow;
#[path = "nats_faults/probe.rs"]
mod probe;
#[path = "nats_faults/refused.rs"]
mod refused;
#[path = "nats_faults/server.rs"]
mod server;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use hearth_bus::conformance::message;
use hearth_bus::{Bus, Consumer, ConsumerSpec, Error, NatsBus, NatsConfig, Publish, Stream};
use hearth_config::{ByteSize, HumanDuration};
use hearth_telemetry::Registry;
use parking_lot::Mutex;
use server::{Cluster, Server};
use tokio::time::sleep;

fn config(servers: Vec<String>) -> NatsConfig {
    NatsConfig {
        servers,
        max_bytes: ByteSize::mib(256),
        dead_letter_bytes: ByteSize::mib(16),
        connect_timeout: HumanDuration::secs(20),
        ack_timeout: HumanDuration::secs(2),
        lease: HumanDuration::secs(2),
        ..NatsConfig::default()
    }
}

async fn connect(config: &NatsConfig) -> NatsBus {
    NatsBus::connect(config, &Registry::new()).await.unwrap()
}

async fn refusal(config: &NatsConfig) -> String {
    let refused = NatsBus::connect(config, &Registry::new()).await;
    let line = refused.unwrap_err().to_string();
    println!("{line}");
    assert!(!line.contains('\n'), "{line}");
    line
}

/// Publishers and a consumer that go on through whatever happens.
struct Load {
    bus: Arc<NatsBus>,
    stop: Arc<AtomicBool>,
    acknowledged: Arc<Mutex<BTreeSet<String>>>,
    failed: Arc<AtomicU64>,
    publishers: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    fn start(bus: Arc<NatsBus>, publishers: u32) -> Self {
        let mut load = Self {
            bus,
            stop: Arc::default(),
            acknowledged: Arc::default(),
            failed: Arc::default(),
            publishers: Vec::new(),
        };
        for publisher in 0..publishers {
            let (bus, stop) = (Arc::clone(&load.bus), Arc::clone(&load.stop));
            let acknowledged = Arc::clone(&load.acknowledged);
            let failed = Arc::clone(&load.failed);
            load.publishers.push(tokio::spawn(async move {
                let mut n = 0;
                while !stop.load(Relaxed) {
                    let text = format!("{publisher}/{n}");
                    // Every other publisher gives ids, as the gateway does.
                    let message_id = (publisher % 2 == 0).then(|| text.clone());
                    let message = message(Stream::Inform, publisher, &text);
                    match bus
                        .publish(Publish {
                            message_id,
                            ..message
                        })
                        .await
                    {
                        Ok(_) => {
                            acknowledged.lock().insert(text);
                            n += 1;
                        }
                        Err(error) => {
                            assert!(error.is_retryable(), "{error:?}");
                            failed.fetch_add(1, Relaxed);
                            sleep(Duration::from_millis(20)).await;
                        }
                    }
                    sleep(Duration::from_millis(1)).await;
                }
            }));
        }
        load
    }

    fn count(&self) -> usize {
        self.acknowledged.lock().len()
    }

    /// Waits until something is acknowledged again.
    async fn goes_on(&self, patience: Duration) -> Duration {
        let (before, started) = (self.count(), Instant::now());
        while self.count() <= before + 10 {
            assert!(
                started.elapsed() < patience,
                "nothing is published any more"
            );
            sleep(Duration::from_millis(20)).await;
        }
        started.elapsed()
    }

    /// Ends it, and finds every acknowledged message at the consumer.
    async fn check(self, consumer: &dyn Consumer) {
        self.stop.store(true, Relaxed);
        for publisher in self.publishers {
            publisher.await.unwrap();
        }
        let acknowledged = self.acknowledged.lock().clone();
        let mut got: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
        let started = Instant::now();
        while !acknowledged.iter().all(|text| got.contains_key(text)) {
            assert!(
                started.elapsed() < Duration::from_secs(60),
                "messages are lost"
            );
            let messages = match consumer.fetch(500, Duration::from_secs(1)).await {
                Ok(messages) => messages,
                Err(error) => {
                    assert!(error.is_retryable(), "{error:?}");
                    continue;
                }
            };
            let seqs: Vec<_> = messages.iter().map(|m| m.seq).collect();
            for message in messages {
                let text = String::from_utf8(message.payload.to_vec()).unwrap();
                got.entry(text).or_default().insert(message.seq);
            }
            let _ = consumer.ack(&seqs).await;
        }
        for (text, seqs) in &got {
            let publisher: u32 = text.split('/').next().unwrap().parse().unwrap();
            assert!(
                publisher % 2 == 1 || seqs.len() == 1,
                "{text} is there twice"
            );
        }
        let (failed, count) = (self.failed.load(Relaxed), acknowledged.len());
        println!("{count} acknowledged, none lost; {failed} calls failed");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_when_the_server_is_killed() {
    let Some(mut server) = Server::start("") else {
        return;
    };
    let bus = Arc::new(connect(&config(vec![server.url()])).await);
    let consumer = bus.consumer(ConsumerSpec::new("c", [Stream::Inform]));
    let consumer = consumer.await.unwrap();
    let load = Load::start(Arc::clone(&bus), 16);
    for round in 0..5 {
        load.goes_on(Duration::from_secs(20)).await;
        sleep(Duration::from_millis(150 * round)).await;
        server.kill();
        sleep(Duration::from_millis(300 * round)).await;
        server.restart();
        let took = load.goes_on(Duration::from_secs(20)).await;
        println!("published again {took:?} after the server was started");
    }
    load.check(&*consumer).await;
    bus.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_server_is_waited_for_and_given_up() {
    let Some(server) = Server::start("") else {
        return;
    };
    let bus = Arc::new(connect(&config(vec![server.url()])).await);
    let consumer = bus.consumer(ConsumerSpec::new("c", [Stream::Inform]));
    let consumer = consumer.await.unwrap();
    let load = Load::start(Arc::clone(&bus), 8);
    load.goes_on(Duration::from_secs(20)).await;
    server.pause();
    sleep(Duration::from_millis(500)).await;
    let started = Instant::now();
    let refused = bus.publish(message(Stream::Inform, 99, "99/0")).await;
    assert!(matches!(refused, Err(Error::Unavailable(_))), "{refused:?}");
    assert!(started.elapsed() < Duration::from_secs(5));
    // Long enough for the connection to be given up.
    sleep(Duration::from_secs(12)).await;
    server.resume();
    let took = load.goes_on(Duration::from_secs(20)).await;
    println!("published again {took:?} after the server went on");
    load.check(&*consumer).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_goes_on_without_one_of_three() {
    let Some(mut cluster) = Cluster::start() else {
        return;
    };
    let config = NatsConfig {
        replicas: 3,
        ack_timeout: HumanDuration::secs(5),
        connect_timeout: HumanDuration::secs(60),
        ..config(cluster.urls())
    };
    let bus = Arc::new(connect(&config).await);
    let consumer = bus.consumer(ConsumerSpec::new("c", [Stream::Inform]));
    let consumer = consumer.await.unwrap();
    let load = Load::start(Arc::clone(&bus), 8);
    for node in 0..3 {
        load.goes_on(Duration::from_secs(30)).await;
        cluster.nodes[node].kill();
        let took = load.goes_on(Duration::from_secs(30)).await;
        println!("published again {took:?} after node {node} was killed");
        cluster.nodes[node].restart();
        // Its copy is to be whole again before the next one goes.
        sleep(Duration::from_secs(6)).await;
    }
    load.check(&*consumer).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_leader_holds_nobody_up_for_longer_than_an_election() {
    let Some(mut cluster) = Cluster::start() else {
        return;
    };
    // The defaults: what a gateway publishes waits for the new leader and is not refused.
    let config = NatsConfig {
        servers: cluster.urls(),
        replicas: 3,
        max_bytes: ByteSize::mib(256),
        dead_letter_bytes: ByteSize::mib(16),
        connect_timeout: HumanDuration::secs(60),
        ..NatsConfig::default()
    };
    let bus = Arc::new(connect(&config).await);
    let part = |index| ConsumerSpec {
        part: Some(hearth_bus::Part { index, of: 8 }),
        ..ConsumerSpec::new(format!("part-{index}"), Stream::ALL)
    };
    let mut consumers: Vec<Arc<dyn Consumer>> = Vec::new();
    for index in 0..8 {
        consumers.push(bus.consumer(part(index)).await.unwrap().into());
    }
    let leader = cluster.leader(&config, "hearth-events").await;
    cluster.nodes[leader].kill();
    let started = Instant::now();
    for n in 0..32 {
        let published = bus.publish(message(Stream::Inform, n, "after")).await;
        published.unwrap_or_else(|error| panic!("{n} after {:?}: {error}", started.elapsed()));
    }
    println!(
        "published {:?} after the leader was killed",
        started.elapsed()
    );
    let mut fetching = tokio::task::JoinSet::new();
    for consumer in consumers {
        fetching.spawn(async move {
            let mut count = 0;
            // Until nothing came for a while.
            let mut last = Instant::now();
            while last.elapsed() < Duration::from_secs(14) {
                if let Ok(got) = consumer.fetch(100, Duration::from_secs(1)).await
                    && !got.is_empty()
                {
                    let seqs: Vec<_> = got.iter().map(|m| m.seq).collect();
                    let _ = consumer.ack(&seqs).await;
                    count += got.len();
                    last = Instant::now();
                }
            }
            (count, last)
        });
    }
    let (mut count, mut last) = (0, started);
    while let Some(fetched) = fetching.join_next().await {
        let (of_part, at) = fetched.unwrap();
        count += of_part;
        last = last.max(at);
    }
    let took = last.duration_since(started);
    println!("fetched {took:?} after the leader was killed");
    assert!(count >= 32, "{count}");
    // Nine seconds at most for an election, and what a busy machine adds.
    assert!(took < Duration::from_secs(14), "{took:?}");
}

#[tokio::test]
async fn a_full_stream_refuses_until_it_is_worked_on() {
    let Some(server) = Server::start("") else {
        return;
    };
    let config = NatsConfig {
        max_bytes: ByteSize::mib(1),
        ..config(vec![server.url()])
    };
    let bus = connect(&config).await;
    let consumer = bus.consumer(ConsumerSpec::new("c", [Stream::Inform]));
    let consumer = consumer.await.unwrap();
    let text = "x".repeat(50_000);
    let mut published = 0;
    let error = loop {
        match bus.publish(message(Stream::Inform, 1, &text)).await {
            Ok(_) => published += 1,
            Err(error) => break error,
        }
    };
    assert!(
        matches!(error, Error::Full { max, .. } if max == 1 << 20),
        "{error:?}"
    );
    assert!(published >= 15);
    let mut seqs = Vec::new();
    while seqs.len() < published {
        let got = consumer.fetch(100, Duration::from_secs(5)).await.unwrap();
        assert!(!got.is_empty(), "something was dropped");
        seqs.extend(got.iter().map(|m| m.seq));
    }
    consumer.ack(&seqs).await.unwrap();
    let started = Instant::now();
    while bus
        .publish(message(Stream::Inform, 1, &text))
        .await
        .is_err()
    {
        assert!(started.elapsed() < Duration::from_secs(10));
        sleep(Duration::from_millis(50)).await;
    }
    // A small server's messages are small; what is larger is refused here.
    let large = message(Stream::Inform, 1, &"x".repeat(1 << 20));
    let refused = bus.publish(large).await;
    assert!(matches!(refused, Err(Error::TooLarge { max, .. }) if max < 1 << 20));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_lost_its_disk_is_used_again() {
    let Some(mut server) = Server::start("") else {
        return;
    };
    let bus = connect(&config(vec![server.url()])).await;
    let consumer = bus.consumer(ConsumerSpec::new("c", [Stream::Inform]));
    let consumer = consumer.await.unwrap();
    bus.publish(message(Stream::Inform, 1, "lost"))
        .await
        .unwrap();
    server.kill();
    server.wipe();
    server.restart();
    let started = Instant::now();
    let (mut published, mut got) = (None, Vec::new());
    while got.is_empty() {
        assert!(started.elapsed() < Duration::from_secs(40), "{published:?}");
        if published.is_none() {
            published = bus.publish(message(Stream::Inform, 1, "new")).await.ok();
        }
        if let Ok(messages) = consumer.fetch(10, Duration::from_millis(500)).await {
            got = messages;
        }
    }
    assert_eq!(got[0].payload, "new");
    println!(
        "worked again {:?} after the empty server was started",
        started.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_not_there_at_the_start() {
    let Some(mut server) = Server::start("") else {
        return;
    };
    server.kill();
    let mut config = config(vec![server.url()]);
    config.connect_timeout = HumanDuration::secs(1);
    let line = refusal(&config).await;
    assert!(
        line.starts_with("no NATS server answers at nats://127.0.0.1:"),
        "{line}"
    );
    // One that comes a little later is waited for.
    config.connect_timeout = HumanDuration::secs(20);
    let connecting = tokio::spawn(async move { connect(&config).await });
    sleep(Duration::from_secs(1)).await;
    server.restart();
    let bus = connecting.await.unwrap();
    bus.publish(message(Stream::Inform, 1, "a")).await.unwrap();
}
