//! What each kind of task does, as small step machines without I/O: which RPC comes next, what its
//! outcome means, and what to do when the outcome is not known.
//!
//! | kind | steps | after an unknown outcome |
//! |---|---|---|
//! | reads, names, attributes, methods | the RPC, split where needed | sent again |
//! | set values | SetParameterValues | sent again, unless the Inform's ParameterKey is ours |
//! | add object | names before, AddObject, values of the instance | names again, compared |
//! | delete object | DeleteObject | sent again; 9005 then means done |
//! | download, upload, schedule download | the RPC; ends by TransferComplete | asks which transfers are queued |
//! | cancel transfer | the RPC; ends the transfer's task | sent again |
//! | queued transfers | the newer RPC, or the older | asked again |
//! | change DU state | the RPC; ends by DUStateChangeComplete | waits for the report |
//! | reboot, factory reset | the RPC; ends by the Inform's event | waits for the event |

mod attributes;
pub(crate) mod cancel;
mod discovery;
mod facts;
mod forms;
mod gains;
mod gate;
mod names;
pub(crate) mod object;
mod queued;
mod read;
mod restart;
pub(crate) mod set;
mod simple;
mod transfer;
mod units;

pub(crate) use facts::Facts;
pub(crate) use gains::{Gains, Learned, Limits, remember};
pub(crate) use transfer::set_times;

use crate::faults;
use hearth_proto::{
    types::v1::{Fault, task_spec::Kind},
    workflow::v1::{request::Rpc, request_outcome::Kind as Answer},
};
use hearth_types::CommandKey;
use serde::{Deserialize, Serialize};

/// What is kept with an open task besides its message.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Progress {
    /// The step of the request in flight, within its attempt, from 1.
    pub(crate) step: u32,
    /// Who made it doesn't want the device to be asked to connect.
    pub(crate) no_wake: bool,
    /// It was sent, whether it was done is not known, and the device is to be asked.
    #[serde(default)]
    pub(crate) uncertain: bool,
    /// Where it stands; `None` before the first try.
    pub(crate) plan: Option<Plan>,
}

impl Progress {
    pub(crate) fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.is_empty() {
            return Some(Self::default());
        }
        serde_json::from_slice(bytes).ok()
    }
}

/// What the next session's Inform tells about a request whose outcome is not known.
#[derive(Clone, Debug, Default)]
pub(crate) struct LostFacts {
    /// The Inform's ParameterKey is that of the lost attempt: the device applied it.
    pub(crate) proved: bool,
    /// The Inform announces a TransferComplete that may be the lost attempt's (event 7).
    pub(crate) transfer_due: bool,
}

/// What to send. Secrets, types and URLs are filled in where it is built.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    /// As it is.
    Rpc(Rpc),
    /// SetParameterValues of the spec's values, their paths behind `prefix`.
    SetValues {
        /// Empty, or a new instance's path.
        prefix: String,
        /// Another instance's path, whose types may be known; may be empty.
        like: String,
        /// Types that the device told for this task.
        types: set::Types,
        /// How they are written, as it was learned.
        forms: forms::Written,
    },
    /// Download of the spec.
    Download,
    /// Upload of the spec.
    Upload,
    /// ScheduleDownload of the spec.
    ScheduleDownload,
    /// CancelTransfer of the transfer that the spec names.
    CancelTransfer,
    /// ChangeDUState of the spec.
    ChangeDuState,
}

impl Command {
    /// The RPC's name.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::SetValues { .. } => "SetParameterValues",
            Self::Download => "Download",
            Self::Upload => "Upload",
            Self::ScheduleDownload => "ScheduleDownload",
            Self::CancelTransfer => "CancelTransfer",
            Self::ChangeDuState => "ChangeDUState",
            Self::Rpc(rpc) => match rpc {
                Rpc::GetParameterValues(_) => "GetParameterValues",
                Rpc::SetParameterValues(_) => "SetParameterValues",
                Rpc::GetParameterNames(_) => "GetParameterNames",
                Rpc::GetParameterAttributes(_) => "GetParameterAttributes",
                Rpc::SetParameterAttributes(_) => "SetParameterAttributes",
                Rpc::AddObject(_) => "AddObject",
                Rpc::DeleteObject(_) => "DeleteObject",
                Rpc::Download(_) => "Download",
                Rpc::Upload(_) => "Upload",
                Rpc::Reboot(_) => "Reboot",
                Rpc::FactoryReset(_) => "FactoryReset",
                Rpc::ScheduleInform(_) => "ScheduleInform",
                Rpc::GetRpcMethods(_) => "GetRPCMethods",
                Rpc::GetAllQueuedTransfers(_) => "GetAllQueuedTransfers",
                Rpc::ScheduleDownload(_) => "ScheduleDownload",
                Rpc::CancelTransfer(_) => "CancelTransfer",
                Rpc::GetQueuedTransfers(_) => "GetQueuedTransfers",
                Rpc::ChangeDuState(_) => "ChangeDUState",
            },
        }
    }
}

