//! From the house's contracts to CWMP: the request that goes to a CPE.

use hearth_cwmp as cwmp;
use hearth_cwmp::{AcsRequest, Envelope, Message, Namespace, XsdType};
use hearth_proto::types::v1 as ty;
use hearth_proto::workflow::v1 as wf;
use wf::request::Rpc;

use crate::quirks::{Quirks, XML_DECLARATION};
use crate::software;

/// The envelope of a request, written as the device's quirks want it.
///
/// # Errors
/// Why it can't be sent, in words and without values: the task is to end with it, not the session.
pub(crate) fn envelope(
    request: wf::Request,
    namespace: Namespace,
    host: &str,
    quirks: Quirks,
) -> Result<Vec<u8>, String> {
    let rpc = request.rpc.ok_or("the request names no RPC")?;
    let rpc = with_quirks(rpc, quirks);
    let envelope = Envelope {
        id: Some(request.id),
        namespace,
        ..Envelope::new(Message::AcsRequest(of_rpc(rpc, host)))
    };
    let mut bytes = match quirks.declares_xml() {
        true => XML_DECLARATION.to_vec(),
        false => Vec::new(),
    };
    cwmp::encode_into(&envelope, &mut bytes).map_err(|error| error.to_string())?;
    match quirks.longest() {
        Some(longest) if bytes.len() > longest => Err(format!(
            "its {} bytes are more than the {longest} that the device takes by its quirk profile \
             (max_request_bytes)",
            bytes.len()
        )),
        _ => Ok(bytes),
    }
}

