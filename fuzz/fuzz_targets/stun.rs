//! Any datagram at the STUN socket is read or refused without a panic, and its answer goes to the
//! asker and is at most some times as long; any datagram at a device likewise.
//!
//! `cargo +nightly fuzz run stun fuzz/corpus/stun fuzz/seeds/stun`
#![no_main]

use hearth_waking::stun::{Answer, Message, answer};
use hearth_waking::udp::ConnectionRequest;
use libfuzzer_sys::fuzz_target;
use std::net::SocketAddr;

fuzz_target!(|datagram: &[u8]| {
    let _ = ConnectionRequest::verify(datagram, "password");
    let Ok(message) = Message::parse(datagram) else {
        return;
    };
    let _ = (message.username(), message.is_signed_with("password"));
    let _ = (
        message.is_connection_request_binding(),
        message.is_binding_change(),
    );
    for from in ["203.0.113.9:40000", "[2001:db8::9]:40000"] {
        let Ok(from) = from.parse::<SocketAddr>() else {
            continue;
        };
        for say in [
            Answer::Binding(None),
            Answer::Binding(Some("p")),
            Answer::Unauthorized,
            Answer::Refused,
        ] {
            let Some((to, bytes)) = answer(&message, from, from, say) else {
                continue;
            };
            assert_eq!(to.ip(), from.ip());
            assert!(
                bytes.len() <= 6 * datagram.len(),
                "{} for {}",
                bytes.len(),
                datagram.len()
            );
            assert!(Message::parse(&bytes).is_ok());
        }
    }
    // What was read is written and read the same again.
    let again = Message::parse(&message.to_bytes());
    assert_eq!(again.map(|again| again.attributes), Ok(message.attributes));
});
