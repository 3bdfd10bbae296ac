//! Asking the server for messages.
//!
//! A request says "what there is, up to so many; if there is nothing, the next that comes, until
//! then". Its answers come to one inbox for the consumer's life and are kept at once in [`Held`]:
//! a fetch that is dropped while it waits loses nothing. Each request says how many bytes may come:
//! what was asked for is in this process's memory, whether somebody takes it or not.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{HeaderMap, Message, Subject, Subscriber};
use bytes::Bytes;
use futures::StreamExt;
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use super::connect::{SUBSCRIPTION, nanos};
use super::delivered::{Arrived, Held};
use super::link::{Link, Trouble};
use super::wire;

/// Messages of one request: well below what the subscription holds.
pub(crate) const MAX_BATCH: usize = SUBSCRIPTION / 2;
/// A request lives at most so long: one that got lost holds nobody up for longer.
const LONGEST: Duration = Duration::from_secs(5);
const SHORTEST: Duration = Duration::from_millis(20);
/// The end of a request is told by the server; it is not waited for any longer than this.
const GRACE: Duration = Duration::from_millis(500);
/// When no more comes for this long and the server doesn't say why, what came is enough.
const LULL: Duration = Duration::from_millis(20);

/// In what the server says of a message that is larger than what is left of a request's bytes.
const MAX_BYTES: &str = "MaxBytes";

/// A message that can't be given out: it is to become a dead letter.
#[derive(Debug)]
pub(crate) struct Condemned {
    pub(crate) seq: u64,
    pub(crate) deliveries: u32,
    pub(crate) reason: String,
    pub(crate) subject: String,
    pub(crate) headers: HeaderMap,
    pub(crate) payload: Bytes,
    pub(crate) reply: Subject,
}

/// How much a request may bring.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Want {
    pub(crate) messages: usize,
    /// Subjects and headers included.
    pub(crate) bytes: usize,
}

/// A request that the server may still answer.
struct Open {
    id: u64,
    left: usize,
    /// Whether it brought something.
    brought: bool,
    over: Instant,
}

pub(crate) struct Puller {
    link: Arc<Link>,
    subscriber: Subscriber,
    inbox: String,
    /// Where requests go.
    target: Subject,
    next_id: u64,
    open: Option<Open>,
    /// The next message is larger than a request may bring: it is asked for by itself.
    next_is_large: bool,
    losses: watch::Receiver<u64>,
    pub(crate) condemned: Vec<Condemned>,
}

impl Puller {
    pub(crate) async fn new(
        link: &Arc<Link>,
        stream: &str,
        consumer: &str,
    ) -> Result<Self, Trouble> {
        let inbox = link.client.new_inbox();
        let subscribing = link.client.subscribe(format!("{inbox}.*"));
        let subscriber = timeout(link.patience, subscribing)
            .await
            .map_err(|_| Trouble::TimedOut(link.patience))?
            .map_err(|error| Trouble::Client(error.to_string()))?;
        Ok(Self {
            link: Arc::clone(link),
            subscriber,
            inbox,
            target: Subject::from(format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}")),
            next_id: 0,
            open: None,
            next_is_large: false,
            losses: link.losses(),
            condemned: Vec::new(),
        })
    }

    /// Brings up to `want` messages into `held`; returns as soon as there are some, or at the
    /// deadline.
    pub(crate) async fn pull(
        &mut self,
        held: &Mutex<Held>,
        max_deliver: u32,
        want: Want,
        deadline: Instant,
    ) -> Result<(), Trouble> {
        self.hear_ready(held, max_deliver)?;
        if held.lock().waiting() > 0 || !self.condemned.is_empty() {
            return Ok(());
        }
        self.pull_more(held, max_deliver, want, deadline).await
    }

    /// The same, whatever is there already.
    pub(crate) async fn pull_more(
        &mut self,
        held: &Mutex<Held>,
        max_deliver: u32,
        want: Want,
        deadline: Instant,
    ) -> Result<(), Trouble> {
        let there = held.lock().waiting();
        if !self.link.connected_by(deadline).await {
            return Err(Trouble::Disconnected);
        }
        if self.losses.has_changed().unwrap_or(true) {
            self.losses.borrow_and_update();
            self.open = None;
        }
        let asked = Instant::now();
        if self.open.as_ref().is_none_or(|open| open.over <= asked) {
            self.ask(want, deadline).await?;
        }
        let until = self
            .open
            .as_ref()
            .map_or(deadline, |open| open.over + GRACE);
        let first = timeout_at(until.min(deadline.max(asked + SHORTEST)), self.next()).await;
        let Ok(first) = first else {
            return Ok(());
        };
        self.hear(first?, held, max_deliver)?;
        self.link
            .metrics
            .pull_seconds
            .observe(asked.elapsed().as_secs_f64());
        while self.open.is_some() && held.lock().waiting() < there + want.messages {
            let Ok(more) = timeout(LULL, self.next()).await else {
                break;
            };
            self.hear(more?, held, max_deliver)?;
        }
        Ok(())
    }

