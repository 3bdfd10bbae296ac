//! Metrics of the HTTP servers' connections, one set for each listener.

use crate::metrics::{MetricDef, MetricError, Registry};

const LISTENER: &[&str] = &["listener"];

/// The metrics of [`register`], in the order of the runtime's `HttpStatsSnapshot::to_array`.
pub const METRICS: &[MetricDef] = &[
    MetricDef::gauge("hearth_http_connections", "Open connections").labels(LISTENER),
    MetricDef::counter("hearth_http_accepted_total", "Connections taken").labels(LISTENER),
    MetricDef::counter(
        "hearth_http_refused_total",
        "Connections refused: too many in all",
    )
    .labels(LISTENER),
    MetricDef::counter(
        "hearth_http_refused_peer_total",
        "Connections refused: too many of a peer",
    )
    .labels(LISTENER),
    MetricDef::counter(
        "hearth_http_accept_errors_total",
        "Failures to accept a connection",
    )
    .labels(LISTENER),
    MetricDef::counter(
        "hearth_http_header_timeouts_total",
        "Connections closed: header too slow",
    )
    .labels(LISTENER),
    MetricDef::counter(
        "hearth_http_idle_timeouts_total",
        "Connections closed: idle",
    )
    .labels(LISTENER),
    MetricDef::counter(
        "hearth_http_stalled_writes_total",
        "Connections closed: response not read",
    )
    .labels(LISTENER),
    MetricDef::counter(
        "hearth_http_tls_failures_total",
        "TLS handshakes that failed",
    )
    .labels(LISTENER),
    MetricDef::counter(
        "hearth_http_protocol_errors_total",
        "Connections ended by an error",
    )
    .labels(LISTENER),
    MetricDef::counter(
        "hearth_http_cut_at_drain_total",
        "Connections cut when the drain ended",
    )
    .labels(LISTENER),
];

/// Registers [`METRICS`] for one listener, e.g. `cwmp`. `read` gives the values in their order.
///
/// # Errors
/// [`MetricError`], when this listener's are registered already.
pub fn register(
    registry: &Registry,
    listener: &str,
    read: impl Fn() -> [u64; 11] + Send + Sync + 'static,
) -> Result<(), MetricError> {
    #[allow(clippy::cast_precision_loss)]
    let read = move || read().iter().map(|value| *value as f64).collect();
    registry.polled_for(METRICS, &[listener], read)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn each_value_has_a_metric() {
        let registry = Registry::new();
        register(&registry, "cwmp", || std::array::from_fn(|at| at as u64)).unwrap();
        let text = registry.render();
        assert_eq!(METRICS.len(), 11);
        for (at, def) in METRICS.iter().enumerate() {
            let line = format!("{}{{listener=\"cwmp\"}} {at}\n", def.name);
            assert!(text.contains(&line), "{line} in {text}");
        }
    }
}
