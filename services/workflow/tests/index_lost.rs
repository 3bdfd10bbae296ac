//! The queue is away, or is being rebuilt, or loses a process: what devices answer is written all the
//! same, and who was to be woken is.

use crate::common::{self, DEVICE, TENANT, World, cpe::Cpe};
use hearth_clients::Workflow;
use hearth_proto::{
    types::v1::{AddObject, GetParameterValues, TaskState, task_spec::Kind},
    wakeup::v1::WakeOutcome,
    workflow::v1 as wf,
};
use hearth_queue::Queue;
use std::{sync::atomic::Ordering::SeqCst, time::Duration};
use wf::next_request_response::Kind as Next;

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
        let open = world.open(&mut cpe).await;
        let opened = world.service.open_session(open.clone()).await.unwrap();
        let mut turn = wf::NextRequestRequest {
            tenant: TENANT.into(),
            device: DEVICE.into(),
            session: open.session,
            epoch: opened.epoch,
            ..wf::NextRequestRequest::default()
        };
        while cpe.count("AddObject") == 0 {
            let next = world.service.next_request(turn.clone()).await.unwrap();
            let Next::Request(request) = next.kind.unwrap() else {
                panic!("there is work");
            };
            turn.outcome = Some(wf::RequestOutcome {
                kind: Some(cpe.execute(request.rpc.unwrap())),
                request_id: request.id,
                ..wf::RequestOutcome::default()
            });
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
        let next = world.service.next_request(turn).await.unwrap();
        assert!(matches!(next.kind, Some(Next::Done(_))));
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
    drop(twin);
    tokio::time::sleep(Duration::from_millis(100)).await;
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
    world.wakeup.will(WakeOutcome::NoAddress, "no address");
    world.service.create_task(wanted()).await.unwrap();
    asked(&world, 1).await;
    for _ in 0..5 {
        world.advance(100);
        asked(&world, 1).await;
    }
}
