//! Every finding, from the facts that bring it.
#![allow(clippy::unwrap_used)]

use super::codes::{ACS_FAULTS, FINDINGS};
use super::{Known, device, refusals, task};
use hearth_proto::convert::timestamp;
use hearth_proto::devicestate::v1 as ds;
use hearth_proto::northbound::v1::{Explanation, FindingSeverity as Severity};
use hearth_proto::types::v1 as ty;
use hearth_proto::types::v1::{DeviceState, TaskState, task_spec::Kind};
use hearth_proto::workflow::v1 as wf;
use hearth_types::DeviceKey;
use std::collections::HashSet;

const SECOND: i64 = 1_000_000;
const NOW: i64 = 1_800_000_000 * SECOND;
const ID: &str = "00D09E-Box-SN00007";
const TASK: &str = "01hzy3v7k2q4w6e8r0t2y4a6d8";
const OTHER: &str = "01hzy3v7k2q4w6e8r0t2y4a6d9";

fn key() -> DeviceKey {
    DeviceKey::parse("default", ID).unwrap()
}

fn well() -> Known {
    let device = ds::Device {
        tenant: "default".into(),
        id: ID.into(),
        last_inform_us: NOW - 60 * SECOND,
        periodic_inform_interval: 300,
        online: true,
        remote_address: "192.0.2.7".into(),
        connection_request_url: "http://192.0.2.7:7547/x".into(),
        state: DeviceState::Active.into(),
        ..ds::Device::default()
    };
    Known {
        device: Some(device),
        facts: ds::GetDeviceFactsResponse {
            may_onboard: true,
            has_connection_request_login: true,
            ..ds::GetDeviceFactsResponse::default()
        },
        work: wf::GetDeviceWorkResponse::default(),
    }
}

fn with(change: impl FnOnce(&mut Known)) -> Known {
    let mut known = well();
    change(&mut known);
    known
}

fn with_device(change: impl FnOnce(&mut ds::Device)) -> Known {
    with(|known| change(known.device.as_mut().unwrap()))
}

fn refusal(reason: &str, ago: i64) -> ds::Refusal {
    ds::Refusal {
        tenant: "default".into(),
        device: ID.into(),
        user: "router7".into(),
        address: "192.0.2.7".into(),
        reason: reason.into(),
        status: 401,
        count: 3,
        last_time_us: NOW - ago * SECOND,
        ..ds::Refusal::default()
    }
}

fn of_device(known: &Known) -> Explanation {
    device::explain(&key(), known, NOW).answer()
}

fn made(state: TaskState, kind: Kind) -> wf::Task {
    let mut task = wf::Task {
        id: TASK.into(),
        tenant: "default".into(),
        device: ID.into(),
        spec: Some(ty::TaskSpec { kind: Some(kind) }),
        create_time_us: NOW - 30 * SECOND,
        update_time_us: NOW - 20 * SECOND,
        max_attempts: 3,
        ..wf::Task::default()
    };
    task.set_state(state);
    task
}

fn read() -> Kind {
    Kind::GetParameterValues(ty::GetParameterValues::default())
}

fn open(task: &str, change: impl FnOnce(&mut wf::OpenTask)) -> wf::OpenTask {
    let mut open = wf::OpenTask {
        task: task.into(),
        kind: "reboot".into(),
        ..wf::OpenTask::default()
    };
    open.set_state(TaskState::Queued);
    change(&mut open);
    open
}

fn of_task(task: &wf::Task, known: &Known) -> Explanation {
    task::explain(&key(), task, known, NOW).answer()
}

fn codes(explanation: &Explanation) -> Vec<&str> {
    explanation
        .findings
        .iter()
        .map(|f| f.code.as_str())
        .collect()
}

fn why(explanation: &Explanation) -> &str {
    let first = &explanation.findings[0];
    assert_eq!(first.sentence, explanation.sentence);
    assert!(first.sentence.ends_with('.'), "{}", first.sentence);
    assert_eq!(first.severity(), Severity::Decisive, "{first:?}");
    &first.code
}

#[derive(Default)]
struct Seen(HashSet<String>);

