//! Any Authorization header, any challenge of a device and any header of a proxy is read or refused
//! without a panic. None is believed that was not made with the password, and one that was is good
//! once.
//!
//! `cargo +nightly fuzz run authorization fuzz/corpus/authorization fuzz/seeds/authorization`
#![no_main]

use std::sync::LazyLock;
use std::sync::atomic::{AtomicI64, Ordering};

use hearth_auth::{
    Authorization, Challenge, DigestFailure, DigestOptions, DigestServer, ExposeSecret,
    RequestTarget, SecretKeys, SecretString, VerifyWith, line_header,
};
use hearth_types::{TenantId, Timestamp};
use libfuzzer_sys::fuzz_target;

const SECONDS: i64 = 1_800_000_000;
const PASSWORD: &str = "Zaphod-42";
const TARGET: RequestTarget<'_> = RequestTarget {
    method: "POST",
    uri: "/acs",
};

/// Time goes on, so that the memory of used responses may forget.
static MICROS: AtomicI64 = AtomicI64::new(SECONDS * 1_000_000);

static SERVER: LazyLock<DigestServer> = LazyLock::new(|| {
    let nonces = SecretKeys::from_seed([7; 32])
        .digest_nonces()
        .expect("nonces");
    DigestServer::new(
        nonces,
        DigestOptions {
            replay_capacity: 1 << 12,
            ..DigestOptions::new("hearth")
        },
    )
});

fuzz_target!(|bytes: &[u8]| {
    let text: String = match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().copied().map(char::from).collect(),
    };
    let now = Timestamp::from_micros(MICROS.fetch_add(1_000_000, Ordering::Relaxed));
    stranger(&text, now);
    let secret = SecretString::from(PASSWORD.to_owned());
    assert!(
        line_header::verify(&secret, &TenantId::default(), &text, SECONDS, 300).is_err(),
        "{text}"
    );
    let challenges = Challenge::parse_all(text.split('\n'));
    if let Some(challenge) = Challenge::first_digest(&challenges) {
        let answer = challenge
            .authorization("GET", "/", "cpe", PASSWORD, 1)
            .expect("an answer");
        assert!(
            matches!(Authorization::parse(&answer), Authorization::Digest(_)),
            "{answer}"
        );
    }
    if let [at, mode, rest @ ..] = bytes {
        insider(usize::from(*at), *mode, &String::from_utf8_lossy(rest), now);
    }
});

/// Whoever doesn't know the password.
fn stranger(text: &str, now: Timestamp) {
    match Authorization::parse(text) {
        Authorization::Digest(response) => {
            for stored in [VerifyWith::Password(PASSWORD), VerifyWith::Password("")] {
                // A made-up nonce is never ours, even if the proof fits it.
                assert!(
                    SERVER.verify(TARGET, &response, stored, now).is_err(),
                    "{text}"
                );
            }
        }
        Authorization::Basic(basic) => {
            let right = basic.password.expose_secret() == PASSWORD;
            assert_eq!(
                basic.verify("hearth", VerifyWith::Password(PASSWORD)),
                right,
                "{text}"
            );
        }
        Authorization::Other(_) => {}
    }
}

/// Who knows it, and writes oddly: what is put in somewhere, or taken out, never makes it good twice.
fn insider(at: usize, mode: u8, odd: &str, now: Timestamp) {
    let challenges = SERVER.challenges(now, false).expect("challenges");
    let all = Challenge::parse_all(challenges.iter().map(String::as_str));
    let challenge = Challenge::first_digest(&all).expect("a digest challenge");
    let user = if mode & 1 == 0 { "cpe" } else { odd };
    let mut value = challenge
        .authorization("POST", "/acs", user, PASSWORD, 1)
        .expect("an answer");
    if mode & 2 != 0 {
        let at = value.floor_char_boundary(at % (value.len() + 1));
        value.insert_str(at, odd);
    }
    if mode & 4 != 0 {
        value.truncate(value.floor_char_boundary(at % (value.len() + 1)));
    }
    let Authorization::Digest(response) = Authorization::parse(&value) else {
        return;
    };
    let verify = || SERVER.verify(TARGET, &response, VerifyWith::Password(PASSWORD), now);
    let first = verify();
    // Control characters are left out of what is sent, and not of what is hashed.
    if mode & 6 == 0 && !user.chars().any(char::is_control) {
        assert!(first.is_ok(), "{first:?}: {value}");
    }
    if first.is_ok_and(|verified| verified.with_qop) {
        assert_eq!(verify(), Err(DigestFailure::Stale), "{value}");
    }
}
