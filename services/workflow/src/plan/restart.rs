//! Reboot and FactoryReset: never sent twice; the device's next Inform says that it was done.

use super::{Command, Lost, Verdict, faulted};
use hearth_proto::{
    types::v1::task_spec::Kind,
    workflow::v1::{CommandKeyRpc, Empty, request::Rpc, request_outcome::Kind as Answer},
};
use hearth_types::CommandKey;
use serde::{Deserialize, Serialize};

/// A restart.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Restart {
    /// The device has answered that it will.
    pub(crate) acknowledged: bool,
}

pub(crate) fn command(kind: &Kind, key: CommandKey) -> Command {
    Command::Rpc(match kind {
        Kind::FactoryReset(_) => Rpc::FactoryReset(Empty {}),
        _ => Rpc::Reboot(CommandKeyRpc {
            command_key: key.to_string(),
        }),
    })
}

pub(crate) fn lost(kind: &Kind) -> Lost {
    Lost::Wait(
        match kind {
            Kind::FactoryReset(_) => {
                "sent, but the session ended before the answer; if the device was reset, its next \
             Inform with 0 BOOTSTRAP will say so"
            }
            _ => {
                "sent, but the session ended before the answer; if the device reboots, its next \
             Inform will say so"
            }
        }
        .to_owned(),
    )
}

impl Restart {
    pub(crate) fn outcome(&mut self, answer: Answer) -> Verdict {
        match answer {
            Answer::Empty(_) => {
                self.acknowledged = true;
                Verdict::Wait {
                    reason: "the device has accepted and restarts after this session".to_owned(),
                    end_session: true,
                }
            }
            Answer::Fault(fault) => faulted(fault),
            // Something came back: most likely it was taken. Never sent again without proof.
            _ => Verdict::Wait {
                reason: "the device's answer could not be read; its next Inform will tell"
                    .to_owned(),
                end_session: true,
            },
        }
    }
}
