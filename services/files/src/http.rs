//! What devices ask of this role: files down (GET with ranges) and up (PUT),
//! with the credential of their transfer, by Basic or Digest.

use crate::service::FilesService;
use crate::ticket::{Direction, Ticket};
use axum::{
    Router,
    body::Body,
    extract::{DefaultBodyLimit, Path, Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
    routing::{get, put},
};
use futures::{StreamExt, TryStreamExt};
use hearth_auth::{Authorization, RequestTarget, VerifyWith};
use hearth_clients::{ByteStream, Error, Kind};
use hearth_proto::files::v1::File;
use hearth_types::TenantId;
use std::ops::Range;

pub fn router(service: FilesService) -> Router {
    Router::new()
        .route("/d/{tenant}/{file}", get(download))
        .route("/u/{tenant}/{file}", put(upload))
        // The limit for uploads counts what arrives, in `upload`.
        .layer(DefaultBodyLimit::disable())
        .with_state(service)
}

type Names = Path<(String, String)>;

async fn download(
    State(service): State<FilesService>,
    Path((tenant, file)): Names,
    request: Request,
) -> Response {
    let ticket = match authorize(&service, &request, Direction::Download, &tenant, &file) {
        Ok(ticket) => ticket,
        Err(refused) => return refused,
    };
    tracing::debug!(task = %ticket.task, file, "download");
    if let Err(error) = begin(&service, &ticket).await {
        return finish(&service, Direction::Download, Err(error));
    }
    let (parts, _) = request.into_parts();
    let outcome = send(&service, &tenant, &file, &parts).await;
    finish(&service, Direction::Download, outcome)
}

async fn upload(
    State(service): State<FilesService>,
    Path((tenant, file)): Names,
    request: Request,
) -> Response {
    let ticket = match authorize(&service, &request, Direction::Upload, &tenant, &file) {
        Ok(ticket) => ticket,
        Err(refused) => return refused,
    };
    tracing::debug!(task = %ticket.task, file, "upload");
    if let Err(error) = begin(&service, &ticket).await {
        return finish(&service, Direction::Upload, Err(error));
    }
    let outcome = receive(&service, &tenant, &file, request).await;
    finish(&service, Direction::Upload, outcome)
}

/// Remembers that the transfer has begun, before a byte of it moves: a device
/// whose answer to the RPC is lost is not asked to transfer twice.
async fn begin(service: &FilesService, ticket: &Ticket<'_>) -> Result<(), Error> {
    let inner = &service.inner;
    let tenant: TenantId = ticket.tenant.parse()?;
    let now = inner.clock.now();
    inner.catalog.note_begun(&tenant, ticket.task, now).await
}

/// The ticket that the request proves to have; else the answer.
#[allow(clippy::result_large_err, reason = "the answer is made once and sent")]
fn authorize<'a>(
    service: &FilesService,
    request: &Request,
    direction: Direction,
    tenant: &'a str,
    file: &'a str,
) -> Result<Ticket<'a>, Response> {
    let inner = &service.inner;
    let now = inner.clock.now();
    let refuse = |outcome: &str, stale: bool| {
        let labels = [direction.label(), outcome];
        inner.metrics.transfers.with_label_values(&labels).inc();
        challenge(service, stale)
    };
    let value = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let Some(value) = value else {
        return Err(refuse("challenged", false));
    };
    let authorization = Authorization::parse(value);
    let ticket = authorization
        .username()
        .and_then(|user| Ticket::of_user(user, direction, tenant, file))
        .filter(|ticket| !ticket.is_expired(now));
    let Some(ticket) = ticket else {
        return Err(refuse("unauthorized", false));
    };
    let target = RequestTarget {
        method: request.method().as_str(),
        uri: request.uri().path_and_query().map_or("/", |p| p.as_str()),
    };
    let (mut proved, mut stale) = (false, false);
    // Tickets of before the keys were rotated hold too.
    for key in &inner.keys {
        let password = ticket.password(key);
        let stored = VerifyWith::Password(&password);
        match &authorization {
            Authorization::Basic(basic) => proved = basic.verify(inner.digest.realm(), stored),
            Authorization::Digest(digest) => {
                match inner.digest.verify(target, digest, stored, now) {
                    Ok(_) => proved = true,
                    Err(failure) => stale |= failure.is_stale(),
                }
            }
            _ => {}
        }
        if proved || stale {
            break;
        }
    }
    if proved {
        Ok(ticket)
    } else {
        Err(refuse("unauthorized", stale))
    }
}

/// 401, offering Digest first.
fn challenge(service: &FilesService, stale: bool) -> Response {
    let inner = &service.inner;
    let mut response = StatusCode::UNAUTHORIZED.into_response();
    let Ok(mut challenges) = inner.digest.challenges(inner.clock.now(), stale) else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    challenges.push(format!("Basic realm=\"{}\"", inner.digest.realm()));
    for challenge in challenges {
        if let Ok(value) = HeaderValue::from_str(&challenge) {
            response
                .headers_mut()
                .append(header::WWW_AUTHENTICATE, value);
        }
    }
    response
}

