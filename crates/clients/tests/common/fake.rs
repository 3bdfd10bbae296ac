//! Services that answer what the test told them, and remember what they were asked.
#![allow(clippy::unwrap_used, dead_code, missing_docs)]

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, stream};
use hearth_clients::{
    ByteStream, DeviceState, Error, EventStream, Files, Kind, Result, Wakeup, Workflow, deadline,
};
use hearth_proto::{devicestate::v1 as ds, files::v1 as fs, wakeup::v1 as wk, workflow::v1 as wf};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// All four services.
#[derive(Default)]
pub struct Fake {
    /// What each call answers instead, if anything.
    pub error: Mutex<Option<Error>>,
    /// What each call takes.
    pub takes: Mutex<Duration>,
    /// Requests in their order, as text.
    pub asked: Mutex<Vec<String>>,
    /// Calls that came.
    pub calls: AtomicUsize,
    /// Calls that ended.
    pub ended: AtomicUsize,
    /// Whether the last call had a deadline.
    pub had_deadline: AtomicBool,
    /// The content of the last file, if it came whole.
    pub kept: Mutex<Option<Vec<u8>>>,
    /// Why the last file did not.
    pub cut_off: Mutex<Option<Error>>,
}

impl Fake {
    async fn work(&self, request: impl std::fmt::Debug) -> Result<()> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.had_deadline
            .store(deadline().is_some(), Ordering::Relaxed);
        self.asked.lock().push(format!("{request:?}"));
        let takes = *self.takes.lock();
        if !takes.is_zero() {
            tokio::time::sleep(takes).await;
        }
        self.ended.fetch_add(1, Ordering::Relaxed);
        self.error.lock().clone().map_or(Ok(()), Err)
    }

    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    pub fn ended(&self) -> usize {
        self.ended.load(Ordering::Relaxed)
    }
}

fn task() -> wf::Task {
    wf::Task {
        id: "01hzy3v7k2q4w6e8r0t2y4a6d8".into(),
        revision: 7,
        progress: vec![0, 255, 3],
        ..wf::Task::default()
    }
}

macro_rules! fake {
    ($trait:ident, $package:ident { $($method:ident($request:ident {}) -> $response:expr;)* } $($extra:tt)*) => {
        #[async_trait]
        impl $trait for Fake {
            $(async fn $method(&self, request: $package::$request) -> Result<<$package::$request as Answered>::Answer> {
                self.work(&request).await?;
                Ok($response)
            })*
            $($extra)*
        }
    };
}

/// What a request is answered with.
pub trait Answered {
    type Answer;
}

macro_rules! answered {
    ($($package:ident::$request:ident => $response:ident;)*) => {
        $(impl Answered for $package::$request { type Answer = $package::$response; })*
    };
}

