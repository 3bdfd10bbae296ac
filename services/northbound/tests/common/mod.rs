//! The API on a free port of loopback, over internal services that are tables in memory.

#![allow(dead_code, clippy::unwrap_used)]

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use hearth_auth::TokenHash;
use hearth_clients::{
    ByteStream, DeviceState, Error, EventStream, Files, Kind, Result, Wakeup, Workflow,
};
use hearth_northbound::{AdminToken, Clients, NorthboundConfig, NorthboundService, TokenVerifier};
use hearth_proto::types::v1::TaskState;
use hearth_proto::{devicestate::v1 as ds, files::v1 as fs, wakeup::v1 as wk, workflow::v1 as wf};
use hearth_runtime::{CancellationToken, Readiness, Service, ServiceContext, SystemClock};
use hearth_telemetry::Registry;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;
use tonic::metadata::AsciiMetadataValue;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Request, Status};

pub const TOKEN: &str = "hearth_test-token-of-forty-characters-or-so";
pub const DEVICE: &str = "tenants/default/devices/00AA11-Router-1";

/// The internal services.
#[derive(Default)]
pub struct Fake {
    pub devices: Mutex<BTreeMap<String, ds::Device>>,
    pub tasks: Mutex<BTreeMap<String, wf::Task>>,
    pub files: Arc<Mutex<BTreeMap<String, (fs::File, Bytes)>>>,
    pub credentials: Mutex<Vec<(ds::Credential, String)>>,
    pub watchers: Mutex<Vec<UnboundedSender<Result<ds::WatchEventsResponse>>>>,
    /// Debug form of every internal request.
    pub asked: Mutex<Vec<String>>,
    /// The internal requests without a deadline, and the longest time that one had.
    pub unbounded: Mutex<Vec<String>>,
    pub longest: Mutex<Duration>,
    /// How long every call takes.
    pub pause: Mutex<Duration>,
    /// What so many calls answer.
    pub failure: Mutex<Option<(Error, u32)>>,
    /// The next call panics.
    pub panic: Mutex<bool>,
    /// What a connection request comes to.
    pub wake: Mutex<wk::WakeResponse>,
}

impl Fake {
    async fn before(&self, request: &(impl std::fmt::Debug + Sync)) -> Result<()> {
        self.asked.lock().push(format!("{request:?}"));
        match hearth_clients::deadline() {
            None => self.unbounded.lock().push(format!("{request:?}")),
            Some(at) => {
                let left = at.saturating_duration_since(tokio::time::Instant::now());
                let mut longest = self.longest.lock();
                *longest = left.max(*longest);
            }
        }
        let pause = *self.pause.lock();
        tokio::time::sleep(pause).await;
        assert!(!std::mem::take(&mut *self.panic.lock()), "as asked for");
        let mut failure = self.failure.lock();
        let Some((error, left)) = failure.take() else {
            return Ok(());
        };
        *failure = (left > 1).then(|| (error.clone(), left - 1));
        Err(error)
    }

    #[allow(clippy::unused_self)]
    fn unused<Q, A>(&self, _: Q) -> Result<A> {
        Err(Error::internal("not in these tests"))
    }

    /// Sends an event to all watchers.
    pub fn tell(&self, event: hearth_proto::events::v1::Event) {
        let response = ds::WatchEventsResponse {
            event: Some(event),
            missed: 0,
        };
        self.watchers
            .lock()
            .retain(|watcher| watcher.send(Ok(response.clone())).is_ok());
    }

    fn device(&self, id: &str) -> Result<ds::Device> {
        let found = self.devices.lock().get(id).cloned();
        found.ok_or_else(|| Error::not_found(format!("device {id} was never seen")))
    }

    fn get_device(&self, q: ds::GetDeviceRequest) -> Result<ds::GetDeviceResponse> {
        let device = Some(self.device(&q.device)?);
        Ok(ds::GetDeviceResponse { device })
    }

