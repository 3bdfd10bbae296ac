//! Digest from both ends: this crate's server against `digest_auth` as client, this crate's client
//! against its server, and the leniencies one by one.
#![allow(clippy::unwrap_used, missing_docs)]

use std::time::Duration;

use digest_auth::{AuthContext, HttpMethod};
use hearth_auth::{
    Algorithm, Authorization, Challenge, DigestFailure, DigestOptions, DigestServer,
    DigestVerified, Ha1, RequestTarget, SecretKeys, UriMatch, VerifyWith,
};
use hearth_types::Timestamp;
use proptest::prelude::*;

const USER: &str = "000000-HG-0001";
const PASSWORD: &str = "s3cret \"quoted\"";
const REALM: &str = "hearth";

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(1_700_000_000_000_000 + seconds * 1_000_000)
}

fn server(change: impl FnOnce(&mut DigestOptions)) -> DigestServer {
    let mut options = DigestOptions::new(REALM);
    change(&mut options);
    DigestServer::new(
        SecretKeys::from_seed([5; 32]).digest_nonces().unwrap(),
        options,
    )
}

fn challenge(server: &DigestServer, seconds: i64) -> String {
    server.challenges(at(seconds), false).unwrap().remove(0)
}

fn verify(
    server: &DigestServer,
    header: &str,
    seconds: i64,
) -> Result<DigestVerified, DigestFailure> {
    verify_at(server, header, "/", seconds)
}

fn verify_at(
    server: &DigestServer,
    header: &str,
    uri: &str,
    seconds: i64,
) -> Result<DigestVerified, DigestFailure> {
    let Authorization::Digest(response) = Authorization::parse(header) else {
        panic!("not a digest: {header}")
    };
    assert_eq!(response.username, USER);
    let (md5, sha256) = (
        Ha1::md5(USER, REALM, PASSWORD),
        Ha1::sha256(USER, REALM, PASSWORD),
    );
    let stored = VerifyWith::Ha1 {
        md5: &md5,
        sha256: Some(&sha256),
    };
    let target = RequestTarget {
        method: "POST",
        uri,
    };
    let by_password = VerifyWith::Password(PASSWORD);
    let result = server.verify(target, &response, stored, at(seconds));
    // The stored password must lead to the same; only a first use differs.
    if result.is_err() {
        assert_eq!(
            server.verify(target, &response, by_password, at(seconds)),
            result
        );
    }
    result
}

/// What `digest_auth`, a client that nobody here wrote, answers to a challenge.
fn answer(challenge: &str, password: &str) -> String {
    let mut prompt = digest_auth::parse(challenge).unwrap();
    let context =
        AuthContext::new_with_method(USER, password, "/", None::<&[u8]>, HttpMethod::POST);
    prompt.respond(&context).unwrap().to_header_string()
}

#[test]
fn a_foreign_client_is_verified_with_each_algorithm() {
    for (algorithm, with) in [
        (Algorithm::Md5, Algorithm::Md5),
        (Algorithm::Md5Sess, Algorithm::Md5Sess),
        (Algorithm::Sha256, Algorithm::Sha256),
        (Algorithm::Sha256Sess, Algorithm::Sha256Sess),
    ] {
        let server = server(|options| options.algorithms = vec![algorithm]);
        let header = answer(&challenge(&server, 0), PASSWORD);
        let verified = verify(&server, &header, 1).unwrap();
        assert_eq!(
            verified,
            DigestVerified {
                algorithm: with,
                with_qop: true,
                exact_uri: true
            },
            "{header}"
        );
        let wrong = answer(&challenge(&server, 0), "guess");
        assert_eq!(
            verify(&server, &wrong, 1),
            Err(DigestFailure::WrongResponse)
        );
    }
}

