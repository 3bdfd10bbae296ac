//! A ChangeDUState has ended: what the device reports of each unit (TR-069 A.4.2.3).

use crate::{
    faults,
    lanes::Lanes,
    ledger::Work,
    service::{CONFLICTS, Inner, TRIES},
    settle::Op,
};
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
        let Ok(key) = change.command_key.parse::<CommandKey>() else {
            return Ok(ReportDuStateChangeResponse { known: false });
        };
        let mut lanes = self.lanes.lock(&device).await;
        for _ in 0..TRIES {
            let settled = self.settle_change(&mut lanes, &device, &key, &change);
            if let Some(known) = settled.await? {
                return Ok(ReportDuStateChangeResponse { known });
            }
        }
        Err(Error::unavailable(CONFLICTS))
    }

    /// Whether the report's task is known. `None`: another replica has written it meanwhile.
    async fn settle_change(
        &self,
        lanes: &mut Lanes,
        device: &DeviceKey,
        key: &CommandKey,
        change: &DuStateChange,
    ) -> Result<Option<bool>> {
        let Some(mut work) = self.ledger.sound(&device.tenant, key.task).await? else {
            return Ok(Some(false));
        };
        let is_units = matches!(work.kind(), Some(Kind::ChangeDuState(_)));
        if work.device != *device || !is_units || key.attempt > work.attempt_number() {
            return Ok(Some(false));
        }
        if !work.is_open() {
            return Ok(Some(true));
        }
        let mut ops = Vec::new();
        self.units_changed(&mut work, change.clone(), self.now(), &mut ops);
        self.reported(lanes, device, work, &ops).await
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
            (None, _) if change.results.iter().any(tells_nothing) => (
                TaskState::UnknownOutcome,
                "the device reports that it is done, but not of each unit what came of it"
                    .to_owned(),
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

/// Neither a state nor a fault, which is no success.
fn tells_nothing(unit: &DuResult) -> bool {
    unit.fault.is_none() && unit.current_state.is_empty()
}

const fn is_fault(fault: &Fault) -> bool {
    fault.code != 0
}
