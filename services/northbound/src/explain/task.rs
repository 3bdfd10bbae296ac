//! Why a task doesn't run, or how it ended.

use super::Known;
use super::device;
use super::finding::{Findings, span};
use hearth_proto::northbound::v1::FindingSeverity as Severity;
use hearth_proto::types::v1::{Fault, TaskState, task_spec::Kind};
use hearth_proto::workflow::v1 as wf;
use hearth_types::DeviceKey;

/// What there is to say about a task, in the order in which it matters.
pub(super) fn explain(key: &DeviceKey, task: &wf::Task, known: &Known, now: i64) -> Findings {
    let mut findings = Findings::new(key.device.as_str(), &task.id, now);
    match task.state() {
        TaskState::Succeeded => succeeded(&mut findings, task),
        TaskState::Failed => failed(&mut findings, task, known),
        TaskState::Expired => {
            ended(
                &mut findings,
                task,
                "task_expired",
                "Its deadline passed before it was done",
            );
            findings.take(device::explain(key, known, now), true);
        }
        TaskState::Cancelled => ended(&mut findings, task, "task_cancelled", "It was cancelled"),
        TaskState::UnknownOutcome => {
            let text = "It was sent, and whether the device did it can't be known";
            ended(&mut findings, task, "task_unknown_outcome", text);
        }
        _ => open(&mut findings, key, task, known),
    }
    findings
}

fn succeeded(findings: &mut Findings, task: &wf::Task) {
    let ago = span(findings.now - task.update_time_us);
    findings
        .add(
            Severity::Ok,
            "task_succeeded",
            format!("It was done {ago} ago."),
        )
        .at(task.update_time_us);
    if task
        .result
        .as_ref()
        .is_some_and(|result| result.reboot_required)
    {
        let sentence = "The device applies it at its next restart.".to_owned();
        findings.add(Severity::Hint, "applied_at_reboot", sentence);
    }
}

fn failed(findings: &mut Findings, task: &wf::Task, known: &Known) {
    match &task.fault {
        Some(fault) => add_fault(findings, task, fault, Severity::Decisive),
        None if is_unsupported(task, known) => unsupported(findings, task, Severity::Decisive),
        None => ended(findings, task, "task_failed", "It could not be done"),
    }
}

/// `Its deadline passed before it was done: the device …`
fn ended(findings: &mut Findings, task: &wf::Task, code: &str, text: &str) {
    let reason = task.reason.trim_end_matches('.');
    let sentence = match reason {
        "" => format!("{text}."),
        reason => format!("{text}: {reason}."),
    };
    findings
        .add(Severity::Decisive, code, sentence)
        .at(task.update_time_us)
        .fact("reason", reason)
        .fact("attempts", task.attempts.len().to_string());
}

fn add_fault(findings: &mut Findings, task: &wf::Task, fault: &Fault, severity: Severity) {
    let last = task.attempts.last();
    let rpc = last.map(|attempt| attempt.rpc.as_str()).unwrap_or_default();
    let to = match rpc {
        "" => String::new(),
        rpc => format!(" to {rpc}"),
    };
    let text = match fault.text.as_str() {
        "" => String::new(),
        text => format!(" ({})", hearth_telemetry::for_log_capped(text, 120)),
    };
    let parameters: Vec<String> = fault
        .parameters
        .iter()
        .take(10)
        .map(|parameter| format!("{} ({})", parameter.path, parameter.code))
        .collect();
    let of = match parameters.is_empty() {
        true => String::new(),
        false => format!(" for {}", parameters.join(", ")),
    };
    let sentence = format!(
        "The device answered{to} with fault {}{text}{of}.",
        fault.code
    );
    findings
        .add(severity, "task_fault", sentence)
        .at(task.update_time_us)
        .remedy(&fault.remedy)
        .fact("code", fault.code.to_string())
        .fact("text", &fault.text)
        .fact("rpc", rpc)
        .fact("parameters", parameters.join(", "))
        .fact("attempts", task.attempts.len().to_string());
}

/// The RPC that a task stands or falls with, where devices may lack it.
fn optional_rpc(task: &wf::Task) -> Option<&'static str> {
    Some(match task.spec.as_ref()?.kind.as_ref()? {
        Kind::ScheduleDownload(_) => "ScheduleDownload",
        Kind::CancelTransfer(_) => "CancelTransfer",
        Kind::ChangeDuState(_) => "ChangeDUState",
        Kind::Upload(_) => "Upload",
        Kind::FactoryReset(_) => "FactoryReset",
        Kind::ScheduleInform(_) => "ScheduleInform",
        Kind::GetQueuedTransfers(_) => "GetQueuedTransfers",
        _ => return None,
    })
}

