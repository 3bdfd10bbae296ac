//! Events that only enter the history.

use hearth_proto::events::v1::{
    DeviceRequest, DuStateChange, TaskChanged, TransferComplete, WakeEnded,
};
use hearth_types::{MASK, is_secret_name};

use super::Context;
use crate::history;
use crate::overlay::Change;

/// TransferComplete and AutonomousTransferComplete (TR-069 A.3.3.2, A.3.3.3).
pub fn transfer(cx: &Context<'_>, transfer: &TransferComplete) -> Change {
    let what = match (transfer.autonomous, transfer.is_download) {
        (false, _) => "transfer",
        (true, true) => "autonomous download",
        (true, false) => "autonomous upload",
    };
    let summary = match transfer.fault_code {
        0 => format!("{what} complete"),
        code => format!("{what}: fault {code} {}", transfer.fault_string),
    };
    one(cx, "transfer", &summary, task_of(&transfer.command_key))
}

/// DUStateChangeComplete and AutonomousDUStateChangeComplete (TR-069 A.4.2.3, A.4.2.4).
pub fn units(cx: &Context<'_>, change: &DuStateChange) -> Change {
    let units = change.results.iter().map(|unit| {
        let version = match unit.version.as_str() {
            "" => String::new(),
            version => format!(" {version}"),
        };
        let operation = match unit.operation.as_str() {
            "" => String::new(),
            operation => format!("{operation}: "),
        };
        let fault = unit.fault.as_ref().map_or_else(String::new, |fault| {
            format!(", fault {} {}", fault.code, fault.text)
        });
        format!(
            "{operation}{}{version} {}{fault}",
            unit.uuid, unit.current_state
        )
    });
    let what = match change.autonomous {
        true => "autonomous change of software modules",
        false => "change of software modules",
    };
    let summary = format!("{what}: {}", units.collect::<Vec<_>>().join("; "));
    one(cx, "software", &summary, task_of(&change.command_key))
}

/// A request of the device's own.
pub fn request(cx: &Context<'_>, request: &DeviceRequest) -> Change {
    let mut arguments: Vec<String> = request
        .arguments
        .iter()
        .map(|(name, value)| match is_secret_name(name) {
            true => format!("{name}={MASK}"),
            false => format!("{name}={value}"),
        })
        .collect();
    arguments.sort_unstable();
    let summary = format!("{} {}", request.method, arguments.join(", "));
    one(cx, "request", summary.trim_end(), String::new())
}

/// A task's end.
pub fn task(cx: &Context<'_>, task: &TaskChanged) -> Change {
    if !task.state().is_final() {
        return Change::default();
    }
    let reason = match task.reason.is_empty() {
        true => String::new(),
        false => format!(": {}", task.reason),
    };
    let summary = format!("{} {}{reason}", task.kind, task.state().label());
    one(cx, "task", &summary, task.task.clone())
}

/// A wake-up's end.
pub fn wake(cx: &Context<'_>, wake: &WakeEnded) -> Change {
    let summary = match wake.accepted {
        true => "connection request accepted".to_owned(),
        false => format!("connection request failed: {}", wake.outcome),
    };
    one(cx, "wake", &summary, String::new())
}

fn one(cx: &Context<'_>, kind: &str, summary: &str, task: String) -> Change {
    let mut entry = history::entry(cx.time, cx.session, kind, summary);
    entry.task = task;
    Change {
        history: vec![history::row(cx.time, cx.first_seq, 0, &entry)],
        ..Change::default()
    }
}

/// The task of a CommandKey of ours; empty for another's.
fn task_of(command_key: &str) -> String {
    let key = command_key.parse::<hearth_types::CommandKey>();
    key.map_or_else(|_| String::new(), |key| key.task.to_string())
}
