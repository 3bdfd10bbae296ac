//! Wrong addresses, credentials, versions and settings: one line each that says what to do. And permissions.

use super::server::{self, Server, program};
use super::{EVERY, LEASE, at, config, connect, device, pending, rebuild};
use hearth_config::{HumanDuration, SecretString};
use hearth_queue::{Claim, Enqueue, Queue, RedisConfig, RedisQueue};
use hearth_telemetry::Registry;
use std::time::{Duration, Instant};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
};

pub(super) async fn refusal(config: &RedisConfig) -> String {
    let config = RedisConfig {
        connect_timeout: HumanDuration::millis(300),
        ..config.clone()
    };
    let refused = RedisQueue::connect(&config, &Registry::new()).await;
    let line = refused.map(drop).unwrap_err().to_string();
    println!("{line}");
    assert!(!line.contains('\n'), "{line}");
    line
}

#[tokio::test]
async fn what_is_wrong_is_said_in_a_line() {
    let Some(program) = program() else { return };
    let line = refusal(&RedisConfig::default()).await;
    assert!(line.contains("set redis.nodes"), "{line}");
    let nobody = config(format!("redis://127.0.0.1:{}", server::free_port()));
    let line = refusal(&nobody).await;
    assert!(
        line.contains("no Redis answers at redis://127.0.0.1:"),
        "{line}"
    );

    let locked = Server::start(&program, &["--requirepass", "open sesame"]);
    let mut keyed = config(locked.url());
    let line = refusal(&keyed).await;
    assert!(line.contains("redis.password"), "{line}");
    keyed.password = Some(SecretString::new("hunter2"));
    let line = refusal(&keyed).await;
    assert!(
        line.contains("redis.password") && !line.contains("hunter2"),
        "{line}"
    );
    keyed.password = Some(SecretString::new("open sesame"));
    connect(&keyed).await.suspects(EVERY, at(0)).await.unwrap();

    let small = ["--maxmemory", "10mb", "--maxmemory-policy", "allkeys-lru"];
    let evicting = Server::start(&program, &small);
    let line = refusal(&config(evicting.url())).await;
    assert!(line.contains("maxmemory-policy noeviction"), "{line}");

    let plain = Server::start(&program, &[]);
    let tls = config(plain.url().replace("redis://", "rediss://"));
    refusal(&tls).await;
    let mut grouped = config(plain.url());
    grouped.sentinel_group = Some("mymaster".into());
    refusal(&grouped).await;
}

/// The first word of the next command; `None` at the end.
async fn command(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let count = number(stream).await?;
    let mut words = Vec::new();
    for _ in 0..count {
        let mut word = vec![0; number(stream).await? + 2];
        stream.read_exact(&mut word).await.ok()?;
        words.push(String::from_utf8_lossy(&word).trim_end().to_owned());
    }
    words.into_iter().next()
}

/// What follows the sign of an array or of a text.
async fn number(stream: &mut BufReader<TcpStream>) -> Option<usize> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok()?;
    line.get(1..)?.trim_end().parse().ok()
}

/// Says what a Redis of this version says of itself, and knows nothing else; its address.
async fn old_server(version: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut stream = BufReader::new(stream);
                while let Some(word) = command(&mut stream).await {
                    let info = format!(
                        "redis_version:{version}\r\nrole:master\r\ncluster_enabled:0\r\nmaxmemory:0\r\n\
                         maxmemory_policy:noeviction\r\n"
                    );
                    let answer = match word.as_str() {
                        "INFO" => format!("${}\r\n{info}\r\n", info.len()),
                        _ => format!("-ERR unknown command `{word}`\r\n"),
                    };
                    stream.get_mut().write_all(answer.as_bytes()).await.unwrap();
                }
            });
        }
    });
    format!("redis://{address}")
}

/// By its version; by what it lacks, where that says nothing (a fork, a proxy).
#[tokio::test]
async fn an_older_server_is_told_in_a_line_and_not_waited_for() {
    for version in ["6.2.14", "5.0.3", "255.255.255"] {
        let address = old_server(version).await;
        let started = Instant::now();
        let refused = RedisQueue::connect(&config(address.clone()), &Registry::new()).await;
        let line = refused.map(drop).unwrap_err().to_string();
        println!("{line}");
        let told = format!("Redis at {address} is version {version}, and Hearth needs Redis 7.0");
        assert!(line.starts_with(&told), "{line}");
        assert!(
            !line.contains('\n') && line.contains("redis.nodes"),
            "{line}"
        );
        let took = started.elapsed();
        assert!(took < Duration::from_secs(5), "it was waited for: {took:?}");
    }
}

/// The permissions that the docs tell are enough for all that the queue does.
#[tokio::test]
async fn the_permissions_in_the_docs_are_enough() {
    let Some(program) = program() else { return };
    let page = include_str!("../../../../docs/redis.md");
    let (_, line) = page.split_once("`ACL SETUSER ").unwrap();
    let (line, _) = line.split_once('`').unwrap();
    let rule = line.replace(">…", ">secret");
    let server = Server::start(&program, &[]);
    let words: Vec<&str> = ["ACL", "SETUSER"]
        .into_iter()
        .chain(rule.split(' '))
        .collect();
    server.ask(&words).await.unwrap();
    let config = RedisConfig {
        user: Some("hearth".into()),
        password: Some(SecretString::new("secret")),
        ..config(server.url())
    };
    let queue = connect(&config).await;
    assert_eq!(rebuild(&queue, &[]).await, (64, 64));
    let task = pending();
    queue.enqueue(&device(1), task).await.unwrap();
    let opened = queue.open_session(&device(1), "s", LEASE, at(0)).await;
    let epoch = opened.unwrap().epoch;
    let claimed = queue.claim(&device(1), epoch, LEASE, None, at(0)).await;
    assert!(matches!(claimed.unwrap(), Claim::Task { .. }));
    queue.depth().await.unwrap();
    queue.wipe().await.unwrap();
    let foreign = Enqueue { ..pending() };
    let elsewhere = RedisConfig {
        prefix: "other".into(),
        ..config
    };
    let other = connect(&elsewhere).await;
    let refused = other.enqueue(&device(1), foreign).await;
    assert!(refused.is_err(), "another prefix is another's");
}
