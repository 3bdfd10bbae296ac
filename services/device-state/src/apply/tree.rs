//! Names, attributes, deleted objects: what there is, not what it holds.

use std::collections::BTreeSet;
use std::ops::Bound;

use hearth_proto::events::v1::{AttributesReported, NamesReported, ObjectDeleted};
use hearth_proto::types::v1::ParameterAttributes;
use hearth_store::{ParameterCell, ParameterRow};
use hearth_types::DeviceKey;
use parking_lot::Mutex;

use super::values::is_path;
use super::{Context, Refused, Result};
use crate::cache::Known;
use crate::core::{Core, Turn};
use crate::history;
use crate::overlay::Change;

/// Parameters read at once.
const PAGE: usize = 1000;

impl Core {
    pub(super) async fn apply_names(
        &self,
        cx: &Context<'_>,
        known: &Mutex<Known>,
        reported: NamesReported,
        turn: &mut Turn,
    ) -> Result<Change> {
        let rows = self.subtree(cx.device, &reported.path, turn).await?;
        let names: BTreeSet<&str> = reported.names.iter().map(|n| n.path.as_str()).collect();
        let mut change = Change::default();
        // An empty answer says nothing: some devices give it for what they don't like.
        if !names.is_empty() {
            let gone = gone(&reported.path, reported.next_level, &names, &rows);
            let all: Vec<&String> = gone.iter().collect();
            self.unindex(cx, &all, &mut change).await?;
            if !gone.is_empty() {
                known.lock().forget_parameters(cx.time);
            }
            let before = cx.before();
            change
                .deletes
                .extend(gone.into_iter().map(|path| (path, before)));
        }
        let writable = |path: &str| {
            let at = rows.binary_search_by(|(known, _)| known.as_str().cmp(path));
            at.ok().and_then(|at| rows[at].1.writable)
        };
        for name in reported.names.into_iter().filter(|n| is_path(&n.path)) {
            if writable(&name.path).is_none_or(|(known, _)| known != name.writable) {
                let part = ParameterCell::Writable(name.writable);
                change.parameters.push((name.path, cx.time, part));
            }
        }
        Ok(change)
    }

    pub(super) async fn apply_attributes(
        &self,
        cx: &Context<'_>,
        reported: AttributesReported,
        turn: &mut Turn,
    ) -> Result<Change> {
        let mut change = Change::default();
        let usable = reported.attributes.into_iter().filter(|a| is_path(&a.path));
        for attributes in usable {
            let parts = parts(&attributes);
            // A partial path was set: it counts for every parameter below that is known.
            let paths = match attributes.path.ends_with('.') {
                true => {
                    let rows = self.subtree(cx.device, &attributes.path, turn).await?;
                    let leaves = rows.into_iter().map(|(path, _)| path);
                    leaves.filter(|path| !path.ends_with('.')).collect()
                }
                false => vec![attributes.path],
            };
            for path in paths {
                let parts = parts.iter().cloned();
                change
                    .parameters
                    .extend(parts.map(|part| (path.clone(), cx.time, part)));
            }
        }
        Ok(change)
    }

    pub(super) async fn apply_object_deleted(
        &self,
        cx: &Context<'_>,
        known: &Mutex<Known>,
        deleted: ObjectDeleted,
    ) -> Result<Change> {
        let object = deleted.object;
        if !object.ends_with('.') || object.len() == 1 {
            let reason = "the deleted object's path must end in `.`";
            return Err(Refused::Bad(reason.to_owned()));
        }
        let mut change = Change::default();
        self.unindex(cx, &[&object], &mut change).await?;
        known.lock().forget_parameters(cx.time);
        let summary = format!("{object} deleted");
        let mut entry = history::entry(cx.time, cx.session, "object", &summary);
        entry.path.clone_from(&object);
        change
            .history
            .push(history::row(cx.time, cx.first_seq, 0, &entry));
        change.deletes.push((object, cx.time));
        Ok(change)
    }

    /// All that is known below a path, in the order of the paths. What waits is written first, so
    /// that the store's list is the whole one.
    async fn subtree(
        &self,
        device: &DeviceKey,
        path: &str,
        turn: &mut Turn,
    ) -> Result<Vec<(String, ParameterRow)>> {
        let waits = |core: &Self| {
            let overlay = core.overlay.lock();
            overlay.device(device).is_some_and(|p| p.has_parameters())
        };
        if waits(self) {
            self.flush(turn).await?;
        }
        let mut rows: Vec<(String, ParameterRow)> = Vec::new();
        loop {
            let after = rows.last().map(|(path, _)| path.as_str());
            let page = self.store.parameters(device, path, after, PAGE).await?;
            let end = page.len() < PAGE;
            rows.extend(page);
            if end {
                return Ok(rows);
            }
        }
    }
}

