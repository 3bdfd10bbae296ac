//! A transfer's report that is announced is waited for, whatever came before.

use crate::common::{Loss, Script, TENANT, World, cpe::Cpe};
use hearth_clients::Workflow;
use hearth_proto::types::v1::{Download, TaskState, task_spec::Kind};

#[tokio::test]
async fn an_announced_report_comes_before_any_question() {
    let (mut world, mut cpe) = (World::new().await, Cpe::new());
    let download = Download {
        file_type: "1 Firmware Upgrade Image".into(),
        file: format!("tenants/{TENANT}/files/fw.bin"),
        ..Download::default()
    };
    let id = world.create(Kind::Download(download)).await;
    let script = Script {
        lose: Some((0, Loss::After)),
        duplicate: false,
    };
    world.session_as(&mut cpe, script).await;
    // A session that ends before it asks for work: the device is still to be asked.
    let mut silent = world.open(&mut cpe).await;
    silent.events.clear();
    world.service.open_session(silent).await.unwrap();
    assert_eq!(world.state(&id).await, TaskState::Queued);
    // The device has done it, and reports behind our requests instead of before.
    cpe.transfer();
    let turn = world.opened(&mut cpe).await;
    assert_eq!(world.state(&id).await, TaskState::WaitingForDevice);
    assert_eq!(world.next(&turn).await, None);
    for transfer in cpe.reports() {
        assert!(world.report(transfer).await);
    }
    assert_eq!(world.state(&id).await, TaskState::Succeeded);
    assert_eq!(cpe.count("Download"), 1);
}

#[tokio::test]
async fn a_failure_is_heard_after_the_device_was_asked() {
    let (mut world, mut cpe) = (World::new().await, Cpe::new());
    let download = Download {
        file_type: "1 Firmware Upgrade Image".into(),
        file: format!("tenants/{TENANT}/files/fw.bin"),
        ..Download::default()
    };
    let id = world.create(Kind::Download(download)).await;
    let script = Script {
        lose: Some((0, Loss::After)),
        duplicate: false,
    };
    world.session_as(&mut cpe, script).await;
    // Asked, it has the transfer queued: a second attempt that sent no Download.
    world.session(&mut cpe).await;
    assert_eq!(world.state(&id).await, TaskState::WaitingForDevice);
    cpe.transfer_fault = 9012;
    cpe.transfer();
    world.session(&mut cpe).await;
    let task = world.task(&id).await;
    assert_eq!(task.state(), TaskState::Failed, "{}", task.reason);
    assert_eq!(task.fault.unwrap().code, 9012);
}
