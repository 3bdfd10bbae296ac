//! A certificate of the own CA opens what its roles may ask, and nothing else. Over real mutual TLS.
#![allow(clippy::unwrap_used)]

mod common;

use common::fake::Fake;
use common::{Ca, ROLES, Server, config, peer, services, serving};
use futures::{StreamExt, stream};
use hearth_clients::remote::{DeviceStateClient, FilesClient, WakeupClient, WorkflowClient};
use hearth_clients::{
    DeviceState, Error, Files, Identity, InternalConfig, Kind, Result, ServiceName, Wakeup,
    Workflow,
};
use hearth_proto::{devicestate::v1 as ds, files::v1 as fs, wakeup::v1 as wk, workflow::v1 as wf};
use hearth_telemetry::Registry;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Clients of all services, of one process.
struct Caller {
    workflow: WorkflowClient,
    device_state: DeviceStateClient,
    wakeup: WakeupClient,
    files: FilesClient,
}

impl Caller {
    async fn new(server: SocketAddr, identity: Identity, config: &InternalConfig) -> Self {
        let to = |service| {
            let identity = Some(identity.clone());
            peer(service, &[server], identity, config, &Registry::new())
        };
        let caller = Self {
            workflow: WorkflowClient(to(ServiceName::Workflow)),
            device_state: DeviceStateClient(to(ServiceName::DeviceState)),
            wakeup: WakeupClient(to(ServiceName::Wakeup)),
            files: FilesClient(to(ServiceName::Files)),
        };
        for peer in [
            &caller.workflow.0,
            &caller.device_state.0,
            &caller.wakeup.0,
            &caller.files.0,
        ] {
            serving(peer, 1).await;
        }
        caller
    }

    /// Which of some calls are let in.
    async fn allowed(&self) -> Vec<&'static str> {
        let content = || stream::iter([Ok("bytes".into())]).boxed();
        let tried = [
            (
                "OpenSession",
                told(
                    self.workflow
                        .open_session(wf::OpenSessionRequest::default())
                        .await,
                ),
            ),
            (
                "CreateTask",
                told(
                    self.workflow
                        .create_task(wf::CreateTaskRequest::default())
                        .await,
                ),
            ),
            (
                "ForgetDevice",
                told(
                    self.workflow
                        .forget_device(wf::ForgetDeviceRequest::default())
                        .await,
                ),
            ),
            (
                "GetCredential",
                told(
                    self.device_state
                        .get_credential(ds::GetCredentialRequest::default())
                        .await,
                ),
            ),
            (
                "ListCredentials",
                told(
                    self.device_state
                        .list_credentials(ds::ListCredentialsRequest::default())
                        .await,
                ),
            ),
            (
                "PutCredential",
                told(
                    self.device_state
                        .put_credential(ds::PutCredentialRequest::default())
                        .await,
                ),
            ),
            (
                "DeleteDevice",
                told(
                    self.device_state
                        .delete_device(ds::DeleteDeviceRequest::default())
                        .await,
                ),
            ),
            (
                "GetConnectionRequest",
                told(
                    self.device_state
                        .get_connection_request(ds::GetConnectionRequestRequest::default())
                        .await,
                ),
            ),
            (
                "PutModel",
                told(
                    self.device_state
                        .put_model(ds::PutModelRequest::default())
                        .await,
                ),
            ),
            (
                "WatchEvents",
                told(
                    self.device_state
                        .watch_events(ds::WatchEventsRequest::default())
                        .await,
                ),
            ),
            (
                "Wake",
                told(self.wakeup.wake(wk::WakeRequest::default()).await),
            ),
            (
                "PrepareTransfer",
                told(
                    self.files
                        .prepare_transfer(fs::PrepareTransferRequest::default())
                        .await,
                ),
            ),
            (
                "DeleteFile",
                told(
                    self.files
                        .delete_file(fs::DeleteFileRequest::default())
                        .await,
                ),
            ),
            (
                "PutFile",
                told(self.files.put_file(fs::File::default(), content()).await),
            ),
            (
                "ReadFile",
                told(self.files.read_file(fs::ReadFileRequest::default()).await),
            ),
        ];
        let let_in = tried.into_iter().filter(|(_, let_in)| *let_in);
        let_in.map(|(name, _)| name).collect()
    }
}

