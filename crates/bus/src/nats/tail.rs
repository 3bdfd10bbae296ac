//! Watching: the server shows each message that it has stored; nothing is remembered for a
//! watcher.

use async_nats::header::NATS_SEQUENCE;
use async_nats::{HeaderMap, Message, Subscriber};
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};
use std::sync::Arc;

use super::core::Core;
use super::wire;
use crate::{Delivery, Stream, TailEvent};

/// Messages of `streams` from now on.
pub(crate) fn follow(core: &Arc<Core>, streams: &[Stream]) -> BoxStream<'static, TailEvent> {
    let mut watcher = Watcher {
        streams: streams.to_vec(),
        last: None,
    };
    let client = core.link.client.clone();
    let subject = core.names.all_tail();
    let mut subscribing = async move { client.subscribe(subject).await.ok() }.boxed();
    // At once, so that what this process publishes from now on is seen.
    let messages = match subscribing.as_mut().now_or_never() {
        Some(subscriber) => all(subscriber).boxed(),
        None => subscribing.map(all).flatten_stream().boxed(),
    };
    let closing = {
        let core = Arc::clone(core);
        async move { core.closing().await }
    };
    messages
        .flat_map(move |message| stream::iter(watcher.see(message)))
        .take_until(closing)
        .boxed()
}

fn all(subscriber: Option<Subscriber>) -> impl futures::Stream<Item = Message> {
    stream::iter(subscriber).flatten()
}

struct Watcher {
    streams: Vec<Stream>,
    /// The number of the last message of any kind.
    last: Option<u64>,
}

impl Watcher {
    fn see(&mut self, message: Message) -> Vec<TailEvent> {
        let Some(seq) = message.headers.as_ref().and_then(seq_of) else {
            return Vec::new();
        };
        let mut events = Vec::new();
        let missed = self.last.map_or(0, |last| seq.saturating_sub(last + 1));
        self.last = Some(seq);
        if missed > 0 {
            events.push(TailEvent::Lagged(missed));
        }
        // What can't be read is its consumers' affair.
        if let Ok(meta) = wire::meta(&message.subject, message.headers.as_ref())
            && self.streams.contains(&meta.stream)
        {
            events.push(TailEvent::Message(Delivery {
                seq,
                first_seq: meta.first_seq.unwrap_or(seq),
                stream: meta.stream,
                device: meta.device,
                time: meta.time,
                payload: message.payload,
                deliveries: 1,
                traceparent: meta.traceparent,
            }));
        }
        events
    }
}

fn seq_of(headers: &HeaderMap) -> Option<u64> {
    headers.get(NATS_SEQUENCE)?.as_str().parse().ok()
}
