//! A remote client is as good as the service itself.
#![allow(clippy::unwrap_used)]

mod common;

use common::fake::Fake;
use common::{Ca, Server, config, peer, services, serving};
use futures::{StreamExt, TryStreamExt, stream};
use hearth_clients::remote::{DeviceStateClient, FilesClient, WakeupClient, WorkflowClient};
use hearth_clients::{
    DeviceState, Error, Files, Kind, Result, ServiceName, Wakeup, Workflow, with_deadline,
};
use hearth_proto::{devicestate::v1 as ds, files::v1 as fs, wakeup::v1 as wk, workflow::v1 as wf};
use hearth_telemetry::Registry;
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;

/// Clients of all services of one server, with mutual TLS.
struct Clients {
    workflow: WorkflowClient,
    device_state: DeviceStateClient,
    wakeup: WakeupClient,
    files: FilesClient,
    service: Arc<Fake>,
    registry: Registry,
    _server: Server,
}

async fn clients() -> Clients {
    let ca = Ca::new();
    let service = Arc::new(Fake::default());
    let server = Server::start(services(&service), Some(&ca.identity("server")), &config()).await;
    let registry = Registry::new();
    let options =
        hearth_clients::remote::Options::new(&config(), Some(ca.identity("client")), &registry)
            .unwrap();
    let to = |name| {
        hearth_clients::remote::Peer::new(name, &[server.address.to_string()], &options).unwrap()
    };
    let clients = Clients {
        workflow: WorkflowClient(to(ServiceName::Workflow)),
        device_state: DeviceStateClient(to(ServiceName::DeviceState)),
        wakeup: WakeupClient(to(ServiceName::Wakeup)),
        files: FilesClient(to(ServiceName::Files)),
        service,
        registry,
        _server: server,
    };
    serving(&clients.workflow.0, 1).await;
    clients
}

/// Both at once: what has the four traits.
struct All<'a>(&'a Clients);

macro_rules! all {
    ($($field:ident: $($method:ident($request:ty) -> $response:ty),*;)*) => {
        impl All<'_> {
            $($(async fn $method(&self, request: $request) -> Result<$response> {
                self.0.$field.$method(request).await
            })*)*
        }
    };
}

