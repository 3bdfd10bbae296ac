//! The RPC methods that a device executes (TR-069 A.3.2, A.4.1).

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hearth_cwmp::{
    AcsRequest, AddObjectResponse, AllQueuedTransfer, CpeResponse, Fault, FaultCode,
    GetAllQueuedTransfersResponse, GetParameterAttributesResponse, GetParameterNamesResponse,
    GetParameterValuesResponse, GetQueuedTransfersResponse, GetRpcMethodsResponse, ParameterValue,
    QueuedTransfer, SetParameterValuesFault, StatusResponse, TimeWindow, TransferResponse, XsdType,
};

use super::clock::{cwmp_time, later};
use super::device::Device;
use super::ledger::Executed;
use super::session::Done;
use super::state::{AfterSession, Progress, State, Transfer};
use super::{software, transfer as transfers};

/// The methods a device has.
const METHODS: [&str; 18] = [
    "GetRPCMethods",
    "SetParameterValues",
    "GetParameterValues",
    "GetParameterNames",
    "SetParameterAttributes",
    "GetParameterAttributes",
    "AddObject",
    "DeleteObject",
    "Download",
    "Upload",
    "Reboot",
    "FactoryReset",
    "ScheduleInform",
    "GetQueuedTransfers",
    "GetAllQueuedTransfers",
    "ScheduleDownload",
    "CancelTransfer",
    "ChangeDUState",
];

/// Transfers at once; more are refused with 9004.
const MAX_TRANSFERS: usize = 10;

/// Whether a device has this method.
pub(super) fn supports(device: &Device, method: &str) -> bool {
    METHODS.contains(&method) && has(&device.state.lock(), method)
}

fn has(state: &State, method: &str) -> bool {
    !state.behaviour.unsupported.iter().any(|m| m == method)
}

fn fault(code: FaultCode) -> Box<Fault> {
    Box::new(Fault::new(code))
}

/// Executes a request, except a transfer.
pub(super) fn execute(device: &Device, request: &AcsRequest, id: Option<&str>) -> Done {
    let mut state = device.state.lock();
    let done = match state.random_fault(request.method()) {
        Some(code) => Err(fault(code)),
        None => perform(&mut state, request),
    };
    note(&mut state, request, id, &done);
    done
}

