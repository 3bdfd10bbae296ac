//! A gateway on a real socket, over doubles that record what reaches them.
#![allow(dead_code, clippy::unwrap_used)]

pub mod client;
pub mod doubles;
pub mod xml;

use std::net::SocketAddr;
use std::sync::Arc;

use hearth_auth::SecretKeys;
use hearth_gateway::{Dependencies, Gateway, GatewayConfig, GatewayError, ListenAddresses};
use hearth_runtime::{CancellationToken, Clock, ManualClock, Readiness, Service, ServiceContext};
use hearth_telemetry::Registry;

pub use client::Cpe;
pub use doubles::{DeviceStateDouble, RecordingBus, ScriptedWorkflow};

/// 2027-01-15, in µs.
pub const NOW: i64 = 1_800_000_000_000_000;
pub const USER: &str = "cpe";
pub const PASSWORD: &str = "Zaphod-42";

/// One gateway and all that it talks to.
pub struct House {
    pub address: SocketAddr,
    pub addresses: ListenAddresses,
    pub bus: Arc<RecordingBus>,
    pub workflow: Arc<ScriptedWorkflow>,
    pub device_state: Arc<DeviceStateDouble>,
    pub clock: ManualClock,
    pub registry: Registry,
    pub stop: CancellationToken,
}

impl Drop for House {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

pub fn keys() -> SecretKeys {
    SecretKeys::from_seed([7; 32])
}

pub async fn house() -> House {
    house_with(GatewayConfig::default()).await
}

pub async fn house_with(config: GatewayConfig) -> House {
    let bus = Arc::<RecordingBus>::default();
    let workflow = Arc::<ScriptedWorkflow>::default();
    let device_state = Arc::<DeviceStateDouble>::default();
    device_state.allow(USER, PASSWORD, None);
    house_over(config, bus, workflow, device_state, ManualClock::at(NOW)).await
}

/// A gateway that may not come to be.
pub fn try_house(config: GatewayConfig) -> Result<(), GatewayError> {
    let dependencies = Dependencies {
        bus: Arc::<RecordingBus>::default(),
        workflow: Arc::<ScriptedWorkflow>::default(),
        device_state: Arc::<DeviceStateDouble>::default(),
        keys: keys(),
        clock: ManualClock::at(NOW).shared(),
    };
    let any = "127.0.0.1:0".parse().unwrap();
    Gateway::bind(any, config, dependencies, &Registry::new()).map(|_| ())
}

/// A gateway with a key ring of its own.
pub async fn house_with_keys(config: GatewayConfig, keys: SecretKeys) -> House {
    let device_state = Arc::<DeviceStateDouble>::default();
    device_state.allow(USER, PASSWORD, None);
    let (bus, workflow) = (Arc::default(), Arc::default());
    let clock = ManualClock::at(NOW);
    house_of(config, keys, bus, workflow, device_state, clock).await
}

/// A gateway over these parts: two of them over the same ones are two replicas.
pub async fn house_over(
    config: GatewayConfig,
    bus: Arc<RecordingBus>,
    workflow: Arc<ScriptedWorkflow>,
    device_state: Arc<DeviceStateDouble>,
    clock: ManualClock,
) -> House {
    house_of(config, keys(), bus, workflow, device_state, clock).await
}

async fn house_of(
    config: GatewayConfig,
    keys: SecretKeys,
    bus: Arc<RecordingBus>,
    workflow: Arc<ScriptedWorkflow>,
    device_state: Arc<DeviceStateDouble>,
    clock: ManualClock,
) -> House {
    let shared: Arc<dyn Clock> = clock.shared();
    let dependencies = Dependencies {
        bus: bus.clone(),
        workflow: workflow.clone(),
        device_state: device_state.clone(),
        keys,
        clock: shared.clone(),
    };
    let registry = Registry::new();
    let gateway = Gateway::bind(
        "127.0.0.1:0".parse().unwrap(),
        config,
        dependencies,
        &registry,
    )
    .unwrap();
    let addresses = gateway.addresses();
    let address = addresses.any().unwrap();
    let stop = CancellationToken::new();
    let ctx = ServiceContext {
        stop: stop.clone(),
        readiness: Readiness::new().register("gateway"),
        clock: shared,
    };
    tokio::spawn(Box::new(gateway).run(ctx));
    House {
        address,
        addresses,
        bus,
        workflow,
        device_state,
        clock,
        registry,
        stop,
    }
}

impl House {
    /// A CPE on a new connection.
    pub async fn connect(&self) -> Cpe {
        Cpe::connect(self.address).await
    }

    /// A second replica.
    pub async fn replica(&self) -> House {
        self.replica_with_keys(keys()).await
    }

    /// A replica with a key ring of its own.
    pub async fn replica_with_keys(&self, keys: SecretKeys) -> House {
        house_of(
            GatewayConfig::default(),
            keys,
            self.bus.clone(),
            self.workflow.clone(),
            self.device_state.clone(),
            self.clock.clone(),
        )
        .await
    }

    /// The value of a metric's line that begins so.
    pub fn metric(&self, line: &str) -> f64 {
        let text = self.registry.render();
        text.lines()
            .find_map(|found| found.strip_prefix(line)?.trim().parse().ok())
            .unwrap_or_default()
    }

    /// Waits until a metric has a value.
    pub async fn until(&self, line: &str, value: f64) {
        let waiting = async {
            while self.metric(line) != value {
                tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(20), waiting)
            .await
            .unwrap_or_else(|_| panic!("{line} never became {value}"));
    }
}
