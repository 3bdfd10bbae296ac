//! Internal messages in terms of the public contract. All that leaves the server passes here, with
//! secrets masked.

use hearth_proto::convert::timestamp;
use hearth_proto::types::v1::{self as ty, task_spec::Kind};
use hearth_proto::{
    devicestate::v1 as ds, events::v1 as ev, files::v1 as fs, northbound::v1 as nb,
    wakeup::v1 as wk, workflow::v1 as wf,
};
use hearth_types::MASK;

/// The most values that one event of a watch carries.
const MAX_EVENT_VALUES: usize = 100;

pub(crate) fn device_name(tenant: &str, device: &str) -> String {
    format!("tenants/{tenant}/devices/{device}")
}

pub(crate) fn task_name(tenant: &str, task: &str) -> String {
    under(tenant, "tasks", task)
}

pub(crate) fn file_name(tenant: &str, file: &str) -> String {
    under(tenant, "files", file)
}

/// The name of a thing of a tenant; empty for none, and as it is where it is a whole name already.
fn under(tenant: &str, collection: &str, id: &str) -> String {
    if id.is_empty() || id.starts_with("tenants/") {
        return id.to_owned();
    }
    format!("tenants/{tenant}/{collection}/{id}")
}

pub(crate) fn device(device: ds::Device) -> nb::Device {
    nb::Device {
        name: device_name(&device.tenant, &device.id),
        manufacturer: device.manufacturer,
        oui: device.oui,
        product_class: device.product_class,
        serial_number: device.serial_number,
        software_version: device.software_version,
        hardware_version: device.hardware_version,
        root: device.root,
        connection_request_url: device.connection_request_url,
        remote_address: device.remote_address,
        first_seen_time: timestamp(device.first_seen_us),
        last_seen_time: timestamp(device.last_seen_us),
        last_inform_time: timestamp(device.last_inform_us),
        last_bootstrap_time: timestamp(device.last_bootstrap_us),
        last_boot_time: timestamp(device.last_boot_us),
        last_events: codes(device.last_events),
        online: device.online,
        tags: device.tags,
        periodic_inform_interval: device.periodic_inform_interval,
        cwmp_namespace: device.cwmp_namespace,
        inform_count: device.inform_count,
        state: device.state,
        state_reason: device.state_reason,
        state_time: timestamp(device.state_time_us),
        proof: device.proof,
        line: device.line,
        identity_alerts: device.identity_alerts,
        last_wake: device.last_wake.map(last_wake),
        nat_address_time: timestamp(device.nat_binding.as_ref().map_or(0, |b| b.time_us)),
        nat_address: device.nat_binding.unwrap_or_default().address,
        profile: device.profile,
        learned: device.learned.map(crate::profiles::learned),
    }
}

fn last_wake(wake: ds::WakeRecord) -> nb::LastWake {
    nb::LastWake {
        outcome: wake.outcome,
        way: wake.way,
        detail: wake.detail,
        time: timestamp(wake.time_us),
    }
}

pub(crate) fn wake_way(way: wk::WakeWay) -> &'static str {
    match way {
        wk::WakeWay::Unspecified => "",
        wk::WakeWay::Http => "http",
        wk::WakeWay::Udp => "udp",
        wk::WakeWay::Xmpp => "xmpp",
    }
}

fn codes(events: Vec<ev::InformEvent>) -> Vec<String> {
    events.into_iter().map(|event| event.code).collect()
}

pub(crate) fn parameter(parameter: ds::Parameter) -> nb::Parameter {
    let value = ty::ParameterValue {
        path: parameter.path,
        value: parameter.value,
        r#type: parameter.r#type,
        sealed: parameter.sealed,
    }
    .masked();
    nb::Parameter {
        path: value.path,
        value: parameter.has_value.then_some(value.value),
        r#type: value.r#type,
        writable: parameter.writable,
        value_time: timestamp(parameter.value_time_us),
        notification: parameter.notification,
        access_list: parameter.access_list,
    }
}

pub(crate) fn history_entry(tenant: &str, mut entry: ds::HistoryEntry) -> nb::HistoryEntry {
    if hearth_types::is_secret_name(&entry.path) {
        for value in [&mut entry.old_value, &mut entry.new_value] {
            if !value.is_empty() {
                MASK.clone_into(value);
            }
        }
    }
    nb::HistoryEntry {
        time: timestamp(entry.time_us),
        kind: entry.kind,
        summary: entry.summary,
        path: entry.path,
        old_value: entry.old_value,
        new_value: entry.new_value,
        session: entry.session,
        task: task_name(tenant, &entry.task),
    }
}

