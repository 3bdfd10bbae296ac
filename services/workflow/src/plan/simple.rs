//! ScheduleInform and GetRPCMethods.

use super::{Command, Gains, Learned, Verdict, faulted, unreadable};
use hearth_proto::{
    types::v1::ScheduleInform,
    workflow::v1::{ScheduleInformRpc, request::Rpc, request_outcome::Kind as Answer},
};
use hearth_types::CommandKey;

pub(crate) fn schedule(spec: &ScheduleInform, key: CommandKey) -> Command {
    Command::Rpc(Rpc::ScheduleInform(ScheduleInformRpc {
        delay_seconds: spec.delay_seconds,
        command_key: key.to_string(),
    }))
}

pub(crate) fn scheduled(spec: &ScheduleInform, answer: Answer) -> Verdict {
    match answer {
        Answer::Empty(_) => Verdict::Done(format!(
            "the device will connect in {} s",
            spec.delay_seconds
        )),
        Answer::Fault(fault) => faulted(fault),
        other => unreadable(&other),
    }
}

pub(crate) fn methods(answer: Answer, gains: &mut Gains) -> Verdict {
    match answer {
        Answer::Methods(methods) => {
            let reason = format!("the device names {} methods", methods.names.len());
            gains.learned.push(Learned::Methods(methods.names.clone()));
            gains.result.methods = methods.names;
            Verdict::Done(reason)
        }
        Answer::Fault(fault) => faulted(fault),
        other => unreadable(&other),
    }
}
