//! Metrics of the role.

use hearth_telemetry::{IntCounter, IntCounterVec, MetricDef, MetricError, Registry};

const TRANSFERS: MetricDef = MetricDef::counter(
    "hearth_files_transfers_total",
    "HTTP requests of devices for files by direction and outcome",
)
.labels(&["direction", "outcome"]);
const SENT: MetricDef = MetricDef::counter(
    "hearth_files_sent_bytes_total",
    "Bytes of files sent to devices",
);
const RECEIVED: MetricDef = MetricDef::counter(
    "hearth_files_received_bytes_total",
    "Bytes of files received from devices",
);

/// All metrics of this crate.
pub const METRICS: &[MetricDef] = &[TRANSFERS, SENT, RECEIVED];

/// Their handles.
pub struct Metrics {
    pub transfers: IntCounterVec,
    pub sent: IntCounter,
    pub received: IntCounter,
}

impl Metrics {
    pub fn new(registry: &Registry) -> Result<Self, MetricError> {
        Ok(Self {
            transfers: registry.counter_vec(&TRANSFERS)?,
            sent: registry.counter(&SENT)?,
            received: registry.counter(&RECEIVED)?,
        })
    }
}
