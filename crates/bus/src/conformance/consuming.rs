//! What consuming promises when all goes well.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;

use super::*;
use crate::{Error, Part, TailEvent, partition};

/// MUST: consumers of different names each see every message.
pub async fn consumers_each_see_everything(h: &dyn Harness) {
    let bus = h.open().await;
    let a = bus.consumer(spec("a")).await.unwrap();
    let b = bus.consumer(spec("b")).await.unwrap();
    for n in 0..10 {
        publish(&bus, &n.to_string()).await;
    }
    let of_a = fetch(&*a, 10).await;
    a.ack(&seqs(&of_a)).await.unwrap();
    assert_eq!(seqs(&fetch(&*b, 10).await), seqs(&of_a));
    nothing(&*a).await;
    assert_eq!((a.name(), b.name()), ("a", "b"));
}

/// MUST: a consumer sees its streams and no others.
pub async fn a_consumer_sees_its_streams_only(h: &dyn Harness) {
    let bus = h.open().await;
    let some = ConsumerSpec::new("some", [Stream::Values, Stream::Transfer]);
    let some = bus.consumer(some).await.unwrap();
    let all = bus
        .consumer(ConsumerSpec::new("all", Stream::ALL))
        .await
        .unwrap();
    for stream in Stream::ALL {
        bus.publish(message(stream, 1, stream.as_str()))
            .await
            .unwrap();
    }
    assert_eq!(texts(&fetch(&*some, 2).await), ["values", "transfer"]);
    nothing(&*some).await;
    let got = fetch(&*all, 5).await;
    assert!(
        got.iter()
            .all(|m| texts(std::slice::from_ref(m)) == [m.stream.as_str()])
    );
}

/// MUST: messages of a device keep their order over kinds too.
pub async fn kinds_keep_their_order(h: &dyn Harness) {
    let bus = h.open().await;
    let all = bus
        .consumer(ConsumerSpec::new("all", Stream::ALL))
        .await
        .unwrap();
    let mut expected = Vec::new();
    for n in 0..50_usize {
        let stream = Stream::ALL[n * 7 % Stream::ALL.len()];
        let text = n.to_string();
        bus.publish(message(stream, 1, &text)).await.unwrap();
        expected.push((stream, text));
    }
    let got = fetch(&*all, 50).await;
    let got: Vec<_> = got.iter().map(|m| m.stream).zip(texts(&got)).collect();
    let expected: Vec<_> = expected.iter().map(|(s, t)| (*s, t.as_str())).collect();
    assert_eq!(got, expected);
}

/// MUST: each device's messages reach exactly one of the consumers of parts.
pub async fn parts_share_the_devices(h: &dyn Harness) {
    const PARTS: u16 = 4;
    let part = |index, of| ConsumerSpec {
        part: Some(Part { index, of }),
        ..ConsumerSpec::new(format!("part-{index}"), Stream::ALL)
    };
    let bus = h.open().await;
    // What came before the parts had their consumers reaches its own too.
    for n in 0..100 {
        bus.publish(message(Stream::Values, n, "x")).await.unwrap();
    }
    let mut consumers = Vec::new();
    for index in 0..PARTS {
        consumers.push(bus.consumer(part(index, PARTS)).await.unwrap());
        // Another process may start meanwhile.
        bus.stats().await;
    }
    for n in 100..200 {
        bus.publish(message(Stream::Values, n, "x")).await.unwrap();
    }
    let mut seen = 0;
    for (index, consumer) in (0..PARTS).zip(&consumers) {
        let mine = loop_fetch(&**consumer).await;
        assert!(mine.len() > 20, "{} of 200 in part {index}", mine.len());
        for delivery in &mine {
            assert_eq!(partition(&delivery.device.device, 64) % PARTS, index);
        }
        seen += mine.len();
    }
    assert_eq!(seen, 200);
    for (index, of) in [(4, 4), (0, 3), (0, 0)] {
        let refused = bus.consumer(part(index, of)).await;
        assert!(refused.is_err(), "{index} of {of}");
    }
}

/// Everything that comes before it is quiet.
async fn loop_fetch(consumer: &dyn Consumer) -> Vec<Delivery> {
    let mut all = Vec::new();
    loop {
        let more = consumer.fetch(1000, QUIET).await.unwrap();
        if more.is_empty() {
            return all;
        }
        all.extend(more);
    }
}

/// MUST: a fetch that is given up while it waits loses nothing.
pub async fn a_fetch_that_is_dropped_loses_nothing(h: &dyn Harness) {
    let bus = h.open().await;
    let consumer = bus.consumer(spec("c")).await.unwrap();
    for n in 0..20_u64 {
        let text = n.to_string();
        // Given up before, while and after the message comes.
        let patience = Duration::from_millis(n % 5);
        let given_up = tokio::time::timeout(patience, async {
            let got = consumer.fetch(10, PATIENCE).await.unwrap();
            consumer.ack(&seqs(&got)).await.unwrap();
            got
        });
        let (got, _) = tokio::join!(given_up, publish(&bus, &text));
        let got = match got {
            Ok(got) => got,
            Err(_) => fetch(&*consumer, 1).await,
        };
        assert_eq!(texts(&got), [text]);
        consumer.ack(&seqs(&got)).await.unwrap();
    }
    nothing(&*consumer).await;
}

