//! The task ledger.

use std::ops::ControlFlow;

use hearth_engine::{Keyspace, Scan, WriteBatch};
use hearth_types::{DeviceKey, TaskId, TenantId, Timestamp};
use prost::Message;

use super::rows::TaskProto;
use super::{EmbeddedStore, Spaces, keys, rows};
use crate::{Created, Error, Result, TaskQuery, TaskRow};

/// What is locked for a task or an idempotency key.
#[derive(Hash)]
enum Lock<'a> {
    Task(&'a TenantId, TaskId),
    Key(&'a TenantId, &'a str),
}

impl EmbeddedStore {
    pub(super) async fn create(&self, task: TaskRow, key: Option<&str>) -> Result<Created> {
        let spaces = &self.inner.spaces;
        let tenant = &task.device.tenant;
        let mut locks = vec![Lock::Task(tenant, task.id)];
        locks.extend(key.map(|key| Lock::Key(tenant, key)));
        let guards = self.inner.tasks.all(locks.into_iter()).await;
        let mut batch = WriteBatch::new();
        if let Some(key) = key {
            let key = keys::in_tenant(tenant, key.as_bytes());
            if let Some(id) = spaces.task_key.get(&key)? {
                return Ok(Created::Existed(keys::task_id(&id)?));
            }
            batch.put(&spaces.task_key, key, task.id.to_bytes());
        }
        if stored(spaces, tenant, task.id)?.is_none() {
            let key = key.unwrap_or_default().to_owned();
            write(spaces, &task, None, key, &mut batch);
        }
        self.commit(batch, guards).await?;
        Ok(Created::New)
    }

    /// Deletes tasks that have ended, the oldest of each tenant first.
    pub(super) async fn trim(&self, before: Timestamp, limit: usize) -> Result<usize> {
        let found = self
            .blocking(move |spaces| ended(spaces, before, limit))
            .await?;
        let mut locks = Vec::with_capacity(found.len() * 2);
        for (tenant, id, key) in &found {
            locks.push(Lock::Task(tenant, *id));
            if !key.is_empty() {
                locks.push(Lock::Key(tenant, key));
            }
        }
        let guards = self.inner.tasks.all(locks.into_iter()).await;
        let mut batch = WriteBatch::new();
        batch.set_reclaims();
        let mut trimmed = 0;
        for (tenant, id, _) in &found {
            trimmed += usize::from(delete(&self.inner.spaces, tenant, *id, &mut batch)?);
        }
        self.commit(batch, guards).await?;
        Ok(trimmed)
    }

    pub(super) async fn put(&self, tasks: Vec<TaskRow>) -> Result<()> {
        let locks = tasks.iter().map(|task| {
            let tenant = &task.device.tenant;
            Lock::Task(tenant, task.id)
        });
        let guards = self.inner.tasks.all(locks).await;
        let mut batch = WriteBatch::new();
        let mut conflict = None;
        for task in &tasks {
            let old = stored(&self.inner.spaces, &task.device.tenant, task.id)?;
            match old {
                Some(old) if is_row(&old, task) => {}
                Some(old) if old.revision.checked_add(1) == Some(task.revision) => {
                    write(
                        &self.inner.spaces,
                        task,
                        Some(old),
                        String::new(),
                        &mut batch,
                    );
                }
                _ => {
                    conflict = Some(Error::Conflict(task.id));
                    break;
                }
            }
        }
        self.commit(batch, guards).await?;
        conflict.map_or(Ok(()), Err)
    }
}

/// Whether this is the row that is stored.
fn is_row(stored: &TaskProto, task: &TaskRow) -> bool {
    (stored.revision, stored.open) == (task.revision, task.open) && stored.payload == task.payload
}

