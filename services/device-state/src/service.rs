//! The role as others see it.

use std::sync::Arc;

use async_trait::async_trait;
use hearth_auth::SecretString;
use hearth_clients::{DeviceState, EventStream, Result};
use hearth_proto::devicestate::v1 as ds;
use hearth_runtime::Service;
use hearth_types::TenantId;

use crate::DeviceStateConfig;
use crate::consumer::Role;
use crate::core::{Core, Dependencies, StartError};

/// `hearth.devicestate.v1.DeviceStateService`. Clones are cheap and share it. Queries are answered
/// from the moment it is made; events are consumed while [`DeviceStateService::role`] runs.
#[derive(Clone)]
pub struct DeviceStateService {
    core: Arc<Core>,
}

impl std::fmt::Debug for DeviceStateService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeviceStateService").finish_non_exhaustive()
    }
}

impl DeviceStateService {
    /// The service on what it works with.
    ///
    /// # Errors
    /// [`StartError`]: a setting can't be used, or metrics of its names are registered already.
    pub fn new(
        with: Dependencies,
        config: DeviceStateConfig,
    ) -> std::result::Result<Self, StartError> {
        let core = Arc::new(Core::new(with, config, None)?);
        Ok(Self { core })
    }

    /// The service as one of several processes that share store and bus. `replica` tells it from
    /// the others and is new at each start.
    ///
    /// Events of a device are applied by one process at a time. Queries are answered by any: what
    /// another one has taken from the bus and not yet written (`flush_interval`, and
    /// `last_seen_interval` for signs of life) is missing from the answer.
    ///
    /// # Errors
    /// [`StartError`]: a setting can't be used, or metrics of its names are registered already.
    pub fn shared(
        with: Dependencies,
        config: DeviceStateConfig,
        replica: String,
    ) -> std::result::Result<Self, StartError> {
        let core = Arc::new(Core::new(with, config, Some(replica))?);
        Ok(Self { core })
    }

    /// What consumes events and does the background work; one for each process.
    pub fn role(&self) -> impl Service + use<> {
        Role {
            core: Arc::clone(&self.core),
        }
    }

    /// Makes the tenant's ONBOARDING credential if it has none. Answers its user name, and the
    /// password when it was made now: to be shown once.
    ///
    /// # Errors
    /// The store can't be used.
    pub async fn ensure_onboarding(
        &self,
        tenant: &TenantId,
    ) -> Result<(String, Option<SecretString>)> {
        self.core.ensure_onboarding(tenant).await
    }
}

macro_rules! delegate {
    ($($method:ident($request:ident) -> $response:ident;)*) => {
        #[async_trait]
        impl DeviceState for DeviceStateService {
            $(
                async fn $method(&self, request: ds::$request) -> Result<ds::$response> {
                    self.core.$method(request).await
                }
            )*

            async fn watch_events(&self, request: ds::WatchEventsRequest) -> Result<EventStream> {
                self.core.watch(&request)
            }
        }
    };
}

delegate! {
    get_device(GetDeviceRequest) -> GetDeviceResponse;
    list_devices(ListDevicesRequest) -> ListDevicesResponse;
    count_devices(CountDevicesRequest) -> CountDevicesResponse;
    set_tags(SetTagsRequest) -> SetTagsResponse;
    delete_device(DeleteDeviceRequest) -> DeleteDeviceResponse;
    list_parameters(ListParametersRequest) -> ListParametersResponse;
    list_history(ListHistoryRequest) -> ListHistoryResponse;
    get_connection_request(GetConnectionRequestRequest) -> GetConnectionRequestResponse;
    note_waking(NoteWakingRequest) -> NoteWakingResponse;
    get_credential(GetCredentialRequest) -> GetCredentialResponse;
    check_identity(CheckIdentityRequest) -> CheckIdentityResponse;
    put_credential(PutCredentialRequest) -> PutCredentialResponse;
    list_credentials(ListCredentialsRequest) -> ListCredentialsResponse;
    delete_credential(DeleteCredentialRequest) -> DeleteCredentialResponse;
    get_model(GetModelRequest) -> GetModelResponse;
    put_model(PutModelRequest) -> PutModelResponse;
    get_edge_policy(GetEdgePolicyRequest) -> GetEdgePolicyResponse;
    update_edge_policy(UpdateEdgePolicyRequest) -> UpdateEdgePolicyResponse;
    set_device_state(SetDeviceStateRequest) -> SetDeviceStateResponse;
    import_credentials(ImportCredentialsRequest) -> ImportCredentialsResponse;
    prepare_rotation(PrepareRotationRequest) -> PrepareRotationResponse;
    open_rotation(OpenRotationRequest) -> OpenRotationResponse;
    set_line(SetLineRequest) -> SetLineResponse;
    list_lines(ListLinesRequest) -> ListLinesResponse;
    delete_line(DeleteLineRequest) -> DeleteLineResponse;
    find_line(FindLineRequest) -> FindLineResponse;
    list_sessions(ListSessionsRequest) -> ListSessionsResponse;
    get_session(GetSessionRequest) -> GetSessionResponse;
    start_capture(StartCaptureRequest) -> StartCaptureResponse;
    list_captures(ListCapturesRequest) -> ListCapturesResponse;
    get_capture(GetCaptureRequest) -> GetCaptureResponse;
    stop_capture(StopCaptureRequest) -> StopCaptureResponse;
    delete_capture(DeleteCaptureRequest) -> DeleteCaptureResponse;
    read_capture(ReadCaptureRequest) -> ReadCaptureResponse;
    note_refusals(NoteRefusalsRequest) -> NoteRefusalsResponse;
    list_refusals(ListRefusalsRequest) -> ListRefusalsResponse;
    get_device_facts(GetDeviceFactsRequest) -> GetDeviceFactsResponse;
    list_profiles(ListProfilesRequest) -> ListProfilesResponse;
    get_profile(GetProfileRequest) -> GetProfileResponse;
    put_profile(PutProfileRequest) -> PutProfileResponse;
    delete_profile(DeleteProfileRequest) -> DeleteProfileResponse;
    list_dead_letters(ListDeadLettersRequest) -> ListDeadLettersResponse;
    get_dead_letter(GetDeadLetterRequest) -> GetDeadLetterResponse;
    replay_dead_letter(ReplayDeadLetterRequest) -> ReplayDeadLetterResponse;
    delete_dead_letter(DeleteDeadLetterRequest) -> DeleteDeadLetterResponse;
}
