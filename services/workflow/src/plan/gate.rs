//! Optional RPCs (TR-069 A.4.1): what is known of the device's model decides whether one is sent. A
//! device that doesn't implement it may end the session without a word, and with it the turn of
//! every other task: so where nothing is known, the device is asked by GetRPCMethods first.

use super::{Facts, Gains, Learned, Plan, Verdict, faulted};
use hearth_proto::{
    types::v1::task_spec::Kind,
    workflow::v1::{Empty, request::Rpc, request_outcome::Kind as Answer},
};
use serde::{Deserialize, Serialize};

/// GetAllQueuedTransfers (A.4.1.7).
pub(super) const ALL_QUEUED: &str = "GetAllQueuedTransfers";
/// GetQueuedTransfers (A.4.1.1), deprecated.
pub(super) const QUEUED: &str = "GetQueuedTransfers";

/// A plan behind a question.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Gate {
    /// Any of these is enough.
    needs: Vec<String>,
    then: Box<Plan>,
}

/// The optional RPCs of which a task needs any; whether the device is asked for them where nothing
/// is known.
fn needs(kind: &Kind) -> Option<(&'static [&'static str], bool)> {
    Some(match kind {
        Kind::ScheduleDownload(_) => (&["ScheduleDownload"], true),
        Kind::CancelTransfer(_) => (&["CancelTransfer"], true),
        Kind::ChangeDuState(_) => (&["ChangeDUState"], true),
        Kind::GetQueuedTransfers(get) if get.deprecated_method => (&[QUEUED], true),
        Kind::GetQueuedTransfers(_) => (&[ALL_QUEUED, QUEUED], true),
        // Nearly every device has them.
        Kind::Upload(_) => (&["Upload"], false),
        Kind::FactoryReset(_) => (&["FactoryReset"], false),
        Kind::ScheduleInform(_) => (&["ScheduleInform"], false),
        _ => return None,
    })
}

/// The RPCs that a task of any other kind is made of.
fn parts(kind: &Kind) -> &'static [&'static str] {
    match kind {
        Kind::GetParameterValues(_) => &["GetParameterValues"],
        Kind::Refresh(_) => &["GetParameterNames", "GetParameterValues"],
        Kind::GetParameterNames(_) => &["GetParameterNames"],
        Kind::SetParameterValues(_) => &["SetParameterValues"],
        Kind::GetParameterAttributes(_) => &["GetParameterAttributes"],
        Kind::SetParameterAttributes(_) => &["SetParameterAttributes"],
        Kind::AddObject(_) => &["AddObject"],
        Kind::DeleteObject(_) => &["DeleteObject"],
        Kind::Download(_) => &["Download"],
        Kind::Reboot(_) => &["Reboot"],
        Kind::GetRpcMethods(_) => &["GetRPCMethods"],
        _ => &[],
    }
}

/// Why a task can't be, by the device's profile.
fn ruled_out(kind: &Kind, facts: &Facts) -> Option<String> {
    let missing = |rpc: &&&str| facts.missing.iter().any(|known| known == **rpc);
    let rpcs = match needs(kind) {
        Some((needs, _)) if needs.iter().all(|rpc| missing(&rpc)) => needs.join(" and "),
        Some(_) => return None,
        None => (*parts(kind).iter().find(missing)?).to_owned(),
    };
    Some(format!(
        "by quirk profile {} the device does not have {rpcs}",
        facts.profile
    ))
}

/// The plan, or what comes before it, or instead.
pub(super) fn guarded(plan: Plan, kind: &Kind, facts: &Facts) -> Plan {
    if let Some(reason) = ruled_out(kind, facts) {
        return Plan::Lacking(reason);
    }
    let Some((needs, ask)) = needs(kind) else {
        return plan;
    };
    let present = |rpc: &&str| facts.present.iter().any(|known| known == rpc);
    if needs.iter().any(present) {
        return plan;
    }
    let refused = |rpc: &&str| facts.unsupported.iter().any(|known| known == rpc);
    if needs.iter().all(refused) {
        return Plan::Lacking(format!(
            "devices of this model have answered {} as not implemented, or ended the session at \
             it; {RENEW}",
            needs.join(" and ")
        ));
    }
    if facts.methods.is_empty() {
        let can_tell = !facts.missing.iter().any(|rpc| rpc == "GetRPCMethods");
        return match ask && can_tell {
            true => Plan::Gate(Gate {
                needs: needs.iter().map(|&rpc| rpc.to_owned()).collect(),
                then: Box::new(plan),
            }),
            false => plan,
        };
    }
    let usable = |rpc: &&str| !refused(rpc) && facts.methods.iter().any(|known| known == rpc);
    if needs.iter().any(usable) {
        return plan;
    }
    Plan::Lacking(format!(
        "devices of this model do not name {} among their methods; {RENEW}",
        needs.join(" or ")
    ))
}

/// What is known can be renewed.
const RENEW: &str = "if new firmware may have changed that, ask a device again (GetRPCMethods)";

impl Gate {
    pub(super) fn then_mut(&mut self) -> &mut Plan {
        &mut self.then
    }

    pub(super) const fn command() -> Rpc {
        Rpc::GetRpcMethods(Empty {})
    }

    /// Goes on with the plan behind, if it may.
    pub(super) fn outcome(self, answer: Answer, gains: &mut Gains) -> (Plan, Verdict) {
        let mut then = *self.then;
        match answer {
            Answer::Methods(methods) => {
                let names = methods.names;
                let has = self.needs.iter().any(|rpc| names.contains(rpc));
                if let Plan::Queued(queued) = &mut then {
                    queued.choose(&names, &[]);
                }
                // One that names none says nothing.
                let none = names.is_empty();
                gains.learned.push(Learned::Methods(names));
                if has || none {
                    return (then, Verdict::Next);
                }
                let reason = format!(
                    "the device does not implement {}: GetRPCMethods does not name it",
                    self.needs.join(" or ")
                );
                let verdict = Verdict::Fail {
                    fault: None,
                    reason,
                };
                (then, verdict)
            }
            // It can't tell: that is no reason not to try.
            Answer::Fault(fault) if !crate::faults::is_transient(fault.code) => {
                (then, Verdict::Next)
            }
            Answer::Fault(fault) => {
                let gate = Self {
                    needs: self.needs,
                    then: Box::new(then),
                };
                (Plan::Gate(gate), faulted(fault))
            }
            _ => (then, Verdict::Next),
        }
    }
}

/// A session that ended at an optional RPC which only asks: twice, and the RPC is taken for the
/// cause.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Drops(u32);

impl Drops {
    const MANY: u32 = 2;

    /// Another one; `true` once the RPC is to be left alone.
    pub(super) fn again(&mut self, rpc: &'static str, gains: &mut Gains) -> bool {
        self.0 += 1;
        if self.0 >= Self::MANY {
            gains.learned.push(Learned::Unsupported(rpc));
        }
        self.0 >= Self::MANY
    }
}
