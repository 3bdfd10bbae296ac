//! What the first start makes, and tells once: the credential that devices
//! connect with.

use crate::config::HearthConfig;
use crate::keys::admin_token_path;
use crate::server::Server;
use anyhow::Result;
use hearth_auth::{ExposeSecret, SecretString};
use hearth_clients::DeviceState;
use hearth_device_state::DeviceStateService;
use hearth_proto::devicestate::v1::GetCredentialRequest;
use hearth_types::TenantId;

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
pub fn tell(server: &Server, config: &HearthConfig) {
    let Some(onboarding) = server.onboarding.as_ref().filter(|made| made.is_new) else {
        return;
    };
    let (cwmp, cwmp_tls) = (server.addresses.cwmp, server.addresses.cwmp_tls);
    let (scheme, port) = match (cwmp, cwmp_tls) {
        (Some(address), _) => ("http", address.port().to_string()),
        (None, Some(address)) => ("https", address.port().to_string()),
        (None, None) => ("http", "<the gateway's port>".to_owned()),
    };
    println!(
        "Hearth's first start with this data.\n\
         \n  Devices connect to   {scheme}://<this machine>:{port}/\n  \
         with the user        {}\n  \
         and the password     {}\n  \
         (again: hearthctl credential onboarding)",
        onboarding.username,
        onboarding.password.expose_secret(),
    );
    if server.admin_token.is_some() {
        println!(
            "\n  The API's token is in {}",
            admin_token_path(config).display()
        );
    }
    println!();
}
