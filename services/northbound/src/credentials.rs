//! CredentialService: credentials of devices towards the server and of the server towards devices.

use crate::caller::Caller;
use crate::core::Core;
use crate::error::{Context, invalid, not_found, plain, status};
use crate::{convert, import, page};
use hearth_auth::ExposeSecret;
use hearth_proto::devicestate::v1 as ds;
use hearth_proto::northbound::v1::{
    self as nb, CredentialKind as Kind, credential_service_server::CredentialService,
};
use hearth_types::TenantId;
use std::sync::Arc;
use tonic::{Code, Request, Response, Status};

/// Credentials looked at in one go for the onboarding one.
const SCAN: u32 = 1000;

/// Internal fields by their public names.
const SET: &[(&str, &str)] = &[
    ("credential", "credential"),
    ("username", "credential.username"),
    ("kind", "credential.kind"),
    ("device", "credential.device"),
    ("model", "credential.model"),
    ("tenant", "parent"),
];
const LIST: &[(&str, &str)] = &[("tenant", "parent")];
const DELETE: &[(&str, &str)] = &[("username", "name"), ("tenant", "name")];

/// The service.
pub(crate) struct Credentials(pub(crate) Arc<Core>);

impl Credentials {
    /// The user name of a tenant's onboarding credential.
    async fn onboarding_user(&self, tenant: &TenantId) -> Result<Option<String>, Status> {
        let mut page_token = String::new();
        loop {
            let request = ds::ListCredentialsRequest {
                tenant: tenant.to_string(),
                page_size: SCAN,
                page_token,
            };
            let page = self.0.clients.device_state.list_credentials(request).await;
            let page = page.map_err(status)?;
            let mut credentials = page.credentials.into_iter();
            let found = credentials.find(|one| one.kind() == ds::CredentialKind::Onboarding);
            if found.is_some() || page.next_page_token.is_empty() {
                return Ok(found.map(|credential| credential.username));
            }
            page_token = page.next_page_token;
        }
    }
}

#[tonic::async_trait]
impl CredentialService for Credentials {
    async fn get_onboarding_credential(
        &self,
        request: Request<nb::GetOnboardingCredentialRequest>,
    ) -> Result<Response<nb::GetOnboardingCredentialResponse>, Status> {
        let caller = Caller::of(&request)?;
        let parent = request.into_inner().parent;
        let tenant = caller.tenant("parent", &parent)?;
        let none = || {
            not_found(
                "Credential",
                &parent,
                "the tenant has no onboarding credential; make one with `hearthctl credential set \
                 --onboarding --username NAME` or SetCredential of kind \
                 CREDENTIAL_KIND_ONBOARDING",
            )
        };
        let username = self.onboarding_user(&tenant).await?.ok_or_else(none)?;
        let lookup = ds::GetCredentialRequest {
            tenant: tenant.to_string(),
            username,
        };
        let found = self.0.clients.device_state.get_credential(lookup).await;
        let found = found.map_err(status)?;
        let credential = found.credential.ok_or_else(none)?;
        Ok(Response::new(nb::GetOnboardingCredentialResponse {
            username: credential.username,
            password: found.password,
        }))
    }

