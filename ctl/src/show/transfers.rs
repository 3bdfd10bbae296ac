//! Queued transfers and deployment units as tables.

use super::size;
use crate::{
    app::App,
    error::{Error, id_of},
    table::Table,
};
use hearth_proto::types::v1::{DuResult, QueuedTransfer, QueuedTransferState};

/// Transfers that a device has queued.
pub(crate) fn transfers(app: &mut App<'_>, transfers: &[QueuedTransfer]) -> Result<(), Error> {
    let mut table =
        Table::new(["TASK OR KEY", "STATE", "DIRECTION", "TYPE", "SIZE", "NAME"]).flexible(&[3, 5]);
    for transfer in transfers {
        let state = match transfer.state() {
            QueuedTransferState::Unspecified => "",
            QueuedTransferState::NotStarted => "not begun",
            QueuedTransferState::InProgress => "under way",
            QueuedTransferState::Completed => "done, being finished",
        };
        let direction = match transfer.is_download {
            Some(true) => "download",
            Some(false) => "upload",
            None => "",
        };
        let known = match transfer.task.as_str() {
            "" => transfer.command_key.as_str(),
            task => id_of(task),
        };
        table.row([
            known.into(),
            state.into(),
            direction.into(),
            (&transfer.file_type).into(),
            if transfer.file_size > 0 {
                size(transfer.file_size)
            } else {
                String::new()
            }
            .into(),
            (&transfer.target_file_name).into(),
        ]);
    }
    app.print_table(table, "the device has no transfers queued")
}

/// What came of each deployment unit.
pub(crate) fn units(app: &mut App<'_>, units: &[DuResult]) -> Result<(), Error> {
    let mut table = Table::new(["UUID", "VERSION", "STATE", "UNIT", "FAULT"]).flexible(&[3, 4]);
    for unit in units {
        let state = match (unit.current_state.as_str(), unit.resolved) {
            ("Installed", false) => "Installed, dependencies missing".to_owned(),
            (state, _) => state.to_owned(),
        };
        let fault = unit.fault.as_ref();
        table.row([
            (&unit.uuid).into(),
            (&unit.version).into(),
            state.into(),
            (&unit.deployment_unit_ref).into(),
            fault
                .map(|fault| format!("{} {}", fault.code, fault.text))
                .unwrap_or_default()
                .into(),
        ]);
    }
    app.print_table(table, "the device names no units")
}
