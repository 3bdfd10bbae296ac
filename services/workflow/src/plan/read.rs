//! GetParameterValues and Refresh: names where they are not given, then values in batches.

use super::{
    Command, Facts, Gains, Learned, Verdict,
    discovery::{Discovery, Found},
    faulted, unreadable,
};
use crate::faults;
use crate::validate::{ENVELOPE, escaped};
use hearth_proto::{
    types::v1::{Fault, GetParameterValues},
    workflow::v1::{request::Rpc, request_outcome::Kind as Answer},
};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Instances that may vanish under one read before it fails.
const MAX_STALE: u32 = 50;

/// Bytes of a name in a request beside its text.
const NAME: usize = 32;

/// A read.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Read {
    discovery: Discovery,
    /// What is still to be read; `true`: found on the way, so that it may be gone by now.
    todo: VecDeque<(String, bool)>,
    /// Names in one RPC.
    batch: usize,
    /// Fewer, while a bad name among them is searched for.
    narrow: Option<usize>,
    /// Instances that vanished so far.
    stale: u32,
    /// The whole tree was asked for without the root's name being known.
    any_root: bool,
    /// The longest request that the device takes, in bytes.
    #[serde(default)]
    longest: Option<usize>,
}

impl Read {
    /// The values of these parameters and partial paths.
    pub(crate) fn values(paths: &[String], facts: &Facts) -> Self {
        Self {
            discovery: Discovery::default(),
            todo: paths.iter().map(|path| (path.clone(), false)).collect(),
            batch: facts.gpv_batch.max(1),
            narrow: None,
            stale: 0,
            any_root: false,
            longest: facts.longest_request,
        }
    }

    /// Names, then values, of all below `path`; empty for the whole tree.
    pub(crate) fn refresh(path: &str, facts: &Facts) -> Self {
        let whole = path.is_empty();
        let any_root = whole && facts.root.is_empty();
        let path = match (whole, facts.root.as_str(), facts.refuses_empty_path) {
            (true, "", true) => "Device.",
            // The root's name is understood by all.
            (true, root, _) => root,
            (false, ..) => path,
        };
        Self {
            discovery: Discovery::below(path, false),
            any_root,
            ..Self::values(&[], facts)
        }
    }

    /// How many names the present RPC asks for.
    fn count(&self) -> usize {
        let count = self
            .narrow
            .unwrap_or(self.batch)
            .clamp(1, self.todo.len().max(1));
        match self.longest {
            Some(longest) => self.fitting(count, longest),
            None => count,
        }
    }

    /// Of the next names, how many a request of this length has room for; at least one.
    fn fitting(&self, count: usize, longest: usize) -> usize {
        let mut room = longest.saturating_sub(ENVELOPE);
        let names = self.todo.iter().take(count);
        let fit = names.take_while(|(name, _)| {
            let size = escaped(name) + NAME;
            let fits = size <= room;
            room = room.saturating_sub(size);
            fits
        });
        fit.count().max(1)
    }

    pub(crate) fn command(&self) -> Command {
        self.discovery.command().unwrap_or_else(|| {
            let names = self.todo.iter().take(self.count());
            Command::Rpc(Rpc::GetParameterValues(GetParameterValues {
                paths: names.map(|(path, _)| path.clone()).collect(),
            }))
        })
    }

    pub(crate) fn outcome(&mut self, answer: Answer, gains: &mut Gains) -> Verdict {
        if self.discovery.command().is_some() {
            return self.discovered(answer, gains);
        }
        match answer {
            Answer::Values(values) => {
                let count = self.count().min(self.todo.len());
                self.todo.drain(..count);
                gains.add_values(values.values);
                self.go_on(gains)
            }
            Answer::Fault(fault) => self.fault(fault, gains),
            other => unreadable(&other),
        }
    }

    fn go_on(&self, gains: &Gains) -> Verdict {
        if self.todo.is_empty() && self.discovery.command().is_none() {
            Verdict::Done(match gains.result.total {
                1 => "1 value read".to_owned(),
                total => format!("{total} values read"),
            })
        } else {
            Verdict::Next
        }
    }

