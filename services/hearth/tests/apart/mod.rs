//! Processes of one role each, as far as processes go within a test: servers that share nothing but NATS, Redis, CQL
//! and certificates. Real servers are named by `HEARTH_TEST_NATS`, `HEARTH_TEST_REDIS` and `HEARTH_TEST_CQL`.

// Each test uses a part of it.
#![allow(dead_code)]

pub mod api;
pub mod valkey;

use hearth_config::{ByteSize, HumanDuration};
use hearth_runtime::{Readiness, Shutdown};
use hearth_server::cli::{CaCommand, KeyFile, KeysCommand};
use hearth_server::config::HearthConfig;
use hearth_server::roles::Role;
use hearth_server::server::{Addresses, Server};
use hearth_server::{ca, keys};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// One process.
pub struct Process {
    pub addresses: Addresses,
    pub readiness: Readiness,
    pub onboarding: Option<(String, hearth_auth::SecretString)>,
    pub token: Option<hearth_auth::ApiToken>,
    pub metrics: hearth_telemetry::Registry,
    stop: Shutdown,
    pub serving: JoinHandle<anyhow::Result<()>>,
}

impl Process {
    pub async fn start(common: &HearthConfig, roles: &[Role]) -> Self {
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
            metrics: server.metrics().clone(),
            stop: stop.clone(),
            serving: tokio::spawn(server.run(stop)),
        };
        let ready = process.readiness.wait_all_ready();
        if timeout(Duration::from_secs(60), ready).await.is_err() {
            panic!("{roles:?}: {:?}", process.readiness.snapshot());
        }
        process
    }

    /// The same, and those that are started with `common` afterwards know where these roles are.
    pub async fn join(common: &mut HearthConfig, roles: &[Role]) -> Self {
        let process = Self::start(common, roles).await;
        let peers = &mut common.internal.peers;
        for role in roles {
            let known = match role {
                Role::DeviceState => &mut peers.device_state,
                Role::Wakeup => &mut peers.wakeup,
                Role::Files => &mut peers.files,
                Role::Workflow => &mut peers.workflow,
                Role::Northbound | Role::Gateway => continue,
            };
            known.push(process.internal());
        }
        process
    }

    pub fn internal(&self) -> String {
        self.addresses.internal.unwrap().to_string()
    }

    pub async fn end(self) {
        self.stop.request();
        timeout(Duration::from_secs(40), self.serving)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
    }
}

/// What all processes have in common, if there are servers to have it on.
pub fn common(dir: &Path) -> Option<HearthConfig> {
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

    let unique = format!("apart{}", std::process::id());
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

/// One process with a data directory of its own: the embedded form.
pub fn alone(dir: &Path) -> HearthConfig {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut config = HearthConfig {
        data_dir: dir.join("data"),
        ..HearthConfig::default()
    };
    config.listen.cwmp = any;
    config.listen.api = any;
    config.listen.files = any;
    config.listen.admin = any;
    config
}
