//! The calls of the internal services in one table: what the remote clients, the server and the metrics know of each.

/// Which internal service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ServiceName {
    /// `hearth.devicestate.v1`
    DeviceState,
    /// `hearth.workflow.v1`
    Workflow,
    /// `hearth.wakeup.v1`
    Wakeup,
    /// `hearth.files.v1`
    Files,
}

impl ServiceName {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::DeviceState, Self::Workflow, Self::Wakeup, Self::Files];

    /// The role that serves it, as `--roles` names it.
    pub const fn role(self) -> &'static str {
        match self {
            Self::DeviceState => "device-state",
            Self::Workflow => "workflow",
            Self::Wakeup => "wakeup",
            Self::Files => "files",
        }
    }

    /// Its full gRPC name, which health is asked for.
    pub const fn grpc_name(self) -> &'static str {
        match self {
            Self::DeviceState => "hearth.devicestate.v1.DeviceStateService",
            Self::Workflow => "hearth.workflow.v1.WorkflowService",
            Self::Wakeup => "hearth.wakeup.v1.WakeupService",
            Self::Files => "hearth.files.v1.FilesService",
        }
    }
}

/// What a call does to what is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Nothing: it may be dropped when nobody waits any more.
    Reads,
    /// Something: once begun it runs to its end.
    Writes,
}

/// Which limit of the configuration a call has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    /// `internal.call_timeout`
    Call,
    /// `internal.transfer_timeout`
    Transfer,
    /// None but the caller's own.
    Watch,
}

/// One call.
#[derive(Debug)]
pub(crate) struct Method {
    pub service: ServiceName,
    /// As the contract names it.
    pub name: &'static str,
    pub effect: Effect,
    pub limit: Limit,
}

/// Whether a call travels with others: those of devices' sessions, of which there are many at a time.
pub(crate) fn travels(method: &Method) -> bool {
    matches!(
        method.name,
        "OpenSession" | "NextRequest" | "CheckIdentity" | "GetCredential" | "FindLine"
    )
}

/// A call that answers the same when it is made again, by its contract.
pub(crate) const fn repeatable<T>(_: &T) -> bool {
    true
}

/// A call that must not be made again unless it is certain that it wasn't done.
pub(crate) const fn once<T>(_: &T) -> bool {
    false
}

/// Hands the unary calls of `hearth.workflow.v1` to a macro, after what it is given for it. OpenSession again takes a newer epoch and settles nothing
/// twice, just as when the device informs again; NextRequest again answers the same; CreateTask with a key answers the
/// first task.
macro_rules! workflow_methods {
    ($with:ident { $($extra:tt)* }) => {
        $with! { { $($extra)* } Workflow, wf, workflow_service_client::WorkflowServiceClient,
            workflow_service_server::WorkflowService {
            open_session "OpenSession" (OpenSessionRequest) -> OpenSessionResponse: Writes, repeatable;
            next_request "NextRequest" (NextRequestRequest) -> NextRequestResponse: Writes, repeatable;
            report_transfer "ReportTransfer" (ReportTransferRequest) -> ReportTransferResponse: Writes, repeatable;
            report_du_state_change "ReportDuStateChange" (ReportDuStateChangeRequest) -> ReportDuStateChangeResponse: Writes, repeatable;
            create_task "CreateTask" (CreateTaskRequest) -> CreateTaskResponse: Writes, |r| !r.idempotency_key.is_empty();
            get_task "GetTask" (GetTaskRequest) -> GetTaskResponse: Reads, repeatable;
            list_tasks "ListTasks" (ListTasksRequest) -> ListTasksResponse: Reads, repeatable;
            cancel_task "CancelTask" (CancelTaskRequest) -> CancelTaskResponse: Writes, once;
            retry_task "RetryTask" (RetryTaskRequest) -> RetryTaskResponse: Writes, once;
            forget_device "ForgetDevice" (ForgetDeviceRequest) -> ForgetDeviceResponse: Writes, once;
            get_device_work "GetDeviceWork" (GetDeviceWorkRequest) -> GetDeviceWorkResponse: Reads, repeatable;
        } }
    };
}