    fn list_devices(&self, q: ds::ListDevicesRequest) -> Result<ds::ListDevicesResponse> {
        let start: usize = match q.page_token.as_str() {
            "" => 0,
            token => token
                .strip_prefix("after-")
                .and_then(|n| n.parse().ok())
                .ok_or_else(|| Error::invalid("page_token", "expected next_page_token"))?,
        };
        let all: Vec<_> = self.devices.lock().values().cloned().collect();
        let end = start + usize::try_from(q.page_size).unwrap();
        let next = if end < all.len() {
            format!("after-{end}")
        } else {
            String::new()
        };
        Ok(ds::ListDevicesResponse {
            devices: all.into_iter().skip(start).take(end - start).collect(),
            next_page_token: next,
        })
    }

    fn set_tags(&self, q: ds::SetTagsRequest) -> Result<ds::SetTagsResponse> {
        let mut device = self.device(&q.device)?;
        device.tags.retain(|tag| !q.remove.contains(tag));
        device.tags.extend(q.add);
        self.devices.lock().insert(q.device, device.clone());
        Ok(ds::SetTagsResponse {
            device: Some(device),
        })
    }

    fn delete_device(&self, q: ds::DeleteDeviceRequest) -> Result<ds::DeleteDeviceResponse> {
        self.device(&q.device)?;
        self.devices.lock().remove(&q.device);
        Ok(ds::DeleteDeviceResponse {})
    }

    fn count_devices(&self, _: ds::CountDevicesRequest) -> Result<ds::CountDevicesResponse> {
        let total = self.devices.lock().len() as u64;
        Ok(ds::CountDevicesResponse { total, online: 1 })
    }

    fn list_parameters(&self, _: ds::ListParametersRequest) -> Result<ds::ListParametersResponse> {
        let parameter = |path: &str, value: &str, sealed: &[u8]| ds::Parameter {
            path: path.into(),
            value: value.into(),
            has_value: !value.is_empty(),
            sealed: sealed.to_vec(),
            ..Default::default()
        };
        Ok(ds::ListParametersResponse {
            parameters: vec![
                parameter("Device.DeviceInfo.UpTime", "7", b""),
                parameter("Device.WiFi.", "", b""),
                parameter(
                    "Device.WiFi.AccessPoint.1.Security.KeyPassphrase",
                    "leaked",
                    b"x",
                ),
            ],
            next_page_token: String::new(),
        })
    }

    fn list_history(&self, _: ds::ListHistoryRequest) -> Result<ds::ListHistoryResponse> {
        let entry = ds::HistoryEntry {
            time_us: 1_500_000,
            kind: "value".into(),
            path: "Device.Users.User.1.Password".into(),
            old_value: String::new(),
            new_value: "leaked".into(),
            task: "01hzy3v7k2q4w6e8r0t2y4a6d8".into(),
            ..Default::default()
        };
        Ok(ds::ListHistoryResponse {
            entries: vec![entry],
            next_page_token: String::new(),
        })
    }

    fn put_credential(&self, q: ds::PutCredentialRequest) -> Result<ds::PutCredentialResponse> {
        self.credentials
            .lock()
            .push((q.credential.unwrap(), q.password));
        Ok(ds::PutCredentialResponse {})
    }

    fn get_credential(&self, q: ds::GetCredentialRequest) -> Result<ds::GetCredentialResponse> {
        let credentials = self.credentials.lock();
        let found = credentials
            .iter()
            .find(|(one, _)| one.username == q.username);
        let (credential, password) = found.cloned().unzip();
        Ok(ds::GetCredentialResponse {
            credential,
            password: password.unwrap_or_default(),
        })
    }

    fn list_credentials(
        &self,
        _: ds::ListCredentialsRequest,
    ) -> Result<ds::ListCredentialsResponse> {
        let credentials = self.credentials.lock();
        Ok(ds::ListCredentialsResponse {
            credentials: credentials.iter().map(|(one, _)| one.clone()).collect(),
            next_page_token: String::new(),
        })
    }

