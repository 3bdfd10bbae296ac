//! Connection requests against devices' HTTP servers, good and broken, on real
//! sockets.

use crate::support::{World, by_url, loopback};
use hearth_config::HumanDuration;
use hearth_proto::wakeup::v1::{WakeOutcome, WakeWay};
use hearth_wakeup::{BasicPolicy, WakeupConfig};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// A device's server: answers the n-th connection with the n-th text (the last
/// one from then on) and counts connections.
async fn device(answers: &'static [&'static str]) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/cr", listener.local_addr().unwrap());
    let count = Arc::new(AtomicUsize::new(0));
    let counter = count.clone();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let n = counter
                .fetch_add(1, Ordering::SeqCst)
                .min(answers.len() - 1);
            let mut request = vec![0; 4096];
            let length = stream.read(&mut request).await.unwrap();
            let request = String::from_utf8_lossy(&request[..length]).into_owned();
            assert!(request.starts_with("GET /cr HTTP/1.1\r\n"), "{request}");
            let answer = match answers[n] {
                "CHECK" => check_digest(&request),
                // `hearth:secret`
                "BASIC" if request.contains("Authorization: Basic aGVhcnRoOnNlY3JldA==") => {
                    "HTTP/1.1 200 OK\r\n\r\n".to_owned()
                }
                other => other.to_owned(),
            };
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    (url, count)
}

/// Answers 200 when the request has the right digest of `hearth`/`secret`.
fn check_digest(request: &str) -> String {
    let header = request
        .lines()
        .find_map(|line| line.strip_prefix("Authorization: "))
        .expect("an Authorization header");
    let mut expected = digest_auth::AuthorizationHeader::parse(header).unwrap();
    let given = expected.response.clone();
    let context = digest_auth::AuthContext::new("hearth", "secret", "/cr");
    expected.digest(&context);
    if given == expected.response {
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".into()
    } else {
        "HTTP/1.1 401 Unauthorized\r\n\r\n".into()
    }
}

fn role(url: &str, login: bool, config: WakeupConfig) -> World {
    let mut how = by_url(url);
    if !login {
        how.username.clear();
        how.password.clear();
    }
    World::new(how, config)
}

async fn wake(role: &World) -> hearth_proto::wakeup::v1::WakeResponse {
    role.wake().await
}

const WITH_QOP: &str = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Digest realm=\"cpe\", nonce=\"abc\", qop=\"auth\"\r\nContent-Length: 0\r\n\r\n";
const WITHOUT_QOP: &str =
    "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Digest realm=\"cpe\", nonce=\"abc\"\r\n\r\n";
const BROKEN: &str =
    "HTTP/1.1 401 Unauthorized\nWWW-Authenticate: Digest realm=\"cpe\",\n\tnonce=\"abc\"";

/// TR-069 3.2.2: digest with and without qop, and a broken server.
#[tokio::test]
async fn digest_is_answered() {
    for challenge in [
        &[WITH_QOP, "CHECK"],
        &[WITHOUT_QOP, "CHECK"],
        &[BROKEN, "CHECK"],
    ] {
        let (url, _) = device(challenge).await;
        let response = wake(&role(&url, true, loopback())).await;
        assert_eq!(
            response.outcome(),
            WakeOutcome::Accepted,
            "{}",
            response.detail
        );
    }
}

#[tokio::test]
async fn every_answer_has_its_outcome() {
    let cases: [(&'static [&'static str], WakeOutcome); 7] = [
        (&["HTTP/1.1 204 No Content\r\n\r\n"], WakeOutcome::Accepted),
        (&["HTTP/1.0 200 OK"], WakeOutcome::Accepted),
        (&[WITH_QOP, WITH_QOP], WakeOutcome::Credentials),
        (
            &["HTTP/1.1 401 No\r\nWWW-Authenticate: Basic realm=\"x\"\r\n\r\n"],
            WakeOutcome::Credentials,
        ),
        (&["HTTP/1.1 503 Busy\r\n\r\n"], WakeOutcome::Busy),
        (
            &["HTTP/1.1 404 Not Found\r\n\r\n"],
            WakeOutcome::Unreachable,
        ),
        (&["nonsense"], WakeOutcome::Unreachable),
    ];
    for (answers, outcome) in cases {
        let (url, _) = device(answers).await;
        let response = wake(&role(&url, true, loopback())).await;
        assert_eq!(
            response.outcome(),
            outcome,
            "{answers:?}: {}",
            response.detail
        );
        assert!(!response.detail.contains("secret"));
    }
    let (url, _) = device(&[WITH_QOP]).await;
    let response = wake(&role(&url, false, loopback())).await;
    assert_eq!(response.outcome(), WakeOutcome::Credentials);
    assert!(response.detail.contains("hearthctl credential set"));
}

#[tokio::test]
async fn addresses_that_are_not_allowed_are_not_asked() {
    let (url, connections) = device(&["HTTP/1.1 200 OK\r\n\r\n"]).await;
    let response = wake(&role(&url, true, WakeupConfig::default())).await;
    assert_eq!(response.outcome(), WakeOutcome::Forbidden);
    assert_eq!(connections.load(Ordering::SeqCst), 0);
    let response = wake(&role("", true, loopback())).await;
    assert_eq!(response.outcome(), WakeOutcome::NoAddress);
}

#[tokio::test]
async fn a_closed_port_and_a_silent_device_are_unreachable() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/cr", closed.local_addr().unwrap());
    drop(closed);
    let response = wake(&role(&url, true, loopback())).await;
    assert_eq!(response.outcome(), WakeOutcome::Unreachable);

    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/cr", silent.local_addr().unwrap());
    let config = WakeupConfig {
        timeout: HumanDuration::millis(100),
        ..loopback()
    };
    let response = wake(&role(&url, true, config)).await;
    assert_eq!(response.outcome(), WakeOutcome::Unreachable);
    assert!(response.detail.contains("100ms"), "{}", response.detail);
}

