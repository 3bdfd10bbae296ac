//! The task ledger.
//!
//! A task is a row of `ledger`, a partition of its own; the other tables only name tasks. A task is
//! entered with its revision as CQL timestamp, a tiny one; each revision behind that is decided among
//! the replicas (Paxos) upon the one before. Names are written before a task is entered, and removed
//! after it has ended: what has a name and no task, or a name and a task that has ended, is left out
//! by whoever reads, and so no open task is without its names.
//!
//! A task of the first version of the tables has its row in `task`, until it is written next.

use std::cmp::Reverse;
use std::sync::atomic::Ordering;

use futures::FutureExt;
use hearth_types::{DeviceId, DeviceKey, TaskId, TenantId};
use quick_cache::sync::Cache;
use scylla::value::MaybeUnset;

use super::client::{Client, all, each};
use super::encode::{TASK_SHARDS, check_size, key, revision, task_day, task_shard, task_state};
use super::index::TENANTS;
use super::shards::merged;
use super::statements::Statement;
use crate::{Created, Error, Result, TaskQuery, TaskRow};

/// Comes behind every id of 16 bytes.
const BEHIND_ALL: [u8; 17] = [0xFF; 17];

/// Days on which tenants have tasks, as far as this process has entered them.
pub(super) type Days = Cache<(TenantId, i32), ()>;

/// What stands in the ledger under an idempotency key.
type Keyed = (Vec<u8>, String, Vec<u8>, i64);
/// A row of the ledger: device, state, revision, idempotency key.
type Found = (String, Vec<u8>, i64, Option<String>);
/// What `task` has of a task: the same, where it is of the tables' first version.
type First = (Option<String>, Option<Vec<u8>>, Option<i64>, Option<String>);

pub(super) fn task_id(bytes: &[u8]) -> Result<TaskId> {
    let bytes: [u8; 16] = bytes
        .try_into()
        .map_err(|_| Error::Damaged("a task's id".into()))?;
    Ok(TaskId::from_bytes(bytes))
}

pub(super) fn row_of(tenant: &TenantId, id: TaskId, found: &Found) -> Result<TaskRow> {
    let (device, state, at, _) = found;
    read(tenant, id, device, state, *at)
}

pub(super) fn read(
    tenant: &TenantId,
    id: TaskId,
    device: &str,
    state: &[u8],
    at: i64,
) -> Result<TaskRow> {
    let damaged = || Error::Damaged("a task".into());
    let device: DeviceId = device.parse().map_err(|_| damaged())?;
    let (ended, payload) = state.split_first().ok_or_else(damaged)?;
    Ok(TaskRow {
        id,
        device: DeviceKey::new(tenant.clone(), device),
        open: *ended == 0,
        revision: u64::try_from(at).map_err(|_| damaged())?,
        payload: payload.to_vec(),
    })
}

/// Where a descending read begins.
fn bound(before: Option<TaskId>) -> Vec<u8> {
    before.map_or_else(|| BEHIND_ALL.to_vec(), |id| id.to_bytes().to_vec())
}

fn most(limit: usize) -> i32 {
    i32::try_from(limit).unwrap_or(i32::MAX)
}

impl Client {
    /// A task.
    pub(super) async fn task(&self, tenant: &TenantId, id: TaskId) -> Result<Option<TaskRow>> {
        let found = self.found(tenant, id).await?;
        found.map(|found| row_of(tenant, id, &found)).transpose()
    }

    /// A task as Paxos has decided it.
    pub(super) async fn decided_task(
        &self,
        tenant: &TenantId,
        id: TaskId,
    ) -> Result<Option<TaskRow>> {
        let found = match self.decided(tenant, id).await? {
            None => self.first(tenant, id).await?,
            found => found,
        };
        found.map(|found| row_of(tenant, id, &found)).transpose()
    }

    pub(super) async fn found(&self, tenant: &TenantId, id: TaskId) -> Result<Option<Found>> {
        let bytes = id.to_bytes();
        let key = (tenant.as_str(), &bytes[..]);
        match self.row(Statement::TaskRead, key).await? {
            None => self.first(tenant, id).await,
            found => Ok(found),
        }
    }

    /// What the ledger's own table has, as Paxos has decided it.
    pub(super) async fn decided(&self, tenant: &TenantId, id: TaskId) -> Result<Option<Found>> {
        let bytes = id.to_bytes();
        let key = (tenant.as_str(), &bytes[..]);
        self.row_decided(Statement::TaskRead, key).await
    }

