//! Dead letters: a stream of their own, whose numbers are the letters' ids.
//!
//! A letter is the message as it was, headers included, with headers that tell whose it was and
//! why it died. Its time is the server's.

use async_nats::header::NATS_MESSAGE_ID;
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::RawMessageErrorKind;
use async_nats::{HeaderMap, HeaderName, HeaderValue};
use hearth_types::Timestamp;
use serde_json::{Value, json};

use super::core::Core;
use super::link::{Trouble, number};
use super::publisher::Outgoing;
use super::pull::Condemned;
use super::wire;
use crate::{Ack, DeadLetter, DeadLetterPage, Delivery, Error, Result};

const CONSUMER: HeaderName = HeaderName::from_static("Hearth-Dead-Consumer");
const REASON: HeaderName = HeaderName::from_static("Hearth-Dead-Reason");
const SUBJECT: HeaderName = HeaderName::from_static("Hearth-Dead-Subject");
const SEQ: HeaderName = HeaderName::from_static("Hearth-Dead-Seq");
const DELIVERIES: HeaderName = HeaderName::from_static("Hearth-Dead-Deliveries");
const OWN: &str = "Hearth-Dead-";

impl Core {
    /// Makes a dead letter of a message; it is on disk when this returns.
    pub(crate) async fn bury(&self, consumer: &str, condemned: &Condemned) -> Result<()> {
        let mut headers = without(&condemned.headers, "Nats-");
        // Written twice (its consumer died in between) it is one letter.
        headers.insert(NATS_MESSAGE_ID, format!("{consumer}/{}", condemned.seq));
        headers.insert(CONSUMER, consumer);
        headers.insert(REASON, wire::clean(&condemned.reason));
        headers.insert(SUBJECT, condemned.subject.as_str());
        headers.insert(SEQ, condemned.seq.to_string());
        headers.insert(DELIVERIES, condemned.deliveries.to_string());
        let letter = Outgoing {
            subject: self.names.dead(consumer),
            headers,
            payload: condemned.payload.clone(),
        };
        self.put(letter).await?;
        self.levels.forget();
        tracing::warn!(
            consumer,
            seq = condemned.seq,
            reason = condemned.reason,
            "a message became a dead letter"
        );
        Ok(())
    }

    pub(crate) async fn dead_letters(
        &self,
        after: Option<u64>,
        limit: usize,
    ) -> Result<DeadLetterPage> {
        let limit = limit.max(1);
        let mut letters = Vec::new();
        let mut from = after.map_or(1, |id| id.saturating_add(1));
        while let Some(message) = self.raw(&self.names.dead_stream(), from, Some(">")).await? {
            if letters.len() == limit {
                let next = letters.last().map(|letter: &DeadLetter| letter.id);
                return Ok(DeadLetterPage { letters, next });
            }
            from = message.sequence + 1;
            letters.extend(letter(message));
        }
        Ok(DeadLetterPage {
            letters,
            next: None,
        })
    }

    pub(crate) async fn replay_dead_letter(&self, id: u64) -> Result<Ack> {
        let letter = self.raw(&self.names.dead_stream(), id, None).await?;
        let letter = letter.ok_or(Error::NotFound("dead letter"))?;
        let Some(subject) = letter.headers.get(SUBJECT).map(HeaderValue::as_str) else {
            let what = format!("dead letter {id} does not say where it came from");
            return Err(Error::Corrupt(what));
        };
        let subject = subject.to_owned();
        let mut headers = without(&without(&letter.headers, "Nats-"), OWN);
        // Replayed twice at the same moment, it is published once.
        let died = letter.time.unix_timestamp_nanos();
        headers.insert(NATS_MESSAGE_ID, format!("dead-letter/{id}/{died}"));
        let again = Outgoing {
            subject,
            headers,
            payload: letter.payload,
        };
        let ack = self.put(again).await?;
        match self.delete_dead_letter(id).await {
            // Someone else replayed it at the same moment.
            Ok(()) | Err(Error::NotFound(_)) => Ok(ack),
            Err(error) => Err(error),
        }
    }