pub(crate) fn task(task: wf::Task) -> nb::Task {
    let tenant = &task.tenant;
    nb::Task {
        name: task_name(tenant, &task.id),
        device: device_name(tenant, &task.device),
        spec: task.spec.map(|spec| masked_spec(tenant, spec)),
        state: task.state,
        reason: task.reason,
        priority: task.priority,
        deadline: timestamp(task.deadline_us),
        create_time: timestamp(task.create_time_us),
        update_time: timestamp(task.update_time_us),
        attempts: task.attempts,
        result: task.result.map(|result| ty::TaskResult {
            values: masked(result.values),
            file: file_name(tenant, &result.file),
            transfers: queued(tenant, result.transfers),
            ..result
        }),
        fault: task.fault,
        max_attempts: task.max_attempts,
        retry_of: task_name(tenant, &task.retry_of),
    }
}

/// A task in a list: what was read is left out, since a page of results would be too large for a
/// message. `truncated` and `total` tell that there is more, for GetTask.
pub(crate) fn listed_task(mut listed: wf::Task) -> nb::Task {
    if let Some(result) = &mut listed.result {
        let lists = [
            result.values.len(),
            result.names.len(),
            result.attributes.len(),
            result.transfers.len(),
            result.du_results.len(),
        ];
        result.truncated |= lists.iter().any(|&length| length > 0);
        result.values.clear();
        result.names.clear();
        result.attributes.clear();
        result.transfers.clear();
        result.du_results.clear();
    }
    task(listed)
}

/// Transfers with the whole names of their tasks.
fn queued(tenant: &str, transfers: Vec<ty::QueuedTransfer>) -> Vec<ty::QueuedTransfer> {
    let named = transfers.into_iter().map(|transfer| ty::QueuedTransfer {
        task: task_name(tenant, &transfer.task),
        ..transfer
    });
    named.collect()
}

fn masked(values: Vec<ty::ParameterValue>) -> Vec<ty::ParameterValue> {
    values.into_iter().map(ty::ParameterValue::masked).collect()
}

fn masked_spec(tenant: &str, mut spec: ty::TaskSpec) -> ty::TaskSpec {
    match &mut spec.kind {
        Some(Kind::SetParameterValues(set)) => set.values = masked(std::mem::take(&mut set.values)),
        Some(Kind::AddObject(add)) => add.values = masked(std::mem::take(&mut add.values)),
        Some(Kind::Download(download)) => {
            download.password.clear();
            download.sealed_password.clear();
            download.url = masked_url(&download.url);
            download.file = file_name(tenant, &download.file);
        }
        Some(Kind::Upload(upload)) => {
            upload.password.clear();
            upload.sealed_password.clear();
            upload.url = masked_url(&upload.url);
        }
        Some(Kind::ScheduleDownload(download)) => {
            download.password.clear();
            download.sealed_password.clear();
            download.url = masked_url(&download.url);
            download.file = file_name(tenant, &download.file);
        }
        Some(Kind::CancelTransfer(cancel)) => cancel.task = task_name(tenant, &cancel.task),
        Some(Kind::ChangeDuState(change)) => {
            for operation in &mut change.operations {
                masked_operation(tenant, operation);
            }
        }
        _ => {}
    }
    spec
}

fn masked_operation(tenant: &str, operation: &mut ty::DuOperation) {
    use ty::du_operation::Kind;
    match &mut operation.kind {
        Some(Kind::Install(install)) => {
            install.password.clear();
            install.sealed_password.clear();
            install.url = masked_url(&install.url);
            install.file = file_name(tenant, &install.file);
        }
        Some(Kind::Update(update)) => {
            update.password.clear();
            update.sealed_password.clear();
            update.url = masked_url(&update.url);
            update.file = file_name(tenant, &update.file);
        }
        Some(Kind::Uninstall(_)) | None => {}
    }
}

/// A URL with the password of its user information masked.
pub(crate) fn masked_url(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    match authority.rsplit_once('@').map(|(user, _)| user) {
        Some(user) if user.contains(':') => {
            let name = user.split(':').next().unwrap_or_default();
            format!("{scheme}://{name}:{MASK}{}", &rest[user.len()..])
        }
        _ => url.to_owned(),
    }
}

pub(crate) fn file(file: fs::File) -> nb::File {
    nb::File {
        name: file_name(&file.tenant, &file.name),
        file_type: file.file_type,
        size: file.size,
        sha256: file.sha256,
        version: file.version,
        create_time: timestamp(file.create_time_us),
        device: under(&file.tenant, "devices", &file.device),
        task: task_name(&file.tenant, &file.task),
    }
}