fn is_unsupported(task: &wf::Task, known: &Known) -> bool {
    let Some(rpc) = optional_rpc(task) else {
        return false;
    };
    let learned = known
        .device
        .as_ref()
        .and_then(|device| device.learned.as_ref());
    learned.is_some_and(|learned| {
        learned.unsupported_rpcs.iter().any(|lacked| lacked == rpc)
            || (!learned.rpcs.is_empty() && !learned.rpcs.iter().any(|has| has == rpc))
    })
}

fn unsupported(findings: &mut Findings, task: &wf::Task, severity: Severity) {
    let rpc = optional_rpc(task).unwrap_or_default();
    let sentence = format!("Devices of this model do not implement {rpc}.");
    findings
        .add(severity, "rpc_unsupported", sentence)
        .fact("rpc", rpc)
        .fact("reason", &task.reason);
}

/// What an open task waits for.
fn open(findings: &mut Findings, key: &DeviceKey, task: &wf::Task, known: &Known) {
    let work = &known.work;
    if work.rebuilding {
        let sentence =
            "The queue of its device is being rebuilt: nothing is given out for some seconds.";
        findings.add(Severity::Decisive, "queue_rebuilding", sentence.to_owned());
    }
    let mine = work.tasks.iter().find(|open| open.task == task.id);
    let mut of_device = device::explain(key, known, findings.now);
    if task.state() == TaskState::WaitingForDevice {
        awaited(findings, task);
    } else if let Some(flight) = mine.filter(|open| open.in_flight_epoch > 0) {
        in_flight(findings, flight, work.in_session);
    } else if let Some(delayed) = mine.filter(|open| open.not_before_us > findings.now) {
        retried_later(findings, task, delayed);
    } else if work.in_session {
        in_session(findings, task, work);
    } else {
        let decided = of_device.is_decided();
        wakes(findings, task, mine, known, decided);
        ahead(findings, task, work, Severity::Hint);
    }
    if is_unsupported(task, known) {
        unsupported(findings, task, Severity::Hint);
    }
    if task.deadline_us > 0 {
        let sentence = match task.deadline_us - findings.now {
            left if left > 0 => format!("It is given up in {}.", span(left)),
            _ => "Its deadline has passed.".to_owned(),
        };
        findings
            .add(Severity::Hint, "deadline", sentence)
            .at(task.deadline_us);
    }
    // What keeps the device away keeps the task waiting, unless it waits for something else.
    let only_hints = findings.is_decided();
    of_device.retain(|finding| finding.code != "in_session" && !findings.has(&finding.code));
    findings.take(of_device, only_hints);
    if !findings.is_decided() {
        let sentence = "It waits for the device's next session.".to_owned();
        findings.add(Severity::Decisive, "waiting_for_session", sentence);
    }
}

/// The device has accepted: its report, or its return, is due.
fn awaited(findings: &mut Findings, task: &wf::Task) {
    let since = span(findings.now - task.update_time_us);
    let kind = task.spec.as_ref().and_then(|spec| spec.kind.as_ref());
    let (code, what) = match kind {
        Some(Kind::Download(_) | Kind::Upload(_) | Kind::ScheduleDownload(_)) => {
            ("awaiting_transfer", "its TransferComplete")
        }
        Some(Kind::Reboot(_)) => ("awaiting_event", "its Inform with 1 BOOT and M Reboot"),
        Some(Kind::FactoryReset(_)) => ("awaiting_event", "its Inform with 0 BOOTSTRAP"),
        Some(Kind::ChangeDuState(_)) => ("awaiting_event", "its DUStateChangeComplete"),
        _ => ("awaiting_event", "its event"),
    };
    let until = match task.deadline_us {
        0 => String::new(),
        at => format!(", until in {}", span((at - findings.now).max(0))),
    };
    let sentence = format!("The device has accepted {since} ago, and {what} is awaited{until}.");
    findings
        .add(Severity::Decisive, code, sentence)
        .at(task.update_time_us)
        .fact("awaited", what)
        .fact("reason", &task.reason);
}

/// Its RPC is out, or was when the session ended.
fn in_flight(findings: &mut Findings, flight: &wf::OpenTask, in_session: bool) {
    let since = span(findings.now - flight.in_flight_since_us);
    let rpc = match flight.rpc.as_str() {
        "" => "Its RPC",
        rpc => rpc,
    };
    let (code, what) = match in_session {
        true => ("in_flight", "and the device's answer is awaited"),
        false => (
            "session_lost",
            "and the session ended before the device's answer; its next session settles it",
        ),
    };
    let sentence = format!("{rpc} was sent {since} ago, {what}.");
    findings
        .add(Severity::Decisive, code, sentence)
        .at(flight.in_flight_since_us)
        .fact("rpc", &flight.rpc)
        .fact("epoch", flight.in_flight_epoch.to_string());
}

