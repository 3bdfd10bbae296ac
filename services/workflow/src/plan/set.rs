//! SetParameterValues: one RPC, all or none (TR-069 A.3.2.1).
//!
//! A value goes out with the type that was given, else with the one the device last reported, else
//! as a string. A device that refuses a type is asked for the types of the values that were given
//! none, and the values are sent once more; if that is not it, in another form ([`super::forms`]).

use super::{Command, Facts, Gains, Verdict, faulted, forms::Forms, unreadable};
use crate::faults;
use hearth_proto::types::v1::{Fault, GetParameterValues, ParameterValue, ValueType};
use hearth_proto::workflow::v1::{request::Rpc, request_outcome::Kind as Answer};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Types by full path, as the device told them.
pub(crate) type Types = BTreeMap<String, i32>;

/// A SetParameterValues of a task's values behind a prefix.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Set {
    /// The device is being asked for types.
    asking: bool,
    /// What it answered; it is asked once.
    types: Option<Types>,
    /// How values are written.
    #[serde(default)]
    forms: Forms,
}

impl Set {
    pub(crate) fn new(facts: &Facts) -> Self {
        Self {
            forms: Forms::new(facts),
            ..Self::default()
        }
    }

    /// `like`: another instance's path, whose types may be known; may be empty.
    pub(crate) fn command(
        &self,
        values: &[ParameterValue],
        prefix: String,
        like: String,
    ) -> Command {
        if self.asking {
            return Command::Rpc(Rpc::GetParameterValues(GetParameterValues {
                paths: untyped(values)
                    .map(|value| format!("{prefix}{}", value.path))
                    .collect(),
            }));
        }
        Command::SetValues {
            prefix,
            like,
            types: self.types.clone().unwrap_or_default(),
            forms: self.forms.written(),
        }
    }

    /// What the answer means; `done` says in words that the values are set.
    pub(crate) fn outcome(
        &mut self,
        values: &[ParameterValue],
        prefix: String,
        answer: Answer,
        gains: &mut Gains,
        done: &str,
    ) -> Verdict {
        match answer {
            Answer::Values(told) if self.asking => {
                let types = told
                    .values
                    .into_iter()
                    .map(|value| (value.path, value.r#type));
                self.types = Some(types.collect());
                self.asking = false;
                Verdict::Next
            }
            Answer::Applied(applied) if !self.asking => {
                gains.learned.extend(self.forms.taken());
                gains.set_values = Some(prefix);
                gains.result.reboot_required |= applied.status != 0;
                Verdict::Done(if applied.status == 0 {
                    done.to_owned()
                } else {
                    format!("{done}; the device applies it at its next reboot")
                })
            }
            Answer::Fault(fault) if self.may_learn(values, &fault) => {
                self.asking = true;
                Verdict::Next
            }
            Answer::Fault(fault)
                if !self.asking && self.forms.try_other(values, &prefix, &fault) =>
            {
                Verdict::Next
            }
            Answer::Fault(fault) => faulted(fault),
            other => unreadable(&other),
        }
    }

    /// Whether asking for types may help.
    fn may_learn(&self, values: &[ParameterValue], fault: &Fault) -> bool {
        let of_type = |code| code == faults::INVALID_TYPE;
        let refused = of_type(fault.code) || fault.parameters.iter().any(|p| of_type(p.code));
        refused && !self.asking && self.types.is_none() && untyped(values).next().is_some()
    }
}

/// The values that were given no type.
fn untyped(values: &[ParameterValue]) -> impl Iterator<Item = &ParameterValue> {
    values
        .iter()
        .filter(|value| value.r#type() == ValueType::Unspecified)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::plan::gains::Limits;
    use hearth_proto::types::v1::ParameterFault;
    use hearth_proto::workflow::v1::Values;

    fn value(path: &str, kind: ValueType) -> ParameterValue {
        ParameterValue {
            path: path.into(),
            value: "1".into(),
            r#type: kind.into(),
            sealed: Vec::new(),
        }
    }

    fn wrong_type() -> Answer {
        Answer::Fault(Fault {
            code: faults::INVALID_ARGUMENTS,
            parameters: vec![ParameterFault {
                path: "Device.A".into(),
                code: faults::INVALID_TYPE,
                text: String::new(),
            }],
            ..Fault::default()
        })
    }

    #[test]
    fn types_are_asked_for_once_when_one_was_wrong() {
        let values = [
            value("Device.A", ValueType::Unspecified),
            value("Device.B", ValueType::Int),
        ];
        let mut gains = Gains::new(
            None,
            Limits {
                max_result_bytes: 1000,
            },
        );
        let mut set = Set::default();
        let mut answer =
            |set: &mut Set, answer| set.outcome(&values, String::new(), answer, &mut gains, "set");
        let command = |set: &Set| set.command(&values, String::new(), String::new());
        assert!(matches!(answer(&mut set, wrong_type()), Verdict::Next));
        let Command::Rpc(Rpc::GetParameterValues(ask)) = command(&set) else {
            panic!("expected a question for types");
        };
        assert_eq!(ask.paths, ["Device.A"]);
        let told = Values {
            values: vec![value("Device.A", ValueType::UnsignedInt)],
        };
        assert!(matches!(
            answer(&mut set, Answer::Values(told)),
            Verdict::Next
        ));
        let Command::SetValues { types, .. } = command(&set) else {
            panic!("expected the values again");
        };
        assert_eq!(types["Device.A"], i32::from(ValueType::UnsignedInt));
        assert!(matches!(
            answer(&mut set, wrong_type()),
            Verdict::Fail { .. }
        ));
    }

    #[test]
    fn types_that_were_given_are_not_doubted() {
        let values = [value("Device.A", ValueType::Int)];
        let mut gains = Gains::new(
            None,
            Limits {
                max_result_bytes: 1000,
            },
        );
        let verdict =
            Set::default().outcome(&values, String::new(), wrong_type(), &mut gains, "set");
        assert!(matches!(verdict, Verdict::Fail { .. }));
    }
}