fn parts(attributes: &ParameterAttributes) -> Vec<ParameterCell> {
    let notification = attributes.notification.map(|n| n.min(6));
    let notification = notification.and_then(|n| u8::try_from(n).ok());
    let mut parts: Vec<_> = notification
        .map(ParameterCell::Notification)
        .into_iter()
        .collect();
    if attributes.set_access_list || !attributes.access_list.is_empty() {
        parts.push(ParameterCell::AccessList(attributes.access_list.clone()));
    }
    parts
}

/// Known paths below `path` that are no longer there, an object for all below it.
fn gone(
    path: &str,
    next_level: bool,
    names: &BTreeSet<&str>,
    rows: &[(String, ParameterRow)],
) -> Vec<String> {
    if !path.is_empty() && !path.ends_with('.') {
        return Vec::new();
    }
    let mut gone: Vec<String> = Vec::new();
    for (known, _) in rows {
        let covered = |last: &String| last.ends_with('.') && known.starts_with(last.as_str());
        if known == path || gone.last().is_some_and(covered) {
            continue;
        }
        let missing = if next_level {
            // Only children were asked for: what lies deeper goes with its child.
            let child = child(path, known);
            (!names.contains(child)).then_some(child)
        } else if names.contains(known.as_str()) {
            None
        } else {
            topmost_missing(path, known, names)
        };
        gone.extend(missing.map(str::to_owned));
    }
    gone.dedup();
    gone
}

/// The child of `path` that `known` is, or lies below.
fn child<'a>(path: &str, known: &'a str) -> &'a str {
    let below = known.get(path.len()..).unwrap_or_default();
    match below.find('.') {
        Some(dot) => &known[..=path.len() + dot],
        None => known,
    }
}

/// The widest object around `known` below which no name is left, or `known` itself; `None` for an
/// object that isn't named but has names below: some devices leave objects out.
fn topmost_missing<'a>(path: &str, known: &'a str, names: &BTreeSet<&str>) -> Option<&'a str> {
    let below = known.get(path.len()..).unwrap_or_default();
    let objects = below
        .match_indices('.')
        .map(|(dot, _)| &known[..=path.len() + dot]);
    for object in objects {
        let from = (Bound::Included(object), Bound::Unbounded);
        let first = names.range::<str, _>(from).next();
        if first.is_none_or(|name| !name.starts_with(object)) {
            return Some(object);
        }
    }
    (!known.ends_with('.')).then_some(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gone_of(path: &str, next_level: bool, names: &[&str], known: &[&str]) -> Vec<String> {
        let names = names.iter().copied().collect();
        let rows: Vec<_> = known
            .iter()
            .map(|path| ((*path).to_owned(), ParameterRow::default()))
            .collect();
        gone(path, next_level, &names, &rows)
    }

    const KNOWN: [&str; 7] = [
        "Device.",
        "Device.A",
        "Device.H.",
        "Device.H.1.",
        "Device.H.1.X",
        "Device.H.2.",
        "Device.H.2.X",
    ];

    #[test]
    fn an_instance_that_is_gone_goes_with_all_below() {
        let names = ["Device.A", "Device.H.", "Device.H.1.", "Device.H.1.X"];
        assert_eq!(gone_of("Device.", false, &names, &KNOWN), ["Device.H.2."]);
        let leaves_only = ["Device.A", "Device.H.1.X"];
        let gone = gone_of("", false, &leaves_only, &KNOWN);
        assert_eq!(gone, ["Device.H.2."], "objects may be left out");
        let gone = gone_of("Device.H.", false, &["Device.H.2."], &KNOWN[2..]);
        assert_eq!(gone, ["Device.H.1.", "Device.H.2.X"]);
    }

    #[test]
    fn of_one_level_only_children_go() {
        let names = ["Device.H."];
        assert_eq!(gone_of("Device.", true, &names, &KNOWN), ["Device.A"]);
        let names = ["Device.A"];
        assert_eq!(gone_of("Device.", true, &names, &KNOWN), ["Device.H."]);
        let names = ["Device.H.1."];
        assert_eq!(
            gone_of("Device.H.", true, &names, &KNOWN[2..]),
            ["Device.H.2."]
        );
    }
}