impl Seen {
    fn see(&mut self, explanation: &Explanation) {
        self.0
            .extend(explanation.findings.iter().map(|f| f.code.clone()));
        for finding in &explanation.findings {
            assert!(!finding.remedy.contains('{'), "{}", finding.remedy);
        }
    }
}

/// Explanations of a device by what is first in them.
fn devices() -> Vec<(&'static str, Known)> {
    let wake = |outcome: &str, ago: i64| {
        with_device(|device| {
            device.last_wake = Some(ds::WakeRecord {
                outcome: outcome.into(),
                detail: "in words.".into(),
                time_us: NOW - ago * SECOND,
                ..ds::WakeRecord::default()
            });
        })
    };
    let stance = |state: DeviceState| {
        with(|known| {
            known.facts.set_stance(state);
            known.facts.stance_reason = "stolen".into();
        })
    };
    vec![
        ("blocked", stance(DeviceState::Blocked)),
        ("retired", stance(DeviceState::Retired)),
        ("never_seen", with(|known| known.device = None)),
        (
            "never_informed",
            with_device(|device| device.last_inform_us = 0),
        ),
        (
            "silent",
            with_device(|device| {
                device.set_state(DeviceState::Silent);
                device.online = false;
                device.last_inform_us = NOW - 9 * 86_400 * SECOND;
            }),
        ),
        (
            "overdue",
            with_device(|device| {
                device.online = false;
                device.last_inform_us = NOW - 900 * SECOND;
            }),
        ),
        ("informed", well()),
        ("wake_accepted", wake("accepted", 90)),
        ("wake_ignored", {
            let mut known = wake("accepted", 100);
            known.device.as_mut().unwrap().last_inform_us = NOW - 200 * SECOND;
            known
        }),
        ("wake_unreachable", wake("unreachable", 5)),
        ("wake_credentials", wake("credentials", 5)),
        ("wake_busy", wake("busy", 5)),
        ("wake_rate_limited", wake("rate_limited", 5)),
        ("wake_forbidden", wake("forbidden", 5)),
        ("wake_no_address", wake("no_address", 5)),
        ("wake_offline", wake("offline", 5)),
        (
            "wake_planned",
            with(|known| {
                known.work.wake = Some(wf::PlannedWake {
                    time_us: NOW + 30 * SECOND,
                    tries: 1,
                    accepted: false,
                });
            }),
        ),
        (
            "no_address",
            with_device(|device| device.connection_request_url.clear()),
        ),
        (
            "no_wake_login",
            with(|known| known.facts.has_connection_request_login = false),
        ),
        (
            "behind_nat",
            with_device(|device| device.connection_request_url = "http://192.168.1.1/".into()),
        ),
        ("in_session", with(|known| known.work.in_session = true)),
        (
            "no_way_in",
            with(|known| {
                known.device = None;
                known.facts.may_onboard = false;
            }),
        ),
        (
            "login_unused",
            with(|known| known.facts.username = "router7".into()),
        ),
        (
            "identity_alert",
            with_device(|device| {
                device.identity_alerts = vec![ty::IdentityAlert {
                    kind: "two_places".into(),
                    ..ty::IdentityAlert::default()
                }];
            }),
        ),
        (
            "clock_off",
            with(|known| known.facts.clock_offset_seconds = Some(-7200)),
        ),
        (
            "learned",
            with_device(|device| {
                device.learned = Some(ds::Model {
                    unsupported_rpcs: vec!["Upload".into()],
                    ..ds::Model::default()
                });
            }),
        ),
        (
            "quirk_profile",
            with_device(|device| device.profile = Some(ty::ProfileChoice::default())),
        ),
    ]
}

