//! ScheduleDownload, and what may be done about a transfer that a device has: cancel it, and list
//! all.

use crate::common::{self, Loss, Script, TENANT, World, cpe::Cpe, create};
use hearth_clients::Workflow;
use hearth_proto::{
    ProtoTimestamp,
    types::v1::{
        CancelTransfer, Download, GetQueuedTransfers, QueuedTransferState, ScheduleDownload,
        TaskState, TimeWindow, task_spec::Kind,
    },
    workflow::v1::request::Rpc,
};
use std::sync::atomic::Ordering;

fn window(start: u32, end: u32) -> TimeWindow {
    TimeWindow {
        window_start: start,
        window_end: end,
        window_mode: "1 At Any Time".into(),
        max_retries: 2,
        ..TimeWindow::default()
    }
}

fn schedule(time_windows: Vec<TimeWindow>) -> ScheduleDownload {
    ScheduleDownload {
        file_type: "1 Firmware Upgrade Image".into(),
        file: format!("tenants/{TENANT}/files/fw.bin"),
        time_windows,
        ..ScheduleDownload::default()
    }
}

fn tonight() -> Kind {
    Kind::ScheduleDownload(schedule(vec![window(3600, 7200), window(7200, 9000)]))
}

fn cancel(task: &str) -> Kind {
    Kind::CancelTransfer(CancelTransfer {
        task: format!("tenants/{TENANT}/tasks/{task}"),
        ..CancelTransfer::default()
    })
}

/// The answer to the request of this number is lost.
const fn lost(at: usize) -> Script {
    Script {
        lose: Some((at, Loss::After)),
        duplicate: false,
    }
}

/// The device is asked for its methods first.
const RPC: usize = 1;

#[tokio::test]
async fn a_scheduled_download_ends_by_its_report() {
    for duplicate in [false, true] {
        let (mut world, mut cpe) = (World::new().await, Cpe::new());
        let id = world.create(tonight()).await;
        let script = Script {
            lose: None,
            duplicate,
        };
        world.session_as(&mut cpe, script).await;
        assert_eq!(world.state(&id).await, TaskState::WaitingForDevice);
        let Some(Rpc::ScheduleDownload(sent)) = cpe.last.clone() else {
            panic!("{:?}", cpe.last);
        };
        assert_eq!(sent.time_windows[1].window_end, 9000);
        let download = sent.download.unwrap();
        assert_eq!((download.file_size, download.password.as_str()), (42, "p"));
        world.advance(4000);
        cpe.transfer();
        let reports = cpe.reports();
        assert_eq!(reports.len(), 1);
        for report in reports {
            assert!(world.report(report.clone()).await);
            // Delivered at least once.
            assert!(world.report(report).await);
        }
        let task = world.task(&id).await;
        assert_eq!(task.state(), TaskState::Succeeded, "{}", task.reason);
        assert!(task.result.unwrap().transfer_complete_time.is_some());
        assert_eq!(cpe.count("GetRPCMethods"), 1);
    }
}

#[tokio::test]
async fn a_missed_window_is_final() {
    let (mut world, mut cpe) = (World::new().await, Cpe::new());
    let id = world.create(tonight()).await;
    world.session(&mut cpe).await;
    cpe.transfer_fault = 9020;
    cpe.transfer();
    world.session(&mut cpe).await;
    let task = world.task(&id).await;
    assert_eq!(task.state(), TaskState::Failed, "{}", task.reason);
    assert_eq!(task.fault.unwrap().code, 9020);
    world.session(&mut cpe).await;
    assert_eq!(cpe.count("ScheduleDownload"), 1);
}

#[tokio::test]
async fn a_lost_answer_is_asked_about_and_not_sent_twice() {
    let (mut world, mut cpe) = (World::new().await, Cpe::new());
    let id = world.create(tonight()).await;
    world.session_as(&mut cpe, lost(RPC)).await;
    world.session(&mut cpe).await;
    assert_eq!(world.state(&id).await, TaskState::WaitingForDevice);
    assert_eq!(cpe.count("ScheduleDownload"), 1);
    assert_eq!(cpe.count("GetAllQueuedTransfers"), 1);
    cpe.transfer();
    world.session(&mut cpe).await;
    assert_eq!(world.state(&id).await, TaskState::Succeeded);
}

#[tokio::test]
async fn what_was_fetched_already_is_not_sent_again() {
    let (mut world, mut cpe) = (World::new().await, Cpe::new());
    let id = world.create(tonight()).await;
    world.session_as(&mut cpe, lost(RPC)).await;
    // It has fetched the file, lists nothing, and its report is lost with it.
    cpe.transfer();
    cpe.reports();
    world.files.begun.store(true, Ordering::SeqCst);
    world.session(&mut cpe).await;
    let task = world.task(&id).await;
    assert_eq!(task.state(), TaskState::UnknownOutcome, "{}", task.reason);
    assert_eq!(cpe.count("ScheduleDownload"), 1);
}