all! {
    workflow: open_session(wf::OpenSessionRequest) -> wf::OpenSessionResponse,
        next_request(wf::NextRequestRequest) -> wf::NextRequestResponse,
        report_transfer(wf::ReportTransferRequest) -> wf::ReportTransferResponse,
        report_du_state_change(wf::ReportDuStateChangeRequest) -> wf::ReportDuStateChangeResponse,
        create_task(wf::CreateTaskRequest) -> wf::CreateTaskResponse,
        get_task(wf::GetTaskRequest) -> wf::GetTaskResponse,
        list_tasks(wf::ListTasksRequest) -> wf::ListTasksResponse,
        cancel_task(wf::CancelTaskRequest) -> wf::CancelTaskResponse,
        retry_task(wf::RetryTaskRequest) -> wf::RetryTaskResponse,
        forget_device(wf::ForgetDeviceRequest) -> wf::ForgetDeviceResponse,
        get_device_work(wf::GetDeviceWorkRequest) -> wf::GetDeviceWorkResponse;
    device_state: get_edge_policy(ds::GetEdgePolicyRequest) -> ds::GetEdgePolicyResponse,
        update_edge_policy(ds::UpdateEdgePolicyRequest) -> ds::UpdateEdgePolicyResponse,
        set_device_state(ds::SetDeviceStateRequest) -> ds::SetDeviceStateResponse,
        import_credentials(ds::ImportCredentialsRequest) -> ds::ImportCredentialsResponse,
        prepare_rotation(ds::PrepareRotationRequest) -> ds::PrepareRotationResponse,
        open_rotation(ds::OpenRotationRequest) -> ds::OpenRotationResponse,
        set_line(ds::SetLineRequest) -> ds::SetLineResponse,
        list_lines(ds::ListLinesRequest) -> ds::ListLinesResponse,
        delete_line(ds::DeleteLineRequest) -> ds::DeleteLineResponse,
        find_line(ds::FindLineRequest) -> ds::FindLineResponse,
        list_sessions(ds::ListSessionsRequest) -> ds::ListSessionsResponse,
        get_session(ds::GetSessionRequest) -> ds::GetSessionResponse,
        start_capture(ds::StartCaptureRequest) -> ds::StartCaptureResponse,
        list_captures(ds::ListCapturesRequest) -> ds::ListCapturesResponse,
        get_capture(ds::GetCaptureRequest) -> ds::GetCaptureResponse,
        stop_capture(ds::StopCaptureRequest) -> ds::StopCaptureResponse,
        delete_capture(ds::DeleteCaptureRequest) -> ds::DeleteCaptureResponse,
        read_capture(ds::ReadCaptureRequest) -> ds::ReadCaptureResponse,
        list_profiles(ds::ListProfilesRequest) -> ds::ListProfilesResponse,
        get_profile(ds::GetProfileRequest) -> ds::GetProfileResponse,
        put_profile(ds::PutProfileRequest) -> ds::PutProfileResponse,
        delete_profile(ds::DeleteProfileRequest) -> ds::DeleteProfileResponse,
        note_refusals(ds::NoteRefusalsRequest) -> ds::NoteRefusalsResponse,
        list_refusals(ds::ListRefusalsRequest) -> ds::ListRefusalsResponse,
        get_device_facts(ds::GetDeviceFactsRequest) -> ds::GetDeviceFactsResponse,
        list_dead_letters(ds::ListDeadLettersRequest) -> ds::ListDeadLettersResponse,
        get_dead_letter(ds::GetDeadLetterRequest) -> ds::GetDeadLetterResponse,
        replay_dead_letter(ds::ReplayDeadLetterRequest) -> ds::ReplayDeadLetterResponse,
        delete_dead_letter(ds::DeleteDeadLetterRequest) -> ds::DeleteDeadLetterResponse,
        get_device(ds::GetDeviceRequest) -> ds::GetDeviceResponse,
        list_devices(ds::ListDevicesRequest) -> ds::ListDevicesResponse,
        count_devices(ds::CountDevicesRequest) -> ds::CountDevicesResponse,
        set_tags(ds::SetTagsRequest) -> ds::SetTagsResponse,
        delete_device(ds::DeleteDeviceRequest) -> ds::DeleteDeviceResponse,
        list_parameters(ds::ListParametersRequest) -> ds::ListParametersResponse,
        list_history(ds::ListHistoryRequest) -> ds::ListHistoryResponse,
        get_connection_request(ds::GetConnectionRequestRequest) -> ds::GetConnectionRequestResponse,
        note_waking(ds::NoteWakingRequest) -> ds::NoteWakingResponse,
        get_credential(ds::GetCredentialRequest) -> ds::GetCredentialResponse,
        check_identity(ds::CheckIdentityRequest) -> ds::CheckIdentityResponse,
        put_credential(ds::PutCredentialRequest) -> ds::PutCredentialResponse,
        list_credentials(ds::ListCredentialsRequest) -> ds::ListCredentialsResponse,
        delete_credential(ds::DeleteCredentialRequest) -> ds::DeleteCredentialResponse,
        get_model(ds::GetModelRequest) -> ds::GetModelResponse,
        put_model(ds::PutModelRequest) -> ds::PutModelResponse;
    wakeup: wake(wk::WakeRequest) -> wk::WakeResponse,
        send_datagram(wk::SendDatagramRequest) -> wk::SendDatagramResponse;
    files: get_file(fs::GetFileRequest) -> fs::GetFileResponse,
        list_files(fs::ListFilesRequest) -> fs::ListFilesResponse,
        delete_file(fs::DeleteFileRequest) -> fs::DeleteFileResponse,
        prepare_transfer(fs::PrepareTransferRequest) -> fs::PrepareTransferResponse;
}

fn same<T: Debug>(method: &str, remote: Result<T>, local: Result<T>) {
    assert_eq!(format!("{remote:?}"), format!("{local:?}"), "{method}");
}

#[tokio::test]
async fn every_call_answers_as_the_service_itself() {
    let clients = clients().await;
    let (remote, local) = (All(&clients), clients.service.clone());
    every_call!(remote, local, same);
    let asked = std::mem::take(&mut *local.asked.lock());
    assert_eq!(asked.len(), 2 * 62);
    for pair in asked.chunks(2) {
        assert_eq!(pair[0], pair[1], "the request came as it was sent");
    }
    *local.error.lock() = Some(Error {
        kind: Kind::FailedPrecondition,
        field: "spec.download.url".into(),
        message: "nö".into(),
    });
    every_call!(remote, local, same);
    let text = clients.registry.render();
    assert!(
        text.contains("method=\"OpenSession\",outcome=\"OK\",service=\"workflow\"} 1"),
        "{text}"
    );
    assert!(text.contains("outcome=\"FAILED_PRECONDITION\""), "{text}");
}

