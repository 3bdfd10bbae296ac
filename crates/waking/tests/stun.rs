//! STUN as TR-069 Annex G has it, byte for byte where it is said, and against what others might
//! send.

#![allow(clippy::unwrap_used)]

use hearth_waking::stun::{self, Answer, Message, attribute};
use hearth_waking::{hmac_sha1, stun::answer};
use proptest::prelude::*;
use std::net::SocketAddr;

fn from() -> SocketAddr {
    "203.0.113.9:40000".parse().unwrap()
}

fn here() -> SocketAddr {
    "198.51.100.1:3478".parse().unwrap()
}

fn request() -> Message {
    Message::new(stun::BINDING_REQUEST, [7; 16])
        .with(attribute::CONNECTION_REQUEST_BINDING, &stun::TR111[..])
        .with_username("00D09E-Router-12")
}

fn answered(request: &Message, say: Answer<'_>) -> (SocketAddr, Message) {
    let (to, bytes) = answer(request, from(), here(), say).unwrap();
    (to, Message::parse(&bytes).unwrap())
}

#[test]
fn the_bytes_of_a_request() {
    let request = Message::new(stun::BINDING_REQUEST, [9; 16])
        .with(attribute::CONNECTION_REQUEST_BINDING, &stun::TR111[..])
        .with(attribute::BINDING_CHANGE, [])
        .with_username("abcde");
    let mut expected = vec![0, 1, 0, 40];
    expected.extend([9; 16]);
    expected.extend(b"\xc0\x01\x00\x14dslforum.org/TR-111 ");
    expected.extend(b"\xc0\x02\x00\x00");
    // Padded with blanks, which count.
    expected.extend(b"\x00\x06\x00\x08abcde   ");
    assert_eq!(request.to_bytes(), expected);
    let read = Message::parse(&expected).unwrap();
    assert_eq!(read, request);
    assert_eq!(read.username(), Some("abcde"));
    assert!(read.is_connection_request_binding() && read.is_binding_change());
    assert!(!read.is_signed());
}

/// RFC 3489 11.2.8: what comes before the attribute, its length in the header included, padded
/// with zeros to a multiple of 64.
#[test]
fn the_signature_is_of_the_padded_message() {
    let bytes = request().to_signed_bytes("secret");
    let (text, attribute) = bytes.split_at(bytes.len() - 24);
    assert_eq!(attribute[..4], [0, 8, 0, 20]);
    assert_eq!(
        usize::from(u16::from_be_bytes([text[2], text[3]])),
        bytes.len() - 20
    );
    let mut padded = text.to_vec();
    padded.resize(padded.len().next_multiple_of(64), 0);
    assert_eq!(attribute[4..], hmac_sha1(b"secret", &[&padded]));
    let read = Message::parse(&bytes).unwrap();
    assert!(read.is_signed_with("secret"));
    assert!(!read.is_signed_with("secre"));
}

/// The request of RFC 5769 2.1, with FINGERPRINT behind the signature.
#[test]
fn a_request_of_rfc_5389_is_read_too() {
    let bytes = b"\x00\x01\x00\x58\x21\x12\xa4\x42\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\xdf\xae\
        \x80\x22\x00\x10STUN test client\x00\x24\x00\x04\x6e\x00\x01\xff\x80\x29\x00\x08\
        \x93\x2f\xf9\xb1\x51\x26\x3b\x36\x00\x06\x00\x09\x65\x76\x74\x6a\x3a\x68\x36\x76\x59\
        \x20\x20\x20\x00\x08\x00\x14\x9a\xea\xa7\x0c\xbf\xd8\xcb\x56\x78\x1e\xf2\xb5\xb2\xd3\xf2\x49\
        \xc1\xb5\x71\xa2\x80\x28\x00\x04\xe5\x7a\x3b\xcf";
    let read = Message::parse(bytes).unwrap();
    assert_eq!(read.username(), Some("evtj:h6vY"));
    assert!(read.is_signed_with("VOkJxbRl1RmTxUk/WvJxBt"));
    assert!(!read.is_signed_with("VOkJxbRl1RmTxUk/WvJxBT"));
}

#[test]
fn the_binding_is_told_and_signed_when_the_request_was() {
    let (to, told) = answered(&request(), Answer::Binding(Some("secret")));
    assert_eq!((to, told.kind), (from(), stun::BINDING_RESPONSE));
    assert_eq!(told.transaction, [7; 16]);
    assert_eq!(told.address(attribute::MAPPED_ADDRESS), Some(from()));
    assert_eq!(told.address(attribute::SOURCE_ADDRESS), Some(here()));
    assert!(told.is_signed_with("secret"));
    let (_, told) = answered(&request(), Answer::Binding(None));
    assert!(!told.is_signed());
    let everywhere = "0.0.0.0:3478".parse().unwrap();
    let (_, bytes) = answer(&request(), from(), everywhere, Answer::Binding(None)).unwrap();
    let told = Message::parse(&bytes).unwrap();
    assert_eq!(
        told.get(attribute::SOURCE_ADDRESS),
        None,
        "better none than a wrong one"
    );
    let mut cookie = request();
    cookie.transaction[..4].copy_from_slice(&stun::COOKIE);
    let (_, told) = answered(&cookie, Answer::Binding(None));
    let hidden = told.get(attribute::XOR_MAPPED_ADDRESS).unwrap();
    assert_eq!(hidden[4] ^ 0x21, 203);
}