    fn discovered(&mut self, answer: Answer, gains: &mut Gains) -> Verdict {
        match self.discovery.outcome(answer, true) {
            Found::Names(names) => {
                let leaves = names.into_iter().filter(|name| !name.path.ends_with('.'));
                self.todo.extend(leaves.map(|name| (name.path, true)));
            }
            Found::Nothing => {}
            Found::EmptyPathRefused => gains.learned.push(Learned::RefusesEmptyPath),
            Found::Verdict(Verdict::Fail { .. }) if self.any_root && self.other_root() => {}
            Found::Verdict(verdict) => return verdict,
        }
        self.go_on(gains)
    }

    fn other_root(&mut self) -> bool {
        self.todo.is_empty() && self.discovery.try_other_root()
    }

    fn fault(&mut self, fault: Fault, gains: &mut Gains) -> Verdict {
        let count = self.count();
        match fault.code {
            faults::RESOURCES_EXCEEDED if count > 1 => {
                self.batch = count / 2;
                let leaves_only = self.todo.iter().take(count).all(|(p, _)| !p.ends_with('.'));
                if leaves_only {
                    let batch = u32::try_from(self.batch).unwrap_or(u32::MAX);
                    gains.learned.push(Learned::GpvBatch(batch));
                }
                Verdict::Next
            }
            // Too much below one path: child by child.
            faults::RESOURCES_EXCEEDED if self.is_first_partial() => {
                if let Some((path, found)) = self.todo.pop_front() {
                    self.discovery.by_children(&path, found);
                }
                Verdict::Next
            }
            // One of them is unknown: which?
            faults::INVALID_NAME | faults::INVALID_ARGUMENTS if count > 1 => {
                self.narrow = Some(count / 2);
                Verdict::Next
            }
            faults::INVALID_NAME if self.todo.front().is_some_and(|(_, found)| *found) => {
                self.forget_instance(fault, gains)
            }
            _ => self.named(fault, count),
        }
    }

    /// A fault with the one name that it is about.
    fn named(&self, fault: Fault, count: usize) -> Verdict {
        let mut verdict = faulted(fault);
        if let Verdict::Fail { reason, .. } = &mut verdict
            && count == 1
            && let Some((path, _)) = self.todo.front()
        {
            reason.push_str(" on ");
            reason.push_str(path);
        }
        verdict
    }

    /// What the present RPC asks for, if that is one path.
    pub(crate) fn only_path(&self) -> Option<&str> {
        let first = self.todo.front().filter(|_| self.count() == 1);
        first.map(|(path, _)| path.as_str())
    }

    fn is_first_partial(&self) -> bool {
        self.todo
            .front()
            .is_some_and(|(path, _)| path.ends_with('.'))
    }

    /// A name that was found a moment ago is unknown: its instance is gone. The others of the
    /// instance are not asked for, and its parent's names are read again.
    fn forget_instance(&mut self, fault: Fault, gains: &Gains) -> Verdict {
        self.stale += 1;
        self.narrow = None;
        let Some((path, _)) = self.todo.pop_front() else {
            return self.go_on(gains);
        };
        if self.stale > MAX_STALE {
            return faulted(fault);
        }
        if let Some((parent, instance)) = instance_of(&path) {
            let (parent, instance) = (parent.to_owned(), instance.to_owned());
            self.todo.retain(|(path, _)| !path.starts_with(&instance));
            self.discovery.look(&parent);
        }
        self.go_on(gains)
    }
}

/// The innermost instance that a parameter belongs to, and its table:
/// `Device.Hosts.Host.3.IPAddress` → (`Device.Hosts.Host.`, `Device.Hosts.Host.3.`).
fn instance_of(path: &str) -> Option<(&str, &str)> {
    let mut end = path.len();
    while let Some(dot) = path[..end].rfind('.') {
        let start = path[..dot].rfind('.').map_or(0, |dot| dot + 1);
        let segment = &path[start..dot];
        if !segment.is_empty() && segment.bytes().all(|b| b.is_ascii_digit()) {
            return Some((&path[..start], &path[..=dot]));
        }
        end = dot;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::instance_of;

    #[test]
    fn instances() {
        let host = "Device.Hosts.Host.3.IPAddress";
        assert_eq!(
            instance_of(host),
            Some(("Device.Hosts.Host.", "Device.Hosts.Host.3."))
        );
        assert_eq!(
            instance_of("Device.WiFi.SSID.12.Stats.BytesSent"),
            Some(("Device.WiFi.SSID.", "Device.WiFi.SSID.12."))
        );
        assert_eq!(instance_of("Device.DeviceInfo.UpTime"), None);
    }
}
