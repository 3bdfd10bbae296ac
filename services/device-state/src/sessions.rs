//! Sessions of devices: what gateways told of them, and what Informs tell of the others.
//!
//! A record is a row of the device's history, at a path that no parameter has: it is written with
//! all else, ends with the history's time, and goes with the device. It is no entry of the history
//! as it is listed. An Inform that brought nothing new has no row at all; the last ones are
//! remembered in memory (`cache`), and of the very last one the time is in the device's row.

use std::collections::BTreeMap;

use hearth_clients::{Error, Result};
use hearth_proto::{devicestate::v1 as ds, events::v1 as ev};
use hearth_store::{DeviceColumn, HistoryQuery, HistoryRow};
use hearth_types::{DeviceKey, Timestamp};
use prost::Message;
use ulid::Ulid;

use crate::apply::Context;
use crate::columns;
use crate::core::Core;
use crate::history::{self, clip};
use crate::overlay::Change;
use crate::queries::no_device;

/// Begins the path of a record; the session's id follows.
const PATH: &str = "~session.";
/// Exchanges kept of a session.
const MAX_TURNS: usize = 200;
const DEFAULT_PAGE: usize = 20;
const MAX_PAGE: usize = 100;
/// Rows of history that are looked through for sessions.
const LOOKED_THROUGH: usize = 2000;
const ROWS: usize = 200;
/// A session without a record that began longer ago had nothing to do, in µs.
const SURELY_TOLD: i64 = 90_000_000;

/// Whether a row of the history is a session's record, which is no entry.
pub fn is_record(row: &HistoryRow) -> bool {
    row.path.starts_with(PATH)
}

/// What a record changes.
pub fn change(cx: &Context<'_>, record: &ev::SessionRecord) -> Change {
    let mut record = record.clone();
    let turns = u32::try_from(record.turns.len().saturating_sub(MAX_TURNS)).unwrap_or(u32::MAX);
    record.turns_left_out = record.turns_left_out.saturating_add(turns);
    record.turns.truncate(MAX_TURNS);
    record.end_detail = clip(&record.end_detail);
    let mut row = history::row(cx.time, cx.first_seq, 0, &ds::HistoryEntry::default());
    row.path = format!("{PATH}{}", cx.session);
    row.payload = record.encode_to_vec();
    Change {
        history: vec![row],
        ..Change::default()
    }
}

/// What is known of sessions, by their ids.
#[derive(Default)]
struct Known(BTreeMap<String, ds::Session>);

impl Known {
    fn session(&mut self, id: &str) -> &mut ds::Session {
        self.0.entry(id.to_owned()).or_insert_with(|| ds::Session {
            id: id.to_owned(),
            ..ds::Session::default()
        })
    }

    /// A part of what gateways told. Later parts come first.
    fn tell(&mut self, id: &str, told: ev::SessionRecord) {
        let session = self.session(id);
        // Whole seconds where the Inform was another gateway's.
        let informed = !told.events.is_empty();
        if informed || session.events.is_empty() {
            session.start_us = told.start_us;
        }
        if informed {
            session.events = told.events;
            session.proof = told.proof;
        }
        if session.address.is_empty() {
            session.address = told.address;
        }
        // After its end a device may still report something, and is silent then.
        let open = matches!(session.end.as_str(), "" | "silent");
        if open && !told.end.is_empty() {
            session.end = told.end;
            session.end_detail = told.end_detail;
        }
        session.turns_left_out += told.turns_left_out;
        session.turns.extend(told.turns);
    }

    /// An Inform of the history.
    fn inform(&mut self, entry: &ds::HistoryEntry) {
        let session = self.session(&entry.session);
        session.start_us = entry.time_us;
        if session.events.is_empty() {
            let events = entry.summary.split(';').next().unwrap_or_default();
            session.events = events.split(", ").map(str::to_owned).collect();
        }
    }

    /// The newest first, each in order.
    fn sorted(self, now: Timestamp) -> Vec<ds::Session> {
        let mut sessions: Vec<_> = self.0.into_values().collect();
        for session in &mut sessions {
            finish(session, now);
        }
        sessions.sort_unstable_by_key(|session| std::cmp::Reverse(session.start_us));
        sessions
    }
}

