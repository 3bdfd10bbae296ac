//! Events become records, in any order and however often they come.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::common::{SECOND, START, World, config, inform, key, values};
use hearth_bus::Bus;
use hearth_clients::DeviceState;
use hearth_engine::EngineOptions;
use hearth_proto::devicestate::v1 as ds;
use hearth_proto::events::v1 as ev;

const ID: &str = "001122-X-1";
const VERSION: &str = "Device.DeviceInfo.SoftwareVersion";
const URL: &str = "Device.ManagementServer.ConnectionRequestURL";

fn boot(time: i64) -> ev::Event {
    let values = [(VERSION, "1.0"), (URL, "http://10.0.0.1/a")];
    inform(ID, time, "1 BOOT", &values)
}

#[tokio::test]
async fn an_inform_makes_a_device() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::open(dir.path(), config()).await;
    world.run().await;
    world.publish(&boot(START)).await;
    world
        .publish(&inform(ID, START + SECOND, "2 PERIODIC", &[]))
        .await;
    world.settled().await;
    let device = world.device(ID).await;
    assert_eq!(device.software_version, "1.0");
    assert_eq!(device.connection_request_url, "http://10.0.0.1/a");
    assert_eq!(device.root, "Device.");
    assert_eq!(
        (device.oui.as_str(), device.product_class.as_str()),
        ("001122", "X")
    );
    assert_eq!(device.serial_number, "1");
    assert_eq!(device.manufacturer, "Acme");
    assert_eq!(device.remote_address, "10.0.0.1:4567");
    assert_eq!(device.first_seen_us, START);
    assert_eq!(device.last_inform_us, START + SECOND);
    assert_eq!(device.last_seen_us, START + SECOND);
    assert_eq!(device.last_boot_us, START);
    assert_eq!(device.last_bootstrap_us, 0);
    assert_eq!(device.inform_count, 2);
    assert_eq!(device.last_events[0].code, "2 PERIODIC");
    assert!(device.online);
    let history = world.history(ID).await;
    assert_eq!(
        history.len(),
        1,
        "a plain periodic Inform is no news: {history:?}"
    );
    assert!(history[0].summary.starts_with("1 BOOT"), "{history:?}");
    let count = ds::CountDevicesRequest {
        tenant: "default".into(),
    };
    let counts = world.state.count_devices(count.clone()).await.unwrap();
    assert_eq!((counts.total, counts.online), (1, 1));
    world.clock.advance(Duration::from_secs(3600));
    assert!(!world.device(ID).await.online);
    let counts = world.state.count_devices(count).await.unwrap();
    assert_eq!((counts.total, counts.online), (1, 0));
    let metrics = world.registry.render();
    assert!(
        metrics.contains("events_total{kind=\"inform\"} 2"),
        "{metrics}"
    );
    world.stop().await;
}

#[tokio::test]
async fn redelivery_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::open(dir.path(), config()).await;
    world.run().await;
    let events = [
        boot(START),
        values(ID, START + 1, ev::ValueSource::Read, &[("Device.A", "1")]),
        values(ID, START + 2, ev::ValueSource::Set, &[("Device.A", "2")]),
        inform(ID, START + 3, "4 VALUE CHANGE", &[(VERSION, "2.0")]),
    ];
    for event in &events {
        world.publish(event).await;
    }
    world.settled().await;
    let device = world.device(ID).await;
    let parameters = world.parameters(ID).await;
    assert_eq!(device.inform_count, 2);
    // As after a crash that lost the acknowledgement: the same events, oldest first.
    for event in &events {
        world.publish(event).await;
        world.settled().await;
    }
    assert_eq!(world.device(ID).await, device);
    assert_eq!(world.parameters(ID).await, parameters);
    let found = world.search(&[("software_version", "2.0", false)]).await;
    assert_eq!(found, [ID]);
    assert!(
        world
            .search(&[("software_version", "1.0", false)])
            .await
            .is_empty()
    );
    world.stop().await;
}

#[tokio::test]
async fn a_crash_before_the_flush_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut slow = config();
    slow.flush_interval = hearth_config::HumanDuration::secs(3600);
    let mut world = World::open(dir.path(), slow.clone()).await;
    world.run().await;
    world.publish(&boot(START)).await;
    // Applied: answered from the overlay, and not in the store.
    let found = async {
        let request = ds::GetDeviceRequest {
            tenant: "default".into(),
            device: ID.into(),
        };
        while world.state.get_device(request.clone()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), found)
        .await
        .unwrap();
    use hearth_store::Store;
    assert_eq!(world.store.device(&key(ID)).await.unwrap(), None);
    world.crash().await;
    let mut world = World::open(dir.path(), config()).await;
    world.run().await;
    world.settled().await;
    assert_eq!(world.device(ID).await.software_version, "1.0");
    assert_eq!(world.device(ID).await.inform_count, 1);
    world.stop().await;
    // An orderly end writes what waits.
    let mut world = World::open(dir.path(), slow).await;
    world.run().await;
    world
        .publish(&inform(ID, START + 9, "2 PERIODIC", &[]))
        .await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    world.stop().await;
    let world = World::open(dir.path(), config()).await;
    assert_eq!(world.device(ID).await.last_inform_us, START + 9);
    world.stop().await;
}

