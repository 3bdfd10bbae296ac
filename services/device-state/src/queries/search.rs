//! Lists of devices by conditions: the most selective one drives through the index, the others are
//! checked on the rows.

use std::collections::BTreeSet;

use hearth_clients::{Error, Result};
use hearth_proto::devicestate::v1 as ds;
use hearth_store::{DeviceColumn, DeviceRow, IndexQuery};
use hearth_types::{DeviceId, DeviceKey, TenantId};

use crate::columns;
use crate::core::Core;
use crate::page;

const DEFAULT_PAGE: usize = 50;
const MAX_PAGE: usize = 1000;
/// Devices looked at in one call; a page may be short then, and has a token.
const MAX_EXAMINED: usize = 20_000;
/// Entries counted to find the most selective condition.
const PROBE: usize = 1000;
/// Index entries read at once.
const CHUNK: usize = 2000;

/// A condition, understood.
struct Condition {
    attribute: Attribute,
    /// Its value, as it stands in the index.
    value: String,
    prefix: bool,
}

enum Attribute {
    Id,
    Tag,
    Online(bool),
    Column(&'static str, DeviceColumn),
    Parameter(String),
}

impl Core {
    pub async fn list_devices(
        &self,
        request: ds::ListDevicesRequest,
    ) -> Result<ds::ListDevicesResponse> {
        let tenant: TenantId = request.tenant.parse()?;
        let conditions = self.conditions(&request.conditions)?;
        let query = query_hash(&tenant, &request.conditions);
        let token = page::read(&request.page_token, query)?;
        let size = page::size(request.page_size, DEFAULT_PAGE, MAX_PAGE);
        let mut after: Option<DeviceId> = token
            .map(|token| token.after.parse())
            .transpose()
            .map_err(|_| page::invalid("not a page token"))?;
        self.settle(|overlay| overlay.changes_lists()).await?;
        let driver = self.driver(&tenant, &conditions).await?;
        let mut devices = Vec::new();
        let mut examined = 0;
        loop {
            let want = (size + 1).max(100);
            let ids = self
                .candidates(&tenant, driver, after.as_ref(), want)
                .await?;
            let end = ids.len() < want;
            examined += ids.len();
            for id in ids {
                let device = DeviceKey::new(tenant.clone(), id);
                let found = self.matching(&device, &conditions).await?;
                if devices.len() == size && found.is_some() {
                    return Ok(page_of(devices, query, after.as_ref()));
                }
                devices.extend(found.map(|row| columns::message(&device, &row, self.now())));
                after = Some(device.device);
            }
            if end {
                return Ok(page_of(devices, query, None));
            }
            if examined >= MAX_EXAMINED {
                return Ok(page_of(devices, query, after.as_ref()));
            }
        }
    }

    fn conditions(&self, asked: &[ds::Condition]) -> Result<Vec<Condition>> {
        let each = |(place, condition): (usize, &ds::Condition)| {
            self.condition(condition, &format!("conditions[{place}]"))
        };
        asked.iter().enumerate().map(each).collect()
    }

    fn condition(&self, asked: &ds::Condition, field: &str) -> Result<Condition> {
        let name = asked.attribute.as_str();
        let column = columns::ATTRIBUTES.iter().find(|(known, _)| *known == name);
        let attribute = match (name, column) {
            (columns::ID, _) => Attribute::Id,
            (columns::TAG, _) => Attribute::Tag,
            (columns::ONLINE, _) => match asked.value.as_str() {
                "true" => Attribute::Online(true),
                "false" => Attribute::Online(false),
                _ => {
                    let field = format!("{field}.value");
                    return Err(Error::invalid(field, "expected true or false"));
                }
            },
            (_, Some((known, column))) => Attribute::Column(known, *column),
            _ if self.indexed.contains(name) => Attribute::Parameter(name.to_owned()),
            _ => return Err(self.unknown_attribute(field)),
        };
        let value = match (&attribute, asked.prefix) {
            // The beginning of an address isn't one.
            (_, true) => asked.value.clone(),
            (_, false) => columns::indexed(name, &asked.value),
        };
        Ok(Condition {
            attribute,
            value,
            prefix: asked.prefix,
        })
    }

    fn unknown_attribute(&self, field: &str) -> Error {
        let mut known = vec![columns::ID, columns::TAG, columns::ONLINE];
        known.extend(columns::ATTRIBUTES.iter().map(|(name, _)| *name));
        known.extend(self.indexed.iter().map(String::as_str));
        known.sort_unstable();
        let message = format!(
            "devices can't be searched by this; expected one of {} (more parameters: \
             indexed_parameters in the server's configuration)",
            known.join(", ")
        );
        Error::invalid(format!("{field}.attribute"), message)
    }

