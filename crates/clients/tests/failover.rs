//! Replicas that die, hang, refuse or are strangers.
#![allow(clippy::unwrap_used)]

mod common;

use common::fake::Fake;
use common::{Ca, Link, Mode, Server, config, peer, services, serving};
use hearth_clients::remote::WorkflowClient;
use hearth_clients::{Identity, InternalConfig, Kind, ServiceName, Workflow};
use hearth_config::HumanDuration;
use hearth_proto::workflow::v1 as wf;
use hearth_telemetry::Registry;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Two replicas behind links, and a client of both.
struct Pair {
    links: [Link; 2],
    servers: [Server; 2],
    services: [Arc<Fake>; 2],
    client: WorkflowClient,
    registry: Registry,
}

impl Pair {
    async fn new() -> Self {
        Self::with(config()).await
    }

    async fn with(config: InternalConfig) -> Self {
        let ca = Ca::new();
        let fakes = [Arc::new(Fake::default()), Arc::new(Fake::default())];
        let identity = ca.identity("server");
        let servers = [
            Server::start(services(&fakes[0]), Some(&identity), &config).await,
            Server::start(services(&fakes[1]), Some(&identity), &config).await,
        ];
        let links = [
            Link::to(servers[0].address).await,
            Link::to(servers[1].address).await,
        ];
        let addresses = [links[0].address, links[1].address];
        let registry = Registry::new();
        let peer = peer(
            ServiceName::Workflow,
            &addresses,
            Some(ca.identity("client")),
            &config,
            &registry,
        );
        serving(&peer, 2).await;
        Self {
            links,
            servers,
            services: fakes,
            client: WorkflowClient(peer),
            registry,
        }
    }

    /// A call that may be repeated.
    async fn read(&self) -> hearth_clients::Result<wf::GetTaskResponse> {
        self.client.get_task(wf::GetTaskRequest::default()).await
    }

