//! What is encoded is decoded the same, for every message in both directions.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use proptest::strategy::BoxedStrategy;
use proptest::test_runner::{Config, TestRunner};

use super::{DecodeOptions, Receiver, decode};
use crate::wire::sample::{Sample, opt_text};
use crate::{
    AcsRequest, AcsResponse, CpeRequest, CpeResponse, CwmpVersion, Envelope, Fault, Message,
    Namespace, encode,
};

fn envelope(message: BoxedStrategy<Message>) -> BoxedStrategy<Envelope> {
    let version =
        || (any::<u8>(), any::<u8>()).prop_map(|(major, minor)| CwmpVersion { major, minor });
    (
        opt_text(40),
        any::<Option<bool>>(),
        any::<Option<u32>>(),
        prop::collection::vec(version(), 0..4),
        prop::option::of(version()),
        any::<u8>().prop_map(Namespace::from_minor),
        message,
    )
        .prop_map(
            |(
                id,
                hold_requests,
                session_timeout,
                supported_versions,
                use_version,
                namespace,
                message,
            )| {
                Envelope {
                    id,
                    hold_requests,
                    session_timeout,
                    supported_versions,
                    use_version,
                    namespace,
                    message,
                }
            },
        )
        .boxed()
}

/// Every method's strategy, with the side that receives it.
fn all() -> Vec<(&'static str, Receiver, BoxedStrategy<Message>)> {
    fn of<T: std::fmt::Debug + 'static>(
        list: Vec<(&'static str, BoxedStrategy<T>)>,
        receiver: Receiver,
        wrap: fn(T) -> Message,
    ) -> impl Iterator<Item = (&'static str, Receiver, BoxedStrategy<Message>)> {
        list.into_iter()
            .map(move |(name, each)| (name, receiver, each.prop_map(wrap).boxed()))
    }
    of(CpeRequest::strategies(), Receiver::Acs, Message::CpeRequest)
        .chain(of(
            CpeResponse::strategies(),
            Receiver::Acs,
            Message::CpeResponse,
        ))
        .chain(of(
            AcsRequest::strategies(),
            Receiver::Cpe,
            Message::AcsRequest,
        ))
        .chain(of(
            AcsResponse::strategies(),
            Receiver::Cpe,
            Message::AcsResponse,
        ))
        .chain([
            (
                "Fault",
                Receiver::Acs,
                Fault::strategy().prop_map(Message::Fault).boxed(),
            ),
            (
                "Fault",
                Receiver::Cpe,
                Fault::strategy().prop_map(Message::Fault).boxed(),
            ),
        ])
        .collect()
}

#[test]
fn what_is_encoded_is_decoded_the_same() {
    for (method, receiver, message) in all() {
        let mut runner = TestRunner::new(Config {
            cases: 128,
            ..Config::default()
        });
        let outcome = runner.run(&envelope(message), |sent| {
            let bytes = encode(&sent).map_err(|error| TestCaseError::fail(error.to_string()))?;
            let read = decode(&bytes, &DecodeOptions::new(receiver)).map_err(|error| {
                TestCaseError::fail(format!("{error}\n{}", String::from_utf8_lossy(&bytes)))
            })?;
            prop_assert_eq!(&read.envelope, &sent);
            prop_assert!(read.repairs.is_clean(), "{:?}", read.repairs);
            Ok(())
        });
        if let Err(error) = outcome {
            panic!("{method}: {error}");
        }
    }
}

#[test]
fn any_bytes_are_refused_or_read_but_never_panic() {
    let mut runner = TestRunner::new(Config {
        cases: 2000,
        ..Config::default()
    });
    let piece = prop_oneof![
        Just("<a:Envelope xmlns:c='urn:dslforum-org:cwmp-1-0'>".to_owned()),
        Just("<Header/>".to_owned()),
        Just("<Body>".to_owned()),
        Just("<Inform>".to_owned()),
        Just("</Inform>".to_owned()),
        Just("<![CDATA[x]]>".to_owned()),
        Just("</Body></a:Envelope>".to_owned()),
        "[<>&;/'\"=a-zA-Z!?\\[\\] \u{0}-\u{1f}]{0,20}",
        any::<String>(),
    ];
    let body = prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat().into_bytes());
    let wild = prop_oneof![body, prop::collection::vec(any::<u8>(), 0..200)];
    runner
        .run(&wild, |body| {
            for receiver in [Receiver::Acs, Receiver::Cpe] {
                let _ = decode(&body, &DecodeOptions::new(receiver));
            }
            Ok(())
        })
        .unwrap();
}