/// Calls every unary method of the four services with a request of its own, on `$left` and on `$right`, and gives both
/// results to `$compare`.
#[macro_export]
macro_rules! every_call {
    ($left:expr, $right:expr, $compare:ident) => {
        $crate::every_call!(@ $left, $right, $compare;
            Workflow, open_session, wf::OpenSessionRequest { tenant: "t".into(), device: "a-b-c".into(), idle_timeout_ms: 5, ..Default::default() };
            Workflow, next_request, wf::NextRequestRequest { session: "s".into(), epoch: u64::MAX, ..Default::default() };
            Workflow, report_transfer, wf::ReportTransferRequest { tenant: "t".into(), ..Default::default() };
            Workflow, report_du_state_change, wf::ReportDuStateChangeRequest { tenant: "t".into(), ..Default::default() };
            Workflow, create_task, wf::CreateTaskRequest { priority: -100, no_wake: true, ..Default::default() };
            Workflow, get_task, wf::GetTaskRequest { task: "x".into(), ..Default::default() };
            Workflow, list_tasks, wf::ListTasksRequest { states: vec![1, 2], page_size: 3, ..Default::default() };
            Workflow, cancel_task, wf::CancelTaskRequest { task: "x".into(), ..Default::default() };
            Workflow, retry_task, wf::RetryTaskRequest { task: "y".into(), ..Default::default() };
            Workflow, forget_device, wf::ForgetDeviceRequest { device: "d".into(), ..Default::default() };
            Workflow, get_device_work, wf::GetDeviceWorkRequest { device: "d".into(), ..Default::default() };
            DeviceState, get_device, ds::GetDeviceRequest { device: "d".into(), ..Default::default() };
            DeviceState, list_devices, ds::ListDevicesRequest { conditions: vec![Default::default()], ..Default::default() };
            DeviceState, count_devices, ds::CountDevicesRequest { tenant: "ü".into() };
            DeviceState, set_tags, ds::SetTagsRequest { add: vec!["a".into()], ..Default::default() };
            DeviceState, delete_device, ds::DeleteDeviceRequest { device: "d".into(), ..Default::default() };
            DeviceState, list_parameters, ds::ListParametersRequest { values_only: true, ..Default::default() };
            DeviceState, list_history, ds::ListHistoryRequest { since_us: -1, ..Default::default() };
            DeviceState, get_connection_request, ds::GetConnectionRequestRequest { device: "d".into(), ..Default::default() };
            DeviceState, note_waking, ds::NoteWakingRequest { device: "d".into(), ..Default::default() };
            DeviceState, get_credential, ds::GetCredentialRequest { username: "u".into(), ..Default::default() };
            DeviceState, check_identity, ds::CheckIdentityRequest { bootstrap: true, ..Default::default() };
            DeviceState, put_credential, ds::PutCredentialRequest { password: "p".into(), ..Default::default() };
            DeviceState, list_credentials, ds::ListCredentialsRequest { page_token: "x".into(), ..Default::default() };
            DeviceState, delete_credential, ds::DeleteCredentialRequest { kind: 3, ..Default::default() };
            DeviceState, get_model, ds::GetModelRequest { oui: "o".into(), ..Default::default() };
            DeviceState, put_model, ds::PutModelRequest { model: Some(Default::default()), ..Default::default() };
            DeviceState, get_edge_policy, ds::GetEdgePolicyRequest { tenant: "t".into() };
            DeviceState, update_edge_policy, ds::UpdateEdgePolicyRequest { tenant: "t".into(), ..Default::default() };
            DeviceState, set_device_state, ds::SetDeviceStateRequest { tenant: "t".into(), ..Default::default() };
            DeviceState, import_credentials, ds::ImportCredentialsRequest { tenant: "t".into(), ..Default::default() };
            DeviceState, prepare_rotation, ds::PrepareRotationRequest { tenant: "t".into(), ..Default::default() };
            DeviceState, open_rotation, ds::OpenRotationRequest { tenant: "t".into(), ..Default::default() };
            DeviceState, set_line, ds::SetLineRequest { tenant: "t".into(), ..Default::default() };
            DeviceState, list_lines, ds::ListLinesRequest { tenant: "t".into(), ..Default::default() };
            DeviceState, delete_line, ds::DeleteLineRequest { tenant: "t".into(), ..Default::default() };
            DeviceState, find_line, ds::FindLineRequest { tenant: "t".into(), ..Default::default() };
            DeviceState, list_sessions, ds::ListSessionsRequest { tenant: "t".into(), ..Default::default() };
            DeviceState, get_session, ds::GetSessionRequest { tenant: "t".into(), ..Default::default() };
            DeviceState, start_capture, ds::StartCaptureRequest { tenant: "t".into(), ..Default::default() };
            DeviceState, list_captures, ds::ListCapturesRequest { tenant: "t".into() };
            DeviceState, get_capture, ds::GetCaptureRequest { tenant: "t".into(), ..Default::default() };
            DeviceState, stop_capture, ds::StopCaptureRequest { tenant: "t".into(), ..Default::default() };
            DeviceState, delete_capture, ds::DeleteCaptureRequest { tenant: "t".into(), ..Default::default() };
            DeviceState, read_capture, ds::ReadCaptureRequest { tenant: "t".into(), ..Default::default() };
            DeviceState, list_profiles, ds::ListProfilesRequest { tenant: "t".into(), ..Default::default() };
            DeviceState, get_profile, ds::GetProfileRequest { tenant: "t".into(), ..Default::default() };
            DeviceState, put_profile, ds::PutProfileRequest { tenant: "t".into(), ..Default::default() };
            DeviceState, delete_profile, ds::DeleteProfileRequest { tenant: "t".into(), ..Default::default() };
            DeviceState, note_refusals, ds::NoteRefusalsRequest { refusals: vec![Default::default()] };
            DeviceState, list_refusals, ds::ListRefusalsRequest { tenant: "t".into(), ..Default::default() };
            DeviceState, get_device_facts, ds::GetDeviceFactsRequest { tenant: "t".into(), ..Default::default() };
            DeviceState, list_dead_letters, ds::ListDeadLettersRequest { tenant: "t".into(), ..Default::default() };
            DeviceState, get_dead_letter, ds::GetDeadLetterRequest { tenant: "t".into(), ..Default::default() };
            DeviceState, replay_dead_letter, ds::ReplayDeadLetterRequest { tenant: "t".into(), ..Default::default() };
            DeviceState, delete_dead_letter, ds::DeleteDeadLetterRequest { tenant: "t".into(), ..Default::default() };
            Wakeup, wake, wk::WakeRequest { device: "d".into(), ..Default::default() };
            Wakeup, send_datagram, wk::SendDatagramRequest::default();
            Files, get_file, fs::GetFileRequest { name: "n".into(), ..Default::default() };
            Files, list_files, fs::ListFilesRequest { page_size: 9, ..Default::default() };
            Files, delete_file, fs::DeleteFileRequest { name: "n".into(), ..Default::default() };
            Files, prepare_transfer, fs::PrepareTransferRequest { expire_time_us: 5, ..Default::default() };
        )
    };
    (@ $left:expr, $right:expr, $compare:ident; $($trait:ident, $method:ident, $request:expr;)*) => {
        $(
            let (left, right) = ($left.$method($request).await, $right.$method($request).await);
            $compare(stringify!($method), left, right);
        )*
    };
}

