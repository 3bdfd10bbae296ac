//! The index to find devices by, and the lists that lie the same way: devices of a tenant,
//! tenants, counts.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use hearth_types::{DeviceId, DeviceKey, TenantId};
use parking_lot::Mutex;

use super::client::{Client, each};
use super::encode::{DEVICE_SHARDS, device_shard};
use super::shards::merged;
use super::statements::Statement;
use crate::{DeviceRow, Error, IndexQuery, Result};

/// The only partition of the list of tenants.
pub(super) const TENANTS: i8 = 0;
/// Tenants whose counts are remembered.
const COUNTED_TENANTS: usize = 10_000;

fn device_id(text: &str) -> Result<DeviceId> {
    let damaged = |_| Error::Damaged("a device's id".into());
    text.parse().map_err(damaged)
}

impl Client {
    /// Devices by an attribute, in the order of (value, id).
    pub(super) async fn search(&self, query: &IndexQuery) -> Result<Vec<(String, DeviceId)>> {
        let (tenant, attribute) = (query.tenant.as_str(), query.attribute.as_str());
        // No device's id is empty: this lies before all of the value.
        let start = (query.value.clone(), String::new());
        let start = match &query.after {
            Some((value, device)) => start.max((value.clone(), device.as_str().to_owned())),
            None => start,
        };
        let fits = |value: &str| match query.prefix {
            true => value.starts_with(&query.value),
            false => value == query.value,
        };
        let (start, fits) = (&start, &fits);
        let fetch = move |shard: i8, after: Option<(String, String)>, size: usize| async move {
            let (value, device) = after.unwrap_or_else(|| start.clone());
            let most = i32::try_from(size).unwrap_or(i32::MAX);
            let values = (tenant, attribute, shard, value, device, most);
            let mut rows: Vec<(String, String)> = self.rows(Statement::IndexSearch, values).await?;
            // What fits stands together; behind it the shard has ended.
            let end = rows.iter().position(|(value, _)| !fits(value));
            rows.truncate(end.unwrap_or(rows.len()));
            Ok(rows)
        };
        let found = merged(0..DEVICE_SHARDS, query.limit, fetch).await?;
        found
            .into_iter()
            .map(|(value, device)| Ok((value, device_id(&device)?)))
            .collect()
    }

    /// Index entries of one device, sorted.
    pub(super) async fn index_of(&self, device: &DeviceKey) -> Result<Vec<(String, String)>> {
        let key = (device.tenant.as_str(), device.device.as_str());
        let mut found = Vec::new();
        let visit = |row: (String, String)| {
            found.push(row);
            ControlFlow::Continue(())
        };
        self.visit(Statement::IndexOfRead, key, visit).await?;
        Ok(found)
    }

    /// Devices of a tenant in the order of their ids.
    pub(super) async fn devices(
        &self,
        tenant: &TenantId,
        after: Option<&DeviceId>,
        limit: usize,
    ) -> Result<Vec<(DeviceId, DeviceRow)>> {
        let mut place = after.map(|id| id.as_str().to_owned()).unwrap_or_default();
        let mut found = Vec::new();
        while found.len() < limit {
            let wanted = limit - found.len();
            let ids = self.listed(tenant, &place, wanted).await?;
            let ended = ids.len() < wanted;
            place = ids.last().cloned().unwrap_or(place);
            let ids: Vec<DeviceId> = ids.iter().map(|id| device_id(id)).collect::<Result<_>>()?;
            let rows = ids.into_iter().map(|id| async move {
                let key = DeviceKey::new(tenant.clone(), id);
                let row = self.device(&key).await?;
                Ok(row.map(|row| (key.device, row)))
            });
            // One that is listed and has no row was deleted, or is just being made.
            found.extend(each(rows).await?.into_iter().flatten());
            if ended {
                break;
            }
        }
        Ok(found)
    }

    async fn listed(&self, tenant: &TenantId, after: &str, limit: usize) -> Result<Vec<String>> {
        let fetch = move |shard: i8, place: Option<String>, size: usize| async move {
            let place = place.unwrap_or_else(|| after.to_owned());
            let most = i32::try_from(size).unwrap_or(i32::MAX);
            let values = (tenant.as_str(), shard, place, most);
            let rows: Vec<(String,)> = self.rows(Statement::ListRead, values).await?;
            Ok(rows.into_iter().map(|(id,)| id).collect())
        };
        merged(0..DEVICE_SHARDS, limit, fetch).await
    }

