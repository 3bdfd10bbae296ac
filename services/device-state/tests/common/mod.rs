//! A whole device-state on a real engine, bus and store in a temporary directory.

#![allow(clippy::unwrap_used, missing_docs)]

use std::sync::Arc;
use std::time::Duration;

use hearth_auth::{Sealer, SecretKeys, labels};
use hearth_bus::{Bus, EmbeddedBus, EmbeddedOptions, Publish, Stream};
use hearth_clients::DeviceState;
use hearth_config::HumanDuration;
use hearth_device_state::{Dependencies, DeviceStateConfig, DeviceStateService};
use hearth_engine::{Engine, EngineOptions};
use hearth_proto::devicestate::v1 as ds;
use hearth_proto::events::v1 as ev;
use hearth_proto::types::v1::ParameterValue;
use hearth_runtime::{
    CancellationToken, ManualClock, Readiness, Service, ServiceContext, ServiceState,
};
use hearth_store::{EmbeddedStore, Store};
use hearth_telemetry::Registry;
use hearth_types::{DeviceKey, Timestamp};
use prost::Message;
use tokio::task::JoinHandle;

pub const TENANT: &str = "default";
/// Where the tests' clock begins: 2026-01-01, in microseconds.
pub const START: i64 = 1_767_225_600_000_000;
pub const SECOND: i64 = 1_000_000;

pub struct World {
    pub engine: Engine,
    pub bus: Arc<EmbeddedBus>,
    pub store: Arc<EmbeddedStore>,
    pub state: DeviceStateService,
    pub registry: Registry,
    pub clock: ManualClock,
    pub sealer: Sealer,
    pub readiness: Readiness,
    stop: CancellationToken,
    role: Option<JoinHandle<()>>,
}

pub fn sealer() -> Sealer {
    let keys = SecretKeys::from_seed([7; 32]);
    keys.sealer(labels::AT_REST).unwrap()
}

pub fn config() -> DeviceStateConfig {
    DeviceStateConfig {
        flush_interval: HumanDuration::millis(20),
        ..DeviceStateConfig::default()
    }
}

impl World {
    pub async fn open(dir: &std::path::Path, config: DeviceStateConfig) -> Self {
        Self::with(EngineOptions::new(dir), config).await
    }

    pub async fn with(options: EngineOptions, config: DeviceStateConfig) -> Self {
        Self::over(options, config, |store| store).await
    }

    /// With something between device-state and its store.
    pub async fn over(
        options: EngineOptions,
        config: DeviceStateConfig,
        wrap: impl FnOnce(Arc<dyn Store>) -> Arc<dyn Store>,
    ) -> Self {
        Self::between(options, config, wrap, |bus| bus).await
    }

    /// With something between device-state and its store, and its bus.
    pub async fn between(
        options: EngineOptions,
        config: DeviceStateConfig,
        wrap: impl FnOnce(Arc<dyn Store>) -> Arc<dyn Store>,
        wrap_bus: impl FnOnce(Arc<dyn Bus>) -> Arc<dyn Bus>,
    ) -> Self {
        let engine = Engine::open(options).unwrap();
        let bus = EmbeddedBus::open(engine.clone(), EmbeddedOptions::default()).await;
        let bus = Arc::new(bus.unwrap());
        let store = Arc::new(EmbeddedStore::open(&engine).unwrap());
        let clock = ManualClock::at(START);
        let registry = Registry::new();
        let with = Dependencies {
            store: wrap(store.clone()),
            bus: wrap_bus(bus.clone()),
            sealer: sealer(),
            clock: clock.shared(),
            registry: registry.clone(),
        };
        Self {
            state: DeviceStateService::new(with, config).unwrap(),
            engine,
            bus,
            store,
            registry,
            clock,
            sealer: sealer(),
            readiness: Readiness::new(),
            stop: CancellationToken::new(),
            role: None,
        }
    }

    /// Starts consuming.
    pub async fn run(&mut self) {
        self.stop = CancellationToken::new();
        let ctx = ServiceContext {
            stop: self.stop.clone(),
            readiness: self.readiness.register("device-state"),
            clock: self.clock.shared(),
        };
        let role = Box::new(self.state.role());
        self.role = Some(tokio::spawn(async move { role.run(ctx).await.unwrap() }));
        self.readiness.wait_ready("device-state").await;
    }

    /// An orderly end.
    pub async fn stop(mut self) {
        self.stop.cancel();
        if let Some(role) = self.role.take() {
            role.await.unwrap();
        }
        self.bus.close().await.unwrap();
        self.engine.close();
    }

    /// The end of the process: nothing is written any more, nothing is told to the bus.
    pub async fn crash(mut self) {
        if let Some(role) = self.role.take() {
            role.abort();
            let _ = role.await;
        }
        self.engine.close();
    }

