//! Old tasks go: those that have ended, with their idempotency keys.

use std::ops::ControlFlow;

use hearth_types::{DeviceKey, TaskId, TenantId, Timestamp};

use super::client::{Client, each};
use super::encode::{TASK_SHARDS, event_time, now, revision, task_day, task_shard};
use super::index::TENANTS;
use super::statements::Statement;
use super::tasks::{row_of, task_id};
use crate::{Error, Result, TaskRow};

/// A row of [`Statement::TaskOld`].
type Old = (Vec<u8>, Option<String>);
/// A task that has ended, and its idempotency key.
type Ended = (TaskRow, Option<String>);

/// Names of which the tasks are read at once.
const NAMES: usize = 200;

impl Client {
    /// Deletes at most `limit` tasks that have ended and were made before `before`; answers how
    /// many went.
    pub(super) async fn trim_tasks(&self, before: Timestamp, limit: usize) -> Result<usize> {
        let before = TaskId::first_at(before);
        let mut names: Vec<String> = Vec::new();
        let visit = |(name,): (String,)| {
            names.push(name);
            ControlFlow::Continue(())
        };
        self.visit(Statement::TenantRead, (TENANTS,), visit).await?;
        let mut trimmed = 0;
        for name in names {
            let damaged = |_| Error::Damaged("a tenant's name".into());
            let tenant: TenantId = name.parse().map_err(damaged)?;
            let values = (tenant.as_str(), task_day(before));
            let days: Vec<(i32,)> = self.rows(Statement::DayRead, values).await?;
            for (day,) in days {
                trimmed += self.trim_day(&tenant, day, before, limit - trimmed).await?;
                if trimmed >= limit {
                    return Ok(trimmed);
                }
            }
        }
        Ok(trimmed)
    }

    async fn trim_day(
        &self,
        tenant: &TenantId,
        day: i32,
        before: TaskId,
        limit: usize,
    ) -> Result<usize> {
        let mut trimmed = 0;
        let mut is_empty = true;
        for shard in 0..TASK_SHARDS {
            let (ended, all) = self
                .ended(tenant, day, shard, before, limit - trimmed)
                .await?;
            is_empty &= all && ended.is_empty();
            let deletes = ended
                .iter()
                .map(|(task, key)| self.delete_task(task, key.as_deref()));
            trimmed += each(deletes).await?.len();
            if trimmed >= limit {
                return Ok(trimmed);
            }
        }
        // Nobody makes tasks of a day that is past.
        if is_empty && day + 1 < task_day(before) {
            self.run(Statement::DayRemove, (tenant.as_str(), day))
                .await?;
        }
        Ok(trimmed)
    }

    /// Tasks of a partition that have ended, at most `limit`; and whether they are all that there
    /// is.
    async fn ended(
        &self,
        tenant: &TenantId,
        day: i32,
        shard: i8,
        before: TaskId,
        limit: usize,
    ) -> Result<(Vec<Ended>, bool)> {
        let mut names: Vec<Old> = Vec::new();
        let bytes = before.to_bytes();
        let values = (tenant.as_str(), day, shard, &bytes[..]);
        let visit = |name: Old| {
            names.push(name);
            ControlFlow::Continue(())
        };
        self.visit(Statement::TaskOld, values, visit).await?;
        let mut ended = Vec::new();
        let mut all = true;
        for names in names.chunks(NAMES) {
            let tasks = names.iter().map(|name| self.old_task(tenant, name));
            for task in each(tasks).await? {
                match task {
                    Some((row, key)) if !row.open && ended.len() < limit => ended.push((row, key)),
                    // What can't be read stays, too: somebody may mend it.
                    _ => all = false,
                }
            }
            if ended.len() >= limit {
                return Ok((ended, false));
            }
        }
        Ok((ended, all))
    }

    /// A task of the list; `None` for one that can't be read. A name whose task isn't there counts
    /// as one that has ended: it was left behind by a process that was killed in between.
    async fn old_task(&self, tenant: &TenantId, name: &Old) -> Result<Option<Ended>> {
        let (id, device) = name;
        let Ok(id) = task_id(id) else {
            return Ok(None);
        };
        let found = match self.found(tenant, id).await {
            Err(Error::Damaged(_)) => return Ok(None),
            found => found?,
        };
        if let Some(found) = found {
            let row = row_of(tenant, id, &found).ok();
            return Ok(row.map(|row| (row, found.3)));
        }
        let device = device.as_deref().and_then(|device| device.parse().ok());
        Ok(device.map(|device| {
            let row = TaskRow {
                id,
                device: DeviceKey::new(tenant.clone(), device),
                open: false,
                revision: 1,
                payload: Vec::new(),
            };
            (row, None)
        }))
    }

    /// Deletes a task; its name in the list last, so that what fails is done again.
    async fn delete_task(&self, task: &TaskRow, key: Option<&str>) -> Result<()> {
        let (tenant, id) = (task.device.tenant.as_str(), task.id.to_bytes());
        if let Some(key) = key {
            self.decide(Statement::KeyDelete, (tenant, key, &id[..]))
                .await?;
        }
        let at = revision(task.revision)?;
        let values = (at, tenant, task.device.device.as_str(), &id[..]);
        self.run(Statement::TaskOfDelete, values).await?;
        // Above what Paxos gave it when it ended; where clocks say otherwise it goes the next time.
        let now = event_time(now())?;
        self.run(Statement::TaskRemove, (now, tenant, &id[..]))
            .await?;
        let left = self.decided(&task.device.tenant, task.id).await?;
        if left.is_some() {
            return Ok(());
        }
        let (day, shard) = (task_day(task.id), task_shard(task.id));
        let values = (at, tenant, day, shard, &id[..]);
        self.run(Statement::TaskDelete, values).await
    }
}