    /// A task that was last written by the tables' first version.
    async fn first(&self, tenant: &TenantId, id: TaskId) -> Result<Option<Found>> {
        let bytes = id.to_bytes();
        let values = (tenant.as_str(), task_day(id), task_shard(id), &bytes[..]);
        let row: Option<First> = self.row(Statement::TaskFirstRead, values).await?;
        Ok(match row {
            Some((Some(device), Some(state), Some(at), key)) => Some((device, state, at, key)),
            _ => None,
        })
    }

    /// A task for a list: what is damaged is logged, counted and left out.
    async fn sound(&self, tenant: &TenantId, id: TaskId) -> Result<Option<TaskRow>> {
        match self.task(tenant, id).await {
            Err(Error::Damaged(what)) => {
                self.damaged.fetch_add(1, Ordering::Relaxed);
                tracing::error!(%tenant, task = %id, what, "a damaged row of the task ledger is left out");
                Ok(None)
            }
            read => read,
        }
    }

    async fn by_id(&self, tenant: &TenantId, ids: &[TaskId]) -> Result<Vec<TaskRow>> {
        let rows = ids.iter().map(|id| self.sound(tenant, *id));
        Ok(each(rows).await?.into_iter().flatten().collect())
    }

    /// The task that was entered with an idempotency key.
    pub(super) async fn task_by_key(
        &self,
        tenant: &TenantId,
        idempotency_key: &str,
    ) -> Result<Option<TaskId>> {
        let key = (tenant.as_str(), idempotency_key);
        let found: Option<Keyed> = self.row_decided(Statement::KeyRead, key).await?;
        found.map(|(id, ..)| task_id(&id)).transpose()
    }

    /// Enters a task under an idempotency key.
    ///
    /// The key's row, decided among the replicas, holds the task itself: whoever finds it without
    /// its task enters that, so that a key never belongs to a task that isn't there.
    pub(super) async fn create_task(
        &self,
        task: &TaskRow,
        idempotency_key: Option<&str>,
        days: &Days,
    ) -> Result<Created> {
        let Some(name) = idempotency_key else {
            self.enter(task, None, days).await?;
            return Ok(Created::New);
        };
        let tenant = &task.device.tenant;
        let name = key(name, "an idempotency key")?;
        let bytes = task.id.to_bytes();
        let state = task_state(task.open, &task.payload);
        check_size(state.len(), "a task")?;
        let values = (
            tenant.as_str(),
            name,
            &bytes[..],
            task.device.device.as_str(),
            state.as_slice(),
            revision(task.revision)?,
        );
        if self.decide(Statement::KeyEnter, values).await? {
            self.enter(task, Some(name), days).await?;
            return Ok(Created::New);
        }
        let found: Option<Keyed> = self
            .row_decided(Statement::KeyRead, (tenant.as_str(), name))
            .await?;
        let damaged = || Error::Damaged("an idempotency key".into());
        let (id, device, state, at) = found.ok_or_else(damaged)?;
        let first = read(tenant, task_id(&id)?, &device, &state, at)?;
        if self.task(tenant, first.id).await?.is_none() {
            self.enter(&first, Some(name), days).await?;
        }
        Ok(Created::Existed(first.id))
    }

    /// Enters a task that isn't in the ledger: its names first.
    ///
    /// Not decided among the replicas: ids are made once. Its timestamp is below all that Paxos
    /// gives, so that an entry that arrives late, or twice, undoes no later revision.
    async fn enter(&self, task: &TaskRow, key: Option<&str>, days: &Days) -> Result<()> {
        self.enter_day(task, days).await?;
        let names = [self.name(task).boxed(), self.name_of(task).boxed()];
        let open = task.open.then(|| self.name_open(task).boxed());
        all(names.into_iter().chain(open)).await?;
        let (tenant, id, at) = (
            task.device.tenant.as_str(),
            task.id.to_bytes(),
            revision(task.revision)?,
        );
        let state = task_state(task.open, &task.payload);
        check_size(state.len(), "a task")?;
        let device = task.device.device.as_str();
        let key = MaybeUnset::from_option(key);
        let values = (tenant, &id[..], device, state, at, key, at);
        self.run(Statement::TaskEnter, values).await
    }

    /// Names a task in the list of all.
    async fn name(&self, task: &TaskRow) -> Result<()> {
        let id = task.id.to_bytes();
        let values = (
            task.device.tenant.as_str(),
            task_day(task.id),
            task_shard(task.id),
            &id[..],
            task.device.device.as_str(),
            revision(task.revision)?,
        );
        self.run(Statement::TaskName, values).await
    }

