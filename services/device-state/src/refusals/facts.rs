//! What may explain why a device doesn't connect, beside what is known of the device itself.

use std::cmp::Reverse;

use hearth_clients::Result;
use hearth_proto::devicestate::v1 as ds;
use hearth_store::DeviceColumn;
use hearth_types::DeviceKey;

use crate::columns;
use crate::core::Core;

/// Refusals of each sort.
const SHOWN: usize = 16;
/// A serial number that is part of a user name by chance is shorter than this.
const TELLING: usize = 5;

impl Core {
    pub async fn get_device_facts(
        &self,
        request: ds::GetDeviceFactsRequest,
    ) -> Result<ds::GetDeviceFactsResponse> {
        let device = DeviceKey::parse(&request.tenant, &request.device)?;
        let stance = self.stance(&device).await?.unwrap_or_default();
        let heard = self.heard(&device).await?;
        let row = self.row(&device).await?.unwrap_or_default();
        let address = columns::text(&row, DeviceColumn::RemoteAddress);
        let (username, username_used_us) = self.own_user(&device).await?;
        let (refusals, near) = self.refusals_of(&device, address, &username).await?;
        let may_onboard = self.may_onboard(&device.tenant).await?;
        let mut facts = ds::GetDeviceFactsResponse {
            stance_reason: stance.reason.clone(),
            stance_time_us: stance.time,
            refusals,
            near,
            username,
            username_used_us,
            may_onboard,
            has_connection_request_login: self.has_login(&device).await?,
            clock_offset_seconds: (heard.clock_offset != 0).then_some(heard.clock_offset),
            clock_time_us: heard.clock_time,
            ..ds::GetDeviceFactsResponse::default()
        };
        facts.set_stance(stance.state());
        Ok(facts)
    }

    /// Refusals that concern a device, and those that may, the last ones first.
    async fn refusals_of(
        &self,
        device: &DeviceKey,
        address: &str,
        username: &str,
    ) -> Result<(Vec<ds::Refusal>, Vec<ds::Refusal>)> {
        let id = device.device.as_str();
        let (_, _, serial) = device.device.parts();
        let mut all = self.all_refusals(&device.tenant).await?;
        all.sort_by_key(|refusal| Reverse(refusal.last_time_us));
        let (of, mut others): (Vec<_>, Vec<_>) = all.into_iter().partition(|refusal| {
            refusal.device == id || (!username.is_empty() && refusal.user == username)
        });
        others.retain(|refusal| {
            let named =
                |text: &str| text == id || (serial.len() >= TELLING && text.contains(&serial));
            refusal.device.is_empty()
                && (named(&refusal.user)
                    || named(&refusal.certificate)
                    || (!address.is_empty() && refusal.address == address))
        });
        let cut = |mut some: Vec<ds::Refusal>| {
            some.truncate(SHOWN);
            some
        };
        Ok((cut(of), cut(others)))
    }
}
