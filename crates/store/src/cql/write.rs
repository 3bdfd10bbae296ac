//! A write: mutations as requests, and the end of a device.

use std::collections::HashMap;
use std::hash::Hash;

use hearth_types::{DeviceKey, TenantId};
use quick_cache::sync::Cache;

use super::client::{Client, all};
use super::devices::{self, Values};
use super::encode::{device_shard, event_time, key, now};
use super::history::{self, Event, Period};
use super::index::{Counts, TENANTS};
use super::parameters::{self, Delete, Put};
use super::statements::Statement;
use crate::{Cell, DeviceColumn, Error, IndexEntry, Mutation, Result};

/// About the bytes of an entry of the index, at most.
const INDEX_ROW: usize = IndexEntry::MAX_VALUE * 2;
/// Tenants remembered as listed.
const KNOWN_TENANTS: usize = 10_000;

/// What this process has entered in the lists, so that it isn't entered with every write.
pub(super) struct Listed {
    devices: Cache<DeviceKey, ()>,
    tenants: Cache<TenantId, ()>,
}

impl Listed {
    pub(super) fn new(devices: usize) -> Self {
        Self {
            devices: Cache::new(devices),
            tenants: Cache::new(KNOWN_TENANTS),
        }
    }
}

/// Values of [`Statement::IndexAdd`].
type IndexAdd = (String, String, i8, String, String, i64);
/// Values of [`Statement::IndexRemove`].
type IndexRemove = (i64, String, String, i8, String, String);
/// Values of [`Statement::IndexOfAdd`].
type IndexOfAdd = (String, String, String, String, i64);
/// Values of [`Statement::IndexOfRemove`].
type IndexOfRemove = (i64, String, String, String, String);

/// Rows by the partition that they lie in.
struct ByPartition<P, V>(HashMap<P, Vec<V>>);

impl<P: Eq + Hash, V> ByPartition<P, V> {
    fn new() -> Self {
        Self(HashMap::new())
    }

    fn push(&mut self, partition: P, row: V) {
        self.0.entry(partition).or_default().push(row);
    }
}

/// All that a write sends. Nothing of it depends on the order.
struct Plan {
    devices: Vec<Values>,
    first_seen: Vec<(i64, Vec<i64>, String, String)>,
    /// Devices that may not be in the list yet, with the time of their entries.
    unlisted: Vec<(DeviceKey, i64)>,
    parameters: ByPartition<DeviceKey, Put>,
    deletes: Vec<(DeviceKey, Delete)>,
    events: ByPartition<(DeviceKey, i32), Event>,
    periods: HashMap<(DeviceKey, i32), Period>,
    index_adds: ByPartition<(TenantId, String, i8), IndexAdd>,
    index_removes: ByPartition<(TenantId, String, i8), IndexRemove>,
    index_of_adds: ByPartition<DeviceKey, IndexOfAdd>,
    index_of_removes: ByPartition<DeviceKey, IndexOfRemove>,
}

impl Plan {
    fn new() -> Self {
        Self {
            devices: Vec::new(),
            first_seen: Vec::new(),
            unlisted: Vec::new(),
            parameters: ByPartition::new(),
            deletes: Vec::new(),
            events: ByPartition::new(),
            periods: HashMap::new(),
            index_adds: ByPartition::new(),
            index_removes: ByPartition::new(),
            index_of_adds: ByPartition::new(),
            index_of_removes: ByPartition::new(),
        }
    }

    fn add(&mut self, mutation: &Mutation, ttl: i32) -> Result<()> {
        match mutation {
            // Gathered by device before.
            Mutation::Device { .. } => {}
            Mutation::Parameter {
                device,
                path,
                time,
                cells,
            } => {
                if let Some(put) = parameters::put(device, path, *time, cells)? {
                    self.parameters.push(device.clone(), put);
                }
            }
            Mutation::DeleteParameters { device, path, time } => {
                let delete = parameters::delete(path, *time)?;
                self.deletes.push((device.clone(), delete));
            }
            Mutation::History { device, row } => {
                let (event, period) = history::add(device, row, ttl)?;
                let partition = (device.clone(), period.2);
                let listed = self.periods.entry(partition.clone());
                let listed = listed.or_insert_with(|| period.clone());
                // The latest one of a partition: an end of the device takes what is older.
                if listed.3 < period.3 {
                    *listed = period;
                }
                self.events.push(partition, event);
            }
            Mutation::Index {
                entry,
                time,
                remove,
            } => self.index(entry, event_time(*time)?, *remove)?,
        }
        Ok(())
    }

    fn index(&mut self, entry: &IndexEntry, at: i64, remove: bool) -> Result<()> {
        if entry.value.len() > IndexEntry::MAX_VALUE {
            return Err(Error::TooLarge(format!(
                "a value of {} bytes for the index, at most {} are possible",
                entry.value.len(),
                IndexEntry::MAX_VALUE
            )));
        }
        let device = &entry.device;
        let shard = device_shard(device);
        let tenant = device.tenant.as_str().to_owned();
        let id = device.device.as_str().to_owned();
        let attribute = key(&entry.attribute, "an attribute")?.to_owned();
        let value = entry.value.clone();
        let partition = (device.tenant.clone(), attribute.clone(), shard);
        if remove {
            let of = (
                at,
                tenant.clone(),
                id.clone(),
                attribute.clone(),
                value.clone(),
            );
            self.index_of_removes.push(device.clone(), of);
            let row = (at, tenant, attribute, shard, value, id);
            self.index_removes.push(partition, row);
        } else {
            let of = (
                tenant.clone(),
                id.clone(),
                attribute.clone(),
                value.clone(),
                at,
            );
            self.index_of_adds.push(device.clone(), of);
            let row = (tenant, attribute, shard, value, id, at);
            self.index_adds.push(partition, row);
        }
        Ok(())
    }

