//! Wrong servers, credentials and settings: one line each that says what to do.

use std::time::{Duration, Instant};

use hearth_bus::{Bus as _, NatsBus, NatsConfig, NatsConnectError};
use hearth_config::{ByteSize, HumanDuration, SecretString};
use hearth_telemetry::Registry;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;

use super::server::Server;
use super::{config, connect, refusal};

#[tokio::test]
async fn wrong_servers_and_settings_are_told_in_a_line() {
    let refused = NatsBus::connect(&NatsConfig::default(), &Registry::new()).await;
    assert!(matches!(refused, Err(NatsConnectError::NoServers)));
    let Some(server) = Server::start("authorization { user: hearth, password: right }\n") else {
        return;
    };
    let mut wrong = config(vec![server.url()]);
    wrong.connect_timeout = HumanDuration::secs(3);
    let line = refusal(&wrong).await;
    assert!(line.contains("refuses the credentials"), "{line}");
    wrong.user = Some("hearth".into());
    wrong.password = Some(SecretString::new("not-right"));
    let line = refusal(&wrong).await;
    assert!(
        line.contains("refuses the credentials") && !line.contains("not-right"),
        "{line}"
    );
    let mut right = wrong.clone();
    right.password = Some(SecretString::new("right"));
    right.replicas = 3;
    let line = refusal(&right).await;
    assert!(line.contains("set nats.replicas to 1"), "{line}");
    right.replicas = 1;
    right.max_bytes = ByteSize(1 << 59);
    let line = refusal(&right).await;
    assert!(line.contains("lower nats.max_bytes"), "{line}");
    right.max_bytes = ByteSize::mib(1);
    connect(&right).await.close().await.unwrap();
    right.creds_file = Some("/no/such.creds".into());
    (right.user, right.password) = (None, None);
    let line = refusal(&right).await;
    assert!(line.contains("nats.creds_file: /no/such.creds"), "{line}");
    right.creds_file = None;
    right.tls = true;
    let line = refusal(&right).await;
    assert!(line.starts_with("TLS with NATS at"), "{line}");
    right.tls_ca = Some("/no/such.crt".into());
    let line = refusal(&right).await;
    assert!(line.starts_with("nats.tls_ca: /no/such.crt"), "{line}");
}

#[tokio::test]
async fn a_server_without_jetstream_is_told_in_a_line() {
    let Some(server) = Server::without_jetstream() else {
        return;
    };
    let line = refusal(&config(vec![server.url()])).await;
    assert!(line.contains("has no JetStream"), "{line}");
}

/// Greets as a server of this version does, and answers pings; its address.
async fn greets_as(version: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (read, mut write) = stream.into_split();
                let info = format!(
                    "INFO {{\"server_id\":\"N\",\"version\":\"{version}\",\"proto\":1,\"headers\":true,\
                     \"max_payload\":1048576,\"jetstream\":true}}\r\n"
                );
                write.write_all(info.as_bytes()).await.unwrap();
                let mut lines = BufReader::new(read).lines();
                while let Ok(Some(line)) = lines.next_line().await {
                    if line == "PING" {
                        write.write_all(b"PONG\r\n").await.unwrap();
                    }
                }
            });
        }
    });
    format!("nats://{address}")
}

#[tokio::test]
async fn an_older_server_is_told_in_a_line_and_not_waited_for() {
    for version in ["2.9.25", "1.4.1"] {
        let address = greets_as(version).await;
        let started = Instant::now();
        let line = refusal(&config(vec![address.clone()])).await;
        let told =
            format!("NATS at {address} is version {version}, and Hearth needs 2.10 or newer");
        assert!(line.starts_with(&told), "{line}");
        assert!(line.contains("nats.servers"), "{line}");
        let took = started.elapsed();
        assert!(took < Duration::from_secs(5), "it was waited for: {took:?}");
    }
}
