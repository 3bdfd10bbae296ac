//! What captures hold: turns that come, and the end of them.

use hearth_clients::Result;
use hearth_proto::convert::micros;
use hearth_proto::events::v1::CapturePart;
use hearth_proto::types::v1::{Capture, CaptureRule};
use hearth_store::Document;
use hearth_types::{DeviceKey, TenantId, Timestamp};
use prost::Message;

use super::{Held, KIND, MAX_BYTES, SESSIONS, TURNS, key};
use crate::apply::Context;
use crate::core::Core;

/// Documents deleted at once.
const PAGE: usize = 100;

/// The first lines of a capture's text.
pub(super) fn head(tenant: &TenantId, capture: &Capture) -> String {
    let rule = capture.rule.clone().unwrap_or_default();
    format!(
        "# hearth capture 1\n# {} of tenant {tenant}: {}\n# {} sessions, {} bytes, {} turns left out\n",
        capture.id,
        in_words(&rule),
        capture.sessions,
        capture.bytes,
        capture.left_out,
    )
}

fn in_words(rule: &CaptureRule) -> String {
    if !rule.device.is_empty() {
        return format!("device {}", rule.device);
    }
    let said = [
        ("OUI", &rule.oui),
        ("product class", &rule.product_class),
        ("software", &rule.software_version),
    ];
    let said: Vec<_> = said
        .iter()
        .filter(|(_, text)| !text.is_empty())
        .map(|(name, text)| format!("{name} {text}"))
        .collect();
    match said.is_empty() {
        true => "any device".to_owned(),
        false => said.join(", "),
    }
}

impl Core {
    /// Keeps a captured turn. Applied again it is the same.
    pub async fn keep_part(
        &self,
        cx: &Context<'_>,
        part: &CapturePart,
    ) -> hearth_store::Result<()> {
        for id in &part.captures {
            self.keep_in(cx, part, id).await?;
        }
        Ok(())
    }

    async fn keep_in(
        &self,
        cx: &Context<'_>,
        part: &CapturePart,
        id: &str,
    ) -> hearth_store::Result<()> {
        let tenant = &cx.device.tenant;
        let found = self.store.document(KIND, tenant, &key(id)).await?;
        let capture = found.and_then(|found| Capture::decode(found.payload.as_slice()).ok());
        let Some(capture) = capture else {
            // Deleted meanwhile.
            return Ok(());
        };
        let prefix = format!("{SESSIONS}{id}/");
        let sessions = self.store.documents(KIND, tenant, &prefix, None, 1000);
        let sessions = sessions.await?;
        let of_session = format!("{prefix}{}", cx.session);
        let read = |document: &Document| Held::decode(document.payload.as_slice()).ok();
        let known = sessions.iter().find(|document| document.key == of_session);
        let most = usize::try_from(capture.max_sessions).unwrap_or(usize::MAX);
        if known.is_none() && sessions.len() >= most {
            // Two gateways began sessions at the same time.
            return Ok(());
        }
        let total: u64 = sessions
            .iter()
            .filter_map(read)
            .map(|held| held.bytes)
            .sum();
        let mut held = known.and_then(read).unwrap_or_else(|| Held {
            device: cx.device.device.as_str().to_owned(),
            ..Held::default()
        });
        let again = cx.time.as_micros() <= held.last;
        let size = u64::try_from(part.text.len()).unwrap_or(u64::MAX);
        let room = total.saturating_add(size) <= MAX_BYTES;
        if room {
            let document = Document {
                key: format!(
                    "{TURNS}{id}/{}/{:05}-{}",
                    cx.session,
                    part.turn,
                    cx.time.as_micros()
                ),
                time: cx.time,
                payload: part.text.clone().into_bytes(),
            };
            self.store.put_document(KIND, tenant, document).await?;
        }
        if again {
            return Ok(());
        }
        held.last = cx.time.as_micros();
        match room {
            true => held.bytes += size,
            false => held.left_out += 1,
        }
        let document = Document {
            key: of_session,
            time: cx.time,
            payload: held.encode_to_vec(),
        };
        self.store.put_document(KIND, tenant, document).await?;
        if known.is_none() {
            self.captures.0.forget(tenant);
        }
        Ok(())
    }

    /// Deletes a capture with what it holds; the capture last, so that it is tried again.
    pub(super) async fn remove_capture(&self, tenant: &TenantId, id: &str) -> Result<()> {
        for prefix in [format!("{TURNS}{id}/"), format!("{SESSIONS}{id}/")] {
            self.remove_all(tenant, &prefix).await?;
        }
        self.store.delete_document(KIND, tenant, &key(id)).await?;
        self.captures.0.forget(tenant);
        Ok(())
    }

    async fn remove_all(&self, tenant: &TenantId, prefix: &str) -> Result<()> {
        loop {
            let found = self
                .store
                .documents(KIND, tenant, prefix, None, PAGE)
                .await?;
            for document in &found {
                self.store
                    .delete_document(KIND, tenant, &document.key)
                    .await?;
            }
            if found.len() < PAGE {
                return Ok(());
            }
        }
    }

    /// A device is deleted: so is what was captured of it.
    pub async fn forget_captured(&self, device: &DeviceKey) -> Result<()> {
        let tenant = &device.tenant;
        for capture in self.stored_captures(tenant).await? {
            for (session, held) in self.held(tenant, &capture.id).await? {
                if held.device == device.device.as_str() {
                    let id = &capture.id;
                    self.remove_all(tenant, &format!("{TURNS}{id}/{session}/"))
                        .await?;
                    let key = format!("{SESSIONS}{id}/{session}");
                    self.store.delete_document(KIND, tenant, &key).await?;
                }
            }
        }
        Ok(())
    }

    /// Deletes captures whose time is over.
    pub async fn trim_captures(&self, now: Timestamp) -> Result<()> {
        for tenant in self.store.tenants().await? {
            for capture in self.stored_captures(&tenant).await? {
                if micros(capture.delete_time.as_ref()) <= now.as_micros() {
                    self.remove_capture(&tenant, &capture.id).await?;
                }
            }
        }
        Ok(())
    }
}
