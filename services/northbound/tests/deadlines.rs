//! The caller's deadline goes along into what a call asks of other roles, whichever call it is.

use crate::common::{Api, DEVICE, TOKEN};
use hearth_config::HumanDuration;
use hearth_northbound::NorthboundConfig;
use hearth_proto::northbound::v1 as nb;
use hearth_proto::types::v1::{Reboot, TaskSpec, task_spec::Kind};
use nb::credential_service_client::CredentialServiceClient;
use nb::device_service_client::DeviceServiceClient;
use nb::file_service_client::FileServiceClient;
use nb::task_service_client::TaskServiceClient;
use nb::upload_file_request::Part;
use std::time::Duration;
use tonic::Request;
use tonic::service::interceptor::InterceptedService;

const TENANT: &str = "tenants/default";
const FILE: &str = "tenants/default/files/fw-1.bin";
const CREDENTIAL: &str = "tenants/default/credentials/someone";

fn waits_seven_seconds(mut request: Request<()>) -> Result<Request<()>, tonic::Status> {
    let token = format!("Bearer {TOKEN}").parse().unwrap();
    request.metadata_mut().insert("authorization", token);
    let timeout = "7S".parse().unwrap();
    request.metadata_mut().insert("grpc-timeout", timeout);
    Ok(request)
}

fn spec() -> nb::Task {
    let kind = Some(Kind::Reboot(Reboot {}));
    nb::Task {
        spec: Some(TaskSpec { kind }),
        ..Default::default()
    }
}

#[tokio::test]
async fn every_call_takes_the_callers_deadline_along() {
    let config = NorthboundConfig {
        watch_reread_interval: HumanDuration::millis(20),
        ..Default::default()
    };
    let api = Api::with(config).await;
    let channel = InterceptedService::new(api.channel().await, waits_seven_seconds);
    let (parent, name) = (TENANT.to_owned(), DEVICE.to_owned());
    let mut asked = 0;
    // What a call answers is its own tests' matter; that it asked somebody counts here.
    macro_rules! call {
        ($client:ident.$method:ident($request:expr)) => {{
            let answer = $client.$method($request).await;
            let all = api.fake.asked.lock().len();
            assert!(all > asked, "{} asks nobody", stringify!($method));
            asked = all;
            let unbounded = std::mem::take(&mut *api.fake.unbounded.lock());
            assert!(
                unbounded.is_empty(),
                "{}: {unbounded:?}",
                stringify!($method)
            );
            answer
        }};
    }

    let mut tasks = TaskServiceClient::new(channel.clone());
    let created = call!(tasks.create_task(nb::CreateTaskRequest {
        parent: name.clone(),
        task: Some(spec()),
        ..Default::default()
    }));
    let task = created.unwrap().into_inner().task.unwrap().name;
    let _ = call!(tasks.get_task(nb::GetTaskRequest { name: task.clone() }));
    let _ = call!(tasks.list_tasks(nb::ListTasksRequest {
        parent: parent.clone(),
        ..Default::default()
    }));
    let _ = call!(tasks.cancel_task(nb::CancelTaskRequest { name: task.clone() }));
    let _ = call!(tasks.retry_task(nb::RetryTaskRequest { name: task.clone() }));
    let watch = call!(tasks.watch_task(nb::WatchTaskRequest { name: task }));
    // What a stream asks later is bounded as well.
    let mut watch = watch.unwrap().into_inner();
    watch.message().await.unwrap().unwrap();
    tokio::time::timeout(Duration::from_millis(200), watch.message())
        .await
        .unwrap_err();
    assert!(api.fake.asked.lock().len() > asked, "it is read again");

    let mut files = FileServiceClient::new(channel.clone());
    let file = nb::File {
        name: FILE.to_owned(),
        ..Default::default()
    };
    let parts = [Part::File(file), Part::Chunk(vec![7]), Part::End(true)]
        .map(|part| nb::UploadFileRequest { part: Some(part) });
    let kept = call!(files.upload_file(futures::stream::iter(parts)));
    kept.unwrap();
    let file = || FILE.to_owned();
    let _ = call!(files.get_file(nb::GetFileRequest { name: file() }));
    let _ = call!(files.read_file(nb::ReadFileRequest { name: file() }));
    let _ = call!(files.list_files(nb::ListFilesRequest {
        parent: parent.clone(),
        ..Default::default()
    }));
    let _ = call!(files.delete_file(nb::DeleteFileRequest { name: file() }));

    let mut credentials = CredentialServiceClient::new(channel.clone());
    let _ = call!(credentials.set_credential(nb::SetCredentialRequest {
        parent: parent.clone(),
        credential: Some(nb::Credential {
            username: "someone".to_owned(),
            kind: nb::CredentialKind::Onboarding.into(),
            ..Default::default()
        }),
        password: "a-password-of-some-length".to_owned(),
    }));
    let _ = call!(
        credentials.get_onboarding_credential(nb::GetOnboardingCredentialRequest {
            parent: parent.clone()
        })
    );
    let _ = call!(credentials.list_credentials(nb::ListCredentialsRequest {
        parent: parent.clone(),
        ..Default::default()
    }));
    let _ = call!(credentials.delete_credential(nb::DeleteCredentialRequest {
        name: CREDENTIAL.to_owned(),
        kind: nb::CredentialKind::Onboarding.into(),
        ..Default::default()
    }));

    let mut devices = DeviceServiceClient::new(channel);
    let _ = call!(devices.get_device(nb::GetDeviceRequest { name: name.clone() }));
    let _ = call!(devices.list_devices(nb::ListDevicesRequest {
        parent: parent.clone(),
        ..Default::default()
    }));
    let _ = call!(devices.count_devices(nb::CountDevicesRequest {
        parent: parent.clone()
    }));
    let _ = call!(devices.list_parameters(nb::ListParametersRequest {
        parent: name.clone(),
        ..Default::default()
    }));
    let _ = call!(devices.list_history(nb::ListHistoryRequest {
        parent: name.clone(),
        ..Default::default()
    }));
    let _ = call!(devices.wake_device(nb::WakeDeviceRequest { name: name.clone() }));
    let _ = call!(devices.update_device(nb::UpdateDeviceRequest {
        device: Some(nb::Device {
            name: name.clone(),
            ..Default::default()
        }),
        add_tags: vec!["new".to_owned()],
        ..Default::default()
    }));
    let _ = call!(devices.watch_devices(nb::WatchDevicesRequest { parent }));
    let _ = call!(devices.delete_device(nb::DeleteDeviceRequest { name }));

    assert!(asked >= 27, "{asked}");
    let longest = *api.fake.longest.lock();
    assert!(longest <= Duration::from_secs(7), "{longest:?}");
}
