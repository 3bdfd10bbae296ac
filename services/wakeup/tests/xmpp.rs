//! XMPP connection requests through a real Prosody: this side is a component of it, the devices
//! are its clients. `eval "$(scripts/prosody --env)"` installs it; without it these tests print
//! SKIPPED.

use crate::support::{World, by_url, loopback};
use hearth_config::{HumanDuration, SecretString};
use hearth_proto::devicestate::v1::GetConnectionRequestResponse;
use hearth_proto::wakeup::v1::{WakeOutcome, WakeWay};
use hearth_wakeup::{WakeupConfig, XmppConfig};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

const NAMESPACE: &str = "urn:broadband-forum-org:cwmp:xmppConnReq-1-0";

/// Prosody on ports of its own.
struct Prosody {
    process: Child,
    clients: u16,
    components: u16,
    _home: tempfile::TempDir,
}

impl Drop for Prosody {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Prosody with the accounts `cpe1` and `cpe2`; `None` where there is none.
fn prosody() -> Option<Prosody> {
    let Ok(program) = std::env::var("HEARTH_TEST_PROSODY") else {
        println!("SKIPPED: HEARTH_TEST_PROSODY is not set");
        return None;
    };
    let home = tempfile::tempdir().unwrap();
    let path = home.path().display();
    let (clients, components) = (free_port(), free_port());
    let settings = format!(
        "pidfile = \"{path}/pid\"\ndata_path = \"{path}/data\"\nrun_as_root = true\n\
         interfaces = {{ \"127.0.0.1\" }}\ncomponent_interfaces = {{ \"127.0.0.1\" }}\n\
         c2s_ports = {{ {clients} }}\ncomponent_ports = {{ {components} }}\n\
         modules_enabled = {{ \"saslauth\", \"ping\" }}\nmodules_disabled = {{ \"s2s\", \"tls\" }}\n\
         c2s_require_encryption = false\nallow_unencrypted_plain_auth = true\n\
         authentication = \"internal_plain\"\nlog = {{ info = \"*console\" }}\n\
         VirtualHost \"example.test\"\nComponent \"acs.example.test\"\n\
         component_secret = \"component-secret\"\n"
    );
    let accounts = home.path().join("data/example%2etest/accounts");
    std::fs::create_dir_all(&accounts).unwrap();
    for account in ["cpe1", "cpe2"] {
        let content = "return { [\"password\"] = \"account-secret\"; };\n";
        std::fs::write(accounts.join(format!("{account}.dat")), content).unwrap();
    }
    let file = home.path().join("prosody.cfg.lua");
    std::fs::write(&file, settings).unwrap();
    let process = Command::new(program)
        .args(["-F", "--config"])
        .arg(&file)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    Some(Prosody {
        process,
        clients,
        components,
        _home: home,
    })
}

fn config(port: u16) -> WakeupConfig {
    WakeupConfig {
        xmpp: XmppConfig {
            server: Some(format!("127.0.0.1:{port}")),
            domain: Some("acs.example.test".into()),
            secret: Some(SecretString::new("component-secret")),
            timeout: HumanDuration::secs(3),
            ..XmppConfig::default()
        },
        ..loopback()
    }
}

fn by_jid(jid: &str, password: &str) -> GetConnectionRequestResponse {
    GetConnectionRequestResponse {
        jabber_id: jid.into(),
        password: password.into(),
        ..by_url("")
    }
}

/// A CPE's end of the stream, by hand: nothing of this side's library is at work there.
struct Stream {
    socket: TcpStream,
    buffer: String,
}

impl Stream {
    async fn send(&mut self, text: &str) {
        self.socket.write_all(text.as_bytes()).await.unwrap();
    }

    /// Reads until `end` came; answers all up to there.
    async fn until(&mut self, end: &str) -> Option<String> {
        loop {
            if let Some(at) = self.buffer.find(end) {
                let rest = self.buffer.split_off(at + end.len());
                return Some(std::mem::replace(&mut self.buffer, rest));
            }
            let mut chunk = [0; 4096];
            match self.socket.read(&mut chunk).await {
                Ok(0) | Err(_) => return None,
                Ok(count) => self.buffer += &String::from_utf8_lossy(&chunk[..count]),
            }
        }
    }
}

const OPEN: &str = "<?xml version='1.0'?><stream:stream to='example.test' version='1.0' \
                    xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";

/// What stands between two texts.
fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    let (_, rest) = text
        .split_once(start)
        .unwrap_or_else(|| panic!("{start} in {text}"));
    rest.split_once(end).unwrap().0
}