/// Explanations of a task by what is first in them.
fn tasks() -> Vec<(&'static str, wf::Task, Known)> {
    let lacking = || {
        with_device(|device| {
            device.learned = Some(ds::Model {
                unsupported_rpcs: vec!["Upload".into()],
                ..ds::Model::default()
            });
        })
    };
    let mut fault = made(TaskState::Failed, read());
    fault.fault = Some(ty::Fault {
        code: 9005,
        text: "Invalid parameter name".into(),
        remedy: "Discover its names.".into(),
        ..ty::Fault::default()
    });
    let mut reboots = made(TaskState::Succeeded, read());
    reboots.result = Some(ty::TaskResult {
        reboot_required: true,
        ..ty::TaskResult::default()
    });
    let queued = || made(TaskState::Queued, read());
    let mut limited = queued();
    limited.deadline_us = NOW + 60 * SECOND;
    let tasks = |in_session: bool, tasks: Vec<wf::OpenTask>| {
        with(|known| {
            known.work.in_session = in_session;
            known.work.tasks = tasks;
        })
    };
    let sent = |open: &mut wf::OpenTask| {
        (open.in_flight_epoch, open.rpc) = (7, "GetParameterValues".into());
        open.in_flight_since_us = NOW - SECOND;
    };
    vec![
        ("task_succeeded", made(TaskState::Succeeded, read()), well()),
        ("applied_at_reboot", reboots, well()),
        ("task_fault", fault, well()),
        ("task_failed", made(TaskState::Failed, read()), well()),
        (
            "rpc_unsupported",
            made(TaskState::Failed, Kind::Upload(ty::Upload::default())),
            lacking(),
        ),
        ("task_expired", made(TaskState::Expired, read()), well()),
        ("task_cancelled", made(TaskState::Cancelled, read()), well()),
        (
            "task_unknown_outcome",
            made(TaskState::UnknownOutcome, read()),
            well(),
        ),
        (
            "queue_rebuilding",
            queued(),
            with(|known| known.work.rebuilding = true),
        ),
        (
            "in_flight",
            made(TaskState::Running, read()),
            tasks(true, vec![open(TASK, sent)]),
        ),
        (
            "session_lost",
            queued(),
            tasks(false, vec![open(TASK, sent)]),
        ),
        (
            "next_in_session",
            queued(),
            tasks(true, vec![open(TASK, |_| {})]),
        ),
        (
            "behind_task",
            queued(),
            tasks(true, vec![open(OTHER, sent), open(TASK, |_| {})]),
        ),
        (
            "retry_later",
            queued(),
            tasks(
                false,
                vec![open(TASK, |open| open.not_before_us = NOW + SECOND)],
            ),
        ),
        (
            "awaiting_event",
            made(TaskState::WaitingForDevice, Kind::Reboot(ty::Reboot {})),
            well(),
        ),
        (
            "awaiting_transfer",
            made(
                TaskState::WaitingForDevice,
                Kind::Download(ty::Download::default()),
            ),
            well(),
        ),
        ("waking", made(TaskState::Waking, read()), well()),
        (
            "not_waking",
            queued(),
            tasks(false, vec![open(TASK, |open| open.no_wake = true)]),
        ),
        ("waiting_for_session", queued(), well()),
        ("next_inform", queued(), well()),
        ("deadline", limited, well()),
    ]
}

#[test]
fn every_finding_comes_of_its_facts() {
    let mut seen = Seen::default();
    for (code, known) in devices() {
        let answer = of_device(&known);
        assert!(codes(&answer).contains(&code), "{code}: {answer:?}");
        seen.see(&answer);
    }
    for (code, task, known) in tasks() {
        let answer = of_task(&task, &known);
        assert!(codes(&answer).contains(&code), "{code}: {answer:?}");
        seen.see(&answer);
    }
    let mut reasons: Vec<&str> = FINDINGS[0].iter().map(|known| known.code).collect();
    reasons.retain(|code| !["unavailable", "refused"].contains(code));
    for reason in reasons.into_iter().chain(["workflow", "something_new"]) {
        let answer = of_device(&with(|known| {
            known.facts.refusals = vec![refusal(reason, 5)]
        }));
        if !["blocked", "retired"].contains(&reason) {
            why(&answer);
        }
        seen.see(&answer);
    }
    for known in FINDINGS.iter().copied().flatten() {
        assert!(seen.0.contains(known.code), "no facts bring {}", known.code);
    }
}