#[tokio::test]
async fn events_stream_and_end_with_their_error() {
    let clients = clients().await;
    let watch = |task: &str| {
        let request = ds::WatchEventsRequest {
            task: task.into(),
            ..Default::default()
        };
        clients.device_state.watch_events(request)
    };
    let events: Vec<_> = watch("broken").await.unwrap().collect().await;
    assert_eq!(events.len(), 2);
    assert_eq!(
        events[1].as_ref().unwrap_err().kind,
        Kind::ResourceExhausted
    );
    let mut events = watch("").await.unwrap();
    assert_eq!(events.next().await.unwrap().unwrap().missed, 1);
    assert_eq!(events.next().await.unwrap().unwrap().missed, 2);
    // The server goes: the watch ends, with an error that says to watch again.
    clients._server.stop();
    let end = tokio::time::timeout(Duration::from_secs(5), events.next())
        .await
        .unwrap();
    assert_eq!(end.unwrap().unwrap_err().kind, Kind::Unavailable);
    assert!(events.next().await.is_none());
}

#[tokio::test]
async fn files_come_whole_or_not_at_all() {
    let clients = clients().await;
    let whole: Vec<u8> = (0..5_000_000u32).map(|n| (n % 251) as u8).collect();
    let pieces: Vec<_> = whole
        .chunks(1_700_001)
        .map(|piece| Ok(bytes::Bytes::copy_from_slice(piece)))
        .collect();
    let metadata = fs::File {
        name: "firmware".into(),
        ..Default::default()
    };
    let kept = clients
        .files
        .put_file(metadata.clone(), stream::iter(pieces).boxed())
        .await
        .unwrap();
    assert_eq!(kept.file.unwrap().size, 5_000_000);
    assert_eq!(
        clients.service.kept.lock().as_deref(),
        Some(whole.as_slice())
    );
    let read = clients
        .files
        .read_file(fs::ReadFileRequest::default())
        .await
        .unwrap();
    assert_eq!(read.try_collect::<Vec<_>>().await.unwrap().concat(), whole);

    *clients.service.kept.lock() = None;
    let broken = [
        Ok(bytes::Bytes::from_static(b"half")),
        Err(Error::unavailable("the browser went away")),
    ];
    let error = clients
        .files
        .put_file(metadata, stream::iter(broken).boxed())
        .await
        .unwrap_err();
    assert_eq!(error.message, "the browser went away");
    let until = Instant::now() + Duration::from_secs(5);
    while clients.service.cut_off.lock().is_none() {
        assert!(Instant::now() < until, "the server heard nothing of it");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(
        clients.service.kept.lock().is_none(),
        "a part is not the whole"
    );
}

#[tokio::test]
async fn a_deadline_goes_along_and_writes_are_not_torn() {
    let clients = clients().await;
    *clients.service.takes.lock() = Duration::from_millis(600);
    let soon = || Some(Instant::now() + Duration::from_millis(200));
    let started = Instant::now();
    let read = with_deadline(
        soon(),
        clients.workflow.get_task(wf::GetTaskRequest::default()),
    )
    .await;
    let error = read.unwrap_err();
    assert_eq!(error.kind, Kind::Unavailable);
    assert!(error.message.contains("in time"), "{error}");
    let write = clients
        .workflow
        .cancel_task(wf::CancelTaskRequest::default());
    assert!(with_deadline(soon(), write).await.is_err());
    assert!(
        started.elapsed() < Duration::from_millis(900),
        "{:?}",
        started.elapsed()
    );
    assert!(
        clients.service.had_deadline.load(Ordering::Relaxed),
        "the service knows it"
    );
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert_eq!(clients.service.calls(), 2);
    assert_eq!(
        clients.service.ended(),
        1,
        "the read was dropped, the write ran to its end"
    );
    // What has no time left is not begun.
    let past = Some(Instant::now() - Duration::from_millis(1));
    let late = clients
        .workflow
        .cancel_task(wf::CancelTaskRequest::default());
    assert!(with_deadline(past, late).await.is_err());
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(clients.service.calls(), 2);
}

#[tokio::test]
async fn an_over_large_message_is_told() {
    let ca = Ca::new();
    let service = Arc::new(Fake::default());
    let config = hearth_clients::InternalConfig {
        max_message: hearth_config::ByteSize::mib(1),
        ..config()
    };
    let server = Server::start(services(&service), Some(&ca.identity("server")), &config).await;
    let registry = Registry::new();
    let to = peer(
        ServiceName::Workflow,
        &[server.address],
        Some(ca.identity("c")),
        &config,
        &registry,
    );
    let request = wf::GetTaskRequest {
        task: "x".repeat(2 << 20),
        ..Default::default()
    };
    let error = WorkflowClient(to).get_task(request).await.unwrap_err();
    assert!(error.message.contains("internal.max_message"), "{error}");
    assert_eq!(service.calls(), 0);
}
