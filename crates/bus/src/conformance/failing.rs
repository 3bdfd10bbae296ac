//! What is promised when consumers fail: redelivery and dead letters.

use std::time::{Duration, Instant};

use super::*;
use crate::Error;

/// A consumer whose deliveries time out soon.
fn hasty(name: &str) -> ConsumerSpec {
    ConsumerSpec {
        ack_wait: Duration::from_millis(300),
        max_deliver: 3,
        ..spec(name)
    }
}

/// MUST: what isn't acknowledged in time comes again, and only that.
pub async fn unacknowledged_messages_come_again(h: &dyn Harness) {
    let bus = h.open().await;
    let consumer = bus.consumer(hasty("c")).await.unwrap();
    for text in ["a", "b", "c"] {
        publish(&bus, text).await;
    }
    let first = fetch(&*consumer, 3).await;
    assert!(first.iter().all(|m| m.deliveries == 1));
    consumer.ack(&[first[1].seq]).await.unwrap();
    let again = fetch(&*consumer, 2).await;
    assert_eq!(texts(&again), ["a", "c"]);
    assert!(again.iter().all(|m| m.deliveries == 2));
    consumer.ack(&seqs(&again)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(400)).await;
    nothing(&*consumer).await;
}

/// MUST: what wasn't acknowledged comes again after a crash.
pub async fn unacknowledged_messages_come_again_after_a_crash(h: &dyn Harness) {
    let bus = h.open().await;
    let consumer = bus.consumer(spec("c")).await.unwrap();
    for text in ["a", "b", "c"] {
        publish(&bus, text).await;
    }
    let first = fetch(&*consumer, 3).await;
    consumer.ack(&[first[1].seq]).await.unwrap();
    // Long enough for progress to be persisted.
    tokio::time::sleep(Duration::from_millis(1200)).await;
    drop(consumer);
    h.crash(bus).await;
    let bus = h.open().await;
    let consumer = bus.consumer(spec("c")).await.unwrap();
    publish(&bus, "d").await;
    let mut again = fetch(&*consumer, 3).await;
    // A redelivery may come after later messages.
    again.sort_by_key(|message| message.seq);
    assert_eq!(texts(&again), ["a", "c", "d"]);
    nothing(&*consumer).await;
}

/// MUST: what was out when the bus was closed comes again, and soon.
pub async fn unacknowledged_messages_come_again_after_closing(h: &dyn Harness) {
    let bus = h.open().await;
    let consumer = bus.consumer(spec("c")).await.unwrap();
    for text in ["a", "b"] {
        publish(&bus, text).await;
    }
    let first = fetch(&*consumer, 2).await;
    consumer.ack(&[first[0].seq]).await.unwrap();
    drop(consumer);
    bus.close().await.unwrap();
    drop(bus);
    let bus = h.open().await;
    let consumer = bus.consumer(spec("c")).await.unwrap();
    let again = fetch(&*consumer, 1).await;
    assert_eq!((texts(&again), again[0].deliveries), (vec!["b"], 2));
    nothing(&*consumer).await;
}

/// MUST: an acknowledgement that comes too late does no harm, and nothing is lost by it.
pub async fn late_acknowledgements_do_no_harm(h: &dyn Harness) {
    let bus = h.open().await;
    let consumer = bus.consumer(hasty("c")).await.unwrap();
    for text in ["a", "b"] {
        publish(&bus, text).await;
    }
    let first = fetch(&*consumer, 2).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    // The time to acknowledge is over; the message may or may not come again.
    consumer.ack(&[first[0].seq]).await.unwrap();
    let mut seen = Vec::new();
    let started = Instant::now();
    while !seen.contains(&first[1].seq) {
        assert!(started.elapsed() < PATIENCE);
        let again = consumer.fetch(10, QUIET).await.unwrap();
        consumer.ack(&seqs(&again)).await.unwrap();
        seen.extend(seqs(&again));
    }
    tokio::time::sleep(Duration::from_millis(400)).await;
    nothing(&*consumer).await;
    consumer.ack(&[first[0].seq, 1 << 60]).await.unwrap();
    assert!(bus.dead_letters(None, 10).await.unwrap().letters.is_empty());
}

/// MUST: how often a message was delivered is remembered over crashes: poison that kills its
/// consumer dies too.
pub async fn deliveries_count_over_crashes(h: &dyn Harness) {
    let twice = ConsumerSpec {
        max_deliver: 2,
        ..hasty("c")
    };
    let bus = h.open().await;
    bus.consumer(twice.clone()).await.unwrap();
    publish(&bus, "poison").await;
    let mut bus = Some(bus);
    for deliveries in 1..=2 {
        let open = match bus.take() {
            Some(bus) => bus,
            None => h.open().await,
        };
        let consumer = open.consumer(twice.clone()).await.unwrap();
        let got = fetch(&*consumer, 1).await;
        assert!(got[0].deliveries >= deliveries);
        // Long enough for progress to be persisted, and for the time to acknowledge to be over.
        tokio::time::sleep(Duration::from_millis(1200)).await;
        drop(consumer);
        h.crash(open).await;
    }
    let bus = h.open().await;
    let consumer = bus.consumer(twice).await.unwrap();
    let started = Instant::now();
    while bus.dead_letters(None, 1).await.unwrap().letters.is_empty() {
        assert!(started.elapsed() < PATIENCE);
        nothing(&*consumer).await;
    }
}

