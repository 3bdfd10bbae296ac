//! ScheduleDownload, CancelTransfer and ChangeDUState as they leave.

use super::{Unbuilt, fetched_already, is_unproven, own_file};
use crate::{ledger::Work, plan::cancel, service::Inner, session::last_sent};
use hearth_clients::{Error, Kind as ErrorKind};
use hearth_proto::{
    ProtoTimestamp, convert,
    types::v1::{TaskSpec, TaskState, TimeWindow, du_operation, task_spec::Kind},
    workflow::v1::{ChangeDuStateRpc, CommandKeyRpc, DownloadRpc, ScheduleDownloadRpc},
};
use hearth_types::{CommandKey, DeviceKey};

impl Inner {
    pub(super) async fn schedule_download(
        &self,
        work: &Work,
    ) -> Result<ScheduleDownloadRpc, Unbuilt> {
        let Some(Kind::ScheduleDownload(spec)) = work.kind() else {
            return Err(Unbuilt::Never("not a scheduled download".to_owned()));
        };
        let mut download = DownloadRpc {
            command_key: work.key().to_string(),
            file_type: spec.file_type.clone(),
            url: spec.url.clone(),
            username: spec.username.clone(),
            file_size: spec.file_size,
            target_file_name: spec.target_file_name.clone(),
            ..DownloadRpc::default()
        };
        let time_windows = windows(work, &spec.time_windows)?;
        if spec.file.is_empty() {
            download.password = self.password(work)?;
        } else {
            let file = own_file(&spec.file)?;
            let made = self.prepare(work, file, String::new()).await?;
            if made.begun && is_unproven(work) {
                return Err(fetched_already());
            }
            (download.url, download.username) = (made.url, made.username);
            (download.password, download.file_size) = (made.password, made.file_size);
        }
        Ok(ScheduleDownloadRpc {
            download: Some(download),
            time_windows,
        })
    }

    pub(super) async fn cancel_transfer(&self, work: &Work) -> Result<CommandKeyRpc, Unbuilt> {
        let Some(Kind::CancelTransfer(spec)) = work.kind() else {
            return Err(Unbuilt::Never("not a cancellation".to_owned()));
        };
        let Some(id) = cancel::target(spec) else {
            let command_key = spec.command_key.clone();
            return Ok(CommandKeyRpc { command_key });
        };
        let transfer = self.ledger.sound(&work.device.tenant, id).await?;
        let Some(transfer) = transfer else {
            return Err(Unbuilt::Never(format!("task {id} is no longer known")));
        };
        if transfer.state() == TaskState::Cancelled && work.attempt_number() > 1 {
            return Err(Unbuilt::Ended(
                TaskState::Succeeded,
                "the device has cancelled the transfer".to_owned(),
            ));
        }
        if !transfer.is_open() {
            return Err(Unbuilt::Never(format!(
                "there is nothing left to cancel: task {id} has ended ({})",
                transfer.state().label()
            )));
        }
        match last_sent(&transfer) {
            0 => Err(Unbuilt::Never(format!(
                "the device does not have the transfer of task {id} yet; cancel that task itself"
            ))),
            attempt => Ok(CommandKeyRpc {
                command_key: CommandKey { task: id, attempt }.to_string(),
            }),
        }
    }

    pub(super) async fn change_units(&self, work: &Work) -> Result<ChangeDuStateRpc, Unbuilt> {
        let Some(Kind::ChangeDuState(spec)) = work.kind() else {
            return Err(Unbuilt::Never("not a change of units".to_owned()));
        };
        let mut operations = self.secrets.open_units(&work.device, spec)?;
        for operation in &mut operations {
            let (file, url, username, password) = match &mut operation.kind {
                Some(du_operation::Kind::Install(i)) => {
                    (&mut i.file, &mut i.url, &mut i.username, &mut i.password)
                }
                Some(du_operation::Kind::Update(u)) => {
                    (&mut u.file, &mut u.url, &mut u.username, &mut u.password)
                }
                Some(du_operation::Kind::Uninstall(_)) | None => continue,
            };
            if !file.is_empty() {
                let name = own_file(file)?;
                let made = self.prepare(work, name, String::new()).await?;
                (*url, *username, *password) = (made.url, made.username, made.password);
                file.clear();
            }
        }
        Ok(ChangeDuStateRpc {
            command_key: work.key().to_string(),
            operations,
        })
    }

    /// Checks that there is a transfer to cancel. It may be gone when the task is sent.
    pub(crate) async fn check_transfer(
        &self,
        device: &DeviceKey,
        spec: &TaskSpec,
    ) -> Result<(), Error> {
        let Some(Kind::CancelTransfer(spec)) = &spec.kind else {
            return Ok(());
        };
        let Some(id) = cancel::target(spec) else {
            return Ok(());
        };
        let found = self.ledger.get(&device.tenant, id).await?;
        let Some(transfer) = found.filter(|work| work.device == *device) else {
            return Err(Error::invalid(
                TASK,
                format!("the device {} has no task {id}", device.device),
            ));
        };
        if !matches!(
            transfer.kind(),
            Some(Kind::Download(_) | Kind::ScheduleDownload(_) | Kind::Upload(_))
        ) {
            return Err(Error::invalid(
                TASK,
                format!(
                    "expected a download, schedule_download or upload; task {id} is a {}",
                    transfer.label()
                ),
            ));
        }
        let refused = |why: String| Err(Error::new(ErrorKind::FailedPrecondition, why));
        if !transfer.is_open() {
            return refused(format!(
                "task {id} has ended ({}); there is nothing to cancel",
                transfer.state().label()
            ));
        }
        match last_sent(&transfer) {
            0 => refused(format!(
                "task {id} was not sent to the device yet; cancel the task itself"
            )),
            _ => Ok(()),
        }
    }
}

/// The field of a transfer to cancel.
const TASK: &str = "spec.cancel_transfer.task";

/// The windows in seconds from the attempt's begin, so that the same request made again is the
/// same; those that are past are left out.
fn windows(work: &Work, windows: &[TimeWindow]) -> Result<Vec<TimeWindow>, Unbuilt> {
    let begun = work.task.attempts.last();
    let begun = begun.map_or(0, |attempt| convert::micros(attempt.start_time.as_ref()));
    let from_now = |at: &ProtoTimestamp| {
        let seconds = (convert::micros(Some(at)) - begun).div_euclid(1_000_000);
        u32::try_from(seconds.max(0)).unwrap_or(u32::MAX)
    };
    let mut sent = Vec::new();
    for window in windows {
        let mut window = window.clone();
        if let Some(at) = window.start_time.take() {
            window.window_start = from_now(&at);
        }
        if let Some(at) = window.end_time.take() {
            window.window_end = from_now(&at);
        }
        if window.window_end > window.window_start {
            sent.push(window);
        }
    }
    if !sent.is_empty() {
        return Ok(sent);
    }
    let reason = "its windows of time are past";
    Err(match work.attempt_number() {
        1 => Unbuilt::Ended(
            TaskState::Expired,
            format!("{reason}; it was not sent to the device"),
        ),
        _ => Unbuilt::Never(format!("{reason}; it was not sent again")),
    })
}
