//! Metrics of the role.

use hearth_telemetry::{
    Histogram, IntCounterVec, IntGauge, MetricDef, MetricError, Registry, buckets,
};

const REQUESTS: MetricDef = MetricDef::counter(
    "hearth_wakeup_requests_total",
    "Wake-ups by their outcome, over all ways that were tried",
)
.labels(&["outcome"]);
const ATTEMPTS: MetricDef = MetricDef::counter(
    "hearth_wakeup_attempts_total",
    "Connection requests by way (http, udp, xmpp) and outcome",
)
.labels(&["way", "outcome"]);
const SECONDS: MetricDef = MetricDef::histogram(
    "hearth_wakeup_request_seconds",
    "Time from a wake-up's start to its outcome",
    buckets::SLOW_SECONDS,
);
const UNDER_WAY: MetricDef =
    MetricDef::gauge("hearth_wakeup_requests_under_way", "Wake-ups under way");
const STUN: MetricDef = MetricDef::counter(
    "hearth_wakeup_stun_requests_total",
    "Datagrams at the STUN socket by what became of them",
)
.labels(&["outcome"]);
const XMPP_CONNECTED: MetricDef = MetricDef::gauge(
    "hearth_wakeup_xmpp_connected",
    "Whether the XMPP server is connected (1) or not (0)",
);
const NOTIFICATIONS: MetricDef = MetricDef::counter(
    "hearth_wakeup_notifications_total",
    "Lightweight notifications by what became of them",
)
.labels(&["outcome"]);

/// All metrics of this crate.
pub const METRICS: &[MetricDef] = &[
    REQUESTS,
    ATTEMPTS,
    SECONDS,
    UNDER_WAY,
    STUN,
    XMPP_CONNECTED,
    NOTIFICATIONS,
];

/// Their handles.
pub struct Metrics {
    pub requests: IntCounterVec,
    pub attempts: IntCounterVec,
    pub seconds: Histogram,
    pub under_way: IntGauge,
    pub stun: IntCounterVec,
    pub xmpp_connected: IntGauge,
    pub notifications: IntCounterVec,
}

impl Metrics {
    pub fn new(registry: &Registry) -> Result<Self, MetricError> {
        Ok(Self {
            requests: registry.counter_vec(&REQUESTS)?,
            attempts: registry.counter_vec(&ATTEMPTS)?,
            seconds: registry.histogram(&SECONDS)?,
            under_way: registry.gauge(&UNDER_WAY)?,
            stun: registry.counter_vec(&STUN)?,
            xmpp_connected: registry.gauge(&XMPP_CONNECTED)?,
            notifications: registry.counter_vec(&NOTIFICATIONS)?,
        })
    }
}
