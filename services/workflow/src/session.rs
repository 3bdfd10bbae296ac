//! A session opens, and a transfer ends: what the device's events say about its tasks.

use crate::{
    faults,
    lanes::{Lane, Lanes},
    ledger::{Work, queue_error},
    plan::{Gains, LostFacts, Plan, set_times},
    service::{CONFLICTS, Inner, TRIES},
    settle::Op,
};
use hearth_clients::{Error, Result};
use hearth_proto::{
    events::v1::{InformEvent, TransferComplete},
    types::v1::{Fault, TaskState, task_spec::Kind},
    workflow::v1::{
        OpenSessionRequest, OpenSessionResponse, ReportTransferRequest, ReportTransferResponse,
    },
};
use hearth_types::{CommandKey, DeviceKey, TaskId, Timestamp};
use std::{collections::BTreeMap, time::Duration};

/// What an Inform's events say about tasks (TR-069 3.7.1.5).
#[derive(Debug, Default)]
struct Told {
    /// `0 BOOTSTRAP`
    bootstrap: bool,
    /// `1 BOOT`
    boot: bool,
    /// `7 TRANSFER COMPLETE`
    transfer: bool,
    /// Any `M Reboot`, ours or not.
    any_reboot: bool,
    /// `M Reboot` of these tasks.
    rebooted: Vec<TaskId>,
    /// `M Download`, `M Upload` … with any key.
    any_transfer_key: bool,
    /// `M Download`, `M Upload` … of these tasks.
    transferred: Vec<TaskId>,
    /// `M ChangeDUState` of these tasks.
    changed_units: Vec<TaskId>,
}

impl Told {
    fn new(events: &[InformEvent]) -> Self {
        let mut told = Self::default();
        for event in events {
            let code = event.code.trim();
            let task = event.command_key.parse::<CommandKey>().ok().map(|k| k.task);
            if let Some(method) = code.strip_prefix("M ") {
                match method.trim() {
                    "Reboot" => {
                        told.any_reboot = true;
                        told.rebooted.extend(task);
                    }
                    "Download" | "Upload" | "ScheduleDownload" => {
                        told.any_transfer_key = true;
                        told.transferred.extend(task);
                    }
                    "ChangeDUState" => told.changed_units.extend(task),
                    _ => {}
                }
                continue;
            }
            match code.split_whitespace().next() {
                Some("0") => told.bootstrap = true,
                Some("1") => told.boot = true,
                Some("7") => told.transfer = true,
                _ => {}
            }
        }
        told
    }

    /// Whether a TransferComplete of this task may follow in this session.
    fn may_report(&self, task: TaskId) -> bool {
        self.transferred.contains(&task) || (self.transfer && !self.any_transfer_key)
    }
}

impl Inner {
    pub(crate) async fn open_session(
        &self,
        request: OpenSessionRequest,
    ) -> Result<OpenSessionResponse> {
        let device = DeviceKey::parse(&request.tenant, &request.device)?;
        let lease = match request.idle_timeout_ms {
            0 => self.options.lease.get(),
            // The gateway's own limit comes first.
            ms => Duration::from_millis(u64::from(ms)) + Duration::from_secs(5),
        };
        if request.rotate {
            // Before the session, so that its first turn has the task.
            self.rotate_credentials(&device, &request).await;
        }
        let now = self.now();
        let opened = self
            .queue
            .open_session(&device, &request.session, lease, now);
        let opened = opened.await.map_err(queue_error)?;
        self.metrics.sessions.inc();
        if opened.open > 0 || opened.rebuilding {
            self.waker.forget(&device);
            let told = Told::new(&request.events);
            let session = SessionOpened {
                device: &device,
                request: &request,
                epoch: opened.epoch,
                lease,
                now,
            };
            self.settle_opened(session, told, opened.orphans).await?;
        }
        Ok(OpenSessionResponse {
            epoch: opened.epoch,
            // One that waits may be settled by what the device says next, and others may follow.
            pending: opened.open > 0 || opened.rebuilding,
        })
    }

    /// Settles what the Inform tells about open tasks.
    async fn settle_opened(
        &self,
        opened: SessionOpened<'_>,
        told: Told,
        orphans: Vec<TaskId>,
    ) -> Result<()> {
        let device = opened.device;
        let mut orphans = orphans;
        let mut lanes = self.lanes.lock(device).await;
        let lane = Lane {
            epoch: opened.epoch,
            lease: opened.lease,
            current: None,
        };
        // The steps of a read that the ledger doesn't have yet.
        let mut kept = lanes.insert(device.clone(), lane).and_then(|l| l.current);
        for _ in 0..TRIES {
            let kept = kept.take();
            if self.settle_once(&opened, &told, &orphans, kept).await? {
                return Ok(());
            }
        }
        orphans.clear();
        Err(Error::unavailable(CONFLICTS))
    }

