//! The beginning of any connection of a proxy is read or refused without a panic, within the
//! longest header, and not one byte of what follows is taken.
//!
//! `cargo +nightly fuzz run proxy fuzz/corpus/proxy fuzz/seeds/proxy`
#![no_main]

use hearth_runtime::http::proxy::{MAX_V2, Parsed, ProxyError, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|stream: &[u8]| {
    // As `receive` reads it: what is asked for, and no more.
    let mut had = 0;
    let result = loop {
        match parse(&stream[..had]) {
            Ok(Parsed::Needs(more)) => {
                assert!(more > 0 && had + more <= MAX_V2, "{had} + {more}");
                if had + more > stream.len() {
                    break Err(ProxyError::Disconnected);
                }
                had += more;
            }
            Ok(Parsed::Done(header)) => break Ok(header),
            Err(error) => break Err(error),
        }
    };
    let Ok(header) = result else { return };
    assert_eq!(parse(&stream[..had]), Ok(Parsed::Done(header.clone())));
    let names = [header.authority, header.tls.and_then(|tls| tls.common_name)];
    for name in names.into_iter().flatten() {
        assert!((1..=255).contains(&name.len()) && !name.chars().any(char::is_control));
    }
});
