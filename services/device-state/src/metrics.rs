//! Metrics of the role.

use hearth_telemetry::{
    Histogram, IntCounter, IntCounterVec, IntGauge, MetricDef, MetricError, Registry, buckets,
};

const EVENTS: MetricDef = MetricDef::counter(
    "hearth_device_state_events_total",
    "Events that were applied, by kind",
)
.labels(&["kind"]);
const DEAD: MetricDef = MetricDef::counter(
    "hearth_device_state_dead_letters_total",
    "Events that could not be applied, ever",
);
const DEAD_REPLAYED: MetricDef = MetricDef::counter(
    "hearth_device_state_dead_letters_replayed_total",
    "Dead letters put back on the bus by the API",
);
const DEAD_DELETED: MetricDef = MetricDef::counter(
    "hearth_device_state_dead_letters_deleted_total",
    "Dead letters removed by the API",
);
const SKIPPED: MetricDef = MetricDef::counter(
    "hearth_device_state_skipped_events_total",
    "Events of devices that are not known",
);
const CACHE_HITS: MetricDef = MetricDef::counter(
    "hearth_device_state_cache_hits_total",
    "Events whose device was in memory",
);
const CACHE_MISSES: MetricDef = MetricDef::counter(
    "hearth_device_state_cache_misses_total",
    "Events whose device had to be read",
);
const VALUES_CHANGED: MetricDef = MetricDef::counter(
    "hearth_device_state_values_changed_total",
    "Reported values that were new",
);
const VALUES_SAME: MetricDef = MetricDef::counter(
    "hearth_device_state_values_unchanged_total",
    "Reported values that were known",
);
const FLUSHES: MetricDef = MetricDef::histogram(
    "hearth_device_state_flush_seconds",
    "Time of writing what was gathered",
    buckets::FAST_SECONDS,
);
const FLUSH_CHANGES: MetricDef = MetricDef::histogram(
    "hearth_device_state_flush_changes",
    "Changes in one write",
    buckets::COUNTS,
);
const FLUSH_FAILURES: MetricDef = MetricDef::counter(
    "hearth_device_state_flush_failures_total",
    "Writes that failed and are tried again",
);
const PENDING: MetricDef = MetricDef::gauge(
    "hearth_device_state_pending_changes",
    "Changes that are not yet written",
);
const TRIMMED: MetricDef = MetricDef::counter(
    "hearth_device_state_history_trimmed_total",
    "History entries deleted for their age",
);

const IDENTITY_ALERTS: MetricDef = MetricDef::counter(
    "hearth_device_state_identity_alerts_total",
    "Duplicates, shared credentials and devices in two places that were noticed",
);

const REFUSALS: MetricDef = MetricDef::counter(
    "hearth_device_state_refusals_total",
    "Refusals of CPEs that gateways told and that were kept, put together by whom they concern",
);
const REFUSALS_DROPPED: MetricDef = MetricDef::counter(
    "hearth_device_state_refusals_dropped_total",
    "Refusals that gateways told and that were not kept: of tenants that don't exist",
);

/// Every metric of the role.
pub const METRICS: &[MetricDef] = &[
    EVENTS,
    DEAD,
    DEAD_REPLAYED,
    DEAD_DELETED,
    SKIPPED,
    CACHE_HITS,
    CACHE_MISSES,
    VALUES_CHANGED,
    VALUES_SAME,
    FLUSHES,
    FLUSH_CHANGES,
    FLUSH_FAILURES,
    PENDING,
    TRIMMED,
    IDENTITY_ALERTS,
    REFUSALS,
    REFUSALS_DROPPED,
];

/// Handles, resolved once.
pub struct Metrics {
    pub events: EventCounters,
    pub dead: IntCounter,
    pub dead_replayed: IntCounter,
    pub dead_deleted: IntCounter,
    pub skipped: IntCounter,
    pub cache_hits: IntCounter,
    pub cache_misses: IntCounter,
    pub values_changed: IntCounter,
    pub values_same: IntCounter,
    pub flush_seconds: Histogram,
    pub flush_changes: Histogram,
    pub flush_failures: IntCounter,
    pub pending: IntGauge,
    pub trimmed: IntCounter,
    pub identity_alerts: IntCounter,
    pub refusals: IntCounter,
    pub refusals_dropped: IntCounter,
}

/// One counter for each kind of event.
pub struct EventCounters {
    pub inform: IntCounter,
    pub values: IntCounter,
    pub names: IntCounter,
    pub attributes: IntCounter,
    pub transfer: IntCounter,
    pub object_deleted: IntCounter,
    pub task: IntCounter,
    pub request: IntCounter,
    pub wake: IntCounter,
    pub session: IntCounter,
}

impl Metrics {
    /// Registers them.
    pub fn new(registry: &Registry) -> Result<Self, MetricError> {
        let events = registry.counter_vec(&EVENTS)?;
        Ok(Self {
            events: EventCounters::new(&events),
            dead: registry.counter(&DEAD)?,
            dead_replayed: registry.counter(&DEAD_REPLAYED)?,
            dead_deleted: registry.counter(&DEAD_DELETED)?,
            skipped: registry.counter(&SKIPPED)?,
            cache_hits: registry.counter(&CACHE_HITS)?,
            cache_misses: registry.counter(&CACHE_MISSES)?,
            values_changed: registry.counter(&VALUES_CHANGED)?,
            values_same: registry.counter(&VALUES_SAME)?,
            flush_seconds: registry.histogram(&FLUSHES)?,
            flush_changes: registry.histogram(&FLUSH_CHANGES)?,
            flush_failures: registry.counter(&FLUSH_FAILURES)?,
            pending: registry.gauge(&PENDING)?,
            trimmed: registry.counter(&TRIMMED)?,
            identity_alerts: registry.counter(&IDENTITY_ALERTS)?,
            refusals: registry.counter(&REFUSALS)?,
            refusals_dropped: registry.counter(&REFUSALS_DROPPED)?,
        })
    }
}

impl EventCounters {
    fn new(events: &IntCounterVec) -> Self {
        let of = |kind: &str| events.with_label_values(&[kind]);
        Self {
            inform: of("inform"),
            values: of("values"),
            names: of("names"),
            attributes: of("attributes"),
            transfer: of("transfer"),
            object_deleted: of("object_deleted"),
            task: of("task"),
            request: of("request"),
            wake: of("wake"),
            session: of("session"),
        }
    }
}
