//! Two processes on one ledger and one queue: whichever comes first, the ledger tells the truth,
//! what was cancelled is never sent, and what was sent is never cancelled.

use crate::common::{self, TENANT, World, cpe::Cpe, doubles::FlakyStore, queue::FlakyQueue, value};
use hearth_clients::{Kind as ErrorKind, Workflow};
use hearth_proto::{
    types::v1::{
        AddObject, DeleteObject, Download, GetParameterValues, Reboot, SetParameterValues,
        TaskState, Upload, task_spec::Kind,
    },
    workflow::v1 as wf,
};
use hearth_queue::Queue;
use hearth_store::{Store, TaskQuery};
use prost::Message;
use std::sync::Arc;

fn read() -> Kind {
    Kind::GetParameterValues(GetParameterValues {
        paths: vec!["Device.DeviceInfo.".into()],
    })
}

fn add() -> Kind {
    Kind::AddObject(AddObject {
        object: "Device.NAT.PortMapping.".into(),
        values: vec![value("Description", "web")],
    })
}

/// What another process does right before the next write of tasks.
fn meanwhile(world: &World, other: impl Future<Output = ()> + Send + 'static) {
    let other = Box::new(move || Box::pin(other) as _);
    *world.store.before_put.lock().unwrap() = Some(other);
}

fn cancel(id: &str) -> wf::CancelTaskRequest {
    wf::CancelTaskRequest {
        tenant: TENANT.into(),
        task: id.into(),
    }
}

async fn open_in_queue(world: &World) -> u64 {
    world.queue.depth().await.unwrap().open
}

#[tokio::test]
async fn a_cancel_before_the_commit_keeps_the_request_from_being_sent() {
    let (mut world, mut cpe) = (World::new().await, Cpe::new());
    let twin = world.twin().await;
    let id = world.create(Kind::Reboot(Reboot {})).await;
    let turn = world.opened(&mut cpe).await;
    let (service, other) = (twin.service.clone(), cancel(&id));
    meanwhile(&world, async move {
        service.cancel_task(other).await.unwrap();
    });
    assert_eq!(world.next(&turn).await, None);
    let task = world.task(&id).await;
    assert_eq!(task.state(), TaskState::Cancelled);
    assert!(task.attempts.is_empty(), "{task:?}");
    assert_eq!(open_in_queue(&world).await, 0);
}

#[tokio::test]
async fn a_task_sent_before_the_cancels_commit_is_not_cancelled() {
    let (mut world, mut cpe) = (World::new().await, Cpe::new());
    let twin = world.twin().await;
    let id = world.create(add()).await;
    let mut turn = world.opened(&mut cpe).await;
    let (service, first) = (world.service.clone(), turn.clone());
    let (tell, told) = tokio::sync::oneshot::channel();
    meanwhile(&world, async move {
        tell.send(service.next_request(first).await.unwrap())
            .unwrap();
    });
    let refused = twin.service.cancel_task(cancel(&id)).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::FailedPrecondition, "{refused}");
    let mut next = common::request(told.await.unwrap());
    while let Some(request) = next {
        turn.outcome = Some(cpe.outcome(request));
        next = world.next(&turn).await;
    }
    assert_eq!(world.state(&id).await, TaskState::Succeeded);
    assert_eq!(cpe.count("AddObject"), 1);
}

#[tokio::test]
async fn what_a_turn_has_written_before_a_conflict_leaves_the_queue() {
    let (mut world, mut cpe) = (World::new().await, Cpe::new());
    let twin = world.twin().await;
    let first = world.create(read()).await;
    let second = world.create(Kind::Reboot(Reboot {})).await;
    let mut turn = world.opened(&mut cpe).await;
    let sent = world.next(&turn).await;
    turn.outcome = Some(cpe.outcome(sent.unwrap()));
    // The first one's end and the second one's begin are one write.
    let (service, other) = (twin.service.clone(), cancel(&second));
    meanwhile(&world, async move {
        service.cancel_task(other).await.unwrap();
    });
    assert_eq!(world.next(&turn).await, None);
    assert_eq!(world.state(&first).await, TaskState::Succeeded);
    assert_eq!(world.state(&second).await, TaskState::Cancelled);
    assert_eq!(open_in_queue(&world).await, 0);
    assert_eq!(cpe.count("Reboot"), 0);
}

/// Another process writes every open task, without changing what it says.
async fn touch(store: Arc<FlakyStore>) {
    let query = TaskQuery {
        tenant: TENANT.parse().unwrap(),
        device: None,
        open_only: true,
        before: None,
        limit: 100,
    };
    for mut row in store.tasks(&query).await.unwrap() {
        let mut task = wf::Task::decode(row.payload.as_slice()).unwrap();
        task.revision += 1;
        row.revision += 1;
        row.payload = task.encode_to_vec();
        store.put_tasks(vec![row]).await.unwrap();
    }
}

