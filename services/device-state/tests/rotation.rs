//! Credentials rotate, and the process may die at every step: the device is never locked out, and the
//! old ends with the first use of the new.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use crate::common::{START, TENANT, World, config, inform, values};
use async_trait::async_trait;
use hearth_clients::DeviceState;
use hearth_engine::EngineOptions;
use hearth_proto::devicestate::v1 as ds;
use hearth_proto::events::v1 as ev;
use hearth_proto::types::v1::{EdgePolicy, RotateCredentials};
use hearth_store::{
    Created, DeviceRow, Document, DocumentKind, Error, HistoryQuery, HistoryRow, IndexQuery,
    Mutation, ParameterRow, Result, Store, TaskQuery, TaskRow,
};
use hearth_types::{DeviceId, DeviceKey, TaskId, TenantId, Timestamp};

const ID: &str = "00D09E-Box-7";
const OTHER: &str = "00D09E-Box-8";

/// Writes so often, and then no more: the process has died.
struct Dying {
    store: Arc<dyn Store>,
    left: Arc<AtomicI64>,
}

impl Dying {
    fn step(&self) -> Result<()> {
        match self.left.fetch_sub(1, Ordering::SeqCst) {
            1.. => Ok(()),
            _ => Err(Error::Unavailable("dead".into())),
        }
    }
}

#[async_trait]
impl Store for Dying {
    async fn write(&self, mutations: Vec<Mutation>) -> Result<()> {
        self.step()?;
        self.store.write(mutations).await
    }

    async fn device(&self, device: &DeviceKey) -> Result<Option<DeviceRow>> {
        self.store.device(device).await
    }

    async fn parameters_by_path(
        &self,
        device: &DeviceKey,
        paths: &[String],
    ) -> Result<Vec<Option<ParameterRow>>> {
        self.store.parameters_by_path(device, paths).await
    }

    async fn devices(
        &self,
        tenant: &TenantId,
        after: Option<&DeviceId>,
        limit: usize,
    ) -> Result<Vec<(DeviceId, DeviceRow)>> {
        self.store.devices(tenant, after, limit).await
    }

    async fn device_count(&self, tenant: &TenantId) -> Result<u64> {
        self.store.device_count(tenant).await
    }

    async fn tenants(&self) -> Result<Vec<TenantId>> {
        self.store.tenants().await
    }

    async fn delete_device(&self, device: &DeviceKey) -> Result<()> {
        self.store.delete_device(device).await
    }

    async fn search(&self, query: &IndexQuery) -> Result<Vec<(String, DeviceId)>> {
        self.store.search(query).await
    }

    async fn index_of(&self, device: &DeviceKey) -> Result<Vec<(String, String)>> {
        self.store.index_of(device).await
    }

    async fn parameters(
        &self,
        device: &DeviceKey,
        path: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, ParameterRow)>> {
        self.store.parameters(device, path, after, limit).await
    }

    async fn history(&self, query: &HistoryQuery) -> Result<Vec<HistoryRow>> {
        self.store.history(query).await
    }

    async fn trim_history(&self, before: Timestamp, limit: usize) -> Result<usize> {
        self.store.trim_history(before, limit).await
    }

    async fn create_task(&self, task: TaskRow, key: Option<&str>) -> Result<Created> {
        self.store.create_task(task, key).await
    }

    async fn put_tasks(&self, tasks: Vec<TaskRow>) -> Result<()> {
        self.step()?;
        self.store.put_tasks(tasks).await
    }

    async fn task(&self, tenant: &TenantId, id: TaskId) -> Result<Option<TaskRow>> {
        self.store.task(tenant, id).await
    }

    async fn tasks(&self, query: &TaskQuery) -> Result<Vec<TaskRow>> {
        self.store.tasks(query).await
    }

    async fn open_tasks(
        &self,
        bucket: u8,
        after: Option<(&TenantId, TaskId)>,
        limit: usize,
    ) -> Result<Vec<TaskRow>> {
        self.store.open_tasks(bucket, after, limit).await
    }

    async fn put_document(
        &self,
        kind: DocumentKind,
        tenant: &TenantId,
        document: Document,
    ) -> Result<()> {
        self.step()?;
        self.store.put_document(kind, tenant, document).await
    }

    async fn document(
        &self,
        kind: DocumentKind,
        tenant: &TenantId,
        key: &str,
    ) -> Result<Option<Document>> {
        self.store.document(kind, tenant, key).await
    }

