//! What happens before a request is decoded: tokens, limits, deadlines, the stop.

use crate::common::{self, Api, DEVICE, TOKEN};
use hearth_config::{ByteSize, HumanDuration};
use hearth_northbound::{Caller, NorthboundConfig, Role, TenantScope, TokenVerifier};
use hearth_proto::northbound::v1 as nb;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use nb::credential_service_client::CredentialServiceClient;
use nb::device_service_client::DeviceServiceClient;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::{Code, Request, Status};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_reflection::pb::v1 as reflection;
use tonic_types::StatusExt;

fn get() -> nb::GetDeviceRequest {
    nb::GetDeviceRequest {
        name: DEVICE.into(),
    }
}

fn count() -> nb::CountDevicesRequest {
    nb::CountDevicesRequest {
        parent: "tenants/default".into(),
    }
}

async fn with_authorization(api: &Api, value: Option<&str>) -> Result<(), Status> {
    let mut request = Request::new(get());
    if let Some(value) = value {
        request
            .metadata_mut()
            .insert("authorization", value.parse().unwrap());
    }
    let mut client = DeviceServiceClient::new(api.channel().await);
    client.get_device(request).await.map(|_| ())
}

#[tokio::test]
async fn nothing_is_open_but_health() {
    let api = Api::start().await;
    for (value, reason) in [
        (None, "TOKEN_MISSING"),
        (
            Some("Bearer wrong-token-wrong-token-wrong"),
            "TOKEN_INVALID",
        ),
        (Some("Bearer "), "TOKEN_MALFORMED"),
        (Some("Basic dXNlcjpwYXNz"), "TOKEN_MALFORMED"),
        (Some(TOKEN), "TOKEN_MALFORMED"),
    ] {
        let status = with_authorization(&api, value).await.unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated, "{value:?}");
        assert_eq!(
            status.get_details_error_info().unwrap().reason,
            reason,
            "{value:?}"
        );
        assert!(
            status.message().contains("admin.token"),
            "a remedy: {status}"
        );
        assert!(!status.message().contains("wrong-token"));
    }
    assert!(api.fake.asked.lock().is_empty(), "nothing was asked inside");
    with_authorization(&api, Some(&format!("bearer {TOKEN}")))
        .await
        .unwrap();

    let mut health = HealthClient::new(api.channel().await);
    for service in ["", "hearth.northbound.v1.DeviceService"] {
        let request = HealthCheckRequest {
            service: service.into(),
        };
        let status = health.check(request).await.unwrap().into_inner().status;
        assert_eq!(status, 1, "SERVING");
    }
    let metrics = api.registry.render();
    for line in [
        "hearth_northbound_auth_failures_total{reason=\"missing\"} 1",
        "hearth_northbound_auth_failures_total{reason=\"malformed\"} 3",
        "hearth_northbound_auth_failures_total{reason=\"wrong\"} 1",
        "hearth_northbound_requests_total{code=\"UNAUTHENTICATED\",method=\"DeviceService/GetDevice\"} 5",
        "hearth_northbound_requests_total{code=\"OK\",method=\"DeviceService/GetDevice\"} 1",
        "hearth_northbound_request_seconds_count{method=\"DeviceService/GetDevice\"} 6",
        "hearth_northbound_requests_open 0",
    ] {
        assert!(metrics.contains(line), "{line} in\n{metrics}");
    }
}

#[tokio::test]
async fn unknown_methods_get_no_label_of_their_own() {
    let api = Api::start().await;
    let mut grpc = tonic::client::Grpc::new(api.authorized().await);
    grpc.ready().await.unwrap();
    let codec: tonic_prost::ProstCodec<nb::GetDeviceRequest, nb::GetDeviceResponse> =
        tonic_prost::ProstCodec::default();
    let path = http::uri::PathAndQuery::from_static("/hearth.workflow.v1.WorkflowService/GetTask");
    let status = grpc
        .unary(Request::new(get()), path, codec)
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    assert!(
        api.registry
            .render()
            .contains("{code=\"UNIMPLEMENTED\",method=\"other\"} 1")
    );
}

/// A verifier that knows one tenant's token.
struct OneTenant;

impl TokenVerifier for OneTenant {
    fn verify(&self, token: &str) -> Option<Caller> {
        (token == TOKEN).then(|| Caller {
            tenants: TenantScope::One("isp".parse().unwrap()),
            role: Role::Admin,
        })
    }
}

#[tokio::test]
async fn a_tenants_token_reaches_no_other_tenant() {
    let api = Api::with_verifier(NorthboundConfig::default(), Arc::new(OneTenant)).await;
    let mut client = DeviceServiceClient::new(api.authorized().await);
    let status = client.get_device(get()).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    let status = client.count_devices(count()).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    let own = nb::CountDevicesRequest {
        parent: "tenants/isp".into(),
    };
    client.count_devices(own).await.unwrap();
}

