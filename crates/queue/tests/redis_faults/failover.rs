//! Another server takes over: a replica that Sentinels or an operator promote, a node of a cluster that a slot moves to.

use super::refused::refusal;
use super::server::{self, SLOTS, Server, program, until};
use super::{
    LEASE, at, cluster, config, connect, device, fails_within, pending, rebuild, recovers,
};
use hearth_queue::{Enqueue, Error, Queue, RedisConfig, RedisQueue, conformance};
use hearth_types::DeviceKey;
use std::{
    cell::Cell,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::time::sleep;

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

/// Three Sentinels of which two must agree; one dies with the primary.
#[tokio::test]
async fn a_failover_by_sentinels() {
    let Some(program) = program() else { return };
    let mut primary = Server::start(&program, &[]);
    let port = primary.port;
    let replica = Server::start(&program, &["--replicaof", &format!("127.0.0.1 {port}")]);
    replica.says("master_link_status", "up").await;
    let sentinel = |_| Server::sentinel(&program, "hearth", port, 2, None);
    let mut sentinels = [0; 3].map(sentinel);
    let config = RedisConfig {
        sentinel_group: Some("hearth".into()),
        nodes: sentinels.iter().map(Server::url).collect(),
        ..config(String::new())
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
    for sentinel in &sentinels {
        sentinel.watches("hearth", 1, 2).await;
    }
    until("the replica has all", async || {
        let all = primary.info("master_repl_offset").await;
        replica.info("slave_repl_offset").await == all
    })
    .await;
    primary.kill();
    sentinels[0].kill();
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

/// Calls for many devices, one after another, whatever happens meanwhile: what is refused is asked for again.
struct Load<'a> {
    queue: &'a RedisQueue,
    made: Cell<usize>,
    refused: Cell<usize>,
    longest: Cell<Duration>,
    stop: Cell<bool>,
}

impl<'a> Load<'a> {
    const DEVICES: usize = 500;

    fn new(queue: &'a RedisQueue) -> Self {
        Self {
            queue,
            made: Cell::default(),
            refused: Cell::default(),
            longest: Cell::default(),
            stop: Cell::default(),
        }
    }

    /// Goes on until it is stopped; the tasks that were taken.
    async fn run(&self) -> Vec<(DeviceKey, Enqueue)> {
        let mut ledger = Vec::new();
        let mut epochs = vec![0; Self::DEVICES];
        while !self.stop.get() {
            let serial = ledger.len() % Self::DEVICES;
            let (device, task) = (device(serial), pending());
            self.insist(async || self.queue.enqueue(&device, task).await)
                .await;
            let session = ledger.len().to_string();
            let opened = self
                .insist(async || {
                    let opened = self.queue.open_session(&device, &session, LEASE, at(0));
                    opened.await
                })
                .await;
            assert!(opened.epoch > epochs[serial], "epochs grow");
            assert!(!opened.rebuilding, "nothing is lost");
            epochs[serial] = opened.epoch;
            ledger.push((device, task));
            self.made.set(ledger.len());
        }
        ledger
    }

    async fn insist<T>(&self, ask: impl AsyncFn() -> Result<T, Error>) -> T {
        let started = Instant::now();
        loop {
            match ask().await {
                Ok(answer) => {
                    let took = started.elapsed();
                    self.longest.set(self.longest.get().max(took));
                    return answer;
                }
                Err(error) => {
                    assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
                    assert!(started.elapsed() < Duration::from_secs(20), "{error:?}");
                    self.refused.set(self.refused.get() + 1);
                    sleep(Duration::from_millis(20)).await;
                }
            }
        }
    }

    /// Waits until each device has been seen again.
    async fn goes_on(&self) {
        let enough = self.made.get() + Self::DEVICES;
        until("calls go on", async || self.made.get() >= enough).await;
    }

    /// Does `fault` while it runs; all that was taken must be there.
    async fn through(&self, fault: impl AsyncFnOnce()) -> Vec<(DeviceKey, Enqueue)> {
        let faulty = async {
            self.goes_on().await;
            fault().await;
            self.goes_on().await;
            self.stop.set(true);
        };
        let (ledger, ()) = tokio::join!(self.run(), faulty);
        println!(
            "{} tasks, {} calls refused, the longest took {:?}",
            ledger.len(),
            self.refused.get(),
            self.longest.get()
        );
        let open = self.queue.depth().await.unwrap().open;
        assert_eq!(usize::try_from(open).unwrap(), ledger.len());
        for (device, task) in &ledger {
            assert!(self.queue.contains(device, task.task).await.unwrap());
        }
        ledger
    }
}

#[tokio::test]
async fn a_replica_of_a_cluster_takes_over_while_calls_go_on() {
    let Some(program) = program() else { return };
    let nodes = server::cluster(&program, 1, None).await;
    let queue = connect(&config(nodes[0].url())).await;
    assert_eq!(rebuild(&queue, &[]).await, (64, 64));
    let load = Load::new(&queue);
    let ledger = load
        .through(async || {
            nodes[3].ask(&["CLUSTER", "FAILOVER"]).await.unwrap();
            nodes[3].says("role", "master").await;
            nodes[2].says("role", "slave").await;
        })
        .await;
    // What the new one has may be older: its buckets are compared.
    let (lost, suspect) = rebuild(&queue, &ledger).await;
    assert!(
        lost == 0 && (5..40).contains(&suspect),
        "{lost} of {suspect}"
    );
}

/// As `redis-cli --cluster reshard` does it. While it is on its way a slot is at neither node whole (TRYAGAIN), then at
/// the other one (ASK), and then there for good (MOVED).
#[tokio::test]
async fn a_slot_moves_to_another_node_while_calls_go_on() {
    let Some(program) = program() else { return };
    let nodes = cluster(&program).await;
    let queue = connect(&config(nodes[0].url())).await;
    assert_eq!(rebuild(&queue, &[]).await, (64, 64));
    let key = format!("{{h1:hearth:{}}}m", device(7).bucket());
    let slot = nodes[0].ask(&["CLUSTER", "KEYSLOT", &key]).await.unwrap();
    let slot: u16 = redis::from_redis_value(slot).unwrap();
    let owner = SLOTS.iter().position(|(_, last)| slot <= *last).unwrap();
    let (from, to) = (&nodes[owner], &nodes[(owner + 1) % SLOTS.len()]);
    let load = Load::new(&queue);
    let ledger = load.through(async || move_slot(slot, from, to).await).await;
    assert!(queue.peek(&device(7), at(0)).await.unwrap().open > 0);
    let kept = to.ask(&["EXISTS", &key]).await.unwrap();
    assert_eq!(kept, redis::Value::Int(1), "it is at the other node");
    // That node is not the one that the bucket was built on.
    assert_eq!(rebuild(&queue, &ledger).await, (0, 1));
}

async fn move_slot(slot: u16, from: &Server, to: &Server) {
    let slot = slot.to_string();
    let (source, target) = (
        from.text(&["CLUSTER", "MYID"]).await,
        to.text(&["CLUSTER", "MYID"]).await,
    );
    let set = async |node: &Server, state: &str, id: &str| {
        let words = ["CLUSTER", "SETSLOT", &slot, state, id];
        node.ask(&words).await.unwrap();
    };
    set(to, "IMPORTING", &source).await;
    set(from, "MIGRATING", &target).await;
    sleep(Duration::from_millis(100)).await;
    loop {
        let keys = ["CLUSTER", "GETKEYSINSLOT", &slot, "100"];
        let keys: Vec<String> = redis::from_redis_value(from.ask(&keys).await.unwrap()).unwrap();
        if keys.is_empty() {
            break;
        }
        let port = to.port.to_string();
        let mut words = vec!["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "KEYS"];
        words.extend(keys.iter().map(String::as_str));
        from.ask(&words).await.unwrap();
    }
    sleep(Duration::from_millis(100)).await;
    set(to, "NODE", &target).await;
    set(from, "NODE", &target).await;
}
