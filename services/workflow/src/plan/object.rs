//! AddObject, which must not happen twice, and DeleteObject, which may.

use super::{
    Command, Facts, Gains, Lost, LostFacts, Verdict, faulted, set::Set, unreadable, what_came,
};
use crate::faults;
use hearth_proto::{
    events::v1::{ObjectDeleted, event},
    types::v1::{
        AddObject, DeleteObject, GetParameterNames, GetParameterValues, ParameterName,
        ParameterValue,
    },
    workflow::v1::{Applied, ObjectRpc, request::Rpc, request_outcome::Kind as Answer},
};
use hearth_types::CommandKey;
use serde::{Deserialize, Serialize};

/// Where an AddObject stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Stage {
    /// Which instances are there?
    #[default]
    Before,
    /// AddObject.
    Add,
    /// The answer to AddObject was lost: is there a new one?
    Verify,
    /// There are several: which has the alias?
    Which,
    /// The new instance's values.
    Set,
}

/// An AddObject.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Add {
    stage: Stage,
    /// Instances before the AddObject.
    before: Vec<u32>,
    /// The device's ParameterKey said that the lost AddObject was done.
    proved: bool,
    /// The new instance.
    instance: u32,
    /// New ones, of which one may be this task's.
    #[serde(default)]
    new: Vec<u32>,
    /// The setting of its values.
    set: Set,
}

impl Add {
    pub(crate) fn new(facts: &Facts) -> Self {
        Self {
            set: Set::new(facts),
            ..Self::default()
        }
    }

    pub(crate) fn command(&self, spec: &AddObject, key: CommandKey) -> Command {
        match self.stage {
            Stage::Before | Stage::Verify => {
                Command::Rpc(Rpc::GetParameterNames(GetParameterNames {
                    path: table_of(&spec.object).to_owned(),
                    next_level: true,
                }))
            }
            Stage::Which => {
                let table = table_of(&spec.object);
                let aliases = self.new.iter().map(|n| alias_path(table, *n));
                Command::Rpc(Rpc::GetParameterValues(GetParameterValues {
                    paths: aliases.collect(),
                }))
            }
            Stage::Add => Command::Rpc(Rpc::AddObject(ObjectRpc {
                object: spec.object.clone(),
                parameter_key: key.to_string(),
            })),
            Stage::Set => {
                let sibling = self.before.first();
                let table = table_of(&spec.object);
                let like = sibling.map(|sibling| format!("{table}{sibling}."));
                self.set
                    .command(&spec.values, self.path(spec), like.unwrap_or_default())
            }
        }
    }

    /// Whether an instance may have been made that nobody knows of: until that is settled another
    /// AddObject on the table would make it impossible to tell which is whose.
    pub(crate) fn is_in_doubt(&self) -> bool {
        matches!(self.stage, Stage::Add | Stage::Verify | Stage::Which)
    }

    fn path(&self, spec: &AddObject) -> String {
        format!("{}{}.", table_of(&spec.object), self.instance)
    }

    pub(crate) fn outcome(
        &mut self,
        spec: &AddObject,
        answer: Answer,
        gains: &mut Gains,
    ) -> Verdict {
        match (self.stage, answer) {
            (Stage::Before, Answer::Names(names)) => {
                self.before = instances(table_of(&spec.object), &names.names);
                self.stage = Stage::Add;
                Verdict::Next
            }
            (Stage::Add, Answer::Applied(applied)) => self.added(spec, &applied, gains),
            (Stage::Verify, Answer::Names(names)) => self.verified(spec, &names.names, gains),
            (Stage::Which, Answer::Values(values)) => self.found(spec, &values.values, gains),
            (Stage::Which, Answer::Fault(fault)) if !faults::is_transient(fault.code) => self
                .several(
                    spec,
                    &format!("asked for their aliases, {}", faults::summary(&fault)),
                ),
            (Stage::Set, answer) => {
                let path = self.path(spec);
                let done = format!("made {path} with its values");
                match self
                    .set
                    .outcome(&spec.values, path.clone(), answer, gains, &done)
                {
                    Verdict::Fail { fault, reason } => Verdict::Fail {
                        fault,
                        reason: self.left_undone(spec, reason),
                    },
                    other => other,
                }
            }
            (Stage::Add, Answer::Fault(fault)) => {
                self.stage = Stage::Before;
                faulted(fault)
            }
            (_, Answer::Fault(fault)) => faulted(fault),
            // Whether it was done is in no readable answer: look.
            (Stage::Add, other) => {
                self.stage = Stage::Verify;
                Verdict::Doubt(what_came(&other))
            }
            (_, other) => unreadable(&other),
        }
    }