    /// `false`: another replica has written one of the tasks meanwhile.
    async fn settle_once(
        &self,
        opened: &SessionOpened<'_>,
        told: &Told,
        orphans: &[TaskId],
        kept: Option<Work>,
    ) -> Result<bool> {
        let device = opened.device;
        let mut works: BTreeMap<TaskId, Work> =
            kept.map(|work| (work.id, work)).into_iter().collect();
        let mut settled = Settled::default();
        self.settle_events(opened, told, &mut works, &mut settled)
            .await?;
        for id in orphans {
            if !settled.works.iter().any(|work| work.id == *id) {
                self.settle_orphan(opened, told, *id, &mut works, &mut settled)
                    .await?;
            }
        }
        let Settled { mut works, ops } = settled;
        let session = &opened.request.session;
        self.record(device, session, opened.epoch, &mut works, &ops)
            .await
    }

    async fn settle_events(
        &self,
        opened: &SessionOpened<'_>,
        told: &Told,
        works: &mut BTreeMap<TaskId, Work>,
        settled: &mut Settled,
    ) -> Result<()> {
        let restarted = told.bootstrap || told.boot || !told.rebooted.is_empty();
        if restarted || told.transfer || told.any_transfer_key {
            for work in self.open_tasks_of(opened.device).await? {
                // What was kept of the session before may be older: another replica had turns too.
                let mut work = match works.remove(&work.id) {
                    Some(kept) if kept.task.revision >= work.task.revision => kept,
                    _ => work,
                };
                if let Some((state, reason)) = ended_by(&work, told) {
                    self.end(&mut work, state, reason, opened.now, &mut settled.ops);
                    settled.works.push(work);
                } else if is_doubted_transfer(&work) && told.may_report(work.id) {
                    // Asked now, the device might not list what it has done but not reported.
                    work.progress.uncertain = false;
                    let reason = "the device announces the report of a transfer";
                    work.set(TaskState::WaitingForDevice, reason);
                    settled.ops.push(Op::Park(work.id, work.deadline()));
                    settled.works.push(work);
                } else {
                    works.insert(work.id, work);
                }
            }
        }
        Ok(())
    }

    async fn settle_orphan(
        &self,
        opened: &SessionOpened<'_>,
        told: &Told,
        id: TaskId,
        works: &mut BTreeMap<TaskId, Work>,
        settled: &mut Settled,
    ) -> Result<()> {
        let kept = works.remove(&id);
        let work = self.ledger.newest(&opened.device.tenant, id, kept).await?;
        let Some(mut work) = work.filter(Work::is_open) else {
            settled.ops.push(Op::Complete(id));
            return Ok(());
        };
        if work.open_attempt().is_none() {
            let not_before = Timestamp::from_micros(work.task.not_before_us);
            settled.ops.push(Op::Release(id, not_before));
            return Ok(());
        }
        let key = opened.request.parameter_key.parse::<CommandKey>();
        let facts = LostFacts {
            proved: key.is_ok_and(|key| key == work.key()),
            transfer_due: told.may_report(id),
        };
        let mut gains = Gains::new(work.task.result.take(), self.limits());
        self.settle_lost(&mut work, &facts, opened.now, &mut settled.ops, &mut gains);
        let session = &opened.request.session;
        self.publish_gains(&work, session, opened.now, &mut gains)
            .await?;
        self.learn(opened.device, std::mem::take(&mut gains.learned));
        work.task.result = Some(gains.result);
        settled.works.push(work);
        Ok(())
    }

    pub(crate) async fn report_transfer(
        &self,
        request: ReportTransferRequest,
    ) -> Result<ReportTransferResponse> {
        let device = DeviceKey::parse(&request.tenant, &request.device)?;
        let transfer = request
            .transfer
            .ok_or_else(|| Error::invalid("transfer", "expected what the device reported"))?;
        let Ok(key) = transfer.command_key.parse::<CommandKey>() else {
            return Ok(ReportTransferResponse { known: false });
        };
        let mut lanes = self.lanes.lock(&device).await;
        for _ in 0..TRIES {
            let settled = self.settle_report(&mut lanes, &device, &key, &transfer);
            if let Some(known) = settled.await? {
                return Ok(ReportTransferResponse { known });
            }
        }
        Err(Error::unavailable(CONFLICTS))
    }

    /// Whether the report's task is known. `None`: another replica has written it meanwhile.
    async fn settle_report(
        &self,
        lanes: &mut Lanes,
        device: &DeviceKey,
        key: &CommandKey,
        transfer: &TransferComplete,
    ) -> Result<Option<bool>> {
        let unknown = Ok(Some(false));
        let Some(mut work) = self.ledger.sound(&device.tenant, key.task).await? else {
            return unknown;
        };
        let is_transfer = matches!(
            work.kind(),
            Some(Kind::Download(_) | Kind::Upload(_) | Kind::ScheduleDownload(_))
        );
        if work.device != *device || !is_transfer {
            return unknown;
        }
        let known = Ok(Some(true));
        let failed = transfer.fault_code != 0;
        // A report that came before, or the failure of a try that another has followed.
        let older = key.attempt < last_sent(&work);
        let unsent = work.open_attempt().is_none() && work.state() == TaskState::Queued;
        if !work.is_open() || (failed && (older || (unsent && !work.progress.uncertain))) {
            return known;
        }
        let now = self.now();
        let mut ops = Vec::new();
        self.transferred(&mut work, transfer, now, &mut ops);
        self.reported(lanes, device, work, &ops).await
    }

