//! The backend on Redis while its server is killed, stopped, replaced or wrong; on a cluster and with
//! Sentinels.
//!
//! Each test starts servers of its own: the one of `scripts/tools servers`, or what
//! `HEARTH_TEST_REDIS_SERVER` names. Without one nothing is tested.
#![allow(clippy::unwrap_used)]

#[path = "redis_faults/server.rs"]
mod server;

use hearth_config::{HumanDuration, SecretString};
use hearth_queue::{Claim, Enqueue, Error, Phase, Queue, RedisConfig, RedisQueue, conformance};
use hearth_telemetry::Registry;
use hearth_types::{DeviceKey, TaskId, Timestamp};
use server::{Server, program};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::time::sleep;

const LEASE: Duration = Duration::from_secs(30);
const EVERY: Duration = Duration::from_secs(600);

fn config(node: String) -> RedisConfig {
    RedisConfig {
        nodes: vec![node],
        connect_timeout: HumanDuration::secs(10),
        call_timeout: HumanDuration::millis(500),
        ..RedisConfig::default()
    }
}

async fn connect(config: &RedisConfig) -> RedisQueue {
    let queue = RedisQueue::connect(config, &Registry::new()).await;
    queue.unwrap_or_else(|error| panic!("{error}"))
}

async fn refusal(config: &RedisConfig) -> String {
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

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(1_800_000_000_000_000 + seconds * 1_000_000)
}

fn device(serial: usize) -> DeviceKey {
    DeviceKey::parse("default", &format!("001122-Box-{serial}")).unwrap()
}

fn pending() -> Enqueue {
    Enqueue {
        task: TaskId::generate(),
        priority: 0,
        deadline: at(3600),
        phase: Phase::Pending {
            not_before: Timestamp::ZERO,
        },
    }
}

/// Rebuilds every suspect bucket from this ledger; how many were lost, and how many suspect.
async fn rebuild(queue: &RedisQueue, ledger: &[(DeviceKey, Enqueue)]) -> (usize, usize) {
    let suspects = queue.suspects(EVERY, at(0)).await.unwrap();
    for suspect in &suspects {
        let b = suspect.bucket;
        assert!(queue.begin_rebuild(b, "test", LEASE, at(0)).await.unwrap());
        let tasks = ledger.iter().filter(|(device, _)| device.bucket() == b);
        let tasks: Vec<_> = tasks.cloned().collect();
        assert!(
            queue
                .restore(b, "test", &tasks, LEASE, at(0))
                .await
                .unwrap()
        );
        assert!(queue.finish_rebuild(b, "test", at(0)).await.unwrap());
    }
    let lost = suspects.iter().filter(|suspect| suspect.lost).count();
    (lost, suspects.len())
}

/// Waits until calls succeed again; how long that took.
async fn recovers(queue: &RedisQueue) -> Duration {
    let started = Instant::now();
    while queue.suspects(EVERY, at(0)).await.is_err() {
        assert!(
            started.elapsed() < Duration::from_secs(40),
            "it does not come back"
        );
        sleep(Duration::from_millis(20)).await;
    }
    started.elapsed()
}

