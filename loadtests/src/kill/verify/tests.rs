//! A check that can't fail proves nothing: each rule is shown evidence that breaks it.

#![allow(clippy::unwrap_used)]

mod good;
mod optional;

use std::collections::BTreeSet;
use std::time::Duration;

use hearth_proto::northbound::v1 as nb;
use hearth_proto::types::v1::{self as ty, TaskState, task_spec::Kind as Spec};

use super::super::book::{Class, End};
use super::super::evidence::Evidence;
use super::verify;
use good::{CODE, OWN, change, executed, found, good, known, parameter, stamp};

/// The rules that evidence breaks after this change.
fn broken(change: impl FnOnce(&mut Evidence)) -> BTreeSet<&'static str> {
    let mut evidence = good();
    change(&mut evidence);
    let verdict = verify(&evidence);
    for violation in &verdict.violations {
        assert!(!violation.to_string().is_empty());
    }
    verdict
        .violations
        .iter()
        .map(|violation| violation.rule)
        .collect()
}

fn set_state(evidence: &mut Evidence, id: &str, state: TaskState) {
    evidence.tasks.get_mut(id).unwrap().state = state.into();
}

#[test]
fn a_good_outcome_passes_and_was_looked_at() {
    let verdict = verify(&good());
    assert!(verdict.violations.is_empty(), "{:#?}", verdict.violations);
    let looked = verdict.looked;
    assert_eq!((looked.tasks, looked.rpcs, looked.once), (4, 4, 3));
    assert_eq!((looked.informs, looked.values, looked.changes), (2, 2, 2));
    assert_eq!((looked.tags, looked.files, looked.restarts), (2, 1, 1));
}

#[test]
fn what_was_done_twice() {
    for (method, key) in [
        ("AddObject", "add.2"),
        ("Reboot", "boot.2"),
        ("Download", "load.2"),
    ] {
        let rules = broken(|e| {
            e.truth[0]
                .executed
                .push(executed(method, key, "Device.Users.User."));
            let id = key.split('.').next().unwrap();
            let attempt = ty::TaskAttempt {
                number: 2,
                ..ty::TaskAttempt::default()
            };
            e.tasks.get_mut(id).unwrap().attempts.push(attempt);
        });
        assert_eq!(rules, BTreeSet::from(["executed twice"]), "{method}");
    }
    // A fault is no execution, and a transfer that failed may be asked for again.
    let rules = broken(|e| {
        e.truth[0].executed[1].fault = Some(9002);
        e.truth[0]
            .executed
            .push(executed("AddObject", "add.1", "Device.Users.User."));
        let again = executed("Download", "load.1", "http://127.0.0.1/f");
        e.truth[0].executed[3].key = "load.0".to_owned();
        e.truth[0].executed.push(again);
        let mut failed = e.truth[0].transferred[0].clone();
        (failed.key, failed.fault) = ("load.0".to_owned(), Some(9015));
        e.truth[0].transferred.push(failed);
        let attempt = ty::TaskAttempt::default();
        e.tasks.get_mut("load").unwrap().attempts.push(attempt);
    });
    assert_eq!(rules, BTreeSet::new());
    let rules = broken(|e| {
        let moved = e.truth[0].transferred[0].clone();
        e.truth[0].transferred.push(moved);
    });
    assert_eq!(rules, BTreeSet::from(["transferred twice"]));
}