    pub(crate) async fn delete_dead_letter(&self, id: u64) -> Result<()> {
        let stream = self.names.dead_stream();
        if self.raw(&stream, id, None).await?.is_none() {
            return Err(Error::NotFound("dead letter"));
        }
        let deleted = self.delete_message(&stream, id).await;
        self.levels.forget();
        match deleted? {
            true => Ok(()),
            false => Err(Error::NotFound("dead letter")),
        }
    }

    /// Deletes a message out of a stream; false: it isn't there.
    pub(crate) async fn delete_message(&self, stream: &str, seq: u64) -> Result<bool, Trouble> {
        let what = format!("STREAM.MSG.DELETE.{stream}");
        // Not overwritten on disk: that would cost as much as writing it did.
        let asked = json!({ "seq": seq, "no_erase": true });
        match self.link.api::<Value>(what, &asked).await {
            Ok(_) => Ok(true),
            Err(trouble) => match trouble.number() {
                Some(number::NO_MESSAGE | number::SEQUENCE_NOT_FOUND | number::DELETE_FAILED) => {
                    Ok(false)
                }
                _ => Err(trouble),
            },
        }
    }

    /// A message out of a stream: number `seq`, or the first from there on whose subject `next` fits.
    pub(crate) async fn raw(
        &self,
        stream: &str,
        seq: u64,
        next: Option<&str>,
    ) -> Result<Option<StreamMessage>> {
        if self.is_closed() {
            return Err(Error::Closed);
        }
        if !self.link.is_connected() {
            return Err(Trouble::Disconnected.into());
        }
        let client = |error: String| Error::from(Trouble::Client(error));
        let stream = self.link.context.get_stream_no_info(stream).await;
        let stream = stream.map_err(|error| client(error.to_string()))?;
        let mut asked = stream.raw_message_builder().sequence(seq);
        if let Some(filter) = next {
            asked = asked.next_by_subject(filter);
        }
        let timer = self.link.metrics.api_seconds.start_timer();
        let message = asked.send().await;
        timer.observe_duration();
        match message {
            Ok(message) => Ok(Some(message)),
            Err(error) => match error.kind() {
                RawMessageErrorKind::NoMessageFound => Ok(None),
                _ => Err(client(error.to_string())),
            },
        }
    }
}

/// The letter in a message of the stream. What someone else put there is skipped.
fn letter(message: StreamMessage) -> Option<DeadLetter> {
    let header = |name: HeaderName| message.headers.get(name).map(HeaderValue::as_str);
    let subject = header(SUBJECT)?;
    let meta = match wire::meta(subject, Some(&message.headers)) {
        Ok(meta) => meta,
        Err(_) => wire::meta_of_unreadable(subject)?,
    };
    let seq = header(SEQ)?.parse().ok()?;
    let micros = message.time.unix_timestamp_nanos() / 1000;
    Some(DeadLetter {
        id: message.sequence,
        consumer: header(CONSUMER)?.to_owned(),
        reason: header(REASON)?.to_owned(),
        died: Timestamp::from_micros(i64::try_from(micros).unwrap_or(i64::MAX)),
        message: Delivery {
            seq,
            first_seq: meta.first_seq.unwrap_or(seq),
            deliveries: header(DELIVERIES)?.parse().ok()?,
            stream: meta.stream,
            device: meta.device,
            time: meta.time,
            payload: message.payload,
            traceparent: meta.traceparent,
        },
    })
}

/// The headers whose names don't begin so.
pub(crate) fn without(headers: &HeaderMap, prefix: &str) -> HeaderMap {
    let mut kept = HeaderMap::new();
    for (name, values) in headers.iter() {
        let text: &str = name.as_ref();
        if text.starts_with(prefix) {
            continue;
        }
        for value in values {
            kept.append(name.clone(), value.clone());
        }
    }
    kept
}
