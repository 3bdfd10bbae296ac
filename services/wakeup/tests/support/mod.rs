//! A device-state that knows one device, a bus that remembers, and the role on both.

#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use hearth_bus::{
    Ack, Bus, BusStats, Consumer, ConsumerSpec, DeadLetterPage, Error as BusError, Publish, Stream,
    TailEvent,
};
use hearth_clients::{DeviceState, Error, EventStream, Result, Wakeup};
use hearth_config::HumanDuration;
use hearth_proto::devicestate::v1::*;
use hearth_proto::wakeup::v1::{WakeRequest, WakeResponse};
use hearth_runtime::{Clock, Runtime, RuntimeOptions, SystemClock};
use hearth_telemetry::Registry;
use hearth_wakeup::{Dependencies, Siblings, Sockets, WakeupConfig, WakeupService};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio_util::task::AbortOnDropHandle;

pub const TENANT: &str = "default";
pub const DEVICE: &str = "001122-Router-1";

/// Knows one device: how it is woken, and whose user names are whose.
#[derive(Default)]
pub struct Devices {
    pub how: Mutex<GetConnectionRequestResponse>,
    /// User name: device (empty: onboarding), password.
    pub users: Mutex<HashMap<String, (String, String)>>,
    pub notes: Mutex<Vec<NoteWakingRequest>>,
    /// Whether the identity of a user is refused.
    pub refuses: Mutex<bool>,
}

impl Devices {
    pub fn user(&self, name: &str, device: &str, password: &str) {
        let user = (device.to_owned(), password.to_owned());
        self.users.lock().insert(name.to_owned(), user);
    }

    pub fn bindings(&self) -> Vec<NatBinding> {
        let notes = self.notes.lock();
        notes
            .iter()
            .filter_map(|note| note.binding.clone())
            .collect()
    }

    pub fn wakes(&self) -> Vec<WakeRecord> {
        let notes = self.notes.lock();
        notes.iter().filter_map(|note| note.wake.clone()).collect()
    }
}

/// The whole of the trait, in one expansion: `async_trait` must see it all.
macro_rules! devices {
    ($($method:ident($request:ty) -> $response:ty;)*) => {
        #[async_trait]
        impl DeviceState for Devices {
            async fn get_connection_request(
                &self,
                request: GetConnectionRequestRequest,
            ) -> Result<GetConnectionRequestResponse> {
                if request.device != DEVICE {
                    return Err(Error::not_found("no such device"));
                }
                Ok(self.how.lock().clone())
            }
            async fn note_waking(&self, request: NoteWakingRequest) -> Result<NoteWakingResponse> {
                let mut how = self.how.lock();
                how.binding = request.binding.clone().or(how.binding.take());
                how.udp_request = request.udp_request.or(how.udp_request.take());
                how.last_wake = request.wake.clone().or(how.last_wake.take());
                self.notes.lock().push(request);
                Ok(NoteWakingResponse {})
            }
            async fn get_credential(
                &self,
                request: GetCredentialRequest,
            ) -> Result<GetCredentialResponse> {
                let users = self.users.lock();
                let Some((device, password)) = users.get(&request.username) else {
                    return Ok(GetCredentialResponse::default());
                };
                let kind = match device.is_empty() {
                    true => CredentialKind::Onboarding,
                    false => CredentialKind::Device,
                };
                Ok(GetCredentialResponse {
                    credential: Some(Credential {
                        kind: kind.into(),
                        device: device.clone(),
                        ..Credential::default()
                    }),
                    password: password.clone(),
                })
            }
            async fn check_identity(
                &self,
                _: CheckIdentityRequest,
            ) -> Result<CheckIdentityResponse> {
                Ok(CheckIdentityResponse {
                    allowed: !*self.refuses.lock(),
                    ..CheckIdentityResponse::default()
                })
            }
            $(async fn $method(&self, _: $request) -> Result<$response> {
                Err(Error::internal("not asked by this role"))
            })*
        }
    };
}

devices! {
    get_device(GetDeviceRequest) -> GetDeviceResponse;
    list_devices(ListDevicesRequest) -> ListDevicesResponse;
    count_devices(CountDevicesRequest) -> CountDevicesResponse;
    set_tags(SetTagsRequest) -> SetTagsResponse;
    delete_device(DeleteDeviceRequest) -> DeleteDeviceResponse;
    list_parameters(ListParametersRequest) -> ListParametersResponse;
    list_history(ListHistoryRequest) -> ListHistoryResponse;
    put_credential(PutCredentialRequest) -> PutCredentialResponse;
    list_credentials(ListCredentialsRequest) -> ListCredentialsResponse;
    delete_credential(DeleteCredentialRequest) -> DeleteCredentialResponse;
    get_model(GetModelRequest) -> GetModelResponse;
    put_model(PutModelRequest) -> PutModelResponse;
    watch_events(WatchEventsRequest) -> EventStream;
}