#[test]
fn a_nonce_serves_many_requests_and_each_response_once() {
    let server = server(|_| {});
    let mut prompt = digest_auth::parse(&challenge(&server, 0)).unwrap();
    let context =
        AuthContext::new_with_method(USER, PASSWORD, "/", None::<&[u8]>, HttpMethod::POST);
    let first = prompt.respond(&context).unwrap().to_header_string();
    let second = prompt.respond(&context).unwrap().to_header_string();
    assert!(second.contains("nc=00000002"), "{second}");
    assert!(verify(&server, &first, 1).is_ok());
    assert!(verify(&server, &second, 2).is_ok());
    // An HTTP client that repeats a request gets another chance, not a refusal.
    let repeated = verify(&server, &first, 3).unwrap_err();
    assert!(repeated.is_stale());
    let fresh = server.challenges(at(3), true).unwrap().remove(0);
    assert!(fresh.contains("stale=true"));
    assert!(verify(&server, &answer(&fresh, PASSWORD), 3).is_ok());
}

#[test]
fn a_client_that_restarts_at_one_with_a_fresh_cnonce_passes() {
    let server = server(|_| {});
    let challenge = challenge(&server, 0);
    for second in 0..20 {
        let header = answer(&challenge, PASSWORD);
        assert!(header.contains("nc=00000001"));
        assert!(verify(&server, &header, second).is_ok());
    }
}

#[test]
fn nonces_expire_and_work_on_other_replicas() {
    let (one, two) = (server(|_| {}), server(|_| {}));
    let header = answer(&challenge(&one, 0), PASSWORD);
    assert_eq!(verify(&two, &header, 301), Err(DigestFailure::Stale));
    assert!(
        verify(&two, &header, 299).is_ok(),
        "made by one, verified by the other"
    );
    let other_keys = SecretKeys::from_seed([6; 32]).digest_nonces().unwrap();
    let other = DigestServer::new(other_keys, DigestOptions::new(REALM));
    assert_eq!(
        verify(&other, &header, 1),
        Err(DigestFailure::Stale),
        "right password, old key"
    );
    let wrong = answer(&challenge(&one, 0), "guess");
    assert_eq!(
        verify(&one, &wrong, 999),
        Err(DigestFailure::WrongResponse),
        "told first"
    );
}

/// A header as the client of this crate makes it from a changed challenge.
fn own_answer(challenge: &str, uri: &str) -> String {
    let all = Challenge::parse_all([challenge]);
    let digest = Challenge::first_digest(&all).unwrap();
    digest
        .authorization("POST", uri, USER, PASSWORD, 1)
        .unwrap()
}

#[test]
fn rfc_2069_is_a_setting() {
    let strict = server(|options| options.allow_without_qop = false);
    let lenient = server(|_| {});
    let without = challenge(&lenient, 0).replace(", qop=\"auth\"", "");
    let header = own_answer(&without, "/");
    assert!(!header.contains("qop"));
    let verified = verify(&lenient, &header, 1).unwrap();
    assert!(!verified.with_qop);
    assert!(
        verify(&lenient, &header, 2).is_ok(),
        "can't be told from a repetition"
    );
    assert_eq!(verify(&lenient, &header, 301), Err(DigestFailure::Stale));
    assert_eq!(verify(&strict, &header, 1), Err(DigestFailure::Qop));
}

#[test]
fn targets_are_matched_as_far_as_cpes_get_them_right() {
    let cases = [
        ("/t/acme?x=1", true, true),
        ("http://acs.example.com:7547/t/acme?x=1", true, false),
        ("/t/acme", false, false),
        ("/", false, false),
    ];
    for (hashed, strict_too, exact) in cases {
        for mode in [UriMatch::Lenient, UriMatch::Strict] {
            let server = server(|options| options.uri_match = mode);
            let header = own_answer(&challenge(&server, 0), hashed);
            let result = verify_at(&server, &header, "/t/acme?x=1", 1);
            if mode == UriMatch::Lenient || strict_too {
                assert_eq!(result.unwrap().exact_uri, exact, "{hashed}");
            } else {
                assert_eq!(result, Err(DigestFailure::WrongUri), "{hashed}");
            }
        }
    }
    let server = server(|_| {});
    let header = own_answer(&challenge(&server, 0), "/t/other");
    assert_eq!(
        verify_at(&server, &header, "/t/acme", 1),
        Err(DigestFailure::WrongUri)
    );
}

