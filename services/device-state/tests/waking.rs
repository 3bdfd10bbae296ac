//! How a device is woken: what it reported, what was set on it, and what the wakeup role noted.

use crate::common::{START, World, config, inform, values};
use hearth_clients::{DeviceState, Kind};
use hearth_proto::devicestate::v1 as ds;
use hearth_proto::events::v1 as ev;

const ID: &str = "001122-X-1";

async fn how(world: &World) -> ds::GetConnectionRequestResponse {
    let request = ds::GetConnectionRequestRequest {
        tenant: "default".into(),
        device: ID.into(),
    };
    world.state.get_connection_request(request).await.unwrap()
}

fn note() -> ds::NoteWakingRequest {
    ds::NoteWakingRequest {
        tenant: "default".into(),
        device: ID.into(),
        ..ds::NoteWakingRequest::default()
    }
}

fn udp(ts: u32, id: u32) -> ds::NoteWakingRequest {
    ds::NoteWakingRequest {
        udp_request: Some(ds::UdpRequest { ts, id }),
        ..note()
    }
}

fn wake(outcome: &str, time_us: i64) -> ds::NoteWakingRequest {
    ds::NoteWakingRequest {
        wake: Some(ds::WakeRecord {
            outcome: outcome.into(),
            way: "udp".into(),
            time_us,
            ..ds::WakeRecord::default()
        }),
        ..note()
    }
}

#[tokio::test]
async fn every_way_to_a_device_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::open(dir.path(), config()).await;
    world.run().await;
    let reported = [
        (
            "Device.ManagementServer.ConnectionRequestURL",
            "http://10.0.0.1/a",
        ),
        (
            "Device.ManagementServer.UDPConnectionRequestAddress",
            "203.0.113.9:40000",
        ),
        ("Device.ManagementServer.NATDetected", "1"),
        (
            "Device.ManagementServer.ConnReqJabberID",
            "cpe@example.net/1",
        ),
    ];
    world.publish(&inform(ID, START, "1 BOOT", &reported)).await;
    let set = [
        ("Device.ManagementServer.STUNUsername", "001122-X-1"),
        ("Device.ManagementServer.STUNPassword", "stun-secret"),
    ];
    let set = values(ID, START + 1, ev::ValueSource::Set, &set);
    world.publish(&set).await;
    world.settled().await;
    let how = how(&world).await;
    assert_eq!(how.url, "http://10.0.0.1/a");
    assert_eq!(how.udp_address, "203.0.113.9:40000");
    assert!(how.nat_detected);
    assert_eq!(how.jabber_id, "cpe@example.net/1");
    assert_eq!(how.stun_username, "001122-X-1");
    assert_eq!(how.stun_password, "stun-secret");
    assert!(how.last_inform_us >= START);
    assert!(how.binding.is_none() && how.udp_request.is_none() && how.last_wake.is_none());
    world.stop().await;
}

#[tokio::test]
async fn what_was_noted_is_kept_the_later_of_two() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::open(dir.path(), config()).await;
    let unknown = world.state.note_waking(udp(1, 1)).await.unwrap_err();
    assert_eq!(
        unknown.kind,
        Kind::NotFound,
        "nothing is kept of a device that was never seen"
    );
    world.run().await;
    world.publish(&inform(ID, START, "1 BOOT", &[])).await;
    world.settled().await;
    let binding = ds::NatBinding {
        address: "203.0.113.9:40000".into(),
        replica: "a".into(),
        time_us: START,
        authenticated: true,
    };
    let notes = [
        ds::NoteWakingRequest {
            binding: Some(binding.clone()),
            ..note()
        },
        udp(2000, 5),
        // Of a replica whose clock is behind.
        udp(1000, 6),
        wake("unreachable", START + 20),
        wake("accepted", START + 10),
    ];
    for note in notes {
        world.state.note_waking(note).await.unwrap();
    }
    world.stop().await;
    // After a restart, too.
    let mut world = World::open(dir.path(), config()).await;
    world.run().await;
    let kept = how(&world).await;
    assert_eq!(kept.binding.as_ref(), Some(&binding));
    assert_eq!(kept.udp_request, Some(ds::UdpRequest { ts: 2000, id: 5 }));
    assert_eq!(kept.last_wake.unwrap().outcome, "unreachable");
    let request = ds::GetDeviceRequest {
        tenant: "default".into(),
        device: ID.into(),
    };
    let device = world
        .state
        .get_device(request.clone())
        .await
        .unwrap()
        .device
        .unwrap();
    assert_eq!(device.last_wake.unwrap().outcome, "unreachable");
    assert_eq!(device.nat_binding, Some(binding));
    let delete = ds::DeleteDeviceRequest {
        tenant: "default".into(),
        device: ID.into(),
    };
    world.state.delete_device(delete).await.unwrap();
    world
        .publish(&inform(ID, i64::MAX / 2, "1 BOOT", &[]))
        .await;
    world.settled().await;
    let again = how(&world).await;
    assert!(
        again.binding.is_none() && again.last_wake.is_none(),
        "deleted with the device"
    );
    world.stop().await;
}
