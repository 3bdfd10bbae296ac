//! What an idle Inform costs device-state: known devices inform again and again and nothing
//! changes. Events come from memory, so that the bus isn't measured; the store is the real one.
//!
//! `cargo run --profile fast -p hearth-device-state --example idle_informs [devices] [seconds]`

#![allow(clippy::unwrap_used, clippy::cast_precision_loss)]

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt};
use hearth_auth::{SecretKeys, labels};
use hearth_bus::{
    Ack, Bus, BusStats, Consumer, ConsumerSpec, DeadLetterPage, Delivery, Error, Publish, Result,
    Stream, TailEvent,
};
use hearth_device_state::{Dependencies, DeviceStateConfig, DeviceStateService};
use hearth_engine::{Engine, EngineOptions};
use hearth_proto::{events::v1 as ev, types::v1::ParameterValue};
use hearth_runtime::{CancellationToken, Readiness, Service, ServiceContext, SystemClock};
use hearth_store::EmbeddedStore;
use hearth_telemetry::Registry;
use hearth_types::{DeviceKey, Timestamp};
use parking_lot::Mutex;
use prost::Message;

/// The server's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Events that are made as they are fetched.
struct Source {
    devices: Vec<(DeviceKey, ev::Event)>,
    ready: Mutex<VecDeque<Delivery>>,
    next: AtomicU64,
    acked: AtomicU64,
    flowing: AtomicBool,
}

impl Source {
    /// Encodes the next events outside of what is measured.
    fn make(&self, count: usize) {
        let mut ready = self.ready.lock();
        for _ in 0..count {
            let seq = self.next.fetch_add(1, Ordering::Relaxed);
            let place = usize::try_from(seq).unwrap() % self.devices.len();
            let (device, event) = &self.devices[place];
            let time = 1_767_225_600_000_000 + i64::try_from(seq).unwrap() * 10;
            let event = ev::Event {
                time_us: time,
                ..event.clone()
            };
            ready.push_back(Delivery {
                seq,
                first_seq: seq,
                stream: Stream::Inform,
                device: device.clone(),
                time: Timestamp::from_micros(time),
                payload: Bytes::from(event.encode_to_vec()),
                deliveries: 1,
                traceparent: None,
            });
        }
    }

    async fn drained(&self) {
        while self.acked.load(Ordering::Relaxed) < self.next.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

struct Handle(Arc<Source>);

#[async_trait]
impl Consumer for Handle {
    fn name(&self) -> &str {
        "device-state"
    }

    async fn fetch(&self, max: usize, wait: Duration) -> Result<Vec<Delivery>> {
        let fetched: Vec<_> = {
            let mut ready = self.0.ready.lock();
            let count = max.min(ready.len());
            ready.drain(..count).collect()
        };
        if fetched.is_empty() || !self.0.flowing.load(Ordering::Relaxed) {
            tokio::time::sleep(wait.min(Duration::from_millis(5))).await;
        }
        Ok(fetched)
    }

    async fn ack(&self, seqs: &[u64]) -> Result<()> {
        let count = u64::try_from(seqs.len()).unwrap();
        self.0.acked.fetch_add(count, Ordering::Relaxed);
        Ok(())
    }

    async fn nak(&self, _: u64, _: Duration) -> Result<()> {
        Ok(())
    }

    async fn term(&self, seq: u64, reason: &str) -> Result<()> {
        panic!("event {seq}: {reason}");
    }
}

struct FromMemory(Arc<Source>);

#[async_trait]
impl Bus for FromMemory {
    async fn publish(&self, _: Publish) -> Result<Ack> {
        Err(Error::Closed)
    }

    async fn consumer(&self, _: ConsumerSpec) -> Result<Box<dyn Consumer>> {
        Ok(Box::new(Handle(Arc::clone(&self.0))))
    }

    async fn delete_consumer(&self, _: &str) -> Result<()> {
        Ok(())
    }

    fn tail(&self, _: &[Stream]) -> BoxStream<'static, TailEvent> {
        futures::stream::empty().boxed()
    }

    async fn dead_letters(&self, _: Option<u64>, _: usize) -> Result<DeadLetterPage> {
        Ok(DeadLetterPage::default())
    }

    async fn replay_dead_letter(&self, _: u64) -> Result<Ack> {
        Err(Error::NotFound("dead letter"))
    }

    async fn delete_dead_letter(&self, _: u64) -> Result<()> {
        Err(Error::NotFound("dead letter"))
    }

    async fn stats(&self) -> BusStats {
        BusStats::default()
    }

    async fn close(&self) -> Result<()> {
        Ok(())
    }
}

fn device(n: usize) -> (DeviceKey, ev::Event) {
    let serial = format!("{n:08}");
    let id = format!("001122-Router-{serial}");
    let value = |path: &str, value: String| ParameterValue {
        path: path.into(),
        value,
        ..ParameterValue::default()
    };
    let inform = ev::Inform {
        manufacturer: "Acme".into(),
        oui: "001122".into(),
        product_class: "Router".into(),
        serial_number: serial,
        events: vec![ev::InformEvent {
            code: "2 PERIODIC".into(),
            command_key: String::new(),
        }],
        parameters: vec![
            value("Device.RootDataModelVersion", "2.15".into()),
            value("Device.DeviceInfo.HardwareVersion", "A1".into()),
            value("Device.DeviceInfo.SoftwareVersion", "1.2.3".into()),
            value("Device.DeviceInfo.ProvisioningCode", String::new()),
            value("Device.ManagementServer.ParameterKey", String::new()),
            value(
                "Device.ManagementServer.ConnectionRequestURL",
                format!("http://10.0.0.1:7547/{n}"),
            ),
            value(
                "Device.ManagementServer.AliasBasedAddressing",
                "false".into(),
            ),
            value(
                "Device.IP.Interface.1.IPv4Address.1.IPAddress",
                "10.1.2.3".into(),
            ),
        ],
        cwmp_namespace: "urn:dslforum-org:cwmp-1-2".into(),
        remote_address: "10.0.0.1:4567".into(),
        ..ev::Inform::default()
    };
    let event = ev::Event {
        tenant: "default".into(),
        device: id.clone(),
        session: "01jf0000000000000000000000".into(),
        kind: Some(ev::event::Kind::Inform(inform)),
        ..ev::Event::default()
    };
    (DeviceKey::parse("default", &id).unwrap(), event)
}

/// CPU time of the process so far, in seconds (fields 14 and 15 of stat, in ticks of 10 ms).
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let rest = stat.rsplit(") ").next().unwrap();
    let field = |n: usize| rest.split(' ').nth(n).unwrap().parse::<f64>().unwrap();
    (field(11) + field(12)) / 100.0
}

