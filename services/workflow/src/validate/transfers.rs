//! Transfers: Download, ScheduleDownload, Upload, and their cancellation.

use super::at_most;
use hearth_clients::{Error, Result};
use hearth_proto::{
    convert,
    types::v1::{
        CancelTransfer, Download, ScheduleDownload, TaskSpec, TimeWindow, Upload, task_spec::Kind,
    },
};
use hearth_types::{DeviceKey, ResourceName, Timestamp};
use std::time::Duration;

/// Limits of TR-069's data types (A.3.2), in characters.
const MAX_URL: usize = 256;
const MAX_FILE_TYPE: usize = 64;
const MAX_CREDENTIAL: usize = 256;
const MAX_TARGET: usize = 256;
const MAX_MESSAGE: usize = 256;
const MAX_COMMAND_KEY: usize = 32;

/// TR-069 A.3.2.8
const DOWNLOADS: &[&str] = &[
    "1 Firmware Upgrade Image",
    "2 Web Content",
    "3 Vendor Configuration File",
    "4 Tone File",
    "5 Ringer File",
    "6 Stored Firmware Image",
];
/// TR-069 A.4.1.5
const UPLOADS: &[&str] = &["1 Vendor Configuration File", "2 Vendor Log File"];
/// Likewise: one of several, by its instance number.
const INSTANCES: &[&str] = &["3 Vendor Configuration File ", "4 Vendor Log File "];
/// TR-069 A.4.1.8
const MODES: &[&str] = &[
    "1 At Any Time",
    "2 Immediately",
    "3 When Idle",
    "4 Confirmation Needed",
];

pub(super) fn download(device: &DeviceKey, download: &Download) -> Result<()> {
    let field = |name: &str| format!("spec.download.{name}");
    download_type(&field("file_type"), &download.file_type)?;
    source(device, &field, &download.file, &download.url, MAX_URL)?;
    credentials(&field, &download.username, &download.password)?;
    at_most(
        &field("target_file_name"),
        &download.target_file_name,
        MAX_TARGET,
    )?;
    for (name, address) in [
        ("success_url", &download.success_url),
        ("failure_url", &download.failure_url),
    ] {
        if !address.is_empty() {
            url(&field(name), address, MAX_URL)?;
        }
    }
    Ok(())
}

pub(super) fn upload(upload: &Upload) -> Result<()> {
    let field = |name: &str| format!("spec.upload.{name}");
    upload_type(&field("file_type"), &upload.file_type)?;
    if !upload.url.is_empty() {
        url(&field("url"), &upload.url, MAX_URL)?;
    }
    credentials(&field, &upload.username, &upload.password)
}

pub(super) fn schedule(device: &DeviceKey, download: &ScheduleDownload) -> Result<()> {
    let field = |name: &str| format!("spec.schedule_download.{name}");
    download_type(&field("file_type"), &download.file_type)?;
    source(device, &field, &download.file, &download.url, MAX_URL)?;
    credentials(&field, &download.username, &download.password)?;
    at_most(
        &field("target_file_name"),
        &download.target_file_name,
        MAX_TARGET,
    )?;
    windows(&field("time_windows"), &download.time_windows)
}

pub(super) fn cancel(device: &DeviceKey, cancel: &CancelTransfer) -> Result<()> {
    const TASK: &str = "spec.cancel_transfer.task";
    const KEY: &str = "spec.cancel_transfer.command_key";
    match (cancel.task.as_str(), cancel.command_key.as_str()) {
        ("", "") => Err(Error::invalid(
            TASK,
            "expected the task of a transfer (`tenants/{tenant}/tasks/{task}`), or else a \
             command_key, as a GetQueuedTransfers task shows it",
        )),
        ("", key) => at_most(KEY, key, MAX_COMMAND_KEY),
        (task, "") => match task.parse::<ResourceName>() {
            Ok(ResourceName::Task(tenant, _)) if tenant == device.tenant => Ok(()),
            _ => Err(Error::invalid(
                TASK,
                format!(
                    "expected a task of the device's tenant: `tenants/{}/tasks/{{task}}`",
                    device.tenant
                ),
            )),
        },
        _ => Err(Error::invalid(
            KEY,
            "expected either a task or a command_key, not both",
        )),
    }
}

