//! One device: reading it, its tags, its end. And how many there are.

use hearth_bus::{Publish, Stream};
use hearth_clients::{Error, Result};
use hearth_proto::{devicestate::v1 as ds, events::v1 as ev};
use hearth_types::{DeviceKey, TenantId};
use prost::Message as _;

use super::no_device;
use crate::core::Core;
use crate::memory::About;

impl Core {
    pub async fn get_device(&self, request: ds::GetDeviceRequest) -> Result<ds::GetDeviceResponse> {
        let device = DeviceKey::parse(&request.tenant, &request.device)?;
        let row = self.row(&device).await?;
        let row = row.ok_or_else(|| no_device(&device))?;
        let noted = self.noted(&device).await?;
        let policy = self.policy(&device.tenant).await?;
        let heard = self.heard(&device).await?;
        let (oui, product_class, _) = device.device.parts();
        let tenant = device.tenant.clone();
        let learned = self.learned(tenant, &oui, &product_class).await?;
        let device = Some(ds::Device {
            profile: self.profile_of(&device, "", "").await?,
            learned: (learned != ds::Model::default()).then_some(learned),
            last_wake: noted.wake,
            nat_binding: noted.binding,
            proof: heard.proof,
            line: heard.line,
            identity_alerts: self.alerts_of(&device).await?,
            ..self.with_state(&device, &row, &policy).await?
        });
        Ok(ds::GetDeviceResponse { device })
    }

    pub async fn count_devices(
        &self,
        request: ds::CountDevicesRequest,
    ) -> Result<ds::CountDevicesResponse> {
        let tenant: TenantId = request.tenant.parse()?;
        self.settle(|overlay| overlay.changes_lists()).await?;
        let total = self.store.device_count(&tenant).await?;
        let online = self.online_count(&tenant).min(total);
        Ok(ds::CountDevicesResponse { total, online })
    }

    pub async fn set_tags(&self, request: ds::SetTagsRequest) -> Result<ds::SetTagsResponse> {
        let device = DeviceKey::parse(&request.tenant, &request.device)?;
        let row = self.change_tags(&device, &request).await?;
        let policy = self.policy(&device.tenant).await?;
        let device = Some(self.with_state(&device, &row, &policy).await?);
        Ok(ds::SetTagsResponse { device })
    }

    pub async fn delete_device(
        &self,
        request: ds::DeleteDeviceRequest,
    ) -> Result<ds::DeleteDeviceResponse> {
        let device = DeviceKey::parse(&request.tenant, &request.device)?;
        let _edit = self.edit.lock().await;
        let mut turn = self.turn.lock().await;
        // What waits must not come back after the end.
        self.flush(&mut turn).await?;
        let was_there = self.row(&device).await?.is_some();
        // From before the row goes: nobody may go on believing that it is there.
        let _changing = self.changing(&[About::device(&device)]).await?;
        if was_there && self.parts.is_shared() {
            // Who works on the device must forget it, or it would go on writing only what changes.
            self.publish_deleted(&device).await?;
        }
        // Also of one that is gone: an earlier call may have been cut off in the middle.
        self.forget_noted(&device).await?;
        self.forget_captured(&device).await?;
        let deleted = self.store.delete_device(&device).await;
        self.cache.forget(&device);
        self.online_of(&device).lock().forget(&device);
        deleted?;
        self.forget_refusals(&device).await?;
        self.forget_life(&device).await?;
        match was_there {
            true => Ok(ds::DeleteDeviceResponse {}),
            false => Err(no_device(&device)),
        }
    }

    async fn publish_deleted(&self, device: &DeviceKey) -> Result<()> {
        let time = self.now();
        let event = ev::Event {
            tenant: device.tenant.as_str().to_owned(),
            device: device.device.as_str().to_owned(),
            time_us: time.as_micros(),
            kind: Some(ev::event::Kind::DeviceDeleted(ev::DeviceDeleted {})),
            ..ev::Event::default()
        };
        let message = Publish {
            stream: Stream::DeviceChange,
            device: device.clone(),
            message_id: None,
            time,
            payload: event.encode_to_vec().into(),
        };
        let published = self.bus.publish(message).await;
        published.map(drop).map_err(|error| {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "an event can't be published"
            );
            Error::unavailable("the event bus can't be used now: nothing was deleted; try again")
        })
    }
}
