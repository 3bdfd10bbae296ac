//! Metrics of the calls between processes.

use crate::methods::{Method, ServiceName};
use hearth_telemetry::{
    HistogramVec, IntCounterVec, IntGaugeVec, MetricDef, MetricError, Registry, buckets,
};
use std::time::Duration;

/// Calls to other processes.
pub const CLIENT_CALLS: MetricDef = MetricDef::counter(
    "hearth_internal_client_calls_total",
    "Calls to roles in other processes, by how they ended; retries are not counted",
)
.labels(&["service", "method", "outcome"]);

/// How long they took.
pub const CLIENT_SECONDS: MetricDef = MetricDef::histogram(
    "hearth_internal_client_seconds",
    "Seconds that calls to roles in other processes took, retries included",
    buckets::FAST_SECONDS,
)
.labels(&["service", "method"]);

/// Messages with several calls.
pub const CLIENT_TOGETHER: MetricDef = MetricDef::counter(
    "hearth_internal_client_together_total",
    "Messages to other processes that carried calls which travel together",
)
.labels(&["service"]);

/// Calls in them.
pub const CLIENT_TOGETHER_CALLS: MetricDef = MetricDef::counter(
    "hearth_internal_client_together_calls_total",
    "Calls in messages of calls that travel together; all other calls are a message each",
)
.labels(&["service"]);

/// Calls that were made again.
pub const CLIENT_RETRIES: MetricDef = MetricDef::counter(
    "hearth_internal_client_retries_total",
    "Calls that were made again, by why: not_run, broken, timeout",
)
.labels(&["service", "why"]);

/// Calls that would have been made again.
pub const CLIENT_BUDGET_EXHAUSTED: MetricDef = MetricDef::counter(
    "hearth_internal_client_retries_refused_total",
    "Calls that were not made again because the retry budget was used up",
)
.labels(&["service"]);

/// Replicas by state.
pub const CLIENT_ENDPOINTS: MetricDef = MetricDef::gauge(
    "hearth_internal_client_endpoints",
    "Replicas of a role, by state: serving, not_serving, unreachable, unknown",
)
.labels(&["service", "state"]);

/// Calls from other processes.
pub const SERVER_CALLS: MetricDef = MetricDef::counter(
    "hearth_internal_server_calls_total",
    "Calls from other processes, by how they ended",
)
.labels(&["service", "method", "outcome"]);

/// How long they took.
pub const SERVER_SECONDS: MetricDef = MetricDef::histogram(
    "hearth_internal_server_seconds",
    "Seconds that calls from other processes took",
    buckets::FAST_SECONDS,
)
.labels(&["service", "method"]);

/// When the certificate ends.
pub const TLS_EXPIRES: MetricDef = MetricDef::gauge(
    "hearth_internal_tls_expires_seconds",
    "Seconds until this process's certificate for other processes ends; below 0 when it has, +Inf \
     without TLS",
);

/// All metrics of this crate.
pub const METRICS: &[MetricDef] = &[
    CLIENT_CALLS,
    CLIENT_SECONDS,
    CLIENT_TOGETHER,
    CLIENT_TOGETHER_CALLS,
    CLIENT_RETRIES,
    CLIENT_BUDGET_EXHAUSTED,
    CLIENT_ENDPOINTS,
    SERVER_CALLS,
    SERVER_SECONDS,
    TLS_EXPIRES,
];

/// The clients' handles.
#[derive(Clone)]
pub(crate) struct ClientMetrics {
    calls: IntCounterVec,
    seconds: HistogramVec,
    together: IntCounterVec,
    together_calls: IntCounterVec,
    retries: IntCounterVec,
    refused: IntCounterVec,
    endpoints: IntGaugeVec,
}

impl ClientMetrics {
    pub fn register(registry: &Registry) -> Result<Self, MetricError> {
        Ok(Self {
            calls: registry.counter_vec(&CLIENT_CALLS)?,
            seconds: registry.histogram_vec(&CLIENT_SECONDS)?,
            together: registry.counter_vec(&CLIENT_TOGETHER)?,
            together_calls: registry.counter_vec(&CLIENT_TOGETHER_CALLS)?,
            retries: registry.counter_vec(&CLIENT_RETRIES)?,
            refused: registry.counter_vec(&CLIENT_BUDGET_EXHAUSTED)?,
            endpoints: registry.gauge_vec(&CLIENT_ENDPOINTS)?,
        })
    }

    pub fn ended(&self, method: &Method, outcome: &str, took: Duration) {
        let service = method.service.role();
        self.calls
            .with_label_values(&[service, method.name, outcome])
            .inc();
        self.seconds
            .with_label_values(&[service, method.name])
            .observe(took.as_secs_f64());
    }

    /// A message with so many calls leaves.
    pub fn together(&self, service: ServiceName, calls: usize) {
        let labels = [service.role()];
        self.together.with_label_values(&labels).inc();
        let calls = u64::try_from(calls).unwrap_or(u64::MAX);
        self.together_calls.with_label_values(&labels).inc_by(calls);
    }

    pub fn retried(&self, service: ServiceName, why: &str) {
        self.retries.with_label_values(&[service.role(), why]).inc();
    }

    pub fn refused(&self, service: ServiceName) {
        self.refused.with_label_values(&[service.role()]).inc();
    }

    pub fn endpoints(&self, service: ServiceName, state: &str, count: usize) {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.endpoints
            .with_label_values(&[service.role(), state])
            .set(count);
    }
}

/// The server's handles.
#[derive(Clone)]
pub(crate) struct ServerMetrics {
    calls: IntCounterVec,
    seconds: HistogramVec,
}

impl ServerMetrics {
    pub fn register(registry: &Registry) -> Result<Self, MetricError> {
        Ok(Self {
            calls: registry.counter_vec(&SERVER_CALLS)?,
            seconds: registry.histogram_vec(&SERVER_SECONDS)?,
        })
    }

    pub fn ended(&self, method: &Method, outcome: &str, took: Duration) {
        let service = method.service.role();
        self.calls
            .with_label_values(&[service, method.name, outcome])
            .inc();
        self.seconds
            .with_label_values(&[service, method.name])
            .observe(took.as_secs_f64());
    }
}