    /// Why it failed, and what it has done nevertheless.
    pub(crate) fn left_undone(&self, spec: &AddObject, reason: String) -> String {
        match self.stage {
            Stage::Set => format!(
                "{} was made, but its values could not be set: {reason}",
                self.path(spec)
            ),
            Stage::Before | Stage::Add | Stage::Verify | Stage::Which => reason,
        }
    }

    fn added(&mut self, spec: &AddObject, applied: &Applied, gains: &mut Gains) -> Verdict {
        gains.result.reboot_required = applied.status != 0;
        self.has_instance(spec, applied.instance_number, gains)
    }

    fn has_instance(&mut self, spec: &AddObject, instance: u32, gains: &mut Gains) -> Verdict {
        self.instance = instance;
        gains.result.instance_number = instance;
        if spec.values.is_empty() {
            Verdict::Done(format!("made {}", self.path(spec)))
        } else {
            self.stage = Stage::Set;
            Verdict::Next
        }
    }

    fn verified(
        &mut self,
        spec: &AddObject,
        names: &[ParameterName],
        gains: &mut Gains,
    ) -> Verdict {
        let all = instances(table_of(&spec.object), names);
        let mut new = all.clone();
        new.retain(|instance| !self.before.contains(instance));
        match new.as_slice() {
            [instance] => self.has_instance(spec, *instance, gains),
            [] if self.proved => Verdict::Unknown(format!(
                "the device's ParameterKey says that an instance of {} was made, but there is no \
                 new one",
                spec.object
            )),
            [] => {
                // A number that was deleted meanwhile may be given anew.
                self.before = all;
                self.stage = Stage::Add;
                Verdict::Resend
            }
            several => {
                self.new = several.to_vec();
                if alias_of(&spec.object).is_none() {
                    return self.several(spec, "which one is this task's can't be known");
                }
                self.stage = Stage::Which;
                Verdict::Next
            }
        }
    }

    fn several(&self, spec: &AddObject, why: &str) -> Verdict {
        let new: Vec<String> = self.new.iter().map(u32::to_string).collect();
        Verdict::Unknown(format!(
            "the session ended before the answer, and {} has several new instances ({}): {why}",
            table_of(&spec.object),
            new.join(", ")
        ))
    }

    /// Of several new instances, the one with the alias.
    fn found(&mut self, spec: &AddObject, values: &[ParameterValue], gains: &mut Gains) -> Verdict {
        let alias = alias_of(&spec.object).unwrap_or_default();
        let table = table_of(&spec.object);
        let has = |number: &&u32| {
            let path = alias_path(table, **number);
            values.iter().any(|v| v.path == path && v.value == alias)
        };
        match self.new.iter().find(has).copied() {
            Some(instance) => self.has_instance(spec, instance, gains),
            None => self.several(spec, "none of them has the alias"),
        }
    }

    pub(crate) fn lost(&mut self, facts: &LostFacts) -> Lost {
        match self.stage {
            Stage::Before | Stage::Set => Lost::Again,
            Stage::Add | Stage::Verify | Stage::Which => {
                self.proved |= facts.proved && self.stage == Stage::Add;
                self.stage = Stage::Verify;
                Lost::Check
            }
        }
    }
}