    /// Tenants that have devices, sorted.
    pub(super) async fn tenants(&self) -> Result<Vec<TenantId>> {
        let mut names: Vec<String> = Vec::new();
        let visit = |(name,): (String,)| {
            names.push(name);
            ControlFlow::Continue(())
        };
        self.visit(Statement::TenantRead, (TENANTS,), visit).await?;
        let mut found = Vec::with_capacity(names.len());
        for name in names {
            let damaged = |_| Error::Damaged("a tenant's name".into());
            let tenant: TenantId = name.parse().map_err(damaged)?;
            if !self.listed(&tenant, "", 1).await?.is_empty() {
                found.push(tenant);
            }
        }
        Ok(found)
    }

    /// How many devices a tenant has: entries of its list, counted by the nodes, partition by
    /// partition; those counted before are taken from `counts`.
    pub(super) async fn device_count(&self, tenant: &TenantId, counts: &Counts) -> Result<u64> {
        let shards = (0..DEVICE_SHARDS).map(|shard| async move {
            let change = match counts.known(tenant, shard) {
                Known::Count(count) => return Ok(count),
                Known::Change(change) => change,
            };
            let values = (tenant.as_str(), shard);
            let row: Option<(i64,)> = self.row(Statement::ListCount, values).await?;
            let count = row.map_or(0, |(count,)| u64::try_from(count).unwrap_or_default());
            counts.remember(tenant, shard, change, count);
            Ok(count)
        });
        Ok(each(shards).await?.into_iter().sum())
    }
}

/// Counts of devices by partition of the list.
///
/// A count is used until this process changes the partition, or it is older than
/// `cql.count_max_age`: so what this process did is always counted, and what others did soon.
pub(super) struct Counts {
    max_age: Duration,
    known: Mutex<KnownCounts>,
}

#[derive(Default)]
struct KnownCounts {
    /// Grows with every change by this process.
    changes: u64,
    tenants: HashMap<TenantId, Vec<Counted>>,
}

#[derive(Clone, Default)]
struct Counted {
    /// The last change.
    change: u64,
    count: Option<(u64, Instant)>,
}

/// What is known of a partition.
enum Known {
    Count(u64),
    /// Nothing: it must be counted, and is as of this change.
    Change(u64),
}

impl Counts {
    pub(super) fn new(max_age: Duration) -> Self {
        Self {
            max_age,
            known: Mutex::default(),
        }
    }

    /// Works on what is known of a partition, and a number for a change of it.
    fn with<T>(
        &self,
        tenant: &TenantId,
        shard: i8,
        work: impl FnOnce(&mut Counted, u64) -> T,
    ) -> T {
        let mut known = self.known.lock();
        known.changes += 1;
        let change = known.changes;
        if known.tenants.len() >= COUNTED_TENANTS && !known.tenants.contains_key(tenant) {
            known.tenants.clear();
        }
        let shards = known.tenants.entry(tenant.clone()).or_insert_with(|| {
            let count = None;
            vec![Counted { change, count }; usize::from(DEVICE_SHARDS.unsigned_abs())]
        });
        work(&mut shards[usize::from(shard.unsigned_abs())], change)
    }

    fn known(&self, tenant: &TenantId, shard: i8) -> Known {
        self.with(tenant, shard, |counted, _| match counted.count {
            Some((count, at)) if at.elapsed() < self.max_age => Known::Count(count),
            _ => Known::Change(counted.change),
        })
    }

    /// Remembers a count unless the partition changed since.
    fn remember(&self, tenant: &TenantId, shard: i8, change: u64, count: u64) {
        self.with(tenant, shard, |counted, _| {
            if counted.change == change {
                counted.count = Some((count, Instant::now()));
            }
        });
    }

    /// This process changed the list where `device` stands.
    pub(super) fn changed(&self, device: &DeviceKey) {
        let shard = device_shard(device);
        self.with(&device.tenant, shard, |counted, change| {
            let count = None;
            *counted = Counted { change, count };
        });
    }
}
