//! Traces by OpenTelemetry: one for each CWMP session, over all its turns and all roles.
//!
//! A session's id is 128 random bits with the time in front (a ULID), and so is a trace's: the
//! trace of a session *is* its session id. That way no turn needs to be told of a trace, any
//! replica finds it in the sealed cookie, and who reads a session id in a log line can ask for the
//! trace. Whether a session is sampled follows from the same bits, so that all roles agree.
//!
//! Spans are those of `tracing`, with the target [`TARGET`] and nothing else: they are for traces
//! only, and cost next to nothing while traces are off.
//!
//! Between processes the context travels as a W3C `traceparent` ([`traceparent`], [`continued`]).

mod config;
mod export;
mod quiet;
mod session;

pub use config::{TraceConfig, TraceError};
pub use export::Traces;
pub use session::{end_session, session_span};

#[cfg(test)]
pub(crate) use export::simple;
pub(crate) use export::{Layered, layer};

use opentelemetry::Context;
use opentelemetry::trace::{
    SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState,
};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// The target of all spans that belong to traces.
pub const TARGET: &str = "hearth::trace";

/// The name of the header (NATS) and of the metadata (gRPC) that carries the context.
pub const TRACEPARENT: &str = "traceparent";

/// The current span as a W3C `traceparent`; `None` outside of a sampled trace, and while traces
/// are off.
#[must_use]
pub fn traceparent() -> Option<String> {
    current().map(|context| {
        format!(
            "00-{:032x}-{:016x}-{:02x}",
            context.trace_id(),
            context.span_id(),
            context.trace_flags()
        )
    })
}

/// The current span's place in a sampled trace.
fn current() -> Option<SpanContext> {
    // Off, or outside of a sampled trace, where no span is made: nothing to ask for.
    if !export::is_on() || Span::current().is_disabled() {
        return None;
    }
    let context = Span::current().context();
    let span = context.span().span_context().clone();
    (span.is_valid() && span.is_sampled()).then_some(span)
}

/// The span of `make` as a child of the span that a `traceparent` names; none without one, or when
/// it can't be read: only what is part of a trace elsewhere is part of it here.
pub fn continued(traceparent: Option<&str>, make: impl FnOnce() -> Span) -> Span {
    let parent = match export::is_on() {
        true => traceparent.and_then(read),
        false => None,
    };
    adopted(parent, make)
}

/// The span of `make` as a child of the current one; none outside of a sampled trace.
pub fn child(make: impl FnOnce() -> Span) -> Span {
    match current() {
        Some(_) => make(),
        None => Span::none(),
    }
}

/// The span of one request to a server (`redis`, `cassandra`) as a child of the current one; none
/// outside of a sampled trace. `operation` is what is asked, as it is named in metrics.
pub fn request(system: &'static str, operation: &'static str) -> Span {
    child(|| {
        tracing::info_span!(
            target: TARGET,
            "request",
            otel.name = operation,
            otel.kind = "client",
            otel.status_code = tracing::field::Empty,
            db.system.name = system,
            db.operation.name = operation,
        )
    })
}

/// Marks the current request's span as failed.
pub fn failed() {
    Span::current().record("otel.status_code", "ERROR");
}

/// `00-{32 hex}-{16 hex}-{2 hex}` (W3C Trace Context, version 00; later versions begin alike).
fn read(text: &str) -> Option<SpanContext> {
    let mut parts = text.split('-');
    let (version, trace, span, flags) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    if version.len() != 2
        || version == "ff"
        || trace.len() != 32
        || span.len() != 16
        || flags.len() != 2
    {
        return None;
    }
    let trace = TraceId::from_bytes(u128::from_str_radix(trace, 16).ok()?.to_be_bytes());
    let span = SpanId::from_bytes(u64::from_str_radix(span, 16).ok()?.to_be_bytes());
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?);
    let context = SpanContext::new(trace, span, flags, true, TraceState::NONE);
    context.is_valid().then_some(context)
}

fn adopted(parent: Option<SpanContext>, make: impl FnOnce() -> Span) -> Span {
    let Some(parent) = parent else {
        return Span::none();
    };
    let span = make();
    // An error says that the span has begun or isn't recorded: a defect of the caller's at most,
    // and nothing to fail a request for.
    span.set_parent(Context::new().with_remote_span_context(parent))
        .ok();
    span
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_traceparent_is_read_leniently_and_nothing_else_is() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let context = read(good).unwrap();
        assert!(context.is_sampled() && context.is_remote());
        assert_eq!(format!("{:032x}", context.trace_id()), &good[3..35]);
        assert!(read("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00-later").is_some());
        for bad in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473é-00f067aa0ba902b7-01",
        ] {
            assert!(read(bad).is_none(), "{bad}");
        }
    }
}
