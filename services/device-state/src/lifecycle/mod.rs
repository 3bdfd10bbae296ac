//! Where a device stands in its life: what an operator said (a document for each device that is
//! blocked or retired), and what its Informs say, computed when it is read.
//!
//! In the index: `state` has the devices that are `blocked`, `retired` or `expected`; `first_seen`
//! the day of the first Inform; `due` the half day in which the next Inform is due. Who informs as
//! it should is always due later than now, so that looking for silent devices reads those alone.

pub mod alerts;
pub mod heard;
mod index;

use hearth_clients::{Error, Kind, Result};
use hearth_proto::devicestate::v1 as ds;
use hearth_proto::types::v1::{DeviceState, EdgePolicy};
use hearth_store::{
    Cell, CellValue, DeviceColumn, DeviceRow, Document, DocumentKind, IndexEntry, Mutation,
};
use hearth_types::{DeviceKey, Timestamp};
use prost::Message;

use crate::columns;
use crate::core::Core;
use crate::history;
use crate::memory::{About, Memory, REMEMBERED};
use crate::page;

/// The attribute of a state that an operator set, or of a device that never informed.
pub const STATE: &str = "state";
/// The attribute of the day of the first Inform.
pub const FIRST_SEEN: &str = "first_seen";
/// The attribute of the half day in which the next Inform is due.
pub const DUE: &str = "due";

const KIND: DocumentKind = DocumentKind::Setting;
/// The longest reason, in characters.
const MAX_REASON: usize = 256;
const SECOND: i64 = 1_000_000;
const HALF_DAY: i64 = 12 * 3600 * SECOND;
/// A device whose interval isn't known is due after so many seconds.
const USUAL_INTERVAL: u32 = 8 * 3600;

/// What an operator said of a device.
#[derive(Clone, PartialEq, Message)]
pub struct Stance {
    /// A `DeviceState`: BLOCKED or RETIRED.
    #[prost(int32, tag = "1")]
    pub state: i32,
    /// Why.
    #[prost(string, tag = "2")]
    pub reason: String,
    /// When, in µs.
    #[prost(int64, tag = "3")]
    pub time: i64,
}

impl Stance {
    pub fn state(&self) -> DeviceState {
        DeviceState::try_from(self.state).unwrap_or_default()
    }
}

/// Stances in memory.
pub struct StanceCache(Memory<DeviceKey, Option<Stance>>);

impl StanceCache {
    /// For so many devices.
    pub fn new(devices: usize) -> Self {
        Self(Memory::new(devices, REMEMBERED))
    }
}

fn key(device: &DeviceKey) -> String {
    format!("lifecycle/{}", device.device)
}

/// The word for a state, as searches have it.
pub const fn label(state: DeviceState) -> &'static str {
    match state {
        DeviceState::Unspecified => "",
        DeviceState::Expected => "expected",
        DeviceState::New => "new",
        DeviceState::Active => "active",
        DeviceState::Silent => "silent",
        DeviceState::Retired => "retired",
        DeviceState::Blocked => "blocked",
    }
}

/// The state that a word stands for.
pub fn state_of(label_text: &str) -> Option<DeviceState> {
    use DeviceState::{Active, Blocked, Expected, New, Retired, Silent};
    let all = [Expected, New, Active, Silent, Retired, Blocked];
    all.into_iter().find(|state| label(*state) == label_text)
}

/// Where a device stands by its row alone.
pub fn state_by_row(row: &DeviceRow, policy: &EdgePolicy, now: Timestamp) -> DeviceState {
    if !row.contains_key(&DeviceColumn::FirstSeen) {
        return DeviceState::Expected;
    }
    let last = columns::int(row, DeviceColumn::LastInform);
    let patience = (columns::interval(row).saturating_mul(policy.silent_after_intervals))
        .max(policy.silent_after_seconds);
    if last.saturating_add(i64::from(patience) * SECOND) < now.as_micros() {
        return DeviceState::Silent;
    }
    let first = columns::int(row, DeviceColumn::FirstSeen);
    match first.saturating_add(i64::from(policy.new_for_seconds) * SECOND) > now.as_micros() {
        true => DeviceState::New,
        false => DeviceState::Active,
    }
}

