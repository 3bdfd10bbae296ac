//! The internal services as traits over the messages of their contracts
//! (`proto/hearth/{workflow,devicestate,wakeup,files}/v1`). What each call
//! promises is written there.

use crate::Error;
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use hearth_proto::{devicestate::v1 as ds, files::v1 as fs, wakeup::v1 as wk, workflow::v1 as wf};

/// What a call to an internal service brings.
pub type Result<T> = std::result::Result<T, Error>;

/// A file's bytes.
pub type ByteStream = BoxStream<'static, Result<Bytes>>;

/// Events as they happen.
pub type EventStream = BoxStream<'static, Result<ds::WatchEventsResponse>>;

/// What a service answers to a call that it doesn't serve.
fn not_served<T>(call: &str) -> Result<T> {
    Err(Error::internal(format!("{call} is not served here")))
}

macro_rules! service {
    ($(#[$doc:meta])* $name:ident { $($method:ident($request:ty) -> $response:ty;)* $(; $($extra:tt)*)? }) => {
        $(#[$doc])*
        #[async_trait]
        pub trait $name: Send + Sync + 'static {
            $(
                #[doc = concat!("`", stringify!($method), "` of the contract.")]
                async fn $method(&self, request: $request) -> Result<$response>;
            )*
            $($($extra)*)?
        }
    };
}

service! {
    /// Tasks and the sessions that run them (`hearth.workflow.v1`).
    Workflow {
        open_session(wf::OpenSessionRequest) -> wf::OpenSessionResponse;
        next_request(wf::NextRequestRequest) -> wf::NextRequestResponse;
        report_transfer(wf::ReportTransferRequest) -> wf::ReportTransferResponse;
        report_du_state_change(wf::ReportDuStateChangeRequest) -> wf::ReportDuStateChangeResponse;
        create_task(wf::CreateTaskRequest) -> wf::CreateTaskResponse;
        get_task(wf::GetTaskRequest) -> wf::GetTaskResponse;
        list_tasks(wf::ListTasksRequest) -> wf::ListTasksResponse;
        cancel_task(wf::CancelTaskRequest) -> wf::CancelTaskResponse;
        retry_task(wf::RetryTaskRequest) -> wf::RetryTaskResponse;
        forget_device(wf::ForgetDeviceRequest) -> wf::ForgetDeviceResponse;
        ;
        /// `GetDeviceWork` of the contract. Where nothing is known of it: nothing.
        async fn get_device_work(&self, _: wf::GetDeviceWorkRequest) -> Result<wf::GetDeviceWorkResponse> {
            Ok(wf::GetDeviceWorkResponse::default())
        }
    }
}

service! {
    /// Devices, parameters, history, credentials (`hearth.devicestate.v1`).
    DeviceState {
        get_device(ds::GetDeviceRequest) -> ds::GetDeviceResponse;
        list_devices(ds::ListDevicesRequest) -> ds::ListDevicesResponse;
        count_devices(ds::CountDevicesRequest) -> ds::CountDevicesResponse;
        set_tags(ds::SetTagsRequest) -> ds::SetTagsResponse;
        delete_device(ds::DeleteDeviceRequest) -> ds::DeleteDeviceResponse;
        list_parameters(ds::ListParametersRequest) -> ds::ListParametersResponse;
        list_history(ds::ListHistoryRequest) -> ds::ListHistoryResponse;
        get_connection_request(ds::GetConnectionRequestRequest) -> ds::GetConnectionRequestResponse;
        note_waking(ds::NoteWakingRequest) -> ds::NoteWakingResponse;
        get_credential(ds::GetCredentialRequest) -> ds::GetCredentialResponse;
        check_identity(ds::CheckIdentityRequest) -> ds::CheckIdentityResponse;
        put_credential(ds::PutCredentialRequest) -> ds::PutCredentialResponse;
        list_credentials(ds::ListCredentialsRequest) -> ds::ListCredentialsResponse;
        delete_credential(ds::DeleteCredentialRequest) -> ds::DeleteCredentialResponse;
        get_model(ds::GetModelRequest) -> ds::GetModelResponse;
        put_model(ds::PutModelRequest) -> ds::PutModelResponse;
        ;
        /// `WatchEvents` of the contract: events from now on.
        async fn watch_events(&self, request: ds::WatchEventsRequest) -> Result<EventStream>;
        /// `GetEdgePolicy` of the contract. Where no policies are kept: the default one.
        async fn get_edge_policy(&self, _: ds::GetEdgePolicyRequest) -> Result<ds::GetEdgePolicyResponse> {
            Ok(ds::GetEdgePolicyResponse::default())
        }
        /// `UpdateEdgePolicy` of the contract.
        async fn update_edge_policy(&self, _: ds::UpdateEdgePolicyRequest) -> Result<ds::UpdateEdgePolicyResponse> {
            not_served("UpdateEdgePolicy")
        }
        /// `SetDeviceState` of the contract.
        async fn set_device_state(&self, _: ds::SetDeviceStateRequest) -> Result<ds::SetDeviceStateResponse> {
            not_served("SetDeviceState")
        }
        /// `ImportCredentials` of the contract.
        async fn import_credentials(&self, _: ds::ImportCredentialsRequest) -> Result<ds::ImportCredentialsResponse> {
            not_served("ImportCredentials")
        }
        /// `PrepareRotation` of the contract.
        async fn prepare_rotation(&self, _: ds::PrepareRotationRequest) -> Result<ds::PrepareRotationResponse> {
            not_served("PrepareRotation")
        }
        /// `OpenRotation` of the contract.
        async fn open_rotation(&self, _: ds::OpenRotationRequest) -> Result<ds::OpenRotationResponse> {
            not_served("OpenRotation")
        }
        /// `SetLine` of the contract.
        async fn set_line(&self, _: ds::SetLineRequest) -> Result<ds::SetLineResponse> {
            not_served("SetLine")
        }
        /// `ListLines` of the contract.
        async fn list_lines(&self, _: ds::ListLinesRequest) -> Result<ds::ListLinesResponse> {
            not_served("ListLines")
        }
        /// `DeleteLine` of the contract.
        async fn delete_line(&self, _: ds::DeleteLineRequest) -> Result<ds::DeleteLineResponse> {
            not_served("DeleteLine")
        }
        /// `NoteRefusals` of the contract. Where none are kept: none.
        async fn note_refusals(&self, _: ds::NoteRefusalsRequest) -> Result<ds::NoteRefusalsResponse> {
            Ok(ds::NoteRefusalsResponse::default())
        }
        /// `ListRefusals` of the contract. Where none are kept: none.
        async fn list_refusals(&self, _: ds::ListRefusalsRequest) -> Result<ds::ListRefusalsResponse> {
            Ok(ds::ListRefusalsResponse::default())
        }
        /// `GetDeviceFacts` of the contract. Where none are kept: none.
        async fn get_device_facts(&self, _: ds::GetDeviceFactsRequest) -> Result<ds::GetDeviceFactsResponse> {
            Ok(ds::GetDeviceFactsResponse::default())
        }
        /// `ListProfiles` of the contract.
        async fn list_profiles(&self, _: ds::ListProfilesRequest) -> Result<ds::ListProfilesResponse> {
            not_served("ListProfiles")
        }
        /// `GetProfile` of the contract.
        async fn get_profile(&self, _: ds::GetProfileRequest) -> Result<ds::GetProfileResponse> {
            not_served("GetProfile")
        }
        /// `PutProfile` of the contract.
        async fn put_profile(&self, _: ds::PutProfileRequest) -> Result<ds::PutProfileResponse> {
            not_served("PutProfile")
        }
        /// `DeleteProfile` of the contract.
        async fn delete_profile(&self, _: ds::DeleteProfileRequest) -> Result<ds::DeleteProfileResponse> {
            not_served("DeleteProfile")
        }
        /// `FindLine` of the contract. Where no lines are kept: none.
        async fn find_line(&self, _: ds::FindLineRequest) -> Result<ds::FindLineResponse> {
            Ok(ds::FindLineResponse::default())
        }
        /// `ListSessions` of the contract.
        async fn list_sessions(&self, _: ds::ListSessionsRequest) -> Result<ds::ListSessionsResponse> {
            not_served("ListSessions")
        }
        /// `GetSession` of the contract.
        async fn get_session(&self, _: ds::GetSessionRequest) -> Result<ds::GetSessionResponse> {
            not_served("GetSession")
        }
        /// `StartCapture` of the contract.
        async fn start_capture(&self, _: ds::StartCaptureRequest) -> Result<ds::StartCaptureResponse> {
            not_served("StartCapture")
        }
        /// `ListCaptures` of the contract.
        async fn list_captures(&self, _: ds::ListCapturesRequest) -> Result<ds::ListCapturesResponse> {
            not_served("ListCaptures")
        }
        /// `GetCapture` of the contract.
        async fn get_capture(&self, _: ds::GetCaptureRequest) -> Result<ds::GetCaptureResponse> {
            not_served("GetCapture")
        }
        /// `StopCapture` of the contract.
        async fn stop_capture(&self, _: ds::StopCaptureRequest) -> Result<ds::StopCaptureResponse> {
            not_served("StopCapture")
        }
        /// `DeleteCapture` of the contract.
        async fn delete_capture(&self, _: ds::DeleteCaptureRequest) -> Result<ds::DeleteCaptureResponse> {
            not_served("DeleteCapture")
        }
        /// `ReadCapture` of the contract.
        async fn read_capture(&self, _: ds::ReadCaptureRequest) -> Result<ds::ReadCaptureResponse> {
            not_served("ReadCapture")
        }
        /// `ListDeadLetters` of the contract.
        async fn list_dead_letters(&self, _: ds::ListDeadLettersRequest) -> Result<ds::ListDeadLettersResponse> {
            not_served("ListDeadLetters")
        }
        /// `GetDeadLetter` of the contract.
        async fn get_dead_letter(&self, _: ds::GetDeadLetterRequest) -> Result<ds::GetDeadLetterResponse> {
            not_served("GetDeadLetter")
        }
        /// `ReplayDeadLetter` of the contract.
        async fn replay_dead_letter(&self, _: ds::ReplayDeadLetterRequest) -> Result<ds::ReplayDeadLetterResponse> {
            not_served("ReplayDeadLetter")
        }
        /// `DeleteDeadLetter` of the contract.
        async fn delete_dead_letter(&self, _: ds::DeleteDeadLetterRequest) -> Result<ds::DeleteDeadLetterResponse> {
            not_served("DeleteDeadLetter")
        }
    }
}

service! {
    /// Connection requests (`hearth.wakeup.v1`).
    Wakeup {
        wake(wk::WakeRequest) -> wk::WakeResponse;
        send_datagram(wk::SendDatagramRequest) -> wk::SendDatagramResponse;
    }
}

service! {
    /// Files down to and up from devices (`hearth.files.v1`).
    Files {
        get_file(fs::GetFileRequest) -> fs::GetFileResponse;
        list_files(fs::ListFilesRequest) -> fs::ListFilesResponse;
        delete_file(fs::DeleteFileRequest) -> fs::DeleteFileResponse;
        prepare_transfer(fs::PrepareTransferRequest) -> fs::PrepareTransferResponse;
        ;
        /// `PutFile` of the contract: keeps `content` under the name in
        /// `metadata`.
        async fn put_file(&self, metadata: fs::File, content: ByteStream) -> Result<fs::PutFileResponse>;
        /// `ReadFile` of the contract.
        async fn read_file(&self, request: fs::ReadFileRequest) -> Result<ByteStream>;
    }
}
