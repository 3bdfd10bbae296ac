//! The calls that stream, on the server's side.

use super::guard::{Guard, late};
use crate::methods::Method;
use crate::remote::split;
use crate::wire::to_status;
use crate::{ByteStream, DeviceState, Error, Files};
use futures::future::{self, BoxFuture};
use futures::stream::{self, BoxStream};
use futures::{FutureExt, Stream, StreamExt};
use hearth_proto::files::v1::put_file_request::Part;
use hearth_proto::{devicestate::v1 as ds, files::v1 as fs};
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tonic::{Request, Response, Status, Streaming};

/// What a call streams back.
pub(super) type Answers<T> = BoxStream<'static, Result<T, Status>>;

/// WatchEvents: to the caller's end, or this process's.
pub(super) async fn watch_events(
    service: &Arc<dyn DeviceState>,
    guard: &Guard,
    method: &'static Method,
    request: Request<ds::WatchEventsRequest>,
) -> Result<Response<Answers<ds::WatchEventsResponse>>, Status> {
    let (service, leaving) = (Arc::clone(service), guard.leaving());
    let opened = open(guard, method, request, async move |request| {
        service.watch_events(request).await
    });
    let (events, permit, until) = opened.await?;
    let leaves = async move {
        leaving.cancelled().await;
        to_status(Error::unavailable(
            "this replica is going away; watch again",
        ))
    };
    let end = future::select(leaves.boxed(), at(until)).map(|ended| ended.factor_first().0);
    Ok(Response::new(answers(events, permit, end.boxed())))
}

/// ReadFile.
pub(super) async fn read_file(
    service: &Arc<dyn Files>,
    guard: &Guard,
    method: &'static Method,
    request: Request<fs::ReadFileRequest>,
) -> Result<Response<Answers<fs::ReadFileResponse>>, Status> {
    let service = Arc::clone(service);
    let opened = open(guard, method, request, async move |request| {
        service.read_file(request).await
    });
    let (bytes, permit, until) = opened.await?;
    let chunks = bytes.flat_map(|piece| {
        stream::iter(match piece {
            Ok(bytes) => split(bytes).into_iter().map(Ok).collect::<Vec<_>>(),
            Err(error) => vec![Err(error)],
        })
    });
    let chunks = chunks.map(|piece| piece.map(|chunk| fs::ReadFileResponse { chunk }));
    Ok(Response::new(answers(chunks.boxed(), permit, at(until))))
}

/// PutFile: the caller's going away is an error in the content, after which nothing is kept.
pub(super) async fn put_file(
    service: &Arc<dyn Files>,
    guard: &Guard,
    method: &'static Method,
    request: Request<Streaming<fs::PutFileRequest>>,
) -> Result<Response<fs::PutFileResponse>, Status> {
    let admitted = guard.admit(method, request.metadata(), request.extensions())?;
    let service = Arc::clone(service);
    let mut messages = request.into_inner();
    let work = async move {
        let first = messages.message().await.map_err(cut_off)?;
        let Some(Part::Metadata(metadata)) = first.and_then(|m| m.part) else {
            return Err(Error::invalid("part", "expected the file's metadata first"));
        };
        service.put_file(metadata, content(messages)).await
    };
    admitted.finish(work).await
}

/// The pieces of a file up to the message that says that this was all; a stream that ends without it ends in an error.
fn content(messages: Streaming<fs::PutFileRequest>) -> ByteStream {
    let pieces = stream::unfold(Some(messages), |messages| async move {
        let mut messages = messages?;
        let error = match messages.message().await {
            Ok(Some(message)) => match message.part {
                Some(Part::Chunk(chunk)) => return Some((Ok(chunk), Some(messages))),
                Some(Part::End(true)) => return None,
                _ => Error::invalid("part", "expected a piece of the file, or its end"),
            },
            Ok(None) => cut_off(Status::cancelled("")),
            Err(status) => cut_off(status),
        };
        Some((Err(error), None))
    });
    pieces.boxed()
}

fn cut_off(status: Status) -> Error {
    tracing::debug!(code = ?status.code(), "a file's way was cut off");
    Error::unavailable("the file was cut off on its way; send it again")
}

/// Opens a stream within the call's time.
async fn open<Q, T, Fut>(
    guard: &Guard,
    method: &'static Method,
    request: Request<Q>,
    open: impl FnOnce(Q) -> Fut,
) -> Result<(T, OwnedSemaphorePermit, Option<Instant>), Status>
where
    T: Send + 'static,
    Fut: Future<Output = Result<T, Error>> + Send + 'static,
{
    let admitted = guard.admit(method, request.metadata(), request.extensions())?;
    let until = admitted.until;
    // The stream has a place of its own: opening gives its back.
    let permit = guard.place()?;
    let opened = admitted.finish(open(request.into_inner())).await?;
    Ok((opened.into_inner(), permit, until))
}

/// When the call's time is over.
fn at(until: Option<Instant>) -> BoxFuture<'static, Status> {
    match until {
        Some(at) => tokio::time::sleep_until(at).map(|()| late()).boxed(),
        None => future::pending().boxed(),
    }
}

/// A stream's items until the first error, or until `end`; it holds its place as long.
fn answers<T: Send + 'static>(
    items: impl Stream<Item = Result<T, Error>> + Send + 'static,
    permit: OwnedSemaphorePermit,
    end: BoxFuture<'static, Status>,
) -> Answers<T> {
    let items = items.map(|item| item.map_err(to_status));
    let with_end = items.map(Some).chain(stream::iter([None]));
    let ends = end.into_stream().map(|status| Some(Err(status)));
    let mut ended = false;
    let merged = stream::select(with_end, ends).take_while(move |item| {
        let go_on = !ended && item.is_some();
        ended = !matches!(item, Some(Ok(_)));
        let _place = &permit;
        future::ready(go_on)
    });
    merged.filter_map(future::ready).boxed()
}
