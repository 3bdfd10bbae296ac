//! A device is given credentials of its own: one task, whose passwords are nowhere but in the request.

use crate::common::{self, DEVICE, TENANT, World, cpe::Cpe};
use futures::StreamExt;
use hearth_bus::{Bus, Stream, TailEvent};
use hearth_clients::Workflow;
use hearth_proto::{
    types::v1::{TaskState, task_spec::Kind},
    workflow::v1 as wf,
};
use std::sync::atomic::Ordering;

/// A device that has all four parameters.
fn device() -> Cpe {
    let mut cpe = Cpe::new();
    for name in [
        "Username",
        "ConnectionRequestUsername",
        "ConnectionRequestPassword",
    ] {
        let path = format!("Device.ManagementServer.{name}");
        cpe.values.insert(path, String::new());
    }
    cpe
}

async fn inform(world: &mut World, cpe: &mut Cpe) {
    let open = wf::OpenSessionRequest {
        rotate: true,
        root: "Device.".into(),
        ..world.open(cpe).await
    };
    let opened = world.service.open_session(open.clone()).await.unwrap();
    assert!(opened.pending || !world.tasks().await.is_empty());
    run(world, cpe, common::turn(open, opened.epoch)).await;
}

async fn run(world: &World, cpe: &mut Cpe, mut turn: wf::NextRequestRequest) {
    while let Some(request) = world.next(&turn).await {
        turn.outcome = Some(cpe.outcome(request));
    }
    cpe.session_ended();
}

#[tokio::test]
async fn a_device_gets_its_own_and_the_ledger_has_no_password() {
    let (mut world, mut cpe) = (World::new().await, device());
    let mut tail = world.bus.tail(&[Stream::Values]);
    inform(&mut world, &mut cpe).await;
    let tasks = world.tasks().await;
    assert_eq!(tasks.len(), 1);
    assert_eq!(
        tasks[0].state(),
        TaskState::Succeeded,
        "{}",
        tasks[0].reason
    );
    for (name, value) in [
        ("Username", "new-1"),
        ("Password", "to-server"),
        ("ConnectionRequestUsername", "new-1"),
        ("ConnectionRequestPassword", "to-device"),
    ] {
        let path = format!("Device.ManagementServer.{name}");
        assert_eq!(
            cpe.values.get(&path).map(String::as_str),
            Some(value),
            "{name}"
        );
    }
    assert_eq!(cpe.count("SetParameterValues"), 1);
    let Some(Kind::SetParameterValues(set)) = &tasks[0].spec.as_ref().unwrap().kind else {
        panic!("{tasks:?}");
    };
    assert_eq!(set.values.len(), 4);
    let sealed: Vec<_> = set.values.iter().map(|value| value.sealed.len()).collect();
    assert_eq!(sealed, [0, 11, 0, 11], "a reference: {:?}", set.values);
    let Some(TailEvent::Message(message)) = tail.next().await else {
        panic!("the bus ended");
    };
    let told = String::from_utf8_lossy(&message.payload).into_owned();
    assert!(told.contains("ConnectionRequestUsername"), "{told}");
    assert!(!told.contains("Password"), "{told}");
    for secret in ["to-server", "to-device"] {
        assert!(!format!("{tasks:?}").contains(secret));
        assert!(!told.contains(secret));
    }
    // It comes with the old once more, before it has noticed: nothing is sent again so soon.
    inform(&mut world, &mut cpe).await;
    assert_eq!(world.tasks().await.len(), 1);
    world.advance(601);
    inform(&mut world, &mut cpe).await;
    assert_eq!(world.tasks().await.len(), 2);
    assert_eq!(world.device_state.attempt.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_refusal_leaves_the_old_and_is_tried_again_later() {
    let (mut world, mut cpe) = (World::new().await, device());
    cpe.faults.insert("SetParameterValues", (9001, 1));
    inform(&mut world, &mut cpe).await;
    let tasks = world.tasks().await;
    assert_eq!(tasks[0].state(), TaskState::Failed, "{}", tasks[0].reason);
    assert_eq!(cpe.values["Device.ManagementServer.Password"], "");
    inform(&mut world, &mut cpe).await;
    assert_eq!(world.tasks().await.len(), 1);
    world.advance(601);
    inform(&mut world, &mut cpe).await;
    let tasks = world.tasks().await;
    assert_eq!((tasks.len(), tasks[0].state()), (2, TaskState::Succeeded));
}

#[tokio::test]
async fn credentials_that_are_not_pending_any_more_are_not_set() {
    let (mut world, mut cpe) = (World::new().await, device());
    world.device_state.gone.store(true, Ordering::SeqCst);
    inform(&mut world, &mut cpe).await;
    let tasks = world.tasks().await;
    assert_eq!(tasks[0].state(), TaskState::Failed);
    assert_eq!(cpe.count("SetParameterValues"), 0);
    // Made again by hand, it is still no task that sets empty passwords.
    let retry = wf::RetryTaskRequest {
        tenant: TENANT.into(),
        task: tasks[0].id.clone(),
    };
    world.service.retry_task(retry).await.unwrap();
    let turn = world.opened(&mut cpe).await;
    run(&world, &mut cpe, turn).await;
    assert_eq!(cpe.count("SetParameterValues"), 0);
}

impl World {
    /// The device's tasks, the newest first.
    async fn tasks(&self) -> Vec<wf::Task> {
        let request = wf::ListTasksRequest {
            tenant: TENANT.into(),
            device: DEVICE.into(),
            ..wf::ListTasksRequest::default()
        };
        self.service.list_tasks(request).await.unwrap().tasks
    }
}
