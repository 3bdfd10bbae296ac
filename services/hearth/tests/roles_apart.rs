//! Every role in a process of its own, as far as processes go within a test: servers that share nothing but NATS, Redis,
//! CQL and certificates. Real servers are named by `HEARTH_TEST_NATS`, `HEARTH_TEST_REDIS` and `HEARTH_TEST_CQL`
//! (`scripts/servers`); without them the test is skipped.
#![allow(clippy::unwrap_used)]

use hearth_config::{ByteSize, HumanDuration};
use hearth_runtime::{Readiness, Shutdown};
use hearth_server::cli::{CaCommand, KeyFile, KeysCommand};
use hearth_server::config::HearthConfig;
use hearth_server::roles::Role;
use hearth_server::server::{Addresses, Server};
use hearth_server::{ca, demo, keys};
use hearth_sim::FleetOptions;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// One process.
struct Process {
    addresses: Addresses,
    readiness: Readiness,
    onboarding: Option<(String, hearth_auth::SecretString)>,
    token: Option<hearth_auth::ApiToken>,
    stop: Shutdown,
    serving: JoinHandle<anyhow::Result<()>>,
}

impl Process {
    async fn start(common: &HearthConfig, roles: &[Role]) -> Self {
        let config = HearthConfig {
            roles: roles.to_vec(),
            ..common.clone()
        };
        let server = Server::build(&config).await.unwrap();
        let stop = Shutdown::new();
        let onboarding = server.onboarding.as_ref();
        let process = Self {
            addresses: server.addresses,
            readiness: server.readiness(),
            onboarding: onboarding.map(|made| (made.username.clone(), made.password.clone())),
            token: server.admin_token.clone(),
            stop: stop.clone(),
            serving: tokio::spawn(server.run(stop)),
        };
        let ready = process.readiness.wait_all_ready();
        if timeout(Duration::from_secs(60), ready).await.is_err() {
            panic!("{roles:?}: {:?}", process.readiness.snapshot());
        }
        process
    }

    fn internal(&self) -> String {
        self.addresses.internal.unwrap().to_string()
    }

    async fn end(self) {
        self.stop.request();
        timeout(Duration::from_secs(40), self.serving)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
    }
}

/// What all processes have in common, if there are servers to have it on.
fn common(dir: &Path) -> Option<HearthConfig> {
    let variable = |name: &str| match std::env::var(name) {
        Ok(value) => Some(value),
        Err(_) => {
            println!("SKIPPED: {name} is not set");
            None
        }
    };
    let (nats, redis, cql) = (
        variable("HEARTH_TEST_NATS")?,
        variable("HEARTH_TEST_REDIS")?,
        variable("HEARTH_TEST_CQL")?,
    );
    let ca_dir = dir.join("ca");
    let tls = dir.join("tls");
    ca::run(CaCommand::Init {
        dir: ca_dir.clone(),
        days: 1,
    })
    .unwrap();
    ca::run(CaCommand::Issue {
        dir: ca_dir,
        name: "local".into(),
        roles: Role::ALL.to_vec(),
        dns: Vec::new(),
        ip: Vec::new(),
        days: 1,
        out: tls.clone(),
    })
    .unwrap();
    let (ring, token) = (dir.join("secret.key"), dir.join("admin.token"));
    keys::run(KeysCommand::Init(KeyFile { file: ring.clone() })).unwrap();
    keys::run(KeysCommand::Token(KeyFile {
        file: token.clone(),
    }))
    .unwrap();

    let unique = format!("rolesapart{}", std::process::id());
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut config = HearthConfig {
        data_dir: dir.join("data"),
        secret_key_file: Some(ring),
        admin_token_file: Some(token),
        ..HearthConfig::default()
    };
    config.nats.servers = vec![nats];
    config.nats.prefix.clone_from(&unique);
    config.nats.max_bytes = ByteSize::mib(32);
    config.nats.dead_letter_bytes = ByteSize::mib(1);
    config.redis.nodes = vec![redis];
    config.redis.prefix.clone_from(&unique);
    config.cql.nodes = vec![cql];
    config.cql.keyspace = unique;
    config.internal.listen = any;
    config.internal.tls.ca = Some(tls.join("ca.crt"));
    config.internal.tls.cert = Some(tls.join("tls.crt"));
    config.internal.tls.key = Some(tls.join("tls.key"));
    config.internal.probe_interval = HumanDuration::millis(300);
    config.listen.cwmp = any;
    config.listen.api = any;
    config.listen.files = any;
    config.listen.admin = any;
    config.wakeup.allow_loopback = true;
    Some(config)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn roles_apart_do_what_one_process_does_and_replicas_may_die() {
    let dir = tempfile::tempdir().unwrap();
    let Some(mut common) = common(dir.path()) else {
        return;
    };
    common.log.filter = std::env::var("HEARTH_LOG__FILTER").unwrap_or_else(|_| "warn".into());
    hearth_telemetry::init_logs(&common.log).unwrap();
    let devices = [
        Process::start(&common, &[Role::DeviceState]).await,
        Process::start(&common, &[Role::DeviceState]).await,
    ];
    common.internal.peers.device_state = devices.iter().map(Process::internal).collect();
    let wakeup = Process::start(&common, &[Role::Wakeup]).await;
    common.internal.peers.wakeup = vec![wakeup.internal()];
    let files = Process::start(&common, &[Role::Files]).await;
    common.internal.peers.files = vec![files.internal()];
    let [first, second] = [
        Process::start(&common, &[Role::Workflow]).await,
        Process::start(&common, &[Role::Workflow]).await,
    ];
    common.internal.peers.workflow = vec![first.internal(), second.internal()];
    let api = Process::start(&common, &[Role::Northbound]).await;
    let gateway = Process::start(&common, &[Role::Gateway]).await;

    let (username, password) = devices[0].onboarding.clone().unwrap();
    let fleet = || FleetOptions {
        username: username.clone(),
        password: password.clone(),
        count: 2,
        ..FleetOptions::new(format!("http://{}/", gateway.addresses.cwmp.unwrap()))
    };
    let (address, token) = (api.addresses.api.unwrap(), api.token.clone().unwrap());
    demo::tour_of(address, &token, fleet()).await.unwrap();

    // One of two replicas goes at once, another orderly.
    first.serving.abort();
    let [left, gone] = devices;
    gone.end().await;
    demo::tour_of(address, &token, fleet()).await.unwrap();

    // The last one goes: the edge is not ready, the API only says so, and both are well when it is back.
    let line = |readiness: &Readiness| {
        let found = readiness
            .snapshot()
            .into_iter()
            .find(|line| line.name == "workflow elsewhere");
        found.map(|line| line.state.to_string()).unwrap()
    };
    assert!(gateway.readiness.is_ready());
    let at = second.addresses.internal.unwrap();
    second.end().await;
    let waited = timeout(Duration::from_secs(20), async {
        while gateway.readiness.is_ready() || !line(&api.readiness).contains("not ready") {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    waited.await.unwrap();
    assert!(line(&gateway.readiness).contains("not ready"));
    assert!(
        api.readiness.is_ready(),
        "devices can be read without workflow"
    );
    common.internal.listen = at;
    let back = Process::start(&common, &[Role::Workflow]).await;
    timeout(Duration::from_secs(20), gateway.readiness.wait_all_ready())
        .await
        .unwrap();

    for process in [gateway, api, back, files, wakeup, left] {
        process.end().await;
    }
}
