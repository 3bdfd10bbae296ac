//! TaskService.

use crate::common::{Api, Authorized, DEVICE, blamed};
use hearth_config::HumanDuration;
use hearth_northbound::NorthboundConfig;
use hearth_proto::events::v1 as ev;
use hearth_proto::northbound::v1 as nb;
use hearth_proto::types::v1::{self as ty, TaskState, task_spec::Kind};
use nb::task_service_client::TaskServiceClient;
use std::time::Duration;
use tonic::Code;
use tonic_types::StatusExt;

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

fn value(path: &str, value: &str) -> ty::ParameterValue {
    ty::ParameterValue {
        path: path.into(),
        value: value.into(),
        ..Default::default()
    }
}

fn set(values: Vec<ty::ParameterValue>) -> nb::CreateTaskRequest {
    create(Kind::SetParameterValues(ty::SetParameterValues { values }))
}

async fn made(
    client: &mut TaskServiceClient<Authorized>,
    request: nb::CreateTaskRequest,
) -> nb::Task {
    client
        .create_task(request)
        .await
        .unwrap()
        .into_inner()
        .task
        .unwrap()
}

#[tokio::test]
async fn a_task_is_made_and_its_secrets_are_masked() {
    let api = Api::start().await;
    let mut client = TaskServiceClient::new(api.authorized().await);
    let secret = "Device.WiFi.AccessPoint.1.Security.KeyPassphrase";
    let mut request = set(vec![
        value("Device.X", "open"),
        value(secret, "s3cret-value"),
    ]);
    request.task.as_mut().unwrap().deadline = Some(pbjson_types::Timestamp {
        seconds: 5,
        nanos: 7,
    });
    request.request_id = "order-1".into();
    let task = made(&mut client, request).await;
    assert!(task.name.starts_with("tenants/default/tasks/"));
    assert_eq!(task.device, DEVICE);
    let asked = api.fake.asked.lock().last().unwrap().clone();
    assert!(
        asked.contains("s3cret-value"),
        "workflow gets it in plain text"
    );
    assert!(asked.contains("idempotency_key: \"order-1\""), "{asked}");
    let Some(Kind::SetParameterValues(set)) = task.spec.unwrap().kind else {
        panic!("another kind");
    };
    assert_eq!(set.values[0].value, "open");
    assert_eq!(set.values[1].value, "********");

    let download = ty::Download {
        url: "https://u:pw1@host/fw".into(),
        password: "pw2".into(),
        ..Default::default()
    };
    let task = made(&mut client, create(Kind::Download(download))).await;
    let get = nb::GetTaskRequest { name: task.name };
    let task = client
        .get_task(get)
        .await
        .unwrap()
        .into_inner()
        .task
        .unwrap();
    let text = format!("{task:?}");
    assert!(!text.contains("pw1") && !text.contains("pw2"), "{text}");
}

#[tokio::test]
async fn what_is_wrong_is_named_by_its_public_field() {
    let api = Api::start().await;
    let mut client = TaskServiceClient::new(api.authorized().await);
    let reboot = || create(Kind::Reboot(ty::Reboot {}));
    let with = |change: &dyn Fn(&mut nb::Task)| {
        let mut request = reboot();
        change(request.task.as_mut().unwrap());
        request
    };
    let mut sealed = value("Device.X", "");
    sealed.sealed = vec![1];
    let file = |file: &str| {
        create(Kind::Download(ty::Download {
            file: file.into(),
            ..Default::default()
        }))
    };
    for (request, field) in [
        (nb::CreateTaskRequest::default(), "parent"),
        (
            nb::CreateTaskRequest {
                parent: DEVICE.into(),
                ..Default::default()
            },
            "task",
        ),
        (with(&|task| task.spec = None), "task.spec"),
        (with(&|task| task.priority = 101), "task.priority"),
        (with(&|task| task.max_attempts = 3), "task.spec.reboot"),
        (
            with(&|task| {
                task.deadline = Some(pbjson_types::Timestamp {
                    seconds: 1,
                    nanos: -1,
                });
            }),
            "task.deadline",
        ),
        (
            nb::CreateTaskRequest {
                request_id: "x".repeat(129),
                ..reboot()
            },
            "request_id",
        ),
        (
            set(vec![value("Device.X", "1"), sealed]),
            "task.spec.set_parameter_values.values[1].sealed",
        ),
        (
            set(vec![value("Device.Users.User.1.Password", "********")]),
            "task.spec.set_parameter_values.values[0].value",
        ),
        (file("fw.bin"), "task.spec.download.file"),
        (
            file("tenants/other/files/fw.bin"),
            "task.spec.download.file",
        ),
    ] {
        let status = client.create_task(request).await.unwrap_err();
        assert_eq!(blamed(&status), [field], "{status}");
        assert!(status.message().starts_with(field), "{status}");
    }
    made(&mut client, file("tenants/default/files/fw.bin")).await;
    let list = nb::ListTasksRequest {
        parent: DEVICE.into(),
        states: vec![1, 99],
        ..Default::default()
    };
    assert_eq!(
        blamed(&client.list_tasks(list).await.unwrap_err()),
        ["states[1]"]
    );
    let cancel = nb::CancelTaskRequest {
        name: "tenants/default/tasks/1".into(),
    };
    assert_eq!(
        blamed(&client.cancel_task(cancel).await.unwrap_err()),
        ["name"]
    );
}

