//! Names below a path, also where a device can't name a large tree at once: then by levels.

use super::{Command, Verdict, faulted, unreadable};
use crate::faults;
use hearth_proto::{
    types::v1::{Fault, GetParameterNames, ParameterName},
    workflow::v1::{request::Rpc, request_outcome::Kind as Answer},
};
use serde::{Deserialize, Serialize};

/// A GetParameterNames to send.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Visit {
    path: String,
    next_level: bool,
    /// Found on the way: that it is gone by now is no fault of the task.
    found: bool,
    /// Its names are only looked at, to learn what is gone.
    look_only: bool,
}

/// Names that are still to be asked for; the last one next.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Discovery {
    visits: Vec<Visit>,
}

/// What a GetParameterNames brought.
pub(crate) enum Found {
    /// Names, to be used.
    Names(Vec<ParameterName>),
    /// It goes on; nothing to be used.
    Nothing,
    /// An empty path is refused; it goes on with a root's name.
    EmptyPathRefused,
    /// It ends or pauses the task.
    Verdict(Verdict),
}

impl Discovery {
    /// Names below `path`.
    pub(crate) fn below(path: &str, next_level: bool) -> Self {
        let mut discovery = Self::default();
        discovery.push(path, next_level, false, false);
        discovery
    }

    /// Goes on by the children of `path`.
    pub(crate) fn by_children(&mut self, path: &str, found: bool) {
        self.push(path, true, found, false);
    }

    /// Looks which children `path` has by now, for who keeps the device's names.
    pub(crate) fn look(&mut self, path: &str) {
        self.push(path, true, true, true);
    }

    fn push(&mut self, path: &str, next_level: bool, found: bool, look_only: bool) {
        self.visits.push(Visit {
            path: path.to_owned(),
            next_level,
            found,
            look_only,
        });
    }

    /// The next RPC, if any is left.
    pub(crate) fn command(&self) -> Option<Command> {
        let visit = self.visits.last()?;
        Some(Command::Rpc(Rpc::GetParameterNames(GetParameterNames {
            path: visit.path.clone(),
            next_level: visit.next_level,
        })))
    }

    /// What the answer to [`Discovery::command`] brings. `expand`: objects found by level are
    /// asked for in turn.
    pub(crate) fn outcome(&mut self, answer: Answer, expand: bool) -> Found {
        let Some(visit) = self.visits.pop() else {
            return Found::Nothing;
        };
        match answer {
            Answer::Names(names) if visit.look_only => {
                drop(names);
                Found::Nothing
            }
            Answer::Names(names) => {
                let mut names = names.names;
                if visit.next_level && expand {
                    names.retain(|name| name.path != visit.path);
                    for name in names.iter().rev().filter(|name| name.path.ends_with('.')) {
                        self.push(&name.path, false, true, false);
                    }
                }
                Found::Names(names)
            }
            Answer::Fault(fault) => self.fault(visit, fault, expand),
            other => {
                self.visits.push(visit);
                Found::Verdict(unreadable(&other))
            }
        }
    }

    fn fault(&mut self, visit: Visit, fault: Fault, expand: bool) -> Found {
        let path = visit.path.as_str();
        match fault.code {
            _ if visit.look_only => Found::Nothing,
            // Too much at once: level by level.
            faults::RESOURCES_EXCEEDED if expand && !visit.next_level => {
                self.push(path, true, visit.found, false);
                Found::Nothing
            }
            // Some devices want the root's name; which root it is, they don't say.
            _ if path.is_empty() => {
                self.push("Device.", visit.next_level, false, false);
                Found::EmptyPathRefused
            }
            faults::INVALID_NAME | faults::INVALID_ARGUMENTS if visit.found => Found::Nothing,
            _ => {
                let verdict = faulted(fault);
                self.visits.push(visit);
                Found::Verdict(verdict)
            }
        }
    }

    /// The device has another root than the one tried.
    pub(crate) fn try_other_root(&mut self) -> bool {
        match self.visits.last_mut() {
            Some(visit) if visit.path == "Device." => {
                "InternetGatewayDevice.".clone_into(&mut visit.path);
                true
            }
            _ => false,
        }
    }
}
