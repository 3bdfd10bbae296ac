//! Software modules (TR-069 A.4.1.10): units that a device really fetches, and its report.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hearth_cwmp::{
    ChangeDuState, DuFault, DuOperation, DuResult, DuStateChangeComplete, Fault, FaultCode,
};

use super::clock::{cwmp_time, later};
use super::device::Device;
use super::state::{DuChange, Progress, State, Transfer, Unit};
use super::transfer::fetch;

/// Operations in one request; more are refused with 9004.
const MAX_OPERATIONS: usize = 16;
/// The object that stands for a unit.
const UNITS: &str = "SoftwareModules.DeploymentUnit.";

/// Takes on a change: it is done after the session, and told.
pub(super) fn accept(state: &mut State, change: &ChangeDuState) -> Result<(), Box<Fault>> {
    if change.operations.is_empty() {
        return Err(Box::new(Fault::new(FaultCode::INVALID_ARGUMENTS)));
    }
    if change.operations.len() > MAX_OPERATIONS {
        return Err(Box::new(Fault::new(FaultCode::RESOURCES_EXCEEDED)));
    }
    state.changes.push(DuChange {
        key: change.command_key.clone().unwrap_or_default(),
        operations: change.operations.clone(),
        due: later(state.scale, Duration::from_secs(1)),
        progress: Progress::Waiting,
        results: Vec::new(),
    });
    Ok(())
}

/// Does a change, operation by operation.
pub(super) async fn run(device: Arc<Device>, change: DuChange, boots: u64) {
    let stop = device.shared.stop.clone();
    let start = SystemTime::now();
    let mut results = Vec::new();
    for operation in &change.operations {
        let done = tokio::select! {
            () = stop.cancelled() => return,
            done = perform(&device, operation) => done,
        };
        results.extend(done);
    }
    let mut state = device.state.lock();
    if state.ledger.boots != boots {
        // It lost power meanwhile, and begins anew.
        return;
    }
    let same = |c: &&mut DuChange| c.key == change.key && c.progress == Progress::Running;
    let Some(running) = state.changes.iter_mut().find(same) else {
        return;
    };
    running.results = results;
    running.progress = Progress::Done {
        fault: FaultCode::default(),
        start,
        end: SystemTime::now(),
    };
    state.event("11 DU STATE CHANGE COMPLETE", "");
    state.event("M ChangeDUState", &change.key);
    drop(state);
    device.wake.notify_one();
}

