//! The ledger over time: rows that can't be read, tasks that are asked for again, and those that
//! nobody needs any more.

use crate::common::{self, TENANT, World, cpe::Cpe};
use hearth_bus::{Bus, ConsumerSpec, Publish, Stream};
use hearth_clients::Workflow;
use hearth_config::HumanDuration;
use hearth_proto::{
    types::v1::{GetParameterValues, TaskState, task_spec::Kind},
    workflow::v1 as wf,
};
use hearth_store::{Store, TaskRow};
use hearth_types::{DeviceKey, Timestamp};
use hearth_workflow::WorkflowConfig;
use std::time::Duration;

const YEAR: u64 = 365 * 24 * 3600;

fn read() -> Kind {
    Kind::GetParameterValues(GetParameterValues {
        paths: vec!["Device.DeviceInfo.".into()],
    })
}

fn keyed(key: &str) -> wf::CreateTaskRequest {
    wf::CreateTaskRequest {
        idempotency_key: key.into(),
        ..common::create(read())
    }
}

async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) {
    for _ in 0..2000 {
        if done().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("never: {what}");
}

fn metric(world: &World, name: &str) -> f64 {
    let text = world.registry.render();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.map_or(0.0, |value| value.trim().parse().unwrap())
}

#[tokio::test]
async fn a_damaged_row_stops_neither_the_start_nor_its_device() {
    let (mut world, mut cpe) = (World::new().await, Cpe::new());
    let damaged = world.create(read()).await;
    let sound = world.create(read()).await;
    let row = TaskRow {
        id: damaged.parse().unwrap(),
        device: DeviceKey::parse(TENANT, common::DEVICE).unwrap(),
        open: true,
        revision: 2,
        payload: vec![0xff; 9],
    };
    world.store.put_tasks(vec![row]).await.unwrap();
    world.restart().await;
    assert!(metric(&world, "hearth_workflow_damaged_tasks_total") >= 1.0);
    world.session(&mut cpe).await;
    assert_eq!(world.state(&sound).await, TaskState::Succeeded);
    // Who asks for it is told.
    let asked = wf::GetTaskRequest {
        tenant: TENANT.into(),
        task: damaged,
    };
    let told = world.service.get_task(asked).await.unwrap_err();
    assert_eq!(told.kind, hearth_clients::Kind::Internal);
    let listed = wf::ListTasksRequest {
        tenant: TENANT.into(),
        ..wf::ListTasksRequest::default()
    };
    let listed = world.service.list_tasks(listed).await.unwrap();
    assert_eq!(listed.tasks.len(), 1);
}

#[tokio::test]
async fn a_row_that_is_damaged_later_stops_no_session() {
    for booted in [false, true] {
        let (mut world, mut cpe) = (World::new().await, Cpe::new());
        let damaged = world.create(read()).await;
        let sound = world.create(read()).await;
        let id = damaged.parse().unwrap();
        world.store.damaged.lock().unwrap().push(id);
        if booted {
            cpe.tells("1 BOOT", "");
        }
        world.session(&mut cpe).await;
        assert_eq!(world.state(&sound).await, TaskState::Succeeded);
    }
}

#[tokio::test]
async fn a_create_that_is_repeated_late_answers_its_task() {
    let config = WorkflowConfig {
        max_open_per_device: 2,
        ..common::config()
    };
    let mut world = World::with(config).await;
    let mut request = keyed("once");
    request.deadline_us = common::now(&world) + 10_000_000;
    let first = world.service.create_task(request.clone()).await.unwrap();
    let first = first.task.unwrap();
    // Nothing more fits.
    world.create(read()).await;
    let full = world.service.create_task(keyed("other")).await.unwrap_err();
    assert_eq!(full.kind, hearth_clients::Kind::ResourceExhausted);
    let again = world.service.create_task(request.clone()).await.unwrap();
    assert!(again.existed);
    assert_eq!(again.task.unwrap().id, first.id);
    // Its deadline has passed.
    world.advance(20);
    world.wait_for(&first.id, TaskState::Expired).await;
    for restarts in [false, true] {
        if restarts {
            world.restart().await;
        }
        let again = world.service.create_task(request.clone()).await.unwrap();
        assert!(again.existed);
        let task = again.task.unwrap();
        assert_eq!(
            (task.id.as_str(), task.state()),
            (first.id.as_str(), TaskState::Expired)
        );
    }
}

#[tokio::test]
async fn what_is_beyond_its_time_goes() {
    let config = WorkflowConfig {
        trim_interval: HumanDuration::millis(20),
        // Ids hold the time of this machine's clock, not of the test's.
        task_retention: HumanDuration::secs(10 * YEAR),
        dead_letter_retention: HumanDuration::secs(10 * YEAR),
        ..common::config()
    };
    let (mut world, mut cpe) = (World::with(config).await, Cpe::new());
    let ended = world.service.create_task(keyed("old")).await.unwrap();
    let ended = ended.task.unwrap().id;
    world.session(&mut cpe).await;
    assert_eq!(world.state(&ended).await, TaskState::Succeeded);
    let mut open = keyed("open");
    open.deadline_us = common::now(&world) + 30 * YEAR.cast_signed() * 1_000_000;
    let open = world.service.create_task(open).await.unwrap().task.unwrap();
    dead_letter(&world).await;
    let letters = async |world: &World| {
        let page = world.bus.dead_letters(None, 10).await.unwrap();
        page.letters.len()
    };
    assert_eq!(letters(&world).await, 1);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(world.state(&ended).await, TaskState::Succeeded, "too young");
    assert_eq!(letters(&world).await, 1, "too young");

    world.advance(20 * YEAR);
    until("the task goes", async || {
        let asked = wf::GetTaskRequest {
            tenant: TENANT.into(),
            task: ended.clone(),
        };
        let asked = world.service.get_task(asked).await;
        asked.is_err_and(|error| error.kind == hearth_clients::Kind::NotFound)
    })
    .await;
    until("the letter goes", async || letters(&world).await == 0).await;
    assert!(!world.state(&open.id).await.is_final());
    for what in ["tasks", "dead_letters"] {
        let name = format!("hearth_workflow_{what}_trimmed_total");
        until(&name, async || metric(&world, &name) == 1.0).await;
    }
    // Its key is free for another.
    let again = world.service.create_task(keyed("old")).await.unwrap();
    assert!(!again.existed);
}

/// Makes a message that can't be worked on.
async fn dead_letter(world: &World) {
    let spec = ConsumerSpec::new("tests", [Stream::Transfer]);
    let consumer = world.bus.consumer(spec).await.unwrap();
    let message = Publish {
        stream: Stream::Transfer,
        device: DeviceKey::parse(TENANT, common::DEVICE).unwrap(),
        message_id: None,
        time: Timestamp::from_micros(common::now(world)),
        payload: bytes::Bytes::from_static(b"x"),
    };
    world.bus.publish(message).await.unwrap();
    let fetched = consumer.fetch(1, Duration::from_secs(5)).await.unwrap();
    consumer.term(fetched[0].seq, "told to").await.unwrap();
}
