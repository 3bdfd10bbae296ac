//! What the services of the API share.

use crate::NorthboundConfig;
use hearth_clients::{DeviceState, Files, Wakeup, Workflow};
use hearth_runtime::Clock;
use std::sync::Arc;

/// The internal services that the API stands on.
#[derive(Clone)]
pub struct Clients {
    /// Devices, parameters, history, credentials.
    pub device_state: Arc<dyn DeviceState>,
    /// Tasks.
    pub workflow: Arc<dyn Workflow>,
    /// Connection requests.
    pub wakeup: Arc<dyn Wakeup>,
    /// Files.
    pub files: Arc<dyn Files>,
}

/// Shared by the services of the API.
pub(crate) struct Core {
    pub(crate) clients: Clients,
    pub(crate) config: NorthboundConfig,
    pub(crate) clock: Arc<dyn Clock>,
}
