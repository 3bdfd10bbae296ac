//! A device behind NAT from end to end: it tells its way by STUN and Inform, and is woken through
//! it, by UDP.

use crate::apart::api::{name_of, set_connection_login, until};
use crate::apart::{Process, alone};
use hearth_proto::northbound::v1 as nb;
use hearth_proto::northbound::v1::device_service_client::DeviceServiceClient;
use hearth_sim::{Fleet, FleetOptions};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_behind_nat_is_woken() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = alone(dir.path());
    config.wakeup.allow_loopback = true;
    config.wakeup.stun.listen = Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    let process = Process::start(&config, &config.roles).await;
    let fleet = FleetOptions {
        stun: process.addresses.stun,
        ..process.fleet()
    };
    let api = process.api().await;
    set_connection_login(&api, &fleet).await;
    let mut api = DeviceServiceClient::new(api);
    let fleet = Fleet::start(fleet).await.unwrap();
    let device = &fleet.devices()[0];
    let informs = || device.with_ledger(|ledger| ledger.informs);
    until(PATIENCE, async || informs() >= 1).await;
    let name = name_of(&fleet);
    // Until its Inform with the address has been taken, it has no way that leads to it.
    let mut tries = 0;
    let before = loop {
        until(PATIENCE, async || !device.in_session()).await;
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
    until(PATIENCE, async || informs() > before).await;
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
    process.end().await;
}