/// A try failed in a way that may pass.
fn retried_later(findings: &mut Findings, task: &wf::Task, delayed: &wf::OpenTask) {
    let wait = span(delayed.not_before_us - findings.now);
    let tries = format!("{} of {}", task.attempts.len(), task.max_attempts);
    let last = task.attempts.last().map(|attempt| attempt.outcome.as_str());
    let why = match last {
        None | Some("") => String::new(),
        Some(outcome) => format!(": {outcome}"),
    };
    let sentence = format!("Try {tries} failed{why}; the next is in {wait}.");
    findings
        .add(Severity::Decisive, "retry_later", sentence)
        .at(delayed.not_before_us)
        .fact("tries", task.attempts.len().to_string())
        .fact("outcome", last.unwrap_or_default());
    if let Some(fault) = &task.fault {
        add_fault(findings, task, fault, Severity::Hint);
    }
}

/// A session is under way and has something else in hand, or nothing yet.
fn in_session(findings: &mut Findings, task: &wf::Task, work: &wf::GetDeviceWorkResponse) {
    if ahead(findings, task, work, Severity::Decisive) {
        return;
    }
    let epoch = match work.epoch {
        0 => String::new(),
        epoch => epoch.to_string(),
    };
    let sentence = "A session of the device is under way, and the task is next.".to_owned();
    findings
        .add(Severity::Decisive, "next_in_session", sentence)
        .fact("epoch", epoch);
}

/// Another task that sessions take first; whether there is one.
fn ahead(
    findings: &mut Findings,
    task: &wf::Task,
    work: &wf::GetDeviceWorkResponse,
    severity: Severity,
) -> bool {
    // Tasks come in the order in which sessions take them.
    let before = work.tasks.iter().take_while(|open| open.task != task.id);
    let before: Vec<&wf::OpenTask> = before
        .filter(|open| open.state() != TaskState::WaitingForDevice)
        .collect();
    let Some(first) = before.first() else {
        return false;
    };
    let others = match before.len() - 1 {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    let doing = match first.in_flight_epoch {
        0 => "is",
        _ => "is under way",
    };
    let name = first.kind.replace('_', " ");
    let sentence = match first.in_flight_epoch {
        0 => format!("Task {} ({name}) {doing} ahead of it{others}.", first.task),
        _ => format!("Task {} ({name}) {doing}, ahead of it{others}.", first.task),
    };
    findings
        .add(severity, "behind_task", sentence)
        .fact("ahead", &first.task)
        .fact("kind", &first.kind)
        .fact("priority", first.priority.to_string())
        .fact("tasks_ahead", before.len().to_string());
    true
}

/// It waits for the device, which is asked to connect, or not.
fn wakes(
    findings: &mut Findings,
    task: &wf::Task,
    mine: Option<&wf::OpenTask>,
    known: &Known,
    device_decides: bool,
) {
    // Who is kept out, or was never there, need not be asked.
    let severity = match device_decides {
        true => Severity::Hint,
        false => Severity::Decisive,
    };
    next_inform(findings, known);
    if mine.is_some_and(|open| open.no_wake) {
        let sentence = "It waits for the device's own next session: it was made so.".to_owned();
        findings.add(severity, "not_waking", sentence);
        return;
    }
    if task.state() == TaskState::Waking {
        let accepted = known.work.wake.as_ref().is_some_and(|wake| wake.accepted);
        let sentence = match accepted {
            true => "The device has accepted a request to connect, and is awaited.",
            false => "The device is being asked to connect.",
        };
        findings.add(severity, "waking", sentence.to_owned());
        return;
    }
    let Some(device) = &known.device else { return };
    let mut waking = Findings::new("", "", findings.now);
    device::waking(&mut waking, device, known);
    waking.promote(severity, |code| {
        matches!(
            code,
            "wake_ignored"
                | "wake_unreachable"
                | "wake_credentials"
                | "wake_forbidden"
                | "wake_no_address"
                | "wake_offline"
                | "wake_busy"
                | "wake_rate_limited"
                | "no_address"
        )
    });
    findings.take(waking, false);
}

fn next_inform(findings: &mut Findings, known: &Known) {
    let next = device::next_inform(known);
    if next > findings.now {
        let wait = span(next - findings.now);
        let sentence = format!("The device's next periodic Inform is due in {wait}.");
        findings
            .add(Severity::Hint, "next_inform", sentence)
            .at(next);
    }
}