answered! {
    wf::OpenSessionRequest => OpenSessionResponse;
    wf::NextRequestRequest => NextRequestResponse;
    wf::ReportTransferRequest => ReportTransferResponse;
    wf::ReportDuStateChangeRequest => ReportDuStateChangeResponse;
    ds::NoteWakingRequest => NoteWakingResponse;
    wk::SendDatagramRequest => SendDatagramResponse;
    wf::CreateTaskRequest => CreateTaskResponse;
    wf::GetTaskRequest => GetTaskResponse;
    wf::ListTasksRequest => ListTasksResponse;
    wf::CancelTaskRequest => CancelTaskResponse;
    wf::RetryTaskRequest => RetryTaskResponse;
    wf::ForgetDeviceRequest => ForgetDeviceResponse;
    wf::GetDeviceWorkRequest => GetDeviceWorkResponse;
    ds::GetDeviceRequest => GetDeviceResponse;
    ds::ListDevicesRequest => ListDevicesResponse;
    ds::CountDevicesRequest => CountDevicesResponse;
    ds::SetTagsRequest => SetTagsResponse;
    ds::DeleteDeviceRequest => DeleteDeviceResponse;
    ds::ListParametersRequest => ListParametersResponse;
    ds::ListHistoryRequest => ListHistoryResponse;
    ds::GetConnectionRequestRequest => GetConnectionRequestResponse;
    ds::GetCredentialRequest => GetCredentialResponse;
    ds::CheckIdentityRequest => CheckIdentityResponse;
    ds::PutCredentialRequest => PutCredentialResponse;
    ds::ListCredentialsRequest => ListCredentialsResponse;
    ds::DeleteCredentialRequest => DeleteCredentialResponse;
    ds::GetModelRequest => GetModelResponse;
    ds::PutModelRequest => PutModelResponse;
    ds::GetEdgePolicyRequest => GetEdgePolicyResponse;
    ds::UpdateEdgePolicyRequest => UpdateEdgePolicyResponse;
    ds::SetDeviceStateRequest => SetDeviceStateResponse;
    ds::ImportCredentialsRequest => ImportCredentialsResponse;
    ds::PrepareRotationRequest => PrepareRotationResponse;
    ds::OpenRotationRequest => OpenRotationResponse;
    ds::SetLineRequest => SetLineResponse;
    ds::ListLinesRequest => ListLinesResponse;
    ds::DeleteLineRequest => DeleteLineResponse;
    ds::FindLineRequest => FindLineResponse;
    ds::ListSessionsRequest => ListSessionsResponse;
    ds::GetSessionRequest => GetSessionResponse;
    ds::StartCaptureRequest => StartCaptureResponse;
    ds::ListCapturesRequest => ListCapturesResponse;
    ds::GetCaptureRequest => GetCaptureResponse;
    ds::StopCaptureRequest => StopCaptureResponse;
    ds::DeleteCaptureRequest => DeleteCaptureResponse;
    ds::ReadCaptureRequest => ReadCaptureResponse;
    ds::ListProfilesRequest => ListProfilesResponse;
    ds::GetProfileRequest => GetProfileResponse;
    ds::PutProfileRequest => PutProfileResponse;
    ds::DeleteProfileRequest => DeleteProfileResponse;
    ds::NoteRefusalsRequest => NoteRefusalsResponse;
    ds::ListDeadLettersRequest => ListDeadLettersResponse;
    ds::GetDeadLetterRequest => GetDeadLetterResponse;
    ds::ReplayDeadLetterRequest => ReplayDeadLetterResponse;
    ds::DeleteDeadLetterRequest => DeleteDeadLetterResponse;
    ds::ListRefusalsRequest => ListRefusalsResponse;
    ds::GetDeviceFactsRequest => GetDeviceFactsResponse;
    wk::WakeRequest => WakeResponse;
    fs::GetFileRequest => GetFileResponse;
    fs::ListFilesRequest => ListFilesResponse;
    fs::DeleteFileRequest => DeleteFileResponse;
    fs::PrepareTransferRequest => PrepareTransferResponse;
}

