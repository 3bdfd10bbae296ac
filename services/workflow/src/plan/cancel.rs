//! CancelTransfer: harmless to send twice, but what the second answer means depends on the first.

use super::{Gains, Lost, Verdict, faulted, unreadable};
use crate::faults;
use hearth_proto::{types::v1::CancelTransfer, workflow::v1::request_outcome::Kind as Answer};
use hearth_types::{ResourceName, TaskId};
use serde::{Deserialize, Serialize};

/// A cancellation.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Cancel {
    /// An earlier one's answer was lost.
    pub(crate) repeated: bool,
}

/// The task whose transfer is to be cancelled.
pub(crate) fn target(spec: &CancelTransfer) -> Option<TaskId> {
    match spec.task.parse() {
        Ok(ResourceName::Task(_, task)) => Some(task),
        _ => None,
    }
}

impl Cancel {
    pub(crate) fn outcome(
        &mut self,
        spec: &CancelTransfer,
        answer: Answer,
        gains: &mut Gains,
    ) -> Verdict {
        match answer {
            Answer::Empty(_) => {
                gains.cancelled = target(spec);
                Verdict::Done("the device has cancelled the transfer".to_owned())
            }
            Answer::Fault(fault) if self.repeated && !is_passing(fault.code) => {
                Verdict::Unknown(format!(
                    "the answer to an earlier try was lost, which may have cancelled the \
                     transfer; the device answers a second one with {}",
                    faults::summary(&fault)
                ))
            }
            Answer::Fault(fault) => faulted(fault),
            other => {
                self.repeated = true;
                unreadable(&other)
            }
        }
    }

    pub(crate) const fn lost(&mut self) -> Lost {
        self.repeated = true;
        Lost::Again
    }
}

fn is_passing(code: u32) -> bool {
    faults::is_transient(code)
}
