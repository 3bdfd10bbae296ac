//! Publishing: many messages under way at once, each answered when JetStream has it on disk.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use async_nats::{HeaderMap, Subject};
use bytes::Bytes;
use hearth_runtime::Backoff;
use tokio::sync::SemaphorePermit;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::core::Core;
use super::link::{Trouble, number};
use super::wire::{self, ApiError, PubAck};
use crate::{Ack, Error, Publish, Result};

/// Room in a message for subject and headers.
const HEADROOM: usize = 8192;
/// The longest message id, as in every backend.
const MAX_ID: usize = 255;
/// A message that isn't answered for a third of the whole time is sent once more, but not sooner
/// than this: a leader that is stopped, or was elected away with the message, never answers.
const SHORTEST_TRY: Duration = Duration::from_secs(1);
/// The first pause before a message is sent once more; doubled up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// A message as it is sent.
pub(crate) struct Outgoing {
    pub(crate) subject: String,
    pub(crate) headers: HeaderMap,
    pub(crate) payload: Bytes,
}

impl Core {
    /// Publishes an event.
    pub(crate) async fn publish(&self, message: Publish) -> Result<Ack> {
        let timer = self.link.metrics.publish_seconds.start_timer();
        let done = async {
            if message.message_id.as_ref().map_or(0, String::len) > MAX_ID {
                return Err(Error::InvalidSpec("a message's id has at most 255 bytes"));
            }
            let outgoing = Outgoing {
                subject: self.names.subject(message.stream, &message.device),
                headers: wire::headers(&message),
                payload: message.payload,
            };
            self.put(outgoing).await
        };
        let done = done.await;
        timer.observe_duration();
        match &done {
            Ok(ack) if ack.duplicate => self.counters.duplicates.fetch_add(1, Relaxed),
            Ok(_) => self.counters.published.fetch_add(1, Relaxed),
            Err(_) => {
                self.link.metrics.publish_failed.inc();
                self.counters.refused.fetch_add(1, Relaxed)
            }
        };
        done
    }

    /// Sends a message and waits until it is on disk. What gets no answer is sent again: with an id
    /// it is one message all the same, without one it may be delivered twice, as after a failure
    /// whose caller tries again.
    pub(crate) async fn put(&self, message: Outgoing) -> Result<Ack> {
        let max = self.link.client.max_payload().saturating_sub(HEADROOM);
        let len = message.payload.len();
        if len > max {
            return Err(Error::TooLarge { len, max });
        }
        let short = (self.link.patience / 3).max(SHORTEST_TRY);
        if self.is_closed() {
            return Err(Error::Closed);
        }
        let deadline = Instant::now() + self.link.patience;
        let _permit = self.permit(deadline).await?;
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        loop {
            let until = deadline.min(Instant::now() + short);
            let trouble = match self.try_put(&message, until).await {
                Ok(ack) => {
                    self.refusal.taken(&message, &self.names);
                    return Ok(ack);
                }
                Err(trouble) => trouble,
            };
            let again = trouble.is_passing()
                || matches!(
                    trouble,
                    Trouble::Disconnected | Trouble::Lost | Trouble::TimedOut(_)
                );
            let grown = backoff.has_grown();
            let next = Instant::now() + backoff.pause();
            if !again || next >= deadline {
                return Err(self.refused(&message, trouble));
            }
            self.link.metrics.publish_retries.inc();
            if matches!(trouble, Trouble::NoResponders) && grown {
                self.repair().await;
            }
            sleep_until(next).await;
        }
    }

    /// Room among the messages that are under way.
    async fn permit(&self, deadline: Instant) -> Result<SemaphorePermit<'_>> {
        match timeout_at(deadline, self.permits.acquire()).await {
            // What comes too late isn't sent: its publisher is told that it failed.
            Ok(Ok(_)) if Instant::now() >= deadline => Err(Trouble::Busy.into()),
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) => Err(Error::Closed),
            Err(_) => Err(Trouble::Busy.into()),
        }
    }

    async fn try_put(&self, message: &Outgoing, deadline: Instant) -> Result<Ack, Trouble> {
        if !self.link.connected_by(deadline).await {
            return Err(Trouble::Disconnected);
        }
        let answer = self.link.ask(
            Subject::from(message.subject.clone()),
            Some(message.headers.clone()),
            message.payload.clone(),
            deadline.saturating_duration_since(Instant::now()),
        );
        let answer: PubAck = serde_json::from_slice(&answer.await?)
            .map_err(|error| Trouble::Answer(error.to_string()))?;
        match answer.error {
            Some(error) => Err(Trouble::Refused(error)),
            None => Ok(Ack {
                seq: answer.seq,
                duplicate: answer.duplicate,
            }),
        }
    }

    /// What a refusal means to the publisher.
    fn refused(&self, message: &Outgoing, trouble: Trouble) -> Error {
        let Trouble::Refused(refusal) = &trouble else {
            return trouble.into();
        };
        if refusal.number == number::MESSAGE_TOO_LARGE {
            return Error::InvalidSpec("the NATS stream refuses messages of this size");
        }
        let by_level = is_full(refusal);
        let error = if by_level || is_out_of_storage(refusal) {
            let max = self.config.max_bytes.bytes();
            let backlog = self.levels.backlog().unwrap_or(max);
            Error::Full { backlog, max }
        } else {
            trouble.clone().into()
        };
        if !trouble.is_passing() {
            let error = error.clone();
            self.refusal.refused(message, &self.names, by_level, error);
        }
        error
    }
}

/// No room in the stream.
fn is_full(error: &ApiError) -> bool {
    error.number == number::STORE_FAILED && error.description.contains("exceeded")
}

/// No room in what the account or the server may store.
fn is_out_of_storage(error: &ApiError) -> bool {
    matches!(
        error.number,
        number::ACCOUNT_FULL | number::SERVER_FULL | number::NO_STORAGE
    )
}