/// The half day in which the next Inform is due, as it stands in the index.
pub fn due(last_inform: Timestamp, interval: u32) -> String {
    let interval = match interval {
        0 => USUAL_INTERVAL,
        known => known,
    };
    half_day(last_inform.as_micros() + i64::from(interval) * SECOND)
}

/// The last half day in which an Inform of a device that is silent now was due.
pub fn due_of_silent(policy: &EdgePolicy, now: Timestamp) -> String {
    let patience = i64::from(policy.silent_after_seconds) * SECOND;
    // Due after an interval, silent after at least `silent_after_intervals` of them.
    let margin = patience - patience / i64::from(policy.silent_after_intervals.max(1));
    // Where the interval isn't known, it may be longer than the patience.
    let unknown = patience - i64::from(USUAL_INTERVAL) * SECOND;
    half_day(now.as_micros() - margin.min(unknown))
}

fn half_day(at: i64) -> String {
    format!("{:08}", at.div_euclid(HALF_DAY).max(0))
}

/// The day of a time, as it stands in the index.
pub fn day(at: Timestamp) -> String {
    format!("{:08}", at.as_micros().div_euclid(2 * HALF_DAY).max(0))
}

impl Core {
    /// What an operator said of a device, if anything.
    pub async fn stance(&self, device: &DeviceKey) -> Result<Option<Stance>> {
        let glance = self.glance(About::device(device));
        if let Some(known) = self.stances.0.get(device, glance) {
            return Ok(known);
        }
        let key = key(device);
        let document = self.store.document(KIND, &device.tenant, &key);
        let stance = match document.await? {
            Some(document) => Some(
                Stance::decode(document.payload.as_slice())
                    .map_err(|_| Error::internal("the stored state of a device can't be read"))?,
            ),
            None => None,
        };
        self.stances.0.keep(device.clone(), glance, stance.clone());
        Ok(stance)
    }

    /// A device as it is answered, with its state.
    pub async fn with_state(
        &self,
        device: &DeviceKey,
        row: &DeviceRow,
        policy: &EdgePolicy,
    ) -> Result<ds::Device> {
        let mut message = columns::message(device, row, self.now());
        match self.stance(device).await? {
            Some(stance) => {
                message.set_state(stance.state());
                message.state_reason = stance.reason;
                message.state_time_us = stance.time;
            }
            None => message.set_state(state_by_row(row, policy, self.now())),
        }
        Ok(message)
    }

    pub async fn set_device_state(
        &self,
        request: ds::SetDeviceStateRequest,
    ) -> Result<ds::SetDeviceStateResponse> {
        let device = DeviceKey::parse(&request.tenant, &request.device)?;
        let asked = request.state();
        if request.reason.chars().count() > MAX_REASON
            || request.reason.chars().any(char::is_control)
        {
            let message = "expected at most 256 characters, none of them a control character";
            return Err(Error::invalid("reason", message));
        }
        let _edit = self.edit.lock().await;
        let _changing = self.changing(&[About::device(&device)]).await?;
        let row = self.row(&device).await?;
        let before = self.stance(&device).await?;
        match (asked, &row) {
            (DeviceState::Expected, None) => self.register(&device).await?,
            (DeviceState::Expected, Some(_)) if before.is_none() => {}
            (DeviceState::Expected, Some(_)) => {
                return Err(Error::new(
                    Kind::FailedPrecondition,
                    "the device is blocked or retired; set ACTIVE to take that back",
                ));
            }
            (DeviceState::Blocked, row) => {
                if row.is_none() {
                    self.register(&device).await?;
                }
                self.set_stance(&device, before, asked, request.reason)
                    .await?;
            }
            (DeviceState::Retired, Some(_)) => {
                self.set_stance(&device, before, asked, request.reason)
                    .await?;
            }
            (DeviceState::Active, Some(_)) => self.end_stance(&device, before).await?,
            (DeviceState::Retired | DeviceState::Active, None) => {
                return Err(crate::queries::no_device(&device));
            }
            _ => {
                let message = "expected EXPECTED, BLOCKED, RETIRED or ACTIVE; the others come by \
                               what the device does";
                return Err(Error::invalid("state", message));
            }
        }
        let row = self.row(&device).await?.unwrap_or_default();
        let policy = self.policy(&device.tenant).await?;
        let device = Some(self.with_state(&device, &row, &policy).await?);
        Ok(ds::SetDeviceStateResponse { device })
    }

