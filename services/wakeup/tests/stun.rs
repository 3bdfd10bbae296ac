//! A device behind NAT: it talks to the STUN server, and is woken through the same way.

use crate::support::{DEVICE, Devices, World, by_url, with_stun};
use async_trait::async_trait;
use hearth_clients::Wakeup;
use hearth_proto::devicestate::v1::{GetConnectionRequestResponse, UdpRequest};
use hearth_proto::wakeup::v1::{SendDatagramRequest, WakeOutcome, WakeWay};
use hearth_wakeup::{Siblings, WakeupConfig, WakeupService};
use hearth_waking::stun::{self, Message, attribute};
use hearth_waking::udp::ConnectionRequest;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::time::timeout;

/// The device's socket, on which it waits for UDP connection requests.
struct Cpe {
    socket: UdpSocket,
    server: SocketAddr,
}

impl Cpe {
    async fn new(server: Option<SocketAddr>) -> Self {
        Self {
            socket: UdpSocket::bind("127.0.0.1:0").await.unwrap(),
            server: server.unwrap(),
        }
    }

    fn address(&self) -> String {
        self.socket.local_addr().unwrap().to_string()
    }

    async fn receive(&self) -> Option<(Vec<u8>, SocketAddr)> {
        let mut buffer = vec![0; 2048];
        let received = timeout(
            Duration::from_millis(300),
            self.socket.recv_from(&mut buffer),
        );
        let (length, from) = received.await.ok()?.unwrap();
        Some((buffer[..length].to_vec(), from))
    }

    async fn ask(&self, request: &[u8]) -> Option<Message> {
        self.socket.send_to(request, self.server).await.unwrap();
        let (bytes, from) = self.receive().await?;
        assert_eq!(from, self.server, "from the same socket");
        Some(Message::parse(&bytes).unwrap())
    }
}

fn request() -> Message {
    Message::new(stun::BINDING_REQUEST, rand::random())
        .with(attribute::CONNECTION_REQUEST_BINDING, &stun::TR111[..])
}

fn code(answer: &Message) -> [u8; 2] {
    let code = answer.get(attribute::ERROR_CODE).unwrap();
    [code[2], code[3]]
}

