//! Rule 3: every acknowledged Inform is in the device's record, its parameters and its history;
//! and rule 4's tags. And that tasks had the effect that the device's own tree shows.

use std::collections::{BTreeMap, BTreeSet};

use hearth_proto::types::v1::{
    TaskState, du_operation::Kind as Operation, task_spec::Kind as Spec,
};

use super::super::evidence::{Evidence, Said, Truth};
use super::{Actions, Verdict, micros, stamp, task_of};

/// What stands for a secret in the API's answers.
const MASK: &str = "********";

pub(super) fn verify(number: usize, evidence: &Evidence, verdict: &mut Verdict) {
    let truth = &evidence.truth[number];
    let nothing = Said::default();
    let said = evidence.said.get(number).unwrap_or(&nothing);
    verdict.looked.informs += truth.acknowledged.len();
    if truth.acknowledged.is_empty() {
        return;
    }
    let Some(device) = &said.device else {
        let found = "no such device";
        verdict.add(
            "device lost",
            &truth.name,
            "",
            "an acknowledged device",
            found,
        );
        return;
    };
    times(truth, device, verdict);
    values(truth, said, verdict);
    settled(truth, said, verdict);
    history(truth, said, verdict);
    if let Some(tags) = evidence.tags.get(&number) {
        let there: BTreeSet<_> = device.tags.iter().cloned().collect();
        verdict.looked.tags += tags.present.len() + tags.removed.len();
        for tag in tags.present.difference(&there) {
            verdict.add("tag lost", &truth.name, "", tag, format!("{there:?}"));
        }
        for tag in tags.removed.intersection(&there) {
            verdict.add(
                "tag came back",
                &truth.name,
                "",
                format!("no {tag}"),
                format!("{there:?}"),
            );
        }
        if said.found_by_tag == Some(false) {
            let found = "it is not in the search's answer";
            verdict.add(
                "tag not found",
                &truth.name,
                "",
                "found by its first tag",
                found,
            );
        }
    }
}

/// The record is at least as new as the last acknowledged Inform. The server's times are those at
/// which it got the Informs: after the response to the one before was read, before the response to
/// this one was.
fn times(truth: &Truth, device: &hearth_proto::northbound::v1::Device, verdict: &mut Verdict) {
    let with = |code: Option<&str>| {
        let index = truth.acknowledged.iter().rposition(|inform| {
            code.is_none_or(|code| inform.events.iter().any(|(c, _)| c == code))
        })?;
        let before = index
            .checked_sub(1)
            .map_or(0, |i| micros(truth.acknowledged[i].at));
        Some((before, &truth.acknowledged[index]))
    };
    for (field, code, at) in [
        (
            "last_inform_time",
            None,
            stamp(device.last_inform_time.as_ref()),
        ),
        (
            "last_bootstrap_time",
            Some("0 BOOTSTRAP"),
            stamp(device.last_bootstrap_time.as_ref()),
        ),
        (
            "last_boot_time",
            Some("1 BOOT"),
            stamp(device.last_boot_time.as_ref()),
        ),
    ] {
        if let Some((before, inform)) = with(code)
            && at <= before
        {
            let expected = format!(
                "{field} after {before}: an Inform with {:?} was acknowledged at {}",
                inform.events,
                micros(inform.at)
            );
            verdict.add("inform lost", &truth.name, "", expected, format!("{at}"));
        }
    }
    let acknowledged = truth.acknowledged.len() as u64;
    if device.inform_count < acknowledged {
        let expected = format!("at least {acknowledged} Informs");
        let found = format!("{}", device.inform_count);
        verdict.add("inform not counted", &truth.name, "", expected, found);
    }
}

/// Each parameter is as the last acknowledged Inform with it told, or newer.
fn values(truth: &Truth, said: &Said, verdict: &mut Verdict) {
    let mut last = BTreeMap::new();
    for inform in &truth.acknowledged {
        if inform.events.iter().any(|(code, _)| code == "0 BOOTSTRAP") {
            // The server forgets what it knew of the tree.
            last.clear();
        }
        for value in &inform.values {
            last.insert(value.name.as_str(), (value.value.as_str(), inform));
        }
    }
    for (path, (value, inform)) in last {
        verdict.looked.values += 1;
        let expected = format!("{path} = {value:?}, acknowledged at {}", micros(inform.at));
        let Some(parameter) = said.parameters.get(path) else {
            verdict.add("value lost", &truth.name, "", expected, "no such parameter");
            continue;
        };
        let known = parameter.value.as_deref();
        let at = stamp(parameter.value_time.as_ref());
        if known != Some(value) && known != Some(MASK) && at < micros(inform.at) {
            let found = format!("{known:?} of {at}");
            verdict.add("value lost", &truth.name, "", expected, found);
        }
    }
}

/// At the end every device has informed once more and changed nothing since: what the server knows
/// of the parameters that the test changes is what they are.
fn settled(truth: &Truth, said: &Said, verdict: &mut Verdict) {
    for (path, value) in &truth.values {
        let known = said.parameters.get(path).and_then(|p| p.value.as_deref());
        if known != Some(value) {
            let expected = format!("{path} = {value:?}, as the device has it at the end");
            verdict.add(
                "value not current",
                &truth.name,
                "",
                expected,
                format!("{known:?}"),
            );
        }
    }
}

