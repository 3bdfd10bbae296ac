//! One call from its first byte to its last: counted, timed and logged once, however it ends; and
//! the body of its answer.

use super::methods::{Method, Shape};
use crate::error::{plain, retryable};
use crate::metrics::Metrics;
use bytes::Bytes;
use futures::future::BoxFuture;
use hearth_clients::within_deadline;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tonic::{Code, Status};

/// The header or trailer with the code.
pub(super) const STATUS: &str = "grpc-status";

/// A call in work. Recorded when it is dropped: as CANCELLED, if nothing else is known by then.
pub(crate) struct Call {
    pub(crate) method: Arc<Method>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) peer: Option<SocketAddr>,
    started: Instant,
    code: Option<Code>,
    /// Its place among the requests or the watches.
    permit: Option<OwnedSemaphorePermit>,
}

impl Call {
    pub(crate) fn begin(
        method: Arc<Method>,
        metrics: Arc<Metrics>,
        peer: Option<SocketAddr>,
    ) -> Self {
        Self {
            method,
            metrics,
            peer,
            started: Instant::now(),
            code: None,
            permit: None,
        }
    }

    /// The call was let in.
    pub(crate) fn admit(&mut self, permit: OwnedSemaphorePermit) {
        self.permit = Some(permit);
        self.open_gauge().inc();
    }

    /// Notes the code, if there is one among these headers or trailers.
    pub(crate) fn note(&mut self, headers: &HeaderMap) {
        if let Some(code) = headers.get(STATUS) {
            self.code = Some(Code::from_bytes(code.as_bytes()));
        }
    }

    fn open_gauge(&self) -> &hearth_telemetry::IntGauge {
        match self.method.shape {
            Shape::Watch => &self.metrics.streams_open,
            Shape::Unary | Shape::Transfer => &self.metrics.requests_open,
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let code = self.code.unwrap_or(Code::Cancelled);
        let label = self.method.label.as_str();
        let took = self.started.elapsed();
        self.metrics
            .requests
            .with_label_values(&[label, name(code)])
            .inc();
        if self.method.shape != Shape::Watch {
            self.metrics.seconds(label).observe(took.as_secs_f64());
        }
        if self.permit.is_some() {
            self.open_gauge().dec();
        }
        tracing::debug!(
            method = label,
            code = name(code),
            took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            peer = self.peer.map(tracing::field::display),
            "API request"
        );
    }
}

/// A code as gRPC writes it.
pub(crate) fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

/// DEADLINE_EXCEEDED.
pub(crate) fn too_late() -> Status {
    plain(
        Code::DeadlineExceeded,
        "DEADLINE_EXCEEDED",
        "the request took longer than its deadline or the server's limit; what it asked for may \
         have been done all the same: look before you repeat it",
    )
}

/// UNAVAILABLE, at the stop.
pub(crate) fn stopping() -> Status {
    retryable(
        Code::Unavailable,
        "STOPPING",
        "the server is stopping; try again, it or another one will answer",
    )
}

/// The body of an answer. Ends a stream with a status of its own at its deadline, and a watch at
/// the stop of the process; keeps the call's place until the last byte.
pub(crate) struct Answer {
    body: tonic::body::Body,
    call: Call,
    /// Holds for what a stream still asks of other roles.
    deadline: Option<Instant>,
    /// Resolves to the status to end with.
    end: Option<BoxFuture<'static, Status>>,
    ended: bool,
}

impl Answer {
    pub(crate) fn new(
        body: tonic::body::Body,
        call: Call,
        deadline: Option<Instant>,
        end: Option<BoxFuture<'static, Status>>,
    ) -> Self {
        Self {
            body,
            call,
            deadline,
            end,
            ended: false,
        }
    }

    fn cut(&mut self, status: &Status) -> Frame<Bytes> {
        self.ended = true;
        // What is still to come is dropped at once, not when the client has read the trailers.
        self.body = tonic::body::Body::empty();
        let mut trailers = HeaderMap::new();
        if status.add_header(&mut trailers).is_err() {
            trailers.insert(STATUS, http::HeaderValue::from_static("13"));
        }
        self.call.note(&trailers);
        Frame::trailers(trailers)
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        if let Some(end) = &mut self.end
            && let Poll::Ready(status) = end.as_mut().poll(cx)
        {
            return Poll::Ready(Some(Ok(self.cut(&status))));
        }
        let deadline = self.deadline;
        let polled = within_deadline(deadline, || Pin::new(&mut self.body).poll_frame(cx));
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(trailers) = frame.trailers_ref()
        {
            self.call.note(trailers);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match self.end {
            // It may end sooner.
            Some(_) => SizeHint::default(),
            None => self.body.size_hint(),
        }
    }
}
