//! Metrics of the queue on Redis.

use hearth_telemetry::{
    Histogram, HistogramVec, IntCounter, IntGauge, MetricDef, MetricError, Registry, buckets,
};

const CONNECTED: MetricDef = MetricDef::gauge(
    "hearth_redis_connected",
    "Connections to Redis (to a cluster as a whole) that are up",
);
const DISCONNECTS: MetricDef = MetricDef::counter(
    "hearth_redis_disconnects_total",
    "Times a connection to Redis was given up and made anew",
);
const CALL_SECONDS: MetricDef = MetricDef::histogram(
    "hearth_redis_call_seconds",
    "Seconds of a call of the task queue to Redis, failed ones included",
    buckets::FAST_SECONDS,
)
.labels(&["call"]);
const FAILED: MetricDef = MetricDef::counter(
    "hearth_redis_failed_calls_total",
    "Calls of the task queue that Redis did not answer, or refused",
);
const RETRIES: MetricDef = MetricDef::counter(
    "hearth_redis_retries_total",
    "Calls that were made once more on another connection",
);
const REBUILDING: MetricDef = MetricDef::counter(
    "hearth_redis_rebuilding_total",
    "Calls that were refused since the index of the device's bucket was lost and not rebuilt yet",
);
const LOADS: MetricDef = MetricDef::counter(
    "hearth_redis_library_loads_total",
    "Times the functions of the task queue were loaded into Redis",
);

/// All metrics of the queue on Redis.
pub const METRICS: &[MetricDef] = &[
    CONNECTED,
    DISCONNECTS,
    CALL_SECONDS,
    FAILED,
    RETRIES,
    REBUILDING,
    LOADS,
];

pub(super) struct Metrics {
    pub(super) connected: IntGauge,
    pub(super) disconnects: IntCounter,
    calls: HistogramVec,
    pub(super) failed: IntCounter,
    pub(super) retries: IntCounter,
    pub(super) rebuilding: IntCounter,
    pub(super) loads: IntCounter,
}

impl Metrics {
    pub(super) fn new(registry: &Registry) -> Result<Self, MetricError> {
        Ok(Self {
            connected: registry.gauge(&CONNECTED)?,
            disconnects: registry.counter(&DISCONNECTS)?,
            calls: registry.histogram_vec(&CALL_SECONDS)?,
            failed: registry.counter(&FAILED)?,
            retries: registry.counter(&RETRIES)?,
            rebuilding: registry.counter(&REBUILDING)?,
            loads: registry.counter(&LOADS)?,
        })
    }

    /// The histogram of one call.
    pub(super) fn call(&self, name: &str) -> Histogram {
        self.calls.with_label_values(&[name])
    }
}