/// MUST: messages go on coming in order while an earlier one is not acknowledged.
pub async fn one_slow_message_holds_up_no_other(h: &dyn Harness) {
    let bus = h.open().await;
    let consumer = bus.consumer(spec("c")).await.unwrap();
    for n in 0..100 {
        publish(&bus, &n.to_string()).await;
    }
    let slow = fetch(&*consumer, 1).await;
    let rest = fetch(&*consumer, 99).await;
    let expected: Vec<_> = (1..100).map(|n| n.to_string()).collect();
    assert_eq!(texts(&rest), expected);
    consumer.ack(&seqs(&rest)).await.unwrap();
    consumer.ack(&seqs(&slow)).await.unwrap();
    nothing(&*consumer).await;
}

/// MUST: a new consumer begins with the oldest message that is kept.
pub async fn a_new_consumer_begins_with_what_is_kept(h: &dyn Harness) {
    let bus = h.open().await;
    // Registered and never fetching: its messages must stay.
    bus.consumer(spec("keeper")).await.unwrap();
    publish(&bus, "a").await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    let late = bus.consumer(spec("late")).await.unwrap();
    publish(&bus, "b").await;
    assert_eq!(texts(&fetch(&*late, 2).await), ["a", "b"]);
}

/// MUST: handles of one name share the work.
pub async fn handles_of_one_name_share_the_work(h: &dyn Harness) {
    let bus = h.open().await;
    let one = bus.consumer(spec("c")).await.unwrap();
    let two = bus.consumer(spec("c")).await.unwrap();
    for n in 0..10 {
        publish(&bus, &n.to_string()).await;
    }
    let mut got = fetch(&*one, 5).await;
    got.extend(fetch(&*two, 5).await);
    let mut seqs = seqs(&got);
    seqs.sort_unstable();
    seqs.dedup();
    assert_eq!(seqs.len(), 10);
    nothing(&*one).await;
}

/// MUST: a consumer far behind gets everything, in order.
pub async fn a_slow_consumer_gets_everything(h: &dyn Harness) {
    let bus = h.open().await;
    let slow = bus.consumer(spec("slow")).await.unwrap();
    let fast = bus.consumer(spec("fast")).await.unwrap();
    let filler = "x".repeat(2000);
    let mut published = Vec::new();
    for n in 0..3000_u32 {
        let text = format!("{n} {filler}");
        let ack = bus.publish(message(Stream::Inform, n, &text));
        published.push(ack);
    }
    let acks = futures::future::join_all(published).await;
    let mut published: Vec<u64> = acks.into_iter().map(|a| a.unwrap().seq).collect();
    published.sort_unstable();
    let got = fetch(&*fast, 3000).await;
    fast.ack(&seqs(&got)).await.unwrap();
    let mut got = Vec::new();
    while got.len() < 3000 {
        let page = slow.fetch(128, PATIENCE).await.unwrap();
        assert!(!page.is_empty() && page.len() <= 128);
        slow.ack(&seqs(&page)).await.unwrap();
        got.extend(page);
    }
    assert_eq!(seqs(&got), published);
}

/// MUST: no more than `max_in_flight` are delivered and unacknowledged.
pub async fn in_flight_is_bounded(h: &dyn Harness) {
    let bus = h.open().await;
    let few = ConsumerSpec {
        max_in_flight: 3,
        ..spec("c")
    };
    let consumer = bus.consumer(few).await.unwrap();
    for n in 0..10 {
        publish(&bus, &n.to_string()).await;
    }
    let first = consumer.fetch(10, PATIENCE).await.unwrap();
    assert_eq!(texts(&first), ["0", "1", "2"]);
    nothing(&*consumer).await;
    consumer.ack(&[first[1].seq]).await.unwrap();
    assert_eq!(texts(&consumer.fetch(10, PATIENCE).await.unwrap()), ["3"]);
    // Room wakes a fetch that waits.
    let acks = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        consumer.ack(&[first[0].seq, first[2].seq]).await.unwrap();
    };
    let (next, ()) = tokio::join!(consumer.fetch(10, PATIENCE), acks);
    assert_eq!(texts(&next.unwrap()), ["4", "5"]);
}

