//! Settings of the log and of the embedded engine.

use hearth_config::{ByteSize, Documented, FieldDoc, Shape};
use hearth_telemetry::{LogConfig, TraceConfig};
use serde::{Deserialize, Serialize};

pub(super) fn log_problems(log: &LogConfig) -> Vec<(String, String)> {
    let problem = log.check().err().map(|error| error.to_string());
    problem
        .into_iter()
        .map(|problem| ("filter".to_owned(), problem))
        .collect()
}

/// What the operator reads about the log settings.
pub(super) fn log_fields() -> Vec<FieldDoc> {
    vec![
        FieldDoc::new(
            "format",
            Shape::Choice(&["text", "json"]),
            "How log lines look, on standard error.",
        ),
        FieldDoc::new(
            "filter",
            Shape::Text,
            "Which lines: a level, or targets with levels such as `info,hearth_gateway=debug`.",
        ),
        FieldDoc::new(
            "color",
            Shape::Bool,
            "Colours in text; unset: where standard error is a terminal.",
        )
        .example("true"),
    ]
}

pub(super) fn trace_problems(trace: &TraceConfig) -> Vec<(String, String)> {
    let problem = trace.check().err();
    problem
        .map(|problem| (problem.field().to_owned(), problem.to_string()))
        .into_iter()
        .collect()
}

/// What the operator reads about the settings of traces.
pub(super) fn trace_fields() -> Vec<FieldDoc> {
    vec![
        FieldDoc::new(
            "endpoint",
            Shape::Text,
            "Where traces go, by OTLP over gRPC; unset: nowhere.",
        )
        .example("\"http://collector:4317\""),
        FieldDoc::new(
            "sample",
            Shape::Number,
            "The share of CWMP sessions that are traced, 0 to 1. The same for all roles: it is \
             decided by the session's id.",
        ),
    ]
}

/// The embedded store's engine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(
    missing_docs,
    reason = "each field is documented for the operator in `fields`"
)]
pub struct EngineConfig {
    pub cache_size: ByteSize,
    pub journal_size: ByteSize,
    pub disk_reserve: ByteSize,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            cache_size: ByteSize(64 << 20),
            journal_size: ByteSize(64 << 20),
            disk_reserve: ByteSize(64 << 20),
        }
    }
}

impl Documented for EngineConfig {
    fn fields() -> Vec<FieldDoc> {
        vec![
            FieldDoc::new(
                "cache_size",
                Shape::Size,
                "Memory for what was read from disk.",
            ),
            FieldDoc::new(
                "journal_size",
                Shape::Size,
                "Journal on disk before it is written into tables; more makes a restart slower.",
            ),
            FieldDoc::new(
                "disk_reserve",
                Shape::Size,
                "With less free space than this nothing more is accepted, until there is again.",
            ),
        ]
    }
}
