//! What authentication costs for a request: `cargo bench -p hearth-auth`.
#![allow(clippy::unwrap_used, missing_docs)]

use divan::{Bencher, black_box};
use hearth_auth::{
    Authorization, Challenge, DigestOptions, DigestServer, Ha1, RequestTarget, SecretKeys,
    VerifyWith, labels,
};
use hearth_types::Timestamp;

fn main() {
    divan::main();
}

#[divan::bench]
fn seal_a_cookie(bencher: Bencher) {
    let sealer = SecretKeys::from_seed([1; 32])
        .sealer(labels::COOKIE)
        .unwrap();
    bencher.bench(|| sealer.seal_text(b"session", black_box(&[7; 150])).unwrap());
}

#[divan::bench]
fn open_a_cookie(bencher: Bencher) {
    let sealer = SecretKeys::from_seed([1; 32])
        .sealer(labels::COOKIE)
        .unwrap();
    let text = sealer.seal_text(b"session", &[7; 150]).unwrap();
    bencher.bench(|| sealer.open_text(b"session", black_box(&text)).unwrap());
}

#[divan::bench]
fn challenge(bencher: Bencher) {
    let server = server();
    bencher.bench(|| server.challenges(now(), false).unwrap());
}

#[divan::bench]
fn verify_a_digest(bencher: Bencher) {
    let server = server();
    let challenge = server.challenges(now(), false).unwrap().remove(0);
    let all = Challenge::parse_all([challenge.as_str()]);
    let digest = Challenge::first_digest(&all).unwrap();
    let ha1 = Ha1::md5("user", "hearth", "password");
    bencher
        .with_inputs(|| {
            digest
                .authorization("POST", "/", "user", "password", 1)
                .unwrap()
        })
        .bench_values(|header| {
            let Authorization::Digest(response) = Authorization::parse(&header) else {
                return;
            };
            let target = RequestTarget {
                method: "POST",
                uri: "/",
            };
            let stored = VerifyWith::Ha1 {
                md5: &ha1,
                sha256: None,
            };
            server.verify(target, &response, stored, now()).unwrap();
        });
}

fn server() -> DigestServer {
    let nonces = SecretKeys::from_seed([1; 32]).digest_nonces().unwrap();
    DigestServer::new(nonces, DigestOptions::new("hearth"))
}

fn now() -> Timestamp {
    Timestamp::from_micros(1_700_000_000_000_000)
}