/// A CPE that is connected: tells its Jabber ID, takes requests of `hearth`/`secret`, and sends
/// here who asked. One that is `mute` answers nothing.
async fn cpe(port: u16, mute: bool) -> (String, mpsc::UnboundedReceiver<String>) {
    let mut stream = Stream {
        socket: TcpStream::connect(("127.0.0.1", port)).await.unwrap(),
        buffer: String::new(),
    };
    stream.send(OPEN).await;
    stream.until("</stream:features>").await.unwrap();
    // "\0cpe1\0account-secret"
    stream
        .send(
            "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>\
             AGNwZTEAYWNjb3VudC1zZWNyZXQ=</auth>",
        )
        .await;
    stream
        .until("<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")
        .await
        .unwrap();
    stream.send(OPEN).await;
    stream.until("</stream:features>").await.unwrap();
    stream
        .send(
            "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\
             <resource>requests</resource></bind></iq>",
        )
        .await;
    let bound = stream.until("</iq>").await.unwrap();
    let jid = between(&bound, "<jid>", "</jid>").to_owned();
    let (asked, asks) = mpsc::unbounded_channel();
    if mute {
        // What nobody can read, and nobody asked for: it ends nothing.
        stream
            .send(
                "<iq type='error' id='x' to='acs@acs.example.test/hearth'/>\
                 <presence type='nonsense' to='acs@acs.example.test/hearth'/>\
                 <message type='strange' to='acs@acs.example.test/hearth'><body/><body/></message>",
            )
            .await;
    }
    tokio::spawn(async move {
        while let Some(request) = stream.until("</iq>").await {
            assert!(request.contains(NAMESPACE), "{request}");
            let (username, password) = (request.find("<username"), request.find("<password"));
            assert!(
                username.unwrap() < password.unwrap(),
                "in that order: {request}"
            );
            let start = between(&request, "<iq ", ">");
            let attribute = |name: &str| between(start, &format!("{name}='"), "'").to_owned();
            let (from, id) = (attribute("from"), attribute("id"));
            let _ = asked.send(from.clone());
            if mute {
                continue;
            }
            let good = request.contains(">hearth<") && request.contains(">secret<");
            let answer = match good {
                true => format!("<iq type='result' to='{from}' id='{id}'/>"),
                false => format!(
                    "<iq type='error' to='{from}' id='{id}'><error type='auth'><not-authorized \
                     xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>"
                ),
            };
            stream.send(&answer).await;
        }
    });
    (jid, asks)
}

async fn connected(world: &World) {
    for _ in 0..100 {
        if world.counted("hearth_wakeup_xmpp_connected 1") {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the component connects");
}

/// C-08: result, not-authorized, not there.
#[tokio::test]
async fn devices_are_asked_through_prosody() {
    let Some(prosody) = prosody() else { return };
    let world = World::new(by_jid("", "secret"), config(prosody.components));
    connected(&world).await;
    let (jid, mut asks) = cpe(prosody.clients, false).await;
    let cases = [
        (jid.as_str(), "secret", WakeOutcome::Accepted),
        (jid.as_str(), "other", WakeOutcome::Credentials),
        (
            "cpe1@example.test/elsewhere",
            "secret",
            WakeOutcome::Offline,
        ),
        ("cpe2@example.test/1", "secret", WakeOutcome::Offline),
        ("nobody@example.test/1", "secret", WakeOutcome::Offline),
        ("cpe@example.com/1", "secret", WakeOutcome::Forbidden),
        ("@@", "secret", WakeOutcome::Unreachable),
    ];
    for (jid, password, outcome) in cases {
        *world.devices.how.lock() = by_jid(jid, password);
        let response = world.wake().await;
        assert_eq!(response.outcome(), outcome, "{jid}: {}", response.detail);
        assert_eq!(response.way(), WakeWay::Xmpp);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(asks.recv().await.unwrap(), "acs@acs.example.test/hearth");
    assert!(asks.recv().await.is_some());
    assert!(asks.try_recv().is_err(), "asked twice in all");
}

/// A device that says nothing; a server that goes and comes back.
#[tokio::test]
async fn silence_and_a_lost_server_are_unreachable() {
    let Some(prosody) = prosody() else { return };
    let world = World::new(by_jid("", "secret"), config(prosody.components));
    connected(&world).await;
    let (jid, _asks) = cpe(prosody.clients, true).await;
    *world.devices.how.lock() = by_jid(&jid, "secret");
    let response = world.wake().await;
    assert_eq!(response.outcome(), WakeOutcome::Unreachable);
    assert!(response.detail.contains("in time"), "{}", response.detail);
    assert!(
        world.counted("hearth_wakeup_xmpp_connected 1"),
        "what can't be read ended nothing"
    );
    drop(prosody);
    for _ in 0..100 {
        if world.counted("hearth_wakeup_xmpp_connected 0") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let response = world.wake().await;
    assert_eq!(response.outcome(), WakeOutcome::Unreachable);
    assert!(
        response.detail.contains("XMPP server"),
        "{}",
        response.detail
    );
}

/// Where the component's secret is wrong, XMPP is away and the rest goes on.
#[tokio::test]
async fn a_wrong_secret_is_told() {
    let Some(prosody) = prosody() else { return };
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut config = config(prosody.components);
    config.xmpp.secret = Some(SecretString::new("wrong"));
    let world = World::new(by_jid("cpe1@example.test/1", "secret"), config);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let response = world.wake().await;
    assert_eq!(
        response.outcome(),
        WakeOutcome::Unreachable,
        "{}",
        response.detail
    );
}
