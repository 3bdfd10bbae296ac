//! The probe fails when sessions can't be opened, though the server answers what is read; and only then.

use super::server::{Server, cluster, program};
use super::{LEASE, at, config, connect, device, rebuild};
use hearth_queue::{Queue, RedisQueue};
use std::time::{Duration, Instant};
use tokio::time::sleep;

async fn opens(queue: &RedisQueue) -> bool {
    let opened = queue.open_session(&device(1), "s", LEASE, at(0)).await;
    opened.is_ok()
}

/// Sessions are refused and reads are not; why the probe says that it is so.
async fn refuses(queue: &RedisQueue) -> String {
    queue.depth().await.unwrap();
    assert!(!opens(queue).await);
    let refused = queue.probe().await.unwrap_err();
    println!("{refused:?}");
    format!("{refused:?}")
}

async fn works(queue: &RedisQueue) {
    queue.probe().await.unwrap();
    assert!(opens(queue).await);
}

#[tokio::test]
async fn a_server_that_takes_no_writes() {
    let Some(program) = program() else { return };
    let server = Server::start(&program, &["--save", "3600 1"]);
    let queue = connect(&config(server.url())).await;
    rebuild(&queue, &[]).await;
    works(&queue).await;
    let set = async |key: &str, value: &str| {
        server.ask(&["CONFIG", "SET", key, value]).await.unwrap();
    };

    set("min-replicas-to-write", "1").await;
    let why = refuses(&queue).await;
    assert!(why.contains("min-replicas-to-write"), "{why}");
    set("min-replicas-to-write", "0").await;
    works(&queue).await;

    // It can't write its snapshot, and so takes no more.
    server.lose_folder();
    // Refused at once, or in the background.
    let _ = server.ask(&["BGSAVE"]).await;
    let deadline = Instant::now() + Duration::from_secs(10);
    while queue.probe().await.is_ok() {
        assert!(Instant::now() < deadline, "writes are taken");
        sleep(Duration::from_millis(50)).await;
    }
    let why = refuses(&queue).await;
    assert!(why.contains("MISCONF"), "{why}");
    set("stop-writes-on-bgsave-error", "no").await;
    works(&queue).await;

    // Without memory new tasks are refused, and sessions go on.
    set("maxmemory", "1mb").await;
    works(&queue).await;
}

#[tokio::test]
async fn a_node_of_a_cluster_that_is_gone() {
    let Some(program) = program() else { return };
    let mut nodes = cluster(&program, 0, None).await;
    // So that the others answer for their own slots.
    for node in &nodes {
        let alone = ["CONFIG", "SET", "cluster-require-full-coverage", "no"];
        node.ask(&alone).await.unwrap();
    }
    let queue = connect(&config(nodes[1].url())).await;
    rebuild(&queue, &[]).await;
    queue.probe().await.unwrap();
    nodes[2].kill();
    // It can't say which devices are meant: most of them are not.
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(3) {
        queue.probe().await.unwrap();
        sleep(Duration::from_millis(100)).await;
    }
    for node in &mut nodes {
        node.kill();
    }
    queue.probe().await.unwrap_err();
}