/// MUST: a message that was given back comes again, not before its delay.
pub async fn nak_delays(h: &dyn Harness) {
    let bus = h.open().await;
    let consumer = bus.consumer(spec("c")).await.unwrap();
    publish(&bus, "a").await;
    publish(&bus, "b").await;
    let first = fetch(&*consumer, 2).await;
    let delay = Duration::from_millis(400);
    let started = Instant::now();
    consumer.nak(first[0].seq, delay).await.unwrap();
    consumer.nak(first[1].seq, Duration::ZERO).await.unwrap();
    assert_eq!(texts(&fetch(&*consumer, 1).await), ["b"]);
    assert!(started.elapsed() < delay);
    let again = fetch(&*consumer, 1).await;
    assert_eq!((texts(&again), again[0].deliveries), (vec!["a"], 2));
    assert!(started.elapsed() >= delay);
    assert!(started.elapsed() < delay + PATIENCE / 2);
}

/// MUST: a message that is never acknowledged becomes a dead letter and stops nobody; replayed, it
/// comes as a new message.
pub async fn poison_dies_and_can_be_replayed(h: &dyn Harness) {
    let bus = h.open().await;
    let consumer = bus.consumer(hasty("c")).await.unwrap();
    let poison = publish(&bus, "poison").await;
    publish(&bus, "fine").await;
    let started = Instant::now();
    let mut deliveries = Vec::new();
    loop {
        assert!(started.elapsed() < PATIENCE);
        for message in consumer.fetch(10, QUIET).await.unwrap() {
            if message.seq == poison {
                deliveries.push(message.deliveries);
            } else {
                consumer.ack(&[message.seq]).await.unwrap();
            }
        }
        if !bus.dead_letters(None, 10).await.unwrap().letters.is_empty() {
            break;
        }
    }
    assert_eq!(deliveries, [1, 2, 3]);
    let page = bus.dead_letters(None, 10).await.unwrap();
    let letter = &page.letters[0];
    assert_eq!(
        (letter.consumer.as_str(), letter.message.seq),
        ("c", poison)
    );
    assert_eq!(letter.message.deliveries, 3);
    assert!(!letter.reason.is_empty() && page.next.is_none());
    nothing(&*consumer).await;

    let ack = bus.replay_dead_letter(letter.id).await.unwrap();
    assert!(ack.seq > poison);
    let again = fetch(&*consumer, 1).await;
    assert_eq!((texts(&again), again[0].deliveries), (vec!["poison"], 1));
    assert_eq!(again[0].device, device(1));
    consumer.ack(&seqs(&again)).await.unwrap();
    let gone = bus.replay_dead_letter(letter.id).await;
    assert!(matches!(gone, Err(Error::NotFound(_))));
}

/// MUST: a terminated message is a dead letter with its reason, at once and after a crash.
pub async fn terminated_messages_die_with_a_reason(h: &dyn Harness) {
    let bus = h.open().await;
    let consumer = bus.consumer(spec("c")).await.unwrap();
    publish(&bus, "bad").await;
    let got = fetch(&*consumer, 1).await;
    consumer.term(got[0].seq, "can't be decoded").await.unwrap();
    consumer.term(got[0].seq, "twice").await.unwrap();
    nothing(&*consumer).await;
    drop(consumer);
    h.crash(bus).await;
    let bus = h.open().await;
    let page = bus.dead_letters(None, 10).await.unwrap();
    assert_eq!(page.letters.len(), 1);
    assert_eq!(page.letters[0].reason, "can't be decoded");
    assert_eq!(texts(&[page.letters[0].message.clone()]), ["bad"]);
}

/// MUST: dead letters page, survive an orderly close, and can be deleted.
pub async fn dead_letters_page_and_survive(h: &dyn Harness) {
    let bus = h.open().await;
    let consumer = bus.consumer(spec("c")).await.unwrap();
    for n in 0..5 {
        publish(&bus, &n.to_string()).await;
    }
    for message in fetch(&*consumer, 5).await {
        consumer.term(message.seq, "no").await.unwrap();
    }
    drop(consumer);
    bus.close().await.unwrap();
    drop(bus);
    let bus = h.open().await;
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let page = bus.dead_letters(after, 2).await.unwrap();
        seen.extend(page.letters);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seen.len(), 5);
    assert!(seen.windows(2).all(|w| w[0].id < w[1].id));
    assert_eq!(bus.stats().await.dead_letters, 5);
    bus.delete_dead_letter(seen[2].id).await.unwrap();
    let gone = bus.delete_dead_letter(seen[2].id).await;
    assert!(matches!(gone, Err(Error::NotFound(_))));
    assert_eq!(bus.stats().await.dead_letters, 4);
}

/// MUST: stats tell who is behind.
pub async fn stats_tell_the_lag(h: &dyn Harness) {
    let bus = h.open().await;
    let consumer = bus.consumer(spec("c")).await.unwrap();
    let mut last = 0;
    for n in 0..10 {
        last = publish(&bus, &n.to_string()).await;
    }
    let got = fetch(&*consumer, 4).await;
    consumer.ack(&seqs(&got[..3])).await.unwrap();
    // Levels may be told a moment late.
    let started = Instant::now();
    loop {
        let stats = bus.stats().await;
        let of_c = &stats.consumers[0];
        assert_eq!((of_c.name.as_str(), stats.published), ("c", 10));
        assert_eq!((of_c.delivered, of_c.redelivered), (4, 0));
        let levels = (stats.last_seq, of_c.lag, of_c.in_flight);
        if levels == (last, 7, 1) {
            break;
        }
        assert!(started.elapsed() < PATIENCE, "{levels:?}");
        tokio::time::sleep(QUIET).await;
    }
}
