//! Many credentials at once, each line on its own: a wrong one keeps no other out.

use std::collections::HashMap;

use futures::stream::{self, StreamExt};
use hearth_clients::{Error, Kind, Result};
use hearth_proto::devicestate::v1 as ds;
use hearth_types::{DeviceKey, TenantId};

use crate::core::Core;
use crate::memory::About;

/// The most lines of one call.
const MAX_LINES: usize = 5000;
/// Lines written at once: those under way together share a sync.
const WRITES: usize = 64;

/// A line that passed its checks.
struct Checked {
    line: u32,
    credential: ds::Credential,
    device: Option<DeviceKey>,
    password: String,
}

impl Core {
    pub async fn import_credentials(
        &self,
        request: ds::ImportCredentialsRequest,
    ) -> Result<ds::ImportCredentialsResponse> {
        let tenant: TenantId = request.tenant.parse()?;
        if request.credentials.len() > MAX_LINES {
            let message = format!("expected at most {MAX_LINES} lines in a call");
            return Err(Error::invalid("credentials", message));
        }
        let mut errors = Vec::new();
        let checked = checked(&tenant, request.credentials, &mut errors);
        let _edit = self.edit.lock().await;
        let dry_run = request.dry_run;
        let _changing = match dry_run {
            true => None,
            false => Some(self.changing(&[About::ALL]).await?),
        };
        let tenant = &tenant;
        let kept: Vec<_> = checked
            .into_iter()
            .map(|one| self.import_one(tenant, one, dry_run))
            .collect();
        let mut kept = stream::iter(kept).buffer_unordered(WRITES);
        let mut imported = 0;
        while let Some((line, done)) = kept.next().await {
            match done {
                Ok(()) => imported += 1,
                // Not the line's fault: told as such, so that the call is made again.
                Err(error) if error.kind != Kind::AlreadyExists => return Err(error),
                Err(error) => errors.push(import_error(line, &error)),
            }
        }
        errors.sort_by_key(|error| error.line);
        Ok(ds::ImportCredentialsResponse { imported, errors })
    }
}

impl Core {
    /// Keeps a line, or only looks whether it could be; the caller holds `edit`.
    async fn import_one(
        &self,
        tenant: &TenantId,
        one: Checked,
        dry_run: bool,
    ) -> (u32, Result<()>) {
        let done = match dry_run {
            true => self.check_owner(tenant, &one.credential).await,
            false => {
                self.keep_credential(tenant, one.credential, one.device, &one.password)
                    .await
            }
        };
        (one.line, done)
    }
}

/// The lines that can be kept.
fn checked(
    tenant: &TenantId,
    lines: Vec<ds::CredentialToImport>,
    errors: &mut Vec<ds::ImportError>,
) -> Vec<Checked> {
    let mut good = Vec::with_capacity(lines.len());
    let mut places: HashMap<(i32, String), u32> = HashMap::new();
    for one in lines {
        let line = one.line;
        let mut credential = one.credential.unwrap_or_default();
        credential.tenant = tenant.to_string();
        let device = match Core::check_credential(&mut credential, &one.password) {
            Ok(device) => device,
            Err(error) => {
                errors.push(import_error(line, &error));
                continue;
            }
        };
        let place = match credential.kind() {
            ds::CredentialKind::ConnectionRequest => (1, credential.device.clone()),
            _ => (0, credential.username.clone()),
        };
        if let Some(first) = places.insert(place, line) {
            let error = Error::invalid(
                "credential.username",
                format!("stands for the same credential as line {first}"),
            );
            errors.push(import_error(line, &error));
            continue;
        }
        good.push(Checked {
            line,
            credential,
            device,
            password: one.password,
        });
    }
    good
}

fn import_error(line: u32, error: &Error) -> ds::ImportError {
    let column = error.field.strip_prefix("credential.");
    ds::ImportError {
        line,
        column: column.unwrap_or(&error.field).to_owned(),
        message: error.message.clone(),
    }
}
