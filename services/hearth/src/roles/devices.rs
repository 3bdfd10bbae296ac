//! Device state, and the devices' edge.

use crate::config::HearthConfig;
use crate::first_start::{Onboarding, onboarding};
use crate::links::Links;
use crate::server::Base;
use anyhow::Result;
use hearth_auth::labels;
use hearth_device_state::DeviceStateService;
use hearth_gateway::{Gateway, Listeners};
use hearth_runtime::Runtime;
use hearth_types::{TaskId, TenantId};
use std::sync::Arc;

/// Adds the device-state role. Answers the credential that devices connect with at first.
pub(crate) async fn device_state(
    base: &Base,
    config: &HearthConfig,
    links: &mut Links<'_>,
    runtime: &mut Runtime,
) -> Result<Onboarding> {
    let needs = hearth_device_state::Dependencies {
        store: base.backends.store()?,
        bus: base.backends.bus()?,
        sealer: base.keys()?.sealer(labels::AT_REST)?,
        clock: Arc::clone(&base.clock),
        registry: base.registry.clone(),
    };
    let settings = config.device_state.clone();
    let service = match config.is_distributed() {
        // Tells this process from its replicas, and from itself before a restart.
        true => DeviceStateService::shared(needs, settings, TaskId::generate().to_string())?,
        false => DeviceStateService::new(needs, settings)?,
    };
    runtime.add(service.role());
    let onboarding = onboarding(&service, &TenantId::default()).await?;
    links.here.device_state = Some(Arc::new(service));
    Ok(onboarding)
}

/// Adds the gateway. To be added last, so that no device is let in before everything behind it is
/// ready; it is then the first to stop.
pub(crate) fn gateway(
    base: &Base,
    config: &HearthConfig,
    links: &mut Links<'_>,
    listeners: Listeners,
    runtime: &mut Runtime,
) -> Result<()> {
    let needs = hearth_gateway::Dependencies {
        bus: base.backends.bus()?,
        workflow: links.workflow()?,
        device_state: links.device_state()?,
        keys: base.keys()?.clone(),
        clock: Arc::clone(&base.clock),
    };
    runtime.add(Gateway::new(
        listeners,
        config.gateway.clone(),
        needs,
        &base.registry,
    )?);
    Ok(())
}
