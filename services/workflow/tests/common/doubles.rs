//! Neighbours of the service that remember what they were asked.

use async_trait::async_trait;
use futures::future::BoxFuture;
use hearth_clients::{
    ByteStream, DeviceState, Error, EventStream, Files, Result as ClientResult, Wakeup,
};
use hearth_proto::{devicestate::v1 as ds, files::v1 as fs, wakeup::v1 as wk};
use hearth_store::{
    Created, DeviceRow, Document, DocumentKind, EmbeddedStore, HistoryQuery, HistoryRow,
    IndexQuery, Mutation, ParameterRow, Result as StoreResult, Store, TaskQuery, TaskRow,
};
use hearth_types::{DeviceId, DeviceKey, TaskId, TenantId, Timestamp};
use std::pin::Pin;
use std::sync::{
    Mutex,
    atomic::{AtomicBool, AtomicU32, Ordering},
};

/// What another process does in the middle.
pub type Meanwhile = Box<dyn FnOnce() -> BoxFuture<'static, ()> + Send>;

/// The real store, whose task writes fail on demand: refused, or kept with the answer lost.
pub struct FlakyStore {
    inner: EmbeddedStore,
    pub refuse: AtomicBool,
    pub lose_answer: AtomicBool,
    /// A task is entered twice, as by a driver that had no answer to the first try.
    pub try_twice: AtomicBool,
    pub puts: AtomicU32,
    /// Happens once, right before the next put of tasks.
    pub before_put: Mutex<Option<Meanwhile>>,
    /// Idempotency keys aren't found by reading, only by making another task: a write that nobody
    /// was answered may show so late.
    pub hide_keys: AtomicBool,
    /// Tasks whose rows can't be read.
    pub damaged: Mutex<Vec<TaskId>>,
}

impl FlakyStore {
    pub fn new(inner: EmbeddedStore) -> Self {
        Self {
            inner,
            refuse: AtomicBool::default(),
            lose_answer: AtomicBool::default(),
            try_twice: AtomicBool::default(),
            puts: AtomicU32::default(),
            hide_keys: AtomicBool::default(),
            before_put: Mutex::default(),
            damaged: Mutex::default(),
        }
    }

    fn unavailable<T>() -> StoreResult<T> {
        Err(hearth_store::Error::Unavailable("told to".into()))
    }
}

