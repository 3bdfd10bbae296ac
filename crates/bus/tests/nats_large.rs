//! Events that are larger than a message of NATS, in pieces.
//!
//! The test starts a `nats-server` of its own, as `nats_faults.rs` does; without one nothing is
//! tested.
#![allow(clippy::unwrap_used)]

#[path = "nats_faults/server.rs"]
#[allow(dead_code, reason = "shared with another test")]
mod server;

use std::time::Duration;

use hearth_bus::conformance::message;
use hearth_bus::{Bus, ConsumerSpec, Error, NatsBus, NatsConfig, Publish, Stream};
use hearth_config::ByteSize;
use hearth_proto::events::v1::{Event, ValuesReported, event::Kind};
use hearth_proto::types::v1::ParameterValue;
use hearth_telemetry::Registry;
use prost::Message as _;
use server::Server;

#[tokio::test]
async fn what_a_small_server_does_not_take_goes_in_pieces() {
    let Some(server) = Server::start("max_payload: 64KB") else {
        return;
    };
    let config = NatsConfig {
        servers: vec![server.url()],
        max_bytes: ByteSize::mib(64),
        dead_letter_bytes: ByteSize::mib(16),
        ..NatsConfig::default()
    };
    let bus = NatsBus::connect(&config, &Registry::new()).await.unwrap();
    let consumer = bus.consumer(ConsumerSpec::new("c", [Stream::Values]));
    let consumer = consumer.await.unwrap();
    let value = |n| ParameterValue {
        path: format!("Device.X.{n}"),
        value: "v".repeat(1000),
        ..ParameterValue::default()
    };
    let values = (0..500).map(value).collect();
    let event = Event {
        kind: Some(Kind::ValuesReported(ValuesReported {
            values,
            ..ValuesReported::default()
        })),
        ..Event::default()
    };
    let put = |event: &Event, id: Option<String>| Publish {
        message_id: id,
        payload: event.encode_to_vec().into(),
        ..message(Stream::Values, 1, "")
    };
    let refused = bus.publish(put(&event, None)).await;
    let Err(Error::TooLarge { max, .. }) = refused else {
        panic!("{refused:?}")
    };
    let pieces = hearth_proto::pieces::pieces(&event, max).unwrap();
    for again in [false, true] {
        for (n, piece) in pieces.iter().enumerate() {
            let ack = bus.publish(put(piece, Some(format!("event#{n}")))).await;
            assert_eq!(ack.unwrap().duplicate, again);
        }
    }
    let mut count = 0;
    loop {
        let got = consumer.fetch(100, Duration::from_secs(1)).await.unwrap();
        if got.is_empty() {
            break;
        }
        for message in &got {
            match Event::decode(message.payload.as_ref()).unwrap().kind {
                Some(Kind::ValuesReported(reported)) => count += reported.values.len(),
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(count, 500);
}
