//! Evidence of a run in which all went well.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use hearth_cwmp::{ParameterValue, XsdType};
use hearth_proto::northbound::v1 as nb;
use hearth_proto::types::v1::{self as ty, TaskState, task_spec::Kind as Spec};

use super::super::super::api::KeptFile;
use super::super::super::book::{Class, Kept, Known, Tags, Wish};
use super::super::super::evidence::{Evidence, Said, Truth};
use super::super::super::plan::Target;
use crate::{Acknowledged, Executed, Transferred};

pub(super) const DEVICE: &str = "tenants/default/devices/00D09E-HomeRouter-KILL000001";
pub(super) const CODE: &str = "Device.DeviceInfo.ProvisioningCode";
pub(super) const OWN: &str = "Device.Time.NTPServer2";
pub(super) const START: i64 = 1_800_000_000_000_000;

pub(super) fn at(second: i64) -> SystemTime {
    let micros = u64::try_from(START + second * 1_000_000).unwrap();
    SystemTime::UNIX_EPOCH + Duration::from_micros(micros)
}

pub(super) fn stamp(second: i64) -> Option<hearth_proto::ProtoTimestamp> {
    hearth_proto::convert::timestamp(START + second * 1_000_000)
}

pub(super) fn executed(method: &'static str, key: &str, subject: &str) -> Executed {
    Executed {
        at: at(5),
        session: 2,
        method,
        id: Some(format!("{key}.1")),
        key: key.to_owned(),
        subject: subject.to_owned(),
        fault: None,
        instance: (method == "AddObject").then_some(7),
    }
}

pub(super) fn inform(
    second: i64,
    session: u64,
    events: &[(&str, &str)],
    code: &str,
    own: &str,
) -> Acknowledged {
    let value = |path: &str, value: &str| ParameterValue::new(path, value, XsdType::String);
    Acknowledged {
        at: at(second),
        session,
        events: events
            .iter()
            .map(|(c, k)| ((*c).to_owned(), (*k).to_owned()))
            .collect(),
        values: vec![value(CODE, code), value(OWN, own)],
    }
}

pub(super) fn target() -> Target {
    Target {
        root: "Device.".to_owned(),
        resets: false,
    }
}

pub(super) fn known(id: &str, spec: Spec, class: Class) -> Known {
    Known {
        wish: Wish {
            request_id: format!("request-{id}"),
            device: 0,
            spec: ty::TaskSpec { kind: Some(spec) },
            class,
        },
        name: format!("tenants/default/tasks/{id}"),
        end: None,
        cancelled: false,
        waiting: false,
        other_names: BTreeSet::new(),
    }
}

pub(super) fn found(known: &Known, state: TaskState) -> nb::Task {
    nb::Task {
        name: known.name.clone(),
        device: DEVICE.to_owned(),
        spec: Some(known.wish.spec.clone()),
        state: state.into(),
        attempts: vec![ty::TaskAttempt {
            number: 1,
            ..ty::TaskAttempt::default()
        }],
        ..nb::Task::default()
    }
}

pub(super) fn parameter(path: &str, value: &str, second: i64) -> (String, nb::Parameter) {
    let parameter = nb::Parameter {
        path: path.to_owned(),
        value: Some(value.to_owned()),
        value_time: stamp(second),
        ..nb::Parameter::default()
    };
    (path.to_owned(), parameter)
}

pub(super) fn change(path: &str, value: &str) -> nb::HistoryEntry {
    nb::HistoryEntry {
        kind: "value".to_owned(),
        path: path.to_owned(),
        new_value: value.to_owned(),
        ..nb::HistoryEntry::default()
    }
}

/// One device that was set, given an instance, rebooted and upgraded, all well.
pub(super) fn good() -> Evidence {
    let mut evidence = Evidence {
        restart_limit: Duration::from_secs(2),
        restarts: vec![Duration::from_millis(300)],
        counted: 1,
        ..Evidence::default()
    };
    let value = ty::ParameterValue {
        path: CODE.to_owned(),
        value: "t1".to_owned(),
        ..ty::ParameterValue::default()
    };
    let object = "Device.Users.User.".to_owned();
    let file = "tenants/default/files/config-1.bin".to_owned();
    let specs = [
        (
            "set",
            Spec::SetParameterValues(ty::SetParameterValues {
                values: vec![value],
            }),
        ),
        (
            "add",
            Spec::AddObject(ty::AddObject {
                object,
                values: Vec::new(),
            }),
        ),
        ("boot", Spec::Reboot(ty::Reboot {})),
        (
            "load",
            Spec::Download(ty::Download {
                file: file.clone(),
                ..ty::Download::default()
            }),
        ),
    ];
    for (id, spec) in specs {
        let known = known(id, spec, Class::Normal);
        let mut task = found(&known, TaskState::Succeeded);
        if id == "add" {
            task.result = Some(ty::TaskResult {
                instance_number: 7,
                ..ty::TaskResult::default()
            });
        }
        evidence.tasks.insert(id.to_owned(), task);
        evidence.listed.insert(id.to_owned());
        evidence.known.insert(id.to_owned(), known);
    }
    evidence.files.push(Kept {
        name: file.clone(),
        sha256: "f00d".to_owned(),
        size: 4,
    });
    let kept = KeptFile {
        file: nb::File {
            name: file.clone(),
            sha256: "f00d".to_owned(),
            size: 4,
            ..nb::File::default()
        },
        sha256: "f00d".to_owned(),
        size: 4,
    };
    evidence.kept.insert(file, kept);
    evidence.truth.push(Truth {
        name: DEVICE.to_owned(),
        serial: "KILL000001".to_owned(),
        target: target(),
        executed: vec![
            executed("SetParameterValues", "set.1", CODE),
            executed("AddObject", "add.1", "Device.Users.User."),
            executed("Reboot", "boot.1", ""),
            executed("Download", "load.1", "http://127.0.0.1/f"),
        ],
        acknowledged: vec![
            inform(1, 1, &[("0 BOOTSTRAP", ""), ("1 BOOT", "")], "", "ntp"),
            inform(
                10,
                3,
                &[("1 BOOT", ""), ("M Reboot", "boot.1")],
                "t1",
                "own-1",
            ),
        ],
        reported: Vec::new(),
        transferred: vec![Transferred {
            at: at(6),
            key: "load.1".to_owned(),
            download: true,
            fault: None,
            sha256: "f00d".to_owned(),
        }],
        values: BTreeMap::from([
            (CODE.to_owned(), "t1".to_owned()),
            (OWN.to_owned(), "own-1".to_owned()),
        ]),
        notification: Some(0),
        instances: BTreeSet::from(["Device.Users.User.7.".to_owned()]),
        units: BTreeSet::new(),
    });
    evidence.said.push(Said {
        device: Some(nb::Device {
            name: DEVICE.to_owned(),
            last_inform_time: stamp(9),
            last_bootstrap_time: stamp(1),
            last_boot_time: stamp(9),
            inform_count: 2,
            tags: vec!["kill:2".to_owned()],
            ..nb::Device::default()
        }),
        parameters: BTreeMap::from([parameter(CODE, "t1", 9), parameter(OWN, "own-1", 9)]),
        history: vec![change(CODE, "t1"), change(OWN, "own-1")],
        found_by_tag: Some(true),
    });
    let tags = Tags {
        present: BTreeSet::from(["kill:2".to_owned()]),
        removed: BTreeSet::from(["kill:1".to_owned()]),
    };
    evidence.tags.insert(0, tags);
    evidence
}