/// How long a task takes at least until its device is done: until the end of its last window of
/// time. Its deadline, if one is given, must not come before.
pub(crate) fn span(spec: &TaskSpec, deadline_us: i64, now: Timestamp) -> Result<Duration> {
    let Some(Kind::ScheduleDownload(download)) = &spec.kind else {
        return Ok(Duration::ZERO);
    };
    let Some(last) = download.time_windows.last() else {
        return Ok(Duration::ZERO);
    };
    let span = match &last.end_time {
        Some(at) => {
            let micros = convert::micros(Some(at)).saturating_sub(now.as_micros());
            Duration::from_micros(u64::try_from(micros).unwrap_or(0))
        }
        None => Duration::from_secs(last.window_end.into()),
    };
    if span.is_zero() {
        return Err(Error::invalid(
            "spec.schedule_download.time_windows",
            "are past; expected at least one that ends in the future",
        ));
    }
    if deadline_us != 0 && now.saturating_add(span).as_micros() > deadline_us {
        return Err(Error::invalid(
            "deadline",
            "comes before the last window of time ends; expected a later one, or leave it out for \
             the server's default behind that window",
        ));
    }
    Ok(span)
}

fn windows(field: &str, windows: &[TimeWindow]) -> Result<()> {
    if !(1..=2).contains(&windows.len()) {
        return Err(Error::invalid(
            field,
            format!("expected one or two windows of time, got {}", windows.len()),
        ));
    }
    for (index, one) in windows.iter().enumerate() {
        window(&format!("{field}[{index}]"), one)?;
    }
    let [first, second] = windows else {
        return Ok(());
    };
    if first.start_time.is_some() != second.start_time.is_some() {
        return Err(Error::invalid(
            format!("{field}[1]"),
            "expected both windows by seconds, or both by times",
        ));
    }
    let overlap = match (&first.end_time, &second.start_time) {
        (Some(end), Some(start)) => convert::micros(Some(start)) < convert::micros(Some(end)),
        _ => second.window_start < first.window_end,
    };
    if overlap {
        return Err(Error::invalid(
            format!("{field}[1].window_start"),
            "expected a second window that begins when the first has ended, or later",
        ));
    }
    Ok(())
}

fn window(field: &str, window: &TimeWindow) -> Result<()> {
    let at = |name: &str| format!("{field}.{name}");
    let by_times = window.start_time.is_some() || window.end_time.is_some();
    if by_times && (window.window_start != 0 || window.window_end != 0) {
        return Err(Error::invalid(
            at("start_time"),
            "expected either seconds (window_start, window_end) or times (start_time, end_time)",
        ));
    }
    let (ordered, name) = match (&window.start_time, &window.end_time) {
        (Some(start), Some(end)) => (
            convert::micros(Some(end)) > convert::micros(Some(start)),
            "end_time",
        ),
        (None, None) => (window.window_end > window.window_start, "window_end"),
        (None, _) => (false, "start_time"),
        (_, None) => (false, "end_time"),
    };
    if !ordered {
        return Err(Error::invalid(
            at(name),
            "expected a window of time that ends after its start",
        ));
    }
    let mode = window.window_mode.as_str();
    if !MODES.contains(&mode) && !is_vendors(mode) {
        return Err(Error::invalid(
            at("window_mode"),
            format!(
                "expected one of `{}`, or a vendor's own: `X 00D09E Special`",
                MODES.join("`, `")
            ),
        ));
    }
    at_most(&at("window_mode"), mode, MAX_FILE_TYPE)?;
    at_most(&at("user_message"), &window.user_message, MAX_MESSAGE)?;
    if window.max_retries < -1 {
        return Err(Error::invalid(
            at("max_retries"),
            "expected 0 or more, or -1 for as the device likes",
        ));
    }
    Ok(())
}