#[test]
fn refusals_are_told_apart() {
    let server = server(|_| {});
    let good = answer(&challenge(&server, 0), PASSWORD);
    let changed = |from: &str, to: &str| {
        assert!(good.contains(from), "{good}");
        verify(&server, &good.replacen(from, to, 1), 1)
    };
    assert_eq!(
        changed("realm=\"hearth\"", "realm=\"x\""),
        Err(DigestFailure::WrongRealm)
    );
    assert_eq!(
        changed("algorithm=MD5", "algorithm=SHA-256"),
        Err(DigestFailure::Algorithm)
    );
    assert_eq!(
        changed("algorithm=MD5", "algorithm=CRC"),
        Err(DigestFailure::Algorithm)
    );
    assert_eq!(changed("qop=auth", "qop=auth-int"), Err(DigestFailure::Qop));
    assert_eq!(
        changed("nc=00000001", "nc=zz"),
        Err(DigestFailure::Malformed("nc"))
    );
    assert_eq!(
        changed("cnonce=", "cn="),
        Err(DigestFailure::Malformed("cnonce"))
    );
    assert_eq!(
        changed("nonce=\"", "nonce=\"x"),
        Err(DigestFailure::WrongResponse)
    );
    assert!(
        changed("realm=\"hearth\", ", "").is_ok(),
        "a missing realm is ours"
    );
}

#[test]
fn a_flood_of_used_responses_does_not_open_a_replay() {
    let server = server(|options| {
        options.replay_capacity = 320;
        options.nonce_lifetime = Duration::from_secs(300);
    });
    let victim = answer(&challenge(&server, 0), PASSWORD);
    assert!(verify(&server, &victim, 1).is_ok());
    for second in 2..200 {
        let flood = challenge(&server, second);
        for _ in 0..10 {
            let _ = verify(&server, &answer(&flood, PASSWORD), second);
        }
        assert_eq!(verify(&server, &victim, second), Err(DigestFailure::Stale));
    }
}

proptest! {
    #[test]
    fn any_header_is_read_without_a_panic(text in "\\PC{0,200}") {
        let _ = Authorization::parse(&text);
        let _ = Challenge::parse_all([text.as_str()]);
    }

    #[test]
    fn anything_after_digest_is_refused_without_a_panic(
        text in "[a-z=\", \\\\\r\n\tDigest:0-9]{0,200}"
    ) {
        let header = format!("Digest {text}");
        let Authorization::Digest(response) = Authorization::parse(&header) else {
            return Err(TestCaseError::fail("a digest"));
        };
        let target = RequestTarget { method: "POST", uri: "/" };
        let result = server(|_| {}).verify(target, &response, VerifyWith::Password("p"), at(0));
        prop_assert!(result.is_err());
    }

    #[test]
    fn our_client_satisfies_our_server(
        user in "[^\\p{Cc}]{1,40}", password in ".{0,40}", counter in 1u32..,
    ) {
        let server = server(|_| {});
        let challenge = challenge(&server, 0);
        let all = Challenge::parse_all([challenge.as_str()]);
        let digest = Challenge::first_digest(&all).unwrap();
        let header = digest.authorization("POST", "/", &user, &password, counter).unwrap();
        let Authorization::Digest(response) = Authorization::parse(&header) else {
            return Err(TestCaseError::fail("a digest"));
        };
        prop_assert_eq!(response.username.as_ref(), user.as_str());
        let target = RequestTarget { method: "POST", uri: "/" };
        let result = server.verify(target, &response, VerifyWith::Password(&password), at(1));
        prop_assert!(result.is_ok(), "{:?}", result);
    }
}
