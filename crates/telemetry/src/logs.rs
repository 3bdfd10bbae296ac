//! Structured logs on stderr.

use std::io::IsTerminal;

use serde::{Deserialize, Serialize};
use tracing::Subscriber;
use tracing_subscriber::filter::{FilterExt as _, LevelFilter, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, Registry};

use crate::trace::{self, TraceConfig, TraceError, Traces};

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people: time, level, target, message, fields.
    #[default]
    Text,
    /// For machines: one JSON object a line, fields at the top level.
    Json,
}

/// Settings of the logs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// How a line looks.
    pub format: LogFormat,
    /// What is logged: a level, or directives as in `info,hearth_gateway=debug`.
    pub filter: String,
    /// Colours in text: `true` or `false`; unset means when stderr is a terminal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub color: Option<bool>,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            format: LogFormat::default(),
            filter: "info".to_owned(),
            color: None,
        }
    }
}

impl LogConfig {
    /// Whether the filter can be used.
    ///
    /// # Errors
    /// [`LogError::Filter`].
    pub fn check(&self) -> Result<(), LogError> {
        self.read_filter().map(|_| ())
    }

    fn read_filter(&self) -> Result<EnvFilter, LogError> {
        EnvFilter::builder()
            .parse(&self.filter)
            .map_err(|source| LogError::Filter {
                filter: self.filter.clone(),
                source,
            })
    }
}

/// Logs could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter is not understood.
    #[error(
        "the log filter {filter:?} is not understood; write a level such as \"info\" or directives such as \"info,hearth_gateway=debug\""
    )]
    Filter {
        /// The filter given.
        filter: String,
        /// Why.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    /// The settings of traces.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// A second call in one process.
    #[error("logs are set up already")]
    AlreadySet,
}

/// Sends this process's logs to stderr, without traces. To be called once, first in `main`.
///
/// # Errors
/// See [`LogError`].
pub fn init_logs(config: &LogConfig) -> Result<(), LogError> {
    init_logs_and_traces(config, &TraceConfig::default())?.close();
    Ok(())
}

/// Sends this process's logs to stderr and its traces to the collector. To be called once; within
/// a tokio runtime when traces are on.
///
/// # Errors
/// See [`LogError`].
pub fn init_logs_and_traces(log: &LogConfig, traces: &TraceConfig) -> Result<Traces, LogError> {
    let color = log.color.unwrap_or_else(|| std::io::stderr().is_terminal());
    let (layer, traces) = trace::layer(traces)?;
    let subscriber = subscriber(log, color, std::io::stderr, layer)?;
    tracing::subscriber::set_global_default(subscriber).map_err(|_| LogError::AlreadySet)?;
    Ok(traces)
}

/// The subscriber behind [`init_logs_and_traces`], with a writer of one's own.
fn subscriber<W>(
    config: &LogConfig,
    color: bool,
    writer: W,
    traces: Option<trace::Layered<Registry>>,
) -> Result<Box<dyn Subscriber + Send + Sync>, LogError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    // Spans of traces are for traces only: in a log line they would say everything twice.
    // The hint lets the filter's own level count: without it the libraries' finest spans (every
    // HTTP/2 frame) are made and thrown away again.
    let no_traces = filter_fn(|metadata| metadata.target() != trace::TARGET)
        .with_max_level_hint(LevelFilter::TRACE);
    let lines = config.read_filter()?.and(no_traces);
    let layer = tracing_subscriber::fmt::layer().with_writer(writer);
    let layer: trace::Layered<Registry> = match config.format {
        LogFormat::Text => layer.with_ansi(color).with_filter(lines).boxed(),
        LogFormat::Json => layer
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .with_filter(lines)
            .boxed(),
    };
    // No empty place for an absent layer: it would count as one that wants everything.
    let layers: Vec<_> = std::iter::once(layer).chain(traces).collect();
    Ok(Box::new(Registry::default().with(layers)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(config: &LogConfig) -> String {
        let sink = Sink::default();
        let writer = sink.clone();
        let subscriber = subscriber(config, false, move || writer.clone(), None).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(device = "000000-X-1", "session began");
            tracing::debug!("not shown");
        });
        let bytes = sink.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn what_no_one_reads_is_not_made() {
        let (layer, _traces) = trace::simple(
            opentelemetry_sdk::trace::InMemorySpanExporter::default(),
            1.0,
        );
        for traces in [None, layer] {
            let config = LogConfig::default();
            let subscriber = subscriber(&config, false, std::io::sink, traces).unwrap();
            assert_eq!(subscriber.max_level_hint(), Some(LevelFilter::INFO));
            tracing::subscriber::with_default(subscriber, || {
                assert!(tracing::trace_span!("a library's finest").is_disabled());
            });
        }
    }

    #[test]
    fn text_and_json() {
        let text = logged(&LogConfig::default());
        assert!(
            text.contains("session began") && text.contains("device=\"000000-X-1\""),
            "{text}"
        );
        assert!(!text.contains("not shown"));
        let json = logged(&LogConfig {
            format: LogFormat::Json,
            ..LogConfig::default()
        });
        let line: serde_json::Value = serde_json::from_str(json.trim()).unwrap();
        assert_eq!(line["message"], "session began");
        assert_eq!(line["device"], "000000-X-1");
        assert_eq!(line["level"], "INFO");
    }

    #[test]
    fn a_bad_filter_is_named() {
        let config = LogConfig {
            filter: "info,=[".to_owned(),
            ..LogConfig::default()
        };
        let error = subscriber(&config, false, std::io::sink, None)
            .err()
            .unwrap();
        assert!(error.to_string().contains("info,=["), "{error}");
    }
}
