//! Tasks, and the connection requests that they make.

use crate::config::HearthConfig;
use crate::links::Links;
use crate::server::Base;
use anyhow::Result;
use hearth_auth::labels;
use hearth_runtime::Runtime;
use hearth_types::TaskId;
use hearth_wakeup::WakeupService;
use hearth_workflow::{WorkflowDeps, WorkflowService};
use std::sync::Arc;

/// Adds the wakeup role.
pub(crate) fn wakeup(
    base: &Base,
    config: &HearthConfig,
    links: &mut Links<'_>,
    sockets: hearth_wakeup::Sockets,
    runtime: &mut Runtime,
) -> Result<()> {
    let needs = hearth_wakeup::Dependencies {
        devices: links.device_state()?,
        bus: base.backends.bus()?,
        clock: Arc::clone(&base.clock),
        siblings: links.wakeup_siblings()?,
        // Tells this process from its replicas, and from itself before a restart.
        replica: TaskId::generate().to_string(),
    };
    let settings = config.wakeup.clone();
    let (service, role) = WakeupService::new(settings, needs, sockets, &base.registry)?;
    runtime.add(role);
    links.here.wakeup = Some(Arc::new(service));
    Ok(())
}

/// Adds the workflow role.
pub(crate) fn workflow(
    base: &Base,
    config: &HearthConfig,
    links: &mut Links<'_>,
    runtime: &mut Runtime,
) -> Result<()> {
    let needs = WorkflowDeps {
        store: base.backends.store()?,
        bus: base.backends.bus()?,
        queue: base.backends.queue()?,
        device_state: links.device_state()?,
        wakeup: links.wakeup()?,
        files: links.files()?,
        sealer: base.keys()?.sealer(labels::AT_REST)?,
        clock: Arc::clone(&base.clock),
    };
    let (service, runner) = WorkflowService::new(needs, config.workflow.clone(), &base.registry)?;
    runtime.add(runner);
    links.here.workflow = Some(Arc::new(service));
    Ok(())
}
