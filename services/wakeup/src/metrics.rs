//! Metrics of the role.

use hearth_telemetry::{
    Histogram, IntCounterVec, IntGauge, MetricDef, MetricError, Registry, buckets,
};

const REQUESTS: MetricDef = MetricDef::counter(
    "hearth_wakeup_requests_total",
    "Connection requests by their outcome",
)
.labels(&["outcome"]);
const SECONDS: MetricDef = MetricDef::histogram(
    "hearth_wakeup_request_seconds",
    "Time from a connection request's start to its outcome",
    buckets::SLOW_SECONDS,
);
const UNDER_WAY: MetricDef = MetricDef::gauge(
    "hearth_wakeup_requests_under_way",
    "Connection requests under way",
);

/// All metrics of this crate.
pub const METRICS: &[MetricDef] = &[REQUESTS, SECONDS, UNDER_WAY];

/// Their handles.
pub struct Metrics {
    pub requests: IntCounterVec,
    pub seconds: Histogram,
    pub under_way: IntGauge,
}

impl Metrics {
    pub fn new(registry: &Registry) -> Result<Self, MetricError> {
        Ok(Self {
            requests: registry.counter_vec(&REQUESTS)?,
            seconds: registry.histogram(&SECONDS)?,
            under_way: registry.gauge(&UNDER_WAY)?,
        })
    }
}
