//! Reported values: what is new of them, for parameters, history, index and columns.

use hearth_auth::ExposeSecret;
use hearth_proto::devicestate::v1::HistoryEntry;
use hearth_proto::events::v1::{ValueSource, ValuesReported};
use hearth_proto::types::v1::{ParameterValue, ValueType as WireType};
use hearth_store::{CellValue, DeviceColumn, ParameterCell, ParameterRow};
use hearth_types::{MASK, ValueType};
use parking_lot::Mutex;

use super::{Context, Result, reindex};
use crate::cache::Known;
use crate::columns;
use crate::core::Core;
use crate::history;
use crate::overlay::Change;
use crate::secrets::{holds, is_hidden, is_secret};

/// The longest path that is kept, in bytes; TR-069 allows 256 characters.
const MAX_PATH: usize = 1024;

/// Whether a path that a device named can be kept.
pub fn is_path(path: &str) -> bool {
    (1..=MAX_PATH).contains(&path.len())
}

/// Values as they came.
pub struct Reported {
    /// Each with its place in the event. An event that is applied again makes the same entries of
    /// the history, whatever is known then.
    pub values: Vec<(usize, ParameterValue)>,
    pub source: ValueSource,
    /// The task that read or set them; may be empty.
    pub task: String,
    /// Whether what was known before counts no more.
    pub forgotten: bool,
}

/// What they brought.
#[derive(Default)]
pub struct Found {
    /// Values that changed, without those whose changes aren't kept.
    pub changed: usize,
    pub columns: Vec<(DeviceColumn, CellValue)>,
}

/// What becomes of one value.
enum Decision {
    /// Known, or something newer is.
    Keep,
    /// Something newer is known, or it can't be used.
    Skip,
    /// Written; `was` is what is shown of the old value.
    Write {
        cell: ParameterCell,
        is_new: bool,
        was: Option<String>,
    },
}

/// The hash of a value's path.
pub fn path_hash(core: &Core, value: &ParameterValue) -> u64 {
    core.cache.hash(value.path.as_str())
}