#[async_trait]
impl Store for FlakyStore {
    async fn write(&self, mutations: Vec<Mutation>) -> StoreResult<()> {
        self.inner.write(mutations).await
    }
    async fn device(&self, device: &DeviceKey) -> StoreResult<Option<DeviceRow>> {
        self.inner.device(device).await
    }
    async fn devices(
        &self,
        tenant: &TenantId,
        after: Option<&DeviceId>,
        limit: usize,
    ) -> StoreResult<Vec<(DeviceId, DeviceRow)>> {
        self.inner.devices(tenant, after, limit).await
    }
    async fn device_count(&self, tenant: &TenantId) -> StoreResult<u64> {
        self.inner.device_count(tenant).await
    }
    async fn tenants(&self) -> StoreResult<Vec<TenantId>> {
        self.inner.tenants().await
    }
    async fn delete_device(&self, device: &DeviceKey) -> StoreResult<()> {
        self.inner.delete_device(device).await
    }
    async fn search(&self, query: &IndexQuery) -> StoreResult<Vec<(String, DeviceId)>> {
        self.inner.search(query).await
    }
    async fn index_of(&self, device: &DeviceKey) -> StoreResult<Vec<(String, String)>> {
        self.inner.index_of(device).await
    }
    async fn parameters(
        &self,
        device: &DeviceKey,
        path: &str,
        after: Option<&str>,
        limit: usize,
    ) -> StoreResult<Vec<(String, ParameterRow)>> {
        self.inner.parameters(device, path, after, limit).await
    }
    async fn parameters_by_path(
        &self,
        device: &DeviceKey,
        paths: &[String],
    ) -> StoreResult<Vec<Option<ParameterRow>>> {
        self.inner.parameters_by_path(device, paths).await
    }
    async fn history(&self, query: &HistoryQuery) -> StoreResult<Vec<HistoryRow>> {
        self.inner.history(query).await
    }
    async fn trim_history(&self, before: Timestamp, limit: usize) -> StoreResult<usize> {
        self.inner.trim_history(before, limit).await
    }
    async fn create_task(&self, task: TaskRow, key: Option<&str>) -> StoreResult<Created> {
        if self.refuse.load(Ordering::SeqCst) {
            return Self::unavailable();
        }
        if self.try_twice.load(Ordering::SeqCst) {
            self.inner.create_task(task.clone(), key).await?;
        }
        let created = self.inner.create_task(task, key).await?;
        match self.lose_answer.load(Ordering::SeqCst) {
            true => Self::unavailable(),
            false => Ok(created),
        }
    }
    async fn put_tasks(&self, tasks: Vec<TaskRow>) -> StoreResult<()> {
        if self.refuse.load(Ordering::SeqCst) {
            return Self::unavailable();
        }
        self.puts.fetch_add(1, Ordering::SeqCst);
        let meanwhile = self.before_put.lock().unwrap().take();
        if let Some(meanwhile) = meanwhile {
            meanwhile().await;
        }
        self.inner.put_tasks(tasks).await?;
        if self.lose_answer.load(Ordering::SeqCst) {
            return Self::unavailable();
        }
        Ok(())
    }
    async fn task_by_key(&self, tenant: &TenantId, key: &str) -> StoreResult<Option<TaskId>> {
        match self.hide_keys.load(Ordering::SeqCst) {
            true => Ok(None),
            false => self.inner.task_by_key(tenant, key).await,
        }
    }
    async fn trim_tasks(&self, before: Timestamp, limit: usize) -> StoreResult<usize> {
        self.inner.trim_tasks(before, limit).await
    }
    fn damaged_rows(&self) -> u64 {
        self.inner.damaged_rows()
    }
    async fn task(&self, tenant: &TenantId, id: TaskId) -> StoreResult<Option<TaskRow>> {
        if self.damaged.lock().unwrap().contains(&id) {
            return Err(hearth_store::Error::Damaged("told to".into()));
        }
        self.inner.task(tenant, id).await
    }
    async fn tasks(&self, query: &TaskQuery) -> StoreResult<Vec<TaskRow>> {
        self.inner.tasks(query).await
    }
    async fn open_tasks(
        &self,
        bucket: u8,
        after: Option<(&TenantId, TaskId)>,
        limit: usize,
    ) -> StoreResult<Vec<TaskRow>> {
        self.inner.open_tasks(bucket, after, limit).await
    }
    async fn put_document(
        &self,
        kind: DocumentKind,
        tenant: &TenantId,
        document: Document,
    ) -> StoreResult<()> {
        self.inner.put_document(kind, tenant, document).await
    }
    async fn document(
        &self,
        kind: DocumentKind,
        tenant: &TenantId,
        key: &str,
    ) -> StoreResult<Option<Document>> {
        self.inner.document(kind, tenant, key).await
    }
    async fn documents(
        &self,
        kind: DocumentKind,
        tenant: &TenantId,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> StoreResult<Vec<Document>> {
        self.inner
            .documents(kind, tenant, prefix, after, limit)
            .await
    }
    async fn delete_document(
        &self,
        kind: DocumentKind,
        tenant: &TenantId,
        key: &str,
    ) -> StoreResult<bool> {
        self.inner.delete_document(kind, tenant, key).await
    }
}

/// Knows one model, and the types of some parameters.
#[derive(Default)]
pub struct FakeDeviceState {
    pub model: Mutex<ds::Model>,
    pub profile: Mutex<Option<hearth_proto::types::v1::ProfileChoice>>,
    pub root: Mutex<String>,
    pub types: Mutex<Vec<ds::Parameter>>,
    /// The try of the pending rotation.
    pub attempt: AtomicU32,
    /// Nothing is pending any more.
    pub gone: AtomicBool,
}

macro_rules! unused {
    ($($method:ident($request:ty) -> $response:ty;)*) => {
        $(
            // What async_trait makes of an async fn: it doesn't see into this macro.
            fn $method<'a, 'async_trait>(
                &'a self,
                _: $request,
            ) -> Pin<Box<dyn Future<Output = ClientResult<$response>> + Send + 'async_trait>>
            where
                'a: 'async_trait,
                Self: 'async_trait,
            {
                Box::pin(async { Err(Error::internal("not used here")) })
            }
        )*
    };
}

#[async_trait]
impl DeviceState for FakeDeviceState {
    async fn get_device(&self, _: ds::GetDeviceRequest) -> ClientResult<ds::GetDeviceResponse> {
        let device = ds::Device {
            root: self.root.lock().unwrap().clone(),
            ..ds::Device::default()
        };
        Ok(ds::GetDeviceResponse {
            device: Some(device),
        })
    }
    async fn list_parameters(
        &self,
        request: ds::ListParametersRequest,
    ) -> ClientResult<ds::ListParametersResponse> {
        let types = self.types.lock().unwrap();
        let found = types.iter().filter(|p| p.path == request.path);
        Ok(ds::ListParametersResponse {
            parameters: found.cloned().collect(),
            next_page_token: String::new(),
        })
    }
    async fn get_model(&self, _: ds::GetModelRequest) -> ClientResult<ds::GetModelResponse> {
        Ok(ds::GetModelResponse {
            model: Some(self.model.lock().unwrap().clone()),
            profile: self.profile.lock().unwrap().clone(),
        })
    }
    async fn put_model(&self, request: ds::PutModelRequest) -> ClientResult<ds::PutModelResponse> {
        *self.model.lock().unwrap() = request.model.unwrap();
        Ok(ds::PutModelResponse {})
    }
    async fn watch_events(&self, _: ds::WatchEventsRequest) -> ClientResult<EventStream> {
        Err(Error::internal("not used here"))
    }
    async fn prepare_rotation(
        &self,
        request: ds::PrepareRotationRequest,
    ) -> ClientResult<ds::PrepareRotationResponse> {
        self.attempt
            .fetch_max(request.attempt.max(1), Ordering::SeqCst);
        Ok(ds::PrepareRotationResponse {
            rotation: "r1".into(),
            username: "new-1".into(),
            connection_request_username: "new-1".into(),
            attempt: self.attempt.load(Ordering::SeqCst),
        })
    }
    async fn open_rotation(
        &self,
        request: ds::OpenRotationRequest,
    ) -> ClientResult<ds::OpenRotationResponse> {
        assert_eq!(request.rotation, "r1");
        if self.gone.load(Ordering::SeqCst) {
            return Err(Error::not_found("not pending"));
        }
        Ok(ds::OpenRotationResponse {
            password: "to-server".into(),
            connection_request_password: "to-device".into(),
        })
    }
    unused! {
        list_devices(ds::ListDevicesRequest) -> ds::ListDevicesResponse;
        count_devices(ds::CountDevicesRequest) -> ds::CountDevicesResponse;
        set_tags(ds::SetTagsRequest) -> ds::SetTagsResponse;
        delete_device(ds::DeleteDeviceRequest) -> ds::DeleteDeviceResponse;
        list_history(ds::ListHistoryRequest) -> ds::ListHistoryResponse;
        get_connection_request(ds::GetConnectionRequestRequest) -> ds::GetConnectionRequestResponse;
        note_waking(ds::NoteWakingRequest) -> ds::NoteWakingResponse;
        get_credential(ds::GetCredentialRequest) -> ds::GetCredentialResponse;
        check_identity(ds::CheckIdentityRequest) -> ds::CheckIdentityResponse;
        put_credential(ds::PutCredentialRequest) -> ds::PutCredentialResponse;
        list_credentials(ds::ListCredentialsRequest) -> ds::ListCredentialsResponse;
        delete_credential(ds::DeleteCredentialRequest) -> ds::DeleteCredentialResponse;
    }
}

/// Answers connection requests as it was told.
#[derive(Default)]
pub struct FakeWakeup {
    pub answers: Mutex<Vec<wk::WakeResponse>>,
    pub asked: AtomicU32,
    /// Devices don't answer, and are waited for.
    pub silent: AtomicBool,
}

impl FakeWakeup {
    pub fn will(&self, outcome: wk::WakeOutcome, detail: &str) {
        self.answers.lock().unwrap().push(wk::WakeResponse {
            outcome: outcome.into(),
            detail: detail.into(),
            ..wk::WakeResponse::default()
        });
    }
}

#[async_trait]
impl Wakeup for FakeWakeup {
    async fn send_datagram(
        &self,
        _: wk::SendDatagramRequest,
    ) -> ClientResult<wk::SendDatagramResponse> {
        Err(Error::internal("not used here"))
    }
    async fn wake(&self, _: wk::WakeRequest) -> ClientResult<wk::WakeResponse> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if self.silent.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        let mut answers = self.answers.lock().unwrap();
        let last = wk::WakeResponse {
            outcome: wk::WakeOutcome::Accepted.into(),
            ..wk::WakeResponse::default()
        };
        Ok(if answers.is_empty() {
            last
        } else {
            answers.remove(0)
        })
    }
}

