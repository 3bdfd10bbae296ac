//! The probe fails while events are refused, in each process, and only then.

use std::time::{Duration, Instant};

use hearth_bus::conformance::message;
use hearth_bus::{Bus as _, ConsumerSpec, Error, NatsBus, NatsConfig, Stream};
use hearth_config::{ByteSize, HumanDuration};
use tokio::time::{sleep, timeout};

use super::server::{Cluster, Server};
use super::{config, connect};

/// As the readiness asks.
async fn works(bus: &NatsBus) -> bool {
    let asked = timeout(Duration::from_secs(2), bus.probe()).await;
    asked.is_ok_and(|told| told.is_ok())
}

/// Waits until the probe says that the bus works, or that it doesn't.
async fn says(bus: &NatsBus, working: bool, patience: Duration) {
    let started = Instant::now();
    while works(bus).await != working {
        assert!(started.elapsed() < patience, "not {working} in time");
        sleep(Duration::from_millis(50)).await;
    }
    println!("{working} after {:?}", started.elapsed());
}

/// The same for five seconds without a break: a node that has lost the others leads on for a while.
async fn stays(bus: &NatsBus, working: bool, patience: Duration) {
    let deadline = Instant::now() + patience;
    let mut since = Instant::now();
    while since.elapsed() < Duration::from_secs(5) {
        if works(bus).await != working {
            since = Instant::now();
            assert!(since < deadline, "not {working} in time");
        }
        sleep(Duration::from_millis(50)).await;
    }
}

async fn recovers(bus: &NatsBus) {
    says(bus, true, Duration::from_secs(10)).await;
}

/// Publishes messages of this size until there is no room for one more.
async fn fill(bus: &NatsBus, size: usize) {
    let text = "x".repeat(size);
    let refused = loop {
        match bus.publish(message(Stream::Inform, 1, &text)).await {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, Error::Full { .. }), "{refused:?}");
}

fn is_full(probed: &Result<(), Error>) -> bool {
    matches!(probed, Err(Error::Full { backlog, max }) if *backlog > 900_000 && *max == 1 << 20)
}

#[tokio::test]
async fn a_full_stream_is_told_to_each_process() {
    let Some(server) = Server::start("") else {
        return;
    };
    let config = NatsConfig {
        max_bytes: ByteSize::mib(1),
        ..config(vec![server.url()])
    };
    let (bus, other) = (connect(&config).await, connect(&config).await);
    let consumer = bus.consumer(ConsumerSpec::new("c", [Stream::Inform]));
    let consumer = consumer.await.unwrap();
    bus.probe().await.unwrap();
    // Who was refused knows that there is no room for what it has, whoever else has room for less.
    fill(&bus, 50_000).await;
    let told = bus.probe().await;
    assert!(is_full(&told), "{told:?}");
    fill(&bus, 500).await;
    let told = other.probe().await;
    assert!(is_full(&told), "{told:?}");
    // A reader sees nothing of it.
    bus.dead_letters(None, 1).await.unwrap();

    let mut left = consumer
        .fetch(10_000, Duration::from_secs(5))
        .await
        .unwrap();
    while !left.is_empty() {
        let seqs: Vec<_> = left.iter().map(|m| m.seq).collect();
        consumer.ack(&seqs).await.unwrap();
        left = consumer
            .fetch(10_000, Duration::from_secs(1))
            .await
            .unwrap();
    }
    recovers(&bus).await;
    recovers(&other).await;
    bus.publish(message(Stream::Inform, 1, "x")).await.unwrap();
}

#[tokio::test]
async fn a_server_that_is_gone_and_one_that_lost_its_disk() {
    let Some(mut server) = Server::start("") else {
        return;
    };
    let bus = connect(&config(vec![server.url()])).await;
    bus.probe().await.unwrap();
    server.kill();
    // The connection's end is noticed a moment later.
    sleep(Duration::from_millis(500)).await;
    let told = bus.probe().await;
    assert!(matches!(told, Err(Error::Unavailable(_))), "{told:?}");
    server.wipe();
    server.restart();
    // Nobody else uses this bus: asking alone brings its streams back.
    recovers(&bus).await;
    bus.publish(message(Stream::Inform, 1, "x")).await.unwrap();
}

/// Without a leader nothing is stored, whoever else of the cluster answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_without_a_leader() {
    let Some(mut cluster) = Cluster::start() else {
        return;
    };
    let config = NatsConfig {
        replicas: 3,
        connect_timeout: HumanDuration::secs(60),
        ..config(cluster.urls())
    };
    let bus = connect(&config).await;
    recovers(&bus).await;
    let leader = cluster.leader(&config, "hearth-events").await;
    cluster.nodes[leader].kill();
    // An election, and what a busy machine adds.
    says(&bus, true, Duration::from_secs(20)).await;
    // One of three can't elect.
    let second = (leader + 1) % 3;
    cluster.nodes[second].kill();
    stays(&bus, false, Duration::from_secs(40)).await;
    assert!(bus.publish(message(Stream::Inform, 1, "x")).await.is_err());
    cluster.nodes[second].restart();
    says(&bus, true, Duration::from_secs(40)).await;
    let deadline = Instant::now() + Duration::from_secs(10);
    while let Err(error) = bus.publish(message(Stream::Inform, 1, "x")).await {
        assert!(Instant::now() < deadline, "{error:?}");
    }
}