/// The table of an AddObject: `Device.NAT.PortMapping.` of `Device.NAT.PortMapping.[web].`
pub(crate) fn table_of(object: &str) -> &str {
    let alias = object.strip_suffix("].").and_then(|body| body.rfind(".["));
    alias.map_or(object, |dot| &object[..=dot])
}

/// The alias of an AddObject, if it has one (TR-069 3.6.1).
pub(crate) fn alias_of(object: &str) -> Option<&str> {
    let (_, alias) = object.strip_suffix("].")?.rsplit_once(".[")?;
    Some(alias)
}

fn alias_path(table: &str, instance: u32) -> String {
    format!("{table}{instance}.Alias")
}

/// Instance numbers of a table among the names below it.
fn instances(object: &str, names: &[ParameterName]) -> Vec<u32> {
    let mut found: Vec<u32> = names
        .iter()
        .filter_map(|name| name.path.strip_prefix(object))
        .filter_map(|rest| rest.split('.').next())
        .filter_map(|segment| segment.parse().ok())
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// A DeleteObject.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Delete {
    /// An earlier one's answer was lost.
    repeated: bool,
}

pub(crate) fn delete(spec: &DeleteObject, key: CommandKey) -> Command {
    Command::Rpc(Rpc::DeleteObject(ObjectRpc {
        object: spec.object.clone(),
        parameter_key: key.to_string(),
    }))
}

fn deleted(spec: &DeleteObject, gains: &mut Gains) {
    gains.events.push(event::Kind::ObjectDeleted(ObjectDeleted {
        object: spec.object.clone(),
    }));
}

impl Delete {
    pub(crate) fn outcome(
        &mut self,
        spec: &DeleteObject,
        answer: Answer,
        gains: &mut Gains,
    ) -> Verdict {
        match answer {
            Answer::Applied(applied) => {
                gains.result.reboot_required = applied.status != 0;
                deleted(spec, gains);
                Verdict::Done("deleted".to_owned())
            }
            Answer::Fault(fault) if self.repeated && fault.code == faults::INVALID_NAME => {
                deleted(spec, gains);
                Verdict::Done("deleted by the try whose answer was lost".to_owned())
            }
            Answer::Fault(fault) => faulted(fault),
            other => {
                self.repeated = true;
                unreadable(&other)
            }
        }
    }

    pub(crate) fn lost(
        &mut self,
        spec: &DeleteObject,
        facts: &LostFacts,
        gains: &mut Gains,
    ) -> Lost {
        self.repeated = true;
        if facts.proved {
            deleted(spec, gains);
            return Lost::Done("deleted: the device's ParameterKey says so".to_owned());
        }
        Lost::Again
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aliases_are_told_from_tables() {
        let table = "Device.NAT.PortMapping.";
        assert_eq!(table_of(table), table);
        assert_eq!(alias_of(table), None);
        let with = "Device.NAT.PortMapping.[web].";
        assert_eq!((table_of(with), alias_of(with)), (table, Some("web")));
        let below = "Device.A.[x].Port.[y].";
        assert_eq!(table_of(below), "Device.A.[x].Port.");
        assert_eq!(table_of("Device.A.[x].Port."), "Device.A.[x].Port.");
    }

    #[test]
    fn instances_of_a_table() {
        let names: Vec<_> = [
            "Device.NAT.PortMapping.",
            "Device.NAT.PortMapping.2.",
            "Device.NAT.PortMapping.10.",
            "Device.NAT.PortMapping.10.Enable",
            "Device.NAT.Other.7.",
        ]
        .map(|path| ParameterName {
            path: path.to_owned(),
            writable: true,
        })
        .to_vec();
        assert_eq!(instances("Device.NAT.PortMapping.", &names), [2, 10]);
    }
}
