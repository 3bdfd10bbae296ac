//! The one place on each side where a call's trace crosses between processes: W3C Trace Context, as metadata.

use crate::methods::Method;
use hearth_telemetry::trace::{TARGET, TRACEPARENT, continued, traceparent};
use tonic::metadata::MetadataMap;
use tracing::Span;

/// Adds the current context to the metadata of a call that leaves.
pub(crate) fn inject(metadata: &mut MetadataMap) {
    let value = traceparent().and_then(|text| text.parse().ok());
    if let Some(value) = value {
        metadata.insert(TRACEPARENT, value);
    }
}

/// The span that a call's work runs in, a child of the caller's; none when the caller has none.
pub(crate) fn extract(method: &Method, metadata: &MetadataMap) -> Span {
    let caller = metadata
        .get(TRACEPARENT)
        .and_then(|text| text.to_str().ok());
    continued(caller, || {
        tracing::info_span!(
            target: TARGET,
            "rpc",
            otel.name = method.name,
            otel.kind = "server",
            rpc.system = "grpc",
            rpc.service = method.service.grpc_name(),
            rpc.method = method.name,
        )
    })
}
