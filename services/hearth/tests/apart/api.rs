//! The API of a process, and devices that come to it.

use super::Process;
use hearth_auth::ExposeSecret;
use hearth_proto::northbound::v1 as nb;
use hearth_proto::northbound::v1::credential_service_client::CredentialServiceClient;
use hearth_proto::northbound::v1::task_service_client::TaskServiceClient;
use hearth_proto::types::v1::{TaskSpec, TaskState, task_spec::Kind};
use hearth_sim::{Bearer, Fleet, FleetOptions};
use std::time::Duration;
use tokio::time::timeout;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;

/// The tenant that tests work in.
pub const PARENT: &str = "tenants/default";

/// The way to the API, as every service's client takes it.
pub type Api = InterceptedService<Channel, Bearer>;

impl Process {
    pub async fn api(&self) -> Api {
        let url = format!("http://{}", self.addresses.api.unwrap());
        let channel = Channel::from_shared(url).unwrap().connect().await.unwrap();
        let token = self.token.as_ref().unwrap().expose();
        InterceptedService::new(channel, Bearer::new(token).unwrap())
    }

    /// One device that has the onboarding login and informs when it is told to.
    pub fn fleet(&self) -> FleetOptions {
        let (username, password) = self.onboarding.clone().unwrap();
        FleetOptions {
            username,
            password,
            count: 1,
            periodic: None,
            ..FleetOptions::new(format!("http://{}/", self.addresses.cwmp.unwrap()))
        }
    }
}

/// The name in the API of a fleet's first device.
pub fn name_of(fleet: &Fleet) -> String {
    let id = fleet.devices()[0].id();
    let (oui, class, serial) = (&id.oui, &id.product_class, &id.serial_number);
    format!("{PARENT}/devices/{oui}-{class}-{serial}")
}

/// Tells the server what a fleet's devices ask of who wakes them.
pub async fn set_connection_login(api: &Api, fleet: &FleetOptions) {
    let login = nb::SetCredentialRequest {
        parent: PARENT.into(),
        credential: Some(nb::Credential {
            username: fleet.connection_request_username.clone(),
            kind: nb::CredentialKind::ConnectionRequest.into(),
            ..nb::Credential::default()
        }),
        password: fleet.connection_request_password.expose_secret().into(),
    };
    let mut credentials = CredentialServiceClient::new(api.clone());
    credentials.set_credential(login).await.unwrap();
}

/// Makes a task; its name.
pub async fn create_task(api: &Api, device: &str, kind: Kind, no_wake: bool) -> String {
    let request = nb::CreateTaskRequest {
        parent: device.into(),
        task: Some(nb::Task {
            spec: Some(TaskSpec { kind: Some(kind) }),
            ..nb::Task::default()
        }),
        no_wake,
        ..nb::CreateTaskRequest::default()
    };
    let mut tasks = TaskServiceClient::new(api.clone());
    let made = tasks.create_task(request).await.unwrap().into_inner();
    made.task.unwrap().name
}

/// A task that has succeeded or failed.
pub async fn ended_task(api: &Api, name: &str) -> nb::Task {
    let mut tasks = TaskServiceClient::new(api.clone());
    let mut task = nb::Task::default();
    let over = async || {
        let request = nb::GetTaskRequest { name: name.into() };
        let answer = tasks.get_task(request).await.unwrap().into_inner();
        task = answer.task.unwrap();
        matches!(task.state(), TaskState::Succeeded | TaskState::Failed)
    };
    until(Duration::from_secs(30), over).await;
    task
}

/// Waits for something to be so, not longer than this.
pub async fn until(patience: Duration, mut done: impl AsyncFnMut() -> bool) {
    let so = async {
        while !done().await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let so = timeout(patience, so).await;
    assert!(so.is_ok(), "it is not so after {patience:?}");
}
