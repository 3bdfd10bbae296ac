//! HAProxy in front, with the configuration of the book (docs/examples/haproxy.cfg).

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use hearth_config::CidrList;
use hearth_gateway::{ClientAuth, LegacyConfig};
use hearth_proto::events::v1 as ev;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use super::openssl::run;
use super::pki::Pki;
use crate::support::xml::{DEVICE, inform};
use crate::support::{House, house_with};

struct Front {
    _process: Child,
    tls: u16,
    legacy: u16,
}

fn free_port() -> u16 {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap().port()
}

/// HAProxy before a gateway, its settings changed like this; `None`: there is no such program.
async fn front(house: &House, pki: &Pki, change: fn(String) -> String) -> Option<Front> {
    let program = ["/usr/sbin/haproxy", "/usr/local/sbin/haproxy"]
        .into_iter()
        .find(|path| Path::new(path).exists());
    let Some(program) = program else {
        println!("SKIPPED: HAProxy is not installed");
        return None;
    };
    let book = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/examples/haproxy.cfg");
    let text = std::fs::read_to_string(book).unwrap();
    let (tls, legacy) = (free_port(), free_port());
    let port = |address: Option<std::net::SocketAddr>| address.unwrap().port();
    let mut text = text
        .replace(
            "/etc/hearth/devices-ca.pem",
            pki.path("ca.pem").to_str().unwrap(),
        )
        .replace(
            "/etc/hearth/acs.pem",
            pki.path("front.pem").to_str().unwrap(),
        );
    for (from, to) in [
        ("bind 0.0.0.0:7548", format!("bind 127.0.0.1:{tls}")),
        ("bind 0.0.0.0:7550", format!("bind 127.0.0.1:{legacy}")),
        (
            "192.0.2.11:7548",
            format!("127.0.0.1:{}", port(house.addresses.tls)),
        ),
        (
            "192.0.2.11:7549",
            format!("127.0.0.1:{}", port(house.addresses.legacy)),
        ),
    ] {
        let found = text.replace(from, &to);
        assert_ne!(found, text, "{from} is in the book's configuration");
        text = found;
    }
    pki.server("acs", &["acs.example"]);
    let pem = |name: &str| std::fs::read_to_string(pki.path(name)).unwrap();
    pki.write("front.pem", &(pem("acs.pem") + &pem("acs.key")));
    pki.write("haproxy.cfg", &change(text));
    let process = Command::new(program)
        .args(["-db", "-f", pki.path("haproxy.cfg").to_str().unwrap()])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let listening = async {
        for port in [tls, legacy] {
            while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    };
    let listening = tokio::time::timeout(Duration::from_secs(20), listening).await;
    listening.expect("HAProxy listens in time");
    Some(Front {
        _process: process,
        tls,
        legacy,
    })
}

fn last_inform(house: &House) -> ev::Inform {
    match house.bus.last().2.kind.unwrap() {
        ev::event::Kind::Inform(inform) => inform,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn haproxy_passes_tls_through_and_ends_it_for_old_devices() {
    let pki = Pki::new();
    let mut config = pki.config(ClientAuth::Optional);
    let proxies = CidrList(vec!["127.0.0.1/32".parse().unwrap()]);
    config.legacy = LegacyConfig {
        listen: Some(([127, 0, 0, 1], 0).into()),
    };
    config.proxy.networks = proxies.clone();
    config.proxy.certificate_header = "X-SSL-Client-Cert".to_owned();
    config.proxy.certificate_networks = proxies;
    let house = house_with(config).await;
    let Some(front) = front(&house, &pki, |text| text).await else {
        return;
    };
    pki.save("device", &pki.device(DEVICE));
    let forged = pki.device(DEVICE).cert;
    let forged = {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(forged.der())
    };
    let (cert, key) = (pki.path("device.pem"), pki.path("device.key"));
    let shown = [
        "-cert",
        cert.to_str().unwrap(),
        "-key",
        key.to_str().unwrap(),
    ];
    let old = ["-tls1", "-cipher", "ALL:@SECLEVEL=0"];
    let at = |port: u16, options: &[&str]| -> Vec<String> {
        let mut all = vec![
            "-connect".to_owned(),
            format!("127.0.0.1:{port}"),
            "-bind".to_owned(),
            "127.0.0.3:0".to_owned(),
        ];
        all.extend(options.iter().map(|option| (*option).to_owned()));
        all
    };
    for (port, options) in [
        (front.tls, shown.to_vec()),
        (front.legacy, shown.to_vec()),
        (front.legacy, [&old[..], &shown].concat()),
    ] {
        let Some(text) = run(&pki, &at(port, &options), "", &inform()).await else {
            return;
        };
        assert!(text.contains("HTTP/1.1 200"), "{options:?}: {text}");
        assert!(text.contains("Set-Cookie"), "{text}");
        let inform = last_inform(&house);
        assert_eq!(inform.remote_address, "127.0.0.3", "{options:?}");
        assert_eq!(inform.proof, "certificate", "{options:?}");
    }
    // Without a certificate of its own a device can't bring one in the header.
    let header = format!("X-SSL-Client-Cert: {forged}\r\n");
    let text = run(&pki, &at(front.legacy, &old), &header, &inform()).await;
    assert!(text.unwrap().contains("HTTP/1.1 401"));
    // Not even the old versions get through to the gateway's own TLS.
    let text = run(&pki, &at(front.tls, &old), "", &inform()).await;
    assert!(!text.unwrap().contains("HTTP/1.1"));
}

#[tokio::test]
async fn haproxy_tells_the_common_name_where_it_is_believed() {
    let pki = Pki::new();
    let mut config = pki.config(ClientAuth::None);
    config.legacy = LegacyConfig {
        listen: Some(([127, 0, 0, 1], 0).into()),
    };
    config.proxy.networks = CidrList(vec!["127.0.0.1/32".parse().unwrap()]);
    config.proxy.trust_tls = true;
    let house = house_with(config).await;
    let change = |text: String| {
        let lines = text
            .lines()
            .filter(|line| !line.contains("X-SSL-Client-Cert"));
        let lines: Vec<&str> = lines.collect();
        lines
            .join("\n")
            .replace("send-proxy-v2 ", "send-proxy-v2-ssl-cn ")
            + "\n"
    };
    let Some(front) = front(&house, &pki, change).await else {
        return;
    };
    pki.save("device", &pki.device(DEVICE));
    pki.save("other", &pki.device("0000CA-Router-0002"));
    let shown = |file: &str| {
        let path = |end: &str| pki.path(&format!("{file}.{end}")).display().to_string();
        let at = format!("127.0.0.1:{}", front.legacy);
        ["-connect", &at, "-cert", &path("pem"), "-key", &path("key")]
            .map(str::to_owned)
            .to_vec()
    };
    for (file, status) in [("device", "200"), ("other", "403")] {
        let Some(text) = run(&pki, &shown(file), "", &inform()).await else {
            return;
        };
        assert!(
            text.contains(&format!("HTTP/1.1 {status}")),
            "{file}: {text}"
        );
    }
    let bare = vec!["-connect".to_owned(), format!("127.0.0.1:{}", front.legacy)];
    let text = run(&pki, &bare, "", &inform()).await.unwrap();
    assert!(text.contains("HTTP/1.1 401"), "{text}");
}