fn perform(state: &mut State, request: &AcsRequest) -> Done {
    Ok(match request {
        AcsRequest::GetRpcMethods => {
            let methods = METHODS.iter().filter(|m| has(state, m));
            CpeResponse::GetRpcMethods(GetRpcMethodsResponse {
                method_list: methods.map(|m| (*m).to_owned()).collect(),
            })
        }
        AcsRequest::SetParameterValues(set) => {
            check_booleans(state, &set.parameter_list)?;
            let changed = state
                .tree
                .set_values(&set.parameter_list)
                .map_err(|mut fault| {
                    if state.behaviour.first_fault_only {
                        fault.parameters.truncate(1);
                    }
                    fault
                })?;
            set_key(state, &set.parameter_key);
            follow(state, &changed);
            CpeResponse::SetParameterValues(StatusResponse { status: 0 })
        }
        AcsRequest::GetParameterValues(get) => {
            check_names(state, &get.parameter_names)?;
            CpeResponse::GetParameterValues(GetParameterValuesResponse {
                parameter_list: read(state, &get.parameter_names)?,
            })
        }
        AcsRequest::GetParameterNames(get) => {
            check_names(state, std::slice::from_ref(&get.parameter_path))?;
            let list = state.tree.get_names(&get.parameter_path, get.next_level)?;
            CpeResponse::GetParameterNames(GetParameterNamesResponse {
                parameter_list: list,
            })
        }
        AcsRequest::SetParameterAttributes(set) => {
            state.tree.set_attributes(&set.parameter_list)?;
            CpeResponse::SetParameterAttributes
        }
        AcsRequest::GetParameterAttributes(get) => {
            check_names(state, &get.parameter_names)?;
            let list = state.tree.get_attributes(&get.parameter_names)?;
            CpeResponse::GetParameterAttributes(GetParameterAttributesResponse {
                parameter_list: list,
            })
        }
        AcsRequest::AddObject(add) => {
            let instance_number = state.tree.add_object(&add.object_name)?;
            set_key(state, &add.parameter_key);
            CpeResponse::AddObject(AddObjectResponse {
                instance_number,
                status: 0,
            })
        }
        AcsRequest::DeleteObject(delete) => {
            state.tree.delete_object(&delete.object_name)?;
            set_key(state, &delete.parameter_key);
            CpeResponse::DeleteObject(StatusResponse { status: 0 })
        }
        AcsRequest::Reboot(reboot) => {
            // Noted before the reboot itself, which comes after the session.
            state.after = AfterSession::Reboot;
            if !state.behaviour.forget_reboot_cause {
                state.event("M Reboot", &reboot.command_key);
            }
            CpeResponse::Reboot
        }
        AcsRequest::FactoryReset => {
            state.after = AfterSession::FactoryReset;
            CpeResponse::FactoryReset
        }
        AcsRequest::ScheduleInform(schedule) => {
            if schedule.delay_seconds == 0 {
                return Err(fault(FaultCode::INVALID_ARGUMENTS));
            }
            let delay = Duration::from_secs(schedule.delay_seconds.into());
            let at = later(state.scale, delay);
            state.scheduled.push((at, schedule.command_key.clone()));
            CpeResponse::ScheduleInform
        }
        AcsRequest::GetQueuedTransfers => {
            let list = state.transfers.iter().map(|t| QueuedTransfer {
                command_key: t.key.clone(),
                state: number(&t.progress),
            });
            CpeResponse::GetQueuedTransfers(GetQueuedTransfersResponse {
                transfer_list: list.collect(),
            })
        }
        AcsRequest::GetAllQueuedTransfers => {
            let list = state.transfers.iter().map(|t| AllQueuedTransfer {
                command_key: t.key.clone(),
                state: number(&t.progress),
                is_download: t.download,
                file_type: t.file_type.clone(),
                file_size: t.file_size,
                target_file_name: t.target.clone(),
            });
            CpeResponse::GetAllQueuedTransfers(GetAllQueuedTransfersResponse {
                transfer_list: list.collect(),
            })
        }
        AcsRequest::CancelTransfer(cancel) => {
            let found = state.transfers.iter();
            let found = found.filter(|t| t.key == cancel.command_key);
            // One that runs, or is done, can't be called back.
            if found.clone().any(|t| t.progress != Progress::Waiting) {
                return Err(fault(FaultCode::CANCELLATION_NOT_PERMITTED));
            }
            state.transfers.retain(|t| t.key != cancel.command_key);
            CpeResponse::CancelTransfer
        }
        AcsRequest::ChangeDuState(change) => {
            software::accept(state, change)?;
            CpeResponse::ChangeDuState
        }
        _ => return Err(fault(FaultCode::METHOD_NOT_SUPPORTED)),
    })
}

fn number(progress: &Progress) -> u32 {
    match progress {
        Progress::Waiting => 1,
        Progress::Running => 2,
        Progress::Done { .. } => 3,
    }
}

fn set_key(state: &mut State, key: &str) {
    state.tree.set_root("ManagementServer.ParameterKey", key);
}

/// Refuses booleans as words, for a device that has them as digits only.
fn check_booleans(state: &State, list: &[ParameterValue]) -> Result<(), Box<Fault>> {
    let is_word = |value: &&ParameterValue| {
        value.xsd_type == XsdType::Boolean && !matches!(value.value.as_str(), "0" | "1")
    };
    let bad = list.iter().filter(is_word);
    let parameters: Vec<_> = bad
        .map(|value| SetParameterValuesFault {
            parameter_name: value.name.clone(),
            fault_code: FaultCode::INVALID_PARAMETER_VALUE,
            fault_string: None,
        })
        .collect();
    if !state.behaviour.refuse_boolean_words || parameters.is_empty() {
        return Ok(());
    }
    Err(Box::new(Fault {
        parameters,
        ..Fault::new(FaultCode::INVALID_ARGUMENTS)
    }))
}

fn check_names(state: &State, names: &[String]) -> Result<(), Box<Fault>> {
    let behaviour = &state.behaviour;
    if behaviour.max_names.is_some_and(|max| names.len() > max) {
        return Err(fault(FaultCode::RESOURCES_EXCEEDED));
    }
    if behaviour.refuse_empty_path && names.iter().any(String::is_empty) {
        return Err(fault(FaultCode::INVALID_PARAMETER_NAME));
    }
    Ok(())
}

