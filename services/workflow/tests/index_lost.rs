//! The queue is away, or is being rebuilt, or loses a process: what devices answer is written all the
//! same, and who was to be woken is.

use crate::common::{self, TENANT, World, cpe::Cpe};
use futures::{StreamExt, stream};
use hearth_clients::{Kind as ErrorKind, Workflow};
use hearth_proto::{
    types::v1::{AddObject, GetParameterValues, TaskState, task_spec::Kind},
    wakeup::v1::WakeOutcome,
    workflow::v1 as wf,
};
use hearth_queue::Queue;
use hearth_types::DeviceKey;
use std::{
    collections::BTreeSet,
    sync::atomic::Ordering::SeqCst,
    time::{Duration, Instant},
};

fn wanted() -> wf::CreateTaskRequest {
    let mut request = common::create(Kind::GetParameterValues(GetParameterValues {
        paths: vec!["Device.DeviceInfo.".into()],
    }));
    request.no_wake = false;
    request
}

/// Waits until the device was asked so often to connect, and not more often.
async fn asked(world: &World, times: u32) {
    for _ in 0..600 {
        if world.wakeup.asked.load(SeqCst) >= times {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(world.wakeup.asked.load(SeqCst), times);
}

#[tokio::test]
async fn an_outcome_is_written_without_the_queue() {
    for rebuilding in [false, true] {
        let (mut world, mut cpe) = (World::new().await, Cpe::new());
        let id = world
            .create(Kind::AddObject(AddObject {
                object: "Device.NAT.PortMapping.".into(),
                values: Vec::new(),
            }))
            .await;
        let mut turn = world.opened(&mut cpe).await;
        while cpe.count("AddObject") == 0 {
            let request = world.next(&turn).await.expect("there is work");
            turn.outcome = Some(cpe.outcome(request));
        }
        let queue = world.queue.clone();
        let trouble = match rebuilding {
            true => &queue.rebuilding,
            false => &queue.down,
        };
        trouble.store(true, SeqCst);
        let failed = world.service.next_request(turn.clone()).await.unwrap_err();
        assert!(failed.is_retryable(), "{failed}");
        let task = world.task(&id).await;
        assert_eq!(task.state(), TaskState::Succeeded, "{}", task.reason);
        trouble.store(false, SeqCst);
        // The device asks again.
        assert_eq!(world.next(&turn).await, None);
        assert_eq!(queue.depth().await.unwrap().open, 0);
        assert_eq!(cpe.count("AddObject"), 1);
    }
}

#[tokio::test]
async fn a_wake_up_that_meets_a_rebuild_is_made_after_it() {
    let world = World::new().await;
    world.wakeup.will(WakeOutcome::Busy, "the device is busy");
    world.service.create_task(wanted()).await.unwrap();
    asked(&world, 1).await;
    for trouble in [&world.queue.rebuilding, &world.queue.down] {
        trouble.store(true, SeqCst);
    }
    for _ in 0..3 {
        world.advance(2);
        asked(&world, 1).await;
    }
    for trouble in [&world.queue.rebuilding, &world.queue.down] {
        trouble.store(false, SeqCst);
    }
    world.advance(2);
    asked(&world, 2).await;
}

#[tokio::test]
async fn another_process_wakes_for_one_that_died() {
    let (mut world, mut cpe) = (World::new().await, Cpe::new());
    let twin = world.twin().await;
    let outcome = WakeOutcome::Unreachable;
    world.wakeup.will(outcome, "the device can't be reached");
    let made = twin.service.create_task(wanted()).await.unwrap();
    let id = made.task.unwrap().id;
    asked(&world, 1).await;
    world.wait_for(&id, TaskState::Queued).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    // It can tell nobody of its plans any more.
    world.queue.down.store(true, SeqCst);
    twin.end().await;
    world.queue.down.store(false, SeqCst);
    // Its next try was due after 10 s.
    world.advance(60);
    asked(&world, 1).await;
    world.advance(60);
    asked(&world, 2).await;
    world.session(&mut cpe).await;
    assert_eq!(world.state(&id).await, TaskState::Succeeded);
}

#[tokio::test]
async fn a_device_that_no_one_can_wake_is_left_alone() {
    let world = World::new().await;
    let outcome = WakeOutcome::Forbidden;
    world.wakeup.will(outcome, "its address may not be called");
    world.service.create_task(wanted()).await.unwrap();
    asked(&world, 1).await;
    for _ in 0..5 {
        world.advance(100);
        asked(&world, 1).await;
    }
}

#[tokio::test]
async fn tasks_are_made_while_their_index_is_being_rebuilt() {
    let mut config = common::config();
    config.max_open_per_device = 3;
    let world = World::with(config).await;
    world.queue.rebuilding.store(true, SeqCst);
    for _ in 0..3 {
        world.service.create_task(wanted()).await.unwrap();
    }
    // The ledger counts them meanwhile.
    let refused = world.service.create_task(wanted()).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::ResourceExhausted, "{refused}");
    asked(&world, 0).await;
    world.queue.rebuilding.store(false, SeqCst);
    world.advance(2);
    asked(&world, 1).await;
}

/// Names of devices in different buckets.
fn devices(count: usize) -> Vec<String> {
    let mut buckets = BTreeSet::new();
    (0..)
        .map(|serial| format!("001122-Full-{serial}"))
        .filter(|name| buckets.insert(DeviceKey::parse(TENANT, name).unwrap().bucket()))
        .take(count)
        .collect()
}

/// A request for a task of this device, that wakes nobody.
fn of(device: &str) -> wf::CreateTaskRequest {
    wf::CreateTaskRequest {
        device: device.into(),
        no_wake: true,
        ..wanted()
    }
}

async fn fill(world: &World, devices: &[String], each: usize) {
    let requests = devices
        .iter()
        .flat_map(|device| std::iter::repeat_n(of(device), each));
    let making = requests.map(|request| world.service.create_task(request));
    let made: Vec<_> = stream::iter(making).buffer_unordered(64).collect().await;
    assert!(made.iter().all(Result::is_ok), "{:?}", made.first());
}

/// Waits until a metric has a value.
async fn until(world: &World, line: &str, value: u64) {
    let mut found = String::new();
    for _ in 0..600 {
        let text = world.registry.render();
        let rest = text.lines().find_map(|found| found.strip_prefix(line));
        found = rest.unwrap_or_default().trim().to_owned();
        if found == value.to_string() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{line} is {found}, not {value}");
}

fn rebuilt(why: &str) -> String {
    format!("hearth_workflow_rebuilt_buckets_total{{why=\"{why}\"}}")
}

/// 2,997 tasks at 1,000 a second; the last 499 are waited for once all are in. Those who work with the
/// queue meanwhile are answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuild_keeps_to_its_rate_and_work_goes_on() {
    let mut config = common::config();
    config.rebuild_rate = 1000;
    let mut world = World::with(config).await;
    let full = devices(3);
    fill(&world, &full, 999).await;
    let begun = Instant::now();
    world.queue.wipe();
    let mut made = 0;
    loop {
        let lost = world.queue.lost().await;
        if lost.is_empty() {
            break;
        }
        let device = format!("001122-New-{made}");
        let bucket = DeviceKey::parse(TENANT, &device).unwrap().bucket();
        let open = wf::OpenSessionRequest {
            tenant: TENANT.into(),
            device: device.clone(),
            session: "s".into(),
            idle_timeout_ms: 30_000,
            ..wf::OpenSessionRequest::default()
        };
        let work = async {
            let opened = world.service.open_session(open).await.unwrap();
            let is_lost = world.queue.lost().await.contains(&bucket);
            assert!(opened.pending || !is_lost, "what is lost may hold work");
            world.service.create_task(of(&device)).await.unwrap();
        };
        let in_time = tokio::time::timeout(Duration::from_secs(2), work).await;
        assert!(in_time.is_ok(), "round {made} is held up by the rebuild");
        made += 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(begun.elapsed() < Duration::from_secs(60), "{lost:?}");
    }
    let took = begun.elapsed();
    // The last page of the last bucket is waited for after it is in service.
    assert!(took >= Duration::from_millis(2400), "{took:?}");
    assert!(made >= 10, "{made} rounds");
    let open = world.queue.depth().await.unwrap().open;
    assert_eq!(open, 3 * 999 + made);
    until(&world, &rebuilt("lost"), 64).await;
    until(&world, "hearth_workflow_rebuild_seconds_count", 128).await;

    // The same at a start.
    world.config.rebuild_rate = 3000;
    let begun = Instant::now();
    world.restart().await;
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(900), "{took:?}");
    until(&world, &rebuilt("start"), 64).await;
    assert_eq!(world.queue.depth().await.unwrap().open, open);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_share_a_rebuild() {
    let mut config = common::config();
    config.rebuild_rate = 1000;
    let world = World::with(config).await;
    let _twin = world.twin().await;
    fill(&world, &devices(4), 200).await;
    world.queue.wipe();
    let deadline = Instant::now() + Duration::from_secs(60);
    while !world.queue.lost().await.is_empty() {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Both have come to the end of their rounds.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let rebuilt = world.queue.rebuilt.load(SeqCst);
    assert!((64..80).contains(&rebuilt), "{rebuilt} rebuilds");
    assert_eq!(world.queue.depth().await.unwrap().open, 800);
}
