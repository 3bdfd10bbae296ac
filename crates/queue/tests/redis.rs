//! The backend on Redis against the suite and real servers: the one that `HEARTH_TEST_REDIS` names, and a Redis 7 where
//! the system has one. Each test runs on both.
#![allow(clippy::unwrap_used)]

#[path = "redis_faults/server.rs"]
#[allow(dead_code, reason = "shared with another test")]
mod server;

use hearth_config::HumanDuration;
use hearth_queue::{Claim, Enqueue, Error, Phase, Queue, RedisConfig, RedisQueue, conformance};
use hearth_telemetry::Registry;
use hearth_types::{DeviceKey, TaskId, Timestamp};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

const LEASE: Duration = Duration::from_secs(30);
const EVERY: Duration = Duration::from_secs(600);

macro_rules! on_each_server {
    ($($test:ident)*) => {
        /// What `HEARTH_TEST_REDIS` names: Valkey, as a rule.
        mod named {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                match std::env::var("HEARTH_TEST_REDIS") {
                    Ok(server) => super::$test(&server).await,
                    Err(_) => println!("SKIPPED: HEARTH_TEST_REDIS is not set"),
                }
            })*
        }

        mod redis_7 {
            use super::server;

            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                let Some(program) = server::redis_7() else { return };
                let own = server::Server::start(&program, &[]);
                super::$test(&own.url()).await;
            })*
        }
    };
}

on_each_server! {
    the_contract
    the_contract_for_two
    a_wipe_in_mid_session
    epochs_grow_through_wipes
    epochs_grow_through_wipes_with_clocks_apart
    an_old_session_does_not_lower_where_epochs_begin_anew
    idle_devices_leave_nothing_behind
    a_device_with_a_thousand_tasks
    buckets_are_compared_from_time_to_time
    functions_that_are_gone_are_loaded_again
}

/// A prefix that no other test and no earlier run has.
fn config(server: &str) -> RedisConfig {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let id = TaskId::generate().to_string();
    RedisConfig {
        nodes: vec![server.to_owned()],
        prefix: format!("t-{}-{count}", &id[8..]),
        connect_timeout: HumanDuration::secs(10),
        // What is tested here is not how fast a busy machine is.
        call_timeout: HumanDuration::secs(10),
        ..RedisConfig::default()
    }
}

async fn connect(config: &RedisConfig) -> Arc<RedisQueue> {
    let queue = RedisQueue::connect(config, &Registry::new()).await;
    Arc::new(queue.unwrap_or_else(|error| panic!("{error}")))
}

/// Queues of their own, whose keys are deleted in the end.
#[derive(Default)]
struct Made(parking_lot::Mutex<Vec<Arc<RedisQueue>>>);

impl Made {
    async fn queue(&self, server: &str) -> Arc<RedisQueue> {
        let queue = connect(&config(server)).await;
        self.0.lock().push(Arc::clone(&queue));
        queue
    }

    /// Two handles of one, as two processes have.
    async fn two(&self, server: &str) -> [Arc<RedisQueue>; 2] {
        let config = config(server);
        let queues = [connect(&config).await, connect(&config).await];
        self.0.lock().push(Arc::clone(&queues[0]));
        queues
    }

