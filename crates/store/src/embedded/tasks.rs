//! The task ledger.

use std::collections::HashMap;

use hearth_engine::{Scan, WriteBatch};
use hearth_types::{DeviceKey, TaskId, TenantId};
use prost::Message;

use super::rows::TaskProto;
use super::{EmbeddedStore, Spaces, keys, rows};
use crate::{Created, Result, TaskQuery, TaskRow};

/// How a task lies among a device's tasks while it is open.
const OPEN: u8 = 1;
/// And when it has ended.
const ENDED: u8 = 0;

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
        merge(spaces, &task, &mut batch)?;
        self.commit(batch, guards).await?;
        Ok(Created::New)
    }

    pub(super) async fn put(&self, tasks: Vec<TaskRow>) -> Result<()> {
        // Two revisions of a task in one call: only the higher one counts.
        let mut newest: HashMap<(&TenantId, TaskId), &TaskRow> = HashMap::new();
        for task in &tasks {
            let of = newest.entry((&task.device.tenant, task.id)).or_insert(task);
            if order(task) > order(of) {
                *of = task;
            }
        }
        let locks = newest.keys().map(|(tenant, id)| Lock::Task(tenant, *id));
        let guards = self.inner.tasks.all(locks).await;
        let mut batch = WriteBatch::new();
        for task in newest.into_values() {
            merge(&self.inner.spaces, task, &mut batch)?;
        }
        self.commit(batch, guards).await
    }
}

/// What decides between two rows of a task: the revision, and for equal ones anything that all
/// calls agree on.
fn order(task: &TaskRow) -> (u64, bool, &[u8]) {
    (task.revision, !task.open, &task.payload)
}

/// Puts a task into the batch unless the ledger has a later row of it.
fn merge(spaces: &Spaces, task: &TaskRow, batch: &mut WriteBatch) -> Result<()> {
    let tenant = &task.device.tenant;
    if get(spaces, tenant, task.id)?.is_some_and(|old| order(&old) >= order(task)) {
        return Ok(());
    }
    let row = TaskProto {
        device: task.device.device.as_str().to_owned(),
        open: task.open,
        revision: task.revision,
        payload: task.payload.clone(),
    };
    let key = keys::task(tenant, task.id);
    batch.put(&spaces.task, &key, row.encode_to_vec());
    let flag = if task.open { OPEN } else { ENDED };
    batch.put(
        &spaces.task_of,
        keys::task_of(&task.device, task.id),
        [flag],
    );
    let key = keys::open_task(task.device.bucket(), tenant, task.id);
    if task.open {
        batch.put(&spaces.open_task, key, []);
    } else {
        batch.delete(&spaces.open_task, key);
    }
    Ok(())
}

/// A task.
pub fn get(spaces: &Spaces, tenant: &TenantId, id: TaskId) -> Result<Option<TaskRow>> {
    let stored = spaces.task.get(keys::task(tenant, id))?;
    stored.map(|bytes| read(tenant, id, &bytes)).transpose()
}

fn read(tenant: &TenantId, id: TaskId, bytes: &[u8]) -> Result<TaskRow> {
    let row: TaskProto = rows::read(bytes, "task")?;
    let device = keys::device_id(row.device.as_bytes())?;
    Ok(TaskRow {
        id,
        device: DeviceKey::new(tenant.clone(), device),
        open: row.open,
        revision: row.revision,
        payload: row.payload,
    })
}

/// Tasks, newest first.
pub fn list(spaces: &Spaces, query: &TaskQuery) -> Result<Vec<TaskRow>> {
    let tenant = &query.tenant;
    let (space, prefix) = match &query.device {
        Some(device) => {
            let of = DeviceKey::new(tenant.clone(), device.clone());
            (&spaces.task_of, keys::below_device(&of))
        }
        None if query.open_only => return open_of_tenant(spaces, query),
        None => (&spaces.task, keys::tenant(tenant)),
    };
    let mut scan = Scan::prefix(&prefix).reverse();
    if let Some(before) = query.before {
        scan = scan.after([prefix.as_slice(), &before.to_bytes()].concat());
    }
    let mut ids = Vec::new();
    let skip_ended = query.device.is_some() && query.open_only;
    space.scan_with(&scan, |key, value| {
        if ids.len() >= query.limit {
            return std::ops::ControlFlow::Break(());
        }
        if !(skip_ended && value == [ENDED]) {
            ids.push(keys::task_id(key));
        }
        std::ops::ControlFlow::Continue(())
    })?;
    by_id(spaces, tenant, ids)
}

/// A tenant's open tasks, newest first: those of each bucket, merged.
fn open_of_tenant(spaces: &Spaces, query: &TaskQuery) -> Result<Vec<TaskRow>> {
    let mut newest = Vec::new();
    for bucket in 0..DeviceKey::BUCKETS {
        let prefix = keys::open_tasks(bucket, &query.tenant);
        let mut scan = Scan::prefix(&prefix).reverse().limit(query.limit);
        if let Some(before) = query.before {
            scan = scan.after(keys::open_task(bucket, &query.tenant, before));
        }
        for entry in spaces.open_task.scan(&scan)? {
            newest.push(keys::task_id(&entry.key)?);
        }
    }
    newest.sort_unstable_by(|a, b| b.cmp(a));
    newest.truncate(query.limit);
    by_id(spaces, &query.tenant, newest.into_iter().map(Ok).collect())
}

fn by_id(spaces: &Spaces, tenant: &TenantId, ids: Vec<Result<TaskId>>) -> Result<Vec<TaskRow>> {
    let mut found = Vec::with_capacity(ids.len());
    for id in ids {
        found.extend(get(spaces, tenant, id?)?);
    }
    Ok(found)
}

/// Open tasks of a bucket, all tenants, in the order of (tenant, id).
pub fn open(
    spaces: &Spaces,
    bucket: u8,
    after: Option<Vec<u8>>,
    limit: usize,
) -> Result<Vec<TaskRow>> {
    let mut scan = Scan::prefix([bucket]).limit(limit);
    if let Some(after) = after {
        scan = scan.after(after);
    }
    let mut found = Vec::new();
    for entry in spaces.open_task.scan(&scan)? {
        let tenant = keys::tenant_of(&entry.key[1..])?;
        // One that ended since the scan is left in: whoever rebuilds a queue looks at `open`, and
        // a shorter page would read as the end.
        found.extend(get(spaces, &tenant, keys::task_id(&entry.key)?)?);
    }
    Ok(found)
}
