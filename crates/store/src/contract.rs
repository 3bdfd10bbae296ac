//! The contract of a store.

use crate::{
    Created, DeviceRow, Document, DocumentKind, HistoryQuery, HistoryRow, IndexQuery, Mutation,
    ParameterRow, Result, TaskQuery, TaskRow,
};
use async_trait::async_trait;
use hearth_types::{DeviceId, DeviceKey, TaskId, TenantId};

/// What Hearth remembers.
///
/// For every backend:
/// - A write MUST be durable when its call returns `Ok`: it survives the kill of
///   any process and, where the backend's settings say so, a power cut.
/// - A write MUST be idempotent and MUST NOT depend on the order in which
///   writes arrive: each carries its event time, and the later one stays
///   (tasks have [`Store::put_tasks`] instead). A delete takes all that is not newer than itself, and goes on
///   doing so for writes that arrive after it; a backend MAY forget that once
///   the device has newer deletes, by a week of event time, or ten days after
///   it was made.
/// - A write that returned an error MAY have been kept, whole or in part.
/// - A read MUST see every write of the same process whose call has returned.
/// - Pages: a read with `after`/`before` MUST go on right behind it, also when
///   rows came or went in between; fewer rows than `limit` mean the end.
/// - A backend SHOULD apply one [`Store::write`] as a whole or not at all, and
///   MUST do so for the mutations of one device in the embedded form.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Applies mutations.
    async fn write(&self, mutations: Vec<Mutation>) -> Result<()>;

    /// A device's row.
    async fn device(&self, device: &DeviceKey) -> Result<Option<DeviceRow>>;

    /// Devices of a tenant in the order of their ids.
    async fn devices(
        &self,
        tenant: &TenantId,
        after: Option<&DeviceId>,
        limit: usize,
    ) -> Result<Vec<(DeviceId, DeviceRow)>>;

    /// How many devices a tenant has. SHOULD NOT read them all. MAY lag behind
    /// what other processes wrote.
    async fn device_count(&self, tenant: &TenantId) -> Result<u64>;

    /// Tenants that have devices, sorted.
    async fn tenants(&self) -> Result<Vec<TenantId>>;

    /// Forgets a device with parameters, history and index entries. Its tasks
    /// stay. What has a later event time than the call brings it back; whether
    /// an earlier one that arrives late does is left to the backend.
    async fn delete_device(&self, device: &DeviceKey) -> Result<()>;

    /// Devices by an attribute, in the order of (value, id).
    async fn search(&self, query: &IndexQuery) -> Result<Vec<(String, DeviceId)>>;

    /// Index entries of one device: (attribute, value), sorted.
    async fn index_of(&self, device: &DeviceKey) -> Result<Vec<(String, String)>>;

    /// Parameters in the byte order of their paths: one parameter, or all below
    /// a path that ends in `.`, the object itself included (an empty path: all).
    async fn parameters(
        &self,
        device: &DeviceKey,
        path: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, ParameterRow)>>;

    /// The rows of these parameters, in their order; `None` where there is
    /// none.
    async fn parameters_by_path(
        &self,
        device: &DeviceKey,
        paths: &[String],
    ) -> Result<Vec<Option<ParameterRow>>>;

    /// A device's history, newest first.
    async fn history(&self, query: &HistoryQuery) -> Result<Vec<HistoryRow>>;

    /// Deletes history that is older than `before`, at most `limit` entries
    /// of all devices; answers how many went. For retention; does nothing where
    /// history expires by itself.
    async fn trim_history(&self, before: hearth_types::Timestamp, limit: usize) -> Result<usize>;

    /// Enters a task; one that is there already MUST stay as it is ([`Created::New`] all the same). With
    /// an idempotency key (unique in the tenant), exactly
    /// one of any calls with the same key MUST enter its task; the others learn
    /// which it was.
    async fn create_task(&self, task: TaskRow, idempotency_key: Option<&str>) -> Result<Created>;

    /// The task that was entered with an idempotency key, unless it was removed.
    ///
    /// The default knows none; a backend MUST look it up.
    async fn task_by_key(
        &self,
        tenant: &TenantId,
        idempotency_key: &str,
    ) -> Result<Option<TaskId>> {
        let _ = (tenant, idempotency_key);
        Ok(None)
    }

    /// Deletes at most `limit` tasks that have ended and whose ids were made before `before`, with
    /// their idempotency keys; answers how many went. For retention.
    ///
    /// The default is that of a backend that lets them expire by itself.
    async fn trim_tasks(&self, before: hearth_types::Timestamp, limit: usize) -> Result<usize> {
        let _ = (before, limit);
        Ok(0)
    }

    /// Rows that a list left out since the store was opened, because they can't be read. Each was
    /// logged with its key.
    fn damaged_rows(&self) -> u64 {
        0
    }

    /// Writes tasks' next revisions, in their order; at most one of each task in a call.
    ///
    /// - A row MUST be written only where the ledger has the revision before it (`revision - 1`), so
    ///   that of any calls that write the same revision of a task exactly one succeeds. All else is
    ///   [`crate::Error::Conflict`] and MUST leave the ledger's row as it is: also a task that is not
    ///   there.
    /// - The very row that the ledger has (revision, payload, open or not) MUST count as written: a
    ///   call whose outcome is not known may be made again.
    /// - At a conflict the tasks before it in the call MUST be written, it and those behind MUST NOT.
    /// - After any other error each row may have been written or not, or be written later, until
    ///   the next call for that task has come to an end.
    /// - Callers MUST NOT open a task again that has ended.
    async fn put_tasks(&self, tasks: Vec<TaskRow>) -> Result<()>;

    /// A task. Behind a [`Store::put_tasks`] that did not return `Ok`, of this process or another, it
    /// MAY be the row before: what is done upon it proves itself by the next `put_tasks`.
    async fn task(&self, tenant: &TenantId, id: TaskId) -> Result<Option<TaskRow>>;

    /// A task as the calls of [`Store::put_tasks`] have decided it, those too whose outcome nobody was
    /// told. For who acts upon it without writing.
    ///
    /// The default is that of a backend where [`Store::task`] is never behind.
    async fn decided_task(&self, tenant: &TenantId, id: TaskId) -> Result<Option<TaskRow>> {
        self.task(tenant, id).await
    }

    /// Tasks, newest first. A damaged row MUST be left out as by [`Store::open_tasks`].
    async fn tasks(&self, query: &TaskQuery) -> Result<Vec<TaskRow>>;

    /// Open tasks of the devices of a bucket ([`DeviceKey::bucket`]), all tenants, in a stable
    /// order, for rebuilding queues. One that ends meanwhile MAY be among them. A damaged row MUST be
    /// left out, logged and counted ([`Store::damaged_rows`]); the others go on.
    async fn open_tasks(
        &self,
        bucket: u8,
        after: Option<(&TenantId, TaskId)>,
        limit: usize,
    ) -> Result<Vec<TaskRow>>;

    /// Writes a document.
    async fn put_document(
        &self,
        kind: DocumentKind,
        tenant: &TenantId,
        document: Document,
    ) -> Result<()>;

    /// Writes a document unless there is one of its key; answers the one that is there. Of any calls
    /// for the same key, by whatever process, one MUST enter its document, and the others learn which
    /// it is. `time` of what is entered MAY become the time of the decision.
    ///
    /// The default is for a store that wraps another: it looks and then writes. A backend MUST decide.
    async fn create_document(
        &self,
        kind: DocumentKind,
        tenant: &TenantId,
        document: Document,
    ) -> Result<Option<Document>> {
        let present = self.document(kind, tenant, &document.key).await?;
        if present.is_none() {
            self.put_document(kind, tenant, document).await?;
        }
        Ok(present)
    }

    /// A document.
    async fn document(
        &self,
        kind: DocumentKind,
        tenant: &TenantId,
        key: &str,
    ) -> Result<Option<Document>>;

    /// Documents whose keys begin with `prefix`, in the order of their keys.
    async fn documents(
        &self,
        kind: DocumentKind,
        tenant: &TenantId,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Document>>;

    /// Deletes a document; answers whether there was one.
    async fn delete_document(
        &self,
        kind: DocumentKind,
        tenant: &TenantId,
        key: &str,
    ) -> Result<bool>;

    /// Whether a write would be kept now. For the readiness: nodes that answer reads may yet refuse
    /// writes, so they MUST be asked by one; what it leaves nobody else sees.
    ///
    /// The default is that of a backend in its caller's process.
    async fn probe(&self) -> Result<()> {
        Ok(())
    }
}
