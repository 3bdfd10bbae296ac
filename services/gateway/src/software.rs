//! Software modules (TR-069 A.4.1.10, A.4.2.3, A.4.2.4): operations to CPEs, and what CPEs report of
//! deployment units.

use hearth_cwmp as cwmp;
use hearth_cwmp::Time;
use hearth_proto::convert::timestamp;
use hearth_proto::events::v1 as ev;
use hearth_proto::types::v1 as ty;
use hearth_proto::workflow::v1 as wf;
use ty::du_operation::Kind;

use crate::outcome::masked_urls;
use crate::request::with_host;

/// A ChangeDUState as it is sent.
pub(crate) fn change(change: wf::ChangeDuStateRpc, host: &str) -> cwmp::ChangeDuState {
    let operations = change.operations.into_iter();
    let operations = operations.filter_map(|operation| of_operation(operation.kind?, host));
    cwmp::ChangeDuState {
        operations: operations.collect(),
        command_key: Some(change.command_key),
    }
}

fn of_operation(kind: Kind, host: &str) -> Option<cwmp::DuOperation> {
    Some(match kind {
        Kind::Install(install) => cwmp::DuOperation::Install(cwmp::DuInstall {
            url: with_host(install.url, host),
            uuid: given(install.uuid),
            username: given(install.username),
            password: given(install.password).map(Into::into),
            execution_env_ref: given(install.execution_env_ref),
        }),
        Kind::Update(update) => {
            if !update.all_units && update.uuid.is_empty() && update.url.is_empty() {
                // It would mean all units. What was checked long before is checked again here,
                // where it leaves.
                return None;
            }
            cwmp::DuOperation::Update(cwmp::DuUpdate {
                uuid: given(update.uuid),
                version: given(update.version),
                url: given(with_host(update.url, host)),
                username: given(update.username),
                password: given(update.password).map(Into::into),
            })
        }
        Kind::Uninstall(uninstall) => {
            if !uninstall.all_versions && uninstall.version.is_empty() {
                return None;
            }
            cwmp::DuOperation::Uninstall(cwmp::DuUninstall {
                uuid: uninstall.uuid,
                version: given(uninstall.version),
                execution_env_ref: given(uninstall.execution_env_ref),
            })
        }
    })
}

/// An element that is left out where there is nothing to say.
fn given(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

/// A change that the ACS asked for has ended.
pub(crate) fn changed(change: cwmp::DuStateChangeComplete) -> ev::DuStateChange {
    let results = change.results.into_iter();
    ev::DuStateChange {
        command_key: change.command_key.unwrap_or_default(),
        results: results
            .map(|unit| ty::DuResult {
                uuid: unit.uuid,
                deployment_unit_ref: unit.deployment_unit_ref,
                version: unit.version,
                current_state: unit.current_state,
                resolved: unit.resolved,
                execution_unit_refs: references(&unit.execution_unit_ref_list),
                start_time: time(&unit.start_time),
                complete_time: time(&unit.complete_time),
                fault: fault(unit.fault),
                operation: String::new(),
            })
            .collect(),
        autonomous: false,
    }
}

/// The device has changed units on its own.
pub(crate) fn changed_itself(change: cwmp::AutonomousDuStateChangeComplete) -> ev::DuStateChange {
    let results = change.results.into_iter();
    ev::DuStateChange {
        command_key: String::new(),
        results: results
            .map(|unit| ty::DuResult {
                uuid: unit.uuid,
                deployment_unit_ref: unit.deployment_unit_ref,
                version: unit.version,
                current_state: unit.current_state,
                resolved: unit.resolved,
                execution_unit_refs: references(&unit.execution_unit_ref_list),
                start_time: time(&unit.start_time),
                complete_time: time(&unit.complete_time),
                fault: fault(unit.fault),
                operation: unit.operation_performed,
            })
            .collect(),
        autonomous: true,
    }
}

fn references(list: &str) -> Vec<String> {
    let paths = list.split(',').map(str::trim);
    paths
        .filter(|path| !path.is_empty())
        .map(str::to_owned)
        .collect()
}

/// A moment that the device knows; "unknown" and time since boot are none.
fn time(told: &cwmp::CwmpTime) -> Option<hearth_proto::ProtoTimestamp> {
    match told.time()? {
        Time::At { timestamp: at, .. } => timestamp(at.as_microsecond()),
        Time::Unknown | Time::Infinite | Time::SinceBoot(_) => None,
    }
}

/// Code 0 is success.
fn fault(told: cwmp::DuFault) -> Option<ty::Fault> {
    let code = told.fault_code;
    (code.0 != 0).then(|| ty::Fault {
        code: code.0,
        text: match told.fault_string.filter(|text| !text.is_empty()) {
            Some(text) => masked_urls(text),
            None => code.text().to_owned(),
        },
        ..ty::Fault::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(kind: Kind) -> Vec<cwmp::DuOperation> {
        let rpc = wf::ChangeDuStateRpc {
            command_key: "k".to_owned(),
            operations: vec![ty::DuOperation { kind: Some(kind) }],
        };
        change(rpc, "acs.example").operations
    }

    #[test]
    fn all_units_leave_only_when_meant() {
        assert!(sent(Kind::Update(ty::DuUpdate::default())).is_empty());
        let all = ty::DuUpdate {
            all_units: true,
            ..ty::DuUpdate::default()
        };
        assert_eq!(sent(Kind::Update(all)).len(), 1);
        let mut uninstall = ty::DuUninstall {
            uuid: "85f8a1c2-5d3e-4c1b-9b7a-0d4f2f0c9e11".to_owned(),
            ..ty::DuUninstall::default()
        };
        assert!(sent(Kind::Uninstall(uninstall.clone())).is_empty());
        uninstall.all_versions = true;
        assert_eq!(sent(Kind::Uninstall(uninstall)).len(), 1);
    }

    #[test]
    fn results_are_told_whole() {
        let told = cwmp::DuStateChangeComplete {
            results: vec![cwmp::DuResult {
                uuid: "u".to_owned(),
                current_state: "Failed".to_owned(),
                execution_unit_ref_list: "Device.A.1, Device.A.2,".to_owned(),
                start_time: cwmp::CwmpTime("2026-01-31T12:00:00Z".to_owned()),
                complete_time: cwmp::CwmpTime(cwmp::CwmpTime::UNKNOWN.to_owned()),
                fault: cwmp::DuFault {
                    fault_code: cwmp::FaultCode(9026),
                    fault_string: Some("http://u:hunter2@h/f".to_owned()),
                },
                ..cwmp::DuResult::default()
            }],
            command_key: None,
        };
        let change = changed(told);
        let unit = &change.results[0];
        assert_eq!(unit.execution_unit_refs, ["Device.A.1", "Device.A.2"]);
        assert_eq!(
            unit.start_time.as_ref().map(|at| at.seconds),
            Some(1_769_860_800)
        );
        assert_eq!(unit.complete_time, None);
        let fault = unit.fault.clone().unwrap_or_default();
        assert_eq!(fault.code, 9026);
        assert!(!fault.text.contains("hunter2"));
    }
}
