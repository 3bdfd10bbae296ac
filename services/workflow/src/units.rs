//! A ChangeDUState has ended: what the device reports of each unit (TR-069 A.4.2.3).

use crate::{faults, ledger::Work, service::Inner, settle::Op};
use hearth_clients::{Error, Result};
use hearth_proto::{
    events::v1::DuStateChange,
    types::v1::{DuResult, Fault, TaskState, task_spec::Kind},
    workflow::v1::{ReportDuStateChangeRequest, ReportDuStateChangeResponse},
};
use hearth_types::{CommandKey, DeviceKey, Timestamp};
use prost::Message;

/// What a unit's state is when its operation failed.
const FAILED: &str = "Failed";

impl Inner {
    pub(crate) async fn report_du_state_change(
        &self,
        request: ReportDuStateChangeRequest,
    ) -> Result<ReportDuStateChangeResponse> {
        let device = DeviceKey::parse(&request.tenant, &request.device)?;
        let change = request
            .change
            .ok_or_else(|| Error::invalid("change", "expected what the device reported"))?;
        let unknown = Ok(ReportDuStateChangeResponse { known: false });
        let Ok(key) = change.command_key.parse::<CommandKey>() else {
            return unknown;
        };
        let mut lanes = self.lanes.lock(&device).await;
        let Some(mut work) = self.ledger.sound(&device.tenant, key.task).await? else {
            return unknown;
        };
        let is_units = matches!(work.kind(), Some(Kind::ChangeDuState(_)));
        if work.device != device || !is_units || key.attempt > work.attempt_number() {
            return unknown;
        }
        let known = Ok(ReportDuStateChangeResponse { known: true });
        if !work.is_open() {
            return known;
        }
        let now = self.now();
        let mut ops = Vec::new();
        self.units_changed(&mut work, change, now, &mut ops);
        if let Some(lane) = lanes.get_mut(&device)
            && lane.current.as_ref().is_some_and(|w| w.id == work.id)
        {
            lane.current = None;
        }
        let mut works = [work];
        self.commit(&device, "", &mut works).await?;
        self.apply(&device, u64::MAX, &ops).await?;
        known
    }

    fn units_changed(
        &self,
        work: &mut Work,
        change: DuStateChange,
        now: Timestamp,
        ops: &mut Vec<Op>,
    ) {
        let total = change.results.len();
        let failed: Vec<&DuResult> = change
            .results
            .iter()
            .filter(|unit| has_failed(unit))
            .collect();
        let (state, reason) = match (failed.first(), total) {
            (_, 0) => (
                TaskState::UnknownOutcome,
                "the device reports that it is done, but no result".to_owned(),
            ),
            (None, 1) => (
                TaskState::Succeeded,
                "the device reports that the unit has changed".to_owned(),
            ),
            (None, total) => (
                TaskState::Succeeded,
                format!("the device reports that all {total} units have changed"),
            ),
            (Some(first), total) => {
                let fault = first.fault.clone().unwrap_or_default();
                let told = match fault.code {
                    0 => "its state is Failed, without a fault".to_owned(),
                    _ => faults::summary(&fault),
                };
                let unit = hearth_telemetry::for_log_capped(&first.uuid, 64);
                (
                    TaskState::Failed,
                    format!("{} of {total} units: {unit}: {told}", failed.len()),
                )
            }
        };
        let fault = failed.iter().find_map(|unit| unit.fault.clone());
        work.set_fault(fault.map(faults::explained));
        self.keep_units(work, change.results);
        work.progress.uncertain = false;
        self.end(work, state, reason, now, ops);
    }

    /// Enters what came of each unit into the task's result, as far as there is room.
    fn keep_units(&self, work: &mut Work, units: Vec<DuResult>) {
        let mut room = self.limits().max_result_bytes;
        let result = work.task.result.get_or_insert_default();
        result.total = u32::try_from(units.len()).unwrap_or(u32::MAX);
        for mut unit in units {
            unit.fault = unit.fault.map(faults::explained);
            let size = unit.encoded_len() + 4;
            if size > room {
                result.truncated = true;
                return;
            }
            room -= size;
            result.du_results.push(unit);
        }
    }
}

fn has_failed(unit: &DuResult) -> bool {
    unit.fault.as_ref().is_some_and(is_fault) || unit.current_state == FAILED
}

const fn is_fault(fault: &Fault) -> bool {
    fault.code != 0
}