    async fn enter_day(&self, task: &TaskRow, days: &Days) -> Result<()> {
        let day = (task.device.tenant.clone(), task_day(task.id));
        if days.get(&day).is_none() {
            let tenant = day.0.as_str();
            self.run(Statement::TenantAdd, (TENANTS, tenant)).await?;
            self.run(Statement::DayAdd, (tenant, day.1)).await?;
            days.insert(day, ());
        }
        Ok(())
    }

    async fn name_open(&self, task: &TaskRow) -> Result<()> {
        let (bucket, tenant) = (task.device.bucket().cast_signed(), &task.device.tenant);
        let (id, at) = (task.id.to_bytes(), revision(task.revision)?);
        if task.open {
            let values = (bucket, tenant.as_str(), &id[..], at);
            self.run(Statement::OpenAdd, values).await
        } else {
            let values = (at, bucket, tenant.as_str(), &id[..]);
            self.run(Statement::OpenRemove, values).await
        }
    }

    async fn name_of(&self, task: &TaskRow) -> Result<()> {
        let device = &task.device;
        let id = task.id.to_bytes();
        let values = (
            device.tenant.as_str(),
            device.device.as_str(),
            &id[..],
            !task.open,
            revision(task.revision)?,
        );
        self.run(Statement::TaskOfPut, values).await
    }

    /// Writes tasks' next revisions, one after the other: an end between two of them is as that of
    /// the process.
    pub(super) async fn put_tasks(&self, tasks: &[TaskRow]) -> Result<()> {
        for task in tasks {
            self.put_task(task).await?;
        }
        Ok(())
    }

    async fn put_task(&self, task: &TaskRow) -> Result<()> {
        let (tenant, id) = (task.device.tenant.as_str(), task.id.to_bytes());
        let state = task_state(task.open, &task.payload);
        check_size(state.len(), "a task")?;
        let at = revision(task.revision)?;
        let device = task.device.device.as_str();
        let values = (device, state.as_slice(), at, tenant, &id[..], at - 1);
        // Nobody writes the first revision here.
        if at < 2 || !self.decide(Statement::TaskNext, values).await? {
            self.put_again(task, &state, at).await?;
        }
        if task.open {
            // It has its names since it was entered.
            return Ok(());
        }
        let (open, of) = tokio::join!(self.name_open(task), self.name_of(task));
        open.and(of)
    }

    /// A revision that was not written: it was before, or the task is still in its first table, or
    /// it was not made from what the ledger has.
    async fn put_again(&self, task: &TaskRow, state: &[u8], at: i64) -> Result<()> {
        let (tenant, id) = (&task.device.tenant, task.id);
        let conflict = Err(Error::Conflict(id));
        if let Some(found) = self.decided(tenant, id).await? {
            return match found.1 == state && found.2 == at {
                true => Ok(()),
                false => conflict,
            };
        }
        let Some((_, first, first_at, key)) = self.first(tenant, id).await? else {
            return conflict;
        };
        if first_at == at && first == state {
            return Ok(());
        }
        if first_at != at - 1 {
            return conflict;
        }
        let bytes = id.to_bytes();
        let device = task.device.device.as_str();
        let key = MaybeUnset::from_option(key.as_deref());
        let values = (tenant.as_str(), &bytes[..], device, state, at, key);
        if self.decide(Statement::TaskMove, values).await? {
            return Ok(());
        }
        match self.decided(tenant, id).await? {
            Some(found) if found.1 == state && found.2 == at => Ok(()),
            _ => conflict,
        }
    }

    /// Tasks, newest first.
    pub(super) async fn tasks(&self, query: &TaskQuery) -> Result<Vec<TaskRow>> {
        let mut before = query.before;
        let mut found = Vec::new();
        while found.len() < query.limit {
            let wanted = query.limit - found.len();
            let (ids, ended) = match &query.device {
                Some(device) => self.ids_of(query, device, before, wanted).await?,
                None if query.open_only => self.open_ids(&query.tenant, before, wanted).await?,
                None => self.ids(&query.tenant, before, wanted).await?,
            };
            before = ids.last().map(|(id, _)| *id).or(before);
            let named = ids.iter().filter(|(_, named)| *named).map(|(id, _)| *id);
            let rows = self
                .by_id(&query.tenant, &named.collect::<Vec<_>>())
                .await?;
            found.extend(rows.into_iter().filter(|row| row.open || !query.open_only));
            if ended {
                break;
            }
        }
        Ok(found)
    }

