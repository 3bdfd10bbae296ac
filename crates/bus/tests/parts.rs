//! Consumers of parts: each device's messages reach exactly one of them.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use hearth_bus::{
    Bus, ConsumerSpec, EmbeddedBus, EmbeddedOptions, Part, Publish, Stream, partition,
};
use hearth_engine::{Engine, EngineOptions};
use hearth_types::{DeviceKey, Timestamp};

const PARTS: u16 = 4;

fn spec(index: u16, of: u16) -> ConsumerSpec {
    ConsumerSpec {
        part: Some(Part { index, of }),
        ..ConsumerSpec::new(format!("part-{index}"), Stream::ALL)
    }
}

#[tokio::test]
async fn parts_share_the_devices() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::open(EngineOptions::new(dir.path())).unwrap();
    let bus = EmbeddedBus::open(engine, EmbeddedOptions::default());
    let bus = bus.await.unwrap();
    let mut consumers = Vec::new();
    for index in 0..PARTS {
        consumers.push(bus.consumer(spec(index, PARTS)).await.unwrap());
    }
    for n in 0..200 {
        let message = Publish {
            stream: Stream::Values,
            device: DeviceKey::parse("default", &format!("001122-X-{n}")).unwrap(),
            message_id: None,
            time: Timestamp::from_micros(n),
            payload: "x".into(),
        };
        bus.publish(message).await.unwrap();
    }
    let mut seen = 0;
    for (index, consumer) in (0..PARTS).zip(&consumers) {
        let wait = Duration::from_millis(100);
        let mine = consumer.fetch(1000, wait).await.unwrap();
        assert!(mine.len() > 20, "{} of 200 in part {index}", mine.len());
        for delivery in &mine {
            let of = partition(&delivery.device.device, 64) % PARTS;
            assert_eq!(of, index);
        }
        seen += mine.len();
    }
    assert_eq!(seen, 200);
    for (index, of) in [(4, 4), (0, 3), (0, 0)] {
        assert!(
            bus.consumer(spec(index, of)).await.is_err(),
            "{index} of {of}"
        );
    }
}
