//! Who calls, and the one door to a tenant's resources.

use crate::error::{invalid, plain};
use hearth_auth::TokenHash;
use hearth_types::{DeviceKey, ResourceName, TaskId, TenantId};
use tonic::{Code, Request, Status};

/// The tenants that a caller may reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TenantScope {
    /// All of them.
    All,
    /// One.
    One(TenantId),
}

/// What a caller may do in its tenants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Everything.
    Admin,
}

/// Who calls: made from the token by a [`TokenVerifier`], carried as an extension of the request.
/// All resource names of requests are read by it, so that no handler can forget to ask whether the
/// caller may reach the tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Where.
    pub tenants: TenantScope,
    /// What.
    pub role: Role,
}

/// Finds out whose token it is.
pub trait TokenVerifier: Send + Sync + 'static {
    /// The caller that `token` stands for; `None` when it is nobody's. Takes the same time for
    /// every wrong token.
    fn verify(&self, token: &str) -> Option<Caller>;
}

/// The administrator's token of an installation, known by its hash.
#[derive(Debug, Clone, Copy)]
pub struct AdminToken(TokenHash);

impl AdminToken {
    /// The token with this hash.
    pub fn new(hash: TokenHash) -> Self {
        Self(hash)
    }
}

impl TokenVerifier for AdminToken {
    fn verify(&self, token: &str) -> Option<Caller> {
        self.0.verify(token).then_some(Caller {
            tenants: TenantScope::All,
            role: Role::Admin,
        })
    }
}

impl Caller {
    /// The caller of a request.
    pub(crate) fn of<T>(request: &Request<T>) -> Result<Self, Status> {
        // The edge lets nothing else through without one.
        request.extensions().get::<Self>().cloned().ok_or_else(|| {
            plain(
                Code::Internal,
                "INTERNAL",
                "the request has no caller; report this as a defect",
            )
        })
    }

    /// Reads the name in `field`, and checks that the caller may reach its tenant.
    fn resource(&self, field: &str, shape: &str, text: &str) -> Result<ResourceName, Status> {
        if text.is_empty() {
            return Err(invalid(field, format!("is missing; expected {shape}")));
        }
        let name: ResourceName = text.parse().map_err(|error: hearth_types::Invalid| {
            let detail = match error.field {
                "name" => String::new(),
                part => format!(": {part}: {}", error.reason),
            };
            invalid(field, format!("expected {shape}{detail}"))
        })?;
        match &self.tenants {
            TenantScope::All => Ok(name),
            TenantScope::One(tenant) if tenant == name.tenant() => Ok(name),
            TenantScope::One(_) => Err(plain(
                Code::PermissionDenied,
                "TENANT_FORBIDDEN",
                format!("{field}: this token may not reach that tenant; use a token of the tenant"),
            )),
        }
    }

    /// Reads `tenants/{tenant}`.
    pub(crate) fn tenant(&self, field: &str, text: &str) -> Result<TenantId, Status> {
        const SHAPE: &str = "tenants/{tenant}";
        match self.resource(field, SHAPE, text)? {
            ResourceName::Tenant(tenant) => Ok(tenant),
            _ => Err(other_kind(field, SHAPE)),
        }
    }

    /// Reads `tenants/{tenant}/devices/{device}`.
    pub(crate) fn device(&self, field: &str, text: &str) -> Result<DeviceKey, Status> {
        const SHAPE: &str = "tenants/{tenant}/devices/{device}";
        match self.resource(field, SHAPE, text)? {
            ResourceName::Device(tenant, device) => Ok(DeviceKey::new(tenant, device)),
            _ => Err(other_kind(field, SHAPE)),
        }
    }

    /// Reads `tenants/{tenant}` or `tenants/{tenant}/devices/{device}`; the device's id is empty
    /// for a tenant.
    pub(crate) fn scope(&self, field: &str, text: &str) -> Result<(TenantId, String), Status> {
        const SHAPE: &str = "tenants/{tenant} or tenants/{tenant}/devices/{device}";
        match self.resource(field, SHAPE, text)? {
            ResourceName::Tenant(tenant) => Ok((tenant, String::new())),
            ResourceName::Device(tenant, device) => Ok((tenant, device.into())),
            _ => Err(other_kind(field, SHAPE)),
        }
    }

    /// Reads `tenants/{tenant}/tasks/{task}`.
    pub(crate) fn task(&self, field: &str, text: &str) -> Result<(TenantId, TaskId), Status> {
        const SHAPE: &str = "tenants/{tenant}/tasks/{task}";
        match self.resource(field, SHAPE, text)? {
            ResourceName::Task(tenant, task) => Ok((tenant, task)),
            _ => Err(other_kind(field, SHAPE)),
        }
    }

    /// Reads `tenants/{tenant}/files/{file}`.
    pub(crate) fn file(&self, field: &str, text: &str) -> Result<(TenantId, String), Status> {
        const SHAPE: &str = "tenants/{tenant}/files/{file}, the file 1 to 128 of letters, digits, '.', '_', '-', not beginning with '.'";
        match self.resource(field, SHAPE, text)? {
            ResourceName::File(tenant, file) if is_file_name(&file) => Ok((tenant, file)),
            ResourceName::File(..) => Err(invalid(field, format!("expected {SHAPE}"))),
            _ => Err(other_kind(field, SHAPE)),
        }
    }

