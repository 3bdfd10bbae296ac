//! What the first start makes, and tells once: the credential that devices
//! connect with.

use crate::server::Server;
use anyhow::Result;
use hearth_auth::{ExposeSecret, SecretString};
use hearth_clients::DeviceState;
use hearth_device_state::DeviceStateService;
use hearth_proto::devicestate::v1::GetCredentialRequest;
use hearth_types::TenantId;
use std::path::Path;

/// The onboarding credential of a tenant.
pub struct Onboarding {
    /// User name.
    pub username: String,
    /// Password.
    pub password: SecretString,
    /// Whether it was made at this start.
    pub is_new: bool,
}

/// The tenant's onboarding credential, made if there is none.
///
/// # Errors
/// When the store can't be used.
pub async fn onboarding(devices: &DeviceStateService, tenant: &TenantId) -> Result<Onboarding> {
    let (username, made) = devices.ensure_onboarding(tenant).await?;
    let is_new = made.is_some();
    let password = match made {
        Some(password) => password,
        None => {
            let request = GetCredentialRequest {
                tenant: tenant.as_str().to_owned(),
                username: username.clone(),
            };
            devices.get_credential(request).await?.password.into()
        }
    };
    Ok(Onboarding {
        username,
        password,
        is_new,
    })
}

/// Tells, on standard output and once, what was made. Not in the log: logs are
/// kept and shipped.
pub fn tell(server: &Server, data_dir: &Path) {
    let onboarding = &server.onboarding;
    if !onboarding.is_new {
        return;
    }
    println!(
        "Hearth's first start with this data directory.\n\
         \n  Devices connect to   http://<this machine>:{}/\n  \
         with the user        {}\n  \
         and the password     {}\n  \
         (again: hearthctl credential onboarding)\n\
         \n  The API's token is in {}\n",
        server.addresses.cwmp.port(),
        onboarding.username,
        onboarding.password.expose_secret(),
        data_dir.join("admin.token").display(),
    );
}
