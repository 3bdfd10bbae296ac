//! The trace of a CWMP session.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry::trace::{
    Span as _, SpanContext, SpanId, SpanKind, TraceFlags, TraceId, TraceState, Tracer as _,
};
use opentelemetry::{Context, KeyValue};
use tracing::Span;

use super::export::{exporter, with_ids};

/// A session's trace, known from its id alone.
#[derive(Debug, Clone, Copy)]
struct SessionTrace {
    trace: TraceId,
    root: SpanId,
}

impl SessionTrace {
    /// The trace of the session with this id (the 128 bits of its ULID); `None` when traces are
    /// off or this session isn't sampled.
    fn of(session: u128) -> Option<Self> {
        let exporter = exporter()?;
        sampled(session, exporter.sample).then(|| Self {
            trace: TraceId::from_bytes(session.to_be_bytes()),
            root: root(session),
        })
    }

    fn context(&self) -> SpanContext {
        let flags = TraceFlags::default().with_sampled(true);
        SpanContext::new(self.trace, self.root, flags, true, TraceState::NONE)
    }
}

/// The span of `make` as a child of the session's own; none when the session isn't sampled.
pub fn session_span(session: u128, make: impl FnOnce() -> Span) -> Span {
    let parent = SessionTrace::of(session).map(|trace| trace.context());
    super::adopted(parent, make)
}

/// The lower half of a ULID is random: the same share of sessions as of those bits.
fn sampled(session: u128, share: f64) -> bool {
    let low = u64::try_from(session & u128::from(u64::MAX)).unwrap_or(u64::MAX);
    // 2^64 as f64 is exact; a share of 1 takes all.
    share >= 1.0 || (low as f64) < share * 18_446_744_073_709_551_616.0
}

/// The id of the session's own span: the lower half, in another order, never 0.
fn root(session: u128) -> SpanId {
    let low = u64::try_from(session & u128::from(u64::MAX)).unwrap_or(u64::MAX);
    SpanId::from_bytes((low.rotate_left(32) | 1).to_be_bytes())
}

/// Writes the session's own span, from its Inform to now. Sessions that are never ended have none:
/// their turns name a parent that is not there, which says just that.
pub fn end_session(
    session: u128,
    started_micros: i64,
    device: &str,
    tenant: &str,
    outcome: &'static str,
) {
    let (Some(trace), Some(exporter)) = (SessionTrace::of(session), exporter()) else {
        return;
    };
    let micros = u64::try_from(started_micros).unwrap_or(0);
    let started: SystemTime = UNIX_EPOCH + Duration::from_micros(micros);
    let builder = exporter
        .tracer
        .span_builder("CWMP session")
        .with_kind(SpanKind::Server)
        .with_start_time(started)
        .with_attributes([
            KeyValue::new("hearth.device", device.to_owned()),
            KeyValue::new("hearth.tenant", tenant.to_owned()),
            KeyValue::new("hearth.outcome", outcome),
        ]);
    let mut span = with_ids(trace.trace, trace.root, || {
        builder.start_with_context(&exporter.tracer, &Context::new())
    });
    span.end();
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::{TARGET, continued, export, traceparent};
    use super::*;
    use opentelemetry_sdk::trace::InMemorySpanExporter;
    use tracing_subscriber::layer::SubscriberExt as _;

    #[test]
    fn the_share_of_sampled_sessions_follows_the_random_bits() {
        assert!(sampled(u128::MAX, 1.0) && !sampled(u128::MAX, 0.99));
        assert!(sampled(0, 0.01) && !sampled(0, 0.0));
        let quarter = u128::from(u64::MAX / 4);
        assert!(sampled(quarter - 10_000, 0.25) && !sampled(quarter + 10_000, 0.25));
    }

    /// One test, since the exporter is the process's.
    #[test]
    fn turns_calls_and_the_session_itself_are_one_trace() {
        let memory = InMemorySpanExporter::default();
        let (layer, _traces) = export::simple(memory.clone(), 1.0);
        let subscriber = tracing_subscriber::registry().with(layer.unwrap());
        let session = 0x0192_6000_0000_1234_5678_9abc_def0_1234_u128;
        tracing::subscriber::with_default(subscriber, || {
            assert_eq!(traceparent(), None);
            let turn = session_span(session, || tracing::info_span!(target: TARGET, "turn"));
            let header = turn.in_scope(|| traceparent().unwrap());
            drop(turn);
            // In another process.
            let call = continued(
                Some(&header),
                || tracing::info_span!(target: TARGET, "call"),
            );
            assert!(continued(None, || unreachable!()).is_none());
            drop(call.entered());
            end_session(
                session,
                1_700_000_000_000_000,
                "000000-X-1",
                "default",
                "done",
            );
        });
        let spans = memory.get_finished_spans().unwrap();
        let find = |name: &str| spans.iter().find(|span| span.name == name).unwrap();
        let (turn, call, whole) = (find("turn"), find("call"), find("CWMP session"));
        for span in [turn, call, whole] {
            assert_eq!(
                span.span_context.trace_id(),
                TraceId::from_bytes(session.to_be_bytes())
            );
        }
        assert_eq!(turn.parent_span_id, whole.span_context.span_id());
        assert_eq!(call.parent_span_id, turn.span_context.span_id());
        assert_eq!(whole.parent_span_id, SpanId::INVALID);
    }
}