    /// Makes the row of a device that never informed. Its cells are as old as can be, so that
    /// whatever the device says is newer.
    async fn register(&self, device: &DeviceKey) -> Result<()> {
        let (oui, product_class, serial_number) = device.device.parts();
        let oldest = Timestamp::from_micros(1);
        let cell = |text: &str| Cell {
            value: CellValue::Text(text.to_owned()),
            time: oldest,
        };
        let named = [
            ("oui", DeviceColumn::Oui, oui),
            ("product_class", DeviceColumn::ProductClass, product_class),
            ("serial_number", DeviceColumn::SerialNumber, serial_number),
        ];
        let cells = named.iter().map(|(_, column, text)| (*column, cell(text)));
        let mut mutations = vec![Mutation::Device {
            device: device.clone(),
            cells: cells.collect(),
        }];
        let id = device.device.as_str();
        let expected = label(DeviceState::Expected);
        let entries = named
            .iter()
            .map(|(attribute, _, text)| (*attribute, text.as_str()))
            .chain([(columns::ID, id), (STATE, expected)]);
        for (attribute, value) in entries.filter(|(_, value)| !value.is_empty()) {
            let value = columns::indexed(attribute, value);
            mutations.push(entry(device, attribute, &value, self.now(), false));
        }
        self.store.write(mutations).await?;
        // Another one may have been told that there is no such device.
        self.cache.forget(device);
        Ok(())
    }

    async fn set_stance(
        &self,
        device: &DeviceKey,
        before: Option<Stance>,
        state: DeviceState,
        reason: String,
    ) -> Result<()> {
        // Later than the present one, whatever the clock of who wrote that.
        let least = before.as_ref().map_or(0, |before| before.time + 1);
        let now = self.now().max(Timestamp::from_micros(least));
        let stance = Stance {
            state: state.into(),
            reason,
            time: now.as_micros(),
        };
        let document = Document {
            key: key(device),
            time: now,
            payload: stance.encode_to_vec(),
        };
        // First what counts at the edge.
        self.store
            .put_document(KIND, &device.tenant, document)
            .await?;
        self.stances.0.forget(device);
        let mut mutations = vec![entry(device, STATE, label(state), now, false)];
        let old = before.map(|before| before.state());
        if let Some(old) = old.filter(|old| *old != state) {
            mutations.push(entry(device, STATE, label(old), now, true));
        }
        let reason = match stance.reason.as_str() {
            "" => String::new(),
            reason => format!(": {reason}"),
        };
        mutations.push(self.told(device, &format!("set to {}{reason}", label(state))));
        self.store.write(mutations).await?;
        Ok(())
    }

    async fn end_stance(&self, device: &DeviceKey, before: Option<Stance>) -> Result<()> {
        let Some(before) = before else {
            return Ok(());
        };
        self.store
            .delete_document(KIND, &device.tenant, &key(device))
            .await?;
        self.stances.0.forget(device);
        let state = label(before.state());
        let mutations = vec![
            entry(device, STATE, state, self.now(), true),
            self.told(device, &format!("no longer {state}")),
        ];
        self.store.write(mutations).await?;
        Ok(())
    }

    /// An entry of the history that no event brings.
    fn told(&self, device: &DeviceKey, summary: &str) -> Mutation {
        let now = self.now();
        let entry = history::entry(now, "", "identity", summary);
        // No number of an event, but one that tells entries of the same time apart.
        let id = page::query((device.device.as_str(), summary));
        Mutation::History {
            device: device.clone(),
            row: history::row(now, id, 0, &entry),
        }
    }

