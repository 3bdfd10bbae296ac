//! Any Cookie headers are read without a panic; none is a session that wasn't sealed here for this
//! tenant, or that is over. Anything that was sealed with our key is a session or nothing.
//!
//! The first byte chooses what `%` stands for in the rest; the lines are headers.
//!
//! `cargo +nightly fuzz run cookie fuzz/corpus/cookie fuzz/seeds/cookie`
#![no_main]

use std::sync::LazyLock;

use hearth_gateway::fuzzing::Jar;
use hearth_types::TenantId;
use libfuzzer_sys::fuzz_target;

const DEVICE: &str = "0000CA-Router-0001";

static JAR: LazyLock<Jar> = LazyLock::new(|| Jar::new(1_800_000_000_000_000).expect("a jar"));

fuzz_target!(|bytes: &[u8]| {
    let Some((&how, rest)) = bytes.split_first() else {
        return;
    };
    JAR.opens(rest);
    let tenant: TenantId = if how & 1 == 0 {
        TenantId::default()
    } else {
        "other".parse().expect("a tenant")
    };
    let silent = if how & 2 == 0 { 1 } else { 31 };
    let Some(cookie) = JAR.cookie(&tenant, DEVICE, silent) else {
        return;
    };
    let mut ours = cookie.into_bytes();
    let changed = how & 4 != 0;
    if changed {
        // One character of the sealed text, which base64url may write otherwise only at the end.
        let at = 3 + usize::from(how >> 3) % (ours.len() - 4);
        ours[at] = if ours[at] == b'A' { b'B' } else { b'A' };
    }
    let mut text = Vec::with_capacity(rest.len() + ours.len());
    let mut there = false;
    for &byte in rest {
        if byte == b'%' && !there {
            text.extend_from_slice(&ours);
            there = true;
        } else {
            text.push(byte);
        }
    }
    let lines: Vec<&[u8]> = text.split(|&byte| byte == b'\n').collect();
    let found = JAR.find(&lines);
    let good = there && how & 7 == 0;
    match found {
        Some((device, again)) => {
            assert!(good, "{how}: {}", String::from_utf8_lossy(&text));
            assert_eq!(device, DEVICE);
            assert!(again.is_some_and(|set| set.len() < 512));
        }
        // Alone on its line it is always found.
        None => assert!(!(good && lines.len() == 1 && text == ours)),
    }
});
