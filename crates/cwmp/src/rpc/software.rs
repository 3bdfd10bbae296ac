//! The methods about deployment units (TR-157 software modules).

use crate::fault::FaultCode;
use crate::rpc::session::KEY;
use crate::time::CwmpTime;
use crate::value::Secret;

/// One operation of ChangeDUState.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DuOperation {
    /// Install a unit.
    Install(DuInstall),
    /// Update a unit; with neither UUID nor URL, **all** units.
    Update(DuUpdate),
    /// Uninstall a unit.
    Uninstall(DuUninstall),
}

wire! {
    /// InstallOpStruct (TR-069 A.4.1.10).
    struct DuInstall {
        /// Where the unit is.
        url: String = token("URL", 1024),
        /// Its UUID; the CPE makes one if there is none.
        uuid: Option<String> = opt_uuid("UUID"),
        /// For the file server.
        username: Option<String> = opt_text("Username", 256),
        /// For the file server.
        password: Option<Secret> = opt_secret("Password", 256),
        /// Where to install it: path of an execution environment.
        execution_env_ref: Option<String> = opt_text("ExecutionEnvRef", 256),
    }

    /// UpdateOpStruct.
    struct DuUpdate {
        /// Which unit.
        uuid: Option<String> = opt_uuid("UUID"),
        /// Which version of it.
        version: Option<String> = opt_text("Version", 32),
        /// Where the update is.
        url: Option<String> = opt_text("URL", 1024),
        /// For the file server.
        username: Option<String> = opt_text("Username", 256),
        /// For the file server.
        password: Option<Secret> = opt_secret("Password", 256),
    }

    /// UninstallOpStruct.
    struct DuUninstall {
        /// Which unit.
        uuid: String = uuid("UUID") required,
        /// Which version of it; all if absent.
        version: Option<String> = opt_text("Version", 32),
        /// From where; everywhere if absent.
        execution_env_ref: Option<String> = opt_text("ExecutionEnvRef", 256),
    }

    /// ChangeDUState (TR-069 A.4.1.10).
    struct ChangeDuState {
        /// What to do, in order.
        operations: Vec<DuOperation> = operations("Operations"),
        /// Comes back in DUStateChangeComplete.
        command_key: Option<String> = opt_text("CommandKey", KEY),
    }

    /// DeploymentUnitFaultStruct: code 0 is success.
    struct DuFault {
        /// 0, or a CPE fault code.
        fault_code: FaultCode = fault_code("FaultCode", 0..=9899),
        /// The same in words.
        fault_string: Option<String> = opt_text("FaultString", usize::MAX),
    }

    /// OpResultStruct.
    struct DuResult {
        /// The unit.
        uuid: String = uuid("UUID"),
        /// Its path in DeploymentUnit.
        deployment_unit_ref: String = text("DeploymentUnitRef", usize::MAX),
        /// Its version.
        version: String = text("Version", 32),
        /// `Installed`, `Uninstalled` or `Failed`.
        current_state: String = token("CurrentState", 64),
        /// Whether its dependencies are met.
        resolved: bool = boolean("Resolved"),
        /// Paths of its execution units, comma-separated.
        execution_unit_ref_list: String = text("ExecutionUnitRefList", usize::MAX),
        /// When it began.
        start_time: CwmpTime = time("StartTime"),
        /// When it ended.
        complete_time: CwmpTime = time("CompleteTime"),
        /// How it went.
        fault: DuFault = one("Fault"),
    }

    /// DUStateChangeComplete (TR-069 A.4.2.3).
    struct DuStateChangeComplete {
        /// One for each operation and unit.
        results: Vec<DuResult> = repeat("Results", 1),
        /// CommandKey of the ChangeDUState.
        command_key: Option<String> = opt_text("CommandKey", KEY),
    }

    /// AutonOpResultStruct: an OpResultStruct and what was done.
    struct AutonomousDuResult {
        /// The unit.
        uuid: String = uuid("UUID"),
        /// Its path in DeploymentUnit.
        deployment_unit_ref: String = text("DeploymentUnitRef", usize::MAX),
        /// Its version.
        version: String = text("Version", 32),
        /// `Installed`, `Uninstalled` or `Failed`.
        current_state: String = token("CurrentState", 64),
        /// Whether its dependencies are met.
        resolved: bool = boolean("Resolved"),
        /// Paths of its execution units, comma-separated.
        execution_unit_ref_list: String = text("ExecutionUnitRefList", usize::MAX),
        /// When it began.
        start_time: CwmpTime = time("StartTime"),
        /// When it ended.
        complete_time: CwmpTime = time("CompleteTime"),
        /// How it went.
        fault: DuFault = one("Fault"),
        /// `Install`, `Update` or `Uninstall`.
        operation_performed: String = token("OperationPerformed", 64),
    }

    /// AutonomousDUStateChangeComplete (TR-069 A.4.2.4).
    struct AutonomousDuStateChangeComplete {
        /// One for each unit.
        results: Vec<AutonomousDuResult> = repeat("Results", 1),
    }
}
