//! Any datagram at the listener for lightweight notifications is read or refused without a panic,
//! and none is believed that is not signed.
//!
//! `cargo +nightly fuzz run notification fuzz/corpus/notification fuzz/seeds/notification`
#![no_main]

use hearth_waking::lightweight::Notification;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|datagram: &[u8]| {
    if let Ok(found) = Notification::parse(datagram) {
        assert!(!found.is_signed_with("a password that nobody signed with"));
        assert!(!found.parameters.is_empty() && found.ts > 0);
    }
});