/// The history has each change of a value that acknowledged Informs tell. The test gives a
/// parameter no value twice, so that an entry can be known by its value.
fn history(truth: &Truth, said: &Said, verdict: &mut Verdict) {
    let mut entries: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for entry in &said.history {
        // A set that is sent again sets what is set already: an entry, but no change.
        if entry.kind == "value" && entry.old_value != entry.new_value {
            *entries.entry((&entry.path, &entry.new_value)).or_default() += 1;
        }
    }
    let [first, second] = truth.target.set_paths();
    for path in [first, second, truth.target.own_path()] {
        let mut before: Option<&str> = None;
        for inform in &truth.acknowledged {
            let bootstrap = inform.events.iter().any(|(code, _)| code == "0 BOOTSTRAP");
            let Some(value) = inform.values.iter().find(|value| value.name == path) else {
                continue;
            };
            let changed = before.is_some_and(|before| before != value.value) && !bootstrap;
            if changed {
                verdict.looked.changes += 1;
                let times = entries.get(&(&path, &value.value)).copied().unwrap_or(0);
                let (rule, expected) = match times {
                    1 => ("", ""),
                    0 => ("change lost", "its history has this change"),
                    _ => ("change doubled", "its history has this change once"),
                };
                if times != 1 {
                    let at = micros(inform.at);
                    let found = format!(
                        "{times} entries for {path}, {before:?} to {:?} at {at}",
                        value.value
                    );
                    verdict.add(rule, &truth.name, "", expected, found);
                }
            }
            before = Some(&value.value);
        }
    }
}

/// What tasks set is what the devices have at the end, by the order of their ledgers.
pub(super) fn effects(evidence: &Evidence, actions: &[Actions<'_>], verdict: &mut Verdict) {
    for (truth, actions) in evidence.truth.iter().zip(actions) {
        let mut values: BTreeMap<&str, (&str, &str)> = BTreeMap::new();
        let mut notification = None;
        let mut instances: BTreeMap<String, &str> = BTreeMap::new();
        for executed in truth
            .executed
            .iter()
            .filter(|executed| executed.fault.is_none())
        {
            let task = task_of(executed);
            let known = evidence.known.get(task);
            let spec = known.and_then(|known| known.wish.spec.kind.as_ref());
            match (executed.method, spec) {
                ("FactoryReset", _) => {
                    values.clear();
                    notification = None;
                    instances.clear();
                }
                ("SetParameterValues", Some(Spec::SetParameterValues(set))) => {
                    for value in &set.values {
                        values.insert(&value.path, (&value.value, task));
                    }
                }
                ("SetParameterAttributes", Some(Spec::SetParameterAttributes(set))) => {
                    notification = set
                        .attributes
                        .first()
                        .and_then(|a| a.notification)
                        .map(|n| (n, task));
                }
                ("AddObject", _) => {
                    let number = executed.instance.unwrap_or(0);
                    instances.insert(format!("{}{number}.", executed.subject), task);
                }
                ("DeleteObject", _) => {
                    instances.remove(&executed.subject);
                }
                _ => {}
            }
        }
        units(evidence, truth, verdict);
        for (path, (value, task)) in values {
            let has = truth.values.get(path).map(String::as_str);
            if has.is_some() && has != Some(value) {
                let expected = format!("{path} = {value:?} on the device");
                verdict.add(
                    "effect lost",
                    &truth.name,
                    task,
                    expected,
                    format!("{has:?}"),
                );
            }
        }
        if let Some((number, task)) = notification
            && truth.notification != Some(number)
        {
            let found = format!("{:?}", truth.notification);
            let expected = format!("notification {number} on the device");
            verdict.add("effect lost", &truth.name, task, expected, found);
        }
        for (path, task) in instances {
            let succeeded = actions.done(task, "AddObject").next().is_some();
            if succeeded && !truth.instances.contains(&path) {
                let expected = format!("{path} on the device");
                verdict.add(
                    "effect lost",
                    &truth.name,
                    task,
                    expected,
                    "no such instance",
                );
            }
        }
    }
}

/// The units that tasks have installed are there at the end, and those that tasks have uninstalled
/// are not. What became of a unit is left open where a task about it did not succeed.
fn units(evidence: &Evidence, truth: &Truth, verdict: &mut Verdict) {
    let mut units: BTreeMap<&str, (bool, &str)> = BTreeMap::new();
    let changes = truth.executed.iter();
    for executed in changes.filter(|e| e.method == "ChangeDUState" && e.fault.is_none()) {
        let task = task_of(executed);
        let known = evidence.known.get(task);
        let Some(Spec::ChangeDuState(change)) = known.and_then(|k| k.wish.spec.kind.as_ref())
        else {
            continue;
        };
        let found = evidence.tasks.get(task);
        let succeeded = found.is_some_and(|found| found.state() == TaskState::Succeeded);
        for operation in change.operations.iter().filter_map(|o| o.kind.as_ref()) {
            let (uuid, there) = match operation {
                Operation::Install(install) => (&install.uuid, true),
                Operation::Update(update) => (&update.uuid, true),
                Operation::Uninstall(uninstall) => (&uninstall.uuid, false),
            };
            match succeeded {
                true => units.insert(uuid, (there, task)),
                false => units.remove(uuid.as_str()),
            };
        }
    }
    for (uuid, (there, task)) in units {
        if truth.units.contains(uuid) != there {
            let word = |there| if there { "a unit" } else { "no unit" };
            let expected = format!("{} {uuid} on the device", word(there));
            let found = format!("{} {uuid}", word(!there));
            verdict.add("effect lost", &truth.name, task, expected, found);
        }
    }
}
