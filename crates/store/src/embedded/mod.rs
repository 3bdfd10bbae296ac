//! The store on Hearth's own engine: one data directory, one process.
//!
//! - A write merges what is stored with what comes, under locks striped by device (or task, key,
//!   document), and holds them until the commit is on disk: writes of other devices share its
//!   group commit, writes of the same device wait. One call is one batch, applied whole.
//! - Deletes of parameters and index entries leave their times behind, so that older writes that
//!   come late stay deleted; see `merge`.

mod documents;
mod keys;
mod locks;
mod merge;
mod reads;
mod recent;
mod rows;
mod tasks;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use async_trait::async_trait;
use bytes::Bytes;
use hearth_engine::{Engine, Keyspace, KeyspaceOptions, Scan, WriteBatch};
use hearth_types::{DeviceId, DeviceKey, TaskId, TenantId, Timestamp};

use crate::{
    Created, DeviceRow, Document, DocumentKind, Error, HistoryQuery, HistoryRow, IndexQuery,
    Mutation, ParameterRow, Result, Store, TaskQuery, TaskRow,
};
use locks::{Guards, Locks};
use recent::{Merged, Recent};

/// From so many mutations on a write is merged on a blocking thread.
const BLOCKING_MUTATIONS: usize = 64;

/// The store in an [`Engine`]. Clones are cheap and share it.
#[derive(Clone, Debug)]
pub struct EmbeddedStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    spaces: Spaces,
    devices: Locks,
    tasks: Locks,
    documents: Locks,
    /// Held by writes that make or delete devices, for the counts.
    counts: Arc<tokio::sync::Mutex<()>>,
    /// Rows that were left out of a list.
    damaged: AtomicU64,
}

/// The keyspaces; what lies in them is said in `keys`.
#[derive(Debug)]
struct Spaces {
    engine: Engine,
    recent: Recent,
    device: Keyspace,
    device_seen: Keyspace,
    parameter: Keyspace,
    deleted: Keyspace,
    index: Keyspace,
    index_of: Keyspace,
    history: Keyspace,
    history_time: Keyspace,
    device_count: Keyspace,
    task: Keyspace,
    task_of: Keyspace,
    open_task: Keyspace,
    open_task_of: Keyspace,
    task_key: Keyspace,
    document: Keyspace,
}

impl EmbeddedStore {
    /// The store in `engine`, in keyspaces that begin with `store.`; they are made when missing.
    ///
    /// # Errors
    /// The keyspaces can't be made.
    pub fn open(engine: &Engine) -> Result<Self> {
        let space = |name: &str| engine.keyspace(&format!("store.{name}"));
        let hit = |name: &str| {
            let options = KeyspaceOptions {
                reads_mostly_hit: true,
                ..KeyspaceOptions::default()
            };
            engine.keyspace_with(&format!("store.{name}"), &options)
        };
        let spaces = Spaces {
            engine: engine.clone(),
            recent: Recent::new(),
            device: hit("device")?,
            device_seen: hit("device_seen")?,
            parameter: space("parameter")?,
            deleted: space("deleted")?,
            index: space("index")?,
            index_of: space("index_of")?,
            history: space("history")?,
            history_time: space("history_time")?,
            device_count: hit("device_count")?,
            task: space("task")?,
            task_of: space("task_of")?,
            open_task: space("open_task")?,
            open_task_of: space("open_task_of")?,
            task_key: space("task_key")?,
            document: space("document")?,
        };
        Ok(Self {
            inner: Arc::new(Inner {
                spaces,
                devices: Locks::new(),
                tasks: Locks::new(),
                documents: Locks::new(),
                counts: Arc::default(),
                damaged: AtomicU64::new(0),
            }),
        })
    }

    /// Runs `read` on a thread that may block.
    async fn blocking<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Spaces) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let inner = Arc::clone(&self.inner);
        tokio::task::spawn_blocking(move || read(&inner.spaces))
            .await
            .map_err(|lost| Error::Unavailable(Box::new(lost)))?
    }

    /// The rows that could be read; the others are counted.
    fn sound(&self, found: tasks::Sound) -> Vec<TaskRow> {
        self.inner.damaged.fetch_add(found.damaged, Relaxed);
        found.rows
    }

    /// Commits, and holds `guards` until the batch is on disk even when the caller goes away: the
    /// next merge must not read what is still on its way.
    async fn commit(&self, batch: WriteBatch, guards: Guards) -> Result<()> {
        let rows = Vec::new();
        self.commit_rows(batch, rows, guards).await
    }

    /// The same, with rows to remember then.
    async fn commit_rows(
        &self,
        batch: WriteBatch,
        rows: Vec<(Vec<u8>, Bytes)>,
        guards: Guards,
    ) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let inner = Arc::clone(&self.inner);
        let commit = inner.spaces.engine.commit(batch);
        let held = tokio::spawn(async move {
            let done = commit.await;
            if done.is_ok() {
                inner.spaces.recent.remember(rows);
            }
            drop(guards);
            done
        });
        held.await
            .map_err(|lost| Error::Unavailable(Box::new(lost)))?
            .map_err(Error::from)
    }

    /// Puts tenants' new counts of devices into a batch. The caller holds `counts`.
    fn count(&self, batch: &mut WriteBatch, changes: BTreeMap<TenantId, i64>) -> Result<()> {
        let spaces = &self.inner.spaces;
        for (tenant, change) in changes {
            let count = reads::device_count(spaces, &tenant)?.saturating_add_signed(change);
            let key = tenant.as_str();
            if count == 0 {
                batch.delete(&spaces.device_count, key);
            } else {
                batch.put(&spaces.device_count, key, count.to_be_bytes());
            }
        }
        Ok(())
    }
}