/// What an outcome means for the task.
#[derive(Clone, Debug)]
pub(crate) enum Verdict {
    /// Another RPC follows in this session.
    Next,
    /// The device has not done it: what follows sends it, so the deadline and the number of tries
    /// count again.
    Resend,
    /// Done.
    Done(String),
    /// The device has accepted; its event is due.
    Wait {
        /// In words.
        reason: String,
        /// Nothing more is sent in this session.
        end_session: bool,
    },
    /// It can't succeed.
    Fail {
        /// The device's fault, if it was one.
        fault: Option<Fault>,
        /// In words.
        reason: String,
    },
    /// It may succeed later.
    Retry {
        /// The device's fault, if it was one.
        fault: Option<Fault>,
        /// In words.
        reason: String,
    },
    /// An answer came that doesn't tell; a later try asks the device whether it was done.
    Doubt(String),
    /// Whether it was done can't be known.
    Unknown(String),
}

/// What a lost outcome means for the task.
#[derive(Clone, Debug)]
pub(crate) enum Lost {
    /// It is sent again in the next session.
    Again,
    /// The next session asks the device whether it was done.
    Check,
    /// It was done.
    Done(String),
    /// The event that proves it may still come.
    Wait(String),
}

/// The step machine of one task.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Plan {
    Read(read::Read),
    Names(names::Names),
    GetAttributes(attributes::GetAttributes),
    SetAttributes,
    Set(set::Set),
    Add(object::Add),
    Delete(object::Delete),
    Transfer(transfer::Transfer),
    Restart(restart::Restart),
    Schedule,
    Methods,
    Cancel(cancel::Cancel),
    Queued(queued::Queued),
    Units,
    /// The device is asked first whether it has an optional RPC.
    Gate(gate::Gate),
    /// The device is known not to have it: why.
    Lacking(String),
}

impl Plan {
    /// The plan of a task that was never sent.
    pub(crate) fn new(kind: &Kind, facts: &Facts) -> Self {
        gate::guarded(Self::of(kind, facts), kind, facts)
    }

    fn of(kind: &Kind, facts: &Facts) -> Self {
        match kind {
            Kind::GetParameterValues(get) => Self::Read(read::Read::values(&get.paths, facts)),
            Kind::Refresh(refresh) => Self::Read(read::Read::refresh(&refresh.path, facts)),
            Kind::GetParameterNames(names) => Self::Names(names::Names::new(names)),
            Kind::GetParameterAttributes(_) => {
                Self::GetAttributes(attributes::GetAttributes::default())
            }
            Kind::SetParameterAttributes(_) => Self::SetAttributes,
            Kind::SetParameterValues(_) => Self::Set(set::Set::new(facts)),
            Kind::AddObject(_) => Self::Add(object::Add::new(facts)),
            Kind::DeleteObject(_) => Self::Delete(object::Delete::default()),
            Kind::Download(_) | Kind::Upload(_) | Kind::ScheduleDownload(_) => {
                Self::Transfer(transfer::Transfer::new(facts.no_queued_transfers))
            }
            Kind::Reboot(_) | Kind::FactoryReset(_) => Self::Restart(restart::Restart::default()),
            Kind::ScheduleInform(_) => Self::Schedule,
            Kind::GetRpcMethods(_) => Self::Methods,
            Kind::CancelTransfer(_) => Self::Cancel(cancel::Cancel::default()),
            Kind::GetQueuedTransfers(get) => Self::Queued(queued::Queued::new(get, facts)),
            Kind::ChangeDuState(_) => Self::Units,
        }
    }

    /// The transfer of the task, be it behind a question.
    pub(crate) fn transfer_mut(&mut self) -> Option<&mut transfer::Transfer> {
        match self {
            Self::Transfer(transfer) => Some(transfer),
            Self::Gate(gate) => gate.then_mut().transfer_mut(),
            _ => None,
        }
    }