    async fn delete(&self) {
        let made = std::mem::take(&mut *self.0.lock());
        for queue in made {
            queue.wipe().await.unwrap();
        }
    }
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

async fn build(queue: &RedisQueue) {
    build_at(queue, at(0)).await;
}

async fn build_at(queue: &RedisQueue, now: Timestamp) {
    for suspect in queue.suspects(EVERY, now).await.unwrap() {
        let bucket = suspect.bucket;
        let begun = queue.begin_rebuild(bucket, "test", LEASE, now).await;
        assert!(begun.unwrap());
        assert!(queue.finish_rebuild(bucket, "test", now).await.unwrap());
    }
}

async fn the_contract(server: &str) {
    let made = Made::default();
    conformance::all(|| async { made.queue(server).await as Arc<dyn Queue> }).await;
    made.delete().await;
}

async fn the_contract_for_two(server: &str) {
    let made = Made::default();
    conformance::of_two(|| async { made.two(server).await.map(|queue| queue as Arc<dyn Queue>) })
        .await;
    made.delete().await;
}

async fn a_wipe_in_mid_session(server: &str) {
    let queue = connect(&config(server)).await;
    build(&queue).await;
    let (device, task, other) = (device(1), pending(), pending());
    queue.enqueue(&device, task).await.unwrap();
    let session = queue
        .open_session(&device, "s1", LEASE, at(0))
        .await
        .unwrap();
    let claim = queue
        .claim(&device, session.epoch, LEASE, None, at(0))
        .await;
    assert!(matches!(claim.unwrap(), Claim::Task { .. }));

    queue.wipe().await.unwrap();
    assert_eq!(queue.suspects(EVERY, at(0)).await.unwrap().len(), 64);
    let epoch = session.epoch;
    let refused = queue.claim(&device, epoch, LEASE, None, at(1)).await;
    assert!(matches!(refused, Err(Error::Rebuilding)));
    assert!(matches!(
        queue.peek(&device, at(1)).await,
        Err(Error::Rebuilding)
    ));
    assert!(
        queue
            .renew(&device, epoch, Some(task.task), LEASE, at(1))
            .await
            .unwrap()
    );
    queue.enqueue(&device, other).await.unwrap();

    // The ledger says what was in flight; a task that ends meanwhile stays away.
    let bucket = device.bucket();
    assert!(
        queue
            .begin_rebuild(bucket, "a", LEASE, at(1))
            .await
            .unwrap()
    );
    let ended = pending();
    queue.complete(&device, ended.task).await.unwrap();
    let in_flight = Enqueue {
        phase: Phase::InFlight {
            epoch,
            lease: at(30),
        },
        ..task
    };
    let tasks = [in_flight, ended, other].map(|task| (device.clone(), task));
    assert!(
        queue
            .restore(bucket, "a", &tasks, LEASE, at(1))
            .await
            .unwrap()
    );
    assert!(queue.finish_rebuild(bucket, "a", at(1)).await.unwrap());
    let claim = queue
        .claim(&device, epoch, LEASE, None, at(2))
        .await
        .unwrap();
    assert!(
        matches!(claim, Claim::Task { task: t, resumed: true, .. } if t == task.task),
        "{claim:?}"
    );
    assert_eq!(queue.peek(&device, at(2)).await.unwrap().open, 2);
    queue.wipe().await.unwrap();
}

async fn epochs_grow_through_wipes(server: &str) {
    let queue = connect(&config(server)).await;
    let device = device(1);
    let mut last = 0;
    for round in 0..60 {
        // Clocks of two processes, half a second apart.
        let now =
            Timestamp::from_micros(at(0).as_micros() + round * 10_000 + (round % 2) * 500_000);
        if round == 30 {
            build(&queue).await;
        }
        let session = queue
            .open_session(&device, &format!("s{round}"), LEASE, now)
            .await
            .unwrap();
        assert!(session.epoch > last, "round {round}");
        assert_eq!(session.pending, session.rebuilding);
        last = session.epoch;
    }
    for round in 0..20 {
        queue.wipe().await.unwrap();
        let now = at(60 + round);
        let id = format!("w{round}");
        let session = queue.open_session(&device, &id, LEASE, now).await.unwrap();
        assert!(session.epoch > last && session.rebuilding && session.pending);
        last = session.epoch;
    }
    queue.wipe().await.unwrap();
}

/// Losses one behind the other, met by processes whose clocks differ by less than the time between
/// them: that is how far the promise goes (docs/redis.md).
async fn epochs_grow_through_wipes_with_clocks_apart(server: &str) {
    let queue = connect(&config(server)).await;
    let device = device(1);
    let mut last = 0;
    let mut open = async |id: String, now| {
        let opened = queue.open_session(&device, &id, LEASE, now).await.unwrap();
        assert!(opened.epoch > last, "{id}: {} after {last}", opened.epoch);
        last = opened.epoch;
    };
    for (set, between, apart) in [(0, 100_000, 90_000), (60, 1_000_000, 900_000)] {
        // Before the first loss, too, at the process that is ahead.
        let clock = |micros: i64| Timestamp::from_micros(at(set).as_micros() + micros);
        build_at(&queue, clock(-3_000_000)).await;
        open(format!("{set}-before"), clock(900_000)).await;
        for round in 0..20 {
            queue.wipe().await.unwrap();
            let ahead = (round + 1) % 2 * apart;
            let now = clock(round * between + ahead);
            for turn in 0..5 {
                // Who comes first sets where epochs begin: a session, or the rebuild; and some come
                // when it is done.
                if turn == round % 4 {
                    build_at(&queue, now).await;
                }
                open(format!("{set}-{round}-{turn}"), now).await;
            }
        }
    }
    queue.wipe().await.unwrap();
}

/// One of before the loss that goes on and ends says nothing of how high the others' epochs were.
async fn an_old_session_does_not_lower_where_epochs_begin_anew(server: &str) {
    for by_session in [true, false] {
        let queue = connect(&config(server)).await;
        build_at(&queue, at(-200)).await;
        let old = device(1);
        let fits = |serial: &usize| device(*serial).bucket() == old.bucket();
        let other = device((2..).find(fits).unwrap());
        let session = queue.open_session(&old, "old", LEASE, at(-100)).await;
        let epoch = session.unwrap().epoch;
        // By a process whose clock is ahead.
        let ahead = Timestamp::from_micros(at(0).as_micros() + 900_000);
        let before = queue.open_session(&other, "s1", LEASE, ahead).await;

        queue.wipe().await.unwrap();
        let task = pending();
        queue.enqueue(&old, task).await.unwrap();
        let renewed = queue.renew(&old, epoch, Some(task.task), LEASE, at(0));
        assert!(renewed.await.unwrap());
        queue.complete(&old, task.task).await.unwrap();
        queue.close_session(&old, epoch).await.unwrap();
        if !by_session {
            build_at(&queue, at(0)).await;
        }
        let after = queue.open_session(&other, "s2", LEASE, at(0)).await;
        let (before, after) = (before.unwrap().epoch, after.unwrap().epoch);
        assert!(after > before, "{after} after {before}");
        queue.wipe().await.unwrap();
    }
}

async fn idle_devices_leave_nothing_behind(server: &str) {
    let queue = connect(&config(server)).await;
    build(&queue).await;
    for serial in 0..500 {
        let session = queue
            .open_session(&device(serial), "s", LEASE, at(0))
            .await
            .unwrap();
        assert!(!session.pending && session.open == 0 && !session.rebuilding);
    }
    assert_eq!(queue.depth().await.unwrap(), hearth_queue::Depth::default());
    queue.wipe().await.unwrap();
}

/// As many as a device may have: no call may take long, for all others wait for it.
async fn a_device_with_a_thousand_tasks(server: &str) {
    let queue = connect(&config(server)).await;
    build(&queue).await;
    let device = device(1);
    let tasks: Vec<_> = (0..1000).map(|_| (device.clone(), pending())).collect();
    let bucket = device.bucket();
    assert!(
        queue
            .begin_rebuild(bucket, "a", LEASE, at(0))
            .await
            .unwrap()
    );
    assert!(
        queue
            .restore(bucket, "a", &tasks, LEASE, at(0))
            .await
            .unwrap()
    );
    assert!(queue.finish_rebuild(bucket, "a", at(0)).await.unwrap());
    let session = queue
        .open_session(&device, "s", LEASE, at(0))
        .await
        .unwrap();
    assert_eq!(session.open, 1000);
    let started = std::time::Instant::now();
    for (_, task) in tasks.iter().take(100) {
        let claim = queue
            .claim(&device, session.epoch, LEASE, None, at(0))
            .await;
        assert!(matches!(claim.unwrap(), Claim::Task { .. }));
        queue.complete(&device, task.task).await.unwrap();
    }
    println!(
        "claim and complete of one of 1000: {:?}",
        started.elapsed() / 100
    );
    queue.wipe().await.unwrap();
}

async fn buckets_are_compared_from_time_to_time(server: &str) {
    let queue = connect(&config(server)).await;
    build(&queue).await;
    assert_eq!(queue.suspects(EVERY, at(599)).await.unwrap(), []);
    let suspects = queue.suspects(EVERY, at(600)).await.unwrap();
    assert_eq!(suspects.len(), 64);
    assert!(suspects.iter().all(|suspect| !suspect.lost));
    queue.wipe().await.unwrap();
}

/// Another process of another version, or an operator, may throw the functions away.
async fn functions_that_are_gone_are_loaded_again(server: &str) {
    let queue = connect(&config(server)).await;
    build(&queue).await;
    let client = redis::Client::open(server).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let mut flush = redis::cmd("FUNCTION");
    let () = flush
        .arg("FLUSH")
        .query_async(&mut connection)
        .await
        .unwrap();
    let calls = (0..20).map(|_| queue.depth());
    futures::future::try_join_all(calls).await.unwrap();
    queue.wipe().await.unwrap();
}
