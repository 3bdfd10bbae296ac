//! Messages as tables for people.

mod devices;
mod transfers;

pub(crate) use devices::{device, devices};
pub(crate) use transfers::{transfers, units};

use crate::{
    app::App,
    error::{Error, id_of},
    table::{Cell, Table, clean},
    times::{both, clock, read, relative},
};
use comfy_table::Color;
use hearth_proto::{
    northbound::v1 as nb,
    types::v1::{
        ParameterAttributes, ParameterName, ParameterValue, TaskResult, TaskState, ValueType,
    },
};

/// A state with its colour.
fn state(state: TaskState) -> Cell {
    let color = match state {
        TaskState::Succeeded => Color::Green,
        TaskState::Failed | TaskState::UnknownOutcome => Color::Red,
        TaskState::Expired | TaskState::Cancelled => Color::Yellow,
        _ => Color::Cyan,
    };
    Cell::colored(state.label(), color)
}

/// A type's name, empty where it is not known.
fn type_name(value_type: ValueType) -> &'static str {
    match value_type {
        ValueType::Unspecified => "",
        known => hearth_types::ValueType::from(known).as_str(),
    }
}

/// Parameters as they are known.
pub(crate) fn parameters(app: &mut App<'_>, parameters: &[nb::Parameter]) -> Result<(), Error> {
    let now = (app.host.now)();
    let mut table = Table::new(["PATH", "VALUE", "TYPE", "WRITABLE", "REPORTED"]).flexible(&[1]);
    for parameter in parameters {
        let writable = match parameter.writable {
            Some(true) => "yes",
            Some(false) => "no",
            None => "",
        };
        table.row([
            (&parameter.path).into(),
            parameter.value.as_deref().unwrap_or_default().into(),
            type_name(parameter.r#type()).into(),
            writable.into(),
            relative(parameter.value_time.as_ref(), now).into(),
        ]);
    }
    app.print_table(
        table,
        "nothing is known there; read it: hearthctl device refresh DEVICE",
    )
}

/// Values that were read.
pub(crate) fn values(app: &mut App<'_>, values: &[ParameterValue]) -> Result<(), Error> {
    let mut table = Table::new(["PATH", "VALUE", "TYPE"]).flexible(&[1]);
    for value in values {
        table.row([
            (&value.path).into(),
            (&value.value).into(),
            type_name(value.r#type()).into(),
        ]);
    }
    app.print_table(table, "the device has no values there")
}

/// Names that were discovered.
pub(crate) fn names(app: &mut App<'_>, names: &[ParameterName]) -> Result<(), Error> {
    let mut table = Table::new(["PATH", "WRITABLE"]);
    for name in names {
        table.row([
            (&name.path).into(),
            if name.writable { "yes" } else { "no" }.into(),
        ]);
    }
    app.print_table(table, "the device has no names there")
}

/// Attributes that were read.
pub(crate) fn attributes(
    app: &mut App<'_>,
    attributes: &[ParameterAttributes],
) -> Result<(), Error> {
    let mut table = Table::new(["PATH", "NOTIFICATION", "ACCESS LIST"]).flexible(&[2]);
    for attribute in attributes {
        let notification = match attribute.notification {
            None => String::new(),
            Some(0) => "off".into(),
            Some(1) => "passive".into(),
            Some(2) => "active".into(),
            Some(other) => other.to_string(),
        };
        table.row([
            (&attribute.path).into(),
            notification.into(),
            attribute.access_list.join(" ").into(),
        ]);
    }
    app.print_table(table, "the device has no parameters there")
}

/// History, newest first.
pub(crate) fn history(app: &mut App<'_>, entries: &[nb::HistoryEntry]) -> Result<(), Error> {
    let now = (app.host.now)();
    let mut table = Table::new(["WHEN", "KIND", "WHAT"]).flexible(&[2]);
    for entry in entries {
        let what = match entry.path.as_str() {
            "" => entry.summary.clone(),
            path => format!("{path}: {} → {}", entry.old_value, entry.new_value),
        };
        table.row([
            relative(entry.time.as_ref(), now).into(),
            (&entry.kind).into(),
            what.into(),
        ]);
    }
    app.print_table(table, "nothing has happened in that time")
}

/// One event of a watch, as a line.
pub(crate) fn event(app: &mut App<'_>, event: &nb::WatchDevicesResponse) -> Result<(), Error> {
    use nb::watch_devices_response::Event;
    if event.missed > 0 {
        app.note(&format!(
            "{} events were left out: this watch was too slow",
            event.missed
        ));
    }
    let pairs = |values: &[ParameterValue]| {
        let shown: Vec<_> = values
            .iter()
            .take(3)
            .map(|v| format!("{}={}", v.path, v.value))
            .collect();
        shown.join(" ")
    };
    let what = match &event.event {
        None => return Ok(()),
        Some(Event::Inform(inform)) => {
            format!(
                "inform  {}  from {}",
                inform.events.join(", "),
                inform.remote_address
            )
        }
        Some(Event::Values(values)) => {
            let verb = if values.set { "set" } else { "read" };
            let more = (values.total as usize).saturating_sub(values.values.len().min(3));
            let rest = if more > 0 {
                format!(" and {more} more")
            } else {
                String::new()
            };
            format!("{verb}  {}{rest}", pairs(&values.values))
        }
        Some(Event::Task(task)) => {
            let reason = if task.reason.is_empty() {
                String::new()
            } else {
                format!(": {}", task.reason)
            };
            format!(
                "task {}  {}  {}{reason}",
                id_of(&task.task),
                task.kind,
                task.state().label()
            )
        }
        Some(Event::Other(text)) => text.clone(),
    };
    let time = clock(event.time.as_ref(), &app.host.zone);
    app.say(clean(&format!("{time}  {}  {what}", id_of(&event.device))))
}

/// Tasks, one a line.
pub(crate) fn tasks(app: &mut App<'_>, tasks: &[nb::Task]) -> Result<(), Error> {
    let now = (app.host.now)();
    let mut table = Table::new(["TASK", "DEVICE", "KIND", "STATE", "MADE", "WHY"]).flexible(&[5]);
    for task in tasks {
        let why = match (&task.fault, task.state()) {
            (_, TaskState::Succeeded) => String::new(),
            (Some(fault), _) => format!("fault {} {}", fault.code, fault.text),
            (None, _) => task.reason.clone(),
        };
        table.row([
            id_of(&task.name).into(),
            id_of(&task.device).into(),
            task.spec.as_ref().map_or("", |spec| spec.label()).into(),
            state(task.state()),
            relative(task.create_time.as_ref(), now).into(),
            why.into(),
        ]);
    }
    app.print_table(table, "no tasks")
}

/// One task in detail.
pub(crate) fn task(app: &mut App<'_>, task: &nb::Task) -> Result<(), Error> {
    let now = (app.host.now)();
    let zone = app.host.zone.clone();
    let time = |time: &Option<_>| both(time.as_ref(), now, &zone);
    let mut table = Table::pairs();
    table.pair("task", id_of(&task.name));
    table.pair("device", id_of(&task.device));
    table.pair("kind", task.spec.as_ref().map_or("", |spec| spec.label()));
    table.pair("state", state(task.state()));
    table.pair("reason", &task.reason);
    if let Some(fault) = &task.fault {
        table.pair("fault", format!("{} {}", fault.code, fault.text));
        for parameter in &fault.parameters {
            table.pair(
                "",
                format!("{}: {} {}", parameter.path, parameter.code, parameter.text),
            );
        }
        table.pair("remedy", &fault.remedy);
    }
    if task.priority != 0 {
        table.pair("priority", task.priority.to_string());
    }
    table.pair("made", time(&task.create_time));
    table.pair("changed", time(&task.update_time));
    if !task.state().is_final() {
        table.pair("deadline", time(&task.deadline));
    }
    table.pair("retry of", id_of(&task.retry_of));
    app.print_table(table, "")?;
    attempts(app, task)?;
    match &task.result {
        Some(result) => task_result(app, result),
        None => Ok(()),
    }
}

fn attempts(app: &mut App<'_>, task: &nb::Task) -> Result<(), Error> {
    if task.attempts.is_empty() {
        return Ok(());
    }
    let now = (app.host.now)();
    let mut table = Table::new(["TRY", "RPC", "SENT", "TOOK", "OUTCOME"]).flexible(&[4]);
    for attempt in &task.attempts {
        let ends = [&attempt.start_time, &attempt.end_time].map(|t| t.as_ref().and_then(read));
        let took = match ends {
            [Some(start), Some(end)] => {
                format!("{:.1}s", end.duration_since(start).as_secs_f64())
            }
            _ => String::new(),
        };
        table.row([
            attempt.number.to_string().into(),
            (&attempt.rpc).into(),
            relative(attempt.start_time.as_ref(), now).into(),
            took.into(),
            (&attempt.outcome).into(),
        ]);
    }
    app.say("")?;
    app.print_table(table, "")
}

/// What a task brought, below its details.
fn task_result(app: &mut App<'_>, result: &TaskResult) -> Result<(), Error> {
    let mut table = Table::pairs();
    if result.instance_number > 0 {
        table.pair("instance", result.instance_number.to_string());
    }
    if result.reboot_required {
        table.pair("applied", "at the device's next restart");
    }
    table.pair("methods", result.methods.join(" "));
    table.pair("file", id_of(&result.file));
    if !table.is_empty() {
        app.say("")?;
        app.print_table(table, "")?;
    }
    if !result.values.is_empty() {
        app.say("")?;
        values(app, &result.values)?;
    }
    if !result.names.is_empty() {
        app.say("")?;
        names(app, &result.names)?;
    }
    if !result.attributes.is_empty() {
        app.say("")?;
        attributes(app, &result.attributes)?;
    }
    if !result.transfers.is_empty() {
        app.say("")?;
        transfers(app, &result.transfers)?;
    }
    if !result.du_results.is_empty() {
        app.say("")?;
        units(app, &result.du_results)?;
    }
    if result.truncated {
        app.note(&format!(
            "{} in all; the rest: hearthctl param list DEVICE",
            result.total
        ));
    }
    Ok(())
}

/// Files, one a line.
pub(crate) fn files(app: &mut App<'_>, files: &[nb::File]) -> Result<(), Error> {
    let now = (app.host.now)();
    let mut table =
        Table::new(["FILE", "TYPE", "VERSION", "SIZE", "KEPT", "SENT BY"]).flexible(&[1, 2]);
    for file in files {
        table.row([
            id_of(&file.name).into(),
            (&file.file_type).into(),
            (&file.version).into(),
            size(file.size).into(),
            relative(file.create_time.as_ref(), now).into(),
            id_of(&file.device).into(),
        ]);
    }
    app.print_table(
        table,
        "no files; send one: hearthctl file put PATH --type firmware",
    )
}

/// One file in detail.
pub(crate) fn file(app: &mut App<'_>, file: &nb::File) -> Result<(), Error> {
    let now = (app.host.now)();
    let zone = app.host.zone.clone();
    let mut table = Table::pairs();
    table.pair("file", id_of(&file.name));
    table.pair("type", &file.file_type);
    table.pair("version", &file.version);
    table.pair("size", format!("{} ({} bytes)", size(file.size), file.size));
    table.pair("SHA-256", &file.sha256);
    table.pair("kept", both(file.create_time.as_ref(), now, &zone));
    table.pair("sent by", id_of(&file.device));
    table.pair("task", id_of(&file.task));
    app.print_table(table, "")
}

fn size(bytes: u64) -> String {
    indicatif::HumanBytes(bytes).to_string()
}

/// Credentials, one a line.
pub(crate) fn credentials(app: &mut App<'_>, credentials: &[nb::Credential]) -> Result<(), Error> {
    let now = (app.host.now)();
    let mut table = Table::new(["KIND", "USER", "FOR", "SET", "LAST USED"]);
    for credential in credentials {
        table.row([
            match (credential.rotated, credential.superseded) {
                (true, _) => "device (rotated)".into(),
                (_, true) => "device (superseded)".into(),
                _ => kind(credential.kind()).into(),
            },
            (&credential.username).into(),
            match credential.model.as_str() {
                "" => id_of(&credential.device).into(),
                model => model.into(),
            },
            relative(credential.update_time.as_ref(), now).into(),
            relative(credential.last_used_time.as_ref(), now).into(),
        ]);
    }
    app.print_table(table, "no credentials")
}

const fn kind(kind: nb::CredentialKind) -> &'static str {
    match kind {
        nb::CredentialKind::Unspecified => "",
        nb::CredentialKind::Onboarding => "onboarding",
        nb::CredentialKind::Device => "device",
        nb::CredentialKind::ConnectionRequest => "connection-request",
        nb::CredentialKind::Model => "model",
    }
}