    pub fn is_ready(&self) -> bool {
        let services = self.readiness.snapshot();
        services.iter().all(|s| s.state == ServiceState::Ready)
    }

    pub async fn publish(&self, event: &ev::Event) -> u64 {
        let device = DeviceKey::parse(&event.tenant, &event.device).unwrap();
        self.publish_raw(&device, event.time_us, event.encode_to_vec())
            .await
    }

    pub async fn publish_raw(&self, device: &DeviceKey, time: i64, payload: Vec<u8>) -> u64 {
        let publish = Publish {
            stream: Stream::Inform,
            device: device.clone(),
            message_id: None,
            time: Timestamp::from_micros(time),
            payload: payload.into(),
        };
        self.bus.publish(publish).await.unwrap().seq
    }

    /// Waits until all that was published is written and told to the bus.
    pub async fn settled(&self) {
        for _ in 0..2000 {
            let stats = self.bus.stats().await;
            let lag = stats.consumers.iter().map(|c| c.lag).max();
            if lag == Some(0) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("events are not consumed: {:?}", self.bus.stats().await);
    }

    pub async fn device(&self, id: &str) -> ds::Device {
        let request = ds::GetDeviceRequest {
            tenant: TENANT.into(),
            device: id.into(),
        };
        self.state
            .get_device(request)
            .await
            .unwrap()
            .device
            .unwrap()
    }

    pub async fn parameters(&self, id: &str) -> Vec<ds::Parameter> {
        let request = ds::ListParametersRequest {
            tenant: TENANT.into(),
            device: id.into(),
            ..ds::ListParametersRequest::default()
        };
        self.state
            .list_parameters(request)
            .await
            .unwrap()
            .parameters
    }

    pub async fn value(&self, id: &str, path: &str) -> Option<String> {
        let all = self.parameters(id).await;
        let found = all.into_iter().find(|p| p.path == path && p.has_value);
        found.map(|p| p.value)
    }

    pub async fn history(&self, id: &str) -> Vec<ds::HistoryEntry> {
        let request = ds::ListHistoryRequest {
            tenant: TENANT.into(),
            device: id.into(),
            ..ds::ListHistoryRequest::default()
        };
        self.state.list_history(request).await.unwrap().entries
    }

    /// (kind, path, old, new) of the history, oldest first.
    pub async fn story(&self, id: &str) -> Vec<(String, String, String, String)> {
        let mut entries = self.history(id).await;
        entries.reverse();
        let each = |e: ds::HistoryEntry| (e.kind, e.path, e.old_value, e.new_value);
        entries.into_iter().map(each).collect()
    }

    pub async fn search(&self, conditions: &[(&str, &str, bool)]) -> Vec<String> {
        let conditions = conditions
            .iter()
            .map(|(attribute, value, prefix)| ds::Condition {
                attribute: (*attribute).into(),
                value: (*value).into(),
                prefix: *prefix,
            });
        let request = ds::ListDevicesRequest {
            tenant: TENANT.into(),
            conditions: conditions.collect(),
            ..ds::ListDevicesRequest::default()
        };
        let found = self.state.list_devices(request).await.unwrap();
        found.devices.into_iter().map(|d| d.id).collect()
    }
}

pub fn key(id: &str) -> DeviceKey {
    DeviceKey::parse(TENANT, id).unwrap()
}

pub fn value(path: &str, value: &str) -> ParameterValue {
    ParameterValue {
        path: path.into(),
        value: value.into(),
        ..ParameterValue::default()
    }
}

pub fn event(id: &str, time: i64, kind: ev::event::Kind) -> ev::Event {
    ev::Event {
        tenant: TENANT.into(),
        device: id.into(),
        time_us: time,
        session: "s1".into(),
        kind: Some(kind),
    }
}

pub fn inform(id: &str, time: i64, code: &str, values: &[(&str, &str)]) -> ev::Event {
    let (oui, product_class, serial_number) = key(id).device.parts();
    let inform = ev::Inform {
        manufacturer: "Acme".into(),
        oui,
        product_class,
        serial_number,
        events: vec![ev::InformEvent {
            code: code.into(),
            command_key: String::new(),
        }],
        parameters: values.iter().map(|(p, v)| value(p, v)).collect(),
        cwmp_namespace: "urn:dslforum-org:cwmp-1-2".into(),
        remote_address: "10.0.0.1:4567".into(),
        ..ev::Inform::default()
    };
    event(id, time, ev::event::Kind::Inform(inform))
}

pub fn values(id: &str, time: i64, source: ev::ValueSource, values: &[(&str, &str)]) -> ev::Event {
    let mut reported = ev::ValuesReported {
        values: values.iter().map(|(p, v)| value(p, v)).collect(),
        ..ev::ValuesReported::default()
    };
    reported.set_source(source);
    event(id, time, ev::event::Kind::ValuesReported(reported))
}