#[test]
fn tasks_that_are_lost_or_changed() {
    assert_eq!(
        broken(|e| drop(e.tasks.remove("set"))),
        BTreeSet::from(["task lost"])
    );
    assert_eq!(
        broken(|e| assert!(e.listed.remove("set"))),
        BTreeSet::from(["task not listed"])
    );
    let rules = broken(|e| set_state(e, "set", TaskState::Running));
    assert_eq!(rules, BTreeSet::from(["task not ended"]));
    let rules = broken(|e| e.tasks.get_mut("set").unwrap().device.push('x'));
    assert_eq!(rules, BTreeSet::from(["task changed"]));
    let rules = broken(|e| {
        let seen = End {
            state: TaskState::Failed,
            result: String::new(),
        };
        e.known.get_mut("set").unwrap().end = Some(seen);
    });
    assert_eq!(rules, BTreeSet::from(["result lost"]));
    let rules = broken(|e| assert!(e.listed.insert("stranger".to_owned())));
    assert_eq!(rules, BTreeSet::from(["task made twice"]));
    let rules = broken(|e| {
        e.known
            .get_mut("set")
            .unwrap()
            .other_names
            .insert("tenants/default/tasks/b".to_owned());
    });
    assert_eq!(rules, BTreeSet::from(["task made twice"]));
    let rules = broken(|e| e.truth[0].executed.push(executed("Reboot", "nobody.1", "")));
    assert_eq!(rules, BTreeSet::from(["RPC without a task"]));
    let rules = broken(|e| e.tasks.get_mut("set").unwrap().attempts.clear());
    assert_eq!(rules, BTreeSet::from(["attempt not recorded"]));
    let rules = broken(|e| e.known.get_mut("set").unwrap().cancelled = true);
    assert_eq!(rules, BTreeSet::from(["cancel lost"]));
}

#[test]
fn states_that_are_not_true() {
    let not_true = BTreeSet::from(["state not true"]);
    // SUCCEEDED, and the device never heard of it. (The value it set is gone with it.)
    let rules = broken(|e| drop(e.truth[0].executed.remove(0)));
    assert_eq!(rules, not_true);
    let rules = broken(|e| drop(e.truth[0].executed.remove(2)));
    assert_eq!(rules, not_true);
    let rules = broken(|e| e.truth[0].transferred[0].sha256 = "bad".to_owned());
    assert_eq!(rules, not_true);
    let rules = broken(|e| {
        e.tasks
            .get_mut("add")
            .unwrap()
            .result
            .as_mut()
            .unwrap()
            .instance_number = 8;
    });
    assert_eq!(rules, not_true);
    // Done, and denied.
    for state in [TaskState::Expired, TaskState::Cancelled, TaskState::Failed] {
        assert_eq!(
            broken(|e| set_state(e, "add", state)),
            not_true,
            "{state:?}"
        );
        assert_eq!(
            broken(|e| set_state(e, "load", state)),
            not_true,
            "{state:?}"
        );
    }
    // Failed without a reason on the device.
    let rules = broken(|e| {
        set_state(e, "boot", TaskState::Failed);
        e.truth[0].executed.remove(2);
    });
    assert_eq!(rules, BTreeSet::from(["task failed"]));
    // A device must refuse it.
    let rules = broken(|e| e.known.get_mut("boot").unwrap().wish.class = Class::Refused);
    assert_eq!(rules, not_true);
    let rules = broken(|e| {
        e.known.get_mut("add").unwrap().wish.class = Class::Refused;
        e.truth[0].executed[1].fault = Some(9005);
        set_state(e, "add", TaskState::Failed);
    });
    assert_eq!(rules, BTreeSet::from(["fault lost"]));
}

#[test]
fn a_deletion_is_done_when_the_instance_is_gone() {
    let with = |faults: &[u32]| {
        broken(|e| {
            let object = "Device.Users.User.9.".to_owned();
            let spec = Spec::DeleteObject(ty::DeleteObject { object });
            let known = known("delete", spec, Class::Normal);
            e.tasks
                .insert("delete".to_owned(), found(&known, TaskState::Succeeded));
            e.listed.insert("delete".to_owned());
            e.known.insert("delete".to_owned(), known);
            for fault in faults {
                let mut tried = executed("DeleteObject", "delete.1", "Device.Users.User.9.");
                tried.fault = Some(*fault);
                e.truth[0].executed.push(tried);
            }
        })
    };
    assert_eq!(with(&[9005, 9005]), BTreeSet::new());
    // Nothing was deleted, and the device was asked once: that is its fault to tell.
    assert_eq!(with(&[9005]), BTreeSet::from(["state not true"]));
    assert_eq!(with(&[9005, 9001]), BTreeSet::from(["state not true"]));
    assert_eq!(with(&[]), BTreeSet::from(["state not true"]));
}