/// `X <OUI> …`
fn is_vendors(text: &str) -> bool {
    let mut words = text.splitn(3, ' ');
    let (x, oui, rest) = (words.next(), words.next(), words.next());
    let is_oui = |oui: &str| {
        let digit = |b: u8| b.is_ascii_digit() || (b'A'..=b'F').contains(&b);
        oui.len() == 6 && oui.bytes().all(digit)
    };
    x == Some("X") && oui.is_some_and(is_oui) && rest.is_some_and(|rest| !rest.trim().is_empty())
}

fn download_type(field: &str, text: &str) -> Result<()> {
    if DOWNLOADS.contains(&text) || is_vendors(text) {
        return at_most(field, text, MAX_FILE_TYPE);
    }
    Err(Error::invalid(
        field,
        format!(
            "expected a CWMP FileType: one of `{}`, or a vendor's own: `X 00D09E Special`",
            DOWNLOADS.join("`, `")
        ),
    ))
}

fn upload_type(field: &str, text: &str) -> Result<()> {
    let is_instance = |prefix: &&str| {
        let number = text.strip_prefix(*prefix);
        number.is_some_and(|n| !n.starts_with('0') && n.parse::<u32>().is_ok())
    };
    if UPLOADS.contains(&text) || INSTANCES.iter().any(is_instance) || is_vendors(text) {
        return at_most(field, text, MAX_FILE_TYPE);
    }
    Err(Error::invalid(
        field,
        "expected a CWMP FileType: `1 Vendor Configuration File`, `2 Vendor Log File`, one of \
         several by its number (`3 Vendor Configuration File 1`, `4 Vendor Log File 1`), or a \
         vendor's own: `X 00D09E Special`",
    ))
}

/// Where a device fetches from: a file of this server, or a URL.
pub(super) fn source(
    device: &DeviceKey,
    field: &dyn Fn(&str) -> String,
    file: &str,
    address: &str,
    max_url: usize,
) -> Result<()> {
    match (file, address) {
        ("", "") => Err(Error::invalid(
            field("file"),
            "expected a file of this server (`tenants/{tenant}/files/{file}`), or else a url",
        )),
        ("", address) => url(&field("url"), address, max_url),
        (file, "") => match file.parse::<ResourceName>() {
            Ok(ResourceName::File(tenant, _)) if tenant == device.tenant => Ok(()),
            _ => Err(Error::invalid(
                field("file"),
                format!(
                    "expected a file of the device's tenant: `tenants/{}/files/{{file}}`",
                    device.tenant
                ),
            )),
        },
        _ => Err(Error::invalid(
            field("url"),
            "expected either a file of this server or a url, not both",
        )),
    }
}

pub(super) fn credentials(
    field: &dyn Fn(&str) -> String,
    username: &str,
    password: &str,
) -> Result<()> {
    at_most(&field("username"), username, MAX_CREDENTIAL)?;
    at_most(&field("password"), password, MAX_CREDENTIAL)
}

pub(super) fn url(field: &str, text: &str, max: usize) -> Result<()> {
    at_most(field, text, max)?;
    let has_host = text.split_once("://").is_some_and(|(scheme, rest)| {
        let good = |b: u8| b.is_ascii_alphanumeric() || b"+-.".contains(&b);
        !scheme.is_empty() && scheme.bytes().all(good) && !rest.is_empty()
    });
    if has_host && !text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Ok(());
    }
    Err(Error::invalid(
        field,
        "expected a URL that the device can reach: `http://host/path`",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_of_files() {
        for good in ["1 Firmware Upgrade Image", "5 Ringer File", "X 00D09E Map"] {
            assert!(download_type("f", good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "1 Firmware",
            "7 Other",
            "X Map",
            "X 00d09e Map",
            "X 00D09E ",
        ] {
            assert!(download_type("f", bad).is_err(), "{bad}");
        }
        for good in [
            "2 Vendor Log File",
            "3 Vendor Configuration File 2",
            "X 00D09E Log",
        ] {
            assert!(upload_type("f", good).is_ok(), "{good}");
        }
        for bad in [
            "3 Vendor Configuration File",
            "4 Vendor Log File 0",
            "4 Vendor Log File one",
            "1 Firmware Upgrade Image",
        ] {
            assert!(upload_type("f", bad).is_err(), "{bad}");
        }
    }
}