impl Spaces {
    /// The bytes of a row of `store.parameter`.
    fn parameter_row(&self, key: &[u8]) -> Result<Option<Bytes>> {
        match self.recent.row(key) {
            Some(row) => Ok(Some(row)),
            None => Ok(self.parameter.get(key)?),
        }
    }

    /// The bytes of a row of `store.device_seen`.
    fn seen_row(&self, key: &[u8]) -> Result<Option<Bytes>> {
        match self.recent.row(key) {
            Some(row) => Ok(Some(row)),
            None => Ok(self.device_seen.get(key)?),
        }
    }
}

/// Mutations by device, each group in its order.
fn by_device(mutations: Vec<Mutation>) -> Vec<(DeviceKey, Vec<Mutation>)> {
    let mut groups: Vec<(DeviceKey, Vec<Mutation>)> = Vec::new();
    let mut places: HashMap<DeviceKey, usize, ahash::RandomState> = HashMap::default();
    for mutation in mutations {
        let device = mutation.device();
        // Most calls bring the mutations of a device one after another.
        if let Some((last, group)) = groups.last_mut()
            && last == device
        {
            group.push(mutation);
        } else if let Some(place) = places.get(device) {
            groups[*place].1.push(mutation);
        } else {
            places.insert(device.clone(), groups.len());
            groups.push((device.clone(), vec![mutation]));
        }
    }
    groups
}

/// Merges all groups into one batch; answers how many devices are new, by tenant.
fn merge_all(
    spaces: &Spaces,
    groups: &[(DeviceKey, Vec<Mutation>)],
) -> Result<(Merged, BTreeMap<TenantId, i64>)> {
    // A history entry is two rows; most others are one.
    let mutations: usize = groups.iter().map(|(_, mutations)| mutations.len()).sum();
    let mut merged = Merged::with_capacity(mutations * 2);
    let mut created = BTreeMap::new();
    for (device, mutations) in groups {
        if merge::device(spaces, device, mutations, &mut merged)? {
            *created.entry(device.tenant.clone()).or_insert(0) += 1;
        }
    }
    Ok((merged, created))
}

#[async_trait]
impl Store for EmbeddedStore {
    async fn write(&self, mutations: Vec<Mutation>) -> Result<()> {
        let many = mutations.len() >= BLOCKING_MUTATIONS;
        let groups = by_device(mutations);
        let mut guards = self.inner.devices.all(groups.iter().map(|(d, _)| d)).await;
        let (merged, created) = if many {
            // The locks go along: the merge ends under them even when the caller goes away.
            let merge = move |spaces: &Spaces| Ok((merge_all(spaces, &groups)?, guards));
            let merged;
            (merged, guards) = self.blocking(merge).await?;
            merged
        } else {
            merge_all(&self.inner.spaces, &groups)?
        };
        let (mut batch, rows) = merged.into_parts();
        if !created.is_empty() {
            guards.push(Arc::clone(&self.inner.counts).lock_owned().await);
            self.count(&mut batch, created)?;
        }
        self.commit_rows(batch, rows, guards).await
    }

    async fn device(&self, device: &DeviceKey) -> Result<Option<DeviceRow>> {
        reads::device(&self.inner.spaces, device)
    }

    async fn devices(
        &self,
        tenant: &TenantId,
        after: Option<&DeviceId>,
        limit: usize,
    ) -> Result<Vec<(DeviceId, DeviceRow)>> {
        let (tenant, after) = (tenant.clone(), after.cloned());
        self.blocking(move |spaces| reads::devices(spaces, &tenant, after.as_ref(), limit))
            .await
    }

    async fn device_count(&self, tenant: &TenantId) -> Result<u64> {
        reads::device_count(&self.inner.spaces, tenant)
    }

    async fn tenants(&self) -> Result<Vec<TenantId>> {
        let entries = self.inner.spaces.device_count.scan(&Scan::all())?;
        entries.iter().map(|e| keys::tenant_of(&e.key)).collect()
    }

    async fn delete_device(&self, device: &DeviceKey) -> Result<()> {
        let mut guards = self.inner.devices.all(std::iter::once(device)).await;
        guards.push(Arc::clone(&self.inner.counts).lock_owned().await);
        let of = device.clone();
        let (mut batch, existed) = self
            .blocking(move |spaces| merge::forget(spaces, &of))
            .await?;
        if existed {
            self.count(&mut batch, BTreeMap::from([(device.tenant.clone(), -1)]))?;
        }
        self.commit(batch, guards).await
    }

