//! Entries of a device's history.

use hearth_proto::{devicestate::v1 as ds, events::v1 as ev};
use hearth_store::HistoryRow;
use hearth_types::{MASK, Timestamp};
use prost::Message;

/// Places that one event has for entries: its own and one for each of its values.
const PLACES: u64 = 1 << 20;
/// The longest text in an entry, in characters.
const MAX_TEXT: usize = 1024;
/// Values that a summary of a read shows.
const SHOWN_VALUES: usize = 20;

/// The entry at `place` of the event `seq`. The same event applied again makes the same entry:
/// its first number on the bus and the place tell entries of one time apart.
pub fn row(time: Timestamp, seq: u64, place: usize, entry: &ds::HistoryEntry) -> HistoryRow {
    let place = u64::try_from(place).unwrap_or(PLACES).min(PLACES - 1);
    HistoryRow {
        time,
        id: seq.wrapping_mul(PLACES) | place,
        path: entry.path.clone(),
        payload: entry.encode_to_vec(),
    }
}

/// An entry of an event as a whole.
pub fn entry(time: Timestamp, session: &str, kind: &str, summary: &str) -> ds::HistoryEntry {
    ds::HistoryEntry {
        time_us: time.as_micros(),
        kind: kind.to_owned(),
        summary: clip(summary),
        session: session.to_owned(),
        ..ds::HistoryEntry::default()
    }
}

/// A text's beginning.
pub fn clip(text: &str) -> String {
    match text.char_indices().nth(MAX_TEXT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// What was read, in words; secrets masked.
pub fn read_summary(values: &[(String, String)], total: usize) -> String {
    let noun = if total == 1 { "value" } else { "values" };
    let shown: Vec<String> = values
        .iter()
        .take(SHOWN_VALUES)
        .map(|(path, value)| format!("{path}={value}"))
        .collect();
    let more = if total > shown.len() { ", …" } else { "" };
    match shown.is_empty() {
        true => format!("read {total} {noun}"),
        false => format!("read {total} {noun}: {}{more}", shown.join(", ")),
    }
}

/// The first values of a read, as they may be shown.
pub fn shown_values(values: &[hearth_proto::types::v1::ParameterValue]) -> Vec<(String, String)> {
    let show = |value: &hearth_proto::types::v1::ParameterValue| {
        let secret = crate::secrets::is_secret(&value.path, &value.sealed);
        let text = if secret { MASK } else { &value.value };
        (value.path.clone(), clip_value(text))
    };
    values.iter().take(SHOWN_VALUES).map(show).collect()
}

/// A value short enough to stand among others.
fn clip_value(text: &str) -> String {
    match text.char_indices().nth(64) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// What an Inform was, in words.
pub fn inform_summary(events: &[ev::InformEvent], changed: usize, is_new: bool) -> String {
    let codes: Vec<&str> = events.iter().map(|e| e.code.as_str()).collect();
    let mut summary = codes.join(", ");
    if is_new {
        summary.push_str("; first Inform of this device");
    } else if changed > 0 {
        let noun = if changed == 1 { "value" } else { "values" };
        summary.push_str(&format!("; {changed} {noun} changed"));
    }
    summary
}