/// Puts a task's row into the batch, and its names as they follow from the row before.
fn write(
    spaces: &Spaces,
    task: &TaskRow,
    old: Option<TaskProto>,
    idempotency_key: String,
    batch: &mut WriteBatch,
) {
    let tenant = &task.device.tenant;
    let was_open = old.as_ref().map(|old| old.open);
    let row = TaskProto {
        device: task.device.device.as_str().to_owned(),
        open: task.open,
        revision: task.revision,
        payload: task.payload.clone(),
        idempotency_key: old.map_or(idempotency_key, |old| old.idempotency_key),
    };
    batch.put(
        &spaces.task,
        keys::task(tenant, task.id),
        row.encode_to_vec(),
    );
    if was_open == Some(task.open) {
        return;
    }
    let key = keys::open_task(task.device.bucket(), tenant, task.id);
    let key_of = keys::task_of(&task.device, task.id);
    if was_open.is_none() {
        batch.put(&spaces.task_of, &key_of, []);
    }
    if task.open {
        batch.put(&spaces.open_task, key, []);
        batch.put(&spaces.open_task_of, key_of, []);
    } else {
        batch.delete(&spaces.open_task, key);
        batch.delete(&spaces.open_task_of, key_of);
    }
}

/// A task.
pub fn get(spaces: &Spaces, tenant: &TenantId, id: TaskId) -> Result<Option<TaskRow>> {
    let row = stored(spaces, tenant, id)?;
    row.map(|row| row_of(tenant, id, &row)).transpose()
}

fn stored(spaces: &Spaces, tenant: &TenantId, id: TaskId) -> Result<Option<TaskProto>> {
    let bytes = spaces.task.get(keys::task(tenant, id))?;
    bytes.map(|bytes| rows::read(&bytes, "task")).transpose()
}

fn row_of(tenant: &TenantId, id: TaskId, row: &TaskProto) -> Result<TaskRow> {
    let device = keys::device_id(row.device.as_bytes())?;
    Ok(TaskRow {
        id,
        device: DeviceKey::new(tenant.clone(), device),
        open: row.open,
        revision: row.revision,
        payload: row.payload.clone(),
    })
}

/// The task that has an idempotency key.
pub fn by_key(spaces: &Spaces, tenant: &TenantId, key: &str) -> Result<Option<TaskId>> {
    let id = spaces
        .task_key
        .get(keys::in_tenant(tenant, key.as_bytes()))?;
    id.map(|id| keys::task_id(&id)).transpose()
}

/// A task that has ended, with its idempotency key.
type Ended = (TenantId, TaskId, String);

/// Tasks that have ended and were made before `before`: at most `limit`, each tenant's oldest
/// first. What can't be read stays: somebody may mend it.
fn ended(spaces: &Spaces, before: Timestamp, limit: usize) -> Result<Vec<Ended>> {
    let before = TaskId::first_at(before);
    let mut found = Vec::new();
    let mut next = Some(Scan::all());
    // One pass for each tenant: behind its first task that is too young comes the next tenant.
    while let Some(scan) = next.take() {
        spaces.task.scan_with(&scan, |key, value| {
            let (Ok(tenant), Ok(id)) = (keys::tenant_of(key), keys::task_id(key)) else {
                return ControlFlow::Continue(());
            };
            if found.len() >= limit {
                return ControlFlow::Break(());
            }
            if id >= before {
                let last = keys::task(&tenant, TaskId::from_bytes([u8::MAX; 16]));
                next = Some(Scan::all().after(last));
                return ControlFlow::Break(());
            }
            if let Ok(row) = rows::read::<TaskProto>(value, "task")
                && !row.open
            {
                found.push((tenant, id, row.idempotency_key));
            }
            ControlFlow::Continue(())
        })?;
    }
    Ok(found)
}

/// Deletes a task that has (still) ended, with its key and its place among its device's.
fn delete(spaces: &Spaces, tenant: &TenantId, id: TaskId, batch: &mut WriteBatch) -> Result<bool> {
    let Some(row) = stored(spaces, tenant, id)?.filter(|row| !row.open) else {
        return Ok(false);
    };
    let device = DeviceKey::new(tenant.clone(), keys::device_id(row.device.as_bytes())?);
    batch.delete(&spaces.task, keys::task(tenant, id));
    batch.delete(&spaces.task_of, keys::task_of(&device, id));
    if !row.idempotency_key.is_empty() {
        let key = keys::in_tenant(tenant, row.idempotency_key.as_bytes());
        batch.delete(&spaces.task_key, key);
    }
    Ok(true)
}

/// Rows that were read, and how many were left out because they are damaged.
#[derive(Default)]
pub struct Sound {
    /// The rows.
    pub rows: Vec<TaskRow>,
    /// Left out; each was logged.
    pub damaged: u64,
}

