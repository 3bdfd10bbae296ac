//! `/readyz` tells the truth: a server that answers what is read and refuses what is written is told, with its reason, by
//! those that use it. Who needs it is unready, the others are not, and all are ready again without a restart.

use crate::apart::api::until;
use crate::apart::valkey::Valkey;
use crate::apart::{Process, common};
use hearth_bus::{Bus, Error, NatsBus, Publish, Stream};
use hearth_config::{ByteSize, HumanDuration};
use hearth_runtime::{Readiness, ServiceState};
use hearth_server::config::HearthConfig;
use hearth_server::roles::Role;
use hearth_sim::faults::proxy::{Mode, Proxy, Route};
use hearth_telemetry::Registry;
use hearth_types::{DeviceKey, Timestamp};
use std::time::Duration;

/// What a server's line takes, and a role's elsewhere behind it.
const LIMIT: Duration = Duration::from_secs(40);

/// Why a line isn't ready; `None`: it is.
fn trouble(readiness: &Readiness, name: &str) -> Option<String> {
    let lines = readiness.snapshot();
    let line = lines.into_iter().find(|line| line.name == name).unwrap();
    match line.state {
        ServiceState::Ready => None,
        ServiceState::NotReady(why) => Some(why),
    }
}

/// Waits until a line says that it isn't ready, for a reason with this in it.
async fn fails(process: &Process, name: &str, why: &str) {
    let told = async || trouble(&process.readiness, name).is_some_and(|text| text.contains(why));
    let waited = tokio::time::timeout(LIMIT, until(LIMIT * 2, told)).await;
    if waited.is_err() {
        panic!(
            "{name} does not say {why:?}: {:?}",
            process.readiness.snapshot()
        );
    }
    println!("{name}: {}", trouble(&process.readiness, name).unwrap());
}

/// The roles, in four processes.
struct Roles {
    devices: Process,
    workflow: Process,
    api: Process,
    gateway: Process,
}

impl Roles {
    async fn start(common: &mut HearthConfig) -> Self {
        let roles = [Role::DeviceState, Role::Wakeup, Role::Files];
        let devices = Process::join(common, &roles).await;
        let workflow = Process::join(common, &[Role::Workflow]).await;
        Self {
            devices,
            workflow,
            api: Process::start(common, &[Role::Northbound]).await,
            gateway: Process::start(common, &[Role::Gateway]).await,
        }
    }

    async fn recover(&self) {
        for process in [&self.devices, &self.workflow, &self.api, &self.gateway] {
            let ready = process.readiness.wait_all_ready();
            if tokio::time::timeout(LIMIT, ready).await.is_err() {
                panic!("{:?}", process.readiness.snapshot());
            }
            assert!(process.readiness.is_ready());
        }
    }

    /// Redis refuses writes: no session can be opened.
    async fn redis(&self, redis: &Valkey) {
        redis.set("min-replicas-to-write", "1");
        fails(&self.workflow, "redis", "min-replicas-to-write").await;
        assert!(!self.workflow.readiness.is_ready());
        // Devices can only be answered 503; all else goes on.
        fails(&self.gateway, "workflow elsewhere", "").await;
        assert!(!self.gateway.readiness.is_ready());
        assert_eq!(trouble(&self.gateway.readiness, "nats"), None);
        fails(&self.api, "workflow elsewhere", "").await;
        assert!(self.api.readiness.is_ready() && self.devices.readiness.is_ready());
        redis.set("min-replicas-to-write", "0");
        self.recover().await;
    }

    /// The stream of events is full: no Inform is taken.
    async fn nats(&self, common: &HearthConfig) {
        let bus = NatsBus::connect(&common.nats, &Registry::new()).await;
        let bus = bus.unwrap();
        for size in [50_000, 500] {
            let refused = loop {
                let message = Publish {
                    stream: Stream::Inform,
                    device: DeviceKey::parse("default", "001122-X-1").unwrap(),
                    message_id: None,
                    time: Timestamp::from_micros(1_767_225_600_000_000),
                    // A dead letter to who reads it. With no room for more of those, it stays.
                    payload: vec![0xff; size].into(),
                };
                if let Err(error) = bus.publish(message).await {
                    break error;
                }
            };
            assert!(matches!(refused, Error::Full { .. }), "{refused:?}");
        }
        fails(&self.gateway, "nats", "the bus is full").await;
        assert!(!self.gateway.readiness.is_ready());
        // They say so too, and go on.
        for process in [&self.workflow, &self.devices] {
            fails(process, "nats", "the bus is full").await;
            assert!(process.readiness.is_ready());
        }
        assert!(self.api.readiness.is_ready());
        bus.close().await.unwrap();
        // What an operator does: more room for dead letters.
        let mut roomy = common.nats.clone();
        roomy.dead_letter_bytes = ByteSize::mib(8);
        let bus = NatsBus::connect(&roomy, &Registry::new()).await.unwrap();
        self.recover().await;
        bus.close().await.unwrap();
    }

    /// CQL doesn't answer.
    async fn cql(&self, proxy: &Proxy) {
        proxy.set("cql", Mode::Silent).unwrap();
        for process in [&self.devices, &self.workflow] {
            fails(process, "cql", "").await;
            assert!(!process.readiness.is_ready());
        }
        fails(&self.gateway, "device-state elsewhere", "").await;
        assert!(!self.gateway.readiness.is_ready() && self.api.readiness.is_ready());
        assert_eq!(trouble(&self.workflow.readiness, "redis"), None);
        proxy.set("cql", Mode::Open).unwrap();
        self.recover().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_server_is_told_by_those_that_use_it() {
    let dir = tempfile::tempdir().unwrap();
    let Some(mut common) = common(dir.path()) else {
        return;
    };
    let Some(redis) = Valkey::start() else { return };
    let route = Route {
        name: "cql".into(),
        listen: "127.0.0.1:0".parse().unwrap(),
        to: common.cql.nodes[0].parse().unwrap(),
    };
    let proxy = Proxy::start(&[route]).await.unwrap();
    let listen = proxy.routes().next().unwrap().1;
    common.cql.nodes = vec![listen.to_string()];
    common.cql.request_timeout = HumanDuration::secs(2);
    common.redis.nodes = vec![redis.url()];
    common.nats.max_bytes = ByteSize::mib(1);
    common.nats.dead_letter_bytes = ByteSize::mib(1);
    let roles = Roles::start(&mut common).await;

    roles.redis(&redis).await;
    roles.nats(&common).await;
    roles.cql(&proxy).await;

    let Roles {
        devices,
        workflow,
        api,
        gateway,
    } = roles;
    for process in [gateway, api, workflow, devices] {
        process.end().await;
    }
}
