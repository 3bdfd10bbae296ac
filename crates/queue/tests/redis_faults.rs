//! The backend on Redis while its server is killed, stopped, replaced or wrong; on a cluster and with
//! Sentinels.
//!
//! Each test starts servers of its own: the one of `scripts/tools servers`, or what
//! `HEARTH_TEST_REDIS_SERVER` names. Without one nothing is tested.
#![allow(clippy::unwrap_used)]

#[path = "redis_faults/failover.rs"]
mod failover;
#[path = "redis_faults/probe.rs"]
mod probe;
#[path = "redis_faults/refused.rs"]
mod refused;
#[path = "redis_faults/server.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod server;

use hearth_config::HumanDuration;
use hearth_queue::{Claim, Enqueue, Error, Phase, Queue, RedisConfig, RedisQueue};
use hearth_telemetry::Registry;
use hearth_types::{DeviceKey, TaskId, Timestamp};
use refused::refusal;
use server::{Server, program};
use std::time::{Duration, Instant};
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

/// Three primaries.
async fn cluster(program: &std::path::Path) -> Vec<Server> {
    server::cluster(program, 0, None).await
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
    server.pause();
    // Each of the connections is found silent once; from then on calls fail at once.
    for _ in 0..2 {
        fails_within(&queue, Duration::from_millis(700)).await;
    }
    sleep(Duration::from_millis(3500)).await;
    for _ in 0..20 {
        fails_within(&queue, Duration::from_millis(50)).await;
    }
    server.resume();
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
