//! What all remote clients of a process share.

use super::names::{Resolver, System};
use crate::config::InternalConfig;
use crate::metrics::ClientMetrics;
use crate::tls::Identity;
use hearth_telemetry::{MetricError, Registry};
use std::sync::Arc;
use std::time::Duration;

/// Limits, identity and metrics of a process's calls to others; cheap to clone.
#[derive(Clone)]
pub struct Options {
    pub(crate) call_timeout: Duration,
    pub(crate) try_timeout: Duration,
    pub(crate) transfer_timeout: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) probe_interval: Duration,
    pub(crate) resolve_interval: Duration,
    pub(crate) retry_percent: u32,
    pub(crate) max_message: usize,
    pub(crate) server_name: Option<String>,
    pub(crate) any_role: bool,
    pub(crate) identity: Option<Identity>,
    pub(crate) metrics: ClientMetrics,
    pub(crate) resolver: Arc<dyn Resolver>,
}

impl Options {
    /// Of a configuration. Without `identity` calls go without TLS.
    ///
    /// # Errors
    /// When the metrics' names are taken.
    pub fn new(
        config: &InternalConfig,
        identity: Option<Identity>,
        registry: &Registry,
    ) -> Result<Self, MetricError> {
        Ok(Self {
            call_timeout: config.call_timeout.get(),
            try_timeout: config.try_timeout.get(),
            transfer_timeout: config.transfer_timeout.get(),
            connect_timeout: config.connect_timeout.get(),
            probe_interval: config.probe_interval.get(),
            resolve_interval: config.resolve_interval.get(),
            retry_percent: config.retry_percent,
            max_message: config.max_message.as_usize(),
            server_name: config.tls.server_name.clone(),
            any_role: config.tls.any_role,
            identity,
            metrics: ClientMetrics::register(registry)?,
            resolver: Arc::new(System),
        })
    }

    /// The same with names looked up another way than the system's.
    #[must_use]
    pub fn with_resolver(mut self, resolver: Arc<dyn Resolver>) -> Self {
        self.resolver = resolver;
        self
    }
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("call_timeout", &self.call_timeout)
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}
