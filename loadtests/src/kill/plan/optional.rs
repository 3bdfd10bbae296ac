//! Tasks of the optional RPCs (TR-069 A.4.1): scheduled downloads and their cancellation, what is
//! queued, deployment units.

use hearth_proto::types::v1 as ty;
use hearth_proto::types::v1::{du_operation::Kind as Operation, task_spec::Kind as Spec};

use super::Planner;

/// The shortest time that windows fit into.
const LEAST: u32 = 20;

impl Planner {
    /// One window of time, or two. Half of them begin late, so that there is time to cancel them.
    pub(super) fn schedule(&mut self, file: String) -> Option<Spec> {
        // By the server's clock the last window must end before the deadline.
        let time = u32::try_from(self.deadline.as_secs()).unwrap_or(u32::MAX);
        if time < LEAST {
            return None;
        }
        let start = match self.dice.chance(0.5) {
            true => time / 2,
            false => self.below(4),
        };
        let end = time / 4 * 3;
        let windows = match self.dice.chance(0.3) {
            true => vec![(start, start + 1), (start + 2, end)],
            false => vec![(start, end)],
        };
        let windows = windows.into_iter().map(|(start, end)| ty::TimeWindow {
            window_start: start,
            window_end: end,
            window_mode: "1 At Any Time".to_owned(),
            ..ty::TimeWindow::default()
        });
        Some(Spec::ScheduleDownload(ty::ScheduleDownload {
            file_type: super::download_type(&file),
            file,
            time_windows: windows.collect(),
            ..ty::ScheduleDownload::default()
        }))
    }

    /// Installs a unit; updates or uninstalls one that is given.
    pub(super) fn change_units(
        &mut self,
        unit: Option<String>,
        file: Option<String>,
    ) -> Option<Spec> {
        let again = self.dice.chance(0.5);
        let kind = match (unit, file) {
            (Some(uuid), Some(file)) if again => Operation::Update(ty::DuUpdate {
                uuid,
                file,
                ..ty::DuUpdate::default()
            }),
            (Some(uuid), _) => Operation::Uninstall(ty::DuUninstall {
                uuid,
                all_versions: true,
                ..ty::DuUninstall::default()
            }),
            (None, Some(file)) => Operation::Install(ty::DuInstall {
                uuid: self.uuid(),
                file,
                ..ty::DuInstall::default()
            }),
            (None, None) => return None,
        };
        // One operation each: of several, some could be done and others not.
        let operations = vec![ty::DuOperation { kind: Some(kind) }];
        Some(Spec::ChangeDuState(ty::ChangeDuState { operations }))
    }

    fn uuid(&mut self) -> String {
        let (first, second) = (self.dice.number(), self.dice.number());
        format!(
            "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
            first >> 32,
            first >> 16 & 0xffff,
            first & 0xfff,
            second >> 52,
            second & 0xffff_ffff_ffff
        )
    }
}

/// Cancels the transfer of this task.
pub(super) fn cancel(task: String) -> Spec {
    Spec::CancelTransfer(ty::CancelTransfer {
        task,
        ..ty::CancelTransfer::default()
    })
}