async fn perform(device: &Arc<Device>, operation: &DuOperation) -> Vec<DuResult> {
    let begun = SystemTime::now();
    match operation {
        DuOperation::Install(install) => {
            let uuid = install.uuid.clone();
            let login = (&install.username, &install.password);
            let fetched = match fetch_unit(device, &install.url, login).await {
                Ok(version) => version,
                Err(code) => {
                    let uuid = uuid.unwrap_or_else(|| made_up(device, 0));
                    return vec![failed(uuid, code, begun)];
                }
            };
            let mut state = device.state.lock();
            let number = state
                .units
                .iter()
                .map(|unit| unit.number)
                .max()
                .unwrap_or(0)
                + 1;
            let unit = Unit {
                uuid: uuid.unwrap_or_else(|| made_up(device, number)),
                version: fetched,
                url: install.url.clone(),
                environment: install.execution_env_ref.clone().unwrap_or_default(),
                number,
            };
            let twin = |known: &Unit| known.uuid == unit.uuid && known.version == unit.version;
            if state.units.iter().any(twin) {
                return vec![failed(
                    unit.uuid,
                    FaultCode::DUPLICATE_DEPLOYMENT_UNIT,
                    begun,
                )];
            }
            let result = done(&state, &unit, "Installed", begun);
            state.units.push(unit);
            vec![result]
        }
        DuOperation::Update(update) => {
            let meant = |unit: &Unit| match (&update.uuid, &update.url) {
                (None, None) => true,
                (None, Some(url)) => unit.url == *url,
                (Some(uuid), _) => {
                    unit.uuid == *uuid && update.version.as_ref().is_none_or(|v| unit.version == *v)
                }
            };
            let units: Vec<Unit> = {
                let state = device.state.lock();
                state
                    .units
                    .iter()
                    .filter(|unit| meant(unit))
                    .cloned()
                    .collect()
            };
            if units.is_empty() && (update.uuid.is_some() || update.url.is_some()) {
                let uuid = update.uuid.clone().unwrap_or_else(|| made_up(device, 0));
                return vec![failed(uuid, FaultCode::UNKNOWN_DEPLOYMENT_UNIT, begun)];
            }
            let mut results = Vec::new();
            for unit in units {
                let url = update.url.clone().unwrap_or_else(|| unit.url.clone());
                let login = (&update.username, &update.password);
                results.push(match fetch_unit(device, &url, login).await {
                    Err(code) => failed(unit.uuid, code, begun),
                    Ok(version) => {
                        let mut state = device.state.lock();
                        let same = |known: &&mut Unit| known.number == unit.number;
                        let Some(known) = state.units.iter_mut().find(same) else {
                            continue;
                        };
                        (known.version, known.url) = (version, url);
                        let known = known.clone();
                        done(&state, &known, "Installed", begun)
                    }
                });
            }
            results
        }
        DuOperation::Uninstall(uninstall) => {
            let mut state = device.state.lock();
            let meant = |unit: &Unit| {
                let version = uninstall.version.as_ref();
                let environment = uninstall.execution_env_ref.as_ref();
                unit.uuid == uninstall.uuid
                    && version.is_none_or(|version| unit.version == *version)
                    && environment.is_none_or(|path| unit.environment == *path)
            };
            let (gone, kept) = std::mem::take(&mut state.units)
                .into_iter()
                .partition::<Vec<_>, _>(meant);
            state.units = kept;
            if gone.is_empty() {
                let code = FaultCode::UNKNOWN_DEPLOYMENT_UNIT;
                return vec![failed(uninstall.uuid.clone(), code, begun)];
            }
            gone.iter()
                .map(|unit| done(&state, unit, "Uninstalled", begun))
                .collect()
        }
    }
}

/// Fetches a unit's file; its version.
async fn fetch_unit(
    device: &Device,
    url: &str,
    login: (&Option<String>, &Option<hearth_cwmp::Secret>),
) -> Result<String, FaultCode> {
    let transfer = Transfer {
        key: String::new(),
        method: "M ChangeDUState",
        download: true,
        file_type: String::new(),
        url: url.to_owned(),
        username: login.0.clone().unwrap_or_default(),
        password: login.1.as_ref().map_or("", |p| p.expose()).into(),
        file_size: 0,
        target: String::new(),
        due: std::time::Instant::now(),
        until: None,
        progress: Progress::Running,
    };
    fetch(device, &transfer).await
}

/// A UUID for a unit that came without one.
fn made_up(device: &Device, number: u32) -> String {
    let digits: String = device
        .serial()
        .chars()
        .filter(char::is_ascii_digit)
        .collect();
    let last = digits.len().saturating_sub(8);
    format!(
        "00000000-0000-4000-8000-{:0>8}{number:04x}",
        digits.get(last..).unwrap_or_default()
    )
}

fn done(state: &State, unit: &Unit, current: &str, begun: SystemTime) -> DuResult {
    DuResult {
        uuid: unit.uuid.clone(),
        deployment_unit_ref: format!("{}{UNITS}{}", state.tree.root(), unit.number),
        version: unit.version.clone(),
        current_state: current.to_owned(),
        resolved: true,
        start_time: cwmp_time(begun),
        complete_time: cwmp_time(SystemTime::now()),
        ..DuResult::default()
    }
}

fn failed(uuid: String, code: FaultCode, begun: SystemTime) -> DuResult {
    DuResult {
        uuid,
        current_state: "Failed".to_owned(),
        start_time: cwmp_time(begun),
        complete_time: cwmp_time(SystemTime::now()),
        fault: DuFault {
            fault_code: code,
            fault_string: Some(code.text().to_owned()),
        },
        ..DuResult::default()
    }
}

/// What the device tells of a change that is done.
pub(super) fn complete(change: &DuChange) -> DuStateChangeComplete {
    DuStateChangeComplete {
        results: change.results.clone(),
        command_key: Some(change.key.clone()),
    }
}
