//! Flow control: dead letters without room, publishing that gets no answers, more than memory holds.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hearth_bus::conformance::message;
use hearth_bus::{Bus, Consumer, ConsumerSpec, Delivery, Error, NatsBus, NatsConfig, Stream};
use hearth_config::ByteSize;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::server::Server;
use super::{config, connect};

const MIB: usize = 1 << 20;

/// Works as device-state does: the good ones are acknowledged and told to the test; of the others
/// some can't be worked on and some are never heard of again. Whatever fails comes again.
async fn work(consumer: Box<dyn Consumer>, good: mpsc::UnboundedSender<Delivery>) {
    let mut condemn = true;
    while !good.is_closed() {
        let fetched = consumer.fetch(100, Duration::from_millis(200)).await;
        for message in fetched.unwrap_or_default() {
            if message.payload.starts_with(b"good") {
                consumer.ack(&[message.seq]).await.unwrap();
                let _ = good.send(message);
                continue;
            }
            condemn = !condemn;
            if condemn && let Err(error) = consumer.term(message.seq, "poison").await {
                assert!(matches!(error, Error::Full { .. }), "{error:?}");
            }
        }
    }
}

/// The numbers of the messages whose dead letters are there now; makes room.
async fn take_letters(bus: &NatsBus) -> BTreeSet<u64> {
    let page = bus.dead_letters(None, 1000).await.unwrap();
    for letter in &page.letters {
        bus.delete_dead_letter(letter.id).await.unwrap();
    }
    page.letters.iter().map(|l| l.message.seq).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_without_room_hold_up_nobody() {
    let Some(server) = Server::start("") else {
        return;
    };
    let config = NatsConfig {
        dead_letter_bytes: ByteSize::mib(1),
        ..config(vec![server.url()])
    };
    let bus = Arc::new(connect(&config).await);
    let spec = ConsumerSpec {
        ack_wait: Duration::from_secs(1),
        max_deliver: 2,
        ..ConsumerSpec::new("c", [Stream::Inform])
    };
    let consumer = bus.consumer(spec).await.unwrap();
    let (sender, mut good) = mpsc::unbounded_channel();
    let worker = tokio::spawn(work(consumer, sender));
    let mut poison = BTreeSet::new();
    let text = format!("poison {}", "x".repeat(30_000));
    for _ in 0..50 {
        let ack = bus.publish(message(Stream::Inform, 1, &text)).await;
        poison.insert(ack.unwrap().seq);
    }
    // Some are letters; no more go in, and the rest comes again and again.
    sleep(Duration::from_secs(6)).await;
    let letters = bus.dead_letters(None, 1000).await.unwrap().letters.len();
    assert!((25..40).contains(&letters), "{letters}");
    let mut slowest = Duration::ZERO;
    for n in 0..50 {
        let published = Instant::now();
        let text = format!("good {n}");
        let ack = bus.publish(message(Stream::Inform, 2, &text)).await;
        let came = timeout(Duration::from_secs(5), good.recv()).await;
        assert_eq!(came.unwrap().unwrap().seq, ack.unwrap().seq);
        slowest = slowest.max(published.elapsed());
    }
    println!("a good message took {slowest:?} at most");
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");

    let mut seen = take_letters(&bus).await;
    let started = Instant::now();
    while seen != poison {
        assert!(
            started.elapsed() < Duration::from_secs(30),
            "{} of 50 are letters",
            seen.len()
        );
        sleep(Duration::from_millis(200)).await;
        seen.extend(take_letters(&bus).await);
    }
    drop(good);
    worker.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publishing_beyond_what_may_be_under_way_is_refused_in_time() {
    const AT_ONCE: usize = 4;
    let Some(server) = Server::start("") else {
        return;
    };
    let config = NatsConfig {
        publish_in_flight: AT_ONCE,
        ..config(vec![server.url()])
    };
    let bus = connect(&config).await;
    server.pause();
    let started = Instant::now();
    let publishing = (0..200).map(|n| bus.publish(message(Stream::Inform, n, "x")));
    let refused = futures::future::join_all(publishing).await;
    let took = started.elapsed();
    let patience = config.ack_timeout.get();
    assert!(took < patience + Duration::from_secs(1), "{took:?}");
    let mut busy = 0;
    for refused in refused {
        match refused {
            Err(Error::Unavailable(why)) => {
                busy += usize::from(why.to_string().contains("too much"))
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(busy >= 180, "{busy} of 200 waited for room");
    server.resume();
    let started = Instant::now();
    let ack = loop {
        match bus.publish(message(Stream::Inform, 1, "y")).await {
            Ok(ack) => break ack,
            Err(error) => assert!(started.elapsed() < Duration::from_secs(20), "{error:?}"),
        }
    };
    // Each of the few that were sent may have been sent twice.
    assert!(ack.seq <= 40, "{} were sent", ack.seq - 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_consumer_holds_no_more_than_a_fetch_may_bring() {
    const MESSAGES: usize = 200;
    const SIZE: usize = 1_000_000;
    let Some(server) = Server::start("max_payload: 2MB") else {
        return;
    };
    let config = NatsConfig {
        ack_timeout: hearth_config::HumanDuration::secs(30),
        ..config(vec![server.url()])
    };
    let bus = connect(&config).await;
    let spec = ConsumerSpec::new("c", [Stream::Inform]);
    let bytes = spec.fetch_bytes;
    let consumer = bus.consumer(spec).await.unwrap();
    let text = "x".repeat(SIZE);
    for n in 0..MESSAGES {
        let n = u32::try_from(n).unwrap();
        bus.publish(message(Stream::Inform, n, &text))
            .await
            .unwrap();
    }
    let (mut got, mut pages) = (0, 0);
    while got < MESSAGES {
        let page = consumer.fetch(1000, Duration::from_secs(10)).await.unwrap();
        let came: usize = page.iter().map(|message| message.payload.len()).sum();
        assert!(came > 0 && came <= bytes, "{came} bytes");
        // It is slow: what was sent to this process is what it has fetched, or was asked for with it.
        sleep(Duration::from_millis(100)).await;
        let in_flight = bus.stats().await.consumers[0].in_flight;
        let limit = (bytes / SIZE + 1) as u64;
        assert!(in_flight <= limit, "{in_flight} MB were sent");
        let seqs: Vec<_> = page.iter().map(|message| message.seq).collect();
        consumer.ack(&seqs).await.unwrap();
        got += page.len();
        pages += 1;
    }
    println!("{pages} fetches of at most {} MiB", bytes / MIB);
    assert!(pages >= MESSAGES * SIZE / bytes);
}