/// Whether a call was let in.
fn told<T>(answer: Result<T>) -> bool {
    match answer {
        Err(Error {
            kind: Kind::Internal,
            message,
            ..
        }) if message.contains("may not call") => false,
        Err(error) => panic!("{error}"),
        Ok(_) => true,
    }
}

async fn server(ca: &Ca, config: &InternalConfig) -> (Server, Arc<Fake>) {
    let service = Arc::new(Fake::default());
    let server = Server::start(services(&service), Some(&ca.identity("server")), config).await;
    (server, service)
}

#[tokio::test]
async fn each_role_calls_what_it_needs_and_nothing_else() {
    let ca = Ca::new();
    let (server, service) = server(&ca, &config()).await;
    let northbound = [
        "CreateTask",
        "ForgetDevice",
        "GetCredential",
        "ListCredentials",
        "PutCredential",
        "DeleteDevice",
        "WatchEvents",
        "Wake",
        "DeleteFile",
        "PutFile",
        "ReadFile",
    ];
    let expected: [(&[&str], &[&str]); 7] = [
        (
            &["gateway"],
            &["OpenSession", "CreateTask", "GetCredential"],
        ),
        (&["workflow"], &["PutModel", "Wake", "PrepareTransfer"]),
        (&["northbound"], &northbound),
        (&["wakeup"], &["GetCredential", "GetConnectionRequest"]),
        (&["device-state", "files"], &[]),
        (
            &["gateway", "wakeup"],
            &[
                "OpenSession",
                "CreateTask",
                "GetCredential",
                "GetConnectionRequest",
            ],
        ),
        (&[], &[]),
    ];
    for (roles, calls) in expected {
        let identity = ca.identity_for("client", roles);
        let caller = Caller::new(server.address, identity, &config()).await;
        service.asked.lock().clear();
        assert_eq!(caller.allowed().await, calls, "{roles:?}");
        let asked = service.asked.lock().len();
        assert!(asked <= calls.len(), "the service saw no more than those");
    }
}

#[tokio::test]
async fn a_refusal_names_the_role() {
    let ca = Ca::new();
    let (server, _) = server(&ca, &config()).await;
    let gateway = ca.identity_for("gateway-1", &["gateway"]);
    let gateway = Caller::new(server.address, gateway, &config()).await;
    let refused = gateway.files.delete_file(fs::DeleteFileRequest::default());
    let refused = refused.await.unwrap_err();
    assert_eq!(
        refused.message,
        "the files role refused this process: a certificate for the role gateway may not call DeleteFile of \
         hearth.files.v1.FilesService"
    );
    assert!(!refused.is_retryable());
}

#[tokio::test]
async fn an_authority_without_roles_can_be_allowed() {
    let ca = Ca::new();
    let mut config = config();
    config.tls.any_role = true;
    let (server, _) = server(&ca, &config).await;
    let nobody = ca.identity_for("client", &[]);
    let caller = Caller::new(server.address, nobody, &config).await;
    assert_eq!(caller.allowed().await.len(), 15);
}

/// A process that has another role's certificate can't pass for the files role.
#[tokio::test]
async fn a_server_must_have_the_role_too() {
    let ca = Ca::new();
    let service = Arc::new(Fake::default());
    let false_one = ca.identity_for("server", &["gateway"]);
    let server = Server::start(services(&service), Some(&false_one), &config()).await;
    let client = ca.identity_for("client", &ROLES);
    let registry = Registry::new();
    let peer = peer(
        ServiceName::Files,
        &[server.address],
        Some(client),
        &config(),
        &registry,
    );
    let mut reach = peer.reach();
    let found = reach.wait_for(|reach| reach.known == 1 && reach.usable == 0);
    let found = tokio::time::timeout(Duration::from_secs(10), found).await;
    let reason = found.unwrap().unwrap().reason.clone();
    assert!(
        reason.contains("for the role gateway, not for files"),
        "{reason}"
    );
}