#[test]
fn unknown_outcomes_that_were_known() {
    let rules = broken(|e| set_state(e, "boot", TaskState::UnknownOutcome));
    assert_eq!(rules, BTreeSet::from(["outcome was known"]));
    let rules = broken(|e| set_state(e, "add", TaskState::UnknownOutcome));
    assert_eq!(rules, BTreeSet::from(["outcome was known"]));
    // What is told when it has ended comes too late.
    let rules = broken(|e| {
        set_state(e, "boot", TaskState::UnknownOutcome);
        e.tasks.get_mut("boot").unwrap().update_time = stamp(5);
    });
    assert_eq!(rules, BTreeSet::new());
    // Nobody can know of a reboot that the device never told of.
    let rules = broken(|e| {
        set_state(e, "boot", TaskState::UnknownOutcome);
        e.truth[0].acknowledged[1].events.remove(1);
    });
    assert_eq!(rules, BTreeSet::new());
}

#[test]
fn informs_and_values_that_are_lost() {
    assert_eq!(
        broken(|e| e.said[0].device = None),
        BTreeSet::from(["device lost"])
    );
    let device =
        |change: fn(&mut nb::Device)| broken(|e| change(e.said[0].device.as_mut().unwrap()));
    let lost = BTreeSet::from(["inform lost"]);
    assert_eq!(device(|d| d.last_inform_time = stamp(1)), lost);
    assert_eq!(device(|d| d.last_boot_time = stamp(0)), lost);
    assert_eq!(device(|d| d.last_bootstrap_time = None), lost);
    assert_eq!(
        device(|d| d.inform_count = 1),
        BTreeSet::from(["inform not counted"])
    );
    assert_eq!(device(|d| d.tags = vec![]), BTreeSet::from(["tag lost"]));
    let came_back = device(|d| d.tags.push("kill:1".to_owned()));
    assert_eq!(came_back, BTreeSet::from(["tag came back"]));
    let rules = broken(|e| e.said[0].found_by_tag = Some(false));
    assert_eq!(rules, BTreeSet::from(["tag not found"]));

    let both = BTreeSet::from(["value lost", "value not current"]);
    let rules = broken(|e| e.said[0].parameters.extend([parameter(CODE, "", 1)]));
    assert_eq!(rules, both);
    assert_eq!(broken(|e| drop(e.said[0].parameters.remove(OWN))), both);
    // Newer than the Inform: no loss, but not what the device has at the end.
    let rules = broken(|e| e.said[0].parameters.extend([parameter(CODE, "t9", 11)]));
    assert_eq!(rules, BTreeSet::from(["value not current"]));
    let rules = broken(|e| drop(e.said[0].history.remove(1)));
    assert_eq!(rules, BTreeSet::from(["change lost"]));
    let rules = broken(|e| e.said[0].history.push(change(OWN, "own-1")));
    assert_eq!(rules, BTreeSet::from(["change doubled"]));
}

#[test]
fn effects_that_the_device_does_not_show() {
    let rules = broken(|e| e.truth[0].instances.clear());
    assert_eq!(rules, BTreeSet::from(["effect lost"]));
    let rules = broken(|e| drop(e.truth[0].values.insert(CODE.to_owned(), "t0".to_owned())));
    assert_eq!(rules, BTreeSet::from(["effect lost", "value not current"]));
}

#[test]
fn files_and_starts_that_are_wrong() {
    let file = "tenants/default/files/config-1.bin";
    assert_eq!(
        broken(|e| drop(e.kept.remove(file))),
        BTreeSet::from(["file lost"])
    );
    let rules = broken(|e| e.kept.get_mut(file).unwrap().sha256 = "bad".to_owned());
    assert_eq!(rules, BTreeSet::from(["file changed"]));
    let rules = broken(|e| e.restarts.push(Duration::from_millis(2001)));
    assert_eq!(rules, BTreeSet::from(["slow restart"]));
    let rules = broken(|e| e.accidents.push("panicked at".to_owned()));
    assert_eq!(rules, BTreeSet::from(["server failed"]));
    let rules = broken(|e| e.refused.push("Reboot: no".to_owned()));
    assert_eq!(rules, BTreeSet::from(["request refused"]));
    assert_eq!(
        broken(|e| e.preloaded = 1),
        BTreeSet::from(["devices counted"])
    );
}
