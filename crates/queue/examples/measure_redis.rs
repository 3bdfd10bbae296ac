//! What the calls of the queue on Redis cost, on the server that `HEARTH_TEST_REDIS` names: the time
//! of a call alone, calls in a second with many at once, and memory for each open task.
#![allow(clippy::unwrap_used)]

use futures::stream::{StreamExt, iter};
use hearth_queue::{Enqueue, Phase, Queue, RedisConfig, RedisQueue};
use hearth_telemetry::Registry;
use hearth_types::{DeviceKey, TaskId, Timestamp};
use std::{future::Future, time::Duration, time::Instant};

const LEASE: Duration = Duration::from_secs(30);
const DEVICES: usize = 20_000;
const ALONE: usize = 2000;
const AT_ONCE: usize = 64;

fn device(serial: usize) -> DeviceKey {
    DeviceKey::parse("default", &format!("001122-Box-{serial:08}")).unwrap()
}

fn now() -> Timestamp {
    Timestamp::from_micros(1_800_000_000_000_000)
}

fn task() -> Enqueue {
    Enqueue {
        task: TaskId::generate(),
        priority: 0,
        deadline: now().saturating_add(Duration::from_secs(3600)),
        phase: Phase::Pending {
            not_before: Timestamp::ZERO,
        },
    }
}

/// Runs `call` one after another, then many at once.
async fn measure<F: Future<Output = ()>>(name: &str, call: impl Fn(usize) -> F) {
    let started = Instant::now();
    for n in 0..ALONE {
        call(n).await;
    }
    let alone = started.elapsed() / u32::try_from(ALONE).unwrap();
    let started = Instant::now();
    iter(ALONE..DEVICES)
        .map(call)
        .buffer_unordered(AT_ONCE)
        .count()
        .await;
    let rate = (DEVICES - ALONE) as f64 / started.elapsed().as_secs_f64();
    println!(
        "{name:<28} {:>8.0} µs alone {rate:>10.0} calls/s, {AT_ONCE} at once",
        alone.as_secs_f64() * 1e6
    );
}

#[tokio::main]
async fn main() {
    let Ok(server) = std::env::var("HEARTH_TEST_REDIS") else {
        println!("SKIPPED: HEARTH_TEST_REDIS is not set");
        return;
    };
    let config = RedisConfig {
        nodes: vec![server.clone()],
        prefix: "measure".into(),
        ..RedisConfig::default()
    };
    let queue = RedisQueue::connect(&config, &Registry::new())
        .await
        .unwrap();
    let queue = &queue;
    queue.wipe().await.unwrap();
    for bucket in 0..DeviceKey::BUCKETS {
        assert!(
            queue
                .begin_rebuild(bucket, "measure", LEASE, now())
                .await
                .unwrap()
        );
        assert!(
            queue
                .finish_rebuild(bucket, "measure", now())
                .await
                .unwrap()
        );
    }
    measure("open_session, idle device", |n| async move {
        let opened = queue
            .open_session(&device(n), "0123456789abcdef", LEASE, now())
            .await;
        assert!(!opened.unwrap().pending);
    })
    .await;
    let before = used(&server).await;
    let tasks: Vec<_> = (0..DEVICES).map(|_| task()).collect();
    let tasks = &tasks;
    measure("enqueue", |n| async move {
        queue.enqueue(&device(n), tasks[n]).await.unwrap();
    })
    .await;
    let each = (used(&server).await - before) as f64 / DEVICES as f64;
    println!("{each:.0} bytes for each open task (one for each device)");
    measure("open_session, one open task", |n| async move {
        let opened = queue
            .open_session(&device(n), "0123456789abcdef", LEASE, now())
            .await;
        assert!(opened.unwrap().pending);
    })
    .await;
    let epoch = u64::MAX >> 12;
    measure("claim", |n| async move {
        queue
            .claim(&device(n), epoch, LEASE, None, now())
            .await
            .unwrap();
    })
    .await;
    measure("renew", |n| async move {
        let task = Some(tasks[n].task);
        assert!(
            queue
                .renew(&device(n), epoch, task, LEASE, now())
                .await
                .unwrap()
        );
    })
    .await;
    measure("peek", |n| async move {
        queue.peek(&device(n), now()).await.unwrap();
    })
    .await;
    measure("park", |n| async move {
        let until = now().saturating_add(LEASE);
        queue
            .park(&device(n), tasks[n].task, epoch, until)
            .await
            .unwrap();
    })
    .await;
    measure("complete", |n| async move {
        queue.complete(&device(n), tasks[n].task).await.unwrap();
    })
    .await;
    measure("claim, nothing left", |n| async move {
        queue
            .claim(&device(n), epoch, LEASE, None, now())
            .await
            .unwrap();
    })
    .await;
    rebuild(queue).await;
    let started = Instant::now();
    for _ in 0..100 {
        queue.due(now(), LEASE, 256).await.unwrap();
        queue.depth().await.unwrap();
        queue.suspects(LEASE, now()).await.unwrap();
    }
    println!(
        "due, depth and suspects, each of 64 buckets: {:?} together",
        started.elapsed() / 100
    );
    queue.wipe().await.unwrap();
}

/// What entering tasks from the ledger takes, without the ledger's own part.
async fn rebuild(queue: &RedisQueue) {
    let mut buckets = vec![Vec::new(); usize::from(DeviceKey::BUCKETS)];
    for n in 0..DEVICES {
        let device = device(n);
        buckets[usize::from(device.bucket())].push((device, task()));
    }
    let started = Instant::now();
    for (bucket, tasks) in (0..DeviceKey::BUCKETS).zip(buckets) {
        assert!(
            queue
                .begin_rebuild(bucket, "measure", LEASE, now())
                .await
                .unwrap()
        );
        assert!(
            queue
                .restore(bucket, "measure", &tasks, LEASE, now())
                .await
                .unwrap()
        );
        assert!(
            queue
                .finish_rebuild(bucket, "measure", now())
                .await
                .unwrap()
        );
    }
    println!("{DEVICES} tasks restored in {:?}", started.elapsed());
}

/// Memory that the server has in use, in bytes.
async fn used(server: &str) -> i64 {
    let client = redis::Client::open(server).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let info: String = redis::cmd("INFO")
        .arg("memory")
        .query_async(&mut connection)
        .await
        .unwrap();
    let line = info
        .lines()
        .find_map(|line| line.strip_prefix("used_memory:"));
    line.unwrap().trim().parse().unwrap()
}
