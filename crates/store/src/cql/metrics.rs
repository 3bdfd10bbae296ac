//! Metrics of the requests to CQL.

use hearth_telemetry::{
    Histogram, HistogramVec, IntCounterVec, IntGauge, MetricDef, MetricError, Registry, buckets,
};

use super::statements::Statement;

const REQUEST_SECONDS: MetricDef = MetricDef::histogram(
    "hearth_cql_request_seconds",
    "Seconds of a request to CQL, its repetitions included, by statement",
    buckets::FAST_SECONDS,
)
.labels(&["statement"]);
const ERRORS: MetricDef = MetricDef::counter(
    "hearth_cql_errors_total",
    "Requests to CQL that failed, by kind",
)
.labels(&["kind"]);
const IN_FLIGHT: MetricDef = MetricDef::gauge(
    "hearth_cql_requests_in_flight",
    "Requests to CQL that are under way",
);
const WAIT_SECONDS: MetricDef = MetricDef::histogram(
    "hearth_cql_wait_seconds",
    "Seconds that a request waited for its turn (cql.concurrency)",
    buckets::FAST_SECONDS,
);
const BATCH_ROWS: MetricDef = MetricDef::histogram(
    "hearth_cql_batch_rows",
    "Rows written in one request",
    buckets::COUNTS,
);
const NODES: MetricDef = MetricDef::gauge(
    "hearth_cql_nodes_connected",
    "Nodes of the CQL cluster that this process is connected to",
);
const RETRIES: MetricDef = MetricDef::counter(
    "hearth_cql_retries_total",
    "Times the driver sent a request once more",
);

/// All metrics of the backend.
pub const METRICS: &[MetricDef] = &[
    REQUEST_SECONDS,
    ERRORS,
    IN_FLIGHT,
    WAIT_SECONDS,
    BATCH_ROWS,
    NODES,
    RETRIES,
];

pub(super) struct Metrics {
    /// By [`Statement`].
    seconds: Vec<Histogram>,
    pub(super) errors: IntCounterVec,
    pub(super) in_flight: IntGauge,
    pub(super) wait_seconds: Histogram,
    pub(super) batch_rows: Histogram,
}

impl Metrics {
    pub(super) fn new(registry: &Registry) -> Result<Self, MetricError> {
        let seconds: HistogramVec = registry.histogram_vec(&REQUEST_SECONDS)?;
        let seconds = Statement::ALL
            .iter()
            .map(|statement| seconds.with_label_values(&[statement.label()]))
            .collect();
        Ok(Self {
            seconds,
            errors: registry.counter_vec(&ERRORS)?,
            in_flight: registry.gauge(&IN_FLIGHT)?,
            wait_seconds: registry.histogram(&WAIT_SECONDS)?,
            batch_rows: registry.histogram(&BATCH_ROWS)?,
        })
    }

    /// The latencies of a statement.
    pub(super) fn seconds(&self, statement: Statement) -> &Histogram {
        &self.seconds[statement as usize]
    }
}

/// What is read from the driver when metrics are asked for.
pub(super) const POLLED: &[MetricDef] = &[NODES, RETRIES];