/// Hands the unary calls of `hearth.devicestate.v1` to a macro.
macro_rules! device_state_methods {
    ($with:ident { $($extra:tt)* }) => {
        $with! { { $($extra)* } DeviceState, ds, device_state_service_client::DeviceStateServiceClient,
            device_state_service_server::DeviceStateService {
            get_device "GetDevice" (GetDeviceRequest) -> GetDeviceResponse: Reads, repeatable;
            list_devices "ListDevices" (ListDevicesRequest) -> ListDevicesResponse: Reads, repeatable;
            count_devices "CountDevices" (CountDevicesRequest) -> CountDevicesResponse: Reads, repeatable;
            set_tags "SetTags" (SetTagsRequest) -> SetTagsResponse: Writes, repeatable;
            delete_device "DeleteDevice" (DeleteDeviceRequest) -> DeleteDeviceResponse: Writes, once;
            list_parameters "ListParameters" (ListParametersRequest) -> ListParametersResponse: Reads, repeatable;
            list_history "ListHistory" (ListHistoryRequest) -> ListHistoryResponse: Reads, repeatable;
            get_connection_request "GetConnectionRequest" (GetConnectionRequestRequest) -> GetConnectionRequestResponse: Reads, repeatable;
            note_waking "NoteWaking" (NoteWakingRequest) -> NoteWakingResponse: Writes, repeatable;
            get_credential "GetCredential" (GetCredentialRequest) -> GetCredentialResponse: Reads, repeatable;
            check_identity "CheckIdentity" (CheckIdentityRequest) -> CheckIdentityResponse: Writes, repeatable;
            put_credential "PutCredential" (PutCredentialRequest) -> PutCredentialResponse: Writes, repeatable;
            list_credentials "ListCredentials" (ListCredentialsRequest) -> ListCredentialsResponse: Reads, repeatable;
            delete_credential "DeleteCredential" (DeleteCredentialRequest) -> DeleteCredentialResponse: Writes, once;
            get_model "GetModel" (GetModelRequest) -> GetModelResponse: Reads, repeatable;
            put_model "PutModel" (PutModelRequest) -> PutModelResponse: Writes, repeatable;
            get_edge_policy "GetEdgePolicy" (GetEdgePolicyRequest) -> GetEdgePolicyResponse: Reads, repeatable;
            update_edge_policy "UpdateEdgePolicy" (UpdateEdgePolicyRequest) -> UpdateEdgePolicyResponse: Writes, repeatable;
            set_device_state "SetDeviceState" (SetDeviceStateRequest) -> SetDeviceStateResponse: Writes, repeatable;
            import_credentials "ImportCredentials" (ImportCredentialsRequest) -> ImportCredentialsResponse: Writes, repeatable;
            prepare_rotation "PrepareRotation" (PrepareRotationRequest) -> PrepareRotationResponse: Writes, repeatable;
            open_rotation "OpenRotation" (OpenRotationRequest) -> OpenRotationResponse: Reads, repeatable;
            set_line "SetLine" (SetLineRequest) -> SetLineResponse: Writes, repeatable;
            list_lines "ListLines" (ListLinesRequest) -> ListLinesResponse: Reads, repeatable;
            delete_line "DeleteLine" (DeleteLineRequest) -> DeleteLineResponse: Writes, once;
            find_line "FindLine" (FindLineRequest) -> FindLineResponse: Reads, repeatable;
            list_sessions "ListSessions" (ListSessionsRequest) -> ListSessionsResponse: Reads, repeatable;
            get_session "GetSession" (GetSessionRequest) -> GetSessionResponse: Reads, repeatable;
            start_capture "StartCapture" (StartCaptureRequest) -> StartCaptureResponse: Writes, once;
            list_captures "ListCaptures" (ListCapturesRequest) -> ListCapturesResponse: Reads, repeatable;
            get_capture "GetCapture" (GetCaptureRequest) -> GetCaptureResponse: Reads, repeatable;
            stop_capture "StopCapture" (StopCaptureRequest) -> StopCaptureResponse: Writes, repeatable;
            delete_capture "DeleteCapture" (DeleteCaptureRequest) -> DeleteCaptureResponse: Writes, once;
            read_capture "ReadCapture" (ReadCaptureRequest) -> ReadCaptureResponse: Reads, repeatable;
            list_profiles "ListProfiles" (ListProfilesRequest) -> ListProfilesResponse: Reads, repeatable;
            get_profile "GetProfile" (GetProfileRequest) -> GetProfileResponse: Reads, repeatable;
            put_profile "PutProfile" (PutProfileRequest) -> PutProfileResponse: Writes, repeatable;
            delete_profile "DeleteProfile" (DeleteProfileRequest) -> DeleteProfileResponse: Writes, once;
            note_refusals "NoteRefusals" (NoteRefusalsRequest) -> NoteRefusalsResponse: Writes, once;
            list_refusals "ListRefusals" (ListRefusalsRequest) -> ListRefusalsResponse: Reads, repeatable;
            get_device_facts "GetDeviceFacts" (GetDeviceFactsRequest) -> GetDeviceFactsResponse: Reads, repeatable;
            list_dead_letters "ListDeadLetters" (ListDeadLettersRequest) -> ListDeadLettersResponse: Reads, repeatable;
            get_dead_letter "GetDeadLetter" (GetDeadLetterRequest) -> GetDeadLetterResponse: Reads, repeatable;
            replay_dead_letter "ReplayDeadLetter" (ReplayDeadLetterRequest) -> ReplayDeadLetterResponse: Writes, once;
            delete_dead_letter "DeleteDeadLetter" (DeleteDeadLetterRequest) -> DeleteDeadLetterResponse: Writes, once;
        } }
    };
}