    /// Takes in what is already there.
    pub(crate) fn hear_ready(
        &mut self,
        held: &Mutex<Held>,
        max_deliver: u32,
    ) -> Result<(), Trouble> {
        while let Some(message) = self.ready() {
            self.hear(message, held, max_deliver)?;
        }
        Ok(())
    }

    /// A message that is already there.
    fn ready(&mut self) -> Option<Message> {
        use futures::FutureExt;
        self.subscriber.next().now_or_never().flatten()
    }

    async fn next(&mut self) -> Result<Message, Trouble> {
        tokio::select! {
            biased;
            message = self.subscriber.next() => message.ok_or(Trouble::Disconnected),
            _ = self.losses.changed() => {
                self.open = None;
                Err(Trouble::Lost)
            }
        }
    }

    async fn ask(&mut self, want: Want, deadline: Instant) -> Result<(), Trouble> {
        let now = Instant::now();
        let wait = deadline
            .saturating_duration_since(now)
            .clamp(SHORTEST, LONGEST);
        self.next_id += 1;
        let mut body = json!({ "expires": nanos(wait), "no_wait": true });
        let batch = match std::mem::take(&mut self.next_is_large) {
            true => 1,
            false => {
                body["max_bytes"] = want.bytes.into();
                want.messages
            }
        };
        body["batch"] = batch.into();
        let reply = format!("{}.{}", self.inbox, self.next_id);
        let asking = self.link.client.publish_with_reply(
            self.target.clone(),
            Subject::from(reply),
            body.to_string().into(),
        );
        timeout(self.link.patience, asking)
            .await
            .map_err(|_| Trouble::TimedOut(self.link.patience))?
            .map_err(|error| Trouble::Client(error.to_string()))?;
        self.open = Some(Open {
            id: self.next_id,
            left: batch,
            brought: false,
            over: now + wait,
        });
        Ok(())
    }

    /// Takes in what the server sent.
    fn hear(
        &mut self,
        message: Message,
        held: &Mutex<Held>,
        max_deliver: u32,
    ) -> Result<(), Trouble> {
        if let Some(status) = wire::status(&message) {
            return self.hear_status(status, &message);
        }
        let Some(reply) = message.reply else {
            return Ok(());
        };
        let Some(place) = wire::place(&reply) else {
            tracing::warn!(subject = %message.subject, "a message that no stream delivered");
            return Ok(());
        };
        if let Some(open) = &mut self.open {
            open.left = open.left.saturating_sub(1);
            open.brought = true;
            if open.left == 0 {
                self.open = None;
            }
        }
        held.lock().note(place);
        let meta = if place.deliveries > max_deliver {
            let had = place.deliveries - 1;
            Err(format!("delivered {had} times and never acknowledged"))
        } else {
            wire::meta(&message.subject, message.headers.as_ref())
        };
        match meta {
            Ok(meta) => held.lock().arrive(Arrived {
                place,
                reply,
                meta,
                payload: message.payload,
                leased: Instant::now(),
            }),
            Err(reason) => self.condemned.push(Condemned {
                seq: place.seq,
                deliveries: place.deliveries.min(max_deliver),
                reason,
                subject: message.subject.to_string(),
                headers: message.headers.unwrap_or_default(),
                payload: message.payload,
                reply,
            }),
        }
        Ok(())
    }

    fn hear_status(&mut self, status: u16, message: &Message) -> Result<(), Trouble> {
        let id = message.subject.rsplit('.').next();
        let current = id.and_then(|id| id.parse().ok()) == self.open.as_ref().map(|open| open.id);
        let description = message.description.as_deref().unwrap_or_default();
        match status {
            // A heartbeat.
            100 => {}
            503 => {
                self.open = None;
                return Err(Trouble::NoResponders);
            }
            404 | 408 => {
                if current {
                    self.open = None;
                }
            }
            _ => {
                tracing::debug!(status, description, "a request for messages ended");
                if current {
                    let brought = self.open.take().is_some_and(|open| open.brought);
                    // The request's bytes are used up, or never were enough.
                    self.next_is_large = !brought && description.contains(MAX_BYTES);
                }
            }
        }
        Ok(())
    }
}
