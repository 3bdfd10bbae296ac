//! Requests of CPEs that the gateways refused: put together by whom they concern and why, for some
//! days.
//!
//! They are kept in a fixed number of documents of a tenant, so that nobody can fill the store with
//! them. Those of devices and users that are known are in `refusal/known/{slot}`, by the device or
//! the user; all others in `refusal/other/{slot}`, by the address that they came from: who comes
//! with made-up names takes the place of nobody but those of its own slot.

mod facts;
mod list;
mod slot;

use std::collections::BTreeMap;
use std::time::Duration;

use hearth_clients::{Error, Result};
use hearth_proto::devicestate::v1 as ds;
use hearth_runtime::Expiring;
use hearth_store::{Document, DocumentKind};
use hearth_types::{DeviceKey, TenantId};
use prost::Message;

use crate::core::Core;
use slot::{Place, Slot};

const KIND: DocumentKind = DocumentKind::Setting;
/// The beginning of all keys.
const REFUSALS: &str = "refusal/";
/// Of one call.
const MOST: usize = 500;
/// For how long one is shown after its last time.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);
/// Tenants in memory, and for how long.
const TENANTS: usize = 10_000;
const TENANT_TIME: Duration = Duration::from_secs(60);

/// What is known in memory.
pub struct RefusalState {
    /// Whether there is such a tenant: anybody may name one in an ACS URL.
    tenants: Expiring<TenantId, bool>,
    /// Held by whoever reads, changes and writes a slot.
    noting: tokio::sync::Mutex<()>,
}

impl RefusalState {
    pub fn new() -> Self {
        Self {
            tenants: Expiring::new(TENANTS, TENANT_TIME),
            noting: tokio::sync::Mutex::default(),
        }
    }
}

impl Core {
    pub async fn note_refusals(
        &self,
        request: ds::NoteRefusalsRequest,
    ) -> Result<ds::NoteRefusalsResponse> {
        if request.refusals.len() > MOST {
            let message = format!("expected at most {MOST}");
            return Err(Error::invalid("refusals", message));
        }
        let mut slots: BTreeMap<(TenantId, String), Vec<ds::Refusal>> = BTreeMap::new();
        let (mut kept, mut dropped) = (0, 0);
        for mut refusal in request.refusals {
            let tenant = refusal.tenant.parse::<TenantId>();
            let Some(tenant) = tenant.ok().filter(|_| refusal.count > 0) else {
                dropped += 1;
                continue;
            };
            if !self.is_tenant(&tenant).await? {
                dropped += 1;
                continue;
            }
            kept += 1;
            slot::clip(&mut refusal);
            let place = self.place(&tenant, &mut refusal).await?;
            slots
                .entry((tenant, place.key()))
                .or_default()
                .push(refusal);
        }
        self.metrics.refusals_dropped.inc_by(dropped);
        self.metrics.refusals.inc_by(kept);
        let _noting = self.refusals.noting.lock().await;
        for ((tenant, key), new) in slots {
            self.fill(&tenant, key, new).await?;
        }
        let kept = u32::try_from(kept).unwrap_or(u32::MAX);
        Ok(ds::NoteRefusalsResponse { kept })
    }

    /// Where a refusal is kept; says which device it concerns if the user name tells that.
    async fn place(&self, tenant: &TenantId, refusal: &mut ds::Refusal) -> Result<Place> {
        if refusal.device.is_empty() && !refusal.user.is_empty() {
            let lookup = ds::GetCredentialRequest {
                tenant: tenant.as_str().to_owned(),
                username: refusal.user.clone(),
            };
            match self.get_credential(lookup).await?.credential {
                Some(own) if !own.device.is_empty() => refusal.device = own.device,
                Some(_) => return Ok(Place::of_user(&refusal.user)),
                None => {}
            }
        }
        // An id that can't be one is nobody's.
        let device = DeviceKey::parse(tenant.as_str(), &refusal.device).ok();
        Ok(match device {
            Some(device) if self.is_expected(&device).await? => {
                Place::of_device(device.device.as_str())
            }
            _ => Place::of_address(&refusal.address),
        })
    }

    async fn fill(&self, tenant: &TenantId, key: String, new: Vec<ds::Refusal>) -> Result<()> {
        let now = self.now();
        let document = self.store.document(KIND, tenant, &key).await?;
        let mut slot = document.as_ref().map(Slot::read).unwrap_or_default();
        for refusal in new {
            slot.take(refusal, key.contains("/other/"));
        }
        slot.trim(now.as_micros() - KEPT.as_micros() as i64, slot::room(&key));
        // Later than what is there, whatever the clocks of processes say.
        let time = document.map_or(now, |before| now.max(before.time.saturating_add(TICK)));
        let document = Document {
            key,
            time,
            payload: slot.encode_to_vec(),
        };
        self.store.put_document(KIND, tenant, document).await?;
        Ok(())
    }

    /// Whether there is such a tenant: it has credentials, or devices, or a policy.
    async fn is_tenant(&self, tenant: &TenantId) -> Result<bool> {
        if *tenant == TenantId::default() {
            return Ok(true);
        }
        if let Some(known) = self.refusals.tenants.get(tenant) {
            return Ok(known);
        }
        let credentials = self
            .store
            .documents(DocumentKind::Credential, tenant, "", None, 1);
        let is = !credentials.await?.is_empty()
            || !self.store.devices(tenant, None, 1).await?.is_empty();
        self.refusals.tenants.insert(tenant.clone(), is);
        Ok(is)
    }

    /// The device is deleted: so is what it was refused for.
    pub async fn forget_refusals(&self, device: &DeviceKey) -> Result<()> {
        let key = Place::of_device(device.device.as_str()).key();
        let _noting = self.refusals.noting.lock().await;
        let document = self.store.document(KIND, &device.tenant, &key).await?;
        let Some(document) = document else {
            return Ok(());
        };
        let mut slot = Slot::read(&document);
        slot.refusals
            .retain(|refusal| refusal.device != device.device.as_str());
        let document = Document {
            payload: slot.encode_to_vec(),
            time: self.now().max(document.time.saturating_add(TICK)),
            ..document
        };
        Ok(self
            .store
            .put_document(KIND, &device.tenant, document)
            .await?)
    }

    /// All of a tenant, in no order.
    async fn all_refusals(&self, tenant: &TenantId) -> Result<Vec<ds::Refusal>> {
        const PAGE: usize = 256;
        let since = self.now().as_micros() - KEPT.as_micros() as i64;
        let mut all = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let after_key = after.as_deref();
            let found = self
                .store
                .documents(KIND, tenant, REFUSALS, after_key, PAGE);
            let found = found.await?;
            for document in &found {
                let slot = Slot::read(document);
                let fresh = slot.refusals.into_iter().filter(|r| r.last_time_us > since);
                all.extend(fresh.map(|refusal| ds::Refusal {
                    tenant: tenant.as_str().to_owned(),
                    ..refusal
                }));
            }
            match found.last() {
                Some(last) if found.len() == PAGE => after = Some(last.key.clone()),
                _ => return Ok(all),
            }
        }
    }
}

/// The smallest step of a document's time.
const TICK: Duration = Duration::from_micros(1);