#[tokio::test]
async fn every_write_that_another_one_meets_is_decided_anew() {
    let download = Kind::Download(Download {
        file_type: "1 Firmware Upgrade Image".into(),
        file: format!("tenants/{TENANT}/files/fw.bin"),
        ..Download::default()
    });
    let upload = Kind::Upload(Upload {
        file_type: "1 Vendor Configuration File".into(),
        ..Upload::default()
    });
    let set = Kind::SetParameterValues(SetParameterValues {
        values: vec![value("Device.ManagementServer.Password", "hunter2")],
    });
    let delete = Kind::DeleteObject(DeleteObject {
        object: "Device.NAT.PortMapping.1.".into(),
    });
    for kind in [
        read(),
        set,
        add(),
        delete,
        Kind::Reboot(Reboot {}),
        download,
        upload,
    ] {
        let (mut world, mut cpe) = (World::new().await, Cpe::new());
        let armed = |world: &World| meanwhile(world, touch(Arc::clone(&world.store)));
        let id = world.create(kind.clone()).await;
        for _ in 0..3 {
            armed(&world);
            let mut turn = world.opened(&mut cpe).await;
            for transfer in cpe.reports() {
                armed(&world);
                assert!(world.report(transfer).await);
            }
            loop {
                armed(&world);
                let Some(request) = world.next(&turn).await else {
                    break;
                };
                turn.outcome = Some(cpe.outcome(request));
            }
            cpe.session_ended();
            cpe.transfer();
        }
        let task = world.task(&id).await;
        assert_eq!(task.state(), TaskState::Succeeded, "{kind:?} {task:?}");
        assert_eq!(open_in_queue(&world).await, 0, "{kind:?}");
        for rpc in ["AddObject", "Reboot", "Download", "Upload", "DeleteObject"] {
            assert!(cpe.count(rpc) <= 1, "{kind:?}: {rpc}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancels_that_race_with_sending_end_one_way_or_the_other() {
    let (mut world, mut cpe) = (World::new().await, Cpe::new());
    let twin = world.twin().await;
    let (mut sent, mut cancelled) = (0, 0);
    for _ in 0..60 {
        let id = world.create(read()).await;
        let mut turn = world.opened(&mut cpe).await;
        let (service, first) = (world.service.clone(), turn.clone());
        let sending = tokio::spawn(async move { service.next_request(first).await });
        let (service, other) = (twin.service.clone(), cancel(&id));
        let cancelling = tokio::spawn(async move { service.cancel_task(other).await });
        let next = common::request(sending.await.unwrap().unwrap());
        let cancel = cancelling.await.unwrap();
        match (next, cancel) {
            (None, Ok(_)) => {
                cancelled += 1;
                let task = world.task(&id).await;
                assert_eq!(task.state(), TaskState::Cancelled);
                assert!(task.attempts.is_empty(), "{task:?}");
            }
            (Some(request), Err(refused)) => {
                sent += 1;
                assert_eq!(refused.kind, ErrorKind::FailedPrecondition, "{refused}");
                turn.outcome = Some(cpe.outcome(request));
                world.service.next_request(turn).await.unwrap();
                assert_eq!(world.state(&id).await, TaskState::Succeeded);
            }
            (next, cancel) => panic!("sent {next:?}, and {cancel:?}"),
        }
        assert_eq!(open_in_queue(&world).await, 0);
    }
    assert_eq!(cpe.count("GetParameterValues"), sent);
    eprintln!("sent {sent}, cancelled {cancelled}");
}

/// After a failover the queue may be an older copy of itself, that doesn't know of the newest
/// session.
#[tokio::test]
async fn a_stale_index_gives_an_older_session_nothing() {
    let (mut world, mut cpe) = (World::new().await, Cpe::new());
    let id = world.create(add()).await;
    let old = world.opened(&mut cpe).await;
    // The newest: built from the ledger, as the stale one once was.
    let newest = world.replica(Arc::new(FlakyQueue::default())).await;
    world.advance(1);
    let open = world.open(&mut cpe).await;
    let opened = newest.service.open_session(open.clone()).await.unwrap();
    assert!(opened.epoch > old.epoch);
    let mut turn = common::turn(open, opened.epoch);
    let mut next = common::request(newest.service.next_request(turn.clone()).await.unwrap());
    assert!(next.is_some());
    let stale = world.next(&old).await;
    assert_eq!(stale, None, "another session has it in flight");
    while let Some(request) = next {
        turn.outcome = Some(cpe.outcome(request));
        next = common::request(newest.service.next_request(turn.clone()).await.unwrap());
    }
    assert_eq!(world.state(&id).await, TaskState::Succeeded);
    assert_eq!(cpe.count("AddObject"), 1);
    assert_eq!(world.task(&id).await.attempts.len(), 1);
}