pub(crate) fn credential(credential: ds::Credential) -> nb::Credential {
    nb::Credential {
        name: under(&credential.tenant, "credentials", &credential.username),
        username: credential.username,
        // The numbers of both enums are the same (a test says so).
        kind: credential.kind,
        device: under(&credential.tenant, "devices", &credential.device),
        update_time: timestamp(credential.update_time_us),
        last_used_time: timestamp(credential.last_used_us),
        model: credential.model,
        rotated: credential.rotated,
        superseded: credential.superseded,
    }
}

/// The word of the contract for what a connection request came to.
pub(crate) fn wake_outcome(outcome: wk::WakeOutcome) -> &'static str {
    match outcome {
        wk::WakeOutcome::Accepted => "accepted",
        wk::WakeOutcome::Unspecified | wk::WakeOutcome::Unreachable => "unreachable",
        wk::WakeOutcome::Credentials => "credentials",
        wk::WakeOutcome::Busy => "busy",
        wk::WakeOutcome::RateLimited => "rate_limited",
        wk::WakeOutcome::Forbidden => "forbidden",
        wk::WakeOutcome::NoAddress => "no_address",
        wk::WakeOutcome::Offline => "offline",
    }
}

/// An event of the bus as watchers see it.
pub(crate) fn event(response: ds::WatchEventsResponse) -> nb::WatchDevicesResponse {
    use nb::watch_devices_response::Event as Public;
    let event = response.event.unwrap_or_default();
    let public = match event.kind {
        Some(ev::event::Kind::Inform(inform)) => Public::Inform(nb::InformEvent {
            events: codes(inform.events),
            parameters: masked(inform.parameters),
            remote_address: inform.remote_address,
        }),
        Some(ev::event::Kind::ValuesReported(reported)) => {
            let total = u32::try_from(reported.values.len()).unwrap_or(u32::MAX);
            let set = reported.source() == ev::ValueSource::Set;
            let mut values = reported.values;
            values.truncate(MAX_EVENT_VALUES);
            Public::Values(nb::ValuesEvent {
                values: masked(values),
                total,
                set,
            })
        }
        Some(ev::event::Kind::TaskChanged(changed)) => Public::Task(nb::TaskEvent {
            task: task_name(&event.tenant, &changed.task),
            state: changed.state,
            reason: changed.reason,
            kind: changed.kind,
        }),
        Some(other) => Public::Other(in_words(&other)),
        None => Public::Other("an event of a newer version".to_owned()),
    };
    nb::WatchDevicesResponse {
        device: under(&event.tenant, "devices", &event.device),
        time: timestamp(event.time_us),
        missed: response.missed,
        event: Some(public),
    }
}

fn in_words(kind: &ev::event::Kind) -> String {
    use ev::event::Kind as Event;
    match kind {
        Event::NamesReported(names) => {
            format!("{} names read below {:?}", names.names.len(), names.path)
        }
        Event::AttributesReported(reported) => {
            format!("attributes of {} parameters", reported.attributes.len())
        }
        Event::TransferComplete(transfer) if transfer.fault_code == 0 => {
            "transfer complete".to_owned()
        }
        Event::TransferComplete(transfer) => {
            format!(
                "transfer failed: {} {}",
                transfer.fault_code, transfer.fault_string
            )
        }
        Event::DuStateChange(change) => {
            let failed = change.results.iter().filter(|unit| unit.fault.is_some());
            format!(
                "software modules changed{}: {} units, {} failed",
                if change.autonomous {
                    " by the device itself"
                } else {
                    ""
                },
                change.results.len(),
                failed.count()
            )
        }
        Event::ObjectDeleted(deleted) => format!("{} deleted", deleted.object),
        Event::DeviceRequest(request) => format!("request {}", request.method),
        Event::DeviceDeleted(_) => "device deleted".to_owned(),
        Event::SessionRecord(_) => "session ended".to_owned(),
        Event::CapturePart(_) => "session captured".to_owned(),
        Event::WakeEnded(wake) => format!("connection request: {}", wake.outcome),
        Event::Inform(_) | Event::ValuesReported(_) | Event::TaskChanged(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn passwords_in_urls_are_masked() {
        assert_eq!(
            masked_url("http://u:p@w@h/x?y"),
            format!("http://u:{MASK}@h/x?y")
        );
        for plain in ["http://h/a@b:c", "http://u@h/", "not a url", ""] {
            assert_eq!(masked_url(plain), plain);
        }
    }

    #[test]
    fn kinds_of_credentials_have_the_same_numbers() {
        for number in 0..=4 {
            let internal = ds::CredentialKind::try_from(number).ok();
            let public = nb::CredentialKind::try_from(number).ok();
            assert_eq!(
                internal.map(|kind| kind.as_str_name()),
                public.map(|kind| kind.as_str_name())
            );
        }
    }
}