async fn fails_within(queue: &RedisQueue, limit: Duration) {
    let started = Instant::now();
    let failed = queue.open_session(&device(1), "s", LEASE, at(0)).await;
    let took = started.elapsed();
    assert!(matches!(failed, Err(Error::Unavailable(_))), "{failed:?}");
    assert!(took < limit, "it took {took:?}");
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

#[tokio::test]
async fn killed_and_replaced_by_an_empty_one() {
    let Some(program) = program() else { return };
    let mut server = Server::start(&program, &[]);
    let queue = connect(&config(server.url())).await;
    assert_eq!(rebuild(&queue, &[]).await, (64, 64));
    let ledger: Vec<_> = (0..200).map(|n| (device(n), pending())).collect();
    for (device, task) in &ledger {
        queue.enqueue(device, *task).await.unwrap();
    }
    let before = queue
        .open_session(&device(1), "s1", LEASE, at(0))
        .await
        .unwrap();
    server.kill();
    fails_within(&queue, Duration::from_millis(600)).await;
    sleep(Duration::from_millis(100)).await;
    for _ in 0..20 {
        fails_within(&queue, Duration::from_millis(50)).await;
    }
    server.run();
    println!("back after {:?}", recovers(&queue).await);
    // Nothing is there, not even the functions.
    let opened = queue
        .open_session(&device(1), "s2", LEASE, at(1))
        .await
        .unwrap();
    assert!(opened.rebuilding && opened.pending && opened.epoch > before.epoch);
    let claim = queue
        .claim(&device(1), opened.epoch, LEASE, None, at(1))
        .await;
    assert!(matches!(claim, Err(Error::Rebuilding)));
    assert_eq!(rebuild(&queue, &ledger).await, (64, 64));
    assert_eq!(queue.depth().await.unwrap().open, 200);
    let claim = queue
        .claim(&device(1), opened.epoch, LEASE, None, at(1))
        .await;
    assert!(matches!(claim, Ok(Claim::Task { task, .. }) if task == ledger[1].1.task));
}

#[tokio::test]
async fn restarted_with_what_it_had() {
    let Some(program) = program() else { return };
    let aof = ["--appendonly", "yes", "--appendfsync", "always"];
    let mut server = Server::start(&program, &aof);
    let queue = connect(&config(server.url())).await;
    rebuild(&queue, &[]).await;
    let (kept, missed) = ((device(1), pending()), (device(2), pending()));
    queue.enqueue(&kept.0, kept.1).await.unwrap();
    server.kill();
    server.run();
    recovers(&queue).await;
    // In service, but to be compared: this one may have been written and lost.
    assert!(queue.contains(&kept.0, kept.1.task).await.unwrap());
    assert!(!queue.contains(&missed.0, missed.1.task).await.unwrap());
    assert_eq!(rebuild(&queue, &[kept, missed.clone()]).await, (0, 64));
    assert!(queue.contains(&missed.0, missed.1.task).await.unwrap());
    assert_eq!(queue.depth().await.unwrap().open, 2);
    assert_eq!(queue.suspects(EVERY, at(0)).await.unwrap(), []);
}

#[tokio::test]
async fn stopped_and_gone_on() {
    let Some(program) = program() else { return };
    let server = Server::start(&program, &[]);
    let queue = connect(&config(server.url())).await;
    rebuild(&queue, &[]).await;
    server.signal("-STOP");
    // Each of the connections is found silent once; from then on calls fail at once.
    for _ in 0..2 {
        fails_within(&queue, Duration::from_millis(700)).await;
    }
    sleep(Duration::from_millis(3500)).await;
    for _ in 0..20 {
        fails_within(&queue, Duration::from_millis(50)).await;
    }
    server.signal("-CONT");
    println!("back after {:?}", recovers(&queue).await);
    assert_eq!(
        queue.suspects(EVERY, at(0)).await.unwrap(),
        [],
        "nothing was lost"
    );
}

#[tokio::test]
async fn out_of_memory() {
    let Some(program) = program() else { return };
    let server = Server::start(&program, &[]);
    let queue = connect(&config(server.url())).await;
    rebuild(&queue, &[]).await;
    let (device, task) = (device(1), pending());
    queue.enqueue(&device, task).await.unwrap();
    server
        .ask(&["CONFIG", "SET", "maxmemory", "1mb"])
        .await
        .unwrap();
    let refused = queue.enqueue(&device, pending()).await;
    let Err(Error::Unavailable(reason)) = refused else {
        panic!("{refused:?}");
    };
    println!("{reason}");
    assert!(reason.to_string().contains("maxmemory"), "{reason}");
    // What is there is worked on.
    let session = queue
        .open_session(&device, "s", LEASE, at(0))
        .await
        .unwrap();
    let claim = queue
        .claim(&device, session.epoch, LEASE, None, at(0))
        .await;
    assert!(matches!(claim, Ok(Claim::Task { .. })));
    queue.complete(&device, task.task).await.unwrap();
    server
        .ask(&["CONFIG", "SET", "maxmemory", "0"])
        .await
        .unwrap();
    queue.enqueue(&device, pending()).await.unwrap();
}

/// Three primaries, without the program that usually makes a cluster.
async fn cluster(program: &std::path::Path) -> Vec<Server> {
    let arguments = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"];
    let nodes: Vec<_> = (0..3).map(|_| Server::start(program, &arguments)).collect();
    for (node, range) in nodes.iter().zip([(0, 5461), (5462, 10922), (10923, 16383)]) {
        let (from, to) = (range.0.to_string(), range.1.to_string());
        node.ask(&["CLUSTER", "ADDSLOTSRANGE", &from, &to])
            .await
            .unwrap();
        let port = nodes[0].port.to_string();
        node.ask(&["CLUSTER", "MEET", "127.0.0.1", &port])
            .await
            .unwrap();
    }
    let deadline = Instant::now() + Duration::from_secs(20);
    for node in &nodes {
        loop {
            let info = node.ask(&["CLUSTER", "INFO"]).await.unwrap();
            let text: String = redis::from_redis_value(info).unwrap();
            if text.contains("cluster_state:ok") && text.contains("cluster_known_nodes:3") {
                break;
            }
            assert!(Instant::now() < deadline, "the cluster is not made: {text}");
            sleep(Duration::from_millis(50)).await;
        }
    }
    nodes
}

#[tokio::test]
async fn a_cluster_of_three() {
    let Some(program) = program() else { return };
    let mut nodes = cluster(&program).await;
    let count = AtomicU32::new(0);
    let node = nodes[1].url();
    conformance::all(|| async {
        let prefix = format!("c{}", count.fetch_add(1, Ordering::Relaxed));
        let config = RedisConfig {
            prefix,
            ..config(node.clone())
        };
        Arc::new(connect(&config).await) as Arc<dyn Queue>
    })
    .await;

    let queue = connect(&config(node)).await;
    assert_eq!(rebuild(&queue, &[]).await, (64, 64));
    let ledger: Vec<_> = (0..200).map(|n| (device(n), pending())).collect();
    for (device, task) in &ledger {
        queue.enqueue(device, *task).await.unwrap();
    }
    // One third is replaced by an empty node of the same name: only its buckets are lost.
    nodes[2].kill();
    let mut failed = 0;
    for (device, _) in &ledger {
        let started = Instant::now();
        failed += usize::from(queue.peek(device, at(0)).await.is_err());
        assert!(started.elapsed() < Duration::from_millis(700));
        if failed == 3 {
            break;
        }
    }
    assert!(failed > 0);
    nodes[2].run();
    println!("back after {:?}", recovers(&queue).await);
    let (lost, suspect) = rebuild(&queue, &ledger).await;
    assert!(
        lost == suspect && (5..40).contains(&lost),
        "{lost} of {suspect}"
    );
    assert_eq!(queue.depth().await.unwrap().open, 200);
}

#[tokio::test]
async fn a_failover_by_a_sentinel() {
    let Some(program) = program() else { return };
    let mut primary = Server::start(&program, &[]);
    let port = primary.port.to_string();
    let replica = Server::start(&program, &["--replicaof", &format!("127.0.0.1 {port}")]);
    let sentinel = Server::sentinel(&program, "hearth", primary.port);
    let config = RedisConfig {
        sentinel_group: Some("hearth".into()),
        ..config(sentinel.url())
    };
    let wrong = RedisConfig {
        sentinel_group: Some("nobody".into()),
        ..config.clone()
    };
    let line = refusal(&wrong).await;
    assert!(line.contains("redis.sentinel_group"), "{line}");
    let queue = connect(&config).await;
    assert_eq!(rebuild(&queue, &[]).await, (64, 64));
    let ledger = [(device(1), pending()), (device(2), pending())];
    queue.enqueue(&ledger[0].0, ledger[0].1).await.unwrap();
    let before = queue
        .open_session(&ledger[0].0, "s1", LEASE, at(0))
        .await
        .unwrap();
    // The Sentinel must have heard of the replica, and the replica have all of it.
    sleep(Duration::from_secs(12)).await;
    let role = replica.ask(&["WAIT", "0", "0"]).await;
    println!("{role:?}");
    primary.kill();
    fails_within(&queue, Duration::from_millis(700)).await;
    println!("back after {:?}", recovers(&queue).await);
    let opened = queue
        .open_session(&ledger[0].0, "s2", LEASE, at(1))
        .await
        .unwrap();
    assert!(opened.epoch > before.epoch && opened.open == 1 && !opened.rebuilding);
    assert_eq!(
        rebuild(&queue, &ledger).await,
        (0, 64),
        "a copy that may be older"
    );
    assert_eq!(queue.depth().await.unwrap().open, 2);
}

/// Whatever the primary takes must be on a replica, too: one that has none refuses, and Hearth says what is missing and
/// goes on by itself.
#[tokio::test]
async fn a_primary_without_its_replica() {
    let Some(program) = program() else { return };
    let careful = [
        "--min-replicas-to-write",
        "1",
        "--min-replicas-max-lag",
        "2",
    ];
    let primary = Server::start(&program, &careful);
    let config = config(primary.url());
    let line = refusal(&config).await;
    assert!(
        line.contains("takes no writes") && line.contains("min-replicas-to-write"),
        "{line}"
    );

    let follow = format!("127.0.0.1 {}", primary.port);
    let follow = ["--replicaof", &follow];
    let mut replica = Server::start(&program, &follow);
    let queue = connect(&config).await;
    rebuild(&queue, &[]).await;
    queue.enqueue(&device(1), pending()).await.unwrap();

    replica.kill();
    let deadline = Instant::now() + Duration::from_secs(10);
    let refused = loop {
        match queue.enqueue(&device(1), pending()).await {
            Err(error) => break error,
            Ok(_) => assert!(Instant::now() < deadline, "writes are taken"),
        }
        sleep(Duration::from_millis(50)).await;
    };
    assert!(matches!(refused, Error::Unavailable(_)), "{refused:?}");
    let text = format!("{refused:?}");
    assert!(text.contains("min-replicas-to-write"), "{text}");

    replica.run();
    let started = Instant::now();
    while let Err(error) = queue.enqueue(&device(1), pending()).await {
        assert!(started.elapsed() < Duration::from_secs(20), "{error}");
        sleep(Duration::from_millis(50)).await;
    }
    println!("back after {:?}", started.elapsed());
}

/// The permissions that the docs tell are enough for all that the queue does.
#[tokio::test]
async fn the_permissions_in_the_docs_are_enough() {
    let Some(program) = program() else { return };
    let page = include_str!("../../../docs/redis.md");
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