fake! { Workflow, wf {
    open_session(OpenSessionRequest {}) -> wf::OpenSessionResponse { epoch: u64::MAX, pending: true };
    next_request(NextRequestRequest {}) -> wf::NextRequestResponse { kind: Some(wf::next_request_response::Kind::Fenced(wf::Empty {})) };
    report_transfer(ReportTransferRequest {}) -> wf::ReportTransferResponse { known: true };
    report_du_state_change(ReportDuStateChangeRequest {}) -> wf::ReportDuStateChangeResponse { known: true };
    create_task(CreateTaskRequest {}) -> wf::CreateTaskResponse { task: Some(task()), existed: true };
    get_task(GetTaskRequest {}) -> wf::GetTaskResponse { task: Some(task()) };
    list_tasks(ListTasksRequest {}) -> wf::ListTasksResponse { tasks: vec![task(), task()], next_page_token: "n".into() };
    cancel_task(CancelTaskRequest {}) -> wf::CancelTaskResponse { task: Some(task()) };
    retry_task(RetryTaskRequest {}) -> wf::RetryTaskResponse { task: Some(task()) };
    forget_device(ForgetDeviceRequest {}) -> wf::ForgetDeviceResponse { cancelled: 3 };
    get_device_work(GetDeviceWorkRequest {}) -> wf::GetDeviceWorkResponse { in_session: true, epoch: 9, ..Default::default() };
} }