    /// Ids of a device's tasks, whether they are wanted, and whether there are no more.
    async fn ids_of(
        &self,
        query: &TaskQuery,
        device: &DeviceId,
        before: Option<TaskId>,
        limit: usize,
    ) -> Result<(Vec<(TaskId, bool)>, bool)> {
        // Those that have ended are many, and small.
        let size = if query.open_only {
            limit.max(500)
        } else {
            limit
        };
        let (tenant, device) = (query.tenant.as_str(), device.as_str());
        let values = (tenant, device, bound(before), most(size));
        let rows: Vec<(Vec<u8>, Option<bool>)> = self.rows(Statement::TaskOfRead, values).await?;
        let ended = rows.len() < size;
        let mut ids = Vec::with_capacity(rows.len());
        let mut open = 0;
        for (id, has_ended) in rows {
            let wanted = !(query.open_only && has_ended == Some(true));
            ids.push((task_id(&id)?, wanted));
            open += usize::from(wanted);
            if open == limit {
                // The rest of the page is read again, from here.
                return Ok((ids, false));
            }
        }
        Ok((ids, ended))
    }

    async fn open_ids(
        &self,
        tenant: &TenantId,
        before: Option<TaskId>,
        limit: usize,
    ) -> Result<(Vec<(TaskId, bool)>, bool)> {
        let fetch = move |bucket: i8, after: Option<Reverse<TaskId>>, size: usize| async move {
            let place = bound(after.map(|Reverse(id)| id).or(before));
            let values = (bucket, tenant.as_str(), place, most(size));
            let rows: Vec<(Vec<u8>,)> = self.rows(Statement::OpenOfTenant, values).await?;
            rows.iter().map(|(id,)| Ok(Reverse(task_id(id)?))).collect()
        };
        let buckets = 0..DeviceKey::BUCKETS.cast_signed();
        let ids = merged(buckets, limit, fetch).await?;
        let ended = ids.len() < limit;
        Ok((
            ids.into_iter().map(|Reverse(id)| (id, true)).collect(),
            ended,
        ))
    }

    async fn ids(
        &self,
        tenant: &TenantId,
        before: Option<TaskId>,
        limit: usize,
    ) -> Result<(Vec<(TaskId, bool)>, bool)> {
        let newest = before.map_or(i32::MAX, task_day);
        let values = (tenant.as_str(), newest);
        let days: Vec<(i32,)> = self.rows(Statement::DayRead, values).await?;
        let mut found: Vec<(TaskId, bool)> = Vec::new();
        for (day,) in days {
            let fetch = move |shard: i8, after: Option<Reverse<TaskId>>, size: usize| async move {
                let place = bound(after.map(|Reverse(id)| id).or(before));
                let values = (tenant.as_str(), day, shard, place, most(size));
                let rows: Vec<(Vec<u8>,)> = self.rows(Statement::TaskIds, values).await?;
                rows.iter().map(|(id,)| Ok(Reverse(task_id(id)?))).collect()
            };
            let ids = merged(0..TASK_SHARDS, limit - found.len(), fetch).await?;
            found.extend(ids.into_iter().map(|Reverse(id)| (id, true)));
            if found.len() >= limit {
                return Ok((found, false));
            }
        }
        Ok((found, true))
    }

    /// Open tasks of a bucket, all tenants, in the order of (tenant, id).
    pub(super) async fn open_tasks(
        &self,
        bucket: u8,
        after: Option<(&TenantId, TaskId)>,
        limit: usize,
    ) -> Result<Vec<TaskRow>> {
        let bucket = bucket.cast_signed();
        let mut place = match after {
            Some((tenant, id)) => (tenant.as_str().to_owned(), id.to_bytes().to_vec()),
            None => (String::new(), Vec::new()),
        };
        let mut found = Vec::new();
        while found.len() < limit {
            let wanted = limit - found.len();
            let values = (bucket, place.0.as_str(), place.1.as_slice(), most(wanted));
            let names: Vec<(String, Vec<u8>)> = self.rows(Statement::OpenRead, values).await?;
            let ended = names.len() < wanted;
            let rows = names.iter().map(|(tenant, id)| async move {
                let damaged = |_| Error::Damaged("a tenant's name".into());
                self.task(&tenant.parse().map_err(damaged)?, task_id(id)?)
                    .await
            });
            for row in each(rows).await?.into_iter().flatten() {
                if row.open {
                    found.push(row);
                } else {
                    // Left behind by a process that was killed in between.
                    self.name_open(&row).await?;
                }
            }
            place = names.into_iter().last().unwrap_or(place);
            if ended {
                break;
            }
        }
        Ok(found)
    }
}