    /// The condition that leaves the fewest devices; `None` when none is in the index.
    async fn driver<'a>(
        &self,
        tenant: &TenantId,
        conditions: &'a [Condition],
    ) -> Result<Option<&'a Condition>> {
        let in_index = || conditions.iter().filter(|c| c.index_name().is_some());
        let mut best: Option<(usize, &Condition)> = None;
        // An equality comes out of the index in the order of ids; a beginning must be sorted.
        let exact: Vec<_> = in_index().filter(|c| !c.prefix).collect();
        for condition in &exact {
            let count = match exact.len() {
                1 => 0,
                _ => {
                    let query = condition.query(tenant, None, PROBE);
                    self.store.search(&query).await?.len()
                }
            };
            if best.is_none_or(|(least, _)| count < least) {
                best = Some((count, condition));
            }
        }
        let by_id = || in_index().find(|c| matches!(c.attribute, Attribute::Id));
        let other = || in_index().max_by_key(|c| c.value.len());
        Ok(best.map(|(_, c)| c).or_else(by_id).or_else(other))
    }

    /// At most `want` devices that fulfil the driver, behind `after`, in the order of ids.
    async fn candidates(
        &self,
        tenant: &TenantId,
        driver: Option<&Condition>,
        after: Option<&DeviceId>,
        want: usize,
    ) -> Result<Vec<DeviceId>> {
        let Some(driver) = driver else {
            let page = self.store.devices(tenant, after, want).await;
            let page = page?;
            return Ok(page.into_iter().map(|(id, _)| id).collect());
        };
        let is_id = matches!(driver.attribute, Attribute::Id);
        if !driver.prefix || is_id {
            let after = after.map(|id| match is_id {
                true => (id.as_str().to_owned(), id.clone()),
                false => (driver.value.clone(), id.clone()),
            });
            let query = driver.query(tenant, after, want);
            let found = self.store.search(&query).await?;
            return Ok(found.into_iter().map(|(_, id)| id).collect());
        }
        // Sorted by value: all are read, and the `want` smallest ids kept.
        let mut smallest: BTreeSet<DeviceId> = BTreeSet::new();
        let mut query = driver.query(tenant, None, CHUNK);
        loop {
            let found = self.store.search(&query).await?;
            let end = found.len() < CHUNK;
            query.after = found.last().cloned().or(query.after);
            let behind = |id: &DeviceId| after.is_none_or(|after| id > after);
            for (_, id) in found.into_iter().filter(|(_, id)| behind(id)) {
                smallest.insert(id);
                if smallest.len() > want {
                    smallest.pop_last();
                }
            }
            if end {
                return Ok(smallest.into_iter().collect());
            }
        }
    }

    /// The device's row, if it fulfils all conditions.
    async fn matching(
        &self,
        device: &DeviceKey,
        conditions: &[Condition],
    ) -> Result<Option<DeviceRow>> {
        let Some(row) = self.row(device).await? else {
            return Ok(None);
        };
        for condition in conditions {
            let holds = match &condition.attribute {
                Attribute::Id => condition.holds(device.device.as_str()),
                Attribute::Tag => columns::list(&row, DeviceColumn::Tags)
                    .iter()
                    .any(|tag| condition.holds(tag)),
                Attribute::Online(wanted) => columns::is_online(&row, self.now()) == *wanted,
                Attribute::Column(name, column) => {
                    let text = columns::text(&row, *column);
                    condition.holds(&columns::indexed(name, text))
                }
                Attribute::Parameter(path) => {
                    let path = std::slice::from_ref(path);
                    let rows = self.store.parameters_by_path(device, path).await;
                    let value = rows?.pop().flatten();
                    value.and_then(|row| row.value).is_some_and(|(text, ..)| {
                        condition.holds(&columns::indexed(&path[0], &text))
                    })
                }
            };
            if !holds {
                return Ok(None);
            }
        }
        Ok(Some(row))
    }
}

impl Condition {
    /// Its attribute in the index.
    fn index_name(&self) -> Option<&str> {
        match &self.attribute {
            Attribute::Id => Some(columns::ID),
            Attribute::Tag => Some(columns::TAG),
            Attribute::Online(_) => None,
            // An empty value stands for none, and those aren't in the index.
            _ if self.value.is_empty() => None,
            Attribute::Column(name, _) => Some(name),
            Attribute::Parameter(path) => Some(path),
        }
    }

    fn holds(&self, value: &str) -> bool {
        match self.prefix {
            true => value.starts_with(&self.value),
            false => value == self.value,
        }
    }

    fn query(
        &self,
        tenant: &TenantId,
        after: Option<(String, DeviceId)>,
        limit: usize,
    ) -> IndexQuery {
        IndexQuery {
            tenant: tenant.clone(),
            attribute: self.index_name().unwrap_or_default().to_owned(),
            value: self.value.clone(),
            prefix: self.prefix,
            after,
            limit,
        }
    }
}

fn query_hash(tenant: &TenantId, conditions: &[ds::Condition]) -> u64 {
    let each: Vec<_> = conditions
        .iter()
        .map(|c| (&c.attribute, &c.value, c.prefix))
        .collect();
    page::query(("devices", tenant.as_str(), each))
}

fn page_of(
    devices: Vec<ds::Device>,
    query: u64,
    after: Option<&DeviceId>,
) -> ds::ListDevicesResponse {
    ds::ListDevicesResponse {
        devices,
        next_page_token: after.map_or_else(String::new, |id| page::after(query, id.as_str())),
    }
}