    /// Forgets all that is kept of a device's life beside its row. The caller has said that the
    /// device changes.
    pub async fn forget_life(&self, device: &DeviceKey) -> Result<()> {
        let tenant = &device.tenant;
        self.store
            .delete_document(KIND, tenant, &key(device))
            .await?;
        self.forget_heard(device).await?;
        self.forget_alerts(device).await
    }

    /// Whether a device was registered, or has informed.
    pub async fn is_expected(&self, device: &DeviceKey) -> Result<bool> {
        let glance = self.glance(About::device(device));
        if self.expected.get(device, glance).is_some() {
            return Ok(true);
        }
        let is = self.row(device).await?.is_some() || self.has_credential(device).await?;
        if is {
            self.expected.keep(device.clone(), glance, ());
        }
        Ok(is)
    }
}

fn entry(
    device: &DeviceKey,
    attribute: &str,
    value: &str,
    time: Timestamp,
    remove: bool,
) -> Mutation {
    Mutation::Index {
        entry: IndexEntry {
            device: device.clone(),
            attribute: attribute.to_owned(),
            value: value.to_owned(),
        },
        time,
        remove,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> EdgePolicy {
        EdgePolicy {
            silent_after_intervals: 3,
            silent_after_seconds: 24 * 3600,
            new_for_seconds: 24 * 3600,
            ..EdgePolicy::default()
        }
    }

    fn row(first: i64, last: i64, interval: u32) -> DeviceRow {
        let cell = |value: i64| Cell {
            value: CellValue::Int(value * SECOND),
            time: Timestamp::from_micros(1),
        };
        let seconds = Cell {
            value: CellValue::Int(interval.into()),
            time: Timestamp::from_micros(1),
        };
        [
            (DeviceColumn::FirstSeen, cell(first)),
            (DeviceColumn::LastInform, cell(last)),
            (DeviceColumn::PeriodicInformInterval, seconds),
        ]
        .into()
    }

    #[test]
    fn a_state_follows_from_the_informs() {
        let day = 86_400;
        let now = Timestamp::from_micros(100 * day * SECOND);
        let state =
            |first, last, interval| state_by_row(&row(first, last, interval), &policy(), now);
        assert_eq!(state(0, 100 * day - 10, 300), DeviceState::Active);
        assert_eq!(state(99 * day + 1, 100 * day, 300), DeviceState::New);
        assert_eq!(state(0, 99 * day - 1, 300), DeviceState::Silent);
        assert_eq!(state(0, 99 * day + 1, 300), DeviceState::Active);
        assert_eq!(state(0, 98 * day, day as u32), DeviceState::Active);
        assert_eq!(state(0, 97 * day - 1, day as u32), DeviceState::Silent);
        let expected = state_by_row(&DeviceRow::new(), &policy(), now);
        assert_eq!(expected, DeviceState::Expected);
    }

    #[test]
    fn whoever_is_silent_is_found_and_whoever_informs_is_not_looked_at() {
        let day = 86_400_i64;
        let policy = policy();
        for minute in 0..3000 {
            let now = Timestamp::from_micros((100 * day + minute * 60) * SECOND);
            let until = due_of_silent(&policy, now);
            let unheard = Timestamp::from_micros(now.as_micros() - (day + 1) * SECOND);
            assert!(due(unheard, 0) <= until);
            for interval in [60_u32, 3600, 20_000, 86_400, 700_000] {
                let patience = i64::from((interval * 3).max(86_400));
                let at = |ago: i64| Timestamp::from_micros(now.as_micros() - ago * SECOND);
                assert!(due(at(patience + 1), interval) <= until, "{interval}");
                assert!(due(at(i64::from(interval)), interval) > until, "{interval}");
            }
        }
    }

    #[test]
    fn states_have_words() {
        for word in ["expected", "new", "active", "silent", "retired", "blocked"] {
            assert_eq!(state_of(word).map(label), Some(word));
        }
        assert_eq!(state_of(""), None);
    }
}
