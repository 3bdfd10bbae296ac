//! What an operator should look at about a device's identity: a document for each kind, and an
//! entry in the history. Nobody is refused because of one.

use std::time::Duration;

use hearth_clients::Result;
use hearth_proto::convert::timestamp;
use hearth_proto::types::v1::IdentityAlert;
use hearth_store::{Document, DocumentKind, IndexQuery};
use hearth_types::{DeviceId, DeviceKey, Timestamp};
use prost::Message;

use crate::core::Core;
use crate::history::clip;
use hearth_runtime::Expiring;

const KIND: DocumentKind = DocumentKind::Setting;
/// The same alert of a device is written again after this time.
const AGAIN: Duration = Duration::from_secs(3600);
/// Alerts remembered, so as not to be written again.
const REMEMBERED: usize = 50_000;
/// An alert is shown for so long after it was last noticed.
const SHOWN: Duration = Duration::from_secs(30 * 24 * 3600);
/// Devices of one serial number that are looked at.
const SAME_SERIAL: usize = 10;

/// What it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Alert {
    /// Another device has the same serial number.
    DuplicateSerial,
    /// Another device came with this one's credential.
    SharedCredential,
    /// It informs from two places by turns.
    TwoPlaces,
}

impl Alert {
    const fn label(self) -> &'static str {
        match self {
            Self::DuplicateSerial => "duplicate_serial",
            Self::SharedCredential => "shared_credential",
            Self::TwoPlaces => "two_places",
        }
    }
}

/// Alerts that were written lately.
pub struct AlertCache(Expiring<(DeviceKey, Alert, String), ()>);

impl AlertCache {
    pub fn new() -> Self {
        Self(Expiring::new(REMEMBERED, AGAIN))
    }
}

fn prefix(device: &DeviceKey) -> String {
    format!("alert/{}/", device.device)
}

impl Core {
    /// Keeps an alert, and says so in the history; not again within an hour. `about` tells alerts of
    /// one kind apart.
    pub async fn alert(
        &self,
        device: &DeviceKey,
        alert: Alert,
        about: &str,
        detail: &str,
    ) -> hearth_store::Result<()> {
        let place = (device.clone(), alert, about.to_owned());
        if self.alerts.0.get(&place).is_some() {
            return Ok(());
        }
        let now = self.now();
        let kept = IdentityAlert {
            kind: alert.label().to_owned(),
            time: timestamp(now.as_micros()),
            detail: clip(detail),
        };
        let document = Document {
            key: prefix(device) + alert.label(),
            time: now,
            payload: kept.encode_to_vec(),
        };
        self.store
            .put_document(KIND, &device.tenant, document)
            .await?;
        let told = self.told(device, &format!("{}: {detail}", alert.label()));
        self.store.write(vec![told]).await?;
        self.metrics.identity_alerts.inc();
        self.alerts.0.insert(place, ());
        Ok(())
    }

    /// A device's alerts, the last noticed first.
    pub async fn alerts_of(&self, device: &DeviceKey) -> Result<Vec<IdentityAlert>> {
        let since = self.now().as_micros() - SHOWN.as_micros() as i64;
        let found = self
            .store
            .documents(KIND, &device.tenant, &prefix(device), None, 16)
            .await?;
        let mut alerts: Vec<(Timestamp, IdentityAlert)> = found
            .into_iter()
            .filter(|document| document.time.as_micros() > since)
            .filter_map(|document| {
                let alert = IdentityAlert::decode(document.payload.as_slice()).ok()?;
                Some((document.time, alert))
            })
            .collect();
        alerts.sort_by_key(|(time, _)| std::cmp::Reverse(*time));
        Ok(alerts.into_iter().map(|(_, alert)| alert).collect())
    }

    pub(super) async fn forget_alerts(&self, device: &DeviceKey) -> Result<()> {
        let found = self
            .store
            .documents(KIND, &device.tenant, &prefix(device), None, 16)
            .await?;
        for document in found {
            self.store
                .delete_document(KIND, &device.tenant, &document.key)
                .await?;
        }
        Ok(())
    }

    /// A device informs for the first time: whether others have its serial number.
    pub async fn look_for_duplicates(
        &self,
        device: &DeviceKey,
        serial: &str,
    ) -> hearth_store::Result<()> {
        if serial.is_empty() {
            return Ok(());
        }
        let query = IndexQuery {
            tenant: device.tenant.clone(),
            attribute: "serial_number".to_owned(),
            value: crate::columns::indexed("serial_number", serial),
            prefix: false,
            after: None,
            limit: SAME_SERIAL,
        };
        let found = self.store.search(&query).await?;
        let others: Vec<DeviceId> = found
            .into_iter()
            .map(|(_, id)| id)
            .filter(|id| *id != device.device)
            .collect();
        for other in others {
            let (oui, ..) = device.device.parts();
            let (other_oui, ..) = other.parts();
            let how = match oui == other_oui {
                true => {
                    "the same OUI and serial number, another product class: the device may have changed its identity"
                }
                false => "the same serial number with another OUI",
            };
            let detail = format!("{other} has {how}");
            self.alert(device, Alert::DuplicateSerial, other.as_str(), &detail)
                .await?;
            let detail = format!("{} has {how}", device.device);
            let other = DeviceKey::new(device.tenant.clone(), other);
            let about = device.device.as_str();
            self.alert(&other, Alert::DuplicateSerial, about, &detail)
                .await?;
        }
        Ok(())
    }
}
