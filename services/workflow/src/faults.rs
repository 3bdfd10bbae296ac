//! The CWMP faults of a CPE (TR-069 A.5.1): what each means to an operator, what can be done, and
//! whether trying again can help.

use hearth_proto::types::v1::Fault;

/// Method not supported.
pub(crate) const METHOD_NOT_SUPPORTED: u32 = 9000;
/// Invalid arguments.
pub(crate) const INVALID_ARGUMENTS: u32 = 9003;
/// Resources exceeded.
pub(crate) const RESOURCES_EXCEEDED: u32 = 9004;
/// Invalid parameter name.
pub(crate) const INVALID_NAME: u32 = 9005;
/// A parameter has another type.
pub(crate) const INVALID_TYPE: u32 = 9006;
/// A value is not allowed.
pub(crate) const INVALID_VALUE: u32 = 9007;

/// What one code means.
struct Entry {
    code: u32,
    remedy: &'static str,
    /// The same request may succeed later, without anyone changing anything.
    transient: bool,
}

const fn fixed(code: u32, remedy: &'static str) -> Entry {
    Entry {
        code,
        remedy,
        transient: false,
    }
}

const fn passing(code: u32, remedy: &'static str) -> Entry {
    Entry {
        code,
        remedy,
        transient: true,
    }
}

#[rustfmt::skip]
const TABLE: &[Entry] = &[
    fixed(9000, "The device does not implement this method. Ask it with a GetRPCMethods task what it can do."),
    fixed(9001, "The device denied the request, and gave no reason. Look whether its configuration locks remote management of this part."),
    passing(9002, "The device had an internal error. It is tried again; if it stays, restart the device or update its firmware."),
    fixed(9003, "The device found an argument invalid. See the parameters listed with the fault, and their types and ranges in the device's data model."),
    passing(9004, "The device is out of resources. Ask for less at once, or try again when it is less busy; a restart frees memory."),
    fixed(9005, "The device does not know this name. Discover its names (refresh the parent object): the instance may be gone, or the model may have another root."),
    fixed(9006, "The value has another type than the parameter. Leave the type out, so that the one the device reported is used."),
    fixed(9007, "The value is out of the parameter's range or set of values. See the device's data model for what is allowed."),
    fixed(9008, "The parameter is read-only on this device."),
    fixed(9009, "The device refuses this notification setting. Some parameters can't be active; see the data model."),
    passing(9010, "The device could not download the file. Check that the URL can be reached from the device, and that the file is there."),
    passing(9011, "The device could not upload the file. Check that the URL can be reached from the device, and that it takes a PUT."),
    fixed(9012, "The file server refused the transfer's user name or password."),
    fixed(9013, "The device does not support the URL's protocol. Most take http; some take https or ftp too."),
    passing(9014, "The device could not join the multicast group of the transfer."),
    passing(9015, "The device could not reach the file server. Check routes, DNS and firewalls between the two."),
    passing(9016, "The device reached the file server but could not get the file. Check that it is there and may be read."),
    passing(9017, "The transfer broke off. It is tried again; look for an unstable line or a proxy with a time limit."),
    passing(9018, "The file arrived damaged, or is not for this device. Check that it is the right image for this model."),
    fixed(9019, "The device could not prove the file's origin: its signature does not fit this device."),
    fixed(9020, "The device did not finish within the time window. Make a new task with a longer or another one."),
    fixed(9021, "The transfer can't be cancelled any more."),
    // The texts of 9022 to 9032 follow what the Forum's schemas say of them (cwmp-1-2.xsd).
    fixed(9022, "The UUID of the software module is not well-formed."),
    fixed(9023, "The device does not know this execution environment. Read Device.SoftwareModules.ExecEnv."),
    fixed(9024, "The execution environment is disabled. Enable it first."),
    fixed(9025, "The software module does not fit the execution environment."),
    fixed(9026, "This software module is installed already, in this version. Update it, or uninstall it first."),
    passing(9027, "The device is out of memory or storage for software modules. Uninstall one, or try again later."),
    fixed(9028, "There is no such software module. Read Device.SoftwareModules.DeploymentUnit. for those there are."),
    fixed(9029, "The software module is being installed, updated or removed already. Wait until that is done."),
    fixed(9030, "The device does not go back to an older version of the software module. Uninstall the newer one first."),
    fixed(9031, "The device has several versions of the software module. Say which one is to be updated."),
    fixed(9032, "The version that the software module is to be updated to is installed already."),
];

fn entry(code: u32) -> Option<&'static Entry> {
    TABLE.iter().find(|entry| entry.code == code)
}

/// Whether the same request may succeed later. Codes 9800 to 9899 are the vendor's: not.
pub(crate) fn is_transient(code: u32) -> bool {
    entry(code).is_some_and(|entry| entry.transient)
}

/// What a code means and what can be done.
pub fn remedy(code: u32) -> &'static str {
    match entry(code) {
        Some(entry) => entry.remedy,
        None if (9800..=9899).contains(&code) => {
            "A fault of the vendor's own. See the device's documentation."
        }
        None => "A code that TR-069 does not define. See the device's documentation.",
    }
}

/// The same fault with its remedy.
pub(crate) fn explained(mut fault: Fault) -> Fault {
    if fault.remedy.is_empty() {
        remedy(fault.code).clone_into(&mut fault.remedy);
    }
    fault
}

/// `fault 9005 (Invalid parameter name)`
pub(crate) fn summary(fault: &Fault) -> String {
    let text = hearth_telemetry::for_log_capped(&fault.text, 120);
    if fault.text.is_empty() {
        format!("fault {}", fault.code)
    } else {
        format!("fault {} ({text})", fault.code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_of_the_standard_is_explained_once() {
        let codes: Vec<u32> = TABLE.iter().map(|entry| entry.code).collect();
        assert_eq!(codes, (9000..=9032).collect::<Vec<_>>());
    }

    #[test]
    fn software_faults_mean_what_the_schemas_say() {
        for (code, about) in [
            (9022, "UUID"),
            (9023, "does not know this execution environment"),
            (9024, "disabled"),
            (9025, "does not fit"),
            (9026, "installed already"),
            (9027, "out of memory"),
            (9028, "no such"),
            (9029, "already"),
            (9030, "older version"),
            (9031, "several versions"),
            (9032, "updated to is installed"),
        ] {
            assert!(remedy(code).contains(about), "{code}: {}", remedy(code));
        }
        assert!(is_transient(9027) && !is_transient(9020));
    }

    #[test]
    fn unknown_codes_are_not_tried_again() {
        assert!(!is_transient(9801));
        assert!(remedy(9801).contains("vendor"));
        assert!(is_transient(9002));
    }
}