impl Sound {
    /// Takes what was read under `key`.
    fn take(&mut self, key: &[u8], read: Result<Option<TaskRow>>) -> Result<()> {
        match read {
            Ok(row) => self.rows.extend(row),
            Err(Error::Damaged(what)) => {
                self.damaged += 1;
                tracing::error!(
                    key = %key.escape_ascii(),
                    task = keys::task_id(key).ok().map(tracing::field::display),
                    what,
                    "a damaged row of the task ledger is left out"
                );
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Takes up to `limit` rows of a scan of keys that end in a task's id.
    fn scan(
        &mut self,
        space: &Keyspace,
        scan: &Scan,
        limit: usize,
        mut read: impl FnMut(&[u8]) -> Result<Option<TaskRow>>,
    ) -> Result<()> {
        let mut failed = Ok(());
        // A shorter page would read as the end: others take the place of what is left out.
        space.scan_with(scan, |key, _| {
            if self.rows.len() < limit {
                failed = self.take(key, read(key));
                if failed.is_ok() {
                    return ControlFlow::Continue(());
                }
            }
            ControlFlow::Break(())
        })?;
        failed
    }
}

/// Tasks, newest first.
pub fn list(spaces: &Spaces, query: &TaskQuery) -> Result<Sound> {
    let tenant = &query.tenant;
    let (space, prefix) = match &query.device {
        Some(device) => {
            let of = DeviceKey::new(tenant.clone(), device.clone());
            let space = match query.open_only {
                true => &spaces.open_task_of,
                false => &spaces.task_of,
            };
            (space, keys::below_device(&of))
        }
        None if query.open_only => return open_of_tenant(spaces, query),
        None => (&spaces.task, keys::tenant(tenant)),
    };
    let mut scan = Scan::prefix(&prefix).reverse();
    if let Some(before) = query.before {
        scan = scan.after([prefix.as_slice(), &before.to_bytes()].concat());
    }
    let mut found = Sound::default();
    found.scan(space, &scan, query.limit, |key| {
        get(spaces, tenant, keys::task_id(key)?)
    })?;
    Ok(found)
}

/// A tenant's open tasks, newest first: those of each bucket, merged.
fn open_of_tenant(spaces: &Spaces, query: &TaskQuery) -> Result<Sound> {
    let tenant = &query.tenant;
    let mut found = Sound::default();
    let mut before = query.before;
    loop {
        let wanted = query.limit.saturating_sub(found.rows.len());
        let ids = newest_open(spaces, tenant, before, wanted)?;
        for id in &ids {
            found.take(&keys::task(tenant, *id), get(spaces, tenant, *id))?;
        }
        before = ids.last().copied();
        if ids.len() < wanted || found.rows.len() >= query.limit {
            return Ok(found);
        }
    }
}

fn newest_open(
    spaces: &Spaces,
    tenant: &TenantId,
    before: Option<TaskId>,
    limit: usize,
) -> Result<Vec<TaskId>> {
    let mut newest = Vec::new();
    for bucket in 0..DeviceKey::BUCKETS {
        let prefix = keys::open_tasks(bucket, tenant);
        let mut scan = Scan::prefix(&prefix).reverse().limit(limit);
        if let Some(before) = before {
            scan = scan.after(keys::open_task(bucket, tenant, before));
        }
        for entry in spaces.open_task.scan(&scan)? {
            newest.push(keys::task_id(&entry.key)?);
        }
    }
    newest.sort_unstable_by(|a, b| b.cmp(a));
    newest.truncate(limit);
    Ok(newest)
}

/// Open tasks of a bucket, all tenants, in the order of (tenant, id). One that has just ended is
/// left in: whoever rebuilds a queue looks at `open`.
pub fn open(spaces: &Spaces, bucket: u8, after: Option<Vec<u8>>, limit: usize) -> Result<Sound> {
    let mut scan = Scan::prefix([bucket]);
    if let Some(after) = after {
        scan = scan.after(after);
    }
    let mut found = Sound::default();
    found.scan(&spaces.open_task, &scan, limit, |key| {
        let tenant = keys::tenant_of(key.get(1..).unwrap_or_default())?;
        get(spaces, &tenant, keys::task_id(key)?)
    })?;
    Ok(found)
}
