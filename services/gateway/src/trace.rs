//! A session's trace: one span for each turn, one for the whole.

use hearth_cwmp::session::Input;
use hearth_telemetry::trace::{self, TARGET, end_session, session_span};
use tracing::{Span, field};

use crate::cookie::Session;

/// The span of a turn. `hearth.request` is the request that it ends with, if it ends with one.
pub(crate) fn turn_span(session: &Session, input: Input) -> Span {
    session_span(session.id.into(), || {
        tracing::info_span!(
            target: TARGET,
            "CWMP turn",
            otel.kind = "server",
            hearth.input = ?input,
            hearth.request = field::Empty,
        )
    })
}

/// What this turn sends to the device.
pub(crate) fn sends(request: &str) {
    Span::current().record("hearth.request", request);
}

/// The span of what a turn publishes.
pub(crate) fn publish_span(stream: hearth_bus::Stream) -> Span {
    trace::child(|| {
        tracing::info_span!(
            target: TARGET,
            "publish",
            otel.kind = "producer",
            hearth.stream = stream.as_str(),
        )
    })
}

/// The session is over.
pub(crate) fn ended(session: &Session, outcome: &'static str) {
    end_session(
        session.id.into(),
        session.started,
        &session.device,
        session.tenant.as_str(),
        outcome,
    );
}
