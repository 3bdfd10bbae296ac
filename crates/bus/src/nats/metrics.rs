//! Metrics of the connection to NATS.

use hearth_telemetry::{MetricDef, MetricError, Registry, buckets};
use prometheus::{Histogram, IntCounter, IntGauge};

const CONNECTED: MetricDef = MetricDef::gauge(
    "hearth_nats_connected",
    "1 while this process is connected to a NATS server",
);
const DISCONNECTS: MetricDef = MetricDef::counter(
    "hearth_nats_disconnects_total",
    "Times the connection to NATS was lost",
);
const PUBLISH_SECONDS: MetricDef = MetricDef::histogram(
    "hearth_nats_publish_seconds",
    "Seconds from publishing a message until NATS had it on disk, or until it failed",
    buckets::FAST_SECONDS,
);
const PUBLISH_FAILED: MetricDef = MetricDef::counter(
    "hearth_nats_publish_failed_total",
    "Messages that NATS did not acknowledge",
);
const PUBLISH_RETRIES: MetricDef = MetricDef::counter(
    "hearth_nats_publish_retries_total",
    "Times a message was sent to NATS once more",
);
const PULL_SECONDS: MetricDef = MetricDef::histogram(
    "hearth_nats_pull_seconds",
    "Seconds from asking NATS for messages until the first one came",
    buckets::FAST_SECONDS,
);
const API_SECONDS: MetricDef = MetricDef::histogram(
    "hearth_nats_api_seconds",
    "Seconds of a request to JetStream about streams, consumers or single messages, such as \
     deleting an event",
    buckets::FAST_SECONDS,
);
const PASSED: MetricDef = MetricDef::counter(
    "hearth_nats_passed_over_total",
    "Events that NATS had passed over without delivering them, and that were published once more",
);

/// All metrics of the backend.
pub const METRICS: &[MetricDef] = &[
    CONNECTED,
    DISCONNECTS,
    PUBLISH_SECONDS,
    PUBLISH_FAILED,
    PUBLISH_RETRIES,
    PULL_SECONDS,
    API_SECONDS,
    PASSED,
];

pub(crate) struct Metrics {
    pub(crate) connected: IntGauge,
    pub(crate) disconnects: IntCounter,
    pub(crate) publish_seconds: Histogram,
    pub(crate) publish_failed: IntCounter,
    pub(crate) publish_retries: IntCounter,
    pub(crate) pull_seconds: Histogram,
    pub(crate) api_seconds: Histogram,
    pub(crate) passed: IntCounter,
}

impl Metrics {
    pub(crate) fn new(registry: &Registry) -> Result<Self, MetricError> {
        Ok(Self {
            connected: registry.gauge(&CONNECTED)?,
            disconnects: registry.counter(&DISCONNECTS)?,
            publish_seconds: registry.histogram(&PUBLISH_SECONDS)?,
            publish_failed: registry.counter(&PUBLISH_FAILED)?,
            publish_retries: registry.counter(&PUBLISH_RETRIES)?,
            pull_seconds: registry.histogram(&PULL_SECONDS)?,
            api_seconds: registry.histogram(&API_SECONDS)?,
            passed: registry.counter(&PASSED)?,
        })
    }
}