    /// The cells of a device, all that the write has of it.
    fn device(
        &mut self,
        device: &DeviceKey,
        cells: &[&(DeviceColumn, Cell)],
        listed: &Listed,
    ) -> Result<()> {
        let writes = devices::writes(device, cells)?;
        self.devices.extend(writes.puts);
        self.first_seen.extend(writes.first_seen);
        // More than the cells of an idle Inform: it may have been forgotten by another process.
        let is_more = cells.iter().any(|(column, _)| !devices::is_seen(*column));
        if is_more || cells.is_empty() || listed.devices.get(device).is_none() {
            self.unlisted.push((device.clone(), writes.latest));
        }
        Ok(())
    }
}

/// Cells by device.
fn cells(mutations: &[Mutation]) -> HashMap<&DeviceKey, Vec<&(DeviceColumn, Cell)>> {
    let mut found: HashMap<&DeviceKey, Vec<_>> = HashMap::new();
    for mutation in mutations {
        if let Mutation::Device { device, cells } = mutation {
            found.entry(device).or_default().extend(cells);
        }
    }
    found
}

impl Client {
    /// Applies mutations.
    pub(super) async fn write(
        &self,
        mutations: &[Mutation],
        ttl: i32,
        listed: &Listed,
        counts: &Counts,
    ) -> Result<()> {
        let mut plan = Plan::new();
        for (device, cells) in cells(mutations) {
            plan.device(device, &cells, listed)?;
        }
        for mutation in mutations {
            plan.add(mutation, ttl)?;
        }
        let unlisted = std::mem::take(&mut plan.unlisted);
        // A device is listed before it is there: what is listed and isn't there is left out.
        let entered = unlisted
            .iter()
            .map(|(device, at)| self.list(device, *at, listed));
        all(entered).await?;
        let sent = self.send(plan).await;
        for (device, _) in unlisted {
            counts.changed(&device);
            if sent.is_ok() {
                listed.devices.insert(device, ());
            }
        }
        sent
    }

    async fn list(&self, device: &DeviceKey, at: i64, listed: &Listed) -> Result<()> {
        let (tenant, id) = (device.tenant.as_str(), device.device.as_str());
        if listed.tenants.get(&device.tenant).is_none() {
            self.run(Statement::TenantAdd, (TENANTS, tenant)).await?;
            listed.tenants.insert(device.tenant.clone(), ());
        }
        let values = (tenant, device_shard(device), id, at);
        self.run(Statement::ListAdd, values).await
    }

    async fn send(&self, plan: Plan) -> Result<()> {
        use Statement as S;
        // One after the other by kind, so that one call holds few requests at a time; each kind's
        // requests go together.
        let rows = plan.parameters.0.values();
        all(rows.map(|rows| self.run_all(S::ParameterPut, rows, parameters::weight))).await?;
        let deletes = plan.deletes.into_iter();
        all(deletes
            .map(|(device, delete)| async move { self.delete_parameters(&device, delete).await }))
        .await?;
        all(plan
            .periods
            .values()
            .map(|period| self.run(S::PeriodAdd, period)))
        .await?;
        let rows = plan.events.0.values();
        all(rows.map(|rows| self.run_all(S::EventAdd, rows, history::weight))).await?;
        let rows = plan.index_of_adds.0.values();
        all(rows.map(|rows| self.run_all(S::IndexOfAdd, rows, |_| INDEX_ROW))).await?;
        let rows = plan.index_adds.0.values();
        all(rows.map(|rows| self.run_all(S::IndexAdd, rows, |_| INDEX_ROW))).await?;
        let rows = plan.index_removes.0.values();
        all(rows.map(|rows| self.run_all(S::IndexRemove, rows, |_| INDEX_ROW))).await?;
        // Last: as long as it stands here the end of the device takes it along.
        let rows = plan.index_of_removes.0.values();
        all(rows.map(|rows| self.run_all(S::IndexOfRemove, rows, |_| INDEX_ROW))).await?;
        all(plan
            .first_seen
            .iter()
            .map(|seen| self.run(S::DeviceFirstSeen, seen)))
        .await?;
        // The row comes last: who sees it sees the rest.
        all(plan
            .devices
            .iter()
            .map(|values| self.run(S::DevicePut, values)))
        .await
    }

    /// Forgets a device: all that is not newer than now, or than its own latest cell where that
    /// is ahead of this process's clock.
    pub(super) async fn delete_device(
        &self,
        device: &DeviceKey,
        listed: &Listed,
        counts: &Counts,
    ) -> Result<()> {
        let row = self.device(device).await?.unwrap_or_default();
        let latest = row.values().map(|cell| cell.time).max();
        let at = latest.unwrap_or_default().max(now()).as_micros();
        let (tenant, id) = (device.tenant.as_str(), device.device.as_str());
        self.delete_parameters(device, Delete::All(at)).await?;
        self.delete_history(device, at).await?;
        let entries = self.index_of(device).await?;
        let shard = device_shard(device);
        let removes = entries.iter().map(|(attribute, value)| {
            let values = (at, tenant, attribute, shard, value, id);
            self.run(Statement::IndexRemove, values)
        });
        all(removes).await?;
        self.run(Statement::IndexOfDelete, (at, tenant, id)).await?;
        self.run(Statement::DeviceDelete, (at, tenant, id)).await?;
        let values = (at, tenant, shard, id);
        let removed = self.run(Statement::ListRemove, values).await;
        listed.devices.remove(device);
        counts.changed(device);
        removed
    }
}
