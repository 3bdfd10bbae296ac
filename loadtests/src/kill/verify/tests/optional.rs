//! The rules on the optional RPCs, broken one by one.

use hearth_proto::types::v1::du_operation::Kind as Operation;

use super::good::at;
use super::*;
use crate::Transferred;

const FILE: &str = "tenants/default/files/config-1.bin";
const UNIT: &str = "85f8a1c2-5d3e-4c1b-9b7a-0d4f2f0c9e11";

fn add(evidence: &mut Evidence, id: &str, spec: Spec, state: TaskState, result: ty::TaskResult) {
    let known = known(id, spec, Class::Normal);
    let task = nb::Task {
        result: Some(result),
        ..found(&known, state)
    };
    evidence.tasks.insert(id.to_owned(), task);
    evidence.listed.insert(id.to_owned());
    evidence.known.insert(id.to_owned(), known);
}

fn transferred(key: &str) -> Transferred {
    Transferred {
        at: at(6),
        key: key.to_owned(),
        download: true,
        fault: None,
        sha256: "f00d".to_owned(),
    }
}

fn schedule() -> Spec {
    Spec::ScheduleDownload(ty::ScheduleDownload {
        file: FILE.to_owned(),
        ..ty::ScheduleDownload::default()
    })
}

/// A download in its window, one that was cancelled in time, a look at the queue before that, and
/// a unit that was installed.
fn all_well(e: &mut Evidence) {
    let nothing = ty::TaskResult::default;
    add(e, "plan", schedule(), TaskState::Succeeded, nothing());
    add(e, "later", schedule(), TaskState::Cancelled, nothing());
    let cancel = Spec::CancelTransfer(ty::CancelTransfer {
        task: "tenants/default/tasks/later".to_owned(),
        ..ty::CancelTransfer::default()
    });
    add(e, "stop", cancel, TaskState::Succeeded, nothing());
    let queued = ty::TaskResult {
        transfers: vec![ty::QueuedTransfer {
            command_key: "later.1".to_owned(),
            task: "tenants/default/tasks/later".to_owned(),
            ..ty::QueuedTransfer::default()
        }],
        ..nothing()
    };
    let look = Spec::GetQueuedTransfers(ty::GetQueuedTransfers::default());
    add(e, "queue", look, TaskState::Succeeded, queued);
    let install = Operation::Install(ty::DuInstall {
        uuid: UNIT.to_owned(),
        file: FILE.to_owned(),
        ..ty::DuInstall::default()
    });
    let operations = vec![ty::DuOperation {
        kind: Some(install),
    }];
    let installed = ty::TaskResult {
        du_results: vec![ty::DuResult {
            uuid: UNIT.to_owned(),
            current_state: "Installed".to_owned(),
            ..ty::DuResult::default()
        }],
        ..nothing()
    };
    let change = Spec::ChangeDuState(ty::ChangeDuState { operations });
    add(e, "unit", change, TaskState::Succeeded, installed);
    let truth = &mut e.truth[0];
    truth.executed.extend([
        executed("ScheduleDownload", "plan.1", "http://127.0.0.1/f"),
        executed("ScheduleDownload", "later.1", "http://127.0.0.1/f"),
        executed("GetAllQueuedTransfers", "queue.1", ""),
        executed("CancelTransfer", "stop.1", "later.1"),
        executed("ChangeDUState", "unit.1", "1 operations"),
    ]);
    for one in &mut truth.executed {
        if matches!(one.method, "GetAllQueuedTransfers" | "CancelTransfer") {
            // They have no key of their own: cwmp:ID tells the task.
            one.key.clear();
        }
    }
    let done = ["plan.1", "unit.1"].map(transferred);
    truth.transferred.extend(done);
    truth.units.insert(UNIT.to_owned());
}

fn optional(change: impl FnOnce(&mut Evidence)) -> BTreeSet<&'static str> {
    broken(|evidence| {
        all_well(evidence);
        change(evidence);
    })
}

/// The entry of this method in the device's ledger.
fn entry<'e>(evidence: &'e mut Evidence, method: &str) -> &'e mut crate::Executed {
    let mut entries = evidence.truth[0].executed.iter_mut();
    entries.find(|one| one.method == method).unwrap()
}

fn told(evidence: &mut Evidence, code: &str, key: &str) {
    let event = (code.to_owned(), key.to_owned());
    evidence.truth[0].acknowledged[1].events.push(event);
}

fn reported(evidence: &mut Evidence, key: &str) {
    let report = (key.to_owned(), std::time::SystemTime::UNIX_EPOCH);
    evidence.truth[0].reported.push(report);
}

const NOT_TRUE: [&str; 1] = ["state not true"];

#[test]
fn good_ones_pass_and_doubled_ones_do_not() {
    assert_eq!(optional(|_| {}), BTreeSet::new());
    for (method, id) in [("ScheduleDownload", "plan"), ("ChangeDUState", "unit")] {
        let rules = optional(|e| {
            let again = executed(method, &format!("{id}.2"), "");
            e.truth[0].executed.push(again);
            let attempt = ty::TaskAttempt {
                number: 2,
                ..ty::TaskAttempt::default()
            };
            e.tasks.get_mut(id).unwrap().attempts.push(attempt);
        });
        assert_eq!(rules, BTreeSet::from(["executed twice"]), "{method}");
    }
    let rules = optional(|e| e.truth[0].transferred.push(transferred("plan.2")));
    assert_eq!(rules, BTreeSet::from(["transferred twice"]));
}

