//! Events to the bus. What returns `Ok` is on disk: only then is a CPE told that it was heard.

use hearth_auth::seal::parameter_place;
use hearth_bus::{Ack, Error, Publish, Stream};
use hearth_proto::events::v1 as ev;
use hearth_proto::pieces::pieces;
use hearth_proto::types::v1::ParameterValue;
use hearth_types::{DeviceKey, Timestamp, is_secret_name};
use prost::Message as _;

use tracing::Instrument as _;

use crate::edge::Edge;
use crate::refusal::Refusal;
use crate::trace::publish_span;

/// Where an event comes from.
pub(crate) struct Source<'a> {
    pub key: &'a DeviceKey,
    pub session: String,
    /// µs since 1970: when the CPE's message came.
    pub time: i64,
}

impl Edge {
    /// Publishes an event and gives its content back, so that large ones are moved, not copied. One
    /// that is larger than the bus takes goes in pieces.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`]: the event was not acknowledged, and nothing may be confirmed.
    /// [`Refusal::Oversize`]: it never will be.
    pub(crate) async fn publish(
        &self,
        stream: Stream,
        source: Source<'_>,
        message_id: Option<String>,
        kind: ev::event::Kind,
    ) -> Result<Option<ev::event::Kind>, Refusal> {
        let event = ev::Event {
            tenant: source.key.tenant.as_str().to_owned(),
            device: source.key.device.as_str().to_owned(),
            time_us: source.time,
            session: source.session,
            kind: Some(kind),
        };
        let unavailable = |error: Error| Refusal::Unavailable {
            part: "bus",
            why: error.to_string(),
        };
        match self.put(stream, source.key, message_id, &event).await {
            Ok(_) => return Ok(event.kind),
            Err(Error::TooLarge { len, max }) => {
                let Some(pieces) = pieces(&event, max) else {
                    return Err(Refusal::Oversize(format!(
                        "{len} bytes for the event bus, which takes {max}"
                    )));
                };
                self.metrics.events_cut.inc();
                for (index, piece) in pieces.into_iter().enumerate() {
                    // Nobody else publishes of this session at this time.
                    let id = format!("{}/{}#{index}", piece.session, piece.time_us);
                    let put = self.put(stream, source.key, Some(id), &piece).await;
                    put.map_err(unavailable)?;
                }
            }
            Err(error) => return Err(unavailable(error)),
        }
        Ok(event.kind)
    }

    async fn put(
        &self,
        stream: Stream,
        key: &DeviceKey,
        message_id: Option<String>,
        event: &ev::Event,
    ) -> Result<Ack, Error> {
        let message = Publish {
            stream,
            device: key.clone(),
            message_id,
            time: Timestamp::from_micros(event.time_us),
            payload: event.encode_to_vec().into(),
        };
        let published = self.bus.publish(message);
        published.instrument(publish_span(stream)).await
    }

    /// Seals the secrets among values: they rest in the bus and in the store as they leave here.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`]: they can't be sealed, and don't leave in plain text.
    pub(crate) fn seal_secrets(
        &self,
        key: &DeviceKey,
        values: &mut [ParameterValue],
    ) -> Result<(), Refusal> {
        for value in values
            .iter_mut()
            .filter(|value| is_secret_name(&value.path))
        {
            // An empty value is what CPEs give for a secret that they hide: nothing to seal.
            if value.value.is_empty() {
                continue;
            }
            let sealed = self
                .at_rest
                .seal(&parameter_place(key, &value.path), value.value.as_bytes());
            value.sealed = sealed.map_err(|error| Refusal::Unavailable {
                part: "sealer",
                why: error.to_string(),
            })?;
            value.value = String::new();
        }
        Ok(())
    }
}
