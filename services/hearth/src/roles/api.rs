//! The public API.

use crate::config::HearthConfig;
use crate::links::Links;
use crate::server::Base;
use crate::tls;
use anyhow::Result;
use hearth_auth::ApiToken;
use hearth_northbound::{AdminToken, Clients, NorthboundService};
use hearth_runtime::Runtime;
use std::sync::Arc;
use tokio::net::TcpListener;

/// Adds the northbound role.
pub(crate) fn northbound(
    base: &Base,
    config: &HearthConfig,
    links: &mut Links<'_>,
    listener: TcpListener,
    token: &ApiToken,
    runtime: &mut Runtime,
) -> Result<()> {
    let tls = match (&config.listen.api_tls_cert, &config.listen.api_tls_key) {
        (Some(certificate), Some(key)) => Some(tls::for_api(certificate, key)?),
        _ => None,
    };
    let clients = Clients {
        device_state: links.device_state()?,
        workflow: links.workflow()?,
        wakeup: links.wakeup()?,
        files: links.files()?,
    };
    let verifier = Arc::new(AdminToken::new(token.hash()));
    runtime.add(NorthboundService::new(
        config.api.clone(),
        listener,
        tls,
        clients,
        verifier,
        &base.registry,
    )?);
    Ok(())
}