/// What follows from the turns.
fn finish(session: &mut ds::Session, now: Timestamp) {
    session.turns.sort_by_key(|turn| turn.time_us);
    // A part that was told twice.
    session.turns.dedup();
    let over = session.turns.len().saturating_sub(MAX_TURNS);
    session.turns.truncate(MAX_TURNS);
    session.turns_left_out += u32::try_from(over).unwrap_or(u32::MAX);
    if let Some(first) = session.turns.first() {
        session.start_us = match session.start_us {
            0 => first.time_us,
            start => start.min(first.time_us),
        };
    }
    let last = session.turns.last().map_or(0, |turn| turn.time_us);
    session.last_turn_us = last.max(session.start_us);
    session.turn_count = u32::try_from(session.turns.len()).unwrap_or(u32::MAX);
    for turn in session.turns.iter().filter(|turn| !turn.task.is_empty()) {
        if !session.tasks.contains(&turn.task) {
            session.tasks.push(turn.task.clone());
        }
    }
    let old = now.as_micros().saturating_sub(session.start_us) > SURELY_TOLD;
    if session.turns.is_empty() && session.end.is_empty() && old {
        "idle".clone_into(&mut session.end);
    }
}

impl Core {
    pub async fn list_sessions(
        &self,
        request: ds::ListSessionsRequest,
    ) -> Result<ds::ListSessionsResponse> {
        let device = DeviceKey::parse(&request.tenant, &request.device)?;
        let size = crate::page::size(request.page_size, DEFAULT_PAGE, MAX_PAGE);
        let mut known = self.recorded(&device, size).await?;
        self.remembered(&device, &mut known).await?;
        let mut sessions = known.sorted(self.now());
        sessions.truncate(size);
        for session in &mut sessions {
            session.turns = Vec::new();
        }
        Ok(ds::ListSessionsResponse { sessions })
    }

    pub async fn get_session(
        &self,
        request: ds::GetSessionRequest,
    ) -> Result<ds::GetSessionResponse> {
        let device = DeviceKey::parse(&request.tenant, &request.device)?;
        let id = Ulid::from_string(&request.session);
        let id = id.map_err(|_| Error::invalid("session", "expected a session's id"))?;
        let mut known = self.recorded(&device, MAX_PAGE).await?;
        self.remembered(&device, &mut known).await?;
        let id = text(id.0);
        let found = known.sorted(self.now()).into_iter().find(|s| s.id == id);
        match found {
            Some(session) => Ok(ds::GetSessionResponse {
                session: Some(session),
            }),
            None => Err(Error::not_found(
                "no such session is known any more; ListSessions shows the last ones",
            )),
        }
    }

    /// The last sessions that the history knows of.
    async fn recorded(&self, device: &DeviceKey, size: usize) -> Result<Known> {
        self.check_device(device).await?;
        self.settle(|overlay| overlay.device(device).is_some_and(|p| p.has_history()))
            .await?;
        let mut query = HistoryQuery {
            device: device.clone(),
            path: None,
            since: Timestamp::ZERO,
            until: Timestamp::ZERO,
            before: None,
            limit: ROWS,
        };
        let mut known = Known::default();
        for _ in 0..LOOKED_THROUGH / ROWS {
            let rows = self.store.history(&query).await?;
            for row in &rows {
                if let Some(id) = row.path.strip_prefix(PATH) {
                    // One that a newer version wrote otherwise is as good as none.
                    if let Ok(told) = ev::SessionRecord::decode(row.payload.as_slice()) {
                        known.tell(id, told);
                    }
                } else if row.path.is_empty()
                    && let Ok(entry) = ds::HistoryEntry::decode(row.payload.as_slice())
                    && entry.kind == "inform"
                    && !entry.session.is_empty()
                {
                    known.inform(&entry);
                }
            }
            // One more: of the last one there may be more in rows that are older.
            if rows.len() < ROWS || known.0.len() > size {
                break;
            }
            query.before = rows.last().map(|row| (row.time, row.id));
        }
        Ok(known)
    }

