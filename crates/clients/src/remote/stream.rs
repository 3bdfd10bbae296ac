//! The calls that stream.

use super::peer::Peer;
use crate::methods::Method;
use crate::wire::{self, Answer};
use crate::{ByteStream, Error, EventStream, Result};
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt, future};
use hearth_proto::files::v1::put_file_request::Part;
use hearth_proto::{devicestate::v1 as ds, files::v1 as fs};
use parking_lot::Mutex;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Status};

/// The largest piece of a file in one message.
pub(crate) const MAX_CHUNK: usize = 1 << 20;

/// WatchEvents: opened again elsewhere as long as it isn't open; what breaks later ends the stream with an error.
pub(super) async fn watch_events(
    peer: &Peer,
    method: &'static Method,
    request: ds::WatchEventsRequest,
) -> Result<EventStream> {
    let limit = peer.inner.options.max_message;
    let open = peer.call(method, request, true, move |endpoint, request| {
        let channel = endpoint.channel();
        Box::pin(async move {
            ds::device_state_service_client::DeviceStateServiceClient::new(channel)
                .max_decoding_message_size(limit)
                .watch_events(request)
                .await
        })
    });
    // Opening has a limit though the stream has none.
    let opened = tokio::time::timeout(peer.inner.options.call_timeout, open).await;
    let events =
        opened.map_err(|_| Error::unavailable("device-state did not answer in time"))??;
    Ok(until_error(peer.inner.service.role(), events).boxed())
}

/// ReadFile: opened again elsewhere as long as it isn't open.
pub(super) async fn read_file(
    peer: &Peer,
    method: &'static Method,
    request: fs::ReadFileRequest,
) -> Result<ByteStream> {
    let limit = peer.inner.options.max_message;
    let chunks = peer
        .call(method, request, true, move |endpoint, request| {
            let channel = endpoint.channel();
            Box::pin(async move {
                fs::files_service_client::FilesServiceClient::new(channel)
                    .max_decoding_message_size(limit)
                    .read_file(request)
                    .await
            })
        })
        .await?;
    let chunks = until_error(peer.inner.service.role(), chunks);
    Ok(chunks
        .map(|answer| answer.map(|answer| answer.chunk))
        .boxed())
}

/// PutFile: made once, elsewhere only while nothing of the content has left. When `content` fails, or nobody waits any
/// more, the stream ends without the message that says that this was all, and the server keeps nothing.
pub(super) async fn put_file(
    peer: &Peer,
    method: &'static Method,
    metadata: fs::File,
    content: ByteStream,
) -> Result<fs::PutFileResponse> {
    let (failed, failure) = oneshot::channel();
    let dropped = CancellationToken::new();
    let _dropped = dropped.clone().drop_guard();
    let messages = messages(metadata, content, failed).take_until(dropped.cancelled_owned());
    let messages = Once::new(messages.boxed());
    let sent = peer.call(method, (), false, move |endpoint, request| {
        let channel = endpoint.channel();
        let messages = messages.clone();
        Box::pin(async move {
            if messages.is_begun() {
                return Err(Status::unavailable(
                    "a part of the content has left already",
                ));
            }
            let (metadata, extensions, ()) = request.into_parts();
            let request = Request::from_parts(metadata, extensions, messages);
            let mut client = fs::files_service_client::FilesServiceClient::new(channel);
            client.put_file(request).await
        })
    });
    tokio::select! {
        biased;
        Ok(error) = failure => Err(error),
        sent = sent => sent,
    }
}

/// A stream that several tries may be given, of which one reads it.
#[derive(Clone)]
struct Once {
    messages: Arc<Mutex<BoxStream<'static, fs::PutFileRequest>>>,
    begun: Arc<AtomicBool>,
}

impl Once {
    fn new(messages: BoxStream<'static, fs::PutFileRequest>) -> Self {
        Self {
            messages: Arc::new(Mutex::new(messages)),
            begun: Arc::default(),
        }
    }

    fn is_begun(&self) -> bool {
        self.begun.load(Ordering::Relaxed)
    }
}

impl Stream for Once {
    type Item = fs::PutFileRequest;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.begun.store(true, Ordering::Relaxed);
        self.messages.lock().poll_next_unpin(cx)
    }
}

/// Metadata, then pieces, then the end; at the content's first error neither more pieces nor the end.
fn messages(
    metadata: fs::File,
    content: ByteStream,
    failed: oneshot::Sender<Error>,
) -> impl Stream<Item = fs::PutFileRequest> {
    let part = |part| fs::PutFileRequest { part: Some(part) };
    let first = part(Part::Metadata(metadata));
    let pieces = content.flat_map(|piece| {
        stream::iter(match piece {
            Ok(bytes) => split(bytes)
                .into_iter()
                .map(|b| Ok(Part::Chunk(b)))
                .collect::<Vec<_>>(),
            Err(error) => vec![Err(error)],
        })
    });
    let to_end = pieces.chain(stream::iter([Ok(Part::End(true))]));
    let rest = to_end.scan(Some(failed), move |failed, piece| {
        let error = match piece {
            Ok(piece) => return future::ready(Some(part(piece))),
            Err(error) => error,
        };
        if let Some(failed) = failed.take() {
            let _ = failed.send(error);
        }
        future::ready(None)
    });
    stream::iter([first]).chain(rest)
}

/// Pieces of at most [`MAX_CHUNK`].
pub(crate) fn split(mut bytes: Bytes) -> Vec<Bytes> {
    let mut pieces = Vec::with_capacity(bytes.len() / MAX_CHUNK + 1);
    while bytes.len() > MAX_CHUNK {
        pieces.push(bytes.split_to(MAX_CHUNK));
    }
    if !bytes.is_empty() {
        pieces.push(bytes);
    }
    pieces
}

/// Answers with our errors; the first one is the last item.
fn until_error<T>(
    role: &'static str,
    answers: impl Stream<Item = std::result::Result<T, Status>>,
) -> impl Stream<Item = Result<T>> {
    let mut ended = false;
    answers
        .map(move |answer| answer.map_err(|status| broken(role, &status)))
        .take_while(move |answer| {
            let go_on = !ended;
            ended = answer.is_err();
            futures::future::ready(go_on)
        })
}

fn broken(role: &str, status: &Status) -> Error {
    match wire::from_status(status) {
        Answer::Service(error) | Answer::NotRun(error) => error,
        Answer::Transport => wire::transport_error(role, status),
    }
}