/// As a CPE does it: without signature, asked for one by 401, then signed (TR-069 G.2.1.3).
#[tokio::test]
async fn a_binding_is_learned_from_who_proves_to_be_the_device() {
    let mut config = with_stun();
    config.stun.authenticate = true;
    let world = World::new(GetConnectionRequestResponse::default(), config);
    world.devices.user("cpe-1", DEVICE, "stun-secret");
    let cpe = Cpe::new(world.stun).await;
    let asked = cpe.ask(&request().to_bytes()).await.unwrap();
    assert_eq!(code(&asked), [4, 1]);
    assert!(world.devices.bindings().is_empty());
    let signed = request()
        .with(attribute::BINDING_CHANGE, [])
        .with_username("cpe-1");
    let answer = cpe
        .ask(&signed.to_signed_bytes("stun-secret"))
        .await
        .unwrap();
    assert_eq!(answer.kind, stun::BINDING_RESPONSE);
    assert!(answer.is_signed_with("stun-secret"));
    let mapped = answer.address(attribute::MAPPED_ADDRESS).unwrap();
    assert_eq!(mapped.to_string(), cpe.address());
    world
        .counts("stun_requests_total{outcome=\"answered\"} 1")
        .await;
    for _ in 0..50 {
        if !world.devices.bindings().is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let known = world.devices.bindings();
    assert_eq!(known.len(), 1);
    assert_eq!(
        (known[0].address.as_str(), known[0].replica.as_str()),
        (cpe.address().as_str(), "here")
    );
    // Keep-alives from the same address need no signature, and write nothing.
    let again = cpe.ask(&request().to_bytes()).await.unwrap();
    assert_eq!(again.kind, stun::BINDING_RESPONSE);
    let again = cpe
        .ask(&signed.to_signed_bytes("stun-secret"))
        .await
        .unwrap();
    assert_eq!(again.kind, stun::BINDING_RESPONSE);
    assert_eq!(world.devices.bindings().len(), 1);
}

#[tokio::test]
async fn nobody_else_makes_a_binding() {
    let mut config = with_stun();
    config.stun.authenticate = true;
    let world = World::new(GetConnectionRequestResponse::default(), config);
    world.devices.user("cpe-1", DEVICE, "stun-secret");
    world.devices.user("all", "", "onboarding");
    let cpe = Cpe::new(world.stun).await;
    let wrong = request().with_username("cpe-1").to_signed_bytes("other");
    let unknown = request()
        .with_username("cpe-2")
        .to_signed_bytes("stun-secret");
    // A user of many devices proves none.
    let shared = request().with_username("all").to_signed_bytes("onboarding");
    for bytes in [wrong, unknown, shared] {
        assert_eq!(code(&cpe.ask(&bytes).await.unwrap()), [4, 31]);
    }
    let nameless = request().to_signed_bytes("stun-secret");
    assert_eq!(code(&cpe.ask(&nameless).await.unwrap()), [4, 32]);
    // Without the attribute it is a client that wants to know its address, no binding.
    let plain = Message::new(stun::BINDING_REQUEST, [1; 16]).with_username("cpe-1");
    let answer = cpe
        .ask(&plain.to_signed_bytes("stun-secret"))
        .await
        .unwrap();
    assert_eq!(answer.kind, stun::BINDING_RESPONSE);
    assert!(world.devices.bindings().is_empty());
}

/// STUNUsername and STUNPassword as an operator set them on the device.
#[tokio::test]
async fn the_users_that_were_set_on_the_device_count() {
    let how = GetConnectionRequestResponse {
        stun_username: DEVICE.into(),
        stun_password: "set".into(),
        ..GetConnectionRequestResponse::default()
    };
    let world = World::new(how, with_stun());
    let cpe = Cpe::new(world.stun).await;
    let signed = request().with_username(DEVICE).to_signed_bytes("set");
    assert!(cpe.ask(&signed).await.unwrap().is_signed_with("set"));
    let signed = request().with_username(DEVICE).to_signed_bytes("unset");
    assert_eq!(code(&cpe.ask(&signed).await.unwrap()), [4, 31]);
}

#[tokio::test]
async fn a_source_gets_its_share_of_answers() {
    let mut config = with_stun();
    config.stun.source_rate = 3;
    let world = World::new(GetConnectionRequestResponse::default(), config);
    let cpe = Cpe::new(world.stun).await;
    let mut answered = 0;
    for _ in 0..6 {
        answered += usize::from(cpe.ask(&request().to_bytes()).await.is_some());
        if answered == 3 {
            break;
        }
    }
    for _ in 0..20 {
        cpe.socket
            .send_to(&request().to_bytes(), cpe.server)
            .await
            .unwrap();
    }
    world.counts("outcome=\"too_many\"").await;
    assert!(cpe.ask(b"no STUN at all").await.is_none_or(|_| true));
}

fn behind_nat(address: &str) -> GetConnectionRequestResponse {
    GetConnectionRequestResponse {
        nat_detected: true,
        udp_address: address.into(),
        ..by_url("")
    }
}

/// C-07: three copies or more, all the same, from the STUN socket; `ts` grows and `id` is another,
/// also after a restart.
#[tokio::test]
async fn a_device_behind_nat_is_woken_by_udp() {
    let devices = Arc::new(Devices::default());
    let world = World::with(devices.clone(), with_stun(), "here", None);
    let cpe = Cpe::new(world.stun).await;
    *devices.how.lock() = behind_nat(&cpe.address());
    let answer = cpe.ask(&request().to_bytes()).await.unwrap();
    assert_eq!(
        answer.kind,
        stun::BINDING_RESPONSE,
        "not asked for a signature by default"
    );
    let first = woken(&world, &cpe).await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    let second = woken(&world, &cpe).await;
    drop(world);
    let world = World::with(devices.clone(), with_stun(), "later", None);
    let cpe = Cpe {
        server: world.stun.unwrap(),
        ..cpe
    };
    let third = woken(&world, &cpe).await;
    assert!(first.ts < second.ts && second.ts < third.ts);
    assert!(first.id != second.id && second.id != third.id);
}

async fn woken(world: &World, cpe: &Cpe) -> ConnectionRequest {
    let response = world.wake().await;
    assert_eq!(
        response.outcome(),
        WakeOutcome::Accepted,
        "{}",
        response.detail
    );
    assert_eq!(response.way(), WakeWay::Udp);
    let mut copies = Vec::new();
    for _ in 0..3 {
        let (bytes, from) = cpe.receive().await.expect("three copies");
        assert_eq!(from, cpe.server);
        copies.push(bytes);
    }
    assert!(copies.iter().all(|copy| *copy == copies[0]));
    let request = ConnectionRequest::verify(&copies[0], "secret").expect("signed");
    assert_eq!(request.username, "hearth");
    assert!(
        String::from_utf8_lossy(&copies[0])
            .starts_with(&format!("GET http://{}?ts=", cpe.address()))
    );
    request
}

/// The numbers are kept before the datagram leaves; a clock that was set back changes nothing.
#[tokio::test]
async fn ts_grows_though_the_clock_is_behind() {
    let devices = Arc::new(Devices::default());
    let world = World::with(devices.clone(), with_stun(), "here", None);
    let cpe = Cpe::new(world.stun).await;
    let mut how = behind_nat(&cpe.address());
    how.udp_request = Some(UdpRequest {
        ts: 4_000_000_000,
        id: 5,
    });
    *devices.how.lock() = how;
    assert_eq!(woken(&world, &cpe).await.ts, 4_000_000_001);
}

/// A replica hands the datagram to the one that the device talks to.
#[tokio::test]
async fn the_replica_that_the_device_talks_to_sends() {
    struct Other(WakeupService);
    #[async_trait]
    impl Siblings for Other {
        async fn send(&self, request: SendDatagramRequest) -> bool {
            self.0.send_datagram(request).await.unwrap().sent
        }
    }
    let devices = Arc::new(Devices::default());
    let other = World::with(devices.clone(), with_stun(), "other", None);
    let siblings = Arc::new(Other(other.service.clone()));
    let world = World::with(devices.clone(), with_stun(), "here", Some(siblings));
    let cpe = Cpe::new(other.stun).await;
    *devices.how.lock() = behind_nat(&cpe.address());
    cpe.ask(&request().to_bytes()).await.unwrap();
    // `woken` checks where it comes from.
    woken(&world, &cpe).await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    let stranger = Cpe::new(world.stun).await;
    *devices.how.lock() = behind_nat(&stranger.address());
    // Nobody knows it: from the own socket.
    woken(&world, &stranger).await;
    let outside = SendDatagramRequest {
        replica: "other".into(),
        address: "169.254.169.254:80".into(),
        payload: vec![1],
        copies: 3,
    };
    assert!(other.service.send_datagram(outside).await.is_err());
}

/// C-05 for UDP: the device tells the address, so the guard is here, too.
#[tokio::test]
async fn datagrams_go_to_allowed_addresses_only() {
    let mut config = with_stun();
    config.allow_loopback = false;
    for address in [
        "127.0.0.1:9",
        "[::ffff:127.0.0.1]:9",
        "localhost:9",
        "169.254.169.254:80",
        "224.0.0.1:5",
    ] {
        let world = World::new(behind_nat(address), config.clone());
        let response = world.wake().await;
        assert_eq!(
            response.outcome(),
            WakeOutcome::Forbidden,
            "{address}: {}",
            response.detail
        );
        assert!(world.devices.how.lock().udp_request.is_none());
    }
    for address in ["", "nonsense^", "u@10.0.0.1:5", "10.0.0.1:0"] {
        let mut how = behind_nat(address);
        how.jabber_id.clear();
        let response = World::new(how, config.clone()).wake().await;
        assert_ne!(response.outcome(), WakeOutcome::Accepted, "{address}");
    }
}

/// HTTP first, then UDP, when nobody answers there.
#[tokio::test]
async fn the_next_way_is_tried() {
    let devices = Arc::new(Devices::default());
    let config = WakeupConfig {
        timeout: hearth_config::HumanDuration::millis(200),
        ..with_stun()
    };
    let world = World::with(devices.clone(), config, "here", None);
    let cpe = Cpe::new(world.stun).await;
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", closed.local_addr().unwrap());
    drop(closed);
    let mut how = behind_nat(&cpe.address());
    how.nat_detected = false;
    how.url = url;
    *devices.how.lock() = how;
    woken(&world, &cpe).await;
    let kept = devices.wakes().remove(0);
    assert_eq!(
        (kept.outcome.as_str(), kept.way.as_str()),
        ("accepted", "udp")
    );
    assert!(
        kept.detail.contains("http: can't connect"),
        "{}",
        kept.detail
    );
    assert_eq!(kept.good_way, "", "nobody knows yet whether it came");
}