/// Remembers what was published; knows an id again.
#[derive(Default)]
pub struct Remembering {
    pub published: Mutex<Vec<Publish>>,
}

#[async_trait]
impl Bus for Remembering {
    async fn publish(&self, message: Publish) -> hearth_bus::Result<Ack> {
        let mut all = self.published.lock();
        let id = message.message_id.clone();
        let duplicate = id.is_some() && all.iter().any(|known| known.message_id == id);
        if !duplicate {
            all.push(message);
        }
        Ok(Ack { seq: 1, duplicate })
    }
    async fn consumer(&self, _: ConsumerSpec) -> hearth_bus::Result<Box<dyn Consumer>> {
        Err(BusError::Closed)
    }
    async fn delete_consumer(&self, _: &str) -> hearth_bus::Result<()> {
        Err(BusError::Closed)
    }
    fn tail(&self, _: &[Stream]) -> BoxStream<'static, TailEvent> {
        futures::stream::pending().boxed()
    }
    async fn dead_letters(&self, _: Option<u64>, _: usize) -> hearth_bus::Result<DeadLetterPage> {
        Err(BusError::Closed)
    }
    async fn replay_dead_letter(&self, _: u64) -> hearth_bus::Result<Ack> {
        Err(BusError::Closed)
    }
    async fn delete_dead_letter(&self, _: u64) -> hearth_bus::Result<()> {
        Err(BusError::Closed)
    }
    async fn stats(&self) -> BusStats {
        BusStats::default()
    }
    async fn close(&self) -> hearth_bus::Result<()> {
        Ok(())
    }
}

/// The role, running.
pub struct World {
    pub devices: Arc<Devices>,
    pub bus: Arc<Remembering>,
    pub service: WakeupService,
    pub registry: Registry,
    pub stun: Option<SocketAddr>,
    pub notifications: Option<SocketAddr>,
    _running: AbortOnDropHandle<()>,
}

impl World {
    /// A device that is woken so.
    pub fn new(how: GetConnectionRequestResponse, config: WakeupConfig) -> Self {
        let devices = Arc::new(Devices::default());
        *devices.how.lock() = how;
        Self::with(devices, config, "here", None)
    }

    /// A replica.
    pub fn with(
        devices: Arc<Devices>,
        config: WakeupConfig,
        replica: &str,
        siblings: Option<Arc<dyn Siblings>>,
    ) -> Self {
        let bus = Arc::new(Remembering::default());
        let registry = Registry::new();
        let sockets = Sockets::bind(&config).unwrap();
        let (stun, notifications) = (sockets.stun_address(), sockets.notification_address());
        let dependencies = Dependencies {
            devices: devices.clone(),
            bus: bus.clone(),
            clock: SystemClock::shared(),
            siblings,
            replica: replica.into(),
        };
        let (service, role) = WakeupService::new(config, dependencies, sockets, &registry).unwrap();
        let clock: Arc<dyn Clock> = SystemClock::shared();
        let mut runtime = Runtime::new(clock, RuntimeOptions::default());
        runtime.add(role);
        let running = tokio::spawn(async move {
            let _ = runtime.run(hearth_runtime::Shutdown::new()).await;
        });
        Self {
            devices,
            bus,
            service,
            registry,
            stun,
            notifications,
            _running: AbortOnDropHandle::new(running),
        }
    }

    pub async fn wake(&self) -> WakeResponse {
        let request = WakeRequest {
            tenant: TENANT.into(),
            device: DEVICE.into(),
        };
        self.service.wake(request).await.unwrap()
    }

    /// Whether a line of the metrics is there.
    pub fn counted(&self, line: &str) -> bool {
        self.registry.render().contains(line)
    }

    /// Waits until a line of the metrics is there.
    pub async fn counts(&self, line: &str) {
        for _ in 0..200 {
            if self.counted(line) {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("{line} is not in {}", self.registry.render());
    }
}

/// A device that is asked at `url`, with the login `hearth`/`secret`.
pub fn by_url(url: &str) -> GetConnectionRequestResponse {
    GetConnectionRequestResponse {
        url: url.into(),
        username: "hearth".into(),
        password: "secret".into(),
        ..GetConnectionRequestResponse::default()
    }
}

/// Devices on this machine.
pub fn loopback() -> WakeupConfig {
    WakeupConfig {
        allow_loopback: true,
        timeout: HumanDuration::secs(1),
        min_interval: HumanDuration::millis(1),
        ..WakeupConfig::default()
    }
}

/// The same, with a STUN socket.
pub fn with_stun() -> WakeupConfig {
    let mut config = loopback();
    config.stun.listen = Some(([127, 0, 0, 1], 0).into());
    config
}