    async fn set_credential(
        &self,
        request: Request<nb::SetCredentialRequest>,
    ) -> Result<Response<nb::SetCredentialResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let tenant = caller.tenant("parent", &request.parent)?;
        let credential = request
            .credential
            .ok_or_else(|| invalid("credential", "is missing; expected a username and a kind"))?;
        check_username(&credential.username)?;
        check_password(&request.password)?;
        let kind = credential.kind();
        check_kind("credential.kind", kind)?;
        let device = device(
            &caller,
            &tenant,
            "credential.device",
            kind,
            &credential.device,
        )?;
        let (password, made) = match request.password {
            given if !given.is_empty() => (given, String::new()),
            _ => {
                let made = hearth_auth::generate_password().map_err(|error| {
                    plain(
                        Code::Internal,
                        "INTERNAL",
                        format!("{error}: no password was made"),
                    )
                })?;
                (
                    made.expose_secret().to_owned(),
                    made.expose_secret().to_owned(),
                )
            }
        };
        let credential = ds::Credential {
            tenant: tenant.to_string(),
            username: credential.username,
            kind: kind.into(),
            device,
            model: credential.model,
            update_time_us: self.0.clock.now_micros(),
            ..Default::default()
        };
        let put = ds::PutCredentialRequest {
            credential: Some(credential.clone()),
            password,
        };
        let context = Context::default().fields(SET);
        let answer = self.0.clients.device_state.put_credential(put).await;
        answer.map_err(|error| context.status(error))?;
        Ok(Response::new(nb::SetCredentialResponse {
            credential: Some(convert::credential(credential)),
            password: made,
        }))
    }

    async fn import_credentials(
        &self,
        request: Request<nb::ImportCredentialsRequest>,
    ) -> Result<Response<nb::ImportCredentialsResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let tenant = caller.tenant("parent", &request.parent)?;
        let read = import::read(&caller, &tenant, &request.csv, request.lines_before)?;
        let internal = ds::ImportCredentialsRequest {
            tenant: tenant.to_string(),
            credentials: read.credentials,
            dry_run: request.dry_run,
        };
        let device_state = &self.0.clients.device_state;
        let answer = device_state.import_credentials(internal).await;
        let answer = answer.map_err(status)?;
        let told = answer.errors.into_iter().map(|error| nb::ImportError {
            line: error.line,
            column: error.column,
            message: error.message,
        });
        let mut errors: Vec<_> = read.errors.into_iter().chain(told).collect();
        errors.sort_by_key(|error| error.line);
        Ok(Response::new(nb::ImportCredentialsResponse {
            imported: answer.imported,
            errors,
        }))
    }

    async fn list_credentials(
        &self,
        request: Request<nb::ListCredentialsRequest>,
    ) -> Result<Response<nb::ListCredentialsResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let tenant = caller.tenant("parent", &request.parent)?;
        let internal = ds::ListCredentialsRequest {
            tenant: tenant.to_string(),
            page_size: page::RESOURCES.size(request.page_size)?,
            page_token: page::token(request.page_token)?,
        };
        let context = Context::default().fields(LIST);
        let answer = self.0.clients.device_state.list_credentials(internal).await;
        let answer = answer.map_err(|error| context.status(error))?;
        Ok(Response::new(nb::ListCredentialsResponse {
            credentials: answer
                .credentials
                .into_iter()
                .map(convert::credential)
                .collect(),
            next_page_token: answer.next_page_token,
        }))
    }

    async fn delete_credential(
        &self,
        request: Request<nb::DeleteCredentialRequest>,
    ) -> Result<Response<nb::DeleteCredentialResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let kind = request.kind();
        let (tenant, username) = caller.credential("name", &request.name)?;
        check_kind("kind", kind)?;
        // A device's own credential is known by its user name alone.
        let device = match kind {
            Kind::Device if request.device.is_empty() => String::new(),
            _ => device(&caller, &tenant, "device", kind, &request.device)?,
        };
        let internal = ds::DeleteCredentialRequest {
            tenant: tenant.to_string(),
            username,
            kind: kind.into(),
            device,
        };
        let context = Context::of("Credential", &request.name).fields(DELETE);
        let answer = self
            .0
            .clients
            .device_state
            .delete_credential(internal)
            .await;
        if !answer.map_err(|error| context.status(error))?.existed {
            let message = "there is no such credential of this kind; ListCredentials shows them";
            return Err(not_found("Credential", &request.name, message));
        }
        Ok(Response::new(nb::DeleteCredentialResponse {}))
    }
}

fn check_kind(field: &str, kind: Kind) -> Result<(), Status> {
    if kind == Kind::Unspecified {
        return Err(invalid(
            field,
            "expected CREDENTIAL_KIND_ONBOARDING, _MODEL, _DEVICE or _CONNECTION_REQUEST",
        ));
    }
    Ok(())
}

/// A slash could not stand in the credential's resource name.
fn check_username(username: &str) -> Result<(), Status> {
    let good = (1..=256).contains(&username.chars().count())
        && !username.contains([':', '/'])
        && !username.chars().any(char::is_control);
    if good {
        return Ok(());
    }
    Err(invalid(
        "credential.username",
        "expected 1 to 256 characters without ':', '/' and control characters",
    ))
}

fn check_password(password: &str) -> Result<(), Status> {
    if password.chars().count() <= 256 && !password.chars().any(char::is_control) {
        return Ok(());
    }
    Err(invalid(
        "password",
        "expected 1 to 256 characters without control characters, or none to have one made",
    ))
}

/// The device that a credential of this kind is for; empty for none.
fn device(
    caller: &Caller,
    tenant: &TenantId,
    field: &str,
    kind: Kind,
    name: &str,
) -> Result<String, Status> {
    match (kind, name) {
        (Kind::Onboarding | Kind::Model | Kind::ConnectionRequest, "") => Ok(String::new()),
        (Kind::Onboarding, _) => Err(invalid(
            field,
            "an onboarding credential is for any device; leave it empty, or use \
             CREDENTIAL_KIND_DEVICE",
        )),
        (Kind::Model, _) => Err(invalid(
            field,
            "must be empty: `model` says for which devices",
        )),
        (_, name) => {
            let key = caller.device(field, name)?;
            if key.tenant == *tenant {
                return Ok(key.device.into());
            }
            let shape =
                format!("is of another tenant; expected tenants/{tenant}/devices/{{device}}");
            Err(invalid(field, shape))
        }
    }
}