#[test]
fn errors_say_what_to_do() {
    for (say, code) in [
        (Answer::Unauthorized, [4, 1]),
        (Answer::Refused, [4, 31]),
        (Answer::NoUsername, [4, 32]),
    ] {
        let (_, told) = answered(&request(), say);
        assert_eq!(told.kind, stun::BINDING_ERROR);
        assert_eq!(told.get(attribute::ERROR_CODE).unwrap()[2..4], code);
    }
    let strange = request().with(0x0042, [1, 2, 3, 4]).with(0x8042, []);
    let (_, told) = answered(&strange, Answer::Binding(None));
    assert_eq!(told.get(attribute::ERROR_CODE).unwrap()[2..4], [4, 20]);
    assert_eq!(
        told.get(attribute::UNKNOWN_ATTRIBUTES).unwrap()[..2],
        [0, 0x42]
    );
}

/// Nobody else gets an answer because of a request: not by RESPONSE-ADDRESS, not from another
/// address.
#[test]
fn answers_go_to_the_asker_only() {
    let elsewhere =
        request().with_address(attribute::RESPONSE_ADDRESS, "192.0.2.1:53".parse().unwrap());
    let (to, told) = answered(&elsewhere, Answer::Binding(None));
    assert_eq!((to, told.kind), (from(), stun::BINDING_ERROR));
    // Another port of its own: how a CPE finds out how long its binding lives (G.2.1.2).
    let own = request().with_address(
        attribute::RESPONSE_ADDRESS,
        "203.0.113.9:40001".parse().unwrap(),
    );
    let (to, told) = answered(&own, Answer::Binding(None));
    assert_eq!(to, "203.0.113.9:40001".parse().unwrap());
    assert_eq!(told.address(attribute::REFLECTED_FROM), Some(from()));
    let other_port = request().with(attribute::CHANGE_REQUEST, [0, 0, 0, 2]);
    assert_eq!(
        answered(&other_port, Answer::Binding(None)).1.kind,
        stun::BINDING_ERROR
    );
    let no_change = request().with(attribute::CHANGE_REQUEST, [0; 4]);
    assert_eq!(
        answered(&no_change, Answer::Binding(None)).1.kind,
        stun::BINDING_RESPONSE
    );
}

#[test]
fn only_requests_are_answered() {
    for kind in [stun::BINDING_RESPONSE, stun::BINDING_ERROR, 0x0002, 0x0011] {
        let message = Message::new(kind, [1; 16]);
        assert_eq!(
            answer(&message, from(), here(), Answer::Binding(None)),
            None
        );
    }
}

proptest! {
    /// Whatever comes, nothing panics, and the answer is at most some times as long.
    #[test]
    fn never_an_amplifier(bytes in proptest::collection::vec(any::<u8>(), 0..200), v6 in any::<bool>()) {
        let from = if v6 { "[2001:db8::9]:9".parse().unwrap() } else { from() };
        let here = if v6 { "[2001:db8::1]:3478".parse().unwrap() } else { here() };
        let mut framed = vec![0, 1, 0, 0];
        framed.extend([3; 16]);
        framed.extend(&bytes);
        framed[2..4].copy_from_slice(&u16::try_from(bytes.len()).unwrap().to_be_bytes());
        for datagram in [&bytes, &framed] {
            let Ok(message) = Message::parse(datagram) else { continue };
            let _ = (message.username(), message.is_signed_with("p"), message.is_binding_change());
            for say in [Answer::Binding(None), Answer::Unauthorized, Answer::Refused, Answer::NoUsername] {
                if let Some((to, answer)) = answer(&message, from, here, say) {
                    prop_assert_eq!(to.ip(), from.ip());
                    prop_assert!(answer.len() <= 5 * datagram.len(), "{} for {}", answer.len(), datagram.len());
                }
            }
        }
    }

    #[test]
    fn what_is_written_is_read(
        kind in 0u16..0x4000, transaction in any::<[u8; 16]>(), username in "[ -~]{0,38}[!-~]",
        password in ".{1,20}", other in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        let message = Message::new(kind, transaction).with_username(&username).with(0x8001, other);
        let read = Message::parse(&message.to_bytes()).unwrap();
        prop_assert_eq!(&read, &message);
        prop_assert_eq!(read.username(), Some(username.as_str()));
        let signed = Message::parse(&message.to_signed_bytes(&password)).unwrap();
        prop_assert!(signed.is_signed_with(&password));
        let other = format!("{password}x");
        prop_assert!(!signed.is_signed_with(&other));
    }
}