type Bare = hyper_util::client::legacy::Client<HttpConnector, tonic::body::Body>;

/// A client that leaves `grpc-timeout` to the server; tonic's own channel would be first.
fn without_timers(api: &Api) -> DeviceServiceClient<Bare> {
    let client = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
        .http2_only(true)
        .build_http();
    let origin = format!("http://{}", api.addr).parse().unwrap();
    DeviceServiceClient::with_origin(client, origin)
}

fn authorized<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    let value = format!("Bearer {TOKEN}").parse().unwrap();
    request.metadata_mut().insert("authorization", value);
    request
}

#[tokio::test]
async fn deadlines_are_kept() {
    let config = NorthboundConfig {
        request_timeout: HumanDuration::secs(20),
        ..Default::default()
    };
    let api = Api::with(config).await;
    *api.fake.pause.lock() = Duration::from_secs(30);
    let mut request = authorized(get());
    request
        .metadata_mut()
        .insert("grpc-timeout", "100m".parse().unwrap());
    let mut client = without_timers(&api);
    let status = client.get_device(request).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_eq!(
        status.get_details_error_info().unwrap().reason,
        "DEADLINE_EXCEEDED"
    );
    let mut request = authorized(get());
    request
        .metadata_mut()
        .insert("grpc-timeout", "soon".parse().unwrap());
    let status = client.get_device(request).await.unwrap_err();
    assert_eq!(common::blamed(&status), ["grpc-timeout"]);
    // A watch ends at its deadline too, with trailers in a stream that has begun.
    *api.fake.pause.lock() = Duration::ZERO;
    let mut request = authorized(nb::WatchDevicesRequest {
        parent: "tenants/default".into(),
    });
    request
        .metadata_mut()
        .insert("grpc-timeout", "2S".parse().unwrap());
    let mut watch = client.watch_devices(request).await.unwrap().into_inner();
    assert!(watch.message().await.unwrap().unwrap().event.is_none());
    assert_eq!(
        watch.message().await.unwrap_err().code(),
        Code::DeadlineExceeded
    );
}

#[tokio::test]
async fn the_servers_own_limit_holds_without_a_clients() {
    let config = NorthboundConfig {
        request_timeout: HumanDuration::millis(50),
        ..Default::default()
    };
    let api = Api::with(config).await;
    *api.fake.pause.lock() = Duration::from_secs(30);
    let mut client = DeviceServiceClient::new(api.authorized().await);
    let status = client.get_device(get()).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
}

