//! Informs. The most frequent event by far: one that brings nothing new is recognized in memory
//! and costs three cells.

use std::borrow::Cow;

use hearth_proto::events::v1::{Inform, InformEvent, ValueSource};
use hearth_proto::types::v1::{DeviceState, ParameterValue};
use hearth_store::{Cell, CellValue, DeviceColumn};
use hearth_types::Timestamp;
use parking_lot::Mutex;
use ulid::Ulid;

use super::values::{Reported, path_hash, raw_hash};
use super::{Context, Result, time_cell};
use crate::cache::{Compared, Known};
use crate::columns;
use crate::core::Core;
use crate::history;
use crate::lifecycle;
use crate::lifecycle::alerts::Alert;
use crate::online::online_until;
use crate::overlay::Change;

/// The number that an event's code begins with (`2 PERIODIC`); `None` for `M …` and `X …`.
fn number(event: &InformEvent) -> Option<u32> {
    let code = event.code.trim_start();
    let digits = code.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

const BOOTSTRAP: u32 = 0;
const BOOT: u32 = 1;
const PERIODIC: u32 = 2;

impl Core {
    pub(super) async fn apply_inform(
        &self,
        cx: &Context<'_>,
        known: &Mutex<Known>,
        inform: Inform,
    ) -> Result<()> {
        let has = |code| inform.events.iter().any(|e| number(e) == Some(code));
        let (bootstrap, boot) = (has(BOOTSTRAP), has(BOOT));
        let is_plain = inform.events.iter().all(|e| number(e) == Some(PERIODIC));
        let is_new = !known.lock().exists;
        self.note_identity(cx, known, &inform, is_new).await?;
        let mut change = Change::default();
        let mut new = self.inform_columns(cx, known, &inform);
        if bootstrap {
            self.forget_parameters(cx, known, &mut change).await?;
        }
        let reported = self.differing(cx, known, inform.parameters);
        let mut changed = 0;
        if !reported.is_empty() {
            let source = ValueSource::Unspecified;
            let report = Reported {
                values: reported,
                source,
                task: String::new(),
                forgotten: bootstrap,
            };
            let found = self.add_values(cx, known, report, &mut change).await?;
            changed = found.changed;
            new.extend(found.columns);
        }
        self.add_columns(cx, known, new, &mut change).await?;
        for (happened, column) in [
            (bootstrap, DeviceColumn::LastBootstrap),
            (boot, DeviceColumn::LastBoot),
        ] {
            if happened {
                change.cells.push((column, time_cell(cx.time)));
            }
        }
        if is_new || !is_plain || changed > 0 || self.config.history_periodic_informs {
            let summary = history::inform_summary(&inform.events, changed, is_new);
            let entry = history::entry(cx.time, cx.session, "inform", &summary);
            change
                .history
                .push(history::row(cx.time, cx.first_seq, 0, &entry));
        }
        if is_new {
            let registered = known.lock().registered;
            first_seen(cx, registered, &mut change);
        }
        self.count_inform(cx, known, &mut change);
        self.add(cx, is_new, change);
        Ok(())
    }

    /// Notes how the device comes, and what is odd about it.
    async fn note_identity(
        &self,
        cx: &Context<'_>,
        known: &Mutex<Known>,
        inform: &Inform,
        is_new: bool,
    ) -> Result<()> {
        let read = known.lock().heard.is_some();
        if !read {
            let heard = self.heard(cx.device).await?;
            known.lock().heard = Some(Box::new(heard));
        }
        let heard = {
            let mut known = known.lock();
            let Some(heard) = &mut known.heard else {
                return Ok(());
            };
            let news = heard.hear(inform, cx.time);
            news.changed.then(|| (heard.clone(), news))
        };
        if let Some((heard, news)) = heard {
            self.keep_heard(cx.device, &heard, cx.time).await?;
            if let ([.., a, b], true) = (heard.places.as_slice(), news.two_places) {
                let detail = format!("it informs by turns from {} and {}", a.name, b.name);
                self.alert(cx.device, Alert::TwoPlaces, "", &detail).await?;
            }
        }
        if is_new {
            self.look_for_duplicates(cx.device, &inform.serial_number)
                .await?;
        }
        Ok(())
    }

    /// Columns of the Inform itself that differ from what is known, compared without copies.
    fn inform_columns(
        &self,
        cx: &Context<'_>,
        known: &Mutex<Known>,
        inform: &Inform,
    ) -> Vec<(DeviceColumn, CellValue)> {
        let known = known.lock();
        let mut new = Vec::new();
        let root = inform
            .parameters
            .iter()
            .find_map(|p| columns::root(&p.path));
        let texts = [
            (DeviceColumn::Manufacturer, inform.manufacturer.as_str()),
            (DeviceColumn::Oui, &inform.oui),
            (DeviceColumn::ProductClass, &inform.product_class),
            (DeviceColumn::SerialNumber, &inform.serial_number),
            (DeviceColumn::CwmpNamespace, &inform.cwmp_namespace),
            (DeviceColumn::RemoteAddress, &inform.remote_address),
        ];
        let root = root.map(|root| (DeviceColumn::Root, root));
        for (column, text) in texts.into_iter().chain(root) {
            let hash = self.cache.hash(text);
            if known.compare_column(column, hash, cx.time) == Compared::Differs {
                new.push((column, CellValue::Text(text.to_owned())));
            }
        }
        // Hashes as the list of texts that it is kept as.
        let events: Vec<_> = inform.events.iter().map(columns::event_text).collect();
        let hash = self.cache.hash(&events);
        if known.compare_column(DeviceColumn::LastEvents, hash, cx.time) == Compared::Differs {
            let events = events.into_iter().map(Cow::into_owned).collect();
            new.push((DeviceColumn::LastEvents, CellValue::List(events)));
        }
        new
    }

    /// Reported values that are not known to be the same, with their places in the Inform; the others'
    /// paths are not even copied.
    fn differing(
        &self,
        cx: &Context<'_>,
        known: &Mutex<Known>,
        values: Vec<ParameterValue>,
    ) -> Vec<(usize, ParameterValue)> {
        let mut known = known.lock();
        let all = values.len();
        let differs = |(_, value): &(usize, ParameterValue)| {
            let (path, hash) = (path_hash(self, value), raw_hash(self, value));
            known.compare_parameter(path, hash, cx.time) == Compared::Differs
        };
        let differing: Vec<_> = values.into_iter().enumerate().filter(differs).collect();
        let same = u64::try_from(all - differing.len()).unwrap_or_default();
        self.metrics.values_same.inc_by(same);
        differing
    }

    /// `0 BOOTSTRAP` (TR-069 3.7.1.5): what was known of the tree counts no more.
    async fn forget_parameters(
        &self,
        cx: &Context<'_>,
        known: &Mutex<Known>,
        change: &mut Change,
    ) -> Result<()> {
        let everything = String::new();
        self.unindex(cx, &[&everything], change).await?;
        known.lock().forget_parameters(cx.time);
        change.deletes.push((everything, cx.before()));
        Ok(())
    }

    fn count_inform(&self, cx: &Context<'_>, known: &Mutex<Known>, change: &mut Change) {
        let mut known = known.lock();
        known.exists = true;
        // An Inform that is delivered again, or late, was counted or overtaken.
        if cx.time > known.last_inform {
            known.last_inform = cx.time;
            known.open(Ulid::from_string(cx.session).map_or(0, |id| id.0), cx.time);
            known.informs += 1;
            let count = Cell {
                value: CellValue::Int(known.informs),
                time: cx.time,
            };
            change
                .cells
                .push((DeviceColumn::LastInform, time_cell(cx.time)));
            change.cells.push((DeviceColumn::InformCount, count));
        }
        if cx.time > known.last_seen {
            known.last_seen = cx.time;
            change
                .cells
                .push((DeviceColumn::LastSeen, time_cell(cx.time)));
        }
        let due = lifecycle::due(known.last_inform, known.interval);
        if known.due != due {
            let old = std::mem::replace(&mut known.due, due.clone());
            let index = |value, gone| (lifecycle::DUE.to_owned(), value, cx.time, gone);
            if !old.is_empty() {
                change.index.push(index(old, true));
            }
            change.index.push(index(due, false));
        }
        let until = online_until(known.last_seen, known.interval);
        drop(known);
        self.online(cx.part).lock().seen(cx.device, until);
    }
}

/// The first sign of life is the earliest one: its cell's time runs backwards, so that an earlier
/// event that comes late wins.
fn first_seen(cx: &Context<'_>, registered: bool, change: &mut Change) {
    let first = Cell {
        value: CellValue::Int(cx.time.as_micros()),
        time: Timestamp::from_micros(-cx.time.as_micros()),
    };
    change.cells.push((DeviceColumn::FirstSeen, first));
    let id = cx.device.device.as_str().to_owned();
    let entry = (columns::ID.to_owned(), id, cx.time, false);
    change.index.push(entry);
    let day = lifecycle::day(cx.time);
    let entry = (lifecycle::FIRST_SEEN.to_owned(), day, cx.time, false);
    change.index.push(entry);
    if registered {
        let expected = lifecycle::label(DeviceState::Expected).to_owned();
        let entry = (lifecycle::STATE.to_owned(), expected, cx.time, true);
        change.index.push(entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_read_by_their_number() {
        let event = |code: &str| InformEvent {
            code: code.into(),
            command_key: String::new(),
        };
        assert_eq!(number(&event("0 BOOTSTRAP")), Some(BOOTSTRAP));
        assert_eq!(number(&event("2PERIODIC")), Some(PERIODIC));
        assert_eq!(number(&event("10 AUTONOMOUS TRANSFER COMPLETE")), Some(10));
        assert_eq!(number(&event("M Reboot")), None);
        assert_eq!(number(&event("X 001122 2 X")), None);
    }
}