#[tokio::test]
async fn windows_by_times_are_sent_as_seconds_and_expire() {
    let (mut world, mut cpe) = (World::new().await, Cpe::new());
    let base = common::now(&world) / 1_000_000;
    let at = |seconds: i64| {
        Some(ProtoTimestamp {
            seconds: base + seconds,
            nanos: 0,
        })
    };
    let timed = |start, end| TimeWindow {
        start_time: at(start),
        end_time: at(end),
        window_mode: "3 When Idle".into(),
        ..TimeWindow::default()
    };
    let windows = vec![timed(100, 200), timed(300, 400)];
    let id = world
        .create(Kind::ScheduleDownload(schedule(windows.clone())))
        .await;
    let late = world
        .create(Kind::ScheduleDownload(schedule(vec![timed(100, 200)])))
        .await;
    world.advance(250);
    world.session(&mut cpe).await;
    assert_eq!(world.state(&id).await, TaskState::WaitingForDevice);
    let task = world.task(&late).await;
    assert_eq!(task.state(), TaskState::Expired, "{}", task.reason);
    assert_eq!(cpe.count("ScheduleDownload"), 1);
    let Some(Rpc::ScheduleDownload(sent)) = cpe.last.clone() else {
        panic!("{:?}", cpe.last);
    };
    let [window] = sent.time_windows.as_slice() else {
        panic!("{:?}", sent.time_windows);
    };
    // 250 s later, and some milliseconds of sessions.
    assert!((49..=50).contains(&window.window_start), "{window:?}");
    assert!(window.start_time.is_none());
}

#[tokio::test]
async fn wrong_windows_are_refused_by_their_field() {
    let world = World::new().await;
    let field = "spec.schedule_download.time_windows";
    for (windows, suffix) in [
        (vec![], ""),
        (vec![window(0, 1), window(1, 2), window(2, 3)], ""),
        (vec![window(5, 5)], "[0].window_end"),
        (vec![window(0, 10), window(9, 20)], "[1].window_start"),
        (vec![window(20, 30), window(0, 10)], "[1].window_start"),
    ] {
        let refused = world
            .refused(Kind::ScheduleDownload(schedule(windows)))
            .await;
        assert_eq!(refused, format!("{field}{suffix}"));
    }
    let mut mode = window(0, 10);
    mode.window_mode = "5 Never".into();
    let refused = world
        .refused(Kind::ScheduleDownload(schedule(vec![mode])))
        .await;
    assert_eq!(refused, format!("{field}[0].window_mode"));
    let mut tries = window(0, 10);
    tries.max_retries = -2;
    let refused = world
        .refused(Kind::ScheduleDownload(schedule(vec![tries])))
        .await;
    assert_eq!(refused, format!("{field}[0].max_retries"));
    // Its deadline is before the window's end.
    let mut request = create(tonight());
    request.deadline_us = common::now(&world) + 5_000_000_000;
    let refused = world.service.create_task(request).await.unwrap_err();
    assert_eq!(refused.field, "deadline");
}

#[tokio::test]
async fn a_deadline_is_behind_the_last_window() {
    let world = World::new().await;
    let month = 30 * 24 * 3600;
    let id = world
        .create(Kind::ScheduleDownload(schedule(vec![window(0, month)])))
        .await;
    let task = world.task(&id).await;
    assert!(task.deadline_us > common::now(&world) + i64::from(month) * 1_000_000);
}

#[tokio::test]
async fn a_cancelled_transfer_ends_its_task() {
    for duplicate in [false, true] {
        let (mut world, mut cpe) = (World::new().await, Cpe::new());
        let id = world.create(tonight()).await;
        world.session(&mut cpe).await;
        let by = world.create(cancel(&id)).await;
        let script = Script {
            lose: None,
            duplicate,
        };
        world.session_as(&mut cpe, script).await;
        let (task, cancelled) = (world.task(&by).await, world.task(&id).await);
        assert_eq!(task.state(), TaskState::Succeeded, "{}", task.reason);
        assert_eq!(cancelled.state(), TaskState::Cancelled);
        assert!(cancelled.reason.contains(&by), "{}", cancelled.reason);
        cpe.transfer();
        assert!(cpe.reports().is_empty());
        world.session(&mut cpe).await;
        assert_eq!(cpe.count("ScheduleDownload"), 1);
    }
}

