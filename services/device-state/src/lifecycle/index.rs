//! Devices of an earlier version get their places in the index of lives, once.

use hearth_store::{DeviceColumn, Document, DocumentKind, Result};
use hearth_types::{DeviceId, DeviceKey, TenantId, Timestamp};

use super::{DUE, FIRST_SEEN, day, due, entry};
use crate::background::PAGE;
use crate::columns;
use crate::core::Core;

/// Says that it was done.
const KEY: &str = "device-state/indexed-lives";

impl Core {
    /// Enters all known devices, unless that was done before. Interrupted, it begins again at the
    /// next start. What is entered is as old as the Inform that it follows from, so that whatever a
    /// device does meanwhile is newer.
    pub async fn index_lives(&self) -> Result<()> {
        let kind = DocumentKind::Setting;
        let own = TenantId::default();
        if self.store.document(kind, &own, KEY).await?.is_some() {
            return Ok(());
        }
        let mut entered = 0;
        for tenant in self.store.tenants().await? {
            let mut after: Option<DeviceId> = None;
            loop {
                let page = self.store.devices(&tenant, after.as_ref(), PAGE).await?;
                let end = page.len() < PAGE;
                let mut mutations = Vec::with_capacity(page.len() * 2);
                for (id, row) in page {
                    let device = DeviceKey::new(tenant.clone(), id.clone());
                    let at = |column| Timestamp::from_micros(columns::int(&row, column));
                    let (first, last) = (at(DeviceColumn::FirstSeen), at(DeviceColumn::LastInform));
                    if first > Timestamp::ZERO && last > Timestamp::ZERO {
                        let next = due(last, columns::interval(&row));
                        mutations.push(entry(&device, DUE, &next, last, false));
                        mutations.push(entry(&device, FIRST_SEEN, &day(first), first, false));
                        entered += 1;
                    }
                    after = Some(id);
                }
                self.store.write(mutations).await?;
                if end {
                    break;
                }
            }
        }
        let document = Document {
            key: KEY.to_owned(),
            time: self.now(),
            payload: Vec::new(),
        };
        self.store.put_document(kind, &own, document).await?;
        tracing::info!(devices = entered, "known devices are found by their state");
        Ok(())
    }
}
