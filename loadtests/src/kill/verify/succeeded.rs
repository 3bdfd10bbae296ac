//! What SUCCEEDED claims, kind by kind: the device did it, and the result tells what it was.

mod optional;

use hearth_proto::northbound::v1 as nb;
use hearth_proto::types::v1::{self as ty, task_spec::Kind as Spec};

use super::tasks::One;

pub(super) fn verify(task: &mut One<'_>, found: &nb::Task) {
    let Some(spec) = task.known.wish.spec.kind.clone() else {
        return;
    };
    let empty = ty::TaskResult::default();
    let result = found.result.as_ref().unwrap_or(&empty);
    let problem = match &spec {
        Spec::SetParameterValues(set) => {
            let mut paths = set.values.iter().map(|value| value.path.as_str());
            executed(task, "SetParameterValues").or_else(|| {
                let all = paths.all(|path| done_about(task, "SetParameterValues", path));
                (!all).then(|| "SetParameterValues of all its parameters".to_owned())
            })
        }
        Spec::GetParameterValues(get) => {
            executed(task, "GetParameterValues").or_else(|| values_read(task, &get.paths, result))
        }
        Spec::GetParameterNames(names) => executed(task, "GetParameterNames").or_else(|| {
            let under = result
                .names
                .iter()
                .any(|name| name.path.starts_with(&names.path));
            (!under).then(|| format!("names below {}", names.path))
        }),
        Spec::Refresh(_) => executed(task, "GetParameterValues")
            .or_else(|| executed(task, "GetParameterNames"))
            .or_else(|| (result.total == 0).then(|| "values".to_owned())),
        Spec::GetParameterAttributes(get) => {
            executed(task, "GetParameterAttributes").or_else(|| {
                let path = get.paths.first()?;
                let there = result.attributes.iter().any(|a| a.path == *path);
                (!there).then(|| format!("attributes of {path}"))
            })
        }
        Spec::SetParameterAttributes(_) => executed(task, "SetParameterAttributes"),
        Spec::AddObject(add) => added(task, add, result),
        Spec::DeleteObject(_) => executed(task, "DeleteObject").filter(|_| !gone(task)),
        Spec::Download(download) => fetched(task, "Download", &download.file),
        Spec::Upload(_) => uploaded(task, result),
        Spec::Reboot(_) => executed(task, "Reboot").or_else(|| {
            (!task.told("M Reboot"))
                .then(|| "an Inform with M Reboot and its CommandKey".to_owned())
        }),
        Spec::FactoryReset(_) => executed(task, "FactoryReset").or_else(|| bootstrapped(task)),
        Spec::ScheduleInform(_) => executed(task, "ScheduleInform"),
        Spec::GetRpcMethods(_) => executed(task, "GetRPCMethods").or_else(|| {
            let there = result.methods.iter().any(|method| method == "Reboot");
            (!there).then(|| "the device's methods".to_owned())
        }),
        Spec::ScheduleDownload(download) => fetched(task, "ScheduleDownload", &download.file),
        Spec::CancelTransfer(cancel) => optional::cancelled(task, cancel),
        Spec::GetQueuedTransfers(_) => optional::queued(task, result),
        Spec::ChangeDuState(change) => optional::changed(task, change, result),
    };
    if let Some(expected) = problem {
        task.add(
            "state not true",
            expected,
            format!("SUCCEEDED ({}) {result:?}", found.reason),
        );
    }
}

/// What is missing if the device has not executed this method for the task.
fn executed(task: &One<'_>, method: &str) -> Option<String> {
    let done = task.actions.done(task.id, method).next().is_some();
    (!done).then(|| format!("{method} executed by the device"))
}

/// Asked more than once to delete an instance, the device said last that there is none: so it is,
/// whoever took it.
fn gone(task: &One<'_>) -> bool {
    let mut tries = task.actions.all(task.id).iter().rev();
    let mut none = || {
        tries
            .next()
            .is_some_and(|executed| executed.fault == Some(9005))
    };
    none() && none()
}