#[tokio::test]
async fn late_events_change_nothing_newer() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::open(dir.path(), config()).await;
    world.run().await;
    world
        .publish(&inform(ID, START + 10, "1 BOOT", &[(VERSION, "2")]))
        .await;
    world
        .publish(&inform(
            ID,
            START + 5,
            "1 BOOT",
            &[(VERSION, "1"), ("Device.Old", "x")],
        ))
        .await;
    world
        .publish(&values(
            ID,
            START + 4,
            ev::ValueSource::Read,
            &[(VERSION, "0")],
        ))
        .await;
    world.settled().await;
    let device = world.device(ID).await;
    assert_eq!(device.software_version, "2");
    assert_eq!(device.last_inform_us, START + 10);
    assert_eq!(device.first_seen_us, START + 10);
    assert_eq!(world.value(ID, VERSION).await.as_deref(), Some("2"));
    assert_eq!(world.value(ID, "Device.Old").await.as_deref(), Some("x"));
    world.stop().await;
}

#[tokio::test]
async fn what_can_never_be_applied_becomes_a_dead_letter() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::open(dir.path(), config()).await;
    world.run().await;
    let device = key(ID);
    world
        .publish_raw(&device, START, b"not an event".to_vec())
        .await;
    world.publish_raw(&device, START, Vec::new()).await;
    let empty = ev::Event {
        kind: None,
        ..boot(START)
    };
    world.publish(&empty).await;
    world.publish(&boot(START)).await;
    world.settled().await;
    let letters = world.bus.dead_letters(None, 10).await.unwrap().letters;
    let reasons: Vec<_> = letters.iter().map(|l| l.reason.as_str()).collect();
    assert_eq!(letters.len(), 3, "{reasons:?}");
    assert!(
        reasons.iter().any(|r| r.contains("no known kind")),
        "{reasons:?}"
    );
    assert_eq!(world.device(ID).await.inform_count, 1);
    world.stop().await;
}

#[tokio::test]
async fn a_full_disk_holds_events_and_they_come_through_later() {
    let dir = tempfile::tempdir().unwrap();
    let free = Arc::new(AtomicU64::new(u64::MAX));
    let mut options = EngineOptions::new(dir.path());
    options.space_check_interval = Duration::ZERO;
    let probe = Arc::clone(&free);
    options.space_probe = Arc::new(move |_| Ok(probe.load(Ordering::SeqCst)));
    let mut slow = config();
    slow.flush_interval = hearth_config::HumanDuration::millis(1000);
    let mut world = World::with(options, slow).await;
    world.run().await;
    world.publish(&boot(START)).await;
    // It has arrived, and is not written yet.
    let request = ds::GetDeviceRequest {
        tenant: "default".into(),
        device: ID.into(),
    };
    while world.state.get_device(request.clone()).await.is_err() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    free.store(0, Ordering::SeqCst);
    let not_ready = async {
        while world.is_ready() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), not_ready)
        .await
        .unwrap();
    // The device was acknowledged: a list without it would be a lie.
    let list = ds::ListDevicesRequest {
        tenant: "default".into(),
        ..ds::ListDevicesRequest::default()
    };
    let refused = world.state.list_devices(list).await.unwrap_err();
    assert_eq!(refused.kind, hearth_clients::Kind::Unavailable);
    assert!(refused.message.contains("disk is full"), "{refused}");
    free.store(u64::MAX, Ordering::SeqCst);
    world.settled().await;
    world.readiness.wait_ready("device-state").await;
    assert_eq!(world.device(ID).await.software_version, "1.0");
    let letters = world.bus.dead_letters(None, 10).await.unwrap().letters;
    assert!(letters.is_empty(), "{letters:?}");
    world.stop().await;
}

#[tokio::test]
async fn a_deleted_device_stays_gone_until_it_informs() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::open(dir.path(), config()).await;
    world.run().await;
    world.publish(&boot(START)).await;
    world.settled().await;
    let request = ds::DeleteDeviceRequest {
        tenant: "default".into(),
        device: ID.into(),
    };
    world.state.delete_device(request.clone()).await.unwrap();
    let error = world.state.delete_device(request).await.unwrap_err();
    assert_eq!(error.kind, hearth_clients::Kind::NotFound);
    world
        .publish(&values(
            ID,
            START + 1,
            ev::ValueSource::Read,
            &[("Device.A", "1")],
        ))
        .await;
    world.settled().await;
    assert!(world.search(&[]).await.is_empty());
    world.publish(&boot(START + 2)).await;
    world.settled().await;
    let device = world.device(ID).await;
    assert_eq!((device.inform_count, device.first_seen_us), (1, START + 2));
    assert_eq!(world.value(ID, "Device.A").await, None);
    assert_eq!(world.value(ID, VERSION).await.as_deref(), Some("1.0"));
    world.stop().await;
}

#[tokio::test]
async fn a_value_without_a_type_keeps_the_one_that_the_device_told() {
    use hearth_proto::types::v1::ValueType;
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::open(dir.path(), config()).await;
    world.run().await;
    let report = |time, source, kind: ValueType, text: &str| {
        let mut event = values(ID, time, source, &[("Device.A", text)]);
        if let Some(ev::event::Kind::ValuesReported(report)) = &mut event.kind {
            report.values[0].set_type(kind);
        }
        event
    };
    let told = report(
        START + 1,
        ev::ValueSource::Read,
        ValueType::UnsignedInt,
        "1",
    );
    let set = report(START + 2, ev::ValueSource::Set, ValueType::Unspecified, "2");
    for event in [boot(START), told, set] {
        world.publish(&event).await;
    }
    world.settled().await;
    let parameters = world.parameters(ID).await;
    let parameter = parameters.iter().find(|p| p.path == "Device.A").unwrap();
    assert_eq!(parameter.value, "2");
    assert_eq!(parameter.r#type(), ValueType::UnsignedInt);
    world.stop().await;
}
