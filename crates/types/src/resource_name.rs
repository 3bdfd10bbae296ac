//! Names of resources in the public API (AIP-122):
//! `tenants/{tenant}/devices/{device}` and what stands below.

use crate::{DeviceId, Invalid, TaskId, TenantId};
use std::{fmt, str::FromStr};

/// A resource of the public API.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ResourceName {
    /// `tenants/{tenant}`
    Tenant(TenantId),
    /// `tenants/{tenant}/devices/{device}`
    Device(TenantId, DeviceId),
    /// `tenants/{tenant}/tasks/{task}`
    Task(TenantId, TaskId),
    /// `tenants/{tenant}/files/{file}`
    File(TenantId, String),
    /// `tenants/{tenant}/credentials/{username}`
    Credential(TenantId, String),
    /// `tenants/{tenant}/deadLetters/{number}`
    DeadLetter(TenantId, u64),
}

impl ResourceName {
    /// The tenant that every name begins with.
    pub fn tenant(&self) -> &TenantId {
        match self {
            Self::Tenant(tenant)
            | Self::Device(tenant, _)
            | Self::Task(tenant, _)
            | Self::File(tenant, _)
            | Self::Credential(tenant, _)
            | Self::DeadLetter(tenant, _) => tenant,
        }
    }
}

impl FromStr for ResourceName {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let mut parts = text.split('/');
        let shape = || {
            Invalid::new(
                "name",
                "expected tenants/{tenant}, or tenants/{tenant}/ followed by \
                 devices/{device}, tasks/{task}, files/{file}, credentials/{username} or \
                 deadLetters/{number}",
            )
        };
        if parts.next() != Some("tenants") {
            return Err(shape());
        }
        let tenant: TenantId = parts.next().ok_or_else(shape)?.parse()?;
        let Some(kind) = parts.next() else {
            return Ok(Self::Tenant(tenant));
        };
        let id = parts.next().filter(|id| !id.is_empty()).ok_or_else(shape)?;
        if parts.next().is_some() {
            return Err(shape());
        }
        match kind {
            "devices" => Ok(Self::Device(tenant, id.parse()?)),
            "tasks" => Ok(Self::Task(tenant, id.parse()?)),
            "files" => Ok(Self::File(tenant, id.to_owned())),
            "credentials" => Ok(Self::Credential(tenant, id.to_owned())),
            "deadLetters" => {
                let number = id.parse().map_err(|_| shape())?;
                Ok(Self::DeadLetter(tenant, number))
            }
            _ => Err(shape()),
        }
    }
}

impl fmt::Display for ResourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tenant(tenant) => write!(f, "tenants/{tenant}"),
            Self::Device(tenant, device) => write!(f, "tenants/{tenant}/devices/{device}"),
            Self::Task(tenant, task) => write!(f, "tenants/{tenant}/tasks/{task}"),
            Self::File(tenant, file) => write!(f, "tenants/{tenant}/files/{file}"),
            Self::Credential(tenant, user) => write!(f, "tenants/{tenant}/credentials/{user}"),
            Self::DeadLetter(tenant, id) => write!(f, "tenants/{tenant}/deadLetters/{id}"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_read_back() {
        for text in [
            "tenants/default",
            "tenants/default/devices/012345-Set%2DTop%2DBox-0123456789",
            "tenants/default/tasks/01hzy3v7k2q4w6e8r0t2y4a6d8",
            "tenants/default/files/fw-2.bin",
            "tenants/default/credentials/user",
            "tenants/default/deadLetters/17",
        ] {
            assert_eq!(text.parse::<ResourceName>().unwrap().to_string(), text);
        }
        for bad in [
            "",
            "devices/x",
            "tenants/default/things/1",
            "tenants/default/devices/",
            "tenants/default/deadLetters/x",
        ] {
            assert!(bad.parse::<ResourceName>().is_err(), "{bad}");
        }
    }
}