    fn delete_credential(
        &self,
        q: ds::DeleteCredentialRequest,
    ) -> Result<ds::DeleteCredentialResponse> {
        let mut credentials = self.credentials.lock();
        let before = credentials.len();
        credentials.retain(|(one, _)| one.username != q.username || one.kind != q.kind);
        Ok(ds::DeleteCredentialResponse {
            existed: credentials.len() < before,
        })
    }

    fn create_task(&self, q: wf::CreateTaskRequest) -> Result<wf::CreateTaskResponse> {
        if q.priority > 100 {
            return Err(Error::invalid("priority", "expected -100 to 100"));
        }
        if let Some(hearth_proto::types::v1::task_spec::Kind::Reboot(_)) =
            q.spec.as_ref().and_then(|spec| spec.kind.as_ref())
            && q.max_attempts > 1
        {
            return Err(Error::invalid("spec.reboot", "is tried once only"));
        }
        let task = wf::Task {
            id: hearth_types::TaskId::generate().to_string(),
            tenant: q.tenant,
            device: q.device,
            spec: q.spec,
            deadline_us: q.deadline_us,
            state: TaskState::Queued.into(),
            ..Default::default()
        };
        self.tasks.lock().insert(task.id.clone(), task.clone());
        Ok(wf::CreateTaskResponse {
            task: Some(task),
            existed: false,
        })
    }

    fn task(&self, id: &str) -> Result<wf::Task> {
        let found = self.tasks.lock().get(id).cloned();
        found.ok_or_else(|| Error::not_found(format!("there is no task {id}")))
    }

    fn get_task(&self, q: wf::GetTaskRequest) -> Result<wf::GetTaskResponse> {
        Ok(wf::GetTaskResponse {
            task: Some(self.task(&q.task)?),
        })
    }

    fn list_tasks(&self, _: wf::ListTasksRequest) -> Result<wf::ListTasksResponse> {
        let tasks = self.tasks.lock().values().rev().cloned().collect();
        Ok(wf::ListTasksResponse {
            tasks,
            next_page_token: String::new(),
        })
    }

    fn cancel_task(&self, q: wf::CancelTaskRequest) -> Result<wf::CancelTaskResponse> {
        self.task(&q.task)?;
        Err(Error::new(
            Kind::FailedPrecondition,
            "the task was already sent",
        ))
    }

    fn forget_device(&self, q: wf::ForgetDeviceRequest) -> Result<wf::ForgetDeviceResponse> {
        let mut tasks = self.tasks.lock();
        let before = tasks.len();
        tasks.retain(|_, task| task.device != q.device);
        Ok(wf::ForgetDeviceResponse {
            cancelled: u32::try_from(before - tasks.len()).unwrap(),
        })
    }

    fn wake_up(&self, _: wk::WakeRequest) -> Result<wk::WakeResponse> {
        Ok(self.wake.lock().clone())
    }

    fn get_file(&self, q: fs::GetFileRequest) -> Result<fs::GetFileResponse> {
        let file = self.files.lock().get(&q.name).map(|(file, _)| file.clone());
        let file = file.ok_or_else(|| Error::not_found("there is no such file"))?;
        Ok(fs::GetFileResponse { file: Some(file) })
    }

    fn list_files(&self, _: fs::ListFilesRequest) -> Result<fs::ListFilesResponse> {
        let files = self
            .files
            .lock()
            .values()
            .map(|(file, _)| file.clone())
            .collect();
        Ok(fs::ListFilesResponse {
            files,
            next_page_token: String::new(),
        })
    }

    fn delete_file(&self, q: fs::DeleteFileRequest) -> Result<fs::DeleteFileResponse> {
        let gone = self.files.lock().remove(&q.name);
        gone.map(|_| fs::DeleteFileResponse {})
            .ok_or_else(|| Error::not_found("there is no such file"))
    }
}

macro_rules! fake {
    ($name:ident { $($method:ident($request:ty) -> $response:ty = $handler:ident;)* } $($extra:tt)*) => {
        #[async_trait]
        impl $name for Fake {
            $(async fn $method(&self, request: $request) -> Result<$response> {
                self.before(&request).await?;
                Fake::$handler(self, request)
            })*
            $($extra)*
        }
    };
}

