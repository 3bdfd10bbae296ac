//! A tenant's policy for the edge: one document, checked when it is written.
//!
//! A new field: in `types/v1/policy.proto`, in [`FIELDS`], with its default in [`with_defaults`]
//! and its rule in [`check`].

mod offers;
mod redact;

use std::sync::Arc;
use std::time::Duration;

use hearth_auth::seal::policy_place;
use hearth_clients::{Error, Result};
use hearth_proto::convert::{micros, timestamp};
use hearth_proto::devicestate::v1 as ds;
use hearth_proto::types::v1::{EdgePolicy, IdentityProof, LineHeader, RotateCredentials};
use hearth_store::{Document, DocumentKind};
use hearth_types::{TenantId, Timestamp};
use prost::Message;

use crate::core::Core;
use crate::errors::from_seal;
use crate::memory::{About, Memory, REMEMBERED};
use crate::prefix;

/// The document.
const KEY: &str = "edge-policy";
/// Policies in memory.
const CACHED: usize = 10_000;

const DAY: u32 = 24 * 3600;
const YEAR: u32 = 365 * DAY;
const MAX_NETWORKS: usize = 1000;
/// The longest name of a line, in characters.
pub const MAX_LINE: usize = 128;

/// Policies in memory, with their defaults.
pub struct PolicyCache(Memory<TenantId, Arc<EdgePolicy>>);

impl PolicyCache {
    pub fn new() -> Self {
        Self(Memory::new(CACHED, REMEMBERED))
    }
}

macro_rules! fields {
    ($($name:ident),* $(,)?) => {
        /// What an update may change.
        const FIELDS: &[&str] = &[$(stringify!($name)),*];

        /// Takes over one field; false if there is none of the name.
        fn take(field: &str, from: &EdgePolicy, to: &mut EdgePolicy) -> bool {
            match field {
                $(stringify!($name) => to.$name = from.$name.clone(),)*
                _ => return false,
            }
            true
        }
    };
}

fields! {
    rotate_credentials,
    identity_proof,
    expected_devices_only,
    silent_after_intervals,
    silent_after_seconds,
    new_for_seconds,
    trusted_networks,
    line_header,
    request_download,
    download_offers,
    kicked,
    kicked_url,
    redact_paths,
}

impl Core {
    /// A tenant's policy, with defaults for what it doesn't say.
    pub async fn policy(&self, tenant: &TenantId) -> Result<Arc<EdgePolicy>> {
        let glance = self.glance(About::tenant(tenant));
        if let Some(policy) = self.policies.0.get(tenant, glance) {
            return Ok(policy);
        }
        let policy = Arc::new(with_defaults(self.stored_policy(tenant).await?));
        let known = Arc::clone(&policy);
        self.policies.0.keep(tenant.clone(), glance, known);
        Ok(policy)
    }

    async fn stored_policy(&self, tenant: &TenantId) -> Result<EdgePolicy> {
        let document = self.store.document(DocumentKind::Setting, tenant, KEY);
        match document.await? {
            Some(document) => EdgePolicy::decode(document.payload.as_slice())
                .map_err(|_| Error::internal("the stored policy can't be read")),
            None => Ok(EdgePolicy::default()),
        }
    }

    pub async fn get_edge_policy(
        &self,
        request: ds::GetEdgePolicyRequest,
    ) -> Result<ds::GetEdgePolicyResponse> {
        let tenant: TenantId = request.tenant.parse()?;
        let policy = self.policy(&tenant).await?;
        let captures = self.active_captures(&tenant).await?;
        Ok(ds::GetEdgePolicyResponse {
            policy: Some(EdgePolicy::clone(&policy)),
            captures,
        })
    }

    pub async fn update_edge_policy(
        &self,
        request: ds::UpdateEdgePolicyRequest,
    ) -> Result<ds::UpdateEdgePolicyResponse> {
        let tenant: TenantId = request.tenant.parse()?;
        let mut asked = request.policy.unwrap_or_default();
        let _edit = self.edit.lock().await;
        let mut policy = self.stored_policy(&tenant).await?;
        self.seal_header(
            &tenant,
            asked.line_header.as_mut(),
            policy.line_header.as_ref(),
        )?;
        for field in &request.fields {
            let all: &[&str] = match field.as_str() {
                "*" => FIELDS,
                one => &[one],
            };
            if !all.iter().all(|one| take(one, &asked, &mut policy)) {
                let message = format!(
                    "{field:?} is no field of the policy; expected some of {}, or *",
                    FIELDS.join(", ")
                );
                return Err(Error::invalid("update_mask", message));
            }
        }
        check(&policy)?;
        offers::check(&tenant, &policy)?;
        redact::check(&policy)?;
        // Later than the present one, whatever the clock of who wrote that.
        let before = Timestamp::from_micros(micros(policy.update_time.as_ref()));
        let now = self
            .now()
            .max(before.saturating_add(Duration::from_micros(1)));
        policy.update_time = timestamp(now.as_micros());
        let document = Document {
            key: KEY.to_owned(),
            time: now,
            payload: policy.encode_to_vec(),
        };
        let kind = DocumentKind::Setting;
        let _changing = self.changing(&[About::tenant(&tenant)]).await?;
        self.store.put_document(kind, &tenant, document).await?;
        Ok(ds::UpdateEdgePolicyResponse {
            policy: Some(with_defaults(policy)),
        })
    }

