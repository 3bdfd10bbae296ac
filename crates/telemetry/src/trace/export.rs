//! From spans to the collector.

use std::cell::Cell;
use std::sync::OnceLock;
use std::time::Duration;

use opentelemetry::trace::{SpanId, TraceId, TracerProvider as _};
use opentelemetry::{Key, KeyValue};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{
    IdGenerator, RandomIdGenerator, Sampler, SdkTracer, SdkTracerProvider,
};
use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, filter_fn};
use tracing_subscriber::registry::LookupSpan;

use super::quiet::Quiet;
use super::{TARGET, TraceConfig, TraceError};

/// How long the last spans may take to leave when the process ends.
const LAST: Duration = Duration::from_secs(3);

/// A boxed layer.
pub(crate) type Layered<S> = Box<dyn Layer<S> + Send + Sync>;

/// This process's exporter, as the subscriber of `tracing` is the process's.
static EXPORTER: OnceLock<Exporter> = OnceLock::new();

pub(super) struct Exporter {
    pub(super) tracer: SdkTracer,
    pub(super) sample: f64,
}

pub(super) fn exporter() -> Option<&'static Exporter> {
    EXPORTER.get()
}

/// Whether traces are on in this process.
pub(super) fn is_on() -> bool {
    EXPORTER.get().is_some()
}

/// What holds the exporter: to be kept until the process ends.
#[derive(Debug)]
#[must_use = "the last spans leave when it is closed"]
pub struct Traces(Option<SdkTracerProvider>);

impl Traces {
    /// Sends what is left. Takes at most some seconds; blocks.
    pub fn close(self) {
        if let Some(provider) = self.0
            && let Err(error) = provider.shutdown_with_timeout(LAST)
        {
            tracing::warn!(%error, "the last spans could not be sent");
        }
    }
}

/// The layer that makes spans of [`TARGET`] into traces; none when traces are off. Needs a tokio
/// runtime when they are on.
pub(crate) fn layer<S>(config: &TraceConfig) -> Result<(Option<Layered<S>>, Traces), TraceError>
where
    S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
{
    config.check()?;
    let Some(endpoint) = &config.endpoint else {
        return Ok((None, Traces(None)));
    };
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .with_timeout(Duration::from_secs(5))
        .build()
        .map_err(|error| TraceError::Exporter {
            endpoint: endpoint.clone(),
            reason: error.to_string(),
        })?;
    // Its queue is bounded (2,048 spans, or OTEL_BSP_MAX_QUEUE_SIZE): what doesn't fit is lost.
    let builder = SdkTracerProvider::builder().with_batch_exporter(Quiet::new(exporter));
    Ok(layer_of(builder, config.sample))
}

/// [`layer`] with an exporter of one's own that is told of each span at its end; for tests.
#[cfg(test)]
pub(crate) fn simple<S, E>(exporter: E, sample: f64) -> (Option<Layered<S>>, Traces)
where
    S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
    E: opentelemetry_sdk::trace::SpanExporter + 'static,
{
    layer_of(
        SdkTracerProvider::builder().with_simple_exporter(exporter),
        sample,
    )
}

fn layer_of<S>(
    builder: opentelemetry_sdk::trace::TracerProviderBuilder,
    sample: f64,
) -> (Option<Layered<S>>, Traces)
where
    S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
{
    let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(sample)));
    let provider = builder
        .with_sampler(sampler)
        .with_id_generator(Ids(RandomIdGenerator::default()))
        .with_resource(resource())
        .build();
    let tracer = provider.tracer("hearth");
    let layer = tracing_opentelemetry::layer()
        .with_tracer(tracer.clone())
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_filter(
            // Spans of traces are of this level; see the hint in `logs`.
            filter_fn(|metadata| metadata.target() == TARGET)
                .with_max_level_hint(LevelFilter::INFO),
        );
    EXPORTER.get_or_init(|| Exporter { tracer, sample });
    (Some(Box::new(layer)), Traces(Some(provider)))
}

/// What spans say of this process: all of Hearth is one service, and each process an instance of it, by its own name
/// (`OTEL_RESOURCE_ATTRIBUTES`) or else one by chance.
fn resource() -> Resource {
    let given = Resource::builder().with_service_name("hearth").build();
    let instance = Key::from_static_str("service.instance.id");
    if given.get(&instance).is_some() {
        return given;
    }
    let id = RandomIdGenerator::default().new_trace_id().to_string();
    Resource::builder()
        .with_service_name("hearth")
        .with_attribute(KeyValue::new(instance, id))
        .build()
}

thread_local! {
    /// The ids that the next span made on this thread must have: a session's own span is known
    /// before it is made.
    static NEXT: Cell<Option<(TraceId, SpanId)>> = const { Cell::new(None) };
}

/// Runs `make`, in which one root span is begun, with these ids for it.
pub(super) fn with_ids<T>(trace: TraceId, span: SpanId, make: impl FnOnce() -> T) -> T {
    NEXT.set(Some((trace, span)));
    let made = make();
    NEXT.set(None);
    made
}

#[derive(Debug)]
struct Ids(RandomIdGenerator);

impl IdGenerator for Ids {
    fn new_trace_id(&self) -> TraceId {
        NEXT.get()
            .map_or_else(|| self.0.new_trace_id(), |(trace, _)| trace)
    }

    fn new_span_id(&self) -> SpanId {
        NEXT.get()
            .map_or_else(|| self.0.new_span_id(), |(_, span)| span)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn each_process_is_an_instance_of_its_own() {
        let instance = || {
            let id = resource().get(&Key::from_static_str("service.instance.id"));
            id.unwrap().to_string()
        };
        assert_eq!(instance().len(), 32);
        assert_ne!(instance(), instance());
        let name = resource().get(&Key::from_static_str("service.name"));
        assert_eq!(name.unwrap().as_str(), "hearth");
    }
}