async fn send(
    service: &FilesService,
    tenant: &str,
    name: &str,
    request: &Parts,
) -> Result<Response, Error> {
    let inner = &service.inner;
    let found = inner.catalog.get(&tenant.parse()?, name).await?;
    let Some((file, object)) = found else {
        return Err(Error::not_found("there is no such file"));
    };
    let Ok(range) = wanted(&request.headers, &file) else {
        let mut response = StatusCode::RANGE_NOT_SATISFIABLE.into_response();
        set(
            &mut response,
            header::CONTENT_RANGE,
            &format!("bytes */{}", file.size),
        );
        return Ok(response);
    };
    let length = range.as_ref().map_or(file.size, |r| r.end - r.start);
    let mut response = if request.method == Method::HEAD || length == 0 {
        Response::new(Body::empty())
    } else {
        let sent = inner.metrics.sent.clone();
        let bytes = inner.objects.read(&object, range.clone()).await?;
        Response::new(Body::from_stream(
            bytes.inspect_ok(move |chunk| sent.inc_by(chunk.len() as u64)),
        ))
    };
    if let Some(range) = range {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        let value = format!("bytes {}-{}/{}", range.start, range.end - 1, file.size);
        set(&mut response, header::CONTENT_RANGE, &value);
    }
    set(
        &mut response,
        header::CONTENT_TYPE,
        "application/octet-stream",
    );
    set(&mut response, header::CONTENT_LENGTH, &length.to_string());
    set(&mut response, header::ACCEPT_RANGES, "bytes");
    set(&mut response, header::ETAG, &etag(&file));
    Ok(response)
}

/// The one range that is asked for; `None` for the whole file, which also
/// answers several ranges (RFC 9110 14.2) and an outdated If-Range.
fn wanted(headers: &HeaderMap, file: &File) -> Result<Option<Range<u64>>, ()> {
    let Some(asked) = headers.get(header::RANGE).and_then(|v| v.to_str().ok()) else {
        return Ok(None);
    };
    if headers
        .get(header::IF_RANGE)
        .is_some_and(|tag| tag.as_bytes() != etag(file).as_bytes())
    {
        return Ok(None);
    }
    let Ok(parsed) = http_range_header::parse_range_header(asked) else {
        return Ok(None);
    };
    match parsed.validate(file.size) {
        Err(_) => Err(()),
        Ok(ranges) => match ranges.as_slice() {
            [one] => Ok(Some(*one.start()..*one.end() + 1)),
            _ => Ok(None),
        },
    }
}

fn etag(file: &File) -> String {
    format!("\"{}\"", file.sha256)
}

fn set(response: &mut Response, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

async fn receive(
    service: &FilesService,
    tenant: &str,
    name: &str,
    request: Request,
) -> Result<Response, Error> {
    let inner = &service.inner;
    let tenant: TenantId = tenant.parse()?;
    let expected = inner.catalog.expected_upload(&tenant, name).await?;
    let Some(expected) = expected else {
        return Err(Error::not_found("no upload of this name is expected"));
    };
    let received = inner.metrics.received.clone();
    let stall = inner.config.upload_stall.0;
    let pieces = request.into_body().into_data_stream();
    let content: ByteStream = futures::stream::try_unfold(pieces, move |mut pieces| async move {
        match tokio::time::timeout(stall, pieces.next()).await {
            Err(_) => Err(Error::unavailable("the upload stalled")),
            Ok(None) => Ok(None),
            Ok(Some(Err(_))) => Err(Error::unavailable("the connection ended within the upload")),
            Ok(Some(Ok(piece))) => Ok(Some((piece, pieces))),
        }
    })
    .inspect_ok(move |piece| received.inc_by(piece.len() as u64))
    .boxed();
    let written = inner
        .objects
        .write(&tenant, content, inner.config.max_upload_size.0)
        .await?;
    // A device that did not see our answer sends again: the last one counts.
    service.keep(expected, written, true).await?;
    Ok(StatusCode::CREATED.into_response())
}

/// Counts an outcome, and turns an error into a status.
fn finish(
    service: &FilesService,
    direction: Direction,
    outcome: Result<Response, Error>,
) -> Response {
    let (label, response) = match outcome {
        Ok(response) if response.status().is_success() => ("ok", response),
        Ok(response) => ("refused", response),
        Err(error) => {
            let status = match error.kind {
                Kind::NotFound => StatusCode::NOT_FOUND,
                Kind::InvalidArgument => StatusCode::PAYLOAD_TOO_LARGE,
                Kind::ResourceExhausted => StatusCode::INSUFFICIENT_STORAGE,
                _ => StatusCode::SERVICE_UNAVAILABLE,
            };
            ("failed", (status, error.to_string()).into_response())
        }
    };
    let labels = [direction.label(), label];
    service
        .inner
        .metrics
        .transfers
        .with_label_values(&labels)
        .inc();
    response
}
