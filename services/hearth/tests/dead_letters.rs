//! Dead letters from end to end, in both forms: what nobody can read is put aside, is listed, replayed and deleted by the
//! API, and a device beside it is let in.

use crate::apart::api;
use crate::apart::{Process, alone, common};
use hearth_bus::{Bus, ConsumerSpec, EmbeddedBus, EmbeddedOptions, NatsBus, Publish, Stream};
use hearth_engine::{Engine, EngineOptions};
use hearth_proto::events::v1 as ev;
use hearth_proto::northbound::v1 as nb;
use hearth_proto::northbound::v1::operations_service_client::OperationsServiceClient;
use hearth_server::roles::Role;
use hearth_sim::Fleet;
use hearth_telemetry::Registry;
use hearth_types::{DeviceKey, Timestamp};
use prost::Message;
use std::time::Duration;

const CORRUPT: &str = "001122-X-1";
const UNKNOWN: &str = "001122-X-2";

/// Publishes what nobody can read, and an event of a kind that only a later version has.
async fn publish(bus: &dyn Bus) {
    let event = ev::Event {
        tenant: "default".into(),
        device: UNKNOWN.into(),
        time_us: 1_767_225_600_000_000,
        ..ev::Event::default()
    };
    let later = [event.encode_to_vec(), vec![0xc2, 0x3e, 0]].concat();
    for (device, payload) in [(CORRUPT, vec![0xff; 40]), (UNKNOWN, later)] {
        let message = Publish {
            stream: Stream::Inform,
            device: DeviceKey::parse("default", device).unwrap(),
            message_id: None,
            time: Timestamp::from_micros(1_767_225_600_000_000),
            payload: payload.into(),
        };
        bus.publish(message).await.unwrap();
    }
}

type Api = OperationsServiceClient<api::Api>;

/// Waits until there are so many, and none is being worked on.
async fn letters(api: &mut Api, count: usize) -> Vec<nb::DeadLetter> {
    for _ in 0..300 {
        let request = nb::ListDeadLettersRequest {
            parent: "tenants/-".into(),
            ..nb::ListDeadLettersRequest::default()
        };
        let found = api.list_dead_letters(request).await.unwrap().into_inner();
        if found.dead_letters.len() == count {
            return found.dead_letters;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("not {count} dead letters");
}

/// What holds for both forms.
async fn scene(process: Process) {
    let mut api = Api::new(process.api().await);
    let fleet = Fleet::start(process.fleet()).await.unwrap();
    let found = letters(&mut api, 2).await;
    let get = |of: &nb::DeadLetter| nb::GetDeadLetterRequest {
        name: of.name.clone(),
    };
    let by = |id: &str| found.iter().find(|l| l.device.ends_with(id)).unwrap();
    let shown = api.get_dead_letter(get(by(CORRUPT))).await.unwrap();
    let shown = shown.into_inner().dead_letter.unwrap();
    assert!(shown.event_json.is_empty() && !shown.unreadable.is_empty());
    let shown = api.get_dead_letter(get(by(UNKNOWN))).await.unwrap();
    let shown = shown.into_inner().dead_letter.unwrap();
    assert!(shown.event_json.contains(UNKNOWN), "{shown:?}");
    // What can't be read today can't be read again, and is replayed once in one go.
    let request = nb::ReplayDeadLettersRequest {
        parent: "tenants/default".into(),
        ..nb::ReplayDeadLettersRequest::default()
    };
    let replayed = api.replay_dead_letters(request).await.unwrap().into_inner();
    assert_eq!(replayed.replayed, 2);
    let again = letters(&mut api, 2).await;
    assert!(again.iter().all(|l| found.iter().all(|f| f.name != l.name)));
    for letter in again {
        let name = letter.name;
        let request = nb::DeleteDeadLetterRequest { name };
        api.delete_dead_letter(request).await.unwrap();
    }
    letters(&mut api, 0).await;
    let device = &fleet.devices()[0];
    for _ in 0..300 {
        if device.with_ledger(|ledger| ledger.informs) > 0 && !device.in_session() {
            fleet.stop().await;
            return process.end().await;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the device was not let in");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_of_the_embedded_bus() {
    let dir = tempfile::tempdir().unwrap();
    let config = alone(dir.path());
    let first = Process::start(&config, &config.roles).await;
    let (onboarding, token) = (first.onboarding.clone(), first.token.clone());
    first.end().await;
    // What another version left behind.
    let engine = Engine::open(EngineOptions::new(config.data_dir.join("db"))).unwrap();
    let bus = EmbeddedBus::open(engine.clone(), EmbeddedOptions::default()).await;
    let bus = bus.unwrap();
    let spec = ConsumerSpec::new("device-state", Stream::ALL);
    drop(bus.consumer(spec).await.unwrap());
    publish(&bus).await;
    bus.close().await.unwrap();
    engine.close();
    drop((bus, engine));
    let mut process = Process::start(&config, &config.roles).await;
    // Both are told once only.
    (process.onboarding, process.token) = (onboarding, token);
    scene(process).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_of_nats() {
    let dir = tempfile::tempdir().unwrap();
    let Some(common) = common(dir.path()) else {
        return;
    };
    let process = Process::start(&common, Role::ALL.as_slice()).await;
    let bus = NatsBus::connect(&common.nats, &Registry::new())
        .await
        .unwrap();
    publish(&bus).await;
    scene(process).await;
    bus.close().await.unwrap();
}
