//! Several processes of the role on one bus and one store: they share the devices, take over from
//! each other, and none believes what it remembers from before.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use crate::common::{START, TENANT, config, inform, key, sealer, values};
use crate::flaky::{Flaky, Trap};
use hearth_bus::{Bus, EmbeddedBus, EmbeddedOptions, Publish, Stream};
use hearth_clients::DeviceState as _;
use hearth_config::HumanDuration;
use hearth_device_state::{Dependencies, DeviceStateConfig, DeviceStateService};
use hearth_engine::{Engine, EngineOptions};
use hearth_proto::devicestate::v1 as ds;
use hearth_proto::events::v1 as ev;
use hearth_proto::types::v1::DeviceState;
use hearth_runtime::{CancellationToken, ManualClock, Readiness, Service, ServiceContext};
use hearth_store::{DeviceColumn, Document, DocumentKind, EmbeddedStore, Store};
use hearth_telemetry::Registry;
use prost::Message;
use tokio::task::JoinHandle;

const LEASE: Duration = Duration::from_millis(1500);
const VALUE: &str = "Device.Line";

/// Bus and store, as servers are in a cluster.
struct Servers {
    _dir: tempfile::TempDir,
    bus: Arc<EmbeddedBus>,
    store: Arc<EmbeddedStore>,
}

struct Replica {
    state: DeviceStateService,
    registry: Registry,
    stop: CancellationToken,
    role: JoinHandle<()>,
}

fn settings() -> DeviceStateConfig {
    DeviceStateConfig {
        lease: HumanDuration::millis(LEASE.as_millis().try_into().unwrap()),
        last_seen_interval: HumanDuration::millis(300),
        indexed_parameters: vec![VALUE.parse().unwrap()],
        ..config()
    }
}

impl Servers {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let engine = Engine::open(EngineOptions::new(dir.path())).unwrap();
        let bus = EmbeddedBus::open(engine.clone(), EmbeddedOptions::default()).await;
        Self {
            _dir: dir,
            bus: Arc::new(bus.unwrap()),
            store: Arc::new(EmbeddedStore::open(&engine).unwrap()),
        }
    }

    async fn replica(&self, name: &str) -> Replica {
        self.replica_on(name, self.store.clone()).await
    }

    async fn replica_on(&self, name: &str, store: Arc<dyn Store>) -> Replica {
        let clock = ManualClock::at(START);
        let registry = Registry::new();
        let with = Dependencies {
            store,
            bus: self.bus.clone(),
            sealer: sealer(),
            clock: clock.shared(),
            registry: registry.clone(),
        };
        let state = DeviceStateService::shared(with, settings(), name.to_owned()).unwrap();
        let stop = CancellationToken::new();
        let readiness = Readiness::new();
        let ctx = ServiceContext {
            stop: stop.clone(),
            readiness: readiness.register("device-state"),
            clock: clock.shared(),
        };
        let role = Box::new(state.role());
        let role = tokio::spawn(async move { role.run(ctx).await.unwrap() });
        readiness.wait_ready("device-state").await;
        Replica {
            state,
            registry,
            stop,
            role,
        }
    }

    async fn publish(&self, event: &ev::Event) {
        let message = Publish {
            stream: Stream::Inform,
            device: key(&event.device),
            message_id: None,
            time: hearth_types::Timestamp::from_micros(event.time_us),
            payload: event.encode_to_vec().into(),
        };
        self.bus.publish(message).await.unwrap();
    }

    /// Waits until all that was published is written and told to the bus.
    async fn settled(&self) {
        for _ in 0..4000 {
            let stats = self.bus.stats().await;
            if stats.consumers.iter().all(|c| c.lag == 0) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("events are not consumed: {:?}", self.bus.stats().await);
    }

    async fn value(&self, id: &str) -> String {
        let row = self.store.parameters(&key(id), VALUE, None, 1).await;
        row.unwrap().pop().unwrap().1.value.unwrap().0
    }
}

impl Replica {
    /// Informs that it applied.
    fn informs(&self) -> u64 {
        let name = "hearth_device_state_events_total{kind=\"inform\"} ";
        let text = self.registry.render();
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.map_or(0, |count| count.parse().unwrap())
    }

    async fn end(self) {
        self.stop.cancel();
        self.role.await.unwrap();
    }