    /// Adds sessions that left no row.
    async fn remembered(&self, device: &DeviceKey, known: &mut Known) -> Result<()> {
        let Some(row) = self.row(device).await? else {
            return Err(no_device(device));
        };
        let opened = self.cache.get(device).map(|known| known.lock().opened);
        for (id, time) in opened.into_iter().flatten().filter(|(id, _)| *id != 0) {
            let session = known.session(&text(id));
            session.start_us = time.as_micros();
            if session.events.is_empty() {
                // All others are in the history.
                session.events = vec!["2 PERIODIC".to_owned()];
            }
        }
        let last = columns::int(&row, DeviceColumn::LastInform);
        let events = columns::list(&row, DeviceColumn::LastEvents);
        let codes = || events.iter().filter_map(|event| event.split('\t').next());
        let second = 1_000_000;
        let is_last = |session: &ds::Session| {
            session.start_us == last || last > 0 && session.start_us == last / second * second
        };
        let mut found = known.0.values_mut().find(|session| is_last(session));
        if found.is_none() && last > 0 {
            // Its id is in the memory of another process.
            found = Some(known.0.entry(String::new()).or_default());
        }
        if let Some(session) = found {
            session.start_us = last;
            session.events = codes().map(str::to_owned).collect();
            if session.address.is_empty() {
                session.address = columns::text(&row, DeviceColumn::RemoteAddress).to_owned();
            }
        }
        Ok(())
    }
}

/// A session's id as text.
fn text(id: u128) -> String {
    Ulid(id).to_string().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn turn(time_us: i64, task: &str) -> ev::SessionTurn {
        ev::SessionTurn {
            time_us,
            task: task.to_owned(),
            ..ev::SessionTurn::default()
        }
    }

    #[test]
    fn parts_of_several_gateways_are_one_session() {
        let mut known = Known::default();
        // A report after the end.
        known.tell(
            "s",
            ev::SessionRecord {
                start_us: 5_000_000,
                end: "silent".into(),
                ..ev::SessionRecord::default()
            },
        );
        // The later part comes first; its gateway knows the start in whole seconds.
        let later = ev::SessionRecord {
            start_us: 5_000_000,
            address: "192.0.2.1".into(),
            end: "ended".into(),
            turns: vec![turn(7_000_000, "b"), turn(8_000_000, "b")],
            ..ev::SessionRecord::default()
        };
        let first = ev::SessionRecord {
            start_us: 5_400_000,
            events: vec!["2 PERIODIC".into()],
            proof: "credential".into(),
            turns: vec![turn(5_400_000, ""), turn(6_000_000, "a")],
            turns_left_out: 1,
            ..ev::SessionRecord::default()
        };
        known.tell("s", later.clone());
        known.tell("s", first);
        // Delivered twice under two numbers.
        known.tell("s", later);
        assert_eq!(known.session("s").end, "ended");
        let all = known.sorted(Timestamp::from_micros(9_000_000));
        let [session] = all.as_slice() else {
            panic!("{all:?}")
        };
        assert_eq!(session.start_us, 5_400_000);
        assert_eq!(session.last_turn_us, 8_000_000);
        assert_eq!((session.turn_count, session.turns_left_out), (4, 1));
        assert_eq!((&*session.end, &*session.proof), ("ended", "credential"));
        assert_eq!(session.tasks, ["a", "b"]);
    }

    #[test]
    fn what_has_no_record_was_idle_once_that_is_sure() {
        let entry = ds::HistoryEntry {
            time_us: 1_000_000,
            kind: "inform".into(),
            summary: "1 BOOT, 4 VALUE CHANGE; 2 values changed".into(),
            session: "s".into(),
            ..ds::HistoryEntry::default()
        };
        for (now, end) in [(2_000_000, ""), (2_000_000 + SURELY_TOLD, "idle")] {
            let mut known = Known::default();
            known.inform(&entry);
            let session = known.sorted(Timestamp::from_micros(now)).remove(0);
            assert_eq!(session.events, ["1 BOOT", "4 VALUE CHANGE"]);
            assert_eq!((session.end.as_str(), session.start_us), (end, 1_000_000));
        }
    }
}