/// Values and keys as the device wants them.
fn with_quirks(mut rpc: Rpc, quirks: Quirks) -> Rpc {
    match &mut rpc {
        Rpc::SetParameterValues(set) => {
            let written = quirks.or_learned(set.boolean_form(), set.no_fractional_seconds);
            for one in &mut set.values {
                one.value = written.value(std::mem::take(&mut one.value), xsd_type(one.r#type()));
            }
            if quirks.empties_parameter_key() {
                set.parameter_key.clear();
            }
        }
        Rpc::AddObject(object) | Rpc::DeleteObject(object) if quirks.empties_parameter_key() => {
            object.parameter_key.clear();
        }
        _ => {}
    }
    rpc
}

fn of_rpc(rpc: Rpc, host: &str) -> AcsRequest {
    match rpc {
        Rpc::GetParameterValues(get) => AcsRequest::GetParameterValues(cwmp::GetParameterValues {
            parameter_names: get.paths,
        }),
        Rpc::SetParameterValues(set) => AcsRequest::SetParameterValues(cwmp::SetParameterValues {
            parameter_list: set.values.into_iter().map(value).collect(),
            parameter_key: set.parameter_key,
        }),
        Rpc::GetParameterNames(get) => AcsRequest::GetParameterNames(cwmp::GetParameterNames {
            parameter_path: get.path,
            next_level: get.next_level,
        }),
        Rpc::GetParameterAttributes(get) => {
            AcsRequest::GetParameterAttributes(cwmp::GetParameterAttributes {
                parameter_names: get.paths,
            })
        }
        Rpc::SetParameterAttributes(set) => {
            AcsRequest::SetParameterAttributes(cwmp::SetParameterAttributes {
                parameter_list: set.attributes.into_iter().map(attributes).collect(),
            })
        }
        Rpc::AddObject(add) => AcsRequest::AddObject(cwmp::AddObject {
            object_name: add.object,
            parameter_key: add.parameter_key,
        }),
        Rpc::DeleteObject(delete) => AcsRequest::DeleteObject(cwmp::DeleteObject {
            object_name: delete.object,
            parameter_key: delete.parameter_key,
        }),
        Rpc::Download(download) => AcsRequest::Download(of_download(download, host)),
        Rpc::Upload(upload) => AcsRequest::Upload(cwmp::Upload {
            command_key: upload.command_key,
            file_type: upload.file_type,
            url: with_host(upload.url, host),
            username: upload.username,
            password: upload.password.into(),
            delay_seconds: upload.delay_seconds,
        }),
        Rpc::Reboot(reboot) => AcsRequest::Reboot(cwmp::Reboot {
            command_key: reboot.command_key,
        }),
        Rpc::FactoryReset(_) => AcsRequest::FactoryReset,
        Rpc::ScheduleInform(schedule) => AcsRequest::ScheduleInform(cwmp::ScheduleInform {
            delay_seconds: schedule.delay_seconds,
            command_key: schedule.command_key,
        }),
        Rpc::GetRpcMethods(_) => AcsRequest::GetRpcMethods,
        Rpc::GetAllQueuedTransfers(_) => AcsRequest::GetAllQueuedTransfers,
        Rpc::GetQueuedTransfers(_) => AcsRequest::GetQueuedTransfers,
        Rpc::ScheduleDownload(schedule) => {
            AcsRequest::ScheduleDownload(of_schedule(schedule, host))
        }
        Rpc::CancelTransfer(cancel) => AcsRequest::CancelTransfer(cwmp::CancelTransfer {
            command_key: cancel.command_key,
        }),
        Rpc::ChangeDuState(change) => AcsRequest::ChangeDuState(software::change(change, host)),
    }
}

fn of_download(download: wf::DownloadRpc, host: &str) -> cwmp::Download {
    cwmp::Download {
        command_key: download.command_key,
        file_type: download.file_type,
        url: with_host(download.url, host),
        username: download.username,
        password: download.password.into(),
        // Over 4 GiB can't be said: 0 is "not known".
        file_size: u32::try_from(download.file_size).unwrap_or(0),
        target_file_name: download.target_file_name,
        delay_seconds: download.delay_seconds,
        success_url: download.success_url,
        failure_url: download.failure_url,
    }
}

fn of_schedule(schedule: wf::ScheduleDownloadRpc, host: &str) -> cwmp::ScheduleDownload {
    let download = of_download(schedule.download.unwrap_or_default(), host);
    let windows = schedule.time_windows.into_iter();
    cwmp::ScheduleDownload {
        command_key: download.command_key,
        file_type: download.file_type,
        url: download.url,
        username: download.username,
        password: download.password,
        file_size: download.file_size,
        target_file_name: download.target_file_name,
        time_window_list: windows
            .map(|window| cwmp::TimeWindow {
                window_start: window.window_start,
                window_end: window.window_end,
                window_mode: window.window_mode,
                user_message: window.user_message,
                max_retries: window.max_retries,
            })
            .collect(),
    }
}

/// Files are served under the name by which the CPE reaches this server: only it is known to
/// work for the CPE, behind whatever address translation.
pub(crate) fn with_host(url: String, host: &str) -> String {
    if url.contains("{host}") {
        url.replacen("{host}", host, 1)
    } else {
        url
    }
}

fn value(set: ty::ParameterValue) -> cwmp::ParameterValue {
    let xsd_type = xsd_type(set.r#type());
    cwmp::ParameterValue::new(set.path, set.value, xsd_type)
}

const fn xsd_type(of: ty::ValueType) -> XsdType {
    match of {
        ty::ValueType::Unspecified | ty::ValueType::String => XsdType::String,
        ty::ValueType::Int => XsdType::Int,
        ty::ValueType::UnsignedInt => XsdType::UnsignedInt,
        ty::ValueType::Long => XsdType::Long,
        ty::ValueType::UnsignedLong => XsdType::UnsignedLong,
        ty::ValueType::Boolean => XsdType::Boolean,
        ty::ValueType::DateTime => XsdType::DateTime,
        ty::ValueType::Base64 => XsdType::Base64,
        ty::ValueType::HexBinary => XsdType::HexBinary,
    }
}

fn attributes(set: ty::ParameterAttributes) -> cwmp::SetParameterAttributesStruct {
    cwmp::SetParameterAttributesStruct {
        name: set.path,
        notification_change: set.notification.is_some(),
        notification: set.notification.unwrap_or(0),
        access_list_change: set.set_access_list,
        access_list: set.access_list,
    }
}
