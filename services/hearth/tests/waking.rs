//! A device behind NAT from end to end: it tells its way by STUN and Inform, and is woken through
//! it, by UDP.
#![allow(clippy::unwrap_used)]

use hearth_auth::ExposeSecret;
use hearth_proto::northbound::v1 as nb;
use hearth_proto::northbound::v1::credential_service_client::CredentialServiceClient;
use hearth_proto::northbound::v1::device_service_client::DeviceServiceClient;
use hearth_runtime::Shutdown;
use hearth_server::config::HearthConfig;
use hearth_server::server::Server;
use hearth_sim::{Fleet, FleetOptions};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tonic::metadata::MetadataValue;
use tonic::{Request, service::Interceptor, transport::Channel};

fn any() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}

fn config(dir: &std::path::Path) -> HearthConfig {
    let mut config = HearthConfig {
        data_dir: dir.to_owned(),
        ..HearthConfig::default()
    };
    config.listen.cwmp = any();
    config.listen.api = any();
    config.listen.files = any();
    config.listen.admin = any();
    config.wakeup.allow_loopback = true;
    config.wakeup.stun.listen = Some(any());
    config
}

#[derive(Clone)]
struct Token(String);

impl Interceptor for Token {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, tonic::Status> {
        let value: MetadataValue<_> = format!("Bearer {}", self.0).parse().unwrap();
        request.metadata_mut().insert("authorization", value);
        Ok(request)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_behind_nat_is_woken() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::build(&config(dir.path())).await.unwrap();
    let addresses = server.addresses;
    let token = server.admin_token.clone().unwrap();
    let onboarding = server.onboarding.as_ref().unwrap();
    let fleet = FleetOptions {
        username: onboarding.username.clone(),
        password: onboarding.password.clone(),
        count: 1,
        periodic: None,
        stun: addresses.stun,
        ..FleetOptions::new(format!("http://{}/", addresses.cwmp.unwrap()))
    };
    let readiness = server.readiness();
    let stop = Shutdown::new();
    let serving = tokio::spawn(server.run(stop.clone()));
    readiness.wait_all_ready().await;
    let url = format!("http://{}", addresses.api.unwrap());
    let channel = Channel::from_shared(url).unwrap().connect().await.unwrap();
    let token = Token(token.expose().to_owned());
    let mut credentials = CredentialServiceClient::with_interceptor(channel.clone(), token.clone());
    let login = nb::SetCredentialRequest {
        parent: "tenants/default".into(),
        credential: Some(nb::Credential {
            username: fleet.connection_request_username.clone(),
            kind: nb::CredentialKind::ConnectionRequest.into(),
            ..nb::Credential::default()
        }),
        password: fleet.connection_request_password.expose_secret().into(),
    };
    credentials.set_credential(login).await.unwrap();
    let mut api = DeviceServiceClient::with_interceptor(channel, token);
    let fleet = Fleet::start(fleet).await.unwrap();
    let device = &fleet.devices()[0];
    let informs = || device.with_ledger(|ledger| ledger.informs);
    until(|| informs() >= 1).await;
    let id = device.id();
    let name = format!(
        "tenants/default/devices/{}-{}-{}",
        id.oui, id.product_class, id.serial_number
    );
    // Until its Inform with the address has been taken, it has no way that leads to it.
    let mut tries = 0;
    let before = loop {
        until(|| !device.in_session()).await;
        let before = informs();
        let request = nb::WakeDeviceRequest { name: name.clone() };
        let answer = api.wake_device(request).await.unwrap().into_inner();
        if answer.accepted {
            assert_eq!(answer.way, "udp");
            break before;
        }
        tries += 1;
        assert!(tries < 20, "{answer:?}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    };
    until(|| informs() > before).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let request = nb::GetDeviceRequest { name };
    let device = api
        .get_device(request)
        .await
        .unwrap()
        .into_inner()
        .device
        .unwrap();
    let wake = device.last_wake.unwrap();
    assert_eq!(
        (wake.outcome.as_str(), wake.way.as_str()),
        ("accepted", "udp")
    );
    assert!(
        device
            .last_events
            .iter()
            .any(|event| event.starts_with("6 ")),
        "{:?}",
        device.last_events
    );
    fleet.stop().await;
    stop.request();
    serving.await.unwrap().unwrap();
}

async fn until(good: impl Fn() -> bool) {
    for _ in 0..400 {
        if good() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("not in time");
}
