//! Nothing waits unseen: a task that no session will ask for by itself gets its device woken, and
//! one whose maker went away is worked on all the same.

use crate::common::{self, DEVICE, Loss, Script, TENANT, World, cpe::Cpe};
use futures::FutureExt;
use hearth_clients::Workflow;
use hearth_proto::{
    types::v1::{GetParameterValues, TaskState, task_spec::Kind},
    wakeup::v1::WakeOutcome,
    workflow::v1 as wf,
};
use std::{sync::atomic::Ordering::SeqCst, time::Duration};

fn read() -> wf::CreateTaskRequest {
    let mut request = common::create(Kind::GetParameterValues(GetParameterValues {
        paths: vec!["Device.DeviceInfo.".into()],
    }));
    request.no_wake = false;
    request
}

/// Waits until the device was asked so often to connect.
async fn asked(world: &World, times: u32) {
    for _ in 0..600 {
        if world.wakeup.asked.load(SeqCst) >= times {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!(
        "asked {} times, not {times}",
        world.wakeup.asked.load(SeqCst)
    );
}

#[tokio::test]
async fn a_task_that_came_too_late_for_the_session_wakes_the_device() {
    let (mut world, mut cpe) = (World::new().await, Cpe::new());
    let open = world.open(&mut cpe).await;
    world.service.open_session(open).await.unwrap();
    let made = world.service.create_task(read()).await.unwrap();
    let id = made.task.unwrap().id;
    assert!(!world.state(&id).await.is_final());
    // The session never asks for work again: its device has gone.
    world.advance(60);
    asked(&world, 1).await;
}

#[tokio::test]
async fn a_session_without_open_tasks_needs_no_second_call() {
    let (mut world, mut cpe) = (World::new().await, Cpe::new());
    let open = world.open(&mut cpe).await;
    assert!(!world.service.open_session(open).await.unwrap().pending);
    // One that is open makes the session ask, also one that waits for the device.
    let reboot = Kind::Reboot(hearth_proto::types::v1::Reboot {});
    let id = world.create(reboot).await;
    let open = world.open(&mut cpe).await;
    assert!(world.service.open_session(open).await.unwrap().pending);
    world.session(&mut cpe).await;
    assert_eq!(world.state(&id).await, TaskState::WaitingForDevice);
    let mut open = world.open(&mut cpe).await;
    open.events.clear();
    assert!(world.service.open_session(open).await.unwrap().pending);
}

#[tokio::test]
async fn a_task_made_in_an_idle_session_wakes_its_device_until_it_comes() {
    let (mut world, mut cpe) = (World::new().await, Cpe::new());
    let open = world.open(&mut cpe).await;
    assert!(!world.service.open_session(open).await.unwrap().pending);
    // The device is still in that session, and too busy for another.
    for _ in 0..2 {
        world.wakeup.will(WakeOutcome::Busy, "the device is busy");
    }
    let made = world.service.create_task(read()).await.unwrap();
    let id = made.task.unwrap().id;
    for (times, after) in [(1, 0), (2, 2), (3, 3)] {
        world.advance(after);
        asked(&world, times).await;
    }
    world.session(&mut cpe).await;
    assert_eq!(world.state(&id).await, TaskState::Succeeded);
}

#[tokio::test]
async fn a_device_whose_address_is_not_known_yet_is_asked_again() {
    let world = World::new().await;
    world.wakeup.will(WakeOutcome::NoAddress, "no address yet");
    let made = world.service.create_task(read()).await.unwrap();
    asked(&world, 1).await;
    let waits = world
        .wait_for(&made.task.unwrap().id, TaskState::Queued)
        .await;
    assert!(waits.reason.contains("no address yet"), "{}", waits.reason);
    tokio::time::sleep(Duration::from_millis(50)).await;
    world.wakeup.will(WakeOutcome::NoAddress, "still none");
    world.advance(11);
    asked(&world, 2).await;
    // It does not tell any: its own Inform is waited for.
    tokio::time::sleep(Duration::from_millis(50)).await;
    world.advance(500);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(world.wakeup.asked.load(SeqCst), 2);
}

#[tokio::test]
async fn a_device_that_left_in_the_middle_is_woken() {
    let (mut world, mut cpe) = (World::new().await, Cpe::new());
    // The first connection request is for naught: the device comes by itself.
    world.wakeup.will(WakeOutcome::Forbidden, "not allowed");
    let made = world.service.create_task(read()).await.unwrap();
    let id = made.task.unwrap().id;
    asked(&world, 1).await;
    let script = Script {
        lose: Some((0, Loss::Before)),
        duplicate: false,
    };
    world.session_as(&mut cpe, script).await;
    assert_eq!(world.state(&id).await, TaskState::Running);
    world.advance(60);
    asked(&world, 2).await;
    world.session(&mut cpe).await;
    assert_eq!(world.state(&id).await, TaskState::Succeeded);
}

/// Which replica has the session is chance: the one that woke the device may not hear of it.
#[tokio::test]
async fn a_device_that_came_to_another_replica_is_asked_at_once_for_the_next_task() {
    let (mut world, mut cpe) = (World::new().await, Cpe::new());
    let other = world.twin().await;
    world.service.create_task(read()).await.unwrap();
    asked(&world, 1).await;
    // It has accepted, and that is known.
    tokio::time::sleep(Duration::from_millis(50)).await;
    let open = world.open(&mut cpe).await;
    let opened = other.service.open_session(open.clone()).await.unwrap();
    let mut turn = common::turn(open, opened.epoch);
    let mut requests = 0;
    while let Some(request) =
        common::request(other.service.next_request(turn.clone()).await.unwrap())
    {
        turn.outcome = Some(cpe.outcome(request));
        requests += 1;
    }
    assert_eq!(requests, 1);
    world.service.create_task(read()).await.unwrap();
    asked(&world, 2).await;
}

#[tokio::test]
async fn a_device_that_is_on_its_way_is_not_asked_at_once_for_the_next_task() {
    let world = World::new().await;
    world.service.create_task(read()).await.unwrap();
    asked(&world, 1).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    world.service.create_task(read()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(world.wakeup.asked.load(SeqCst), 1);
    world.advance(5);
    asked(&world, 2).await;
}

/// A replica that is replaced takes no wake-up with it.
#[tokio::test]
async fn a_replica_that_ends_hands_its_wake_ups_over() {
    let world = World::new().await;
    let other = world.twin().await;
    // The reminder stands at the older one, which itself wakes nobody.
    let quiet = wf::CreateTaskRequest {
        no_wake: true,
        ..read()
    };
    world.service.create_task(quiet).await.unwrap();
    world.wakeup.will(WakeOutcome::Unreachable, "no answer");
    other.service.create_task(read()).await.unwrap();
    asked(&world, 1).await;
    // It is asked again after ten seconds, and by whom is all the same.
    tokio::time::sleep(Duration::from_millis(50)).await;
    let last = other.service.clone();
    other.end().await;
    world.advance(11);
    asked(&world, 2).await;
    // What still reached it goes the same way: after five seconds, since the device has accepted.
    tokio::time::sleep(Duration::from_millis(50)).await;
    last.create_task(read()).await.unwrap();
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        world.advance(1);
    }
    asked(&world, 3).await;
}

#[tokio::test]
async fn a_replica_that_ends_hands_over_whom_it_is_asking() {
    let world = World::new().await;
    let other = world.twin().await;
    world.wakeup.silent.store(true, SeqCst);
    other.service.create_task(read()).await.unwrap();
    asked(&world, 1).await;
    world.wakeup.silent.store(false, SeqCst);
    other.end().await;
    asked(&world, 2).await;
}

#[tokio::test]
async fn a_task_whose_maker_went_away_is_worked_on() {
    let (mut world, mut cpe) = (World::new().await, Cpe::new());
    let mut request = read();
    request.idempotency_key = "once".into();
    // The caller hangs up while the ledger is being written.
    let made = world.service.create_task(request.clone()).now_or_never();
    assert!(made.is_none(), "polled once, and dropped");
    let listed = wf::ListTasksRequest {
        tenant: TENANT.into(),
        device: DEVICE.into(),
        ..wf::ListTasksRequest::default()
    };
    let id = loop {
        let found = world.service.list_tasks(listed.clone()).await.unwrap();
        match found.tasks.into_iter().next() {
            Some(task) => break task.id,
            None => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    };
    let again = world.service.create_task(request).await.unwrap();
    assert!(again.existed, "it was made all the same");
    assert_eq!(world.session(&mut cpe).await, 1, "and is sent");
    assert_eq!(world.state(&id).await, TaskState::Succeeded);
}