#[test]
fn the_decisive_fact_is_said_first() {
    for (code, known) in devices() {
        let answer = of_device(&known);
        match code {
            "blocked" | "retired" | "never_seen" | "never_informed" | "silent" | "overdue" => {
                assert_eq!(why(&answer), code);
            }
            "no_way_in" => assert_eq!(why(&answer), "never_seen"),
            // It comes: all else is a hint.
            _ => assert_eq!(answer.findings[0].code, "informed", "{code}"),
        }
    }
    for (code, task, known) in tasks() {
        let answer = of_task(&task, &known);
        match code {
            "task_succeeded" | "applied_at_reboot" => {
                assert_eq!(answer.findings[0].code, "task_succeeded");
            }
            "next_inform" | "deadline" => assert_eq!(why(&answer), "waiting_for_session"),
            code => assert_eq!(why(&answer), code, "{answer:?}"),
        }
    }
}

#[test]
fn what_was_overcome_is_not_why() {
    let lately = with(|known| known.facts.refusals = vec![refusal("wrong_password", 5)]);
    let answer = of_device(&lately);
    assert_eq!(why(&answer), "wrong_password");
    assert!(
        answer.sentence.contains("3 times, the last time 5 s ago"),
        "{}",
        answer.sentence
    );
    assert!(answer.findings[0].remedy.contains("--username router7"));
    let before = with(|known| known.facts.refusals = vec![refusal("wrong_password", 120)]);
    assert_eq!(codes(&of_device(&before)), ["informed", "wrong_password"]);
    let long_ago = with(|known| known.facts.refusals = vec![refusal("wrong_password", 90_000)]);
    assert_eq!(codes(&of_device(&long_ago)), ["informed"]);
}

#[test]
fn a_user_that_names_the_serial_number_is_why_and_a_neighbour_may_be() {
    let near = |user: &str| {
        let mut near = refusal("unknown_user", 5);
        near.device.clear();
        near.user = user.into();
        with(|known| {
            known.device = None;
            known.facts.near = vec![near];
        })
    };
    assert_eq!(why(&of_device(&near("cpe-SN00007"))), "unknown_user");
    let neighbour = of_device(&near("somebody"));
    assert_eq!(why(&neighbour), "never_seen");
    assert!(codes(&neighbour).contains(&"unknown_user"));
}

#[test]
fn what_keeps_the_device_away_keeps_its_task_waiting() {
    let queued = made(TaskState::Queued, read());
    let blocked = with(|known| known.facts.set_stance(DeviceState::Blocked));
    assert_eq!(why(&of_task(&queued, &blocked)), "blocked");
    let refused = with(|known| known.facts.refusals = vec![refusal("wrong_password", 5)]);
    assert_eq!(why(&of_task(&queued, &refused)), "wrong_password");
    let unreachable = with_device(|device| {
        device.last_wake = Some(ds::WakeRecord {
            outcome: "unreachable".into(),
            time_us: NOW - 5 * SECOND,
            ..ds::WakeRecord::default()
        });
    });
    let answer = of_task(&queued, &unreachable);
    assert_eq!(why(&answer), "wake_unreachable");
    let next = answer
        .findings
        .iter()
        .find(|f| f.code == "next_inform")
        .unwrap();
    assert_eq!(next.time, timestamp(NOW + 240 * SECOND));
    let behind = with(|known| {
        known.work.tasks = vec![open(OTHER, |_| {}), open(TASK, |_| {})];
    });
    let answer = of_task(&queued, &behind);
    assert_eq!(why(&answer), "waiting_for_session");
    let ahead = answer
        .findings
        .iter()
        .find(|f| f.code == "behind_task")
        .unwrap();
    assert_eq!(ahead.facts["ahead"], OTHER);
}

#[test]
fn a_fault_comes_with_what_it_means() {
    for (code, meaning, _) in ACS_FAULTS {
        let mut fault = refusal("inform_fault", 5);
        fault.fault = *code;
        let answer = of_device(&with(|known| known.facts.refusals = vec![fault.clone()]));
        assert!(answer.sentence.contains(meaning), "{}", answer.sentence);
        let listed = refusals::public(fault);
        assert!(listed.sentence.contains(meaning) && !listed.remedy.is_empty());
    }
}