fake!(Workflow {
    open_session(wf::OpenSessionRequest) -> wf::OpenSessionResponse = unused;
    next_request(wf::NextRequestRequest) -> wf::NextRequestResponse = unused;
    report_transfer(wf::ReportTransferRequest) -> wf::ReportTransferResponse = unused;
    report_du_state_change(wf::ReportDuStateChangeRequest) -> wf::ReportDuStateChangeResponse = unused;
    create_task(wf::CreateTaskRequest) -> wf::CreateTaskResponse = create_task;
    get_task(wf::GetTaskRequest) -> wf::GetTaskResponse = get_task;
    list_tasks(wf::ListTasksRequest) -> wf::ListTasksResponse = list_tasks;
    cancel_task(wf::CancelTaskRequest) -> wf::CancelTaskResponse = cancel_task;
    retry_task(wf::RetryTaskRequest) -> wf::RetryTaskResponse = unused;
    forget_device(wf::ForgetDeviceRequest) -> wf::ForgetDeviceResponse = forget_device;
});

fake!(DeviceState {
    get_device(ds::GetDeviceRequest) -> ds::GetDeviceResponse = get_device;
    list_devices(ds::ListDevicesRequest) -> ds::ListDevicesResponse = list_devices;
    count_devices(ds::CountDevicesRequest) -> ds::CountDevicesResponse = count_devices;
    set_tags(ds::SetTagsRequest) -> ds::SetTagsResponse = set_tags;
    delete_device(ds::DeleteDeviceRequest) -> ds::DeleteDeviceResponse = delete_device;
    list_parameters(ds::ListParametersRequest) -> ds::ListParametersResponse = list_parameters;
    list_history(ds::ListHistoryRequest) -> ds::ListHistoryResponse = list_history;
    get_connection_request(ds::GetConnectionRequestRequest) -> ds::GetConnectionRequestResponse = unused;
    note_waking(ds::NoteWakingRequest) -> ds::NoteWakingResponse = unused;
    get_credential(ds::GetCredentialRequest) -> ds::GetCredentialResponse = get_credential;
    check_identity(ds::CheckIdentityRequest) -> ds::CheckIdentityResponse = unused;
    put_credential(ds::PutCredentialRequest) -> ds::PutCredentialResponse = put_credential;
    list_credentials(ds::ListCredentialsRequest) -> ds::ListCredentialsResponse = list_credentials;
    delete_credential(ds::DeleteCredentialRequest) -> ds::DeleteCredentialResponse = delete_credential;
    get_model(ds::GetModelRequest) -> ds::GetModelResponse = unused;
    put_model(ds::PutModelRequest) -> ds::PutModelResponse = unused;
}
    async fn watch_events(&self, request: ds::WatchEventsRequest) -> Result<EventStream> {
        self.before(&request).await?;
        let (sender, receiver) = unbounded_channel();
        self.watchers.lock().push(sender);
        let events = stream::unfold(receiver, |mut receiver| async move {
            receiver.recv().await.map(|event| (event, receiver))
        });
        Ok(events.boxed())
    }
);

fake!(Wakeup {
    wake(wk::WakeRequest) -> wk::WakeResponse = wake_up;
    send_datagram(wk::SendDatagramRequest) -> wk::SendDatagramResponse = unused;
});

