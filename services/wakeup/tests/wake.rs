//! Connection requests against devices' HTTP servers, good and broken, on real
//! sockets.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use async_trait::async_trait;
use hearth_clients::{DeviceState, Error, EventStream, Result, Wakeup};
use hearth_config::HumanDuration;
use hearth_proto::devicestate::v1::*;
use hearth_proto::wakeup::v1::{WakeOutcome, WakeRequest, WakeResponse};
use hearth_telemetry::Registry;
use hearth_wakeup::{WakeupConfig, WakeupService};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Knows one device's address and login, and nothing else.
struct OneDevice(GetConnectionRequestResponse);

/// The whole of the trait, in one expansion: `async_trait` must see it all.
macro_rules! one_device {
    ($($method:ident($request:ty) -> $response:ty;)*) => {
        #[async_trait]
        impl DeviceState for OneDevice {
            async fn get_connection_request(
                &self,
                _: GetConnectionRequestRequest,
            ) -> Result<GetConnectionRequestResponse> {
                Ok(self.0.clone())
            }
            $(async fn $method(&self, _: $request) -> Result<$response> {
                Err(Error::internal("not asked by this role"))
            })*
        }
    };
}

one_device! {
        get_device(GetDeviceRequest) -> GetDeviceResponse;
        list_devices(ListDevicesRequest) -> ListDevicesResponse;
        count_devices(CountDevicesRequest) -> CountDevicesResponse;
        set_tags(SetTagsRequest) -> SetTagsResponse;
        delete_device(DeleteDeviceRequest) -> DeleteDeviceResponse;
        list_parameters(ListParametersRequest) -> ListParametersResponse;
        list_history(ListHistoryRequest) -> ListHistoryResponse;
        get_credential(GetCredentialRequest) -> GetCredentialResponse;
        check_identity(CheckIdentityRequest) -> CheckIdentityResponse;
        put_credential(PutCredentialRequest) -> PutCredentialResponse;
        list_credentials(ListCredentialsRequest) -> ListCredentialsResponse;
        delete_credential(DeleteCredentialRequest) -> DeleteCredentialResponse;
        get_model(GetModelRequest) -> GetModelResponse;
        put_model(PutModelRequest) -> PutModelResponse;
        watch_events(WatchEventsRequest) -> EventStream;
}

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
            let answer = if answers[n] == "CHECK" {
                check_digest(&request)
            } else {
                answers[n].to_owned()
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

fn role(url: &str, login: bool, config: WakeupConfig) -> WakeupService {
    let device = OneDevice(GetConnectionRequestResponse {
        url: url.into(),
        username: if login {
            "hearth".into()
        } else {
            String::new()
        },
        password: if login {
            "secret".into()
        } else {
            String::new()
        },
    });
    WakeupService::new(config, Arc::new(device), &Registry::new()).unwrap()
}

fn loopback() -> WakeupConfig {
    WakeupConfig {
        allow_loopback: true,
        timeout: HumanDuration::secs(1),
        ..WakeupConfig::default()
    }
}

async fn wake(role: &WakeupService) -> WakeResponse {
    let request = WakeRequest {
        tenant: "default".into(),
        device: "001122-Router-1".into(),
    };
    role.wake(request).await.unwrap()
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
