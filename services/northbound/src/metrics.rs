//! The metrics of the public API.

use hearth_runtime::http::HttpStats;
use hearth_telemetry::{
    Histogram, HistogramVec, IntCounterVec, IntGauge, MetricDef, MetricError, Registry, buckets,
};
use parking_lot::RwLock;
use std::sync::Arc;

/// Requests by method and gRPC code.
pub const REQUESTS: MetricDef = MetricDef::counter(
    "hearth_northbound_requests_total",
    "API requests that ended, by method and gRPC code",
)
.labels(&["method", "code"]);
/// Time of requests by method.
pub const REQUEST_SECONDS: MetricDef = MetricDef::histogram(
    "hearth_northbound_request_seconds",
    "Time of API requests, watches left out, in seconds",
    buckets::FAST_SECONDS,
)
.labels(&["method"]);
/// Requests in work.
pub const REQUESTS_OPEN: MetricDef = MetricDef::gauge(
    "hearth_northbound_requests_open",
    "API requests being worked on, watches left out",
);
/// Open watches.
pub const STREAMS_OPEN: MetricDef =
    MetricDef::gauge("hearth_northbound_streams_open", "Open watches of the API");
/// Requests refused for their token.
pub const AUTH_FAILURES: MetricDef = MetricDef::counter(
    "hearth_northbound_auth_failures_total",
    "API requests refused for their token, by reason: missing, malformed, wrong",
)
.labels(&["reason"]);
/// Open connections.
pub const CONNECTIONS: MetricDef = MetricDef::gauge(
    "hearth_northbound_connections",
    "Open connections of API clients",
);
/// Connections taken.
pub const CONNECTIONS_ACCEPTED: MetricDef = MetricDef::counter(
    "hearth_northbound_connections_accepted_total",
    "Connections of API clients that were accepted",
);
/// Connections refused.
pub const CONNECTIONS_REFUSED: MetricDef = MetricDef::counter(
    "hearth_northbound_connections_refused_total",
    "Connections of API clients that were refused because there were too many",
);

/// All metrics of this crate.
pub const METRICS: &[MetricDef] = &[
    REQUESTS,
    REQUEST_SECONDS,
    REQUESTS_OPEN,
    STREAMS_OPEN,
    AUTH_FAILURES,
    CONNECTIONS,
    CONNECTIONS_ACCEPTED,
    CONNECTIONS_REFUSED,
];

/// Handles of the metrics.
pub(crate) struct Metrics {
    pub(crate) requests: IntCounterVec,
    request_seconds: HistogramVec,
    pub(crate) requests_open: IntGauge,
    pub(crate) streams_open: IntGauge,
    pub(crate) auth_failures: IntCounterVec,
    /// Counters of the server, once it runs.
    pub(crate) http: Arc<RwLock<Option<Arc<HttpStats>>>>,
}

impl Metrics {
    pub(crate) fn register(registry: &Registry) -> Result<Self, MetricError> {
        let http: Arc<RwLock<Option<Arc<HttpStats>>>> = Arc::default();
        let stats = http.clone();
        let polled = [CONNECTIONS, CONNECTIONS_ACCEPTED, CONNECTIONS_REFUSED];
        registry.polled(&polled, move || {
            let now = stats.read().as_ref().map(|stats| stats.snapshot());
            let now = now.unwrap_or_default();
            [now.open, now.accepted, now.refused_total + now.refused_peer]
                .map(as_f64)
                .to_vec()
        })?;
        Ok(Self {
            requests: registry.counter_vec(&REQUESTS)?,
            request_seconds: registry.histogram_vec(&REQUEST_SECONDS)?,
            requests_open: registry.gauge(&REQUESTS_OPEN)?,
            streams_open: registry.gauge(&STREAMS_OPEN)?,
            auth_failures: registry.counter_vec(&AUTH_FAILURES)?,
            http,
        })
    }

    pub(crate) fn seconds(&self, method: &str) -> Histogram {
        self.request_seconds.with_label_values(&[method])
    }
}

/// Exact up to 2^53, which no counter reaches.
#[allow(clippy::cast_precision_loss)]
fn as_f64(count: u64) -> f64 {
    count as f64
}