fake!(Files {
    get_file(fs::GetFileRequest) -> fs::GetFileResponse = get_file;
    list_files(fs::ListFilesRequest) -> fs::ListFilesResponse = list_files;
    delete_file(fs::DeleteFileRequest) -> fs::DeleteFileResponse = delete_file;
    prepare_transfer(fs::PrepareTransferRequest) -> fs::PrepareTransferResponse = unused;
}
    async fn put_file(&self, mut metadata: fs::File, content: ByteStream) -> Result<fs::PutFileResponse> {
        self.before(&metadata).await?;
        // Goes on when nobody waits, as another process does; and says less than it knows, as a store may.
        let files = self.files.clone();
        let kept = tokio::spawn(async move {
            let chunks: Vec<Bytes> = content.try_collect().await?;
            let content: Bytes = chunks.concat().into();
            metadata.size = content.len() as u64;
            files.lock().insert(metadata.name.clone(), (metadata.clone(), content));
            Ok::<_, Error>(metadata)
        });
        let metadata = kept.await.unwrap().map_err(|_| Error::internal("the content broke off"))?;
        Ok(fs::PutFileResponse { file: Some(metadata) })
    }

    async fn read_file(&self, request: fs::ReadFileRequest) -> Result<ByteStream> {
        self.before(&request).await?;
        let content = self.files.lock().get(&request.name).map(|(_, content)| content.clone());
        let content = content.ok_or_else(|| Error::not_found("there is no such file"))?;
        Ok(stream::once(async { Ok(content) }).boxed())
    }
);

/// A running API.
pub struct Api {
    pub fake: Arc<Fake>,
    pub addr: SocketAddr,
    pub registry: Registry,
    pub stop: CancellationToken,
    pub task: JoinHandle<()>,
}

pub type Authorized = InterceptedService<Channel, WithToken>;

/// Adds the token to every request.
#[derive(Clone)]
pub struct WithToken;

impl tonic::service::Interceptor for WithToken {
    fn call(&mut self, mut request: Request<()>) -> std::result::Result<Request<()>, Status> {
        let value: AsciiMetadataValue = format!("Bearer {TOKEN}").parse().unwrap();
        request.metadata_mut().insert("authorization", value);
        Ok(request)
    }
}

impl Api {
    pub async fn start() -> Self {
        Self::with(NorthboundConfig::default()).await
    }

    pub async fn with(config: NorthboundConfig) -> Self {
        let admin = AdminToken::new(TokenHash::of(TOKEN));
        Self::with_verifier(config, Arc::new(admin)).await
    }

    pub async fn with_verifier(config: NorthboundConfig, verifier: Arc<dyn TokenVerifier>) -> Self {
        let fake = Arc::new(Fake::default());
        let device = ds::Device {
            tenant: "default".into(),
            id: "00AA11-Router-1".into(),
            serial_number: "1".into(),
            tags: vec!["old".into()],
            first_seen_us: 1_500_000,
            ..Default::default()
        };
        fake.devices.lock().insert(device.id.clone(), device);
        let clients = Clients {
            device_state: fake.clone(),
            workflow: fake.clone(),
            wakeup: fake.clone(),
            files: fake.clone(),
        };
        let registry = Registry::new();
        let listener = hearth_runtime::http::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let addr = listener.local_addr().unwrap();
        let service =
            NorthboundService::new(config, listener, None, clients, verifier, &registry).unwrap();
        let stop = CancellationToken::new();
        let readiness = Readiness::new();
        let ctx = ServiceContext {
            stop: stop.clone(),
            readiness: readiness.register("northbound"),
            clock: SystemClock::shared(),
        };
        let task = tokio::spawn(async move { Box::new(service).run(ctx).await.unwrap() });
        readiness.wait_all_ready().await;
        Self {
            fake,
            addr,
            registry,
            stop,
            task,
        }
    }

    pub async fn channel(&self) -> Channel {
        let endpoint = Channel::from_shared(format!("http://{}", self.addr)).unwrap();
        endpoint.connect().await.unwrap()
    }

    /// A channel with the token.
    pub async fn authorized(&self) -> Authorized {
        InterceptedService::new(self.channel().await, WithToken)
    }
}

/// The fields that an INVALID_ARGUMENT blames.
pub fn blamed(status: &Status) -> Vec<String> {
    use tonic_types::StatusExt;
    assert_eq!(status.code(), tonic::Code::InvalidArgument, "{status:?}");
    let violations = status.get_details_bad_request().unwrap().field_violations;
    violations
        .into_iter()
        .map(|violation| violation.field)
        .collect()
}