/// MUST: a fetch brings at most `fetch_bytes`, or one message that is larger; so do those after
/// messages were given back.
pub async fn large_messages_are_fetched_in_parts(h: &dyn Harness) {
    const BYTES: usize = 100_000;
    let bus = h.open().await;
    let bounded = ConsumerSpec {
        fetch_bytes: BYTES,
        ..spec("c")
    };
    let consumer = bus.consumer(bounded).await.unwrap();
    let sizes = [40_000; 12].into_iter().chain([300_000, 40_000, 300_000]);
    let mut published = Vec::new();
    for size in sizes {
        published.push(publish(&bus, &"x".repeat(size)).await);
    }
    for deliveries in 1..=2 {
        let mut got: Vec<Delivery> = Vec::new();
        while got.len() < published.len() {
            let page = consumer.fetch(1000, PATIENCE).await.unwrap();
            let bytes: usize = page.iter().map(|message| message.payload.len()).sum();
            assert!(page.len() == 1 || bytes <= BYTES, "{bytes} bytes");
            assert!(!page.is_empty(), "{} came", got.len());
            got.extend(page);
        }
        assert!(got.iter().all(|message| message.deliveries == deliveries));
        for message in &got {
            consumer.nak(message.seq, Duration::ZERO).await.unwrap();
        }
        let mut got = seqs(&got);
        got.sort_unstable();
        assert_eq!(got, published);
    }
}

/// MUST: fetch waits for the first message and no longer.
pub async fn fetch_waits_for_the_first(h: &dyn Harness) {
    let bus = h.open().await;
    let consumer = bus.consumer(spec("c")).await.unwrap();
    nothing(&*consumer).await;
    let later = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        publish(&bus, "a").await;
    };
    let started = Instant::now();
    let (got, ()) = tokio::join!(consumer.fetch(10, PATIENCE), later);
    assert_eq!(texts(&got.unwrap()), ["a"]);
    assert!(started.elapsed() < PATIENCE / 2);
}

/// MUST after an orderly close: acknowledged messages don't come again, and numbers go on.
pub async fn acknowledged_messages_stay_so_after_closing(h: &dyn Harness) {
    let mut last = 0;
    for round in 0..3 {
        let bus = h.open().await;
        let consumer = bus.consumer(spec("c")).await.unwrap();
        nothing(&*consumer).await;
        for n in 0..5 {
            let seq = publish(&bus, &format!("{round}/{n}")).await;
            assert!(seq > last);
            last = seq;
        }
        let got = fetch(&*consumer, 5).await;
        assert_eq!(texts(&got)[0], format!("{round}/0"));
        consumer.ack(&seqs(&got)).await.unwrap();
        bus.close().await.unwrap();
    }
}

/// MUST: a specification that can't work is refused.
pub async fn bad_specifications_are_refused(h: &dyn Harness) {
    let bus = h.open().await;
    let bad = [
        spec(""),
        spec("With Space"),
        ConsumerSpec::new("c", []),
        ConsumerSpec {
            max_deliver: 0,
            ..spec("c")
        },
        ConsumerSpec {
            max_in_flight: 0,
            ..spec("c")
        },
    ];
    for spec in bad {
        let refused = bus.consumer(spec).await.err();
        assert!(matches!(refused, Some(Error::InvalidSpec(_))));
    }
}

/// MUST: a deleted consumer is forgotten, and begins anew when it comes back.
pub async fn a_deleted_consumer_is_forgotten(h: &dyn Harness) {
    let bus = h.open().await;
    bus.consumer(spec("keeper")).await.unwrap();
    let consumer = bus.consumer(spec("c")).await.unwrap();
    publish(&bus, "a").await;
    let got = fetch(&*consumer, 1).await;
    consumer.ack(&seqs(&got)).await.unwrap();
    drop(consumer);
    bus.delete_consumer("c").await.unwrap();
    let missing = bus.delete_consumer("c").await;
    assert!(matches!(missing, Err(Error::NotFound(_))));
    let again = bus.consumer(spec("c")).await.unwrap();
    assert_eq!(texts(&fetch(&*again, 1).await), ["a"]);
}

/// MUST: a watcher sees what comes; SHOULD: it ends with the bus.
pub async fn tails_see_what_comes(h: &dyn Harness) {
    let bus = h.open().await;
    publish(&bus, "before").await;
    let mut tail = bus.tail(&[Stream::Inform, Stream::Values]);
    bus.publish(message(Stream::Transfer, 1, "other"))
        .await
        .unwrap();
    for n in 0..10 {
        publish(&bus, &n.to_string()).await;
    }
    for n in 0..10 {
        let event = tokio::time::timeout(PATIENCE, tail.next()).await.unwrap();
        let Some(TailEvent::Message(message)) = event else {
            panic!("{event:?}");
        };
        assert_eq!(texts(&[message]), [n.to_string()]);
    }
    let closing = Arc::clone(&bus);
    closing.close().await.unwrap();
    let end = tokio::time::timeout(PATIENCE, tail.next()).await.unwrap();
    assert_eq!(end, None);
}
