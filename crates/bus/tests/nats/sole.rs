//! A sole consumer: its messages stay until it has worked on them, whatever the server thinks.

use std::time::{Duration, Instant};

use async_nats::jetstream;
use async_nats::jetstream::consumer::pull;
use futures::StreamExt;
use hearth_bus::conformance::message;
use hearth_bus::{Bus, Consumer, ConsumerSpec, Delivery, Part, Stream};

use super::Nats;

fn spec() -> ConsumerSpec {
    ConsumerSpec {
        in_order: true,
        sole: true,
        part: Some(Part { index: 0, of: 1 }),
        ..ConsumerSpec::new("only-0", Stream::ALL)
    }
}

/// The server's stream, past Hearth.
async fn stream(harness: &Nats) -> jetstream::stream::Stream {
    let client = async_nats::connect(harness.config.servers.clone());
    let context = jetstream::new(client.await.unwrap());
    let name = format!("{}-events", harness.config.prefix);
    context.get_stream(name).await.unwrap()
}

async fn fetch(consumer: &dyn Consumer) -> Vec<Delivery> {
    consumer.fetch(100, Duration::from_secs(2)).await.unwrap()
}

fn seqs(deliveries: &[Delivery]) -> Vec<u64> {
    deliveries.iter().map(|delivery| delivery.seq).collect()
}

/// Waits until so many messages are left.
async fn left(stream: &jetstream::stream::Stream, messages: u64) {
    let begun = Instant::now();
    loop {
        let there = stream.get_info().await.unwrap().state.messages;
        if there == messages {
            return;
        }
        assert!(begun.elapsed().as_secs() < 10, "{there}, not {messages}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn what_a_sole_consumer_has_worked_on_is_deleted_and_nothing_else() {
    let Some(harness) = Nats::new() else { return };
    let bus = harness.connect().await;
    let consumer = bus.consumer(spec()).await.unwrap();
    for n in 0..20 {
        bus.publish(message(Stream::Inform, n, "x")).await.unwrap();
    }
    let stream = stream(&harness).await;
    let got = fetch(consumer.as_ref()).await;
    assert_eq!(seqs(&got), (1..=20).collect::<Vec<_>>());
    consumer.ack(&seqs(&got)[..10]).await.unwrap();
    left(&stream, 10).await;
    consumer.term(11, "unreadable").await.unwrap();
    left(&stream, 9).await;
    // Also a server that has no consumer any more keeps the rest.
    stream.delete_consumer("only-0").await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    left(&stream, 9).await;
    bus.close().await.unwrap();
    let bus = harness.connect().await;
    let consumer = bus.consumer(spec()).await.unwrap();
    let again = fetch(consumer.as_ref()).await;
    assert_eq!(seqs(&again), (12..=20).collect::<Vec<_>>());
    consumer.ack(&seqs(&again)).await.unwrap();
    // What is acknowledged before the bus is closed is deleted by then.
    bus.close().await.unwrap();
    left(&stream, 0).await;
}

#[tokio::test]
async fn what_nats_has_passed_over_comes_all_the_same() {
    let Some(harness) = Nats::new() else { return };
    let bus = harness.connect().await;
    let consumer = bus.consumer(spec()).await.unwrap();
    let sent = |n: u32| message(Stream::Inform, n, if n < 3 { "passed" } else { "given" });
    for n in 0..3 {
        bus.publish(sent(n)).await.unwrap();
    }
    let stream = stream(&harness).await;
    // The server takes them for worked on, and Hearth was never given them.
    let behind: jetstream::consumer::Consumer<pull::Config> =
        stream.get_consumer("only-0").await.unwrap();
    let mut passed = behind.fetch().max_messages(3).messages().await.unwrap();
    while let Some(message) = passed.next().await {
        message.unwrap().double_ack().await.unwrap();
    }
    for n in 3..6 {
        bus.publish(sent(n)).await.unwrap();
    }
    let given = fetch(consumer.as_ref()).await;
    assert_eq!(seqs(&given), [4, 5, 6]);
    // The last one is still being worked on when it is looked.
    consumer.ack(&[4, 5]).await.unwrap();
    let begun = Instant::now();
    let mut late = Vec::new();
    while late.len() < 3 {
        assert!(begun.elapsed().as_secs() < 60, "{late:?}");
        late.extend(fetch(consumer.as_ref()).await);
    }
    // Those of one device keep their order; these are of three.
    late.sort_by_key(|delivery| delivery.time);
    let same = |(n, late): (u32, &Delivery)| {
        let sent = sent(n);
        sent.device == late.device && sent.payload == late.payload && sent.time == late.time
    };
    assert!((0..3).zip(&late).all(same), "{late:?}");
    let first: Vec<u64> = late.iter().map(|delivery| delivery.first_seq).collect();
    assert_eq!(first, [1, 2, 3]);
    left(&stream, 4).await;
    consumer
        .ack(&[seqs(&late), vec![6]].concat())
        .await
        .unwrap();
    left(&stream, 0).await;
    // None comes twice.
    assert!(fetch(consumer.as_ref()).await.is_empty());
    bus.close().await.unwrap();
}

#[tokio::test]
async fn a_server_of_a_version_before_gets_its_keeper() {
    let Some(harness) = Nats::new() else { return };
    let bus = harness.connect().await;
    let before = ConsumerSpec {
        sole: false,
        ..spec()
    };
    drop(bus.consumer(before).await.unwrap());
    let stream = stream(&harness).await;
    let keeper = async || stream.get_consumer::<pull::Config>("_unclaimed").await;
    assert!(keeper().await.is_err());
    bus.publish(message(Stream::Inform, 1, "x")).await.unwrap();
    let consumer = bus.consumer(spec()).await.unwrap();
    assert!(keeper().await.is_ok());
    // Whoever starts next leaves it there.
    drop(harness.connect().await);
    assert!(keeper().await.is_ok());
    assert_eq!(seqs(&fetch(consumer.as_ref()).await), [1]);
    consumer.ack(&[1]).await.unwrap();
    left(&stream, 0).await;
}
