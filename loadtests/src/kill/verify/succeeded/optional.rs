//! What SUCCEEDED claims of the optional RPCs (TR-069 A.4.1).

use hearth_proto::types::v1::{self as ty, TaskState, du_operation::Kind as Operation};

use super::super::super::book::id_of;
use super::super::before_dot;
use super::super::tasks::One;
use super::{executed, fetched};

/// The device has cancelled that transfer and not made it, and the transfer's task says so.
pub(super) fn cancelled(task: &One<'_>, cancel: &ty::CancelTransfer) -> Option<String> {
    let transfer = id_of(&cancel.task);
    let mut done = task.actions.done(task.id, "CancelTransfer");
    if !done.any(|executed| before_dot(&executed.subject) == transfer) {
        return Some(format!(
            "CancelTransfer of {transfer} executed by the device"
        ));
    }
    if !task.actions.called_back(transfer) {
        return Some(format!("the transfer of {transfer} not made"));
    }
    let state = task.evidence.tasks.get(transfer).map(|found| found.state());
    (state != Some(TaskState::Cancelled)).then(|| format!("{transfer} CANCELLED, not {state:?}"))
}

/// What is queued are transfers that this device was asked for.
pub(super) fn queued(task: &One<'_>, result: &ty::TaskResult) -> Option<String> {
    let asked = executed(task, "GetAllQueuedTransfers")
        .and_then(|expected| executed(task, "GetQueuedTransfers").map(|_| expected));
    asked.or_else(|| {
        let device = task.known.wish.device;
        let strange = result.transfers.iter().find(|one| {
            let known = task.evidence.known.get(id_of(&one.task));
            known.is_none_or(|known| known.wish.device != device)
        });
        // A create that was never answered may have made its task.
        let strange = strange.filter(|_| task.evidence.unanswered == 0);
        strange.map(|one| format!("no transfer {:?}", one.command_key))
    })
}

/// The device has done each operation, and the result tells of each unit.
pub(super) fn changed(
    task: &One<'_>,
    change: &ty::ChangeDuState,
    result: &ty::TaskResult,
) -> Option<String> {
    let wrong = change.operations.iter().find_map(|operation| {
        let (uuid, file, state) = match operation.kind.as_ref()? {
            Operation::Install(install) => (&install.uuid, Some(&install.file), "Installed"),
            Operation::Update(update) => (&update.uuid, Some(&update.file), "Installed"),
            Operation::Uninstall(uninstall) => (&uninstall.uuid, None, "Uninstalled"),
        };
        let told = result
            .du_results
            .iter()
            .any(|unit| unit.uuid == *uuid && unit.current_state == state && unit.fault.is_none());
        if !told {
            return Some(format!("a result that has unit {uuid} {state}"));
        }
        file.and_then(|file| fetched(task, "ChangeDUState", file))
    });
    executed(task, "ChangeDUState").or(wrong)
}
