//! GetAllQueuedTransfers, and the older GetQueuedTransfers where a device lacks it.

use super::{
    Command, Facts, Gains, Lost, Verdict, faulted,
    gate::{ALL_QUEUED, Drops, QUEUED},
    unreadable,
};
use crate::faults;
use hearth_proto::{
    types::v1::{GetQueuedTransfers, QueuedTransfer, QueuedTransferState},
    workflow::v1::{Empty, Transfers, request::Rpc, request_outcome::Kind as Answer},
};
use hearth_types::CommandKey;
use serde::{Deserialize, Serialize};

/// A question for the queue.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Queued {
    /// Asked by the deprecated RPC.
    old: bool,
    /// The other one is no way out.
    only: bool,
    drops: Drops,
}

impl Queued {
    pub(crate) fn new(spec: &GetQueuedTransfers, facts: &Facts) -> Self {
        let mut queued = Self {
            old: spec.deprecated_method,
            only: spec.deprecated_method,
            drops: Drops::default(),
        };
        queued.choose(&facts.methods, &facts.unsupported);
        queued
    }

    /// Takes the better of the two that a device has.
    pub(super) fn choose(&mut self, methods: &[String], unsupported: &[String]) {
        let lacks = |rpc: &str| {
            unsupported.iter().any(|known| known == rpc)
                || (!methods.is_empty() && !methods.iter().any(|known| known == rpc))
        };
        if !self.old && lacks(ALL_QUEUED) {
            self.old = true;
            self.only = true;
        } else if lacks(QUEUED) {
            self.only = true;
        }
    }

    pub(super) const fn rpc(&self) -> &'static str {
        if self.old { QUEUED } else { ALL_QUEUED }
    }

    pub(crate) const fn command(&self) -> Command {
        Command::Rpc(match self.old {
            true => Rpc::GetQueuedTransfers(Empty {}),
            false => Rpc::GetAllQueuedTransfers(Empty {}),
        })
    }

    pub(crate) fn outcome(&mut self, answer: Answer, gains: &mut Gains) -> Verdict {
        match answer {
            Answer::Transfers(transfers) => {
                let count = transfers.transfers.len();
                gains.result.total = u32::try_from(count).unwrap_or(u32::MAX);
                gains.result.transfers = told(transfers);
                Verdict::Done(match count {
                    0 => "the device has no transfers queued".to_owned(),
                    1 => "the device has 1 transfer queued".to_owned(),
                    count => format!("the device has {count} transfers queued"),
                })
            }
            Answer::Fault(fault) if fault.code == faults::METHOD_NOT_SUPPORTED && !self.only => {
                self.old = true;
                self.only = true;
                Verdict::Next
            }
            Answer::Fault(fault) => faulted(fault),
            other => unreadable(&other),
        }
    }

    pub(crate) fn lost(&mut self, gains: &mut Gains) -> Lost {
        if self.drops.again(self.rpc(), gains) && !self.only {
            self.old = true;
            self.only = true;
            self.drops = Drops::default();
        }
        Lost::Again
    }
}

fn told(transfers: Transfers) -> Vec<QueuedTransfer> {
    let all = transfers.transfers.into_iter().map(|one| {
        let key = one.command_key.parse::<CommandKey>().ok();
        let state = match one.state {
            1 => QueuedTransferState::NotStarted,
            2 => QueuedTransferState::InProgress,
            3 => QueuedTransferState::Completed,
            _ => QueuedTransferState::Unspecified,
        };
        QueuedTransfer {
            task: key.map(|key| key.task.to_string()).unwrap_or_default(),
            command_key: one.command_key,
            state: state.into(),
            is_download: one.is_download,
            file_type: one.file_type,
            file_size: one.file_size,
            target_file_name: one.target_file_name,
        }
    });
    all.collect()
}
