//! The probe fails while events are refused, in each process, and only then.

use std::time::{Duration, Instant};

use hearth_bus::conformance::message;
use hearth_bus::{Bus as _, ConsumerSpec, Error, NatsBus, NatsConfig, Stream};
use hearth_config::ByteSize;
use tokio::time::sleep;

use super::server::Server;
use super::{config, connect};

async fn recovers(bus: &NatsBus) {
    let started = Instant::now();
    while let Err(error) = bus.probe().await {
        assert!(started.elapsed() < Duration::from_secs(10), "{error:?}");
        sleep(Duration::from_millis(50)).await;
    }
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
