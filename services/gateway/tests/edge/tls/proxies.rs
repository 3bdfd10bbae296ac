//! Proxies in front: the PROXY protocol, and certificates that they pass on.

use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hearth_config::{CidrList, HumanDuration};
use hearth_gateway::{ClientAuth, GatewayConfig, LegacyConfig, ProxyConfig};
use hearth_proto::events::v1 as ev;
use rustls::pki_types::ServerName;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::pki::{Pki, from};
use crate::support::client::basic;
use crate::support::xml::{DEVICE, inform, inform_of};
use crate::support::{Cpe, House, house_with};

fn networks(text: &str) -> CidrList {
    CidrList(vec![text.parse().unwrap()])
}

/// Proxies are on 127.0.0.1, everybody else is not.
fn behind_proxies() -> GatewayConfig {
    GatewayConfig {
        proxy: ProxyConfig {
            networks: networks("127.0.0.1/32"),
            header_timeout: HumanDuration::millis(300),
            ..ProxyConfig::default()
        },
        ..GatewayConfig::default()
    }
}

fn remote_of(house: &House) -> String {
    let (_, _, event) = house.bus.last();
    match event.kind.unwrap() {
        ev::event::Kind::Inform(inform) => inform.remote_address,
        other => panic!("{other:?}"),
    }
}

/// A header of version 2 for 192.0.2.9, with more at its end.
fn v2(more: &[u8]) -> Vec<u8> {
    let mut bytes = b"\r\n\r\n\0\r\nQUIT\n\x21\x11".to_vec();
    bytes.extend(u16::try_from(12 + more.len()).unwrap().to_be_bytes());
    bytes.extend([192, 0, 2, 9, 127, 0, 0, 1, 0x10, 0, 0x1d, 0x7b]);
    bytes.extend(more);
    bytes
}

fn tlv(kind: u8, value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
    bytes.extend(value);
    bytes
}

async fn through(address: SocketAddr, header: impl AsRef<[u8]>) -> Cpe {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(header.as_ref()).await.unwrap();
    Cpe::over(stream, "acs.example")
}

#[tokio::test]
async fn the_real_address_comes_from_trusted_proxies_only() {
    let house = house_with(behind_proxies()).await;
    for (header, real) in [
        (
            b"PROXY TCP4 192.0.2.7 127.0.0.1 4096 7547\r\n".to_vec(),
            "192.0.2.7",
        ),
        (
            b"PROXY TCP6 2001:db8::7 ::1 4096 7547\r\n".to_vec(),
            "2001:db8::7",
        ),
        (v2(&tlv(0xe0, b"x")), "192.0.2.9"),
        // The proxy speaks for itself.
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1"),
    ] {
        let mut cpe = through(house.address, header).await;
        assert_eq!(cpe.post(&basic(), inform()).await.status, 200);
        assert_eq!(remote_of(&house), real);
    }
    // Mandatory there, and only there.
    let closed = "hearth_gateway_proxy_failures_total";
    let mut cpe = house.connect().await;
    cpe.send(&basic(), inform()).await;
    assert!(cpe.is_closed().await);
    let mut slow = through(house.address, "PROXY ").await;
    assert!(slow.is_closed().await);
    house.until(closed, 2.0).await;
    let direct = from("127.0.0.2", house.address).await;
    let mut cpe = Cpe::over(direct, "acs.example");
    assert_eq!(cpe.post(&basic(), inform()).await.status, 200);
    assert_eq!(remote_of(&house), "127.0.0.2");
    let mut forger = from("127.0.0.2", house.address).await;
    forger
        .write_all(b"PROXY TCP4 192.0.2.7 127.0.0.1 1 2\r\n")
        .await
        .unwrap();
    let mut forger = Cpe::over(forger, "acs.example");
    forger.send(&basic(), inform()).await;
    assert_eq!(forger.answer().await.status, 400, "no HTTP");
}

#[tokio::test]
async fn limits_are_by_the_real_address() {
    let mut config = behind_proxies();
    config.max_connections_per_peer = 1;
    let house = house_with(config).await;
    let header = |last: u8| format!("PROXY TCP4 192.0.2.{last} 127.0.0.1 1 2\r\n");
    let mut first = through(house.address, header(1)).await;
    assert_eq!(first.post(&basic(), inform()).await.status, 200);
    let mut other = through(house.address, header(2)).await;
    assert_eq!(other.post(&basic(), inform()).await.status, 200);
    let mut again = through(house.address, header(1)).await;
    assert_eq!(again.answer().await.status, 503);
    house
        .until("hearth_gateway_connections_refused_total", 1.0)
        .await;
    drop(first);
    house.until("hearth_gateway_connections", 1.0).await;
    let mut later = through(house.address, header(1)).await;
    assert_eq!(later.post(&basic(), inform()).await.status, 200);
}

