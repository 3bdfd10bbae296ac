//! How a message looks on NATS: its subject, its headers, and what comes back.

use std::fmt;

use async_nats::{HeaderMap, HeaderName, HeaderValue, Message as NatsMessage};
use hearth_telemetry::trace::TRACEPARENT;
use hearth_types::{DeviceId, DeviceKey, TenantId, Timestamp};
use serde::Deserialize;

use crate::{ConsumerSpec, PARTITIONS, Publish, Stream, partition};

const DEVICE: HeaderName = HeaderName::from_static("Hearth-Device");
const TIME: HeaderName = HeaderName::from_static("Hearth-Time");
/// The number of a message before it was published once more.
pub(crate) const FIRST_SEQ: HeaderName = HeaderName::from_static("Hearth-First-Seq");

/// The names that a prefix gives.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    prefix: String,
}

impl Names {
    pub(crate) fn new(prefix: &str) -> Self {
        let prefix = prefix.to_owned();
        Self { prefix }
    }

    /// The stream of all messages that a consumer still needs.
    pub(crate) fn events_stream(&self) -> String {
        format!("{}-events", self.prefix)
    }

    /// The stream of dead letters.
    pub(crate) fn dead_stream(&self) -> String {
        format!("{}-dead", self.prefix)
    }

    /// All subjects of messages.
    pub(crate) fn all_events(&self) -> String {
        format!("{}.v1.>", self.prefix)
    }

    /// All subjects of dead letters.
    pub(crate) fn all_dead(&self) -> String {
        format!("{}.dead.v1.>", self.prefix)
    }

    /// Whether a subject is a message's, and not a dead letter's.
    pub(crate) fn is_event(&self, subject: &str) -> bool {
        let rest = subject.strip_prefix(self.prefix.as_str());
        rest.is_some_and(|rest| rest.starts_with(".v1."))
    }

    pub(crate) fn dead(&self, consumer: &str) -> String {
        format!("{}.dead.v1.{consumer}", self.prefix)
    }

    /// Where the server shows each message once it has it, for watchers.
    pub(crate) fn all_tail(&self) -> String {
        format!("{}.tail.v1.>", self.prefix)
    }

    /// `{prefix}.v1.{kind}.{tenant}.{partition}`: [`crate::subject`] with another first word.
    pub(crate) fn subject(&self, stream: Stream, device: &DeviceKey) -> String {
        let partition = partition(&device.device, PARTITIONS);
        format!("{}.v1.{stream}.{}.{partition}", self.prefix, device.tenant)
    }

    /// The subjects that a consumer sees.
    pub(crate) fn filters(&self, spec: &ConsumerSpec) -> Vec<String> {
        let mut streams = spec.streams.clone();
        streams.sort_unstable();
        streams.dedup();
        let kinds: Vec<String> = match spec.part {
            // A part has several partitions: one subject for each, not one for each kind of each.
            Some(_) if streams.len() == Stream::ALL.len() => vec!["*".to_owned()],
            _ => streams.iter().map(Stream::to_string).collect(),
        };
        let partitions: Vec<String> = match spec.part {
            Some(part) => part.partitions().map(|p| p.to_string()).collect(),
            None => vec!["*".to_owned()],
        };
        let subjects = kinds.iter().flat_map(|kind| {
            let subject = move |p: &String| format!("{}.v1.{kind}.*.{p}", self.prefix);
            partitions.iter().map(subject)
        });
        subjects.collect()
    }
}

/// A message's headers.
pub(crate) fn headers(message: &Publish) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Some(id) = &message.message_id {
        let id = format!("{}/{}", message.stream, clean(id));
        headers.insert(async_nats::header::NATS_MESSAGE_ID, id);
    }
    headers.insert(DEVICE, message.device.device.as_str());
    headers.insert(TIME, message.time.as_micros().to_string());
    if let Some(context) = hearth_telemetry::trace::traceparent() {
        headers.insert(TRACEPARENT, context);
    }
    headers
}

/// What a message is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) stream: Stream,
    pub(crate) device: DeviceKey,
    pub(crate) time: Timestamp,
    /// The number that it had before it was published once more.
    pub(crate) first_seq: Option<u64>,
    /// The span in which it was published.
    pub(crate) traceparent: Option<String>,
}

/// Reads subject and headers.
///
/// # Errors
/// Why it is none of ours.
pub(crate) fn meta(subject: &str, headers: Option<&HeaderMap>) -> Result<Meta, String> {
    let (stream, tenant) = of_subject(subject)?;
    let headers = headers.ok_or("a message without headers")?;
    let header = |name: HeaderName| {
        let value = headers.get(name.clone()).map(HeaderValue::as_str);
        value.ok_or_else(|| format!("a message without {name}"))
    };
    let device: DeviceId = header(DEVICE)?
        .parse()
        .map_err(|error| format!("{error}"))?;
    let time = header(TIME)?;
    let time = time.parse().map_err(|_| "a message with a bad time")?;
    Ok(Meta {
        stream,
        device: DeviceKey::new(tenant, device),
        time: Timestamp::from_micros(time),
        first_seq: headers
            .get(FIRST_SEQ)
            .and_then(|seq| seq.as_str().parse().ok()),
        traceparent: headers
            .get(TRACEPARENT)
            .map(|context| clean(context.as_str())),
    })
}