fn done_about(task: &One<'_>, method: &str, path: &str) -> bool {
    let mut done = task.actions.done(task.id, method);
    done.any(|executed| executed.subject.split(',').any(|subject| subject == path))
}

fn values_read(task: &One<'_>, paths: &[String], result: &ty::TaskResult) -> Option<String> {
    for path in paths {
        let Some(value) = result.values.iter().find(|value| value.path == *path) else {
            return Some(format!("the value of {path}"));
        };
        let once = path.ends_with(".SerialNumber") && value.value == task.truth.serial;
        if !once && !possible(task, path, &value.value) {
            return Some(format!("a value that {path} had, not {:?}", value.value));
        }
    }
    None
}

/// Whether a parameter may have had this value: from the factory, by a task, or by the device.
fn possible(task: &One<'_>, path: &str, value: &str) -> bool {
    let by_task = task.evidence.known.values().any(|known| {
        let Some(Spec::SetParameterValues(set)) = &known.wish.spec.kind else {
            return false;
        };
        let device = task.known.wish.device;
        known.wish.device == device
            && set
                .values
                .iter()
                .any(|v| v.path == path && v.value == value)
    });
    let informed = task
        .truth
        .acknowledged
        .iter()
        .flat_map(|inform| &inform.values);
    let seen = informed
        .into_iter()
        .any(|v| v.name == path && v.value == value);
    let own = path == task.truth.target.own_path() && value.starts_with("own-");
    by_task || seen || own
}

fn added(task: &One<'_>, add: &ty::AddObject, result: &ty::TaskResult) -> Option<String> {
    executed(task, "AddObject").or_else(|| {
        let instance = task
            .actions
            .done(task.id, "AddObject")
            .find_map(|e| e.instance)?;
        if result.instance_number != instance {
            return Some(format!("instance {instance}, as the device made it"));
        }
        let path = format!("{}{instance}.", add.object);
        let mut values = add
            .values
            .iter()
            .map(|value| format!("{path}{}", value.path));
        let set = values.all(|path| done_about(task, "SetParameterValues", &path));
        (!set).then(|| format!("the values set on {path}"))
    })
}

/// A file that the server keeps, moved to the device.
fn fetched(task: &One<'_>, method: &str, file: &str) -> Option<String> {
    let kept = task.evidence.files.iter().find(|kept| kept.name == file);
    moved(task, method, kept.map(|kept| kept.sha256.as_str()))
}

fn moved(task: &One<'_>, method: &str, sha256: Option<&str>) -> Option<String> {
    executed(task, method).or_else(|| {
        let mut moved = task.actions.transferred(task.id).iter();
        let whole = moved.any(|t| t.fault.is_none() && Some(t.sha256.as_str()) == sha256);
        (!whole).then(|| format!("the whole file on the device, {sha256:?}"))
    })
}

fn uploaded(task: &One<'_>, result: &ty::TaskResult) -> Option<String> {
    let Some(kept) = task.evidence.kept.get(&result.file) else {
        return Some(format!("the file {:?} that the result names", result.file));
    };
    if !kept.file.task.ends_with(task.id) || kept.file.device != task.truth.name {
        let (device, of) = (&kept.file.device, &kept.file.task);
        return Some(format!(
            "a file of this task and device, not of {of} and {device}"
        ));
    }
    moved(task, "Upload", Some(&kept.sha256))
}

fn bootstrapped(task: &One<'_>) -> Option<String> {
    let reset = task.actions.done(task.id, "FactoryReset").next()?;
    let mut later = task
        .truth
        .acknowledged
        .iter()
        .filter(|a| a.session > reset.session);
    let told = later.any(|a| a.events.iter().any(|(code, _)| code == "0 BOOTSTRAP"));
    (!told).then(|| "an Inform with 0 BOOTSTRAP after the reset".to_owned())
}