#[tokio::test]
async fn what_is_too_large_or_too_much_is_refused() {
    let config = NorthboundConfig {
        max_message: ByteSize(4096),
        max_watches: 1,
        max_requests: 1,
        ..Default::default()
    };
    let api = Api::with(config).await;
    let mut client = DeviceServiceClient::new(api.authorized().await);
    let large = nb::GetDeviceRequest {
        name: "x".repeat(5000),
    };
    let status = client.get_device(large).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange, "{status}");
    assert!(status.message().contains("4096"), "{status}");

    let watch = nb::WatchDevicesRequest {
        parent: "tenants/default".into(),
    };
    let first = client.watch_devices(watch.clone()).await.unwrap();
    let status = client.watch_devices(watch.clone()).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(
        status
            .get_details_retry_info()
            .unwrap()
            .retry_delay
            .is_some()
    );
    client.get_device(get()).await.unwrap();
    drop(first);
    // The place is free once the server has seen that the client went.
    let mut freed = false;
    for _ in 0..200 {
        freed = client.watch_devices(watch.clone()).await.is_ok();
        if freed {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(freed);

    *api.fake.pause.lock() = Duration::from_millis(500);
    let mut other = client.clone();
    let (one, two) = tokio::join!(client.get_device(get()), other.get_device(get()));
    let codes = [one, two].map(|result| result.map_or_else(|status| status.code(), |_| Code::Ok));
    assert!(
        codes.contains(&Code::Ok) && codes.contains(&Code::ResourceExhausted),
        "{codes:?}"
    );
}

#[tokio::test]
async fn strangers_take_no_places_of_others() {
    let config = NorthboundConfig {
        max_watches: 1,
        max_requests: 1,
        ..Default::default()
    };
    let api = Api::with(config).await;
    let mut health = HealthClient::new(api.channel().await);
    let mut open = Vec::new();
    for _ in 0..3 {
        let watched = health.watch(HealthCheckRequest::default()).await;
        open.push(watched.unwrap().into_inner());
    }
    let mut client = DeviceServiceClient::new(api.authorized().await);
    let watch = nb::WatchDevicesRequest {
        parent: "tenants/default".into(),
    };
    client.watch_devices(watch).await.unwrap();
}

#[tokio::test]
async fn reflection_shows_the_public_contract_and_needs_a_token() {
    let api = Api::start().await;
    let ask = |request| {
        let request = reflection::ServerReflectionRequest {
            host: String::new(),
            message_request: Some(request),
        };
        futures::stream::iter([request])
    };
    use reflection::server_reflection_client::ServerReflectionClient;
    use reflection::server_reflection_request::MessageRequest;
    use reflection::server_reflection_response::MessageResponse;
    let list = || ask(MessageRequest::ListServices(String::new()));
    let mut open = ServerReflectionClient::new(api.channel().await);
    let status = open.server_reflection_info(list()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);

    let mut client = ServerReflectionClient::new(api.authorized().await);
    let mut answers = client
        .server_reflection_info(list())
        .await
        .unwrap()
        .into_inner();
    let answer = answers
        .message()
        .await
        .unwrap()
        .unwrap()
        .message_response
        .unwrap();
    let MessageResponse::ListServicesResponse(services) = answer else {
        panic!("{answer:?}");
    };
    let names: Vec<String> = services
        .service
        .into_iter()
        .map(|service| service.name)
        .collect();
    assert!(
        names.contains(&"hearth.northbound.v1.TaskService".to_owned()),
        "{names:?}"
    );
    assert!(
        !names.iter().any(|name| name.contains("workflow")),
        "{names:?}"
    );
    // The contract, and the details of its errors.
    for symbol in [
        "hearth.northbound.v1.DeviceService",
        "google.rpc.BadRequest",
    ] {
        let request = ask(MessageRequest::FileContainingSymbol(symbol.into()));
        let mut answers = client
            .server_reflection_info(request)
            .await
            .unwrap()
            .into_inner();
        let answer = answers
            .message()
            .await
            .unwrap()
            .unwrap()
            .message_response
            .unwrap();
        assert!(
            matches!(answer, MessageResponse::FileDescriptorResponse(_)),
            "{symbol}: {answer:?}"
        );
    }
}

#[tokio::test]
async fn a_browser_is_told_what_this_is() {
    let api = Api::start().await;
    let mut stream = tokio::net::TcpStream::connect(api.addr).await.unwrap();
    let request = format!(
        "GET / HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
        api.addr
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 415"), "{answer}");
    assert!(answer.contains("hearthctl"), "{answer}");
}

#[tokio::test]
async fn at_the_stop_watches_end_and_open_requests_are_finished() {
    let api = Api::start().await;
    let mut client = DeviceServiceClient::new(api.authorized().await);
    let watch = nb::WatchDevicesRequest {
        parent: "tenants/default".into(),
    };
    let mut watch = client.watch_devices(watch).await.unwrap().into_inner();
    watch.message().await.unwrap().unwrap();
    assert!(
        api.registry
            .render()
            .contains("hearth_northbound_streams_open 1")
    );
    *api.fake.pause.lock() = Duration::from_millis(300);
    let mut slow = client.clone();
    let slow = tokio::spawn(async move { slow.get_device(get()).await.map(|_| ()) });
    while api.fake.asked.lock().len() < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    api.stop.cancel();
    let status = watch.message().await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(status.get_details_error_info().unwrap().reason, "STOPPING");
    slow.await.unwrap().unwrap();
    tokio::time::timeout(Duration::from_secs(5), api.task)
        .await
        .unwrap()
        .unwrap();
    assert!(
        api.registry
            .render()
            .contains("hearth_northbound_streams_open 0")
    );
}

#[tokio::test]
async fn internal_failures_are_told_with_what_to_do() {
    let api = Api::start().await;
    *api.fake.failure.lock() = Some((hearth_clients::Error::unavailable("the disk is full"), 1));
    let mut client = CredentialServiceClient::new(api.authorized().await);
    let request = nb::ListCredentialsRequest {
        parent: "tenants/default".into(),
        ..Default::default()
    };
    let status = client.list_credentials(request).await.unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (Code::Unavailable, "the disk is full")
    );
    assert!(
        status
            .get_details_retry_info()
            .unwrap()
            .retry_delay
            .is_some()
    );
}

#[tokio::test]
async fn a_defect_costs_one_request_not_the_connection() {
    let api = Api::start().await;
    let mut client = DeviceServiceClient::new(api.authorized().await);
    let watch = nb::WatchDevicesRequest {
        parent: "tenants/default".into(),
    };
    let mut watch = client.watch_devices(watch).await.unwrap().into_inner();
    watch.message().await.unwrap().unwrap();
    *api.fake.panic.lock() = true;
    let status = client.get_device(get()).await.unwrap_err();
    assert_eq!(status.code(), Code::Internal);
    client.get_device(get()).await.unwrap();
    api.fake.tell(hearth_proto::events::v1::Event::default());
    watch.message().await.unwrap().unwrap();
}