/// What can be told of a message whose headers can't be read: it is listed among the dead letters
/// under a device that can't exist.
pub(crate) fn meta_of_unreadable(subject: &str) -> Option<Meta> {
    let (stream, tenant) = of_subject(subject).unwrap_or((Stream::Inform, TenantId::default()));
    let device = DeviceId::new("000000", "", "unreadable").ok()?;
    Some(Meta {
        stream,
        device: DeviceKey::new(tenant, device),
        time: Timestamp::ZERO,
        first_seq: None,
        traceparent: None,
    })
}

/// Kind and tenant: the third-last and the second-last word but one.
fn of_subject(subject: &str) -> Result<(Stream, TenantId), String> {
    let mut words = subject.rsplit('.').skip(1);
    let tenant = words.next().unwrap_or_default();
    let kind = words.next().unwrap_or_default();
    let tenant = tenant.parse().map_err(|error| format!("{error}"))?;
    Ok((kind.parse()?, tenant))
}

/// Where a delivered message stands, out of its reply subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// Its number in the stream.
    pub(crate) seq: u64,
    /// How often this consumer has been given it.
    pub(crate) deliveries: u32,
    /// Its number among all that this consumer was given, from 1, redeliveries included.
    pub(crate) turn: u64,
}

/// Reads `$JS.ACK.{stream}.{consumer}.{deliveries}.{seq}.{turn}.{time}.{pending}`, or the newer form
/// with two words for domain and account before the stream.
pub(crate) fn place(reply: &str) -> Option<Place> {
    let words: Vec<&str> = reply.split('.').collect();
    let first = match words.len() {
        9 => 4,
        11.. => 6,
        _ => return None,
    };
    if words[..2] != ["$JS", "ACK"] {
        return None;
    }
    Some(Place {
        deliveries: words[first].parse().ok()?,
        seq: words[first + 1].parse().ok()?,
        turn: words[first + 2].parse().ok()?,
    })
}

/// The answer to a published message.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct PubAck {
    #[serde(default)]
    pub(crate) seq: u64,
    #[serde(default)]
    pub(crate) duplicate: bool,
    pub(crate) error: Option<ApiError>,
}

/// What JetStream answers when it can't do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct ApiError {
    #[serde(default)]
    pub(crate) code: u32,
    #[serde(default, rename = "err_code")]
    pub(crate) number: u32,
    #[serde(default)]
    pub(crate) description: String,
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.description, self.number)
    }
}

impl std::error::Error for ApiError {}

/// A status message of the server: 404 no messages, 408 a request's time is over, 409 conflict,
/// 503 nobody answers.
pub(crate) fn status(message: &NatsMessage) -> Option<u16> {
    message.status.map(|status| status.as_u16())
}

/// A text that a header can carry.
pub(crate) fn clean(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(1024)
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bytes::Bytes;

    use super::*;

    fn message() -> Publish {
        let device = DeviceId::new("00AABB", "A.B C", "S-1").unwrap();
        Publish {
            stream: Stream::Values,
            device: DeviceKey::new("acme".parse().unwrap(), device),
            message_id: Some("a\r\nb".into()),
            time: Timestamp::from_micros(-5),
            payload: Bytes::new(),
        }
    }

    #[test]
    fn a_message_is_read_as_it_was_written() {
        let names = Names::new("hearth");
        let message = message();
        let subject = names.subject(message.stream, &message.device);
        let own = crate::subject(
            message.stream,
            &message.device.tenant,
            partition(&message.device.device, PARTITIONS),
        );
        assert_eq!(subject, own);
        let headers = headers(&message);
        let id = headers.get(async_nats::header::NATS_MESSAGE_ID).unwrap();
        assert_eq!(id.as_str(), "values/a  b");
        let meta = meta(&subject, Some(&headers)).unwrap();
        assert_eq!(meta.device, message.device);
        assert_eq!((meta.stream, meta.time), (message.stream, message.time));
    }

    #[test]
    fn what_is_not_ours_is_told() {
        assert!(meta("hearth.v1.inform.acme.1", None).is_err());
        assert!(meta("hearth.v1.nothing.acme.1", Some(&HeaderMap::new())).is_err());
        assert!(meta("x", Some(&headers(&message()))).is_err());
        let known = meta_of_unreadable("hearth.v1.values.acme.1").unwrap();
        assert_eq!(known.stream, Stream::Values);
        assert!(meta_of_unreadable("").is_some());
    }

    #[test]
    fn places_are_read_from_both_forms() {
        let place_of = |text| place(text).map(|p| (p.seq, p.deliveries, p.turn));
        let old = "$JS.ACK.hearth-events.c1.2.17.99.1795374185717838924.4";
        assert_eq!(place_of(old), Some((17, 2, 99)));
        let new = "$JS.ACK._.hash.hearth-events.c1.3.18.99.1795374185717838924.4.token";
        assert_eq!(place_of(new), Some((18, 3, 99)));
        assert_eq!(place_of("_INBOX.a.b"), None);
        assert_eq!(place_of("$JS.ACK.a.b.c.d.e.f.g"), None);
    }

    #[test]
    fn answers_are_read() {
        let ack: PubAck = serde_json::from_str(r#"{"stream":"x","seq":7}"#).unwrap();
        assert_eq!((ack.seq, ack.duplicate, ack.error), (7, false, None));
        let text = r#"{"error":{"code":503,"err_code":10077,"description":"maximum bytes exceeded"},"stream":"x","seq":0}"#;
        let ack: PubAck = serde_json::from_str(text).unwrap();
        assert_eq!(
            ack.error.unwrap().to_string(),
            "maximum bytes exceeded (10077)"
        );
    }
}