/// Hands the unary calls of `hearth.wakeup.v1` to a macro.
macro_rules! wakeup_methods {
    ($with:ident { $($extra:tt)* }) => {
        $with! { { $($extra)* } Wakeup, wk, wakeup_service_client::WakeupServiceClient,
            wakeup_service_server::WakeupService {
            wake "Wake" (WakeRequest) -> WakeResponse: Writes, once;
            send_datagram "SendDatagram" (SendDatagramRequest) -> SendDatagramResponse: Writes, once;
        } }
    };
}

/// Hands the unary calls of `hearth.files.v1` to a macro. PrepareTransfer made again is the same.
macro_rules! files_methods {
    ($with:ident { $($extra:tt)* }) => {
        $with! { { $($extra)* } Files, fs, files_service_client::FilesServiceClient,
            files_service_server::FilesService {
            get_file "GetFile" (GetFileRequest) -> GetFileResponse: Reads, repeatable;
            list_files "ListFiles" (ListFilesRequest) -> ListFilesResponse: Reads, repeatable;
            delete_file "DeleteFile" (DeleteFileRequest) -> DeleteFileResponse: Writes, once;
            prepare_transfer "PrepareTransfer" (PrepareTransferRequest) -> PrepareTransferResponse: Writes, repeatable;
        } }
    };
}

pub(crate) use {device_state_methods, files_methods, wakeup_methods, workflow_methods};

/// `hearth.devicestate.v1` WatchEvents.
pub(crate) static WATCH_EVENTS: Method = Method {
    service: ServiceName::DeviceState,
    name: "WatchEvents",
    effect: Effect::Reads,
    limit: Limit::Watch,
};

/// `hearth.files.v1` PutFile.
pub(crate) static PUT_FILE: Method = Method {
    service: ServiceName::Files,
    name: "PutFile",
    effect: Effect::Writes,
    limit: Limit::Transfer,
};

/// `hearth.files.v1` ReadFile.
pub(crate) static READ_FILE: Method = Method {
    service: ServiceName::Files,
    name: "ReadFile",
    effect: Effect::Reads,
    limit: Limit::Transfer,
};