fake! { DeviceState, ds {
    get_device(GetDeviceRequest {}) -> ds::GetDeviceResponse { device: Some(ds::Device { id: "é".into(), ..Default::default() }) };
    list_devices(ListDevicesRequest {}) -> ds::ListDevicesResponse { devices: vec![ds::Device::default()], next_page_token: "n".into() };
    count_devices(CountDevicesRequest {}) -> ds::CountDevicesResponse { total: 9, online: 8 };
    set_tags(SetTagsRequest {}) -> ds::SetTagsResponse { device: Some(ds::Device::default()) };
    delete_device(DeleteDeviceRequest {}) -> ds::DeleteDeviceResponse {};
    list_parameters(ListParametersRequest {}) -> ds::ListParametersResponse { parameters: vec![ds::Parameter { path: "Device.".into(), ..Default::default() }], ..Default::default() };
    list_history(ListHistoryRequest {}) -> ds::ListHistoryResponse { entries: vec![ds::HistoryEntry::default()], ..Default::default() };
    get_connection_request(GetConnectionRequestRequest {}) -> ds::GetConnectionRequestResponse { url: "http://x/".into(), ..Default::default() };
    note_waking(NoteWakingRequest {}) -> ds::NoteWakingResponse {};
    get_credential(GetCredentialRequest {}) -> ds::GetCredentialResponse { password: "p".into(), ..Default::default() };
    check_identity(CheckIdentityRequest {}) -> ds::CheckIdentityResponse { allowed: true, reason: "r".into(), ..Default::default() };
    put_credential(PutCredentialRequest {}) -> ds::PutCredentialResponse {};
    list_credentials(ListCredentialsRequest {}) -> ds::ListCredentialsResponse { credentials: vec![ds::Credential::default()], ..Default::default() };
    delete_credential(DeleteCredentialRequest {}) -> ds::DeleteCredentialResponse { existed: true };
    get_model(GetModelRequest {}) -> ds::GetModelResponse { model: Some(ds::Model { gpv_batch: 5, ..Default::default() }), ..Default::default() };
    put_model(PutModelRequest {}) -> ds::PutModelResponse {};
    get_edge_policy(GetEdgePolicyRequest {}) -> ds::GetEdgePolicyResponse::default();
    update_edge_policy(UpdateEdgePolicyRequest {}) -> ds::UpdateEdgePolicyResponse::default();
    set_device_state(SetDeviceStateRequest {}) -> ds::SetDeviceStateResponse::default();
    import_credentials(ImportCredentialsRequest {}) -> ds::ImportCredentialsResponse::default();
    prepare_rotation(PrepareRotationRequest {}) -> ds::PrepareRotationResponse::default();
    open_rotation(OpenRotationRequest {}) -> ds::OpenRotationResponse::default();
    set_line(SetLineRequest {}) -> ds::SetLineResponse::default();
    list_lines(ListLinesRequest {}) -> ds::ListLinesResponse::default();
    delete_line(DeleteLineRequest {}) -> ds::DeleteLineResponse::default();
    find_line(FindLineRequest {}) -> ds::FindLineResponse::default();
    list_sessions(ListSessionsRequest {}) -> ds::ListSessionsResponse::default();
    get_session(GetSessionRequest {}) -> ds::GetSessionResponse::default();
    start_capture(StartCaptureRequest {}) -> ds::StartCaptureResponse::default();
    list_captures(ListCapturesRequest {}) -> ds::ListCapturesResponse::default();
    get_capture(GetCaptureRequest {}) -> ds::GetCaptureResponse::default();
    stop_capture(StopCaptureRequest {}) -> ds::StopCaptureResponse::default();
    delete_capture(DeleteCaptureRequest {}) -> ds::DeleteCaptureResponse::default();
    read_capture(ReadCaptureRequest {}) -> ds::ReadCaptureResponse::default();
    list_profiles(ListProfilesRequest {}) -> ds::ListProfilesResponse::default();
    get_profile(GetProfileRequest {}) -> ds::GetProfileResponse::default();
    put_profile(PutProfileRequest {}) -> ds::PutProfileResponse::default();
    delete_profile(DeleteProfileRequest {}) -> ds::DeleteProfileResponse::default();
    note_refusals(NoteRefusalsRequest {}) -> ds::NoteRefusalsResponse { kept: 1 };
    list_refusals(ListRefusalsRequest {}) -> ds::ListRefusalsResponse { refusals: vec![ds::Refusal::default()], ..Default::default() };
    get_device_facts(GetDeviceFactsRequest {}) -> ds::GetDeviceFactsResponse { username: "u".into(), ..Default::default() };
    list_dead_letters(ListDeadLettersRequest {}) -> ds::ListDeadLettersResponse::default();
    get_dead_letter(GetDeadLetterRequest {}) -> ds::GetDeadLetterResponse::default();
    replay_dead_letter(ReplayDeadLetterRequest {}) -> ds::ReplayDeadLetterResponse::default();
    delete_dead_letter(DeleteDeadLetterRequest {}) -> ds::DeleteDeadLetterResponse::default();
}
    async fn watch_events(&self, request: ds::WatchEventsRequest) -> Result<EventStream> {
        self.work(&request).await?;
        let event = |missed| Ok(ds::WatchEventsResponse { missed, event: None });
        if request.task == "broken" {
            return Ok(stream::iter([event(1), Err(Error::new(Kind::ResourceExhausted, "lost"))]).boxed());
        }
        Ok(stream::iter([event(1), event(2)]).chain(stream::pending()).boxed())
    }
}

fake! { Wakeup, wk {
    wake(WakeRequest {}) -> wk::WakeResponse { outcome: 4, detail: "busy".into(), retry_after_ms: 77, ..Default::default() };
    send_datagram(SendDatagramRequest {}) -> wk::SendDatagramResponse { sent: true };
} }

fake! { Files, fs {
    get_file(GetFileRequest {}) -> fs::GetFileResponse { file: Some(fs::File { size: u64::MAX, ..Default::default() }) };
    list_files(ListFilesRequest {}) -> fs::ListFilesResponse { files: vec![fs::File::default()], ..Default::default() };
    delete_file(DeleteFileRequest {}) -> fs::DeleteFileResponse {};
    prepare_transfer(PrepareTransferRequest {}) -> fs::PrepareTransferResponse { url: "http://{host}/".into(), begun: true, ..Default::default() };
}
    async fn put_file(&self, metadata: fs::File, mut content: ByteStream) -> Result<fs::PutFileResponse> {
        self.work(&metadata).await?;
        let mut whole = Vec::new();
        while let Some(piece) = content.next().await {
            match piece {
                Ok(piece) => whole.extend_from_slice(&piece),
                Err(error) => {
                    *self.cut_off.lock() = Some(error.clone());
                    return Err(error);
                }
            }
        }
        let size = whole.len() as u64;
        *self.kept.lock() = Some(whole);
        Ok(fs::PutFileResponse { file: Some(fs::File { size, ..metadata }) })
    }

    async fn read_file(&self, request: fs::ReadFileRequest) -> Result<ByteStream> {
        self.work(&request).await?;
        let whole = Bytes::from(self.kept.lock().clone().unwrap());
        Ok(stream::iter([Ok(whole)]).boxed())
    }
}
