//! What publishing promises.

use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::Error;

/// MUST: what was acknowledged survives the death of the process.
pub async fn published_messages_survive_a_crash(h: &dyn Harness) {
    let bus = h.open().await;
    bus.consumer(spec("c")).await.unwrap();
    let mut published = Vec::new();
    for round in 0..3 {
        let bus = if round == 0 {
            Arc::clone(&bus)
        } else {
            h.open().await
        };
        for n in 0..10 {
            published.push(publish(&bus, &format!("{round}/{n}")).await);
        }
        h.crash(bus).await;
    }
    drop(bus);
    assert!(published.is_sorted(), "numbers grow over restarts");
    let bus = h.open().await;
    let consumer = bus.consumer(spec("c")).await.unwrap();
    let got = fetch(&*consumer, 30).await;
    assert_eq!(seqs(&got), published);
    assert_eq!(texts(&got)[29], "2/9");
    assert_eq!(got[0].device, device(1));
    assert_eq!(got[0].stream, Stream::Inform);
    assert_eq!(got[0].time, message(Stream::Inform, 1, "").time);
    nothing(&*consumer).await;
}

/// MUST: one caller's messages keep their order.
pub async fn messages_keep_their_order(h: &dyn Harness) {
    let bus = h.open().await;
    let consumer = bus.consumer(spec("c")).await.unwrap();
    let mut published = Vec::new();
    for n in 0..100 {
        published.push(publish(&bus, &n.to_string()).await);
    }
    let got = fetch(&*consumer, 100).await;
    assert_eq!(seqs(&got), published);
    assert!(published.windows(2).all(|w| w[0] < w[1]));
}

/// MUST: so do the messages of many callers at once, each for itself; and none is lost.
pub async fn concurrent_publishers_each_keep_their_order(h: &dyn Harness) {
    let bus = h.open().await;
    let consumer = bus.consumer(spec("c")).await.unwrap();
    let publishers = (0..20_u32).map(|d| {
        let bus = Arc::clone(&bus);
        tokio::spawn(async move {
            for n in 0..50 {
                let message = message(Stream::Inform, d, &n.to_string());
                bus.publish(message).await.unwrap();
            }
        })
    });
    for publisher in publishers.collect::<Vec<_>>() {
        publisher.await.unwrap();
    }
    let got = fetch(&*consumer, 1000).await;
    for d in 0..20 {
        let of_one: Vec<_> = got
            .iter()
            .filter(|m| m.device == device(d))
            .cloned()
            .collect();
        let expected: Vec<_> = (0..50).map(|n| n.to_string()).collect();
        assert_eq!(texts(&of_one), expected);
    }
    let seqs = seqs(&got);
    assert!(seqs.windows(2).all(|w| w[0] < w[1]), "SHOULD: total order");
}

/// MUST: an id within the window is one message, also when published at the same moment.
pub async fn duplicates_are_one_message(h: &dyn Harness) {
    let bus = h.open().await;
    let consumer = bus.consumer(spec("c")).await.unwrap();
    let with_id = |id: &str| Publish {
        message_id: Some(id.into()),
        ..message(Stream::Inform, 1, id)
    };
    let at_once = (0..10).map(|_| bus.publish(with_id("a")));
    let acks = futures::future::join_all(at_once).await;
    let acks: Vec<_> = acks.into_iter().map(|a| a.unwrap()).collect();
    assert_eq!(acks.iter().filter(|a| !a.duplicate).count(), 1);
    assert!(acks.iter().all(|a| a.seq == acks[0].seq));
    let later = bus.publish(with_id("a")).await.unwrap();
    assert_eq!((later.seq, later.duplicate), (acks[0].seq, true));
    let other = bus.publish(with_id("b")).await.unwrap();
    assert!(!other.duplicate);
    let got = fetch(&*consumer, 2).await;
    assert_eq!(texts(&got), ["a", "b"]);
    nothing(&*consumer).await;
}

/// MUST: an id counts within its stream: a message of another kind is another message.
pub async fn ids_are_by_stream(h: &dyn Harness) {
    let bus = h.open().await;
    let consumer = bus
        .consumer(ConsumerSpec::new("c", Stream::ALL))
        .await
        .unwrap();
    for stream in Stream::ALL {
        let message = message(stream, 1, stream.as_str());
        let message_id = Some("same".into());
        let ack = bus.publish(Publish {
            message_id,
            ..message
        });
        assert!(!ack.await.unwrap().duplicate);
    }
    assert_eq!(fetch(&*consumer, 5).await.len(), 5);
}

/// SHOULD: ids are known after a crash.
pub async fn duplicates_are_known_after_a_crash(h: &dyn Harness) {
    let once = Publish {
        message_id: Some("once".into()),
        ..message(Stream::Inform, 1, "once")
    };
    let bus = h.open().await;
    let consumer = bus.consumer(spec("c")).await.unwrap();
    let first = bus.publish(once.clone()).await.unwrap();
    let got = fetch(&*consumer, 1).await;
    consumer.ack(&seqs(&got)).await.unwrap();
    drop(consumer);
    h.crash(bus).await;
    let bus = h.open().await;
    let again = bus.publish(once).await.unwrap();
    assert_eq!((again.seq, again.duplicate), (first.seq, true));
}

/// MUST: a payload near the limit arrives whole, an empty one too.
pub async fn large_payloads_arrive_whole(h: &dyn Harness) {
    let bus = h.open().await;
    let consumer = bus.consumer(spec("c")).await.unwrap();
    let len = u32::try_from(h.max_payload()).unwrap();
    let large: Vec<u8> = (0..len)
        .map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[1])
        .collect();
    for payload in [Bytes::from(large.clone()), Bytes::new()] {
        let message = message(Stream::Inform, 1, "");
        bus.publish(Publish { payload, ..message }).await.unwrap();
    }
    let got = fetch(&*consumer, 2).await;
    assert!(got[0].payload == large && got[1].payload.is_empty());
}

/// MUST: a payload over the limit is refused, and costs nothing.
pub async fn payloads_over_the_limit_are_refused(h: &dyn Harness) {
    let bus = h.open().await;
    let payload = Bytes::from(vec![0; 256 << 20]);
    let message = message(Stream::Inform, 1, "");
    let error = bus
        .publish(Publish { payload, ..message })
        .await
        .unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }), "{error}");
    assert!(!error.is_retryable());
    publish(&bus, "fine").await;
}

/// MUST: a closed bus refuses; what was published before is kept.
pub async fn a_closed_bus_says_so(h: &dyn Harness) {
    let bus = h.open().await;
    let consumer = bus.consumer(spec("c")).await.unwrap();
    publish(&bus, "a").await;
    bus.close().await.unwrap();
    bus.close().await.unwrap();
    let refused = bus.publish(message(Stream::Inform, 1, "b")).await;
    assert!(matches!(refused, Err(Error::Closed)));
    assert!(matches!(
        consumer.fetch(1, PATIENCE).await,
        Err(Error::Closed)
    ));
    drop((consumer, bus));
    let bus = h.open().await;
    let consumer = bus.consumer(spec("c")).await.unwrap();
    assert_eq!(texts(&fetch(&*consumer, 1).await), ["a"]);
}
