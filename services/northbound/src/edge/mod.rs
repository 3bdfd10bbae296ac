//! The edge of the API: what every request passes before it is decoded.
//!
//! In this order: is it gRPC, whose token is it, is there such a method, is there room, by when
//! must it end. Health is the only service that needs no token.

mod auth;
mod call;
mod deadline;
mod methods;

use crate::NorthboundConfig;
use crate::caller::TokenVerifier;
use crate::error::{plain, retryable};
use crate::metrics::Metrics;
use bytes::Bytes;
use call::{Answer, Call, stopping, too_late};
use futures::FutureExt;
use futures::future::BoxFuture;
use hearth_clients::with_deadline;
use hearth_runtime::http::PeerAddr;
use hearth_runtime::{BoxError, CancellationToken};
use http::{HeaderMap, Request, Response, header};
pub(crate) use methods::Methods;
use methods::{Method, Shape};
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tonic::body::Body;
use tonic::service::Routes;
use tonic::{Code, Status};
use tower::Service;

/// What is said to those who come without gRPC.
const NOT_GRPC: &str = "This is Hearth's API, which speaks gRPC over HTTP/2. Use hearthctl, or a \
                        gRPC client with the descriptors that the reflection service gives.\n";

/// Requests without a token, and watches of health, at once.
const MAX_OPEN: usize = 256;

/// The edge; cheap to clone.
#[derive(Clone)]
pub(crate) struct Edge {
    routes: Routes,
    shared: Arc<Shared>,
}

struct Shared {
    config: NorthboundConfig,
    methods: Methods,
    verifier: Arc<dyn TokenVerifier>,
    metrics: Arc<Metrics>,
    requests: Arc<Semaphore>,
    watches: Arc<Semaphore>,
    /// For what is served without a token: strangers must not take the places of others.
    open: Arc<Semaphore>,
    stop: CancellationToken,
}

impl Edge {
    pub(crate) fn new(
        routes: Routes,
        config: NorthboundConfig,
        methods: Methods,
        verifier: Arc<dyn TokenVerifier>,
        metrics: Arc<Metrics>,
        stop: CancellationToken,
    ) -> Self {
        let places = |count: usize| Arc::new(Semaphore::new(count.min(Semaphore::MAX_PERMITS)));
        let shared = Shared {
            requests: places(config.max_requests),
            watches: places(config.max_watches),
            open: places(MAX_OPEN),
            config,
            methods,
            verifier,
            metrics,
            stop,
        };
        Self {
            routes: routes.prepare(),
            shared: Arc::new(shared),
        }
    }
}

impl<B> Service<Request<B>> for Edge
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (routes, shared) = (self.routes.clone(), self.shared.clone());
        Box::pin(async move { Ok(shared.serve(routes, request).await) })
    }
}

