//! SetParameterValues: one RPC, all or none (TR-069 A.3.2.1).

use super::{Gains, Verdict, faulted, unreadable};
use hearth_proto::workflow::v1::request_outcome::Kind as Answer;

/// What the answer means.
pub(crate) fn outcome(answer: Answer, gains: &mut Gains) -> Verdict {
    match answer {
        Answer::Applied(applied) => {
            gains.set_values = Some(String::new());
            gains.result.reboot_required = applied.status != 0;
            Verdict::Done(if applied.status == 0 {
                "set".to_owned()
            } else {
                "accepted; the device applies it at its next reboot".to_owned()
            })
        }
        Answer::Fault(fault) => faulted(fault),
        other => unreadable(&other),
    }
}