#[tokio::test]
async fn a_proxy_in_front_of_tls() {
    let pki = Pki::new();
    let mut config = pki.config(ClientAuth::Optional);
    config.proxy = behind_proxies().proxy;
    let house = house_with(config).await;
    let tls = house.addresses.tls.unwrap();
    let mut stream = TcpStream::connect(tls).await.unwrap();
    stream.write_all(&v2(b"")).await.unwrap();
    let client = pki.client(Some(&pki.device(DEVICE)));
    let name = ServerName::try_from("acs.example").unwrap();
    let connector = tokio_rustls::TlsConnector::from(client);
    let stream = connector.connect(name, stream).await.unwrap();
    let mut cpe = Cpe::over(stream, "acs.example");
    assert_eq!(cpe.post("", inform()).await.status, 200);
    assert_eq!(remote_of(&house), "192.0.2.9");
}

#[tokio::test]
async fn the_legacy_listener_is_for_proxies_alone() {
    let mut config = behind_proxies();
    config.legacy = LegacyConfig {
        listen: Some(([127, 0, 0, 1], 0).into()),
    };
    let house = house_with(config).await;
    let legacy = house.addresses.legacy.unwrap();
    let mut cpe = through(legacy, v2(b"")).await;
    assert_eq!(cpe.post(&basic(), inform()).await.status, 200);
    let mut direct = Cpe::over(from("127.0.0.2", legacy).await, "acs.example");
    assert!(direct.is_closed().await);
    house
        .until("hearth_gateway_proxy_failures_total", 1.0)
        .await;
}

#[tokio::test]
async fn what_a_proxy_says_of_tls_counts_where_it_is_trusted() {
    let common_name = tlv(0x22, DEVICE.as_bytes());
    let tls = |client: u8, verify: u8| {
        let value = [&[client, 0, 0, 0, verify], common_name.as_slice()].concat();
        [tlv(0x02, b"acs.b.example"), tlv(0x20, &value)].concat()
    };
    for (trusted, header, status, tenant) in [
        (true, v2(&tls(0x07, 0)), 200, Some("b")),
        (true, v2(&tls(0x07, 1)), 401, None),
        (true, v2(&tls(0x01, 0)), 401, None),
        (false, v2(&tls(0x07, 0)), 401, None),
    ] {
        let mut config = behind_proxies();
        config.proxy.trust_tls = trusted;
        config.tls.server_names = vec![hearth_gateway::ServerName {
            name: "acs.b.example".to_owned(),
            tenant: "b".parse().unwrap(),
        }];
        let house = house_with(config).await;
        let mut cpe = through(house.address, header).await;
        assert_eq!(cpe.post("", inform()).await.status, status);
        let opened = house.workflow.opened.lock();
        let found = opened.first().map(|opened| opened.tenant.as_str());
        assert_eq!(found, tenant);
    }
}

#[tokio::test]
async fn a_certificate_is_passed_on_by_trusted_proxies_and_verified_again() {
    let pki = Pki::new();
    let mut config = pki.config(ClientAuth::None);
    config.tls.listen = None;
    config.tls.crls = vec![pki.path("crl.pem")];
    pki.revoke(&[]);
    config.proxy.certificate_header = "X-SSL-Client-Cert".to_owned();
    config.proxy.certificate_networks = networks("127.0.0.1/32");
    let house = house_with(config).await;
    let mut params = super::pki::device(DEVICE);
    params.serial_number = Some(rcgen::SerialNumber::from(5u64));
    let own = pki.sign(params);
    let header = |der: &[u8]| format!("X-SSL-Client-Cert: {}\r\n", STANDARD.encode(der));
    let good = header(own.cert.der());
    let mut cpe = house.connect().await;
    let answer = cpe.post(&good, inform()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(cpe.turn(&answer.cookie(), "").await.status, 204);
    assert_eq!(
        cpe.post(&good, inform_of("2", &["2 PERIODIC"]))
            .await
            .status,
        403
    );
    // No certificate is none; what isn't ours, isn't one, or stands twice is refused.
    assert_eq!(
        cpe.post("X-SSL-Client-Cert:\r\n", inform()).await.status,
        401
    );
    let strange = header(Pki::new().device(DEVICE).cert.der());
    for bad in [
        strange.as_str(),
        "X-SSL-Client-Cert: junk\r\n",
        &format!("{good}{good}"),
    ] {
        let mut cpe = house.connect().await;
        assert_eq!(cpe.post(bad, inform()).await.status, 403, "{bad}");
    }
    // From elsewhere it is refused, password or not.
    for headers in [good.clone(), format!("{good}{}", basic())] {
        let direct = from("127.0.0.2", house.address).await;
        let mut forger = Cpe::over(direct, "acs.example");
        assert_eq!(forger.post(&headers, inform()).await.status, 403);
    }
    let refused = "hearth_gateway_refused_total{reason=\"forwarded_certificate\",status=\"403\"}";
    assert_eq!(house.metric(refused), 3.0);
    // It was known as good, until it was revoked.
    pki.revoke(&[5]);
    house
        .until("hearth_gateway_tls_reloads_total{result=\"changed\"}", 1.0)
        .await;
    let mut cpe = house.connect().await;
    assert_eq!(cpe.post(&good, inform()).await.status, 403);
    tokio::time::sleep(Duration::ZERO).await;
}