#[test]
fn success_that_the_device_does_not_know() {
    let not_true = BTreeSet::from(NOT_TRUE);
    for method in [
        "GetAllQueuedTransfers",
        "CancelTransfer",
        "ChangeDUState",
        "ScheduleDownload",
    ] {
        let rules = optional(|e| {
            let before = e.truth[0].executed.len();
            e.truth[0].executed.retain(|one| one.method != method);
            assert!(e.truth[0].executed.len() < before);
        });
        assert_eq!(rules, not_true, "{method}");
    }
    // The file came otherwise than it is kept.
    for key in ["plan.1", "unit.1"] {
        let rules = optional(|e| {
            let mut all = e.truth[0].transferred.iter_mut();
            all.find(|t| t.key == key).unwrap().sha256 = "bad".to_owned();
        });
        assert_eq!(rules, not_true, "{key}");
    }
    let result = |id: &str, change: fn(&mut ty::TaskResult)| {
        optional(|e| change(e.tasks.get_mut(id).unwrap().result.as_mut().unwrap()))
    };
    let rules = result("queue", |r| {
        r.transfers[0].task = "tenants/default/tasks/x".into()
    });
    assert_eq!(rules, not_true);
    assert_eq!(result("unit", |r| r.du_results.clear()), not_true);
    let rules = result("unit", |r| r.du_results[0].current_state = "Failed".into());
    assert_eq!(rules, not_true);
    let rules = result("unit", |r| {
        r.du_results[0].fault = Some(ty::Fault::default())
    });
    assert_eq!(rules, not_true);
    let rules = optional(|e| e.truth[0].units.clear());
    assert_eq!(rules, BTreeSet::from(["effect lost"]));
}

#[test]
fn a_cancelled_transfer_is_not_made_and_its_task_says_so() {
    let not_true = BTreeSet::from(NOT_TRUE);
    let rules = optional(|e| e.truth[0].transferred.push(transferred("later.1")));
    assert_eq!(rules, not_true);
    assert_eq!(
        optional(|e| set_state(e, "later", TaskState::Succeeded)),
        not_true
    );
    // Another transfer was cancelled than the one that was meant.
    let rules = optional(|e| entry(e, "CancelTransfer").subject = "plan.1".to_owned());
    assert_eq!(rules, not_true);
    // Cancelled, and told that nothing was done.
    assert_eq!(
        optional(|e| set_state(e, "stop", TaskState::Failed)),
        not_true
    );
    // It had begun: the device refuses, and the transfer is made.
    let refused = |code: u32, state: TaskState| {
        optional(|e| {
            entry(e, "CancelTransfer").fault = Some(code);
            set_state(e, "stop", state);
            set_state(e, "later", TaskState::Succeeded);
            e.truth[0].transferred.push(transferred("later.1"));
        })
    };
    assert_eq!(refused(9021, TaskState::Failed), BTreeSet::new());
    assert_eq!(
        refused(9002, TaskState::Failed),
        BTreeSet::from(["task failed"])
    );
    // It may have cancelled it at the first try, whose answer was lost.
    assert_eq!(refused(9021, TaskState::UnknownOutcome), BTreeSet::new());
    let rules = optional(|e| set_state(e, "stop", TaskState::UnknownOutcome));
    assert_eq!(rules, BTreeSet::from(["outcome was known"]));
    // It had ended before it could be cancelled.
    let rules = optional(|e| {
        e.truth[0]
            .executed
            .retain(|one| one.method != "CancelTransfer");
        set_state(e, "stop", TaskState::Failed);
        set_state(e, "later", TaskState::Succeeded);
        e.truth[0].transferred.push(transferred("later.1"));
    });
    assert_eq!(rules, BTreeSet::new());
}

#[test]
fn units_that_failed_and_units_that_nobody_can_know_of() {
    for state in [TaskState::Failed, TaskState::Expired, TaskState::Cancelled] {
        assert_eq!(
            optional(|e| set_state(e, "unit", state)),
            BTreeSet::from(NOT_TRUE)
        );
    }
    // The server was dead when the device wanted to fetch it.
    let rules = optional(|e| {
        set_state(e, "unit", TaskState::Failed);
        let mut all = e.truth[0].transferred.iter_mut();
        all.find(|t| t.key == "unit.1").unwrap().fault = Some(9015);
        e.truth[0].units.clear();
    });
    assert_eq!(rules, BTreeSet::new());
    let unknown = |id: &str| {
        let id = id.to_owned();
        move |e: &mut Evidence| set_state(e, &id, TaskState::UnknownOutcome)
    };
    // A device is never asked again, nor told twice: only its report can tell.
    assert_eq!(optional(unknown("unit")), BTreeSet::new());
    assert_eq!(optional(unknown("plan")), BTreeSet::new());
    for (id, code) in [("unit", "M ChangeDUState"), ("plan", "M ScheduleDownload")] {
        let rules = optional(|e| {
            unknown(id)(e);
            told(e, code, &format!("{id}.1"));
        });
        assert_eq!(rules, BTreeSet::new(), "{id}: the report may not have come");
        let rules = optional(|e| {
            unknown(id)(e);
            reported(e, &format!("{id}.1"));
        });
        assert_eq!(rules, BTreeSet::from(["outcome was known"]), "{id}");
    }
}
