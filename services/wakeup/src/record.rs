//! What came of a wake-up, kept on the device: the last one beside its other state, each one in
//! its history.

use crate::service::Inner;
use crate::ways;
use hearth_bus::{Publish, Stream};
use hearth_proto::devicestate::v1::{GetConnectionRequestResponse, NoteWakingRequest, WakeRecord};
use hearth_proto::events::v1::{Event, WakeEnded, event::Kind};
use hearth_proto::wakeup::v1::{WakeOutcome, WakeResponse};
use hearth_types::{DeviceKey, Timestamp};
use prost::Message as _;

impl Inner {
    /// Keeps the outcome. A failure is logged only: the device was asked all the same.
    pub(crate) async fn record(
        &self,
        key: &DeviceKey,
        how: &GetConnectionRequestResponse,
        response: &WakeResponse,
    ) {
        let (outcome, way) = (response.outcome(), response.way());
        let now = self.clock.now_micros();
        let note = NoteWakingRequest {
            tenant: key.tenant.to_string(),
            device: key.device.to_string(),
            wake: Some(WakeRecord {
                outcome: ways::outcome_name(outcome),
                way: ways::name(way).to_owned(),
                detail: response.detail.clone(),
                time_us: now,
                good_way: ways::good_way(how, way, outcome),
            }),
            ..NoteWakingRequest::default()
        };
        let (noted, published) = tokio::join!(
            self.devices.note_waking(note),
            self.publish(key, response, now)
        );
        if let Err(error) = noted {
            tracing::debug!(device = %key, %error, "a wake-up's outcome can't be kept");
        }
        if let Err(error) = published {
            tracing::debug!(device = %key, %error, "a wake-up's outcome can't be published");
        }
    }

    async fn publish(
        &self,
        key: &DeviceKey,
        response: &WakeResponse,
        now: i64,
    ) -> hearth_bus::Result<()> {
        let way = match ways::name(response.way()) {
            "" => String::new(),
            way => format!("{way}: "),
        };
        let event = Event {
            tenant: key.tenant.to_string(),
            device: key.device.to_string(),
            time_us: now,
            kind: Some(Kind::WakeEnded(WakeEnded {
                accepted: response.outcome() == WakeOutcome::Accepted,
                outcome: format!("{way}{}", response.detail),
            })),
            ..Event::default()
        };
        let message = Publish {
            stream: Stream::DeviceChange,
            device: key.clone(),
            message_id: None,
            time: Timestamp::from_micros(now),
            payload: event.encode_to_vec().into(),
        };
        self.bus.publish(message).await.map(drop)
    }
}