    /// Which replica has a call, as soon as one has.
    async fn called(&self) -> usize {
        loop {
            if let Some(at) = self.calls().iter().position(|calls| *calls > 0) {
                return at;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn calls(&self) -> [usize; 2] {
        [self.services[0].calls(), self.services[1].calls()]
    }
}

#[tokio::test]
async fn calls_are_shared_and_a_dead_replica_is_left() {
    let pair = Pair::new().await;
    for _ in 0..100 {
        pair.read().await.unwrap();
    }
    let [first, second] = pair.calls();
    assert!(first > 20 && second > 20, "{first} {second}");
    pair.links[0].set(Mode::Cut);
    for _ in 0..50 {
        pair.read().await.unwrap();
    }
    serving(&pair.client.0, 1).await;
    pair.links[0].set(Mode::Open);
    serving(&pair.client.0, 2).await;
    let before = pair.calls();
    for _ in 0..50 {
        pair.read().await.unwrap();
    }
    assert!(
        pair.calls()[0] > before[0],
        "it is used again when it is back"
    );
}

#[tokio::test]
async fn a_replica_that_hangs_holds_nobody_up() {
    let pair = Pair::new().await;
    pair.links[1].set(Mode::Frozen);
    let started = Instant::now();
    for _ in 0..20 {
        pair.read().await.unwrap();
    }
    assert!(
        started.elapsed() < Duration::from_secs(2),
        "{:?}",
        started.elapsed()
    );
    serving(&pair.client.0, 1).await;
    let started = Instant::now();
    for _ in 0..20 {
        pair.read().await.unwrap();
    }
    assert!(
        started.elapsed() < Duration::from_millis(250),
        "{:?}",
        started.elapsed()
    );
    // Both: no call waits for its deadline once that is known.
    pair.links[0].set(Mode::Frozen);
    let mut reach = pair.client.0.reach();
    reach.wait_for(|reach| reach.usable == 0).await.unwrap();
    let started = Instant::now();
    let error = pair.read().await.unwrap_err();
    assert_eq!(error.kind, Kind::Unavailable);
    assert!(
        started.elapsed() < Duration::from_millis(100),
        "{:?}",
        started.elapsed()
    );
    let reason = pair.client.0.reach().borrow().reason.clone();
    assert!(
        reason.contains("no answer"),
        "an operator reads why: {reason}"
    );
}

#[tokio::test]
async fn what_may_have_been_done_is_not_done_again() {
    let pair = Pair::new().await;
    for service in &pair.services {
        *service.takes.lock() = Duration::from_millis(400);
    }
    let call = pair.client.cancel_task(wf::CancelTaskRequest::default());
    let cut = async {
        let at = pair.called().await;
        pair.links[at].set(Mode::Cut);
    };
    let (ended, ()) = tokio::join!(call, cut);
    assert_eq!(ended.unwrap_err().kind, Kind::Unavailable);
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(pair.calls().iter().sum::<usize>(), 1);
    assert_eq!(
        pair.services.iter().map(|s| s.ended()).sum::<usize>(),
        1,
        "it ran to its end all the same"
    );
}

#[tokio::test]
async fn a_call_with_a_key_is_made_again() {
    let pair = Pair::new().await;
    for service in &pair.services {
        *service.takes.lock() = Duration::from_millis(200);
    }
    let request = wf::CreateTaskRequest {
        idempotency_key: "k".into(),
        ..Default::default()
    };
    let cut = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let at = pair
            .services
            .iter()
            .position(|service| service.calls() > 0)
            .unwrap();
        pair.links[at].set(Mode::Cut);
    };
    let (made, ()) = tokio::join!(pair.client.create_task(request), cut);
    assert!(made.unwrap().existed);
    assert_eq!(pair.calls(), [1, 1]);
}

#[tokio::test]
async fn a_full_or_leaving_replica_sends_calls_elsewhere() {
    let mut full = config();
    full.max_requests = 1;
    let pair = Pair::with(full).await;
    for service in &pair.services {
        *service.takes.lock() = Duration::from_millis(300);
    }
    // Two at once that must not be repeated: each replica has room for one, and refuses before it begins.
    let once = || pair.client.cancel_task(wf::CancelTaskRequest::default());
    let (a, b) = tokio::join!(once(), once());
    a.unwrap();
    b.unwrap();
    assert_eq!(pair.calls(), [1, 1]);
    for service in &pair.services {
        *service.takes.lock() = Duration::ZERO;
    }
    pair.servers[0].serving(ServiceName::Workflow, false).await;
    serving(&pair.client.0, 1).await;
    for _ in 0..10 {
        once().await.unwrap();
    }
    assert_eq!(pair.calls(), [1, 11]);
}

#[tokio::test]
async fn retries_stay_within_their_budget() {
    let mut config = config();
    config.try_timeout = HumanDuration::millis(200);
    config.call_timeout = HumanDuration::secs(2);
    // Other tests take the processor too: health is not what this is about.
    config.probe_interval = HumanDuration::secs(20);
    // Health stays good, every call hangs: each would be made three times.
    let pair = Pair::with(config).await;
    for service in &pair.services {
        *service.takes.lock() = Duration::from_secs(60);
    }
    let calls = (0..100).map(|_| pair.read());
    let ended = futures::future::join_all(calls).await;
    assert!(ended.iter().all(Result::is_err));
    let made: usize = pair.calls().iter().sum();
    assert!((101..=125).contains(&made), "{made} tries of 100 calls");
    let text = pair.registry.render();
    assert!(
        text.contains("hearth_internal_client_retries_total"),
        "{text}"
    );
}

/// Whether a client of this identity reaches a server of that one, and why not.
async fn reaches(client: Option<Identity>, server: &Identity) -> Result<(), String> {
    let service = Arc::new(Fake::default());
    let server = Server::start(services(&service), Some(server), &config()).await;
    reaches_server(client, server.address).await
}

async fn reaches_server(client: Option<Identity>, server: SocketAddr) -> Result<(), String> {
    let registry = Registry::new();
    let peer = peer(
        ServiceName::Workflow,
        &[server],
        client,
        &config(),
        &registry,
    );
    let mut reach = peer.reach();
    let answered =
        reach.wait_for(|reach| reach.serving == 1 || reach.known == 1 && reach.usable == 0);
    let reach = tokio::time::timeout(Duration::from_secs(10), answered)
        .await
        .unwrap()
        .unwrap()
        .clone();
    if reach.serving == 1 {
        let called = WorkflowClient(peer.clone())
            .get_task(wf::GetTaskRequest::default())
            .await;
        return called.map(drop).map_err(|error| error.message);
    }
    Err(reach.reason)
}

#[tokio::test]
async fn strangers_are_refused_on_both_sides() {
    let (ours, theirs) = (Ca::new(), Ca::new());
    let server = ours.identity("server");
    reaches(Some(ours.identity("client")), &server)
        .await
        .unwrap();
    // Another CA's client; it doesn't trust the server either.
    let refused = reaches(Some(theirs.identity("client")), &server)
        .await
        .unwrap_err();
    assert!(
        refused.contains("UnknownIssuer") || refused.contains("certificate"),
        "{refused}"
    );
    // One that trusts the server, with a certificate of another CA: the server refuses.
    let dir = tempfile::tempdir().unwrap();
    let sly = IdentityOf::new(&theirs, dir.path(), &[&theirs, &ours]);
    reaches(Some(sly.0), &server).await.unwrap_err();
    // Without TLS.
    reaches(None, &server).await.unwrap_err();
    // A name that isn't the server's.
    let mut named = config();
    named.tls.server_name = Some("elsewhere".into());
    let service = Arc::new(Fake::default());
    let running = Server::start(services(&service), Some(&server), &config()).await;
    let registry = Registry::new();
    let peer = peer(
        ServiceName::Workflow,
        &[running.address],
        Some(ours.identity("c")),
        &named,
        &registry,
    );
    let mut reach = peer.reach();
    let refused = reach
        .wait_for(|reach| reach.known == 1 && reach.usable == 0)
        .await
        .unwrap()
        .reason
        .clone();
    assert!(refused.contains("elsewhere"), "{refused}");
}

struct IdentityOf(Identity);

impl IdentityOf {
    fn new(ca: &Ca, dir: &std::path::Path, trusts: &[&Ca]) -> Self {
        // Loading checks the own certificate against the trusted ones.
        Self(Identity::load(ca.issue(dir, "client", trusts)).unwrap())
    }
}

#[tokio::test]
async fn certificates_change_without_a_restart() {
    let (old, new) = (Ca::new(), Ca::new());
    let dir = tempfile::tempdir().unwrap();
    let server = IdentityOf::new(&old, dir.path(), &[&old]).0;
    let service = Arc::new(Fake::default());
    let running = Server::start(services(&service), Some(&server), &config()).await;
    let of_old = || Some(old.identity("client"));
    let both_dir = tempfile::tempdir().unwrap();
    let of_new = || Some(IdentityOf::new(&new, both_dir.path(), &[&new, &old]).0);
    reaches_server(of_old(), running.address).await.unwrap();
    reaches_server(of_new(), running.address).await.unwrap_err();
    // First both CAs are trusted, then certificates are of the new one, then the old one goes.
    old.issue(dir.path(), "server", &[&old, &new]);
    assert!(server.reload().unwrap());
    assert!(!server.reload().unwrap(), "the same again is no change");
    reaches_server(of_old(), running.address).await.unwrap();
    reaches_server(of_new(), running.address).await.unwrap();
    new.issue(dir.path(), "server", &[&new]);
    assert!(server.reload().unwrap());
    reaches_server(of_new(), running.address).await.unwrap();
    reaches_server(of_old(), running.address).await.unwrap_err();
    // Files halfway replaced change nothing.
    std::fs::write(dir.path().join("tls.key"), "").unwrap();
    assert!(server.reload().is_err());
    reaches_server(of_new(), running.address).await.unwrap();
}