#[tokio::test]
async fn requests_under_way_are_shared_and_the_next_is_paced() {
    let (url, connections) = device(&["HTTP/1.1 200 OK\r\n\r\n"]).await;
    let role = role(
        &url,
        true,
        WakeupConfig {
            min_interval: HumanDuration::secs(60),
            ..loopback()
        },
    );
    let (one, two) = tokio::join!(wake(&role), wake(&role));
    assert_eq!(one.outcome(), WakeOutcome::Accepted);
    assert_eq!(two.outcome(), WakeOutcome::Accepted);
    let third = wake(&role).await;
    assert_eq!(third.outcome(), WakeOutcome::RateLimited);
    assert!(third.retry_after_ms > 50_000);
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}

/// C-02: Basic gives the password away, and is answered by policy only.
#[tokio::test]
async fn basic_is_answered_by_policy_only() {
    const BASIC: &str =
        "HTTP/1.1 401 No\r\nWWW-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\n\r\n";
    for (basic, outcome, asked) in [
        (BasicPolicy::Never, WakeOutcome::Credentials, 1),
        (BasicPolicy::Https, WakeOutcome::Credentials, 1),
        (BasicPolicy::Always, WakeOutcome::Accepted, 2),
    ] {
        let (url, connections) = device(&[BASIC, "BASIC"]).await;
        let config = WakeupConfig {
            basic,
            ..loopback()
        };
        let response = wake(&role(&url, true, config)).await;
        assert_eq!(
            response.outcome(),
            outcome,
            "{basic:?}: {}",
            response.detail
        );
        assert_eq!(connections.load(Ordering::SeqCst), asked);
    }
}

/// C-05: an answer that sends elsewhere is an answer like any other.
#[tokio::test]
async fn redirects_are_never_followed() {
    let (elsewhere, followed) = device(&["HTTP/1.1 200 OK\r\n\r\n"]).await;
    for status in ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"] {
        let answer = format!("HTTP/1.1 {status}\r\nLocation: {elsewhere}\r\n\r\n");
        let answers: &'static [&'static str] = vec![&*answer.leak()].leak();
        let (url, _) = device(answers).await;
        let response = wake(&role(&url, true, loopback())).await;
        assert_eq!(response.outcome(), WakeOutcome::Unreachable);
        assert!(
            response.detail.contains(&status[..3]),
            "{}",
            response.detail
        );
    }
    assert_eq!(followed.load(Ordering::SeqCst), 0);
}

/// C-03: some servers reset who asks too soon: it is tried once more, and no oftener.
#[tokio::test]
async fn a_reset_is_tried_once_more() {
    for (resets, outcome) in [(1, WakeOutcome::Accepted), (9, WakeOutcome::Unreachable)] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/cr", listener.local_addr().unwrap());
        let count = Arc::new(AtomicUsize::new(0));
        let counter = count.clone();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                if counter.fetch_add(1, Ordering::SeqCst) < resets {
                    // Unread bytes at the close make it a reset.
                    let _ = stream.readable().await;
                    continue;
                }
                let mut request = [0; 1024];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(b"HTTP/1.1 200 OK\n").await;
            }
        });
        let response = wake(&role(&url, true, loopback())).await;
        assert_eq!(response.outcome(), outcome, "{}", response.detail);
        assert_eq!(count.load(Ordering::SeqCst), 2);
    }
}

/// An answer without end, or one byte at a time, ends with the time limit.
#[tokio::test]
async fn an_endless_answer_is_bounded() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/cr", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 1024];
        let _ = stream.read(&mut request).await;
        let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n").await;
        while stream.write_all(&[b'x'; 1000]).await.is_ok() {}
    });
    // 16 KiB are read, and the status is there.
    let response = wake(&role(&url, true, loopback())).await;
    assert_eq!(response.outcome(), WakeOutcome::Accepted);
}

/// Mass wake-ups don't fall on one access node: beyond the share of a /24 they come later.
#[tokio::test]
async fn a_subnet_has_its_share() {
    let (url, connections) = device(&["HTTP/1.1 200 OK\r\n\r\n"]).await;
    let config = WakeupConfig {
        subnet_rate: 1,
        ..loopback()
    };
    let role = role(&url, true, config);
    assert_eq!(wake(&role).await.outcome(), WakeOutcome::Accepted);
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    let second = wake(&role).await;
    assert_eq!(second.outcome(), WakeOutcome::RateLimited);
    assert!(second.detail.contains("subnet"), "{}", second.detail);
    assert!((1..=1000).contains(&second.retry_after_ms));
    assert_eq!(connections.load(Ordering::SeqCst), 1);
    assert_eq!(role.devices.wakes().len(), 1, "only what was tried is kept");
}

/// What came of it is kept on the device and goes to its history.
#[tokio::test]
async fn the_outcome_is_kept() {
    let (url, _) = device(&["HTTP/1.1 503 Busy\r\n\r\n"]).await;
    let role = role(&url, true, loopback());
    let response = wake(&role).await;
    assert_eq!(response.way(), WakeWay::Http);
    assert_eq!(response.attempts.len(), 1);
    let kept = role.devices.wakes().remove(0);
    assert_eq!((kept.outcome.as_str(), kept.way.as_str()), ("busy", "http"));
    assert_eq!(kept.good_way, "http", "it answered");
    assert!(kept.time_us > 0 && !kept.detail.is_empty());
    assert_eq!(role.bus.published.lock().len(), 1);
    assert!(role.counted("hearth_wakeup_attempts_total{outcome=\"busy\",way=\"http\"} 1"));
}
