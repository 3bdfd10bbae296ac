//! The cluster as the subject, with a command that only writes down what it is asked.
#![allow(clippy::unwrap_used)]

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use super::*;
use crate::faults::catalogue::Fault;
use crate::faults::proxy::{Proxy, Route};

struct Fake {
    dir: PathBuf,
}

impl Fake {
    /// A cluster of a gateway, two Valkey servers, a sentinel and a front, all in this state.
    fn new(name: &str, state: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("hearth-faults-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let member = |name: &str, kind: &str, ports: serde_json::Value| {
            let log = dir.join(format!("{name}.log"));
            std::fs::write(&log, "an earlier run panicked at x\n").unwrap();
            serde_json::json!({
                "name": name, "kind": kind, "role": null, "pid": 1, "state": state,
                "address": "127.0.0.1", "ports": ports, "folder": dir.join(name), "log": log,
            })
        };
        let client = || serde_json::json!({"client": 1});
        let members = [
            member(
                "gateway-1",
                "hearth",
                serde_json::json!({"admin": 1, "cwmp": 2}),
            ),
            member("valkey-1", "valkey", client()),
            member("valkey-2", "valkey", client()),
            member("sentinel-1", "sentinel", client()),
            member(
                "front",
                "haproxy",
                serde_json::json!({"cwmp": 7547, "api": 8080}),
            ),
        ];
        std::fs::write(dir.join("status"), serde_json::json!(members).to_string()).unwrap();
        let script = "#!/bin/sh\ncd \"$(dirname \"$0\")\"\n\
             case $1 in status) cat status ;; *) echo \"$*\" >>asked ;; esac\n\
             [ \"$2\" != nobody ] || { echo 'there is no nobody' >&2; exit 1; }\n";
        let command = dir.join("cluster");
        std::fs::write(&command, script).unwrap();
        std::fs::set_permissions(&command, std::fs::Permissions::from_mode(0o700)).unwrap();
        Self { dir }
    }

    async fn open(&self, proxy: Option<String>) -> Result<Cluster> {
        Cluster::open(&self.dir.join("cluster"), None, proxy).await
    }

    fn asked(&self) -> String {
        std::fs::read_to_string(self.dir.join("asked")).unwrap_or_default()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.dir).ok();
    }
}

#[tokio::test]
async fn the_command_is_asked_by_its_own_names() {
    let fake = Fake::new("names", "healthy");
    let mut cluster = fake.open(None).await.unwrap();
    assert_eq!(cluster.members(), ["gateway-1", "redis-1", "redis-2"]);
    let front = cluster.front();
    assert_eq!(front.acs, "http://127.0.0.1:7547/");
    assert!(front.token.ends_with("secrets/admin.token"));
    let member = |name: &str| name.to_owned();
    for action in [
        Action::Kill(member("redis-2")),
        Action::Start(member("redis-2")),
        Action::Pause(member("gateway-1")),
    ] {
        cluster.act(&action).await.unwrap();
    }
    assert_eq!(
        fake.asked(),
        "kill valkey-2\nstart valkey-2\npause gateway-1\n"
    );
    let refused = cluster.act(&Action::Kill(member("nobody"))).await;
    assert!(
        refused
            .unwrap_err()
            .to_string()
            .contains("there is no nobody")
    );
    // Nobody listens there.
    assert!(!cluster.ready().await);
    assert_eq!(cluster.primary(&[member("redis-1")]).await, None);
    let fill = cluster.act(&Action::Fill(member("redis-1"))).await;
    assert!(fill.is_err());
}

#[tokio::test]
async fn only_what_is_new_in_the_logs_counts() {
    let fake = Fake::new("logs", "healthy");
    let mut cluster = fake.open(None).await.unwrap();
    assert!(cluster.accidents().await.is_empty());
    let log = fake.dir.join("gateway-1.log");
    let earlier = std::fs::read_to_string(&log).unwrap();
    std::fs::write(&log, earlier + "thread 'main' panicked at lib.rs\nfine\n").unwrap();
    let accidents = cluster.accidents().await;
    assert_eq!(accidents.len(), 1, "{accidents:?}");
    assert!(accidents[0].contains("lib.rs"));
    assert!(cluster.accidents().await.is_empty());
}

#[tokio::test]
async fn a_cluster_that_is_not_whole_is_not_tested() {
    let fake = Fake::new("stopped", "stopped");
    let error = fake.open(None).await.err().unwrap().to_string();
    assert!(
        error.contains("gateway-1 of the cluster is stopped"),
        "{error}"
    );
}

#[tokio::test]
async fn links_are_the_proxys() {
    let fake = Fake::new("links", "healthy");
    let route: Route = "redis-1=127.0.0.1:0=127.0.0.1:1".parse().unwrap();
    let proxy = Proxy::start(&[route]).await.unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap().to_string();
    tokio::spawn(control::serve(listener, proxy.clone()));
    let mut cluster = fake.open(Some(at)).await.unwrap();
    assert_eq!(cluster.links(), ["redis-1"]);
    let faults = Fault::table(&cluster.members(), &cluster.links());
    assert!(faults.iter().any(|fault| fault.name() == "silent-redis"));
    let late = Mode::Delay(Duration::from_millis(7));
    for mode in [Mode::Cut, Mode::Silent, Mode::Open, late] {
        let action = Action::Link("redis".to_owned(), mode);
        cluster.act(&action).await.unwrap();
        assert_eq!(proxy.routes().next().unwrap().3, mode);
    }
}

/// With a cluster that runs (`scripts/cluster start --servers-only` is enough): its members are
/// killed, held, emptied and started, and it is ready again.
#[tokio::test]
async fn a_real_cluster_is_broken_and_mended() {
    let Some(command) = std::env::var_os("HEARTH_TEST_CLUSTER") else {
        println!("SKIPPED: HEARTH_TEST_CLUSTER is not set");
        return;
    };
    let mut cluster = Cluster::open(Path::new(&command), None, None)
        .await
        .unwrap();
    let members = cluster.members();
    let of = |group: &str| -> Vec<String> {
        let of = members.iter().filter(|name| name.starts_with(group));
        of.cloned().collect()
    };
    let primary = cluster.primary(&of("redis")).await.unwrap();
    cluster.act(&Action::Flush(primary.clone())).await.unwrap();
    cluster.act(&Action::Fill(primary.clone())).await.unwrap();
    let drain = Action::Drain(vec![primary.clone()]);
    cluster.act(&drain).await.unwrap();
    for (member, broken) in [(of("nats")[0].clone(), true), (primary, false)] {
        let (begin, end) = match broken {
            true => (Action::Kill(member.clone()), Action::Start(member)),
            false => (Action::Pause(member.clone()), Action::Resume(member)),
        };
        assert!(cluster.ready().await, "before {begin:?}");
        cluster.act(&begin).await.unwrap();
        // A held member's kernel still takes connections.
        assert_eq!(cluster.ready().await, !broken, "{begin:?}");
        cluster.act(&end).await.unwrap();
        let until = std::time::Instant::now() + Duration::from_secs(60);
        while !cluster.ready().await {
            assert!(std::time::Instant::now() < until, "not ready after {end:?}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
    let nats = of("nats")[0].clone();
    let full = cluster.act(&Action::Fill(nats.clone())).await;
    match full {
        // Only a small disk of its own is filled.
        Err(error) => assert!(
            format!("{error:#}").contains("not for filling"),
            "{error:#}"
        ),
        Ok(()) => cluster.act(&Action::Drain(vec![nats])).await.unwrap(),
    }
    assert_eq!(cluster.accidents().await, [""; 0]);
}
