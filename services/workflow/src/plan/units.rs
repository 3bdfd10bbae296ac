//! ChangeDUState: the device takes it on, and reports each operation's result by
//! DUStateChangeComplete. It is never sent again by itself: a second Install would make a second
//! unit, or fail as a duplicate.

use super::{Lost, Verdict, faulted, what_came};
use hearth_proto::workflow::v1::request_outcome::Kind as Answer;

pub(crate) fn outcome(answer: Answer) -> Verdict {
    match answer {
        Answer::Empty(_) => {
            wait("the device has accepted; it reports when the changes are complete")
        }
        Answer::Fault(fault) => faulted(fault),
        other => wait(&format!(
            "{}; whether it has taken on the changes is not known, and its report may still come",
            what_came(&other)
        )),
    }
}

fn wait(reason: &str) -> Verdict {
    Verdict::Wait {
        reason: reason.to_owned(),
        end_session: false,
    }
}

pub(crate) fn lost() -> Lost {
    Lost::Wait(
        "the session ended before the answer; whether the device has taken on the changes is not \
         known, and its report may still come"
            .to_owned(),
    )
}
