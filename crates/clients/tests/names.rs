//! Replicas that are found by a name, whose answers change.
#![allow(clippy::unwrap_used)]

mod common;

use async_trait::async_trait;
use common::fake::Fake;
use common::{Ca, Server, config, services, serving};
use hearth_clients::remote::{Options, Peer, Resolver, WorkflowClient};
use hearth_clients::{ServiceName, Workflow};
use hearth_proto::workflow::v1 as wf;
use hearth_telemetry::Registry;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

const NAME: &str = "workflow.test";

/// What names stand for, as the test says; without an entry it can't be told.
#[derive(Default)]
struct Names {
    answers: Mutex<HashMap<String, Vec<SocketAddr>>>,
    asked: watch::Sender<Vec<Instant>>,
}

impl Names {
    fn set(&self, host: &str, addresses: &[SocketAddr]) {
        self.answers
            .lock()
            .insert(host.to_owned(), addresses.to_vec());
    }

    fn fail(&self, host: &str) {
        self.answers.lock().remove(host);
    }

    /// Until names were asked for so often from now on that the last but one answer has had its effect.
    async fn have_effect(&self, names: usize) {
        let mut asked = self.asked.subscribe();
        let wanted = asked.borrow().len() + 2 * names + 1;
        let waited = asked.wait_for(|asked| asked.len() >= wanted);
        timeout(Duration::from_secs(10), waited)
            .await
            .unwrap()
            .unwrap();
    }
}

#[async_trait]
impl Resolver for Names {
    async fn look_up(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        assert_eq!(port, 7600);
        self.asked.send_modify(|asked| asked.push(Instant::now()));
        let answer = self.answers.lock().get(host).cloned();
        answer.ok_or_else(|| io::Error::other("the name server doesn't answer"))
    }
}

/// Replicas, and a client that finds them by names.
struct Found {
    names: Arc<Names>,
    services: Vec<Arc<Fake>>,
    servers: Vec<Server>,
    client: WorkflowClient,
}

impl Found {
    /// So many replicas; at first each of `hosts` stands for the replicas of these numbers.
    async fn new(replicas: usize, hosts: &[(&str, &[usize])]) -> Self {
        let (ca, mut config) = (Ca::new(), config());
        // One certificate, whatever the name.
        config.tls.server_name = Some(NAME.to_owned());
        let identity = ca.identity(NAME);
        let mut servers = Vec::new();
        let fakes: Vec<_> = (0..replicas).map(|_| Arc::new(Fake::default())).collect();
        for fake in &fakes {
            servers.push(Server::start(services(fake), Some(&identity), &config).await);
        }
        let names = Arc::new(Names::default());
        for (host, numbers) in hosts {
            let addresses: Vec<_> = numbers.iter().map(|n| servers[*n].address).collect();
            names.set(host, &addresses);
        }
        let options = Options::new(&config, Some(ca.identity("client")), &Registry::new());
        let options = options.unwrap().with_resolver(names.clone());
        let hosts: Vec<_> = hosts
            .iter()
            .map(|(host, _)| format!("{host}:7600"))
            .collect();
        let peer = Peer::new(ServiceName::Workflow, &hosts, &options).unwrap();
        Self {
            names,
            services: fakes,
            servers,
            client: WorkflowClient(peer),
        }
    }

    fn name(&self, host: &str, replicas: &[usize]) {
        let addresses: Vec<_> = replicas.iter().map(|n| self.servers[*n].address).collect();
        self.names.set(host, &addresses);
    }

    /// Makes so many calls, one after the other; how many of them each replica had.
    async fn calls(&self, count: usize) -> Vec<usize> {
        let had: Vec<_> = self.services.iter().map(|fake| fake.calls()).collect();
        for _ in 0..count {
            let request = wf::GetTaskRequest::default();
            self.client.get_task(request).await.unwrap();
        }
        let have = self.services.iter().map(|fake| fake.calls());
        have.zip(had).map(|(now, before)| now - before).collect()
    }

    /// Until so many replicas are known, all of them serving.
    async fn known(&self, count: usize) {
        let mut reach = self.client.0.reach();
        let waited = reach.wait_for(|reach| reach.known == count && reach.serving == count);
        timeout(Duration::from_secs(10), waited)
            .await
            .unwrap()
            .unwrap();
    }
}

