//! Software modules (TR-069 A.4.1.10): units that a device really fetches, and its report.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hearth_cwmp::{
    ChangeDuState, DuFault, DuInstall, DuOperation, DuResult, DuStateChangeComplete, DuUninstall,
    DuUpdate, Fault, FaultCode,
};
use parking_lot::MutexGuard;

use super::clock::{cwmp_time, later};
use super::device::Device;
use super::ledger::Transferred;
use super::state::{DuChange, Progress, State, Transfer, Unit};
use super::transfer::{Fetched, fetch};

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

/// What came of a unit.
struct Outcome {
    told: DuResult,
    /// The SHA-256 of the file that was fetched for it, or why there is none; `None` if nothing
    /// was to be fetched.
    fetched: Option<Result<String, FaultCode>>,
}

/// Does a change, operation by operation.
pub(super) async fn run(device: Arc<Device>, change: DuChange, boots: u64) {
    let stop = device.shared.stop.clone();
    let start = SystemTime::now();
    let mut outcomes = Vec::new();
    for operation in &change.operations {
        let done = tokio::select! {
            () = stop.cancelled() => return,
            done = perform(&device, operation, boots) => done,
        };
        outcomes.extend(done);
    }
    let Some(mut state) = powered(&device, boots) else {
        return;
    };
    let same = |c: &&mut DuChange| c.key == change.key && c.progress == Progress::Running;
    let Some(running) = state.changes.iter_mut().find(same) else {
        return;
    };
    running.results = outcomes.iter().map(|one| one.told.clone()).collect();
    let end = SystemTime::now();
    running.progress = Progress::Done {
        fault: FaultCode::default(),
        start,
        end,
    };
    for fetched in outcomes.into_iter().filter_map(|one| one.fetched) {
        state.ledger.transfer(Transferred {
            at: end,
            key: change.key.clone(),
            download: true,
            fault: fetched.as_ref().err().map(|fault| fault.0),
            sha256: fetched.unwrap_or_default(),
        });
    }
    state.event("11 DU STATE CHANGE COMPLETE", "");
    state.event("M ChangeDUState", &change.key);
    drop(state);
    device.wake.notify_one();
}

/// The state, unless it has lost power meanwhile: then it has begun anew.
fn powered(device: &Device, boots: u64) -> Option<MutexGuard<'_, State>> {
    let state = device.state.lock();
    (state.ledger.boots == boots).then_some(state)
}

async fn perform(device: &Arc<Device>, operation: &DuOperation, boots: u64) -> Vec<Outcome> {
    let begun = SystemTime::now();
    match operation {
        DuOperation::Install(one) => {
            let login = (&one.username, &one.password);
            let fetched = fetch_unit(device, &one.url, login).await;
            let state = powered(device, boots);
            let outcome = state.map(|mut state| install(device, &mut state, one, fetched, begun));
            outcome.into_iter().collect()
        }
        DuOperation::Update(one) => update(device, one, boots, begun).await,
        DuOperation::Uninstall(one) => {
            let state = powered(device, boots);
            let outcomes = state.map(|mut state| uninstall(&mut state, one, begun));
            outcomes.unwrap_or_default()
        }
    }
}

fn install(
    device: &Device,
    state: &mut State,
    install: &DuInstall,
    fetched: Result<Fetched, FaultCode>,
    begun: SystemTime,
) -> Outcome {
    let uuid = install.uuid.clone();
    let fetched = match fetched {
        Ok(fetched) => fetched,
        Err(code) => {
            let uuid = uuid.unwrap_or_else(|| made_up(device, 0));
            return Outcome {
                told: failed(uuid, code, begun),
                fetched: Some(Err(code)),
            };
        }
    };
    let numbers = state.units.iter().map(|unit| unit.number);
    let number = numbers.max().unwrap_or(0) + 1;
    let unit = Unit {
        uuid: uuid.unwrap_or_else(|| made_up(device, number)),
        version: fetched.version,
        url: install.url.clone(),
        environment: install.execution_env_ref.clone().unwrap_or_default(),
        number,
    };
    let twin = |known: &Unit| known.uuid == unit.uuid && known.version == unit.version;
    let told = match state.units.iter().any(twin) {
        true => failed(unit.uuid, FaultCode::DUPLICATE_DEPLOYMENT_UNIT, begun),
        false => {
            let told = done(state, &unit, "Installed", begun);
            state.units.push(unit);
            told
        }
    };
    Outcome {
        told,
        fetched: Some(Ok(fetched.sha256)),
    }
}

async fn update(
    device: &Arc<Device>,
    update: &DuUpdate,
    boots: u64,
    begun: SystemTime,
) -> Vec<Outcome> {
    let meant = |unit: &&Unit| match (&update.uuid, &update.url) {
        (None, None) => true,
        (None, Some(url)) => unit.url == *url,
        (Some(uuid), _) => {
            unit.uuid == *uuid && update.version.as_ref().is_none_or(|v| unit.version == *v)
        }
    };
    let units: Vec<Unit> = {
        let state = device.state.lock();
        state.units.iter().filter(meant).cloned().collect()
    };
    if units.is_empty() && (update.uuid.is_some() || update.url.is_some()) {
        let uuid = update.uuid.clone().unwrap_or_else(|| made_up(device, 0));
        return vec![Outcome {
            told: failed(uuid, FaultCode::UNKNOWN_DEPLOYMENT_UNIT, begun),
            fetched: None,
        }];
    }
    let mut outcomes = Vec::new();
    for unit in units {
        let url = update.url.clone().unwrap_or_else(|| unit.url.clone());
        let login = (&update.username, &update.password);
        let fetched = match fetch_unit(device, &url, login).await {
            Ok(fetched) => fetched,
            Err(code) => {
                outcomes.push(Outcome {
                    told: failed(unit.uuid, code, begun),
                    fetched: Some(Err(code)),
                });
                continue;
            }
        };
        let Some(mut state) = powered(device, boots) else {
            return Vec::new();
        };
        let same = |known: &&mut Unit| known.number == unit.number;
        let Some(known) = state.units.iter_mut().find(same) else {
            continue;
        };
        (known.version, known.url) = (fetched.version, url);
        let known = known.clone();
        outcomes.push(Outcome {
            told: done(&state, &known, "Installed", begun),
            fetched: Some(Ok(fetched.sha256)),
        });
    }
    outcomes
}

fn uninstall(state: &mut State, uninstall: &DuUninstall, begun: SystemTime) -> Vec<Outcome> {
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
    let outcome = |told| Outcome {
        told,
        fetched: None,
    };
    if gone.is_empty() {
        let code = FaultCode::UNKNOWN_DEPLOYMENT_UNIT;
        return vec![outcome(failed(uninstall.uuid.clone(), code, begun))];
    }
    let gone = gone.iter();
    gone.map(|unit| outcome(done(state, unit, "Uninstalled", begun)))
        .collect()
}

/// Fetches a unit's file.
async fn fetch_unit(
    device: &Device,
    url: &str,
    login: (&Option<String>, &Option<hearth_cwmp::Secret>),
) -> Result<Fetched, FaultCode> {
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
