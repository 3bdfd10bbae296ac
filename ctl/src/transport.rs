//! The way to the server, with a look at what comes back: what isn't gRPC, such as a proxy's page, is told as what it is.

use http::{HeaderMap, Request, Response, StatusCode, header};
use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};
use tonic::{Code, Status, body::Body, transport::Channel};
use tower::Service;

/// At the end of what is said of an answer that isn't gRPC.
pub(crate) const NOT_GRPC: &str = "which is not Hearth's API";

/// The connection.
#[derive(Clone)]
pub(crate) struct Transport(pub(crate) Channel);

impl Service<Request<Body>> for Transport {
    type Response = Response<Body>;
    type Error = tonic::transport::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let answer = self.0.call(request);
        Box::pin(async move {
            let answer = answer.await?;
            Ok(match is_grpc(answer.headers()) {
                true => answer,
                false => told(answer.status()).into_http(),
            })
        })
    }
}

fn is_grpc(headers: &HeaderMap) -> bool {
    let found = headers.get(header::CONTENT_TYPE);
    found.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

/// What an answer in plain HTTP means.
fn told(status: StatusCode) -> Status {
    let code = match status {
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => Code::Unavailable,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Code::PermissionDenied,
        _ => Code::Unknown,
    };
    Status::new(code, format!("HTTP {status} was answered, {NOT_GRPC}"))
}
