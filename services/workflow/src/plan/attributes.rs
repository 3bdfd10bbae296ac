//! GetParameterAttributes in batches, and SetParameterAttributes.

use super::{Command, Gains, Verdict, faulted, unreadable};
use crate::faults;
use hearth_proto::{
    events::v1::{AttributesReported, event},
    types::v1::{GetParameterAttributes, SetParameterAttributes},
    workflow::v1::{request::Rpc, request_outcome::Kind as Answer},
};
use serde::{Deserialize, Serialize};

/// A read of attributes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct GetAttributes {
    /// How many of the spec's paths are done.
    done: usize,
    /// Paths in one RPC.
    batch: usize,
}

impl Default for GetAttributes {
    fn default() -> Self {
        Self {
            done: 0,
            batch: 100,
        }
    }
}

impl GetAttributes {
    pub(crate) fn command(&self, spec: &GetParameterAttributes) -> Command {
        let paths = spec.paths.iter().skip(self.done).take(self.batch);
        Command::Rpc(Rpc::GetParameterAttributes(GetParameterAttributes {
            paths: paths.cloned().collect(),
        }))
    }

    pub(crate) fn outcome(
        &mut self,
        spec: &GetParameterAttributes,
        answer: Answer,
        gains: &mut Gains,
    ) -> Verdict {
        let count = self.batch.min(spec.paths.len().saturating_sub(self.done));
        match answer {
            Answer::Attributes(attributes) => {
                gains.add_attributes(attributes.attributes);
                self.done += count;
                if self.done < spec.paths.len() {
                    Verdict::Next
                } else {
                    Verdict::Done(match gains.result.total {
                        1 => "attributes of 1 parameter read".to_owned(),
                        total => format!("attributes of {total} parameters read"),
                    })
                }
            }
            Answer::Fault(fault) if fault.code == faults::RESOURCES_EXCEEDED && count > 1 => {
                self.batch = count / 2;
                Verdict::Next
            }
            Answer::Fault(fault) => faulted(fault),
            other => unreadable(&other),
        }
    }
}

/// What the answer to a SetParameterAttributes means.
pub(crate) fn set(spec: &SetParameterAttributes, answer: Answer, gains: &mut Gains) -> Verdict {
    match answer {
        Answer::Empty(_) => {
            // A partial path stands for parameters that only the device can name.
            let attributes = spec.attributes.iter().filter(|a| !a.path.ends_with('.'));
            let attributes: Vec<_> = attributes.cloned().collect();
            if !attributes.is_empty() {
                let reported = AttributesReported { attributes };
                gains.events.push(event::Kind::AttributesReported(reported));
            }
            Verdict::Done("attributes set".to_owned())
        }
        Answer::Fault(fault) => faulted(fault),
        other => unreadable(&other),
    }
}