#[tokio::test]
async fn calls_follow_a_name_whose_addresses_change() {
    let found = Found::new(2, &[(NAME, &[0])]).await;
    serving(&found.client.0, 1).await;
    assert_eq!(found.calls(20).await, [20, 0]);

    // Another replica comes: both have calls.
    found.name(NAME, &[0, 1]);
    found.known(2).await;
    let both = found.calls(100).await;
    assert!(both.iter().all(|calls| *calls > 20), "{both:?}");

    // The first one leaves the name while it works: it has no new calls, and ends what it has.
    for fake in &found.services {
        *fake.takes.lock() = Duration::from_secs(3);
    }
    let running: Vec<_> = (0..8)
        .map(|_| {
            let client = found.client.clone();
            // What may not be made again elsewhere.
            tokio::spawn(async move { client.cancel_task(wf::CancelTaskRequest::default()).await })
        })
        .collect();
    while found
        .services
        .iter()
        .map(|f| f.calls() - f.ended())
        .sum::<usize>()
        < 8
    {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let first = &found.services[0];
    assert!(first.calls() > first.ended(), "both have some of them");
    found.name(NAME, &[1]);
    found.known(1).await;
    assert!(first.calls() > first.ended(), "they still run");
    for fake in &found.services {
        *fake.takes.lock() = Duration::ZERO;
    }
    assert_eq!(found.calls(20).await, [0, 20]);
    for call in running {
        call.await.unwrap().unwrap();
    }
    assert_eq!(first.calls(), first.ended());

    // Back again, alone.
    found.name(NAME, &[0]);
    found.names.have_effect(1).await;
    found.known(1).await;
    assert_eq!(found.calls(20).await, [20, 0]);
}

#[tokio::test]
async fn who_was_known_is_asked_on_while_a_name_says_nothing() {
    let found = Found::new(2, &[(NAME, &[1])]).await;
    serving(&found.client.0, 1).await;
    found.names.fail(NAME);
    found.names.have_effect(1).await;
    assert_eq!(found.calls(10).await, [0, 10], "it can't be looked up");
    found.name(NAME, &[]);
    found.names.have_effect(1).await;
    assert_eq!(found.calls(10).await, [0, 10], "it stands for nothing");
    // Of no use to those who were never found: they say why.
    let nobody = Found::new(0, &[(NAME, &[])]).await;
    let refused = nobody.client.get_task(wf::GetTaskRequest::default());
    refused.await.unwrap_err();
    let reason = nobody.client.0.reach().borrow().reason.clone();
    assert_eq!(reason, "workflow.test has no address");
}

#[tokio::test]
async fn a_name_that_fails_keeps_nobody_that_another_name_lets_go() {
    let found = Found::new(3, &[(NAME, &[0]), ("others.test", &[1])]).await;
    found.known(2).await;
    found.names.fail(NAME);
    found.name("others.test", &[2]);
    found.names.have_effect(2).await;
    found.known(2).await;
    let calls = found.calls(60).await;
    assert!(calls[0] > 10 && calls[1] == 0 && calls[2] > 10, "{calls:?}");
}

#[tokio::test(start_paused = true)]
async fn processes_look_names_up_at_different_moments() {
    let names = Arc::new(Names::default());
    let options = Options::new(&config(), None, &Registry::new());
    let options = options.unwrap().with_resolver(names.clone());
    let hosts = [format!("{NAME}:7600")];
    let _peer = Peer::new(ServiceName::Workflow, &hosts, &options).unwrap();
    let mut asked = names.asked.subscribe();
    let asked = asked.wait_for(|asked| asked.len() > 50).await.unwrap();
    let gaps: Vec<_> = asked.windows(2).map(|two| two[1] - two[0]).collect();
    let (least, most) = (gaps.iter().min().unwrap(), gaps.iter().max().unwrap());
    assert!(*least >= Duration::from_millis(160), "{gaps:?}");
    assert!(*most <= Duration::from_millis(242), "{gaps:?}");
    assert!(*most - *least > Duration::from_millis(40), "{gaps:?}");
}