#[tokio::test]
async fn wrong_states_and_missing_tasks_are_told_apart() {
    let api = Api::start().await;
    let mut client = TaskServiceClient::new(api.authorized().await);
    let task = made(&mut client, create(Kind::Reboot(ty::Reboot {}))).await;
    let cancel = nb::CancelTaskRequest { name: task.name };
    let status = client.cancel_task(cancel).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert_eq!(
        status.get_details_error_info().unwrap().reason,
        "WRONG_STATE"
    );
    let name = "tenants/default/tasks/01hzy3v7k2q4w6e8r0t2y4a6d8".to_owned();
    let status = client
        .watch_task(nb::WatchTaskRequest { name: name.clone() })
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert_eq!(
        status.get_details_resource_info().unwrap().resource_name,
        name
    );
}

#[tokio::test]
async fn lists_leave_out_what_was_read() {
    let api = Api::start().await;
    let mut client = TaskServiceClient::new(api.authorized().await);
    let task = made(&mut client, create(Kind::Refresh(ty::Refresh::default()))).await;
    for task in api.fake.tasks.lock().values_mut() {
        task.result = Some(ty::TaskResult {
            values: vec![value("Device.Users.User.1.Password", "leaked")],
            total: 1,
            ..Default::default()
        });
    }
    let list = nb::ListTasksRequest {
        parent: "tenants/default".into(),
        ..Default::default()
    };
    let listed = client.list_tasks(list).await.unwrap().into_inner().tasks;
    let result = listed[0].result.as_ref().unwrap();
    assert!(result.values.is_empty() && result.truncated && result.total == 1);
    let get = nb::GetTaskRequest { name: task.name };
    let task = client
        .get_task(get)
        .await
        .unwrap()
        .into_inner()
        .task
        .unwrap();
    let result = task.result.unwrap();
    assert!(!result.truncated);
    assert_eq!(result.values[0].value, "********");
}

fn advance(api: &Api, state: TaskState) {
    for task in api.fake.tasks.lock().values_mut() {
        task.state = state.into();
        task.revision += 1;
    }
}

fn changed(api: &Api) {
    api.fake.tell(ev::Event {
        kind: Some(ev::event::Kind::TaskChanged(ev::TaskChanged::default())),
        ..Default::default()
    });
}

#[tokio::test]
async fn a_watched_task_is_seen_to_its_end() {
    let config = NorthboundConfig {
        watch_reread_interval: HumanDuration::secs(600),
        ..Default::default()
    };
    let api = Api::with(config).await;
    let mut client = TaskServiceClient::new(api.authorized().await);
    let task = made(&mut client, create(Kind::Reboot(ty::Reboot {}))).await;
    let request = nb::WatchTaskRequest {
        name: task.name.clone(),
    };
    let mut watch = client
        .watch_task(request.clone())
        .await
        .unwrap()
        .into_inner();
    let mut state = async || {
        watch
            .message()
            .await
            .unwrap()
            .map(|answer| answer.task.unwrap().state())
    };
    assert_eq!(state().await, Some(TaskState::Queued));
    changed(&api); // Without a change: nothing is sent.
    advance(&api, TaskState::Running);
    changed(&api);
    assert_eq!(state().await, Some(TaskState::Running));
    advance(&api, TaskState::Succeeded);
    changed(&api);
    assert_eq!(state().await, Some(TaskState::Succeeded));
    assert_eq!(state().await, None, "it has ended");
    // One that has ended already is sent once.
    let mut watch = client.watch_task(request).await.unwrap().into_inner();
    assert_eq!(
        watch.message().await.unwrap().unwrap().task.unwrap().name,
        task.name
    );
    assert!(watch.message().await.unwrap().is_none());
}

#[tokio::test]
async fn lost_events_only_delay() {
    let config = NorthboundConfig {
        watch_reread_interval: HumanDuration::millis(30),
        ..Default::default()
    };
    let api = Api::with(config).await;
    let mut client = TaskServiceClient::new(api.authorized().await);
    let task = made(&mut client, create(Kind::Reboot(ty::Reboot {}))).await;
    let request = nb::WatchTaskRequest { name: task.name };
    let mut watch = client.watch_task(request).await.unwrap().into_inner();
    watch.message().await.unwrap().unwrap();
    api.fake.watchers.lock().clear();
    advance(&api, TaskState::Running);
    let answer = watch.message().await.unwrap().unwrap();
    assert_eq!(answer.task.unwrap().state(), TaskState::Running);
    // A short failure inside is sat out.
    *api.fake.failure.lock() = Some((hearth_clients::Error::unavailable("starting"), 2));
    while api.fake.failure.lock().is_some() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    advance(&api, TaskState::Failed);
    let answer = watch.message().await.unwrap().unwrap();
    assert_eq!(answer.task.unwrap().state(), TaskState::Failed);
    assert!(watch.message().await.unwrap().is_none());
}

#[tokio::test]
async fn a_lasting_failure_ends_a_watch() {
    let config = NorthboundConfig {
        watch_reread_interval: HumanDuration::millis(10),
        ..Default::default()
    };
    let api = Api::with(config).await;
    let mut client = TaskServiceClient::new(api.authorized().await);
    let task = made(&mut client, create(Kind::Reboot(ty::Reboot {}))).await;
    let request = nb::WatchTaskRequest { name: task.name };
    let mut watch = client.watch_task(request).await.unwrap().into_inner();
    watch.message().await.unwrap().unwrap();
    *api.fake.failure.lock() = Some((hearth_clients::Error::unavailable("down"), u32::MAX));
    let status = watch.message().await.unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (Code::Unavailable, "down")
    );
}
