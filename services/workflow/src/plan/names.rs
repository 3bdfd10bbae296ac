//! GetParameterNames, by levels where a device can't name all at once.

use super::{
    Command, Gains, Verdict,
    discovery::{Discovery, Found},
};
use hearth_proto::{types::v1::GetParameterNames, workflow::v1::request_outcome::Kind as Answer};
use serde::{Deserialize, Serialize};

/// A discovery of names.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Names {
    discovery: Discovery,
    /// Only one level is asked for: nothing to go on by.
    one_level: bool,
}

impl Names {
    pub(crate) fn new(spec: &GetParameterNames) -> Self {
        Self {
            discovery: Discovery::below(&spec.path, spec.next_level),
            one_level: spec.next_level,
        }
    }

    pub(crate) fn command(&self) -> Command {
        // Without anything left the plan is done, and nobody asks.
        self.discovery.command().unwrap_or_else(|| {
            Command::Rpc(hearth_proto::workflow::v1::request::Rpc::GetParameterNames(
                GetParameterNames::default(),
            ))
        })
    }

    pub(crate) fn outcome(&mut self, answer: Answer, gains: &mut Gains) -> Verdict {
        match self.discovery.outcome(answer, !self.one_level) {
            Found::Names(names) => gains.add_names(names),
            Found::Nothing | Found::EmptyPathRefused => {}
            Found::Verdict(verdict) => return verdict,
        }
        if self.discovery.command().is_some() {
            Verdict::Next
        } else {
            Verdict::Done(match gains.result.total {
                1 => "1 name found".to_owned(),
                total => format!("{total} names found"),
            })
        }
    }
}