    async fn search(&self, query: &IndexQuery) -> Result<Vec<(String, DeviceId)>> {
        let query = query.clone();
        self.blocking(move |spaces| reads::search(spaces, &query))
            .await
    }

    async fn index_of(&self, device: &DeviceKey) -> Result<Vec<(String, String)>> {
        reads::index_of(&self.inner.spaces, device)
    }

    async fn parameters(
        &self,
        device: &DeviceKey,
        path: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, ParameterRow)>> {
        let (device, path) = (device.clone(), path.to_owned());
        let after = after.map(str::to_owned);
        self.blocking(move |spaces| {
            reads::parameters(spaces, &device, &path, after.as_deref(), limit)
        })
        .await
    }

    async fn parameters_by_path(
        &self,
        device: &DeviceKey,
        paths: &[String],
    ) -> Result<Vec<Option<ParameterRow>>> {
        if paths.len() < BLOCKING_MUTATIONS {
            return reads::parameters_by_path(&self.inner.spaces, device, paths);
        }
        let (device, paths) = (device.clone(), paths.to_vec());
        self.blocking(move |spaces| reads::parameters_by_path(spaces, &device, &paths))
            .await
    }

    async fn history(&self, query: &HistoryQuery) -> Result<Vec<HistoryRow>> {
        let query = query.clone();
        self.blocking(move |spaces| reads::history(spaces, &query))
            .await
    }

    async fn trim_history(&self, before: Timestamp, limit: usize) -> Result<usize> {
        let (batch, trimmed) = self
            .blocking(move |spaces| merge::trim_history(spaces, before, limit))
            .await?;
        self.commit(batch, Guards::new()).await?;
        Ok(trimmed)
    }

    async fn create_task(&self, task: TaskRow, idempotency_key: Option<&str>) -> Result<Created> {
        self.create(task, idempotency_key).await
    }

    async fn task_by_key(
        &self,
        tenant: &TenantId,
        idempotency_key: &str,
    ) -> Result<Option<TaskId>> {
        tasks::by_key(&self.inner.spaces, tenant, idempotency_key)
    }

    async fn trim_tasks(&self, before: Timestamp, limit: usize) -> Result<usize> {
        self.trim(before, limit).await
    }

    fn damaged_rows(&self) -> u64 {
        self.inner.damaged.load(Relaxed)
    }

    async fn put_tasks(&self, tasks: Vec<TaskRow>) -> Result<()> {
        self.put(tasks).await
    }

    async fn task(&self, tenant: &TenantId, id: TaskId) -> Result<Option<TaskRow>> {
        tasks::get(&self.inner.spaces, tenant, id)
    }

    async fn tasks(&self, query: &TaskQuery) -> Result<Vec<TaskRow>> {
        let query = query.clone();
        let found = self
            .blocking(move |spaces| tasks::list(spaces, &query))
            .await?;
        Ok(self.sound(found))
    }

    async fn open_tasks(
        &self,
        bucket: u8,
        after: Option<(&TenantId, TaskId)>,
        limit: usize,
    ) -> Result<Vec<TaskRow>> {
        let after = after.map(|(tenant, id)| keys::open_task(bucket, tenant, id));
        let found = self
            .blocking(move |spaces| tasks::open(spaces, bucket, after, limit))
            .await?;
        Ok(self.sound(found))
    }

    async fn put_document(
        &self,
        kind: DocumentKind,
        tenant: &TenantId,
        document: Document,
    ) -> Result<()> {
        self.write_document(kind, tenant, document).await
    }

    async fn create_document(
        &self,
        kind: DocumentKind,
        tenant: &TenantId,
        document: Document,
    ) -> Result<Option<Document>> {
        self.enter_document(kind, tenant, document).await
    }

    async fn document(
        &self,
        kind: DocumentKind,
        tenant: &TenantId,
        key: &str,
    ) -> Result<Option<Document>> {
        documents::get(&self.inner.spaces, kind, tenant, key)
    }

    async fn documents(
        &self,
        kind: DocumentKind,
        tenant: &TenantId,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Document>> {
        let (tenant, prefix) = (tenant.clone(), prefix.to_owned());
        let after = after.map(str::to_owned);
        self.blocking(move |spaces| {
            documents::list(spaces, kind, &tenant, &prefix, after.as_deref(), limit)
        })
        .await
    }

    async fn delete_document(
        &self,
        kind: DocumentKind,
        tenant: &TenantId,
        key: &str,
    ) -> Result<bool> {
        self.remove_document(kind, tenant, key).await
    }
}

impl From<hearth_engine::Error> for Error {
    fn from(error: hearth_engine::Error) -> Self {
        use hearth_engine::Error as E;
        match error {
            E::DiskFull { .. } => Self::Full,
            E::InvalidKey { .. } | E::ValueTooLarge { .. } => Self::TooLarge(error.to_string()),
            E::Storage(_) => Self::Damaged(error.to_string()),
            other => Self::Unavailable(Box::new(other)),
        }
    }
}
