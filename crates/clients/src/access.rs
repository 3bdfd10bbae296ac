//! Which role may call what of the others, and how a certificate says which roles its owner has.
//!
//! A certificate names its roles by URIs among its alternative names, `urn:hearth:role:gateway`. One that names none may
//! call nothing, and a call that isn't in the table is nobody's.

use crate::methods::{Method, ServiceName};
use rustls::pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;

/// What a role is named by in a certificate, with the role's name behind it.
pub const ROLE_URI: &str = "urn:hearth:role:";

const GATEWAY: &str = "gateway";
const WORKFLOW: &str = "workflow";
const NORTHBOUND: &str = "northbound";
const WAKEUP: &str = "wakeup";

/// The roles that may make a call.
pub(crate) fn callers(service: ServiceName, method: &str) -> &'static [&'static str] {
    use ServiceName::{DeviceState, Files, Wakeup, Workflow};
    match (service, method) {
        (Workflow, "OpenSession" | "NextRequest" | "ReportTransfer" | "ReportDuStateChange") => {
            &[GATEWAY]
        }
        // A gateway makes the task that a device asks for itself (RequestDownload).
        (Workflow, "CreateTask" | "ListTasks") => &[GATEWAY, NORTHBOUND],
        (Workflow, "GetTask" | "CancelTask" | "RetryTask" | "ForgetDevice" | "GetDeviceWork") => {
            &[NORTHBOUND]
        }
        (DeviceState, "CheckIdentity") => &[GATEWAY, WAKEUP],
        (DeviceState, "GetCredential") => &[GATEWAY, NORTHBOUND, WAKEUP],
        (DeviceState, "GetEdgePolicy" | "FindLine") => &[GATEWAY, NORTHBOUND],
        (DeviceState, "GetDevice" | "ListParameters") => &[WORKFLOW, NORTHBOUND],
        (DeviceState, "GetModel" | "PutModel" | "PrepareRotation" | "OpenRotation") => &[WORKFLOW],
        (DeviceState, "NoteRefusals") => &[GATEWAY],
        (DeviceState, "ListRefusals" | "GetDeviceFacts") => &[NORTHBOUND],
        (DeviceState, "GetConnectionRequest" | "NoteWaking") => &[WAKEUP],
        (
            DeviceState,
            "ListDevices" | "CountDevices" | "SetTags" | "DeleteDevice" | "ListHistory"
            | "PutCredential" | "ListCredentials" | "DeleteCredential" | "UpdateEdgePolicy"
            | "SetDeviceState" | "ImportCredentials" | "SetLine" | "ListLines" | "DeleteLine"
            | "ListProfiles" | "GetProfile" | "PutProfile" | "DeleteProfile" | "WatchEvents",
        ) => &[NORTHBOUND],
        (
            DeviceState,
            "ListSessions" | "GetSession" | "StartCapture" | "ListCaptures" | "GetCapture"
            | "StopCapture" | "DeleteCapture" | "ReadCapture",
        ) => &[NORTHBOUND],
        (
            DeviceState,
            "ListDeadLetters" | "GetDeadLetter" | "ReplayDeadLetter" | "DeleteDeadLetter",
        ) => &[NORTHBOUND],
        (Wakeup, "Wake") => &[WORKFLOW, NORTHBOUND],
        (Wakeup, "SendDatagram") => &[WAKEUP],
        (Files, "PrepareTransfer") => &[WORKFLOW],
        (Files, "GetFile" | "ListFiles" | "DeleteFile" | "PutFile" | "ReadFile") => &[NORTHBOUND],
        _ => &[],
    }
}

/// The roles that a certificate names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertifiedRoles(Vec<String>);

impl CertifiedRoles {
    /// Of a certificate; none where it can't be read.
    pub fn of(certificate: &CertificateDer<'_>) -> Self {
        let parsed = x509_parser::parse_x509_certificate(certificate);
        let names = parsed
            .as_ref()
            .ok()
            .and_then(|(_, parsed)| parsed.subject_alternative_name().ok().flatten());
        let uris = names.iter().flat_map(|names| &names.value.general_names);
        let roles = uris.filter_map(|name| match name {
            GeneralName::URI(uri) => uri.strip_prefix(ROLE_URI).map(str::to_owned),
            _ => None,
        });
        Self(roles.collect())
    }

    /// Whether it names this role.
    pub fn has(&self, role: &str) -> bool {
        self.0.iter().any(|one| one == role)
    }

    /// Whether its owner may make a call.
    pub(crate) fn may_call(&self, method: &Method) -> bool {
        let callers = callers(method.service, method.name);
        callers.iter().any(|role| self.has(role))
    }
}

impl std::fmt::Display for CertifiedRoles {
    /// `the roles gateway, wakeup`, `no role`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0.as_slice() {
            [] => f.write_str("no role"),
            [one] => write!(f, "the role {one}"),
            more => write!(f, "the roles {}", more.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::methods::{
        PUT_FILE, READ_FILE, WATCH_EVENTS, device_state_methods, files_methods, wakeup_methods,
        workflow_methods,
    };

    macro_rules! names {
        ({ $into:ident } $service:ident, $package:ident, $client:ident::$stub:ident, $module:ident::$trait:ident {
            $($method:ident $name:literal ($request:ident) -> $response:ident: $effect:ident, $repeatable:expr;)*
        }) => { $($into.push((ServiceName::$service, $name));)* };
    }

    #[test]
    fn every_call_is_somebodys() {
        let mut calls: Vec<_> = [&PUT_FILE, &READ_FILE, &WATCH_EVENTS]
            .map(|method| (method.service, method.name))
            .to_vec();
        workflow_methods! { names { calls } }
        device_state_methods! { names { calls } }
        wakeup_methods! { names { calls } }
        files_methods! { names { calls } }
        for (service, name) in calls {
            assert!(
                !callers(service, name).is_empty(),
                "say in access.rs who may call {} of {}",
                name,
                service.grpc_name()
            );
        }
    }

    #[test]
    fn what_is_not_in_the_table_is_nobodys() {
        assert!(callers(ServiceName::Files, "DeleteAll").is_empty());
        let all = CertifiedRoles(vec![NORTHBOUND.to_owned(), GATEWAY.to_owned()]);
        assert_eq!(all.to_string(), "the roles northbound, gateway");
        assert_eq!(CertifiedRoles::default().to_string(), "no role");
        assert_eq!(
            CertifiedRoles::of(&CertificateDer::from_slice(b"not a certificate")),
            CertifiedRoles::default()
        );
    }
}
