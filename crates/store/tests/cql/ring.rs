//! Three nodes of which one is silent.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use futures::future::join_all;
use hearth_config::HumanDuration;
use hearth_store::{CqlConfig, CqlStore, Store};
use hearth_telemetry::Registry;

use super::support::{HISTORY, Keyspace, device, value};

/// Where the nodes of one cluster are; says so when there is none.
pub fn ring() -> Option<Vec<String>> {
    let ring = std::env::var("HEARTH_TEST_CQL_RING").ok();
    if ring.is_none() {
        eprintln!(
            "SKIPPED: HEARTH_TEST_CQL_RING is not set (host:port of each node of one cluster, comma-separated)"
        );
    }
    let nodes = ring?.split(',').map(str::to_owned).collect();
    Some(nodes)
}

/// The process on this machine that listens there (Linux).
fn process_at(node: &str) -> Option<String> {
    let SocketAddr::V4(node) = node.parse().ok()? else {
        return None;
    };
    let bytes = node.ip().octets().into_iter().rev();
    let ip: String = bytes.map(|byte| format!("{byte:02X}")).collect();
    // Also as an address of IPv6, which ends with it.
    let address = format!("{ip}:{:04X}", node.port());
    let sockets = ["tcp", "tcp6"].map(|kind| fs::read_to_string(format!("/proc/net/{kind}")));
    let sockets: String = sockets.into_iter().flatten().collect();
    let socket = sockets.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let listens = words.get(1)?.ends_with(&address) && *words.get(3)? == "0A";
        listens.then(|| format!("socket:[{}]", words[9]))
    })?;
    let has_it = |process: &fs::DirEntry| {
        let files = fs::read_dir(process.path().join("fd"))
            .into_iter()
            .flatten();
        let mut targets = files.flatten().map(|file| fs::read_link(file.path()));
        targets.any(|target| target.is_ok_and(|target| target.as_os_str() == socket.as_str()))
    };
    let process = fs::read_dir("/proc").ok()?.flatten().find(has_it)?;
    process.file_name().into_string().ok()
}

/// A process that is held until this goes.
struct Held(String);

impl Held {
    fn new(process: String) -> Self {
        let held = Self(process);
        held.signal("-STOP");
        held
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.0]).status();
        assert!(sent.unwrap().success());
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.signal("-CONT");
    }
}

/// How long the slowest of many reads took, and how many failed.
async fn slowest(store: &CqlStore) -> (Duration, usize) {
    let reads = (0..60).map(|n| async move {
        let started = Instant::now();
        let read = store.parameters(&device(n), "", None, 9).await;
        (started.elapsed(), read.is_ok_and(|found| found.len() == 1))
    });
    let reads = join_all(reads).await;
    let failed = reads.iter().filter(|(_, good)| !good).count();
    let slowest = reads.iter().map(|(took, _)| *took).max();
    (slowest.unwrap_or_default(), failed)
}

/// A node that was asked and is silent is not waited for: another one is asked as well, and answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_go_on_while_a_node_is_silent() {
    let Some(nodes) = ring() else { return };
    let Some(process) = process_at(&nodes[2]) else {
        eprintln!(
            "SKIPPED: the process of {} is not to be found here",
            nodes[2]
        );
        return;
    };
    let keyspace = Keyspace::new(&nodes[0]).await;
    let config = CqlConfig {
        nodes: nodes.clone(),
        connect_timeout: HumanDuration::secs(60),
        request_timeout: HumanDuration::secs(6),
        ..keyspace.config()
    };
    let patient = CqlConfig {
        speculative_delay: HumanDuration::millis(0),
        ..config.clone()
    };
    let registry = Registry::new;
    let store = CqlStore::connect(&config, HISTORY, &registry()).await;
    let waits = CqlStore::connect(&patient, HISTORY, &registry()).await;
    let (store, waits) = (store.unwrap(), waits.unwrap());
    for n in 0..60 {
        let written = vec![value(&device(n), "Device.X".into(), 1, "x")];
        store.write(written).await.unwrap();
    }
    // Those that are asked ask each other; how long they wait for a silent one is theirs. They look at this setting
    // once in their `read_request_timeout` (10 s), and wait for half of that as long as they have not.
    keyspace
        .run("ALTER TABLE $.parameter WITH speculative_retry = '20ms'")
        .await;
    tokio::time::sleep(Duration::from_secs(12)).await;
    for store in [&store, &waits] {
        slowest(store).await;
    }
    let (before, failed) = slowest(&store).await;
    assert_eq!(failed, 0, "all is there");
    let held = Held::new(process);
    let (found, waited) = tokio::join!(slowest(&store), slowest(&waits));
    drop(held);
    eprintln!("slowest read and failures: {before:?} before, {found:?} with a silent node");
    eprintln!("without a second request: {waited:?}");
    // A silent node is given up after 3 s at the earliest.
    let enough = Duration::from_millis(2500);
    assert!(found.1 == 0 && found.0 < enough, "{found:?}");
    assert!(waited.0 > enough, "the node was not asked: {waited:?}");
    keyspace.drop().await;
}
