//! Metrics of the embedded engine, and of the bus wherever it is: what an operator watches of the
//! disk and of the events that wait.

use crate::backends::Backends;
use anyhow::Result;
use hearth_bus::BusStats;
use hearth_engine::Engine;
use hearth_runtime::{FnService, Service, ServiceContext};
use hearth_telemetry::{MetricDef, Registry};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// How often the bus is asked.
const INTERVAL: Duration = Duration::from_secs(2);

/// Of the embedded engine.
pub const ENGINE: &[MetricDef] = &[
    MetricDef::counter("hearth_engine_commits_total", "Batches on disk"),
    MetricDef::counter(
        "hearth_engine_groups_total",
        "Groups of batches written, one sync each",
    ),
    MetricDef::counter(
        "hearth_engine_bytes_total",
        "Bytes of keys and values on disk",
    ),
    MetricDef::counter("hearth_engine_failed_total", "Batches that failed"),
    MetricDef::counter(
        "hearth_engine_disk_full_total",
        "Batches refused: the disk is full",
    ),
    MetricDef::counter(
        "hearth_engine_reopened_total",
        "Times the files were opened again",
    ),
    MetricDef::counter(
        "hearth_engine_sync_seconds_total",
        "Seconds spent writing and syncing",
    ),
    MetricDef::gauge("hearth_engine_queued", "Batches that wait to be written"),
    MetricDef::gauge(
        "hearth_engine_disk_free_bytes",
        "Bytes free on the data directory's disk",
    ),
];

/// Of the bus, embedded or on NATS.
pub const BUS: &[MetricDef] = &[
    MetricDef::counter("hearth_bus_published_total", "Messages published"),
    MetricDef::counter(
        "hearth_bus_duplicates_total",
        "Messages that were already there",
    ),
    MetricDef::counter("hearth_bus_refused_total", "Messages refused"),
    MetricDef::gauge(
        "hearth_bus_backlog_bytes",
        "Bytes of messages that a consumer still needs",
    ),
    MetricDef::gauge(
        "hearth_bus_dead_letters",
        "Messages that can't be worked on",
    ),
    MetricDef::gauge(
        "hearth_bus_lag",
        "Messages that the slowest consumer is behind",
    ),
];

/// Registers the metrics of what this process has, and makes the small service that keeps those of
/// the bus current.
///
/// # Errors
/// A metric's name is taken.
pub(crate) fn register(
    registry: &Registry,
    backends: &Backends,
) -> Result<Option<impl Service + use<>>> {
    if let Some(engine) = backends.engine.clone() {
        registry.polled(ENGINE, move || engine_values(&engine))?;
    }
    let Ok(bus) = backends.bus() else {
        return Ok(None);
    };
    let latest = Arc::new(Mutex::new(BusStats::default()));
    let shown = Arc::clone(&latest);
    registry.polled(BUS, move || {
        bus_values(&shown.lock().unwrap_or_else(PoisonError::into_inner))
    })?;
    Ok(Some(FnService::new(
        "stats",
        move |ctx: ServiceContext| async move {
            ctx.readiness.ready();
            loop {
                let stats = bus.stats().await;
                *latest.lock().unwrap_or_else(PoisonError::into_inner) = stats;
                tokio::select! {
                    () = ctx.stop.cancelled() => return Ok(()),
                    () = tokio::time::sleep(INTERVAL) => {}
                }
            }
        },
    )))
}

#[allow(
    clippy::cast_precision_loss,
    reason = "metrics are floating-point numbers"
)]
fn engine_values(engine: &Engine) -> Vec<f64> {
    let stats = engine.stats();
    vec![
        stats.commits as f64,
        stats.groups as f64,
        stats.bytes as f64,
        stats.failed as f64,
        stats.disk_full as f64,
        stats.reopened as f64,
        stats.sync_seconds,
        stats.queued as f64,
        stats.disk_free_bytes as f64,
    ]
}

#[allow(
    clippy::cast_precision_loss,
    reason = "metrics are floating-point numbers"
)]
fn bus_values(stats: &BusStats) -> Vec<f64> {
    let lag = stats.consumers.iter().map(|consumer| consumer.lag).max();
    vec![
        stats.published as f64,
        stats.duplicates as f64,
        stats.refused as f64,
        stats.backlog_bytes as f64,
        stats.dead_letters as f64,
        lag.unwrap_or(0) as f64,
    ]
}
