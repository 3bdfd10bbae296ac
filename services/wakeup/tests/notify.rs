//! Lightweight notifications, from the datagram to the bus.

use crate::support::{DEVICE, World, loopback};
use hearth_bus::Stream;
use hearth_proto::devicestate::v1::GetConnectionRequestResponse;
use hearth_proto::events::v1::{Event, event::Kind};
use hearth_waking::{hmac_sha1, to_hex};
use prost::Message as _;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::net::UdpSocket;

fn world() -> World {
    let mut config = loopback();
    config.notifications.listen = Some(([127, 0, 0, 1], 0).into());
    let world = World::new(GetConnectionRequestResponse::default(), config);
    world.devices.user("cpe-1", DEVICE, "acs-secret");
    world
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_secs()).unwrap()
}

fn datagram(ts: i64, cn: &str, user: &str, password: &str) -> Vec<u8> {
    let body = format!(
        "<lwn:Notification xmlns:lwn=\"urn:broadband-forum-org:cwmp:lwnotif-1-0\"><TS>{ts}</TS>\
         <UN>{user}</UN><CN>{cn}</CN><OUI>001122</OUI><ProductClass>Router</ProductClass>\
         <SerialNumber>1</SerialNumber>\
         <Param><Name>Device.DeviceInfo.UpTime</Name><Value>17</Value></Param>\
         <Param><Name>Device.ManagementServer.Password</Name><Value>leak</Value></Param>\
         </lwn:Notification>"
    );
    let signature = to_hex(&hmac_sha1(password.as_bytes(), &[body.as_bytes()]));
    format!(
        "POST / HTTP/1.1\r\nHOST: acs\r\nContent-Type: text/xml; charset=\"utf-8\"\r\n\
         Content-Length: {}\r\nSIGNATURE: {signature}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

async fn send(world: &World, datagram: &[u8]) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let to = world.notifications.unwrap();
    socket.send_to(datagram, to).await.unwrap();
    socket
}

/// C-09.
#[tokio::test]
async fn its_values_go_to_the_bus_once() {
    let world = world();
    let notification = datagram(now(), "a1", "cpe-1", "acs-secret");
    let socket = send(&world, &notification).await;
    world
        .counts("notifications_total{outcome=\"taken\"} 1")
        .await;
    let published = world.bus.published.lock()[0].clone();
    assert_eq!(published.stream, Stream::Values);
    assert_eq!(published.device.device.as_str(), DEVICE);
    let event = Event::decode(published.payload).unwrap();
    let Some(Kind::ValuesReported(values)) = event.kind else {
        panic!("{event:?}")
    };
    assert_eq!(values.values.len(), 1, "no secret travels by datagram");
    assert_eq!(values.values[0].path, "Device.DeviceInfo.UpTime");
    assert_eq!(values.values[0].value, "17");
    send(&world, &notification).await;
    world
        .counts("notifications_total{outcome=\"repeated\"} 1")
        .await;
    send(&world, &datagram(now(), "a2", "cpe-1", "acs-secret")).await;
    world
        .counts("notifications_total{outcome=\"taken\"} 2")
        .await;
    assert_eq!(world.bus.published.lock().len(), 2);
    let mut buffer = [0; 64];
    assert!(
        socket.try_recv(&mut buffer).is_err(),
        "nothing is ever answered"
    );
}

/// The signature is looked at before the time: who can't sign learns nothing.
#[tokio::test]
async fn what_is_not_signed_or_not_of_now_is_dropped() {
    let world = world();
    send(&world, &datagram(now(), "a", "cpe-1", "wrong")).await;
    send(&world, &datagram(now() - 3600, "b", "cpe-1", "wrong")).await;
    send(&world, &datagram(now(), "c", "cpe-2", "acs-secret")).await;
    world.counts("outcome=\"unauthenticated\"} 3").await;
    send(&world, &datagram(now() - 62, "d", "cpe-1", "acs-secret")).await;
    send(&world, &datagram(now() + 62, "e", "cpe-1", "acs-secret")).await;
    world.counts("outcome=\"out_of_time\"} 2").await;
    send(&world, b"POST / HTTP/1.1\r\n\r\n").await;
    world.counts("outcome=\"unreadable\"} 1").await;
    *world.devices.refuses.lock() = true;
    send(&world, &datagram(now(), "f", "cpe-1", "acs-secret")).await;
    world.counts("outcome=\"not_allowed\"} 1").await;
    assert!(world.bus.published.lock().is_empty());
}
