//! Logs ([`init_logs`]), metrics ([`Registry`], [`MetricDef`]) and what keeps secrets
//! ([`Redacted`]) and hostile text ([`for_log`]) out of them.
//!
//! A crate's metrics are constants in one module, listed as `pub const METRICS: &[MetricDef]`, so
//! that the reference in the docs can be made from them. Handles are resolved once, at start:
//!
//! ```
//! use hearth_telemetry::{MetricDef, Registry};
//!
//! const SESSIONS: MetricDef =
//!     MetricDef::counter("hearth_gateway_sessions_total", "CWMP sessions that began")
//!         .labels(&["outcome"]);
//!
//! let registry = Registry::new();
//! let sessions = registry.counter_vec(&SESSIONS)?;
//! let completed = sessions.with_label_values(&["completed"]);
//! completed.inc();
//! assert!(registry.render().contains("hearth_gateway_sessions_total{outcome=\"completed\"} 1"));
//! # Ok::<(), hearth_telemetry::MetricError>(())
//! ```

pub mod http;
pub mod hygiene;
pub mod logs;
pub mod metrics;
mod polled;
pub mod process;
pub mod trace;

pub use hygiene::{ForLog, Redacted, for_log, for_log_capped};
pub use logs::{LogConfig, LogError, LogFormat, init_logs, init_logs_and_traces};
pub use metrics::{MetricDef, MetricError, MetricKind, Registry, buckets};
pub use process::{BUILD_INFO, register_build_info, register_process_metrics};
pub use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramTimer, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec,
};
pub use trace::{TraceConfig, TraceError, Traces};

/// The metrics of this crate, as every crate that writes some lists its own.
pub const METRICS: &[&[MetricDef]] = &[process::METRICS, http::METRICS, &[BUILD_INFO]];