fn read(state: &State, names: &[String]) -> Result<Vec<ParameterValue>, Box<Fault>> {
    let values = state.tree.get_values(names)?;
    if state
        .behaviour
        .max_values
        .is_some_and(|max| values.len() > max)
    {
        return Err(fault(FaultCode::RESOURCES_EXCEEDED));
    }
    Ok(values.into_iter().map(|v| state.on_wire(v)).collect())
}

/// What a set value does to the device itself.
fn follow(state: &mut State, changed: &[String]) {
    for path in changed {
        let Some(name) = path.strip_prefix(state.tree.root()) else {
            continue;
        };
        match name {
            "ManagementServer.URL" => {
                // A new ACS doesn't know this device (TR-069 3.7.1.5).
                state.event("0 BOOTSTRAP", "");
            }
            "ManagementServer.PeriodicInformEnable"
            | "ManagementServer.PeriodicInformInterval"
            | "ManagementServer.PeriodicInformTime" => state.plan_periodic(),
            _ => {}
        }
        if let Some(object) = path.strip_suffix("DiagnosticsState")
            && state.tree.value(path) == Some("Requested")
        {
            let at = later(state.scale, Duration::from_secs(1));
            state.diagnostics = Some((at, object.to_owned()));
        }
    }
}

/// Takes on a download or an upload; does it at once if the device is like that.
pub(super) async fn transfer(device: &Arc<Device>, request: &AcsRequest, id: Option<&str>) -> Done {
    let (accepted, at_once) = {
        let mut state = device.state.lock();
        let accepted = match state.random_fault(request.method()) {
            Some(code) => Err(fault(code)),
            None => accept(&state, request, device.shared.tls.is_some()),
        };
        (accepted, state.behaviour.transfer_at_once)
    };
    let done = match accepted {
        Ok(transfer) if at_once && transfer.until.is_none() => {
            at_once_done(device, &transfer).await
        }
        Ok(transfer) => {
            device.state.lock().transfers.push(transfer);
            Ok(TransferResponse {
                status: 1,
                ..TransferResponse::default()
            })
        }
        Err(fault) => Err(fault),
    };
    let done = done.map(|response| match request {
        AcsRequest::ScheduleDownload(_) => CpeResponse::ScheduleDownload,
        AcsRequest::Upload(_) => CpeResponse::Upload(response),
        _ => CpeResponse::Download(response),
    });
    note(&mut device.state.lock(), request, id, &done);
    done
}

async fn at_once_done(
    device: &Arc<Device>,
    transfer: &Transfer,
) -> Result<TransferResponse, Box<Fault>> {
    let start = SystemTime::now();
    let result = transfers::perform(device, transfer).await;
    let mut state = device.state.lock();
    transfers::note(&mut state, transfer, &result);
    let moved = result.map_err(fault)?;
    transfers::keep(&mut state, transfer, moved.stored);
    Ok(TransferResponse {
        status: 0,
        start_time: cwmp_time(start),
        complete_time: cwmp_time(SystemTime::now()),
    })
}