#[tokio::main(worker_threads = 2)]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default: usize| arguments.next().map_or(default, |a| a.parse().unwrap());
    let (devices, rounds) = (number(10_000), number(30));
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::open(EngineOptions::new(dir.path())).unwrap();
    let keys = SecretKeys::from_seed([1; 32]);
    let source = Arc::new(Source {
        devices: (0..devices).map(device).collect(),
        ready: Mutex::default(),
        next: AtomicU64::new(0),
        acked: AtomicU64::new(0),
        flowing: AtomicBool::new(true),
    });
    let with = Dependencies {
        store: Arc::new(EmbeddedStore::open(&engine).unwrap()),
        bus: Arc::new(FromMemory(Arc::clone(&source))),
        sealer: keys.sealer(labels::AT_REST).unwrap(),
        clock: SystemClock::shared(),
        registry: Registry::new(),
    };
    let registry = with.registry.clone();
    let state = DeviceStateService::new(with, DeviceStateConfig::default()).unwrap();
    let stop = CancellationToken::new();
    let ctx = ServiceContext {
        stop: stop.clone(),
        readiness: Readiness::new().register("device-state"),
        clock: SystemClock::shared(),
    };
    let role = Box::new(state.role());
    let role = tokio::spawn(async move { role.run(ctx).await.unwrap() });

    // First Informs: the devices become known.
    source.make(devices);
    let (cpu_before, started) = (cpu(), Instant::now());
    source.drained().await;
    let first = (cpu() - cpu_before, started.elapsed().as_secs_f64());
    let mut idle = (0.0, 0.0);
    for _ in 0..rounds {
        source.flowing.store(false, Ordering::Relaxed);
        source.make(devices);
        source.flowing.store(true, Ordering::Relaxed);
        let (cpu_before, started) = (cpu(), Instant::now());
        source.drained().await;
        idle.0 += cpu() - cpu_before;
        idle.1 += started.elapsed().as_secs_f64();
    }
    stop.cancel();
    role.await.unwrap();
    let report = |what: &str, events: f64, (cpu, wall): (f64, f64)| {
        println!(
            "{what}: {:.1} µs of CPU for each, {:.0} events/s ({events} events, {wall:.2} s)",
            cpu * 1e6 / events,
            events / wall
        );
    };
    report("first Informs", devices as f64, first);
    report("idle Informs", (devices * rounds) as f64, idle);
    for line in registry.render().lines() {
        if line.contains("flush_seconds_sum") || line.contains("flush_seconds_count") {
            println!("{line}");
        }
    }
}