/// The hash of a value as it came.
pub fn raw_hash(core: &Core, value: &ParameterValue) -> u64 {
    let value_type = ValueType::from(value.r#type());
    match value.sealed.is_empty() {
        true => core.cache.value_hash(value_type, &value.value),
        false => core.cache.hash((value_type, &value.value, &value.sealed)),
    }
}

impl Core {
    pub(super) async fn apply_values(
        &self,
        cx: &Context<'_>,
        known: &Mutex<Known>,
        reported: ValuesReported,
    ) -> Result<Change> {
        let source = reported.source();
        let mut change = Change::default();
        if source == ValueSource::Read {
            let entry = read_entry(cx, &reported.values, &reported.task);
            change.history.push(entry);
        }
        let report = Reported {
            values: reported.values.into_iter().enumerate().collect(),
            source,
            task: reported.task,
            forgotten: false,
        };
        let found = self.add_values(cx, known, report, &mut change).await?;
        self.add_columns(cx, known, found.columns, &mut change)
            .await?;
        Ok(change)
    }

    /// Compares values with what is kept, and adds what is new.
    pub(super) async fn add_values(
        &self,
        cx: &Context<'_>,
        known: &Mutex<Known>,
        report: Reported,
        change: &mut Change,
    ) -> Result<Found> {
        let paths: Vec<String> = report.values.iter().map(|(_, v)| v.path.clone()).collect();
        let rows = match report.forgotten {
            true => vec![ParameterRow::default(); paths.len()],
            false => self.parameter_rows(cx.device, &paths).await?,
        };
        let is_inform = report.source == ValueSource::Unspecified;
        let mut found = Found::default();
        let mut known = known.lock();
        for ((place, mut value), old) in report.values.into_iter().zip(rows) {
            if let Some((_, known_type, ..)) = &old.value
                && value.r#type() == WireType::Unspecified
            {
                // Nothing was said about the type: the one that the device told stays.
                value.set_type((*known_type).into());
            }
            let decision = self.decide(cx, &value, &old, report.source);
            if !matches!(decision, Decision::Skip) {
                let (path, hash) = (path_hash(self, &value), raw_hash(self, &value));
                known.set_parameter(path, hash, cx.time, is_inform);
            }
            let Decision::Write { cell, is_new, was } = decision else {
                self.metrics.values_same.inc();
                continue;
            };
            self.metrics.values_changed.inc_by(u64::from(is_new));
            if is_new || self.parts.is_shared() {
                found
                    .columns
                    .extend(columns::derived(&value.path, &value.value));
                self.index_value(cx, &value, &old, change);
            }
            let is_set = report.source == ValueSource::Set;
            if is_set || is_new && was.is_some() && !self.is_ignored(&value.path) {
                found.changed += 1;
                let mut entry = value_entry(cx, &value, was, report.source);
                entry.task.clone_from(&report.task);
                let row = history::row(cx.time, cx.first_seq, place + 1, &entry);
                change.history.push(row);
            }
            change.parameters.push((value.path, cx.time, cell));
        }
        Ok(found)
    }

    fn decide(
        &self,
        cx: &Context<'_>,
        value: &ParameterValue,
        old: &ParameterRow,
        source: ValueSource,
    ) -> Decision {
        if !is_path(&value.path) || value.path.ends_with('.') {
            return Decision::Skip;
        }
        let written = old.value.as_ref();
        if written.is_some_and(|(.., at)| *at > cx.time) {
            return Decision::Skip;
        }
        // Exactly this event's: it was applied before.
        if written.is_some_and(|(.., at)| *at == cx.time) {
            return Decision::Keep;
        }
        let (cell, same, was) = if is_secret(&value.path, &value.sealed) {
            match self.decide_secret(cx, value, old, source) {
                Some(decided) => decided,
                None => return Decision::Keep,
            }
        } else {
            let value_type = ValueType::from(value.r#type());
            let same = written.map(|(text, of, ..)| (*text == value.value, *of == value_type));
            let cell = ParameterCell::Value {
                text: value.value.clone(),
                value_type,
                sealed: Vec::new(),
            };
            if same == Some((true, false)) {
                // Only the type: written, but no change of the value.
                let was = None;
                return Decision::Write {
                    cell,
                    is_new: false,
                    was,
                };
            }
            let was = written.map(|(text, ..)| text.clone());
            (cell, same.is_some_and(|(text, _)| text), was)
        };
        let is_old = written.is_some_and(|(.., at)| {
            cx.time.saturating_since(*at) > self.config.value_time_resolution.get()
        });
        let read_again = same && source == ValueSource::Read && is_old;
        // With several processes, an older event may still be on its way into the store with
        // another value: the same one is written with its later time, once, and then known.
        let vouched = !self.parts.is_shared();
        if same && vouched && !read_again && source != ValueSource::Set {
            return Decision::Keep;
        }
        let is_new = !same;
        Decision::Write { cell, is_new, was }
    }

    /// A secret's cell, whether it is the same as before, and what is shown of the old one; `None`
    /// when it brings nothing: it reads back empty, or can't be opened.
    fn decide_secret(
        &self,
        cx: &Context<'_>,
        value: &ParameterValue,
        old: &ParameterRow,
        source: ValueSource,
    ) -> Option<(ParameterCell, bool, Option<String>)> {
        let path = &value.path;
        let open = |sealed: &[u8]| self.secrets.open(cx.device, path, sealed);
        let plain = match value.sealed.is_empty() {
            true => value.value.clone().into(),
            false => match open(&value.sealed) {
                Ok(plain) => plain,
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(device = %cx.device, error, "a reported secret can't be opened");
                    return None;
                }
            },
        };
        let text = plain.expose_secret();
        let known = old.value.as_ref().map(|(_, _, sealed, _)| sealed);
        if source != ValueSource::Set && is_hidden(text) && known.is_some_and(|s| !s.is_empty()) {
            return None;
        }
        let same = known.is_some_and(|sealed| match sealed.is_empty() {
            true => text.is_empty(),
            false => open(sealed).is_ok_and(|opened| holds(&opened, text)),
        });
        let sealed = match (text.is_empty(), value.sealed.is_empty()) {
            (true, _) => Vec::new(),
            (false, false) => value.sealed.clone(),
            (false, true) => match self.secrets.seal(cx.device, path, text) {
                Ok(sealed) => sealed,
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(device = %cx.device, error, "a secret can't be sealed");
                    return None;
                }
            },
        };
        let cell = ParameterCell::Value {
            text: String::new(),
            value_type: value.r#type().into(),
            sealed,
        };
        Some((cell, same, known.map(|_| MASK.to_owned())))
    }

    fn index_value(
        &self,
        cx: &Context<'_>,
        value: &ParameterValue,
        old: &ParameterRow,
        change: &mut Change,
    ) {
        let secret = is_secret(&value.path, &value.sealed);
        if secret || !self.indexed.contains(value.path.as_str()) {
            return;
        }
        let old = old.value.as_ref().map_or("", |(text, ..)| text);
        let again = self.parts.is_shared();
        reindex(&value.path, (old, &value.value), cx.time, again, change);
    }

    /// Whether changes of a parameter stay out of the history.
    fn is_ignored(&self, path: &str) -> bool {
        let ignored = &self.config.history_ignored_names;
        path.split('.')
            .any(|name| ignored.iter().any(|i| i == name))
    }

    /// Takes the values of indexed parameters below `deleted` paths out of the index.
    pub(super) async fn unindex(
        &self,
        cx: &Context<'_>,
        deleted: &[&String],
        change: &mut Change,
    ) -> Result<()> {
        let covered = |path: &&String| {
            deleted.iter().any(|d| {
                d.is_empty() || *d == *path || d.ends_with('.') && path.starts_with(d.as_str())
            })
        };
        let paths: Vec<String> = self.indexed.iter().filter(covered).cloned().collect();
        let rows = self.parameter_rows(cx.device, &paths).await?;
        for (path, row) in paths.iter().zip(rows) {
            if let Some((text, ..)) = row.value.filter(|(.., at)| *at < cx.time) {
                reindex(path, (&text, ""), cx.before(), false, change);
            }
        }
        Ok(())
    }
}