    /// Reads `tenants/{tenant}/credentials/{username}`.
    pub(crate) fn credential(&self, field: &str, text: &str) -> Result<(TenantId, String), Status> {
        const SHAPE: &str = "tenants/{tenant}/credentials/{username}";
        match self.resource(field, SHAPE, text)? {
            ResourceName::Credential(tenant, username) => Ok((tenant, username)),
            _ => Err(other_kind(field, SHAPE)),
        }
    }

    /// Reads `tenants/{tenant}/deadLetters/{number}`.
    pub(crate) fn dead_letter(&self, field: &str, text: &str) -> Result<(TenantId, u64), Status> {
        const SHAPE: &str = "tenants/{tenant}/deadLetters/{number}";
        match self.resource(field, SHAPE, text)? {
            ResourceName::DeadLetter(tenant, number) => Ok((tenant, number)),
            _ => Err(other_kind(field, SHAPE)),
        }
    }

    /// Reads `tenants/{tenant}`, or `tenants/-` for all (AIP-159): `None`.
    pub(crate) fn tenant_or_all(
        &self,
        field: &str,
        text: &str,
    ) -> Result<Option<TenantId>, Status> {
        match (text, &self.tenants) {
            ("tenants/-", TenantScope::All) => Ok(None),
            ("tenants/-", TenantScope::One(_)) => Err(plain(
                Code::PermissionDenied,
                "TENANT_FORBIDDEN",
                format!("{field}: this token may not reach all tenants; name one"),
            )),
            _ => self.tenant(field, text).map(Some),
        }
    }
}

fn other_kind(field: &str, shape: &str) -> Status {
    invalid(
        field,
        format!("is a name of another kind; expected {shape}"),
    )
}

/// Names that begin with a dot would be hidden, or leave a folder.
fn is_file_name(name: &str) -> bool {
    name.len() <= 128
        && !name.starts_with('.')
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use tonic_types::StatusExt;

    fn caller(tenants: TenantScope) -> Caller {
        Caller {
            tenants,
            role: Role::Admin,
        }
    }

    #[test]
    fn names_are_read_and_errors_name_the_field() {
        let all = caller(TenantScope::All);
        let key = all
            .device("name", "tenants/default/devices/00AA11-X-1")
            .unwrap();
        assert_eq!(key.to_string(), "default/00AA11-X-1");
        for bad in [
            "",
            "x",
            "tenants/default",
            "tenants/default/devices/zz",
            "tenants/A/devices/x",
        ] {
            let status = all.device("name", bad).unwrap_err();
            assert_eq!(status.code(), Code::InvalidArgument, "{bad}");
            let request = status.get_details_bad_request().unwrap();
            assert_eq!(request.field_violations[0].field, "name");
            assert!(
                status
                    .message()
                    .contains("tenants/{tenant}/devices/{device}")
            );
        }
        assert!(all.file("name", "tenants/default/files/..").is_err());
        assert!(all.file("name", "tenants/default/files/a b").is_err());
        assert!(all.file("name", "tenants/default/files/fw-1.bin").is_ok());
    }

    #[test]
    fn a_tenants_token_opens_that_tenant_only() {
        let one = caller(TenantScope::One("isp".parse().unwrap()));
        assert!(one.tenant("parent", "tenants/isp").is_ok());
        let status = one.tenant("parent", "tenants/default").unwrap_err();
        assert_eq!(status.code(), Code::PermissionDenied);
        assert_eq!(
            status.get_details_error_info().unwrap().reason,
            "TENANT_FORBIDDEN"
        );
    }

    #[test]
    fn the_admin_token_is_known_by_its_hash() {
        let verifier = AdminToken::new(TokenHash::of("correct horse battery"));
        assert_eq!(
            verifier.verify("correct horse battery").unwrap().tenants,
            TenantScope::All
        );
        assert!(verifier.verify("incorrect").is_none());
        assert!(verifier.verify("").is_none());
    }

    #[test]
    fn all_tenants_are_for_those_who_may_reach_all() {
        let one = caller(TenantScope::One("acme".parse().unwrap()));
        let refused = one.tenant_or_all("parent", "tenants/-").unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied);
        let own = one.tenant_or_all("parent", "tenants/acme").unwrap();
        assert_eq!(own.unwrap().as_str(), "acme");
        let refused = one.dead_letter("name", "tenants/other/deadLetters/1");
        assert_eq!(refused.unwrap_err().code(), Code::PermissionDenied);
        let all = caller(TenantScope::All);
        assert_eq!(all.tenant_or_all("parent", "tenants/-").unwrap(), None);
        let (tenant, number) = all
            .dead_letter("name", "tenants/other/deadLetters/7")
            .unwrap();
        assert_eq!((tenant.as_str(), number), ("other", 7));
        assert!(
            all.dead_letter("name", "tenants/other/deadLetters/x")
                .is_err()
        );
    }
}