    /// The RPC of the present step. Asked again it is the same.
    pub(crate) fn command(&self, kind: &Kind, key: CommandKey) -> Option<Command> {
        match (self, kind) {
            (Self::Read(read), _) => Some(read.command()),
            (Self::Names(names), _) => Some(names.command()),
            (Self::GetAttributes(get), Kind::GetParameterAttributes(spec)) => {
                Some(get.command(spec))
            }
            (Self::SetAttributes, Kind::SetParameterAttributes(spec)) => {
                Some(Command::Rpc(Rpc::SetParameterAttributes(spec.clone())))
            }
            (Self::Set(set), Kind::SetParameterValues(spec)) => {
                Some(set.command(&spec.values, String::new(), String::new()))
            }
            (Self::Add(add), Kind::AddObject(spec)) => Some(add.command(spec, key)),
            (Self::Delete(_), Kind::DeleteObject(spec)) => Some(object::delete(spec, key)),
            (Self::Transfer(transfer), kind) => Some(transfer.command(kind)),
            (Self::Restart(_), kind) => Some(restart::command(kind, key)),
            (Self::Schedule, Kind::ScheduleInform(spec)) => Some(simple::schedule(spec, key)),
            (Self::Methods, _) => Some(Command::Rpc(Rpc::GetRpcMethods(
                hearth_proto::workflow::v1::Empty {},
            ))),
            (Self::Gate(_), _) => Some(Command::Rpc(gate::Gate::command())),
            (Self::Cancel(_), Kind::CancelTransfer(_)) => Some(Command::CancelTransfer),
            (Self::Queued(queued), _) => Some(queued.command()),
            (Self::Units, Kind::ChangeDuState(_)) => Some(Command::ChangeDuState),
            _ => None,
        }
    }

    /// What the outcome of [`Plan::command`] means.
    pub(crate) fn outcome(&mut self, kind: &Kind, answer: Answer, gains: &mut Gains) -> Verdict {
        match answer {
            Answer::Unsendable(why) => self.unsendable(kind, &why),
            Answer::TooLarge(why) if self.is_volatile() => self.too_large(kind, &why, gains),
            Answer::TooLarge(why) => self.answered(kind, Answer::Invalid(why), gains),
            answer => self.answered(kind, answer, gains),
        }
    }

    /// The request can't be written: nothing of it was sent, and it will not be another time.
    fn unsendable(&self, kind: &Kind, why: &str) -> Verdict {
        let reason = format!("the request can't be sent to the device: {why}");
        let reason = match (self, kind) {
            (Self::Add(add), Kind::AddObject(spec)) => add.left_undone(spec, reason),
            _ => reason,
        };
        Verdict::Fail {
            fault: None,
            reason,
        }
    }

    /// A read's answer is over the gateway's limits: less is asked for, as of a device that is
    /// out of resources.
    fn too_large(&mut self, kind: &Kind, why: &str, gains: &mut Gains) -> Verdict {
        let fault = Fault {
            code: faults::RESOURCES_EXCEEDED,
            ..Fault::default()
        };
        match self.answered(kind, Answer::Fault(fault), gains) {
            Verdict::Retry { .. } | Verdict::Fail { .. } => Verdict::Fail {
                fault: None,
                reason: format!(
                    "the device's answer{} is more than this server takes ({why}), and can't be \
                     asked for in parts",
                    self.asked_for()
                ),
            },
            other => other,
        }
    }

    /// ` on {path}`, where one path is asked for.
    fn asked_for(&self) -> String {
        let path = match self {
            Self::Read(read) => read.only_path(),
            _ => None,
        };
        path.map(|path| format!(" on {path}")).unwrap_or_default()
    }

