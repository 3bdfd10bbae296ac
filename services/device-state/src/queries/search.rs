//! Lists of devices by conditions: the most selective one drives through the index, the others are
//! checked on the rows.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::stream::{self, StreamExt, TryStreamExt};
use hearth_clients::{Error, Result};
use hearth_proto::devicestate::v1 as ds;
use hearth_proto::types::v1::{DeviceState, EdgePolicy};
use hearth_store::{DeviceColumn, DeviceRow, IndexQuery};
use hearth_types::{DeviceId, DeviceKey, TenantId, Timestamp};

use crate::columns;
use crate::core::Core;
use crate::lifecycle;
use crate::page;

const DEFAULT_PAGE: usize = 50;
const MAX_PAGE: usize = 1000;
/// Devices looked at in one call; a page may be short then, and has a token.
const MAX_EXAMINED: usize = 20_000;
/// Entries counted to find the most selective condition.
const PROBE: usize = 1000;
/// Index entries read at once.
const CHUNK: usize = 2000;
/// States read at once.
const READS: usize = 32;

/// A condition, understood.
struct Condition {
    attribute: Attribute,
    /// Its value, as it stands in the index.
    value: String,
    prefix: bool,
    /// Where candidates stand in another index, which is a range of values: its attribute, first
    /// and last value.
    range: Option<(&'static str, String, String)>,
}

enum Attribute {
    Id,
    Tag,
    Online(bool),
    State(DeviceState),
    Column(&'static str, DeviceColumn),
    Parameter(String),
}

impl Core {
    pub async fn list_devices(
        &self,
        request: ds::ListDevicesRequest,
    ) -> Result<ds::ListDevicesResponse> {
        let tenant: TenantId = request.tenant.parse()?;
        let policy = self.policy(&tenant).await?;
        let conditions = self.conditions(&request.conditions, &policy)?;
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
                let found = self.matching(&device, &conditions, &policy).await?;
                if devices.len() == size && found.is_some() {
                    return self.page_of(devices, query, after.as_ref(), &policy).await;
                }
                after = Some(device.device.clone());
                devices.extend(found.map(|row| (device, row)));
            }
            if end {
                return self.page_of(devices, query, None, &policy).await;
            }
            if examined >= MAX_EXAMINED {
                return self.page_of(devices, query, after.as_ref(), &policy).await;
            }
        }
    }

    async fn page_of(
        &self,
        found: Vec<(DeviceKey, DeviceRow)>,
        query: u64,
        after: Option<&DeviceId>,
        policy: &EdgePolicy,
    ) -> Result<ds::ListDevicesResponse> {
        let states: Vec<_> = found
            .iter()
            .map(|(device, row)| self.with_state(device, row, policy))
            .collect();
        let devices = stream::iter(states).buffered(READS).try_collect().await?;
        Ok(ds::ListDevicesResponse {
            devices,
            next_page_token: after.map_or_else(String::new, |id| page::after(query, id.as_str())),
        })
    }

    fn conditions(&self, asked: &[ds::Condition], policy: &EdgePolicy) -> Result<Vec<Condition>> {
        let each = |(place, condition): (usize, &ds::Condition)| {
            self.condition(condition, &format!("conditions[{place}]"), policy)
        };
        asked.iter().enumerate().map(each).collect()
    }

    fn condition(
        &self,
        asked: &ds::Condition,
        field: &str,
        policy: &EdgePolicy,
    ) -> Result<Condition> {
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
            (lifecycle::STATE, _) => match lifecycle::state_of(&asked.value) {
                Some(state) if !asked.prefix => Attribute::State(state),
                _ => {
                    let field = format!("{field}.value");
                    let words = "expected expected, new, active, silent, retired or blocked";
                    return Err(Error::invalid(field, words));
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
        let now = self.now();
        let range = match attribute {
            Attribute::State(DeviceState::New) => {
                let since = Duration::from_secs(policy.new_for_seconds.into());
                let since = i64::try_from(since.as_micros()).unwrap_or(i64::MAX);
                let first = Timestamp::from_micros(now.as_micros().saturating_sub(since));
                let first = lifecycle::day(first);
                Some((lifecycle::FIRST_SEEN, first, lifecycle::day(now)))
            }
            Attribute::State(DeviceState::Silent) => {
                let until = lifecycle::due_of_silent(policy, now);
                Some((lifecycle::DUE, String::new(), until))
            }
            _ => None,
        };
        Ok(Condition {
            attribute,
            value,
            prefix: asked.prefix,
            range,
        })
    }

    fn unknown_attribute(&self, field: &str) -> Error {
        let mut known = vec![columns::ID, columns::TAG, columns::ONLINE, lifecycle::STATE];
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
        let ranged = || conditions.iter().find(|c| c.range.is_some());
        let other = || in_index().max_by_key(|c| c.value.len());
        let best = best.map(|(_, c)| c);
        Ok(best.or_else(by_id).or_else(ranged).or_else(other))
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
        if driver.range.is_none() && (!driver.prefix || is_id) {
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
        let (mut query, last) = match &driver.range {
            Some((attribute, first, last)) => (ranged(tenant, attribute, first), Some(last)),
            None => (driver.query(tenant, None, CHUNK), None),
        };
        loop {
            let found = self.store.search(&query).await?;
            let beyond = |value: &String| last.is_some_and(|last| value > last);
            let end = found.len() < CHUNK || found.last().is_some_and(|(value, _)| beyond(value));
            query.after = found.last().cloned().or(query.after);
            let behind = |id: &DeviceId| after.is_none_or(|after| id > after);
            let found = found.into_iter().filter(|(value, _)| !beyond(value));
            for (_, id) in found.filter(|(_, id)| behind(id)) {
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
        policy: &EdgePolicy,
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
                Attribute::State(wanted) => {
                    let stance = self.stance(device).await?;
                    let by_row = || lifecycle::state_by_row(&row, policy, self.now());
                    stance.map_or_else(by_row, |stance| stance.state()) == *wanted
                }
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
            Attribute::State(DeviceState::Active | DeviceState::New | DeviceState::Silent) => None,
            Attribute::State(_) => Some(lifecycle::STATE),
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

/// The entries of an attribute from a value on.
fn ranged(tenant: &TenantId, attribute: &str, first: &str) -> IndexQuery {
    let before = DeviceId::new("000000", "", "0").ok();
    let before = before.filter(|_| !first.is_empty());
    IndexQuery {
        tenant: tenant.clone(),
        attribute: attribute.to_owned(),
        value: String::new(),
        prefix: true,
        after: before.map(|id| (just_before(first), id)),
        limit: CHUNK,
    }
}

/// A text between a number of so many digits and the one before it.
fn just_before(number: &str) -> String {
    let width = number.len();
    let before = number.parse::<u64>().unwrap_or(1).saturating_sub(1);
    format!("{before:0width$}~")
}