/// Has one file.
#[derive(Default)]
pub struct FakeFiles {
    /// A device has used the credential of a transfer.
    pub begun: AtomicBool,
    pub away: AtomicBool,
}

#[async_trait]
impl Files for FakeFiles {
    async fn prepare_transfer(
        &self,
        request: fs::PrepareTransferRequest,
    ) -> ClientResult<fs::PrepareTransferResponse> {
        if self.away.load(Ordering::SeqCst) {
            return Err(Error::unavailable("files are away"));
        }
        if !request.file.is_empty() && request.file != "fw.bin" {
            return Err(Error::not_found("no such file"));
        }
        Ok(fs::PrepareTransferResponse {
            url: format!("http://{{host}}/t/{}", request.task),
            username: "u".into(),
            password: "p".into(),
            file_size: 42,
            file: "config-1.xml".into(),
            begun: self.begun.load(Ordering::SeqCst),
            kept: false,
        })
    }
    async fn put_file(&self, _: fs::File, _: ByteStream) -> ClientResult<fs::PutFileResponse> {
        Err(Error::internal("not used here"))
    }
    async fn read_file(&self, _: fs::ReadFileRequest) -> ClientResult<ByteStream> {
        Err(Error::internal("not used here"))
    }
    unused! {
        get_file(fs::GetFileRequest) -> fs::GetFileResponse;
        list_files(fs::ListFilesRequest) -> fs::ListFilesResponse;
        delete_file(fs::DeleteFileRequest) -> fs::DeleteFileResponse;
    }
}