    /// Nothing more is done, and nobody is told.
    async fn kill(self) {
        self.role.abort();
        let _ = self.role.await;
    }
}

fn id(n: i64) -> String {
    format!("001122-X-{n}")
}

#[tokio::test]
async fn replicas_share_the_devices_and_take_over() {
    let servers = Servers::start().await;
    let a = servers.replica("a").await;
    let b = servers.replica("b").await;
    // Until both see each other.
    tokio::time::sleep(LEASE * 2).await;
    for n in 0..200 {
        let event = inform(&id(n), START + n, "1 BOOT", &[(VALUE, "1")]);
        servers.publish(&event).await;
    }
    servers.settled().await;
    let (of_a, of_b) = (a.informs(), b.informs());
    assert_eq!(of_a + of_b, 200, "each once");
    assert!(of_a > 20 && of_b > 20, "{of_a} and {of_b}");
    // Either one answers for all.
    for replica in [&a, &b] {
        let count = ds::CountDevicesRequest {
            tenant: TENANT.into(),
        };
        let count = replica.state.count_devices(count).await.unwrap();
        assert_eq!(count.total, 200);
    }
    let mut online = 0;
    for _ in 0..1000 {
        let count = ds::CountDevicesRequest {
            tenant: TENANT.into(),
        };
        online = a.state.count_devices(count).await.unwrap().online;
        if online == 200 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(online, 200, "those of the other are counted, too");

    b.kill().await;
    for n in 0..200 {
        let time = START + 1000 + n;
        servers
            .publish(&inform(&id(n), time, "1 BOOT", &[(VALUE, "2")]))
            .await;
    }
    // A process on this bus that died gives back what it had only when the bus is opened again:
    // here it had fetched nothing more.
    servers.settled().await;
    for n in 0..200 {
        assert_eq!(servers.value(&id(n)).await, "2");
    }
    a.end().await;
}

#[tokio::test]
async fn a_value_that_went_back_while_another_worked_is_written() {
    let servers = Servers::start().await;
    let a = servers.replica("a").await;
    let tell = async |at: i64, value: &str| {
        for n in 0..50 {
            let event = inform(&id(n), START + at, "2 PERIODIC", &[(VALUE, value)]);
            servers.publish(&event).await;
        }
        servers.settled().await;
    };
    tell(1, "1").await;
    tell(2, "1").await;
    // b takes some parts, hears of another value, and goes.
    let b = servers.replica("b").await;
    tokio::time::sleep(LEASE * 2).await;
    tell(3, "2").await;
    assert!(b.informs() > 0);
    b.end().await;
    tokio::time::sleep(LEASE).await;
    tell(4, "1").await;
    for n in 0..50 {
        assert_eq!(servers.value(&id(n)).await, "1", "device {n}");
        let found = a.state.list_devices(ds::ListDevicesRequest {
            tenant: TENANT.into(),
            conditions: vec![ds::Condition {
                attribute: VALUE.into(),
                value: "1".into(),
                prefix: false,
            }],
            ..ds::ListDevicesRequest::default()
        });
        assert_eq!(found.await.unwrap().devices.len(), 50);
    }
    a.end().await;
}

/// What it has of its parts, it gives back when its lease ends and the store can't be used; whoever
/// applies it then makes the same of it.
#[tokio::test]
async fn what_was_written_in_half_is_written_once() {
    const SAME: &str = "Device.Same";
    let servers = Servers::start().await;
    let outage = Arc::new(AtomicBool::default());
    let store = Flaky::with(servers.store.clone(), Trap::Outage(Arc::clone(&outage)));
    let a = servers.replica_on("a", store).await;
    let tell = async |at: i64, value: &str| {
        let values = [(SAME, "x"), (VALUE, value)];
        let event = inform(&id(1), START + at, "4 VALUE CHANGE", &values);
        servers.publish(&event).await;
    };
    tell(1, "1").await;
    tell(2, "2").await;
    servers.settled().await;
    outage.store(true, Relaxed);
    tell(3, "3").await;
    tell(4, "4").await;
    tokio::time::sleep(LEASE * 2).await;
    let stats = servers.bus.stats().await;
    let is_waiting = stats.consumers.iter().any(|c| c.lag == 2);
    assert!(is_waiting, "the bus keeps them: {stats:?}");
    outage.store(false, Relaxed);
    servers.settled().await;
    let history = ds::ListHistoryRequest {
        tenant: TENANT.into(),
        device: id(1),
        path: VALUE.into(),
        ..ds::ListHistoryRequest::default()
    };
    let entries = a.state.list_history(history).await.unwrap().entries;
    let values = entries.iter().map(|e| (&*e.old_value, &*e.new_value));
    let values: Vec<_> = values.collect();
    assert_eq!(
        values,
        [("3", "4"), ("2", "3"), ("1", "2")],
        "the latest first"
    );
    let row = servers.store.device(&key(&id(1))).await.unwrap().unwrap();
    let count = &row[&DeviceColumn::InformCount].value;
    assert_eq!(count, &hearth_store::CellValue::Int(4));
    a.end().await;
}

#[tokio::test]
async fn signs_of_life_are_written_now_and_then() {
    let servers = Servers::start().await;
    let a = servers.replica("a").await;
    let device = key(&id(1));
    for at in 1..=100 {
        let event = inform(&id(1), START + at, "2 PERIODIC", &[(VALUE, "1")]);
        servers.publish(&event).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    servers.settled().await;
    let row = servers.store.device(&device).await.unwrap().unwrap();
    let seen = row[&DeviceColumn::LastSeen].time.as_micros();
    assert_eq!(seen, START + 100, "the last one is there");
    let count = &row[&DeviceColumn::InformCount].value;
    assert_eq!(count, &hearth_store::CellValue::Int(100));
    let text = a.registry.render();
    let name = "hearth_device_state_flush_seconds_count ";
    let flushes = text.lines().find_map(|line| line.strip_prefix(name));
    let flushes: u64 = flushes.unwrap().parse().unwrap();
    assert!(flushes < 12, "{flushes} writes for 100 sessions");
    a.end().await;
}

#[tokio::test]
async fn a_deleted_device_is_forgotten_by_who_works_on_it() {
    let servers = Servers::start().await;
    let a = servers.replica("a").await;
    let b = servers.replica("b").await;
    tokio::time::sleep(LEASE * 2).await;
    for n in 0..20 {
        let event = inform(&id(n), START - 100, "1 BOOT", &[(VALUE, "1")]);
        servers.publish(&event).await;
    }
    servers.settled().await;
    for n in 0..20 {
        let request = ds::DeleteDeviceRequest {
            tenant: TENANT.into(),
            device: id(n),
        };
        a.state.delete_device(request).await.unwrap();
    }
    servers.settled().await;
    for n in 0..20 {
        assert_eq!(servers.store.device(&key(&id(n))).await.unwrap(), None);
    }
    // What comes later makes the whole record again.
    for n in 0..20 {
        let event = inform(&id(n), START + 100, "1 BOOT", &[(VALUE, "1")]);
        servers.publish(&event).await;
        let read = values(
            &id(n),
            START + 101,
            ev::ValueSource::Read,
            &[("Device.A", "x")],
        );
        servers.publish(&read).await;
    }
    servers.settled().await;
    for n in 0..20 {
        assert_eq!(servers.value(&id(n)).await, "1");
        let row = servers.store.device(&key(&id(n))).await.unwrap().unwrap();
        assert!(row.contains_key(&DeviceColumn::SerialNumber));
    }
    a.end().await;
    b.end().await;
}

#[tokio::test]
async fn tags_changed_through_two_replicas_at_once_all_count() {
    let servers = Servers::start().await;
    let a = servers.replica("a").await;
    let b = servers.replica("b").await;
    let event = inform(&id(1), START, "1 BOOT", &[]);
    servers.publish(&event).await;
    servers.settled().await;
    let change = |add: Vec<String>, remove: Vec<String>| ds::SetTagsRequest {
        tenant: TENANT.into(),
        device: id(1),
        add,
        remove,
    };
    let of_a: fn(i64) -> String = |n| format!("a-{n}");
    let of_b: fn(i64) -> String = |n| format!("b-{n}");
    let mut expected = std::collections::BTreeSet::new();
    for n in 0..20 {
        // Each adds one and takes its last but one away.
        let old = |name: fn(i64) -> String| if n > 1 { vec![name(n - 2)] } else { vec![] };
        let first = a.state.set_tags(change(vec![of_a(n)], old(of_a)));
        let second = b.state.set_tags(change(vec![of_b(n)], old(of_b)));
        let (first, second) = tokio::join!(first, second);
        for tag in [of_a(n), of_b(n)] {
            expected.insert(tag);
        }
        if n > 1 {
            expected.remove(&of_a(n - 2));
            expected.remove(&of_b(n - 2));
        }
        assert!(first.unwrap().device.unwrap().tags.contains(&of_a(n)));
        assert!(second.unwrap().device.unwrap().tags.contains(&of_b(n)));
        let request = ds::GetDeviceRequest {
            tenant: TENANT.into(),
            device: id(1),
        };
        for replica in [&a, &b] {
            let told = replica.state.get_device(request.clone()).await.unwrap();
            let tags = told.device.unwrap().tags;
            assert_eq!(
                tags,
                expected.iter().cloned().collect::<Vec<_>>(),
                "round {n}"
            );
        }
    }
    let entries = servers.store.index_of(&key(&id(1))).await.unwrap();
    let tags = entries.iter().filter(|(attribute, _)| attribute == "tag");
    assert_eq!(tags.count(), expected.len());
    a.end().await;
    b.end().await;
}

/// Whether a device may come with a user, by one replica.
async fn may_come(replica: &Replica, username: &str, device: &str) -> bool {
    let request = ds::CheckIdentityRequest {
        tenant: TENANT.into(),
        username: username.into(),
        device: device.into(),
        ..ds::CheckIdentityRequest::default()
    };
    let answer = replica.state.check_identity(request).await.unwrap();
    answer.allowed
}

async fn soon(replica: &Replica, username: &str, device: &str, may: bool) {
    let begun = std::time::Instant::now();
    while may_come(replica, username, device).await != may {
        let waited = begun.elapsed();
        assert!(waited < Duration::from_secs(8), "{device} as {username}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Who a device is costs nothing in the store until it changes, and then all replicas know.
#[tokio::test]
async fn identities_are_remembered_until_any_replica_changes_them() {
    let servers = Servers::start().await;
    let a = servers.replica("a").await;
    let b = servers.replica("b").await;
    tokio::time::sleep(LEASE * 2).await;
    let put = async |username: &str, kind: ds::CredentialKind, device: &str| {
        let mut credential = ds::Credential {
            tenant: TENANT.into(),
            username: username.into(),
            device: device.into(),
            ..ds::Credential::default()
        };
        credential.set_kind(kind);
        let request = ds::PutCredentialRequest {
            credential: Some(credential),
            password: "secret".into(),
        };
        a.state.put_credential(request).await.unwrap();
    };
    let set = async |state: DeviceState| {
        let mut request = ds::SetDeviceStateRequest {
            tenant: TENANT.into(),
            device: id(1),
            ..ds::SetDeviceStateRequest::default()
        };
        request.set_state(state);
        a.state.set_device_state(request).await.unwrap();
    };
    put("new", ds::CredentialKind::Onboarding, "").await;
    assert!(may_come(&b, "new", &id(1)).await);

    // Behind the back of all, which shows that the store isn't read again.
    let blocked = Document {
        key: format!("lifecycle/{}", id(1)),
        time: hearth_types::Timestamp::from_micros(START),
        payload: vec![8, u8::try_from(i32::from(DeviceState::Blocked)).unwrap()],
    };
    let (kind, tenant) = (DocumentKind::Setting, TENANT.parse().unwrap());
    let put_blocked = servers.store.put_document(kind, &tenant, blocked);
    put_blocked.await.unwrap();
    tokio::time::sleep(Duration::from_millis(3300)).await;
    assert!(may_come(&b, "new", &id(1)).await);

    set(DeviceState::Blocked).await;
    assert!(!may_come(&a, "new", &id(1)).await);
    soon(&b, "new", &id(1), false).await;
    set(DeviceState::Active).await;
    assert!(may_come(&a, "new", &id(1)).await);
    soon(&b, "new", &id(1), true).await;

    // The first use of a credential of its own shuts the other one out, everywhere.
    put("own", ds::CredentialKind::Device, &id(2)).await;
    assert!(may_come(&b, "new", &id(2)).await);
    assert!(may_come(&a, "own", &id(2)).await);
    soon(&b, "new", &id(2), false).await;

    a.end().await;
    b.end().await;
}