    /// Seals the secret of a header, or keeps the present one.
    fn seal_header(
        &self,
        tenant: &TenantId,
        header: Option<&mut LineHeader>,
        present: Option<&LineHeader>,
    ) -> Result<()> {
        let Some(header) = header else {
            return Ok(());
        };
        let secret = std::mem::take(&mut header.secret);
        header.sealed_secret = match (secret.is_empty(), present) {
            (true, Some(present)) => present.sealed_secret.clone(),
            (true, None) => Vec::new(),
            (false, _) => {
                if !(16..=256).contains(&secret.chars().count()) {
                    let message = "expected 16 to 256 characters";
                    return Err(Error::invalid("policy.line_header.secret", message));
                }
                self.secrets
                    .seal_at(&policy_place(tenant, "line_header"), &secret)
                    .map_err(from_seal)?
            }
        };
        header.has_secret = !header.sealed_secret.is_empty();
        Ok(())
    }
}

/// Fills in what isn't said.
fn with_defaults(mut policy: EdgePolicy) -> EdgePolicy {
    if policy.rotate_credentials() == RotateCredentials::Unspecified {
        policy.set_rotate_credentials(RotateCredentials::Never);
    }
    if policy.identity_proof() == IdentityProof::Unspecified {
        policy.set_identity_proof(IdentityProof::Credential);
    }
    offers::with_defaults(&mut policy);
    for (number, default) in [
        (&mut policy.silent_after_intervals, 3),
        (&mut policy.silent_after_seconds, DAY),
        (&mut policy.new_for_seconds, DAY),
    ] {
        if *number == 0 {
            *number = default;
        }
    }
    if let Some(header) = &mut policy.line_header
        && header.window_seconds == 0
    {
        header.window_seconds = 60;
    }
    policy
}

/// The rules; an error names the field.
fn check(policy: &EdgePolicy) -> Result<()> {
    if RotateCredentials::try_from(policy.rotate_credentials).is_err() {
        return wrong("rotate_credentials", "is no value that is known here");
    }
    if IdentityProof::try_from(policy.identity_proof).is_err() {
        return wrong("identity_proof", "is no value that is known here");
    }
    number(
        "silent_after_intervals",
        policy.silent_after_intervals,
        2..=100,
    )?;
    number(
        "silent_after_seconds",
        policy.silent_after_seconds,
        3600..=YEAR,
    )?;
    number("new_for_seconds", policy.new_for_seconds, 60..=YEAR)?;
    if policy.trusted_networks.len() > MAX_NETWORKS {
        return wrong("trusted_networks", "expected at most 1000");
    }
    for (place, network) in policy.trusted_networks.iter().enumerate() {
        let field = format!("trusted_networks[{place}]");
        if let Err(why) = prefix::parse(&network.prefix) {
            return wrong(&format!("{field}.prefix"), &why);
        }
        check_name(&format!("{field}.line"), &network.line)?;
    }
    if let Some(header) = &policy.line_header {
        number(
            "line_header.window_seconds",
            header.window_seconds,
            1..=3600,
        )?;
        let token = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        if header.name.len() > 64 || !header.name.bytes().all(token) {
            let expected = "expected a header's name: letters, digits, `-`, at most 64";
            return wrong("line_header.name", expected);
        }
        if !header.name.is_empty() && header.sealed_secret.is_empty() {
            return wrong("line_header.secret", "a header needs a secret");
        }
    }
    Ok(())
}

/// The name of a line, or nothing.
pub fn check_name(field: &str, name: &str) -> Result<()> {
    let good = name.chars().count() <= MAX_LINE && !name.chars().any(char::is_control);
    match good {
        true => Ok(()),
        false => wrong(
            field,
            "expected at most 128 characters, none of them a control character",
        ),
    }
}

/// A number within its bounds, or 0 for the default.
fn number(field: &str, number: u32, bounds: std::ops::RangeInclusive<u32>) -> Result<()> {
    if number == 0 || bounds.contains(&number) {
        return Ok(());
    }
    let message = format!(
        "expected {} to {}, or 0 for the default",
        bounds.start(),
        bounds.end()
    );
    wrong(field, &message)
}

fn wrong<T>(field: &str, message: &str) -> Result<T> {
    Err(Error::invalid(format!("policy.{field}"), message))
}
