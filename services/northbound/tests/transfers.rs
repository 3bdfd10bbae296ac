//! Tasks of scheduled transfers and software modules: what only the edge of the API can check, and
//! what never leaves it.

use crate::common::{Api, DEVICE, blamed};
use hearth_proto::northbound::v1 as nb;
use hearth_proto::types::v1::{self as ty, du_operation::Kind as Operation, task_spec::Kind};
use nb::task_service_client::TaskServiceClient;

fn create(kind: Kind) -> nb::CreateTaskRequest {
    nb::CreateTaskRequest {
        parent: DEVICE.into(),
        task: Some(nb::Task {
            spec: Some(ty::TaskSpec { kind: Some(kind) }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn change(operations: Vec<Operation>) -> nb::CreateTaskRequest {
    let operations = operations
        .into_iter()
        .map(|kind| ty::DuOperation { kind: Some(kind) });
    create(Kind::ChangeDuState(ty::ChangeDuState {
        operations: operations.collect(),
    }))
}

#[tokio::test]
async fn what_is_anothers_or_the_servers_is_refused() {
    let api = Api::start().await;
    let mut client = TaskServiceClient::new(api.authorized().await);
    let install = |file: &str, sealed: &[u8]| {
        Operation::Install(ty::DuInstall {
            file: file.into(),
            sealed_password: sealed.into(),
            ..Default::default()
        })
    };
    let schedule = |file: &str, sealed: &[u8]| {
        create(Kind::ScheduleDownload(ty::ScheduleDownload {
            file: file.into(),
            sealed_password: sealed.into(),
            ..Default::default()
        }))
    };
    let cancel = |task: &str| {
        create(Kind::CancelTransfer(ty::CancelTransfer {
            task: task.into(),
            ..Default::default()
        }))
    };
    let task = "01hzy3v7k2q4w6e8r0t2y4a6d8";
    for (request, field) in [
        (
            schedule("", &[1]),
            "task.spec.schedule_download.sealed_password",
        ),
        (
            schedule("tenants/other/files/a", &[]),
            "task.spec.schedule_download.file",
        ),
        (cancel(task), "task.spec.cancel_transfer.task"),
        (
            cancel(&format!("tenants/other/tasks/{task}")),
            "task.spec.cancel_transfer.task",
        ),
        (
            change(vec![install("", &[]), install("", &[1])]),
            "task.spec.change_du_state.operations[1].install.sealed_password",
        ),
        (
            change(vec![install("tenants/other/files/a", &[])]),
            "task.spec.change_du_state.operations[0].install.file",
        ),
        (
            change(vec![Operation::Update(ty::DuUpdate {
                file: "a".into(),
                ..Default::default()
            })]),
            "task.spec.change_du_state.operations[0].update.file",
        ),
    ] {
        let status = client.create_task(request).await.unwrap_err();
        assert_eq!(blamed(&status), [field], "{status}");
    }
}

#[tokio::test]
async fn passwords_never_leave() {
    let api = Api::start().await;
    let mut client = TaskServiceClient::new(api.authorized().await);
    let requests = [
        create(Kind::ScheduleDownload(ty::ScheduleDownload {
            url: "http://u:hunter2@h/f".into(),
            password: "hunter2".into(),
            ..Default::default()
        })),
        change(vec![
            Operation::Install(ty::DuInstall {
                url: "http://u:hunter2@h/f".into(),
                password: "hunter2".into(),
                ..Default::default()
            }),
            Operation::Update(ty::DuUpdate {
                url: "http://u:hunter2@h/f".into(),
                password: "hunter2".into(),
                ..Default::default()
            }),
        ]),
    ];
    for request in requests {
        let made = client.create_task(request).await.unwrap().into_inner();
        let text = format!("{:?}", made.task.unwrap());
        assert!(!text.contains("hunter2"), "{text}");
        assert!(text.contains("http://u:"), "{text}");
    }
}