impl Shared {
    async fn serve<B>(&self, mut routes: Routes, mut request: Request<B>) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        if !is_grpc(request.headers()) {
            return not_grpc();
        }
        let (method, known) = self.methods.find(request.uri().path());
        let peer = request.extensions().get::<PeerAddr>().map(|peer| peer.0);
        let mut call = Call::begin(method.clone(), self.metrics.clone(), peer);
        let deadline = match self.admit(&mut request, method, known) {
            Ok((permit, deadline)) => {
                call.admit(permit);
                deadline
            }
            Err(status) => return refuse(call, status),
        };
        // The routes are always ready (axum), and a panic in a handler must not take the
        // connection's other requests with it. What the handler asks of other roles ends by the same time.
        let answer = with_deadline(deadline, routes.call(request));
        let answer = AssertUnwindSafe(answer).catch_unwind();
        let ended = match deadline {
            Some(at) => tokio::time::timeout_at(at, answer).await,
            None => Ok(answer.await),
        };
        let response = match ended {
            Err(_elapsed) => return refuse(call, too_late()),
            Ok(Err(_panic)) => {
                tracing::error!(method = call.method.label, "a handler of the API panicked");
                let message = "the server has a defect here; its log says more";
                return refuse(call, plain(Code::Internal, "INTERNAL", message));
            }
            Ok(Ok(response)) => response.unwrap_or_else(|never| match never {}),
        };
        // Another role gave up by the same deadline, a moment before this one.
        if is_unavailable(response.headers()) && deadline.is_some_and(|at| at <= Instant::now()) {
            return refuse(call, too_late());
        }
        call.note(response.headers());
        let end = self.end(call.method.shape, deadline);
        response.map(|body| Body::new(Answer::new(body, call, deadline, end)))
    }

    /// Decides whether a request is let in; gives its place and its deadline.
    fn admit<B>(
        &self,
        request: &mut Request<B>,
        method: &Method,
        known: bool,
    ) -> Result<(OwnedSemaphorePermit, Option<Instant>), Status> {
        if !method.open {
            match auth::authenticate(request.headers(), self.verifier.as_ref()) {
                Ok(caller) => {
                    request.extensions_mut().insert(caller);
                }
                Err(refusal) => {
                    let failures = &self.metrics.auth_failures;
                    failures.with_label_values(&[refusal.label()]).inc();
                    return Err(refusal.status());
                }
            }
        }
        if !known {
            return Err(plain(
                Code::Unimplemented,
                "NO_SUCH_METHOD",
                "there is no such method; the reflection service lists what there is",
            ));
        }
        let asked = deadline::asked(request.headers())?;
        let (places, limit) = match method.shape {
            Shape::Unary => (&self.requests, Some(self.config.request_timeout.get())),
            Shape::Transfer => (&self.requests, Some(self.config.transfer_timeout.get())),
            Shape::Watch => (&self.watches, None),
        };
        let places = if method.open { &self.open } else { places };
        let shortest = asked.into_iter().chain(limit).min();
        let permit = places.clone().try_acquire_owned().map_err(|_| {
            let what = match method.shape {
                _ if method.open => "too many ask for the server's health",
                Shape::Watch => "too many watches are open (api.max_watches)",
                Shape::Unary | Shape::Transfer => {
                    "too many requests are being worked on (api.max_requests)"
                }
            };
            let message = format!("{what}; try again a little later");
            retryable(Code::ResourceExhausted, "LIMIT_REACHED", message)
        })?;
        // A limit beyond what the clock can count is none.
        let deadline = shortest.and_then(|limit| Instant::now().checked_add(limit));
        Ok((permit, deadline))
    }

    /// What ends the stream of an answer before its end. An answer that is no stream is there
    /// when this is asked.
    fn end(&self, shape: Shape, deadline: Option<Instant>) -> Option<BoxFuture<'static, Status>> {
        let stop = self.stop.clone();
        match (shape, deadline) {
            (Shape::Unary, _) | (Shape::Transfer, None) => None,
            (Shape::Transfer, Some(at)) => {
                Some(Box::pin(tokio::time::sleep_until(at).map(|()| too_late())))
            }
            (Shape::Watch, None) => Some(Box::pin(async move {
                stop.cancelled().await;
                stopping()
            })),
            (Shape::Watch, Some(at)) => Some(Box::pin(async move {
                tokio::select! {
                    () = stop.cancelled() => stopping(),
                    () = tokio::time::sleep_until(at) => too_late(),
                }
            })),
        }
    }
}

fn is_grpc(headers: &HeaderMap) -> bool {
    let content_type = headers
        .get(header::CONTENT_TYPE)
        .map(http::HeaderValue::as_bytes);
    content_type.is_some_and(|value| value.starts_with(b"application/grpc"))
}

fn is_unavailable(headers: &HeaderMap) -> bool {
    let code = headers.get(call::STATUS);
    code.is_some_and(|code| Code::from_bytes(code.as_bytes()) == Code::Unavailable)
}

fn not_grpc() -> Response<Body> {
    let body = http_body_util::Full::new(Bytes::from_static(NOT_GRPC.as_bytes()));
    let mut response = Response::new(Body::new(body));
    *response.status_mut() = http::StatusCode::UNSUPPORTED_MEDIA_TYPE;
    let plain = http::HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, plain);
    response
}

/// Answers with a status only.
fn refuse(mut call: Call, status: Status) -> Response<Body> {
    let response = status.into_http::<Body>();
    call.note(response.headers());
    response
}