#[tokio::test]
async fn what_can_not_be_cancelled_goes_on() {
    let (mut world, mut cpe) = (World::new().await, Cpe::new());
    let id = world.create(tonight()).await;
    world.session(&mut cpe).await;
    cpe.uncancellable = true;
    let by = world.create(cancel(&id)).await;
    world.session(&mut cpe).await;
    let task = world.task(&by).await;
    assert_eq!(task.state(), TaskState::Failed, "{}", task.reason);
    assert_eq!(task.fault.unwrap().code, 9021);
    assert_eq!(world.state(&id).await, TaskState::WaitingForDevice);
    cpe.transfer();
    world.session(&mut cpe).await;
    assert_eq!(world.state(&id).await, TaskState::Succeeded);
}

#[tokio::test]
async fn a_lost_cancellation_is_made_again_and_does_not_guess() {
    let (mut world, mut cpe) = (World::new().await, Cpe::new());
    let id = world.create(tonight()).await;
    world.session(&mut cpe).await;
    let by = world.create(cancel(&id)).await;
    // The methods are known by now: the first request is the cancellation.
    world.session_as(&mut cpe, lost(0)).await;
    world.session(&mut cpe).await;
    let task = world.task(&by).await;
    assert_eq!(task.state(), TaskState::UnknownOutcome, "{}", task.reason);
    assert_eq!(world.state(&id).await, TaskState::WaitingForDevice);
    // Never executed, it is made again.
    let (mut world, mut cpe) = (World::new().await, Cpe::new());
    let id = world.create(tonight()).await;
    world.session(&mut cpe).await;
    let by = world.create(cancel(&id)).await;
    let script = Script {
        lose: Some((0, Loss::Before)),
        duplicate: false,
    };
    world.session_as(&mut cpe, script).await;
    world.session(&mut cpe).await;
    assert_eq!(world.state(&by).await, TaskState::Succeeded);
    assert_eq!(world.state(&id).await, TaskState::Cancelled);
}

#[tokio::test]
async fn a_transfer_that_ended_first_is_told() {
    let (mut world, mut cpe) = (World::new().await, Cpe::new());
    let id = world.create(tonight()).await;
    world.session(&mut cpe).await;
    let by = world.create(cancel(&id)).await;
    cpe.transfer();
    world.session(&mut cpe).await;
    assert_eq!(world.state(&id).await, TaskState::Succeeded);
    let task = world.task(&by).await;
    assert_eq!(task.state(), TaskState::Failed);
    assert!(task.reason.contains("has ended"), "{}", task.reason);
    assert_eq!(cpe.count("CancelTransfer"), 0);
}

#[tokio::test]
async fn only_what_a_device_has_can_be_cancelled_there() {
    let (mut world, mut cpe) = (World::new().await, Cpe::new());
    let field = "spec.cancel_transfer.task";
    assert_eq!(
        world
            .refused(Kind::CancelTransfer(CancelTransfer::default()))
            .await,
        field
    );
    let other = hearth_types::TaskId::generate().to_string();
    assert_eq!(world.refused(cancel(&other)).await, field);
    let reboot = world
        .create(Kind::Reboot(hearth_proto::types::v1::Reboot {}))
        .await;
    assert_eq!(world.refused(cancel(&reboot)).await, field);
    let download = world
        .create(Kind::Download(Download {
            file_type: "1 Firmware Upgrade Image".into(),
            file: format!("tenants/{TENANT}/files/fw.bin"),
            ..Download::default()
        }))
        .await;
    let unsent = world.service.create_task(create(cancel(&download))).await;
    assert_eq!(
        unsent.unwrap_err().kind,
        hearth_clients::Kind::FailedPrecondition
    );
    // By its key alone, whoever asked for it.
    let key = CancelTransfer {
        command_key: "another-acs".into(),
        ..CancelTransfer::default()
    };
    let by = world.create(Kind::CancelTransfer(key)).await;
    world.session(&mut cpe).await;
    cpe.tells("1 BOOT", "");
    world.session(&mut cpe).await;
    assert_eq!(world.task(&by).await.fault.unwrap().code, 9021);
}

#[tokio::test]
async fn queued_transfers_are_listed_with_their_tasks() {
    for (old, lacks) in [(false, false), (false, true), (true, false)] {
        let (mut world, mut cpe) = (World::new().await, Cpe::new());
        cpe.lacks_queued_transfers = lacks;
        let id = world.create(tonight()).await;
        world.session(&mut cpe).await;
        let get = GetQueuedTransfers {
            deprecated_method: old,
        };
        let list = world.create(Kind::GetQueuedTransfers(get)).await;
        world.session(&mut cpe).await;
        let task = world.task(&list).await;
        assert_eq!(task.state(), TaskState::Succeeded, "{}", task.reason);
        let result = task.result.unwrap();
        assert_eq!(result.total, 1);
        assert_eq!(result.transfers[0].task, id);
        assert_eq!(result.transfers[0].state(), QueuedTransferState::NotStarted);
        let by_old = u32::from(old || lacks);
        assert_eq!(cpe.count("GetQueuedTransfers"), by_old);
    }
}