    fn answered(&mut self, kind: &Kind, answer: Answer, gains: &mut Gains) -> Verdict {
        if let Answer::Fault(fault) = &answer
            && fault.code == faults::METHOD_NOT_SUPPORTED
            && let Some(name) = self.main_rpc(kind)
        {
            gains.learned.push(Learned::Unsupported(name));
        }
        if let Self::Gate(gate) = self {
            let (plan, verdict) = gate.clone().outcome(answer, gains);
            *self = plan;
            return verdict;
        }
        match (self, kind) {
            (Self::Read(read), _) => read.outcome(answer, gains),
            (Self::Names(names), _) => names.outcome(answer, gains),
            (Self::GetAttributes(get), Kind::GetParameterAttributes(spec)) => {
                get.outcome(spec, answer, gains)
            }
            (Self::SetAttributes, Kind::SetParameterAttributes(spec)) => {
                attributes::set(spec, answer, gains)
            }
            (Self::Set(set), Kind::SetParameterValues(spec)) => {
                set.outcome(&spec.values, String::new(), answer, gains, "set")
            }
            (Self::Add(add), Kind::AddObject(spec)) => add.outcome(spec, answer, gains),
            (Self::Delete(delete), Kind::DeleteObject(spec)) => delete.outcome(spec, answer, gains),
            (Self::Transfer(transfer), kind) => transfer.outcome(kind, answer, gains),
            (Self::Restart(restart), _) => restart.outcome(answer),
            (Self::Schedule, Kind::ScheduleInform(spec)) => simple::scheduled(spec, answer),
            (Self::Methods, _) => simple::methods(answer, gains),
            (Self::Cancel(cancel), Kind::CancelTransfer(spec)) => {
                cancel.outcome(spec, answer, gains)
            }
            (Self::Queued(queued), _) => queued.outcome(answer, gains),
            (Self::Units, _) => units::outcome(answer),
            _ => Verdict::Fail {
                fault: None,
                reason: "the task's progress does not fit its kind".to_owned(),
            },
        }
    }

    /// What it means that the answer to [`Plan::command`] never came.
    pub(crate) fn lost(&mut self, kind: &Kind, facts: &LostFacts, gains: &mut Gains) -> Lost {
        match (self, kind) {
            (Self::Set(_), _) if facts.proved => {
                gains.set_values = Some(String::new());
                Lost::Done("set: the device's ParameterKey says that it applied them".to_owned())
            }
            (Self::Add(add), _) => add.lost(facts),
            (Self::Delete(delete), Kind::DeleteObject(spec)) => delete.lost(spec, facts, gains),
            (Self::Transfer(transfer), _) => transfer.lost(facts, gains),
            (Self::Cancel(cancel), _) => cancel.lost(),
            (Self::Queued(queued), _) => queued.lost(gains),
            (Self::Units, _) => units::lost(),
            (Self::Restart(_), kind) => restart::lost(kind),
            _ => Lost::Again,
        }
    }

    /// Whether a step may be repeated without harm, so that not each needs to be in the ledger.
    pub(crate) const fn is_volatile(&self) -> bool {
        matches!(
            self,
            Self::Read(_) | Self::Names(_) | Self::GetAttributes(_)
        )
    }

    /// The RPC that the task is about, where a device may lack it.
    fn main_rpc(&self, kind: &Kind) -> Option<&'static str> {
        Some(match (self, kind) {
            (Self::Transfer(transfer), _) if transfer.is_checking() => "GetAllQueuedTransfers",
            (Self::Gate(_), _) => return None,
            (Self::Queued(queued), _) => queued.rpc(),
            (_, Kind::ScheduleDownload(_)) => "ScheduleDownload",
            (_, Kind::CancelTransfer(_)) => "CancelTransfer",
            (_, Kind::ChangeDuState(_)) => "ChangeDUState",
            (_, Kind::Download(_)) => "Download",
            (_, Kind::Upload(_)) => "Upload",
            (_, Kind::Reboot(_)) => "Reboot",
            (_, Kind::FactoryReset(_)) => "FactoryReset",
            (_, Kind::ScheduleInform(_)) => "ScheduleInform",
            (_, Kind::GetRpcMethods(_)) => "GetRPCMethods",
            (_, Kind::GetParameterAttributes(_)) => "GetParameterAttributes",
            (_, Kind::SetParameterAttributes(_)) => "SetParameterAttributes",
            (Self::Add(_), _) => "AddObject",
            (_, Kind::DeleteObject(_)) => "DeleteObject",
            _ => return None,
        })
    }
}

/// What a fault means where nothing better is known.
fn faulted(fault: Fault) -> Verdict {
    let reason = faults::summary(&fault);
    let again = faults::is_transient(fault.code);
    let fault = Some(faults::explained(fault));
    if again {
        Verdict::Retry { fault, reason }
    } else {
        Verdict::Fail { fault, reason }
    }
}

/// What an answer means that is neither the response nor a fault.
fn unreadable(answer: &Answer) -> Verdict {
    Verdict::Retry {
        fault: None,
        reason: what_came(answer),
    }
}

/// In words, an answer that is neither the response nor a fault.
fn what_came(answer: &Answer) -> String {
    match answer {
        Answer::Invalid(what) => format!(
            "the device's answer could not be read: {}",
            hearth_telemetry::for_log_capped(what, 200)
        ),
        _ => "the device answered with the response of another RPC".to_owned(),
    }
}