    /// Writes a task whose report came outside of its turns: a session that is at it must not go on
    /// with what it has. `None`: another replica has written it meanwhile.
    pub(crate) async fn reported(
        &self,
        lanes: &mut Lanes,
        device: &DeviceKey,
        work: Work,
        ops: &[Op],
    ) -> Result<Option<bool>> {
        if let Some(lane) = lanes.get_mut(device)
            && lane.current.as_ref().is_some_and(|w| w.id == work.id)
        {
            lane.current = None;
        }
        let mut works = [work];
        let recorded = self.record(device, "", u64::MAX, &mut works, ops);
        Ok(recorded.await?.then_some(true))
    }

    fn transferred(
        &self,
        work: &mut Work,
        transfer: &TransferComplete,
        now: Timestamp,
        ops: &mut Vec<Op>,
    ) {
        work.progress.uncertain = false;
        if transfer.fault_code == 0 {
            let mut result = work.task.result.take().unwrap_or_default();
            set_times(&mut result, &transfer.start_time, &transfer.complete_time);
            if let Some(Plan::Transfer(plan)) = &work.progress.plan {
                result.file.clone_from(&plan.file);
            }
            work.task.result = Some(result);
            let reason = "the device reports that the transfer is complete";
            self.end(work, TaskState::Succeeded, reason, now, ops);
            return;
        }
        let fault = faults::explained(Fault {
            code: transfer.fault_code,
            text: transfer.fault_string.clone(),
            ..Fault::default()
        });
        let reason = format!("the transfer failed: {}", faults::summary(&fault));
        if faults::is_transient(fault.code) {
            if let Some(Plan::Transfer(plan)) = &mut work.progress.plan {
                plan.start_over();
            }
            self.retry(work, Some(fault), &reason, now, ops);
        } else {
            work.set_fault(Some(fault));
            self.end(work, TaskState::Failed, reason, now, ops);
        }
    }
}

/// A session that was just opened.
struct SessionOpened<'a> {
    device: &'a DeviceKey,
    request: &'a OpenSessionRequest,
    epoch: u64,
    lease: Duration,
    now: Timestamp,
}

#[derive(Default)]
struct Settled {
    works: Vec<Work>,
    ops: Vec<Op>,
}

/// The last attempt that sent the transfer; a later one may only have asked about it.
pub(crate) fn last_sent(work: &Work) -> u32 {
    let mut attempts = work.task.attempts.iter().rev();
    let sent = attempts.find(|attempt| {
        matches!(
            attempt.rpc.as_str(),
            "Download" | "Upload" | "ScheduleDownload"
        )
    });
    sent.map_or(0, |attempt| attempt.number)
}

/// Whether it is a transfer that the device is to be asked about, in no session now.
fn is_doubted_transfer(work: &Work) -> bool {
    let is_transfer = matches!(work.progress.plan, Some(Plan::Transfer(_)));
    is_transfer && work.progress.uncertain && work.open_attempt().is_none()
}

/// How an Inform's events end an open task, if they do.
fn ended_by(work: &Work, told: &Told) -> Option<(TaskState, String)> {
    if work.attempt_number() == 0 {
        return None;
    }
    let waits = work.state() == TaskState::WaitingForDevice || work.open_attempt().is_some();
    match (work.kind()?, &work.progress.plan) {
        (Kind::Reboot(_), _) if told.rebooted.contains(&work.id) => Some((
            TaskState::Succeeded,
            "the device has rebooted (M Reboot)".to_owned(),
        )),
        // Some devices forget the command: a boot after the accepted reboot is its effect.
        (Kind::Reboot(_), Some(Plan::Restart(restart)))
            if waits && told.boot && !told.any_reboot && restart.acknowledged =>
        {
            Some((
                TaskState::Succeeded,
                "the device has accepted and booted (1 BOOT, without M Reboot)".to_owned(),
            ))
        }
        (Kind::FactoryReset(_), _) if waits && told.bootstrap => Some((
            TaskState::Succeeded,
            "the device is back with its factory settings (0 BOOTSTRAP)".to_owned(),
        )),
        (Kind::ChangeDuState(_), Some(Plan::Units))
            if told.bootstrap && waits && !told.changed_units.contains(&work.id) =>
        {
            Some((
                TaskState::Failed,
                "the device was reset (0 BOOTSTRAP) before the changes were complete".to_owned(),
            ))
        }
        (
            Kind::Download(_) | Kind::Upload(_) | Kind::ScheduleDownload(_),
            Some(Plan::Transfer(_)),
        ) if told.bootstrap
            && work.state() == TaskState::WaitingForDevice
            && !told.may_report(work.id) =>
        {
            Some((
                TaskState::Failed,
                "the device was reset (0 BOOTSTRAP) before the transfer was complete".to_owned(),
            ))
        }
        _ => None,
    }
}