/// What a read brought, as one entry; a read of one value is found by its path.
fn read_entry(cx: &Context<'_>, values: &[ParameterValue], task: &str) -> hearth_store::HistoryRow {
    let shown = history::shown_values(values);
    let summary = history::read_summary(&shown, values.len());
    let mut entry = history::entry(cx.time, cx.session, "read", &summary);
    if let ([value], [(_, text)]) = (values, shown.as_slice()) {
        entry.path.clone_from(&value.path);
        entry.new_value.clone_from(text);
    }
    entry.set_source(ValueSource::Read);
    task.clone_into(&mut entry.task);
    history::row(cx.time, cx.first_seq, 0, &entry)
}

fn value_entry(
    cx: &Context<'_>,
    value: &ParameterValue,
    was: Option<String>,
    source: ValueSource,
) -> HistoryEntry {
    let shown = match is_secret(&value.path, &value.sealed) {
        true => MASK,
        false => &value.value,
    };
    let summary = match (&was, source) {
        (_, ValueSource::Set) => format!("{} set", value.path),
        _ => format!("{} changed", value.path),
    };
    let mut entry = history::entry(cx.time, cx.session, "value", &summary);
    entry.path.clone_from(&value.path);
    entry.old_value = history::clip(was.as_deref().unwrap_or_default());
    entry.new_value = history::clip(shown);
    entry.set_source(source);
    entry
}
