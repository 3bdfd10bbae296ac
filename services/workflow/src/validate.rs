//! What a task may be: each error names the field, the shape that is expected and the remedy.

mod software;
mod transfers;

pub(crate) use transfers::span;

use hearth_clients::{Error, Result};
use hearth_proto::{
    types::v1::{ParameterValue, TaskSpec, ValueType, task_spec::Kind},
    workflow::v1::CreateTaskRequest,
};
use hearth_types::{CommandKey, DeviceKey, Notification, ParameterPath, Timestamp};
use std::collections::HashSet;

/// What the contract takes.
const MAX_READ: usize = 10_000;
const MAX_SET: usize = 1000;
const MAX_KEY: usize = 128;
/// Bytes of a request to a device: what every device must take (TR-069 3.5). What sets values or
/// attributes is one message and can't be split.
const MAX_MESSAGE: usize = 32 * 1024;
/// Bytes of a request beside its items.
pub(crate) const ENVELOPE: usize = 1024;
/// Bytes of an item beside its texts.
const ITEM: usize = 120;

/// Checks a request but for its key and spec.
pub(crate) fn request(request: &CreateTaskRequest, now: Timestamp) -> Result<()> {
    let bad = |field: &str, message: &str| Err(Error::invalid(field, message));
    if !(-100..=100).contains(&request.priority) {
        return bad("priority", "expected a number from -100 to 100");
    }
    if request.deadline_us != 0 && request.deadline_us <= now.as_micros() {
        return bad(
            "deadline",
            "expected a time in the future; leave it out for the server's default",
        );
    }
    if request.max_attempts > CommandKey::MAX_ATTEMPT / 1000 {
        return bad("max_attempts", "expected a number from 1 to 99");
    }
    Ok(())
}

/// Checks the key by which a request is known when it is made again.
pub(crate) fn idempotency_key(key: &str) -> Result<()> {
    if key.len() > MAX_KEY || !key.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(Error::invalid(
            "idempotency_key",
            "expected at most 128 printable ASCII characters without blanks",
        ));
    }
    Ok(())
}

/// Checks what is to be done.
pub(crate) fn spec(device: &DeviceKey, spec: &TaskSpec) -> Result<()> {
    let Some(kind) = &spec.kind else {
        return Err(Error::invalid(
            "spec",
            "expected exactly one kind of task, such as get_parameter_values or reboot",
        ));
    };
    match kind {
        Kind::GetParameterValues(get) => {
            paths("spec.get_parameter_values.paths", &get.paths, MAX_READ)
        }
        Kind::GetParameterAttributes(get) => {
            paths("spec.get_parameter_attributes.paths", &get.paths, MAX_SET)
        }
        Kind::GetParameterNames(names) => names_path(&names.path, names.next_level),
        Kind::Refresh(refresh) if refresh.path.is_empty() => Ok(()),
        Kind::Refresh(refresh) => partial("spec.refresh.path", &refresh.path).map(drop),
        Kind::SetParameterValues(set) => {
            values("spec.set_parameter_values.values", &set.values, true)
        }
        Kind::SetParameterAttributes(set) => attributes(set),
        Kind::AddObject(add) => {
            let field = "spec.add_object.object";
            partial(field, &add.object)?;
            if ends_in_number(&add.object) {
                return Err(Error::invalid(
                    field,
                    "expected the table without an instance number: `Device.NAT.PortMapping.`",
                ));
            }
            if let Some(alias) = crate::plan::object::alias_of(&add.object) {
                self::alias(field, alias)?;
            }
            if add.values.is_empty() {
                return Ok(());
            }
            values("spec.add_object.values", &add.values, false)
        }
        Kind::DeleteObject(delete) => {
            let field = "spec.delete_object.object";
            partial(field, &delete.object)?;
            if ends_in_number(&delete.object) || delete.object.ends_with("].") {
                return Ok(());
            }
            Err(Error::invalid(
                field,
                "expected an instance: `Device.NAT.PortMapping.3.`",
            ))
        }
        Kind::Download(download) => transfers::download(device, download),
        Kind::Upload(upload) => transfers::upload(upload),
        Kind::ScheduleDownload(download) => transfers::schedule(device, download),
        Kind::CancelTransfer(cancel) => transfers::cancel(device, cancel),
        Kind::ChangeDuState(change) => software::change(device, change),
        Kind::ScheduleInform(schedule) if schedule.delay_seconds == 0 => Err(Error::invalid(
            "spec.schedule_inform.delay_seconds",
            "expected a number over 0; to have the device connect now, wake it",
        )),
        Kind::ScheduleInform(_)
        | Kind::Reboot(_)
        | Kind::FactoryReset(_)
        | Kind::GetQueuedTransfers(_)
        | Kind::GetRpcMethods(_) => Ok(()),
    }
}

fn count(field: &str, count: usize, max: usize) -> Result<()> {
    if (1..=max).contains(&count) {
        return Ok(());
    }
    Err(Error::invalid(
        field,
        format!("expected 1 to {max}, got {count}; split a larger job into several tasks"),
    ))
}

fn at_most(field: &str, text: &str, max: usize) -> Result<()> {
    if text.chars().count() <= max {
        return Ok(());
    }
    Err(Error::invalid(
        field,
        format!("expected at most {max} characters, as TR-069 allows no more"),
    ))
}

fn path(field: &str, text: &str) -> Result<ParameterPath> {
    text.parse()
        .map_err(|error: hearth_types::Invalid| Error::invalid(field, error.reason))
}

