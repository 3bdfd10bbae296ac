//! Any body is read or refused without a panic, and what is read and can be written is read the
//! same again.
//!
//! `mkdir -p fuzz/corpus/decode && cargo +nightly fuzz run decode fuzz/corpus/decode \
//!  fuzz/seeds/decode crates/cwmp/tests/fixtures -- -dict=fuzz/cwmp.dict`
#![no_main]

use hearth_cwmp::session::{Input, State};
use hearth_cwmp::{DecodeOptions, Receiver, decode, encode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    for receiver in [Receiver::Acs, Receiver::Cpe] {
        for charset in [None, Some("iso-8859-1")] {
            let options = DecodeOptions {
                charset,
                ..DecodeOptions::new(receiver)
            };
            let result = decode(body, &options);
            let _ = State::new(false).on(Input::of(&result));
            let Ok(first) = result else { continue };
            // What breaks TR-069's lengths and forms is read, but not written.
            let Ok(bytes) = encode(&first.envelope) else {
                continue;
            };
            match decode(&bytes, &DecodeOptions::new(receiver)) {
                Ok(second) => {
                    assert_eq!(first.envelope, second.envelope);
                    assert!(second.repairs.is_clean(), "{:?}", second.repairs);
                }
                Err(error) => panic!("what was written can't be read: {error}"),
            }
        }
    }
});
