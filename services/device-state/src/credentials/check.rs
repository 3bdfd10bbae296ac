//! Whether who comes with these proofs may be this device: the operator's word, the tenant's policy,
//! the credential's own rules, in this order.

use std::sync::Arc;

use hearth_clients::Result;
use hearth_proto::devicestate::v1 as ds;
use hearth_proto::types::v1::{EdgePolicy, IdentityProof, RotateCredentials};
use hearth_store::DocumentKind;
use hearth_types::DeviceKey;

use super::identity::used_document;
use super::{Opened, UserOf, keys};
use crate::core::Core;
use crate::lifecycle;
use crate::lifecycle::alerts::Alert;
use crate::memory::About;

/// Why not: a label and words.
type Refusal = (&'static str, String);
/// What a judgement brings, or why it is a refusal.
type Judged<T> = std::result::Result<T, Refusal>;

impl Core {
    /// The rules for credentials: a DEVICE credential is good for its device only; ONBOARDING and
    /// MODEL ones for devices that have used none of their own, for one that comes with
    /// `0 BOOTSTRAP`, which has lost its, and for one whose new ones are not used yet.
    pub async fn check_identity(
        &self,
        request: ds::CheckIdentityRequest,
    ) -> Result<ds::CheckIdentityResponse> {
        let device = DeviceKey::parse(&request.tenant, &request.device)?;
        Ok(match self.judge(&device, &request).await? {
            Ok(rotate) => {
                let profile = match request.in_session {
                    true => None,
                    false => {
                        let (of, version) = (&request.manufacturer, &request.software_version);
                        self.profile_of(&device, of, version).await?
                    }
                };
                ds::CheckIdentityResponse {
                    allowed: true,
                    rotate,
                    profile: profile
                        .as_ref()
                        .map_or(String::new(), |p| format!("{}@{}", p.id, p.version)),
                    quirks: profile.and_then(|profile| profile.quirks),
                    ..ds::CheckIdentityResponse::default()
                }
            }
            Err((code, reason)) => ds::CheckIdentityResponse {
                reason,
                code: code.to_owned(),
                ..ds::CheckIdentityResponse::default()
            },
        })
    }

    /// Whether the device is to be given credentials of its own.
    async fn judge(
        &self,
        device: &DeviceKey,
        request: &ds::CheckIdentityRequest,
    ) -> Result<Judged<bool>> {
        if let Some(stance) = self.stance(device).await? {
            let state = lifecycle::label(stance.state());
            let why = match stance.reason.as_str() {
                "" => String::new(),
                reason => format!(" ({reason})"),
            };
            return Ok(Err((state, format!("the device is {state}{why}"))));
        }
        let policy = self.policy(&device.tenant).await?;
        if !request.in_session
            && let Err(refusal) = check_proofs(device, request, &policy)
        {
            return Ok(Err(refusal));
        }
        let user = match request.username.as_str() {
            "" => None,
            username => match self.judge_user(device, username, request).await? {
                Ok(user) => Some(user),
                Err(refusal) => return Ok(Err(refusal)),
            },
        };
        if policy.expected_devices_only && !request.in_session && !self.is_expected(device).await? {
            let reason = "the tenant takes expected devices only, and this one is not: register it \
                          with `hearthctl device expect`";
            return Ok(Err(("not_expected", reason.to_owned())));
        }
        let kind = user.as_ref().map(|user| user.credential.kind());
        let shared = matches!(
            kind,
            Some(ds::CredentialKind::Onboarding | ds::CredentialKind::Model)
        );
        let has_new = user.is_some_and(|user| user.credential.rotated);
        let bootstrap = request.bootstrapped && !has_new;
        Ok(Ok(!request.in_session
            && match policy.rotate_credentials() {
                RotateCredentials::Bootstrap => bootstrap,
                RotateCredentials::Onboarding => bootstrap || shared,
                RotateCredentials::Unspecified | RotateCredentials::Never => false,
            }))
    }

    /// Whether a user may be the device.
    async fn judge_user(
        &self,
        device: &DeviceKey,
        username: &str,
        request: &ds::CheckIdentityRequest,
    ) -> Result<Judged<Arc<Opened>>> {
        let refuse = |reason: &str| Ok(Err(("identity", reason.to_owned())));
        let Some(user) = self.user(&device.tenant, username).await? else {
            return refuse("there is no such user");
        };
        match user.credential.kind() {
            ds::CredentialKind::Device => {
                let own = &user.credential.device;
                if own != device.device.as_str() {
                    self.note_other_device(&user.credential, device).await?;
                    return refuse(&format!("this user belongs to device {own}"));
                }
                if user.credential.superseded {
                    if !request.bootstrap {
                        return refuse(
                            "the device has used newer credentials and must go on with them; this \
                             user serves for 0 BOOTSTRAP only",
                        );
                    }
                    self.reinstate(device, username).await?;
                }
                // That it was used shuts out the onboarding one, in every process and after a crash:
                // the first use is on disk before the device is let in.
                let place = UserOf(&device.tenant, username);
                if self.credentials.proved.get(&place).is_none() {
                    self.keep_first_use(device, username).await?;
                    self.finish_rotation(device, username).await?;
                    let place = (device.tenant.clone(), username.to_owned());
                    self.credentials.proved.insert(place, ());
                }
                let glance = self.glance(About::device(device));
                self.credentials.own.keep(device.clone(), glance, true);
            }
            kind @ (ds::CredentialKind::Onboarding | ds::CredentialKind::Model) => {
                if kind == ds::CredentialKind::Model && !is_of_model(&user.credential, device) {
                    let model = &user.credential.model;
                    return refuse(&format!("this user is for devices of model {model}"));
                }
                if !request.bootstrap
                    && self.has_own_credential(device).await?
                    && self.rotation(device).await?.is_none()
                {
                    return refuse(
                        "the device has used a credential of its own and must go on with it; this \
                         user is for devices without one, and for 0 BOOTSTRAP",
                    );
                }
            }
            _ => return refuse("this user is not for devices"),
        }
        self.note_use(&device.tenant, username);
        Ok(Ok(user))
    }

    /// Another device came with a device's credential: said on both, if they are known.
    async fn note_other_device(&self, of: &ds::Credential, other: &DeviceKey) -> Result<()> {
        let owner = DeviceKey::parse(&of.tenant, &of.device)?;
        let username = &of.username;
        let detail = format!("device {} came with its user {username}", other.device);
        let about = other.device.as_str();
        self.alert(&owner, Alert::SharedCredential, about, &detail)
            .await?;
        if self.row(other).await?.is_some() {
            let detail = format!("came with user {username} of device {}", owner.device);
            let about = owner.device.as_str();
            self.alert(other, Alert::SharedCredential, about, &detail)
                .await?;
        }
        Ok(())
    }

    /// Writes that a credential was used, if that isn't known yet.
    async fn keep_first_use(&self, device: &DeviceKey, username: &str) -> Result<()> {
        let tenant = &device.tenant;
        let key = keys::used(username);
        let kind = DocumentKind::Credential;
        if self.store.document(kind, tenant, &key).await?.is_none() {
            // From now on the onboarding one is shut out, everywhere.
            let _changing = self.changing(&[About::device(device)]).await?;
            self.credentials.own.forget(device);
            let document = used_document(key, self.now());
            self.store.put_document(kind, tenant, document).await?;
        }
        Ok(())
    }
}

/// Whether there is what the tenant's policy asks for.
fn check_proofs(
    device: &DeviceKey,
    request: &ds::CheckIdentityRequest,
    policy: &EdgePolicy,
) -> Judged<()> {
    let by_credential = !request.username.is_empty() || request.certificate;
    let by_line = !request.line.is_empty();
    let wants_line = policy.identity_proof() != IdentityProof::Credential;
    let bound = &request.line_device;
    if wants_line && by_line && !bound.is_empty() && *bound != device.device.as_str() {
        let reason = format!("line {} is for device {bound} only", request.line);
        return Err(("line", reason));
    }
    let (enough, wanted) = match policy.identity_proof() {
        IdentityProof::Unspecified | IdentityProof::Credential => {
            (by_credential, "a credential is needed")
        }
        IdentityProof::Line => (by_line, "a known line is needed"),
        IdentityProof::CredentialAndLine => (
            by_credential && by_line,
            "a credential and a known line are needed",
        ),
        IdentityProof::Either => (
            by_credential || by_line,
            "a credential or a known line is needed",
        ),
    };
    match enough {
        true => Ok(()),
        false if by_credential => Err(("line", wanted.to_owned())),
        false => Err(("identity", wanted.to_owned())),
    }
}

/// Whether a model's credential is for a device: `OUI`, or `OUI/ProductClass`.
fn is_of_model(credential: &ds::Credential, device: &DeviceKey) -> bool {
    let (oui, product_class, _) = device.device.parts();
    match credential.model.split_once('/') {
        Some((of, class)) => of.eq_ignore_ascii_case(&oui) && class == product_class,
        None => credential.model.eq_ignore_ascii_case(&oui),
    }
}