fn partial(field: &str, text: &str) -> Result<ParameterPath> {
    let path = path(field, text)?;
    if path.is_partial() {
        return Ok(path);
    }
    Err(Error::invalid(
        field,
        format!("expected an object's path, ending in a dot: `{text}.`"),
    ))
}

/// An alias that the ACS gives (TR-106: Alias): a letter first, at most 64 characters, and none of
/// those that paths are made of. Those of the device itself begin with `cpe-`.
fn alias(field: &str, alias: &str) -> Result<()> {
    let good = |c: char| !matches!(c, '[' | ']' | '.');
    let shape = alias.starts_with(|c: char| c.is_ascii_alphabetic()) && alias.chars().all(good);
    if shape && !alias.starts_with("cpe-") && alias.chars().count() <= 64 {
        return Ok(());
    }
    Err(Error::invalid(
        field,
        "expected an alias that begins with a letter, not with `cpe-`, has at most 64 characters \
         and none of `[`, `]` and `.`: `Device.NAT.PortMapping.[web].`",
    ))
}

fn ends_in_number(path: &str) -> bool {
    let last = path.trim_end_matches('.').rsplit('.').next();
    last.is_some_and(|segment| segment.bytes().all(|b| b.is_ascii_digit()))
}

fn paths(field: &str, paths: &[String], max: usize) -> Result<()> {
    count(field, paths.len(), max)?;
    for (index, text) in paths.iter().enumerate() {
        path(&format!("{field}[{index}]"), text)?;
    }
    Ok(())
}

fn names_path(text: &str, next_level: bool) -> Result<()> {
    let field = "spec.get_parameter_names.path";
    let path = path(field, text)?;
    if next_level && !path.is_partial() {
        return Err(Error::invalid(
            field,
            format!("with next_level, expected an object's path, ending in a dot: `{text}.`"),
        ));
    }
    Ok(())
}

fn values(field: &str, values: &[ParameterValue], full: bool) -> Result<()> {
    count(field, values.len(), MAX_SET)?;
    let mut seen = HashSet::new();
    let mut size = ENVELOPE;
    for (index, value) in values.iter().enumerate() {
        let at = format!("{field}[{index}]");
        let path = path(&format!("{at}.path"), &value.path)?;
        if path.is_partial() {
            return Err(Error::invalid(
                format!("{at}.path"),
                "expected a parameter; a path ending in a dot is an object, which has no value",
            ));
        }
        if full && !value.path.contains('.') {
            return Err(Error::invalid(
                format!("{at}.path"),
                "expected a full path, such as `Device.ManagementServer.PeriodicInformInterval`",
            ));
        }
        if !seen.insert(value.path.as_str()) {
            return Err(Error::invalid(
                format!("{at}.path"),
                format!("{} is set twice; expected each parameter once", value.path),
            ));
        }
        let value_type = ValueType::try_from(value.r#type).map_err(|_| {
            Error::invalid(
                format!("{at}.type"),
                "expected a known type; leave it out to use the one that the device reported",
            )
        })?;
        if value_type != ValueType::Unspecified {
            let checked = hearth_types::ValueType::from(value_type).check(&value.value);
            checked.map_err(|error| Error::invalid(format!("{at}.value"), error.reason))?;
        }
        if let Some(bad) = value.value.chars().find(|c| !is_xml(*c)) {
            let code = u32::from(bad);
            return Err(Error::invalid(
                format!("{at}.value"),
                format!("holds U+{code:04X}, which can't be sent to a device; leave it out"),
            ));
        }
        size += ITEM + escaped(&value.path) + escaped(&value.value);
    }
    fits(field, size)
}

/// Whether XML 1.0 has the character.
fn is_xml(c: char) -> bool {
    !matches!(c, '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}')
}

/// Bytes of a text in XML.
pub(crate) fn escaped(text: &str) -> usize {
    let more = |b: u8| match b {
        b'&' | b'\r' => 4,
        b'<' | b'>' => 3,
        _ => 0,
    };
    text.len() + text.bytes().map(more).sum::<usize>()
}

fn fits(field: &str, size: usize) -> Result<()> {
    if size <= MAX_MESSAGE {
        return Ok(());
    }
    Err(Error::invalid(
        field,
        format!(
            "make a message of about {size} bytes; expected at most {MAX_MESSAGE}, which is what \
             every device must take; set them by several tasks"
        ),
    ))
}

fn attributes(set: &hearth_proto::types::v1::SetParameterAttributes) -> Result<()> {
    let field = "spec.set_parameter_attributes.attributes";
    count(field, set.attributes.len(), MAX_SET)?;
    let mut size = ENVELOPE;
    for (index, attribute) in set.attributes.iter().enumerate() {
        let at = format!("{field}[{index}]");
        path(&format!("{at}.path"), &attribute.path)?;
        if let Some(number) = attribute.notification {
            Notification::new(number)
                .map_err(|error| Error::invalid(format!("{at}.notification"), error.reason))?;
        } else if !attribute.set_access_list {
            return Err(Error::invalid(
                &*at,
                "sets nothing; expected a notification, or an access_list with set_access_list",
            ));
        }
        // More elements than a value, and one for each entry.
        size += 3 * ITEM + escaped(&attribute.path);
        for entry in &attribute.access_list {
            at_most(&format!("{at}.access_list"), entry, 64)?;
            size += ITEM + escaped(entry);
        }
    }
    fits(field, size)
}