    async fn documents(
        &self,
        kind: DocumentKind,
        tenant: &TenantId,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Document>> {
        self.store
            .documents(kind, tenant, prefix, after, limit)
            .await
    }

    async fn delete_document(
        &self,
        kind: DocumentKind,
        tenant: &TenantId,
        key: &str,
    ) -> Result<bool> {
        self.step()?;
        self.store.delete_document(kind, tenant, key).await
    }
}

async fn world(dir: &std::path::Path, writes: i64) -> (World, Arc<AtomicI64>) {
    let left = Arc::new(AtomicI64::new(writes));
    let shared = Arc::clone(&left);
    let world = World::over(EngineOptions::new(dir), config(), move |store| {
        Arc::new(Dying {
            store,
            left: shared,
        })
    });
    (world.await, left)
}

async fn put(world: &World, kind: ds::CredentialKind, username: &str, device: &str, model: &str) {
    let mut credential = ds::Credential {
        tenant: TENANT.into(),
        username: username.into(),
        device: device.into(),
        model: model.into(),
        ..ds::Credential::default()
    };
    credential.set_kind(kind);
    let request = ds::PutCredentialRequest {
        credential: Some(credential),
        password: format!("{username}-secret"),
    };
    world.state.put_credential(request).await.unwrap();
}

async fn policy(world: &World, rotate: RotateCredentials) {
    let mut policy = EdgePolicy::default();
    policy.set_rotate_credentials(rotate);
    let request = ds::UpdateEdgePolicyRequest {
        tenant: TENANT.into(),
        policy: Some(policy),
        fields: vec!["rotate_credentials".into()],
    };
    world.state.update_edge_policy(request).await.unwrap();
}

/// What comes of an Inform of `ID`.
async fn come(world: &World, username: &str, bootstrap: bool) -> ds::CheckIdentityResponse {
    come_as(world, ID, username, bootstrap).await.unwrap()
}

async fn come_as(
    world: &World,
    id: &str,
    username: &str,
    bootstrap: bool,
) -> hearth_clients::Result<ds::CheckIdentityResponse> {
    let request = ds::CheckIdentityRequest {
        tenant: TENANT.into(),
        username: username.into(),
        device: id.into(),
        bootstrap,
        bootstrapped: bootstrap,
        ..ds::CheckIdentityRequest::default()
    };
    world.state.check_identity(request).await
}

async fn prepare(world: &World) -> hearth_clients::Result<ds::PrepareRotationResponse> {
    let request = ds::PrepareRotationRequest {
        tenant: TENANT.into(),
        device: ID.into(),
        attempt: 0,
    };
    world.state.prepare_rotation(request).await
}

async fn open(
    world: &World,
    pending: &ds::PrepareRotationResponse,
) -> hearth_clients::Result<ds::OpenRotationResponse> {
    let request = ds::OpenRotationRequest {
        tenant: TENANT.into(),
        device: ID.into(),
        rotation: pending.rotation.clone(),
    };
    world.state.open_rotation(request).await
}

async fn wakes_with(world: &World) -> (String, String) {
    let request = ds::GetConnectionRequestRequest {
        tenant: TENANT.into(),
        device: ID.into(),
    };
    let found = world.state.get_connection_request(request).await.unwrap();
    (found.username, found.password)
}

async fn password(world: &World, username: &str) -> String {
    let request = ds::GetCredentialRequest {
        tenant: TENANT.into(),
        username: username.into(),
    };
    world.state.get_credential(request).await.unwrap().password
}

#[tokio::test]
async fn the_policy_says_when_credentials_rotate() {
    let dir = tempfile::tempdir().unwrap();
    let (world, _) = world(dir.path(), i64::MAX).await;
    put(&world, ds::CredentialKind::Onboarding, "all", "", "").await;
    put(&world, ds::CredentialKind::Model, "box", "", "00d09e/Box").await;
    put(&world, ds::CredentialKind::Device, "own", ID, "").await;
    assert!(!come(&world, "all", true).await.rotate);
    policy(&world, RotateCredentials::Bootstrap).await;
    for (user, bootstrap, rotates) in [
        ("all", true, true),
        ("all", false, false),
        ("box", true, true),
        ("box", false, false),
    ] {
        let answer = come(&world, user, bootstrap).await;
        assert!(answer.allowed, "{}", answer.reason);
        assert_eq!(answer.rotate, rotates, "{user} {bootstrap}");
    }
    policy(&world, RotateCredentials::Onboarding).await;
    assert!(come(&world, "all", false).await.rotate);
    assert!(come(&world, "box", false).await.rotate);
    assert!(!come(&world, "own", false).await.rotate);
    assert!(come(&world, "own", true).await.rotate);
    let wrong = come_as(&world, "00D09E-Other-1", "box", false)
        .await
        .unwrap();
    assert_eq!((wrong.allowed, wrong.code.as_str()), (false, "identity"));
    world.stop().await;
}

#[tokio::test]
async fn the_old_ends_with_the_first_use_of_the_new() {
    let dir = tempfile::tempdir().unwrap();
    let (mut world, _) = world(dir.path(), i64::MAX).await;
    world.run().await;
    put(&world, ds::CredentialKind::Onboarding, "all", "", "").await;
    put(&world, ds::CredentialKind::Device, "factory", ID, "").await;
    world
        .publish(&inform(ID, START, "0 BOOTSTRAP", &[("Device.A", "1")]))
        .await;
    world.settled().await;
    policy(&world, RotateCredentials::Onboarding).await;
    assert!(come(&world, "factory", true).await.rotate);
    let pending = prepare(&world).await.unwrap();
    let again = prepare(&world).await.unwrap();
    assert_eq!(pending, again, "one at a time");
    let secrets = open(&world, &pending).await.unwrap();
    assert_eq!(password(&world, &pending.username).await, secrets.password);
    assert_ne!(secrets.password, secrets.connection_request_password);
    // Not set yet: woken as before. Set: with the new, though the device has not come yet.
    assert_eq!(wakes_with(&world).await, (String::new(), String::new()));
    let name = "Device.ManagementServer.ConnectionRequestUsername";
    let set = [(name, pending.connection_request_username.as_str())];
    world
        .publish(&values(ID, START + 1, ev::ValueSource::Set, &set))
        .await;
    world.settled().await;
    let new = (
        pending.connection_request_username.clone(),
        secrets.connection_request_password.clone(),
    );
    assert_eq!(wakes_with(&world).await, new);
    // Both are good, until the new is used.
    assert!(come(&world, "factory", false).await.allowed);
    assert!(
        come(&world, "all", false).await.allowed,
        "pending: what others have still serves"
    );
    assert!(
        !come_as(&world, OTHER, &pending.username, false)
            .await
            .unwrap()
            .allowed
    );
    assert!(come(&world, &pending.username, false).await.allowed);
    assert!(!come(&world, "factory", false).await.allowed);
    assert!(!come(&world, "all", false).await.allowed);
    assert_eq!(wakes_with(&world).await, new);
    assert!(open(&world, &pending).await.is_err(), "no longer pending");
    // A factory reset: the factory's serve again, and go on to until there are new ones.
    assert!(come(&world, "factory", true).await.rotate);
    assert!(come(&world, "factory", false).await.allowed);
    let second = prepare(&world).await.unwrap();
    assert_ne!(second.username, pending.username);
    assert!(come(&world, &pending.username, false).await.allowed);
    assert!(come(&world, &second.username, false).await.allowed);
    assert!(!come(&world, &pending.username, false).await.allowed);
    assert!(!come(&world, "factory", false).await.allowed);
    // Lists show no secrets, and what was made here as such.
    let request = ds::ListCredentialsRequest {
        tenant: TENANT.into(),
        ..ds::ListCredentialsRequest::default()
    };
    let listed = world
        .state
        .list_credentials(request)
        .await
        .unwrap()
        .credentials;
    assert!(listed.iter().all(|one| one.sealed_password.is_empty()));
    let made = listed.iter().filter(|one| one.rotated);
    assert_eq!(made.count(), 2, "user and connection request: {listed:?}");
    world.stop().await;
}

#[tokio::test]
async fn a_death_at_any_step_locks_nobody_out() {
    let mut died = 0;
    for writes in 0.. {
        let dir = tempfile::tempdir().unwrap();
        let (first, left) = world(dir.path(), i64::MAX).await;
        put(&first, ds::CredentialKind::Device, "factory", ID, "").await;
        policy(&first, RotateCredentials::Bootstrap).await;
        assert!(come(&first, "factory", true).await.rotate);
        left.store(writes, Ordering::SeqCst);
        let prepared = prepare(&first).await;
        if let Ok(pending) = &prepared {
            // It was set: the device has the new, whether or not it is let in with it now.
            let _ = come_as(&first, ID, &pending.username, false).await;
        }
        let done = left.load(Ordering::SeqCst) >= 0;
        first.crash().await;

        let (second, _) = world(dir.path(), i64::MAX).await;
        // Whatever was written: the device comes with what it has, and that is good.
        let mut has = match &prepared {
            Ok(pending) => pending.username.clone(),
            Err(_) => "factory".to_owned(),
        };
        let came = come(&second, &has, false).await;
        assert!(came.allowed, "after {writes} writes: {}", came.reason);
        if prepared.is_err() {
            // The same is tried again.
            has = prepare(&second).await.unwrap().username;
            let came = come(&second, &has, false).await;
            assert!(came.allowed, "after {writes} writes: {}", came.reason);
        }
        assert!(
            !come(&second, "factory", false).await.allowed,
            "after {writes} writes"
        );
        assert_eq!(wakes_as(&second).await, has);
        second.crash().await;
        match done {
            true => break,
            false => died += 1,
        }
    }
    assert!(died >= 6, "each write is one step: {died}");
}

/// The user that the device is woken as.
async fn wakes_as(world: &World) -> String {
    let request = ds::ListCredentialsRequest {
        tenant: TENANT.into(),
        ..ds::ListCredentialsRequest::default()
    };
    let listed = world
        .state
        .list_credentials(request)
        .await
        .unwrap()
        .credentials;
    let is = |one: &&ds::Credential| one.kind() == ds::CredentialKind::ConnectionRequest;
    let found = listed.iter().find(is);
    found.map(|one| one.username.clone()).unwrap_or_default()
}