fn accept(state: &State, request: &AcsRequest, tls: bool) -> Result<Transfer, Box<Fault>> {
    let transfer = match request {
        AcsRequest::Download(d) => Transfer {
            key: d.command_key.clone(),
            method: "M Download",
            download: true,
            file_type: d.file_type.clone(),
            url: d.url.clone(),
            username: d.username.clone(),
            password: d.password.expose().into(),
            file_size: d.file_size,
            target: d.target_file_name.clone(),
            due: later(state.scale, Duration::from_secs(d.delay_seconds.into())),
            until: None,
            progress: Progress::Waiting,
        },
        AcsRequest::Upload(u) => Transfer {
            key: u.command_key.clone(),
            method: "M Upload",
            download: false,
            file_type: u.file_type.clone(),
            url: u.url.clone(),
            username: u.username.clone(),
            password: u.password.expose().into(),
            file_size: 0,
            target: String::new(),
            due: later(state.scale, Duration::from_secs(u.delay_seconds.into())),
            until: None,
            progress: Progress::Waiting,
        },
        AcsRequest::ScheduleDownload(d) => {
            let (first, last) = windows(&d.time_window_list)?;
            Transfer {
                key: d.command_key.clone(),
                method: "M ScheduleDownload",
                download: true,
                file_type: d.file_type.clone(),
                url: d.url.clone(),
                username: d.username.clone(),
                password: d.password.expose().into(),
                file_size: d.file_size,
                target: d.target_file_name.clone(),
                due: later(state.scale, first),
                until: Some(later(state.scale, last)),
                progress: Progress::Waiting,
            }
        }
        _ => return Err(fault(FaultCode::METHOD_NOT_SUPPORTED)),
    };
    if transfer.url.is_empty() || transfer.file_type.is_empty() {
        return Err(fault(FaultCode::INVALID_ARGUMENTS));
    }
    let plain = transfer.url.starts_with("http://");
    let secure = tls && transfer.url.starts_with("https://");
    if !plain && !secure {
        return Err(fault(FaultCode::TRANSFER_PROTOCOL));
    }
    if transfer.url.contains('@') {
        // TR-069 A.3.2.8: no credentials in the URL.
        return Err(fault(FaultCode::INVALID_ARGUMENTS));
    }
    if state.transfers.len() >= MAX_TRANSFERS {
        return Err(fault(FaultCode::RESOURCES_EXCEEDED));
    }
    Ok(transfer)
}

/// When the first window begins, and when the last one ends.
fn windows(list: &[TimeWindow]) -> Result<(Duration, Duration), Box<Fault>> {
    let ordered = list.iter().all(|w| w.window_start < w.window_end)
        && list.windows(2).all(|pair| match pair {
            [first, second] => first.window_end <= second.window_start,
            _ => true,
        });
    match (list.first(), list.last()) {
        (Some(first), Some(last)) if ordered && list.len() <= 2 => Ok((
            Duration::from_secs(first.window_start.into()),
            Duration::from_secs(last.window_end.into()),
        )),
        _ => Err(fault(FaultCode::INVALID_ARGUMENTS)),
    }
}

/// Writes an executed request into the ledger.
fn note(state: &mut State, request: &AcsRequest, id: Option<&str>, done: &Done) {
    let (key, subject) = match request {
        AcsRequest::SetParameterValues(r) => {
            let names = r.parameter_list.iter().map(|p| p.name.as_str());
            (
                r.parameter_key.as_str(),
                names.collect::<Vec<_>>().join(","),
            )
        }
        AcsRequest::AddObject(r) => (r.parameter_key.as_str(), r.object_name.clone()),
        AcsRequest::DeleteObject(r) => (r.parameter_key.as_str(), r.object_name.clone()),
        AcsRequest::Download(r) => (r.command_key.as_str(), r.url.clone()),
        AcsRequest::Upload(r) => (r.command_key.as_str(), r.url.clone()),
        AcsRequest::ScheduleDownload(r) => (r.command_key.as_str(), r.url.clone()),
        // Its CommandKey is that of the transfer, whose task this one is not.
        AcsRequest::CancelTransfer(r) => ("", r.command_key.clone()),
        AcsRequest::ChangeDuState(r) => (
            r.command_key.as_deref().unwrap_or_default(),
            format!("{} operations", r.operations.len()),
        ),
        AcsRequest::Reboot(r) => (r.command_key.as_str(), String::new()),
        AcsRequest::ScheduleInform(r) => (r.command_key.as_str(), String::new()),
        AcsRequest::GetParameterValues(r) => ("", r.parameter_names.join(",")),
        AcsRequest::GetParameterNames(r) => ("", r.parameter_path.clone()),
        AcsRequest::GetParameterAttributes(r) => ("", r.parameter_names.join(",")),
        _ => ("", String::new()),
    };
    let executed = Executed {
        at: SystemTime::now(),
        session: state.session,
        method: request.method(),
        id: id.map(str::to_owned),
        key: key.to_owned(),
        subject,
        fault: done.as_ref().err().map(|fault| fault.code.0),
        instance: match done {
            Ok(CpeResponse::AddObject(added)) => Some(added.instance_number),
            _ => None,
        },
    };
    state.ledger.execute(executed);
}
