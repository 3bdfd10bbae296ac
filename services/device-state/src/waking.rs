//! How a device is woken, and what came of it: what the wakeup role asks before it wakes one, and
//! what it notes.
//!
//! What is noted are documents of the kind `Setting`, one for each concern, so that replicas which
//! note at the same time overwrite only what they mean: `waking/{device}/binding`, `…/udp` and
//! `…/wake`. They don't go over the bus: the next replica must see them at once.

use hearth_auth::ExposeSecret;
use hearth_clients::{Error, Result};
use hearth_proto::devicestate::v1 as ds;
use hearth_store::{DeviceColumn, DeviceRow, Document, DocumentKind};
use hearth_types::{DeviceKey, Timestamp};
use prost::Message;

use crate::columns;
use crate::core::Core;
use crate::errors::from_seal;

const KIND: DocumentKind = DocumentKind::Setting;
const BINDING: &str = "binding";
const UDP: &str = "udp";
const WAKE: &str = "wake";

/// The longest address, replica and text that are kept, in bytes.
const MAX_TEXT: usize = 1024;

/// Parameters below `ManagementServer.` that tell how a device is woken.
const PARAMETERS: [&str; 5] = [
    "UDPConnectionRequestAddress",
    "NATDetected",
    "ConnReqJabberID",
    "STUNUsername",
    "STUNPassword",
];

/// What was noted of a device.
#[derive(Default)]
pub struct Noted {
    pub binding: Option<ds::NatBinding>,
    pub udp_request: Option<ds::UdpRequest>,
    pub wake: Option<ds::WakeRecord>,
}

/// The beginning of a device's keys. A device id has no slash.
fn prefix(device: &DeviceKey) -> String {
    format!("waking/{}/", device.device)
}

impl Core {
    pub async fn note_waking(
        &self,
        request: ds::NoteWakingRequest,
    ) -> Result<ds::NoteWakingResponse> {
        let device = DeviceKey::parse(&request.tenant, &request.device)?;
        if self.row(&device).await?.is_none() {
            return Err(crate::queries::no_device(&device));
        }
        let now = self.now();
        let notes = [
            request
                .binding
                .map(|note| (BINDING, note.time_us, note.encode_to_vec())),
            // The greater `ts` stays, whatever the clocks of replicas say.
            request
                .udp_request
                .map(|note| (UDP, i64::from(note.ts) * 1_000_000, note.encode_to_vec())),
            request
                .wake
                .map(|note| (WAKE, note.time_us, note.encode_to_vec())),
        ];
        for (name, time, payload) in notes.into_iter().flatten() {
            if payload.len() > MAX_TEXT * 3 {
                return Err(Error::invalid(name, "expected at most 1024 bytes"));
            }
            let time = if time > 0 {
                Timestamp::from_micros(time)
            } else {
                now
            };
            let document = Document {
                key: format!("{}{name}", prefix(&device)),
                time,
                payload,
            };
            self.store
                .put_document(KIND, &device.tenant, document)
                .await?;
        }
        Ok(ds::NoteWakingResponse {})
    }

    /// What was noted of a device.
    pub async fn noted(&self, device: &DeviceKey) -> Result<Noted> {
        let prefix = prefix(device);
        let found = self.store.documents(KIND, &device.tenant, &prefix, None, 8);
        let mut noted = Noted::default();
        for document in found.await? {
            // One that a newer version wrote otherwise is as good as none.
            let payload = document.payload.as_slice();
            match document.key.strip_prefix(&prefix) {
                Some(BINDING) => noted.binding = ds::NatBinding::decode(payload).ok(),
                Some(UDP) => noted.udp_request = ds::UdpRequest::decode(payload).ok(),
                Some(WAKE) => noted.wake = ds::WakeRecord::decode(payload).ok(),
                _ => {}
            }
        }
        Ok(noted)
    }

    /// The device is deleted: so is what was noted.
    pub async fn forget_noted(&self, device: &DeviceKey) -> Result<()> {
        for name in [BINDING, UDP, WAKE] {
            let key = format!("{}{name}", prefix(device));
            self.store
                .delete_document(KIND, &device.tenant, &key)
                .await?;
        }
        Ok(())
    }

    /// Adds to the answer what else than HTTP wakes the device.
    pub async fn other_ways(
        &self,
        device: &DeviceKey,
        row: &DeviceRow,
        answer: ds::GetConnectionRequestResponse,
    ) -> Result<ds::GetConnectionRequestResponse> {
        let waits = |overlay: &crate::overlay::Overlay| {
            let pending = overlay.device(device);
            pending.is_some_and(|pending| pending.has_parameters())
        };
        self.settle(waits).await?;
        let root = columns::text(row, DeviceColumn::Root);
        let paths = PARAMETERS.map(|name| format!("{root}ManagementServer.{name}"));
        let rows = self.store.parameters_by_path(device, &paths).await?;
        let mut values = rows.into_iter().map(|row| row.and_then(|row| row.value));
        let mut next = || values.next().flatten();
        let mut text = || next().map(|(text, ..)| text).unwrap_or_default();
        let [udp_address, nat_detected, jabber_id, stun_username] =
            [text(), text(), text(), text()];
        let sealed = next().map(|(_, _, sealed, _)| sealed).unwrap_or_default();
        let stun_password = match sealed.is_empty() {
            true => String::new(),
            false => {
                let opened = self.secrets.open(device, &paths[4], &sealed);
                opened.map_err(from_seal)?.expose_secret().to_owned()
            }
        };
        let noted = self.noted(device).await?;
        Ok(ds::GetConnectionRequestResponse {
            udp_address,
            nat_detected: matches!(
                nat_detected.trim().to_ascii_lowercase().as_str(),
                "1" | "true"
            ),
            jabber_id,
            stun_username,
            stun_password,
            binding: noted.binding,
            udp_request: noted.udp_request,
            last_wake: noted.wake,
            last_inform_us: columns::int(row, DeviceColumn::LastInform),
            ..answer
        })
    }
}
