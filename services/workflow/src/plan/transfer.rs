//! Download and Upload: they end by TransferComplete, or at once with Status 0. When the answer was
//! lost, the device is asked which transfers it has queued.

use super::{
    Command, Gains, Lost, LostFacts, Verdict, faulted,
    gate::{ALL_QUEUED, Drops},
    what_came,
};
use hearth_proto::{
    types::v1::{TaskResult, task_spec::Kind},
    workflow::v1::{Empty, Transfers, request::Rpc, request_outcome::Kind as Answer},
};
use hearth_types::{CommandKey, TaskId};
use serde::{Deserialize, Serialize};

/// A transfer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Transfer {
    /// The next step asks GetAllQueuedTransfers.
    checking: bool,
    /// The device is known not to answer that.
    cannot_check: bool,
    /// Upload to this server: the file's name.
    pub(crate) file: String,
    /// It is sent again because the device does not list it: no proof for one that transfers at
    /// once.
    #[serde(default)]
    pub(crate) unproven: bool,
    /// The task, to know its keys by.
    #[serde(default)]
    pub(crate) task: Option<TaskId>,
    /// Sessions that ended at the question for what is queued.
    #[serde(default)]
    drops: Drops,
}

impl Transfer {
    pub(crate) fn new(cannot_check: bool) -> Self {
        Self {
            checking: false,
            cannot_check,
            file: String::new(),
            unproven: false,
            task: None,
            drops: Drops::default(),
        }
    }

    /// The next try sends it again.
    pub(crate) const fn start_over(&mut self) {
        self.checking = false;
        self.unproven = false;
    }

    pub(crate) const fn is_checking(&self) -> bool {
        self.checking
    }

    pub(crate) fn command(&self, kind: &Kind) -> Command {
        match kind {
            _ if self.checking => Command::Rpc(Rpc::GetAllQueuedTransfers(Empty {})),
            Kind::Upload(_) => Command::Upload,
            Kind::ScheduleDownload(_) => Command::ScheduleDownload,
            _ => Command::Download,
        }
    }

    pub(crate) fn outcome(&mut self, kind: &Kind, answer: Answer, gains: &mut Gains) -> Verdict {
        if self.checking {
            return self.checked(answer);
        }
        self.unproven = false;
        match answer {
            Answer::Applied(applied) if applied.status == 0 => {
                set_times(
                    &mut gains.result,
                    &applied.start_time,
                    &applied.complete_time,
                );
                gains.result.file.clone_from(&self.file);
                Verdict::Done("transferred at once".to_owned())
            }
            Answer::Applied(_) => Verdict::Wait {
                reason: "the device has accepted; it reports when the transfer is complete"
                    .to_owned(),
                end_session: false,
            },
            Answer::Empty(_) if matches!(kind, Kind::ScheduleDownload(_)) => Verdict::Wait {
                reason: "the device has accepted; it fetches the file in its window of time, and \
                         reports then"
                    .to_owned(),
                end_session: false,
            },
            Answer::Fault(fault) => faulted(fault),
            _ if self.cannot_check => unknown_wait(),
            other => {
                self.checking = true;
                Verdict::Doubt(what_came(&other))
            }
        }
    }

    fn checked(&mut self, answer: Answer) -> Verdict {
        self.checking = false;
        match answer {
            Answer::Transfers(transfers) if self.is_listed(&transfers) => Verdict::Wait {
                reason: "the device has the transfer queued".to_owned(),
                end_session: false,
            },
            Answer::Transfers(_) => {
                self.unproven = true;
                Verdict::Resend
            }
            _ => {
                self.cannot_check = true;
                unknown_wait()
            }
        }
    }

    fn is_listed(&self, transfers: &Transfers) -> bool {
        transfers.transfers.iter().any(|transfer| {
            let key = transfer.command_key.parse::<CommandKey>();
            key.is_ok_and(|key| Some(key.task) == self.task)
        })
    }

    pub(crate) fn lost(&mut self, facts: &LostFacts, gains: &mut Gains) -> Lost {
        if self.checking && self.drops.again(ALL_QUEUED, gains) {
            self.cannot_check = true;
            self.checking = false;
        }
        if facts.transfer_due {
            Lost::Wait("the session ended before the answer; a transfer's report is due".to_owned())
        } else if self.cannot_check {
            Lost::Wait(
                "the session ended before the answer, and the device can't say which transfers it \
                 has queued; its report may still come"
                    .to_owned(),
            )
        } else {
            self.checking = true;
            Lost::Check
        }
    }
}

fn unknown_wait() -> Verdict {
    Verdict::Wait {
        reason: "whether the device took the transfer is not known; its report may still come"
            .to_owned(),
        end_session: false,
    }
}

/// Enters a transfer's times, where the device knows them.
pub(crate) fn set_times(result: &mut TaskResult, start: &str, complete: &str) {
    result.transfer_start_time = parse_time(start);
    result.transfer_complete_time = parse_time(complete);
}

/// A CPE's dateTime; without a zone it is taken as UTC, and "unknown" (year 1) is none.
fn parse_time(text: &str) -> Option<hearth_proto::ProtoTimestamp> {
    let text = text.trim();
    let at = text.parse::<jiff::Timestamp>().or_else(|_| {
        text.parse::<jiff::civil::DateTime>()
            .and_then(|civil| civil.to_zoned(jiff::tz::TimeZone::UTC))
            .map(|zoned| zoned.timestamp())
    });
    let micros = at.ok()?.as_microsecond();
    (micros > 0)
        .then(|| hearth_proto::convert::timestamp(micros))
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::parse_time;

    #[test]
    fn times_of_devices() {
        let seconds = |text| parse_time(text).map(|t| t.seconds);
        assert_eq!(seconds("2026-01-31T12:00:00Z"), Some(1_769_860_800));
        assert_eq!(seconds("2026-01-31T13:00:00+01:00"), Some(1_769_860_800));
        assert_eq!(seconds("2026-01-31T12:00:00"), Some(1_769_860_800));
        assert_eq!(seconds("0001-01-01T00:00:00Z"), None);
        assert_eq!(seconds("yesterday"), None);
    }
}
