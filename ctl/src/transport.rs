//! The way to the server, with a look at what comes back: what isn't gRPC, such as a proxy's page, is told as what it is,
//! and a question that nobody could answer just then is asked once more.

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use std::{
    future::{Future, poll_fn},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tonic::{Code, Status, body::Body, transport::Channel};
use tower::Service;

/// At the end of what is said of an answer that isn't gRPC.
pub(crate) const NOT_GRPC: &str = "which is not Hearth's API";

/// Before a question is asked again: as long as a proxy takes to find another server.
const PAUSE: Duration = Duration::from_millis(500);

type Answer = Result<Response<Body>, tonic::transport::Error>;

/// The connection.
#[derive(Clone)]
pub(crate) struct Transport(pub(crate) Channel);

impl Service<Request<Body>> for Transport {
    type Response = Response<Body>;
    type Error = tonic::transport::Error;
    type Future = Pin<Box<dyn Future<Output = Answer> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // The one that is ready is used; a clone of it isn't.
        let again = self.0.clone();
        let channel = std::mem::replace(&mut self.0, again);
        Box::pin(async move {
            let answer = match only_asks(request.uri().path()) {
                true => ask(channel, request).await?,
                false => pass(channel, request).await?,
            };
            Ok(match is_grpc(answer.headers()) {
                true => answer,
                false => told(answer.status()).into_http(),
            })
        })
    }
}

/// Whether a method changes nothing, and answers once.
fn only_asks(path: &str) -> bool {
    let method = path.rsplit('/').next().unwrap_or_default();
    ["Get", "List", "Count"]
        .iter()
        .any(|word| method.starts_with(word))
}

async fn pass(mut channel: Channel, request: Request<Body>) -> Answer {
    channel.call(request).await
}

/// Asks, and once more where nobody could answer.
async fn ask(mut channel: Channel, request: Request<Body>) -> Answer {
    let (parts, body) = request.into_parts();
    // Questions are small, and are there as a whole.
    let bytes = match body.collect().await {
        Ok(body) => body.to_bytes(),
        Err(status) => return Ok(status.into_http()),
    };
    let first = channel
        .call(Request::from_parts(parts.clone(), whole(bytes.clone())))
        .await;
    if !matches!(&first, Ok(answer) if was_away(answer)) {
        return first;
    }
    tokio::time::sleep(PAUSE).await;
    poll_fn(|context| channel.poll_ready(context)).await?;
    channel.call(Request::from_parts(parts, whole(bytes))).await
}

fn whole(bytes: Bytes) -> Body {
    Body::new(Full::new(bytes))
}

/// Whether the answer is that nobody can answer now: a proxy's, or the server's own.
fn was_away(answer: &Response<Body>) -> bool {
    if !is_grpc(answer.headers()) {
        return told(answer.status()).code() == Code::Unavailable;
    }
    let status = Status::from_header_map(answer.headers());
    status.is_some_and(|status| status.code() == Code::Unavailable)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_questions_are_asked_again() {
        let of = |method: &str| only_asks(&format!("/hearth.northbound.v1.TaskService/{method}"));
        for asks in ["GetTask", "ListTasks", "CountDevices"] {
            assert!(of(asks), "{asks}");
        }
        for does in [
            "CreateTask",
            "WatchTask",
            "ReplayDeadLetters",
            "SetLine",
            "WakeDevice",
        ] {
            assert!(!of(does), "{does}");
        }
    }
}
