//! The store on CQL: ScyllaDB, or Cassandra 5.
//!
//! - Every write carries its event time as CQL timestamp, and every delete is one with a timestamp:
//!   the nodes merge as the contract says, in whatever order writes arrive, and nothing is read
//!   before it is written. Only tasks' revisions, their idempotency keys and the making of tables are
//!   decided among the replicas (Paxos).
//! - Rows of one partition travel together (unlogged batches of bounded size); a write as a whole is
//!   not one step. It may be made again, and is, by whoever got an error.
//! - Requests under way are bounded; what waits longer than a request may take fails.
//! - Deletes go on hiding late writes for ten days (`gc_grace_seconds`), of open tasks' names for an
//!   hour: those prove themselves when they are read.
//! - A clock that is wrong is the enemy: event times more than a day ahead are refused.

mod client;
mod config;
mod connect;
mod devices;
mod documents;
mod encode;
mod history;
mod index;
mod metrics;
mod parameters;
mod retention;
mod schema;
mod shards;
mod statements;
mod tasks;
mod write;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use async_trait::async_trait;
use hearth_telemetry::Registry;
use hearth_types::{DeviceId, DeviceKey, TaskId, TenantId, Timestamp};

use crate::{
    Created, DeviceRow, Document, DocumentKind, HistoryQuery, HistoryRow, IndexQuery, Mutation,
    ParameterRow, Result, Store, TaskQuery, TaskRow,
};
use client::Client;
use index::Counts;
use tasks::Days;
use write::Listed;

pub use config::{CqlConfig, CqlConsistency};
pub use connect::ConnectError;
pub use metrics::METRICS;

/// Days with tasks that are remembered as entered, over all tenants.
const KNOWN_DAYS: usize = 10_000;

/// The store in a keyspace of ScyllaDB or Cassandra. Clones are cheap and share it.
#[derive(Clone)]
pub struct CqlStore {
    client: Arc<Client>,
    caches: Arc<Caches>,
    /// How long history lives, in seconds.
    history_ttl: i32,
}

struct Caches {
    listed: Listed,
    counts: Counts,
    days: Days,
}

impl fmt::Debug for CqlStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CqlStore").finish_non_exhaustive()
    }
}

impl CqlStore {
    /// Connects; makes keyspace and tables where they are missing and that is allowed, and brings
    /// older ones to this version. History is kept for `history` from when it is written.
    ///
    /// # Errors
    /// See [`ConnectError`]: each is one line that says what to do.
    pub async fn connect(
        config: &CqlConfig,
        history: Duration,
        registry: &Registry,
    ) -> std::result::Result<Self, ConnectError> {
        Ok(Self {
            client: connect::client(config, registry).await?,
            caches: Arc::new(Caches {
                listed: Listed::new(config.known_devices),
                counts: Counts::new(config.count_max_age.get()),
                days: Days::new(KNOWN_DAYS),
            }),
            history_ttl: history::ttl(history),
        })
    }
}

#[async_trait]
impl Store for CqlStore {
    async fn write(&self, mutations: Vec<Mutation>) -> Result<()> {
        let Caches { listed, counts, .. } = &*self.caches;
        let ttl = self.history_ttl;
        self.client.write(&mutations, ttl, listed, counts).await
    }

    async fn device(&self, device: &DeviceKey) -> Result<Option<DeviceRow>> {
        self.client.device(device).await
    }

    async fn devices(
        &self,
        tenant: &TenantId,
        after: Option<&DeviceId>,
        limit: usize,
    ) -> Result<Vec<(DeviceId, DeviceRow)>> {
        self.client.devices(tenant, after, limit).await
    }

    async fn device_count(&self, tenant: &TenantId) -> Result<u64> {
        self.client.device_count(tenant, &self.caches.counts).await
    }

    async fn tenants(&self) -> Result<Vec<TenantId>> {
        self.client.tenants().await
    }

    async fn delete_device(&self, device: &DeviceKey) -> Result<()> {
        let Caches { listed, counts, .. } = &*self.caches;
        self.client.delete_device(device, listed, counts).await
    }

    async fn search(&self, query: &IndexQuery) -> Result<Vec<(String, DeviceId)>> {
        self.client.search(query).await
    }

    async fn index_of(&self, device: &DeviceKey) -> Result<Vec<(String, String)>> {
        self.client.index_of(device).await
    }

    async fn parameters(
        &self,
        device: &DeviceKey,
        path: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, ParameterRow)>> {
        self.client.parameters(device, path, after, limit).await
    }

    async fn parameters_by_path(
        &self,
        device: &DeviceKey,
        paths: &[String],
    ) -> Result<Vec<Option<ParameterRow>>> {
        self.client.parameters_by_path(device, paths).await
    }

    async fn history(&self, query: &HistoryQuery) -> Result<Vec<HistoryRow>> {
        self.client.history(query).await
    }

    /// Nothing: what is old goes by itself.
    async fn trim_history(&self, _before: Timestamp, _limit: usize) -> Result<usize> {
        Ok(0)
    }

    async fn create_task(&self, task: TaskRow, idempotency_key: Option<&str>) -> Result<Created> {
        let days = &self.caches.days;
        self.client.create_task(&task, idempotency_key, days).await
    }

    async fn task_by_key(
        &self,
        tenant: &TenantId,
        idempotency_key: &str,
    ) -> Result<Option<TaskId>> {
        self.client.task_by_key(tenant, idempotency_key).await
    }

    async fn trim_tasks(&self, before: Timestamp, limit: usize) -> Result<usize> {
        self.client.trim_tasks(before, limit).await
    }

    fn damaged_rows(&self) -> u64 {
        self.client.damaged.load(Relaxed)
    }

    async fn put_tasks(&self, tasks: Vec<TaskRow>) -> Result<()> {
        self.client.put_tasks(&tasks).await
    }

    async fn task(&self, tenant: &TenantId, id: TaskId) -> Result<Option<TaskRow>> {
        self.client.task(tenant, id).await
    }

    async fn decided_task(&self, tenant: &TenantId, id: TaskId) -> Result<Option<TaskRow>> {
        self.client.decided_task(tenant, id).await
    }

    async fn tasks(&self, query: &TaskQuery) -> Result<Vec<TaskRow>> {
        self.client.tasks(query).await
    }

    async fn open_tasks(
        &self,
        bucket: u8,
        after: Option<(&TenantId, TaskId)>,
        limit: usize,
    ) -> Result<Vec<TaskRow>> {
        self.client.open_tasks(bucket, after, limit).await
    }

    async fn put_document(
        &self,
        kind: DocumentKind,
        tenant: &TenantId,
        document: Document,
    ) -> Result<()> {
        self.client.put_document(kind, tenant, &document).await
    }

    async fn create_document(
        &self,
        kind: DocumentKind,
        tenant: &TenantId,
        document: Document,
    ) -> Result<Option<Document>> {
        self.client.create_document(kind, tenant, &document).await
    }

    async fn document(
        &self,
        kind: DocumentKind,
        tenant: &TenantId,
        key: &str,
    ) -> Result<Option<Document>> {
        self.client.document(kind, tenant, key).await
    }

    async fn documents(
        &self,
        kind: DocumentKind,
        tenant: &TenantId,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Document>> {
        self.client
            .documents(kind, tenant, prefix, after, limit)
            .await
    }

    async fn delete_document(
        &self,
        kind: DocumentKind,
        tenant: &TenantId,
        key: &str,
    ) -> Result<bool> {
        self.client.delete_document(kind, tenant, key).await
    }

    /// Writes one row, always the same.
    async fn probe(&self) -> Result<()> {
        self.client.probe().await
    }
}
