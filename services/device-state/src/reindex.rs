//! Indexing known devices again when the set of indexed parameters changed.
//!
//! Index entries are ordered by time like everything else. The entries written here carry the time
//! of the value they index, moved by a few microseconds: by how often the set has changed. So they
//! win over those of earlier sets, and lose against any later value.

use std::collections::BTreeSet;
use std::time::Duration;

use hearth_store::{Document, DocumentKind, IndexEntry, IndexQuery, Mutation, Result};
use hearth_types::{DeviceId, DeviceKey, TenantId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::background::PAGE;
use crate::columns;
use crate::core::Core;

/// Where the set stands that the index was made with.
const KEY: &str = "device-state/indexed-parameters";

#[derive(Debug, Default, Serialize, Deserialize)]
struct IndexedSet {
    /// How often the set has changed.
    generation: u64,
    parameters: BTreeSet<String>,
}

impl Core {
    /// Compares the configured set with the one that the index was made with, and indexes known
    /// devices when they differ. Interrupted, it begins again at the next start.
    pub async fn index_again(&self) -> Result<()> {
        let tenant = TenantId::default();
        let kept = self
            .store
            .document(DocumentKind::Setting, &tenant, KEY)
            .await?;
        let before: IndexedSet = kept
            .and_then(|document| serde_json::from_slice(&document.payload).ok())
            .unwrap_or_default();
        let wanted: BTreeSet<String> = self.indexed.iter().cloned().collect();
        if before.parameters == wanted {
            return Ok(());
        }
        let generation = before.generation + 1;
        let added: Vec<String> = wanted.difference(&before.parameters).cloned().collect();
        let removed = before.parameters.difference(&wanted);
        let shift = Duration::from_micros(generation);
        for tenant in self.store.tenants().await? {
            for attribute in removed.clone() {
                self.remove_attribute(&tenant, attribute, shift).await?;
            }
            if !added.is_empty() {
                self.add_attributes(&tenant, &added, shift).await?;
            }
        }
        let set = IndexedSet {
            generation,
            parameters: wanted,
        };
        let document = Document {
            key: KEY.to_owned(),
            time: self.now(),
            payload: serde_json::to_vec(&set).unwrap_or_default(),
        };
        self.store
            .put_document(DocumentKind::Setting, &tenant, document)
            .await?;
        tracing::info!(
            parameters = set.parameters.len(),
            "known devices are indexed"
        );
        Ok(())
    }

    async fn add_attributes(
        &self,
        tenant: &TenantId,
        paths: &[String],
        shift: Duration,
    ) -> Result<()> {
        let mut after: Option<DeviceId> = None;
        loop {
            let page = self.store.devices(tenant, after.as_ref(), PAGE).await?;
            // No event is applied meanwhile, so that the values read are the ones to index.
            let mut turn = self.turn.lock().await;
            self.flush(&mut turn).await?;
            let mut mutations = Vec::new();
            for (id, _) in &page {
                let device = DeviceKey::new(tenant.clone(), id.clone());
                let rows = self.store.parameters_by_path(&device, paths).await?;
                for (path, row) in paths.iter().zip(rows) {
                    if let Some((text, .., at)) = row.and_then(|row| row.value)
                        && !text.is_empty()
                    {
                        let value = columns::indexed(path, &text);
                        let time = at.saturating_add(shift);
                        mutations.push(entry(&device, path, value, time, false));
                    }
                }
            }
            self.store.write(mutations).await?;
            drop(turn);
            if page.len() < PAGE {
                return Ok(());
            }
            after = page.into_iter().last().map(|(id, _)| id);
        }
    }

    async fn remove_attribute(
        &self,
        tenant: &TenantId,
        attribute: &str,
        shift: Duration,
    ) -> Result<()> {
        let mut query = IndexQuery {
            tenant: tenant.clone(),
            attribute: attribute.to_owned(),
            value: String::new(),
            prefix: true,
            after: None,
            limit: PAGE,
        };
        let paths = [attribute.to_owned()];
        loop {
            let page = self.store.search(&query).await?;
            let mut mutations = Vec::new();
            for (value, id) in &page {
                let device = DeviceKey::new(tenant.clone(), id.clone());
                let mut rows = self.store.parameters_by_path(&device, &paths).await?;
                let value_time = rows.pop().flatten().and_then(|row| row.value);
                let time = value_time.map_or(self.now(), |(.., at)| at);
                let time = time.saturating_add(shift);
                mutations.push(entry(&device, attribute, value.clone(), time, true));
            }
            self.store.write(mutations).await?;
            if page.len() < PAGE {
                return Ok(());
            }
            query.after = page.into_iter().last();
        }
    }
}

fn entry(
    device: &DeviceKey,
    attribute: &str,
    value: String,
    time: Timestamp,
    remove: bool,
) -> Mutation {
    Mutation::Index {
        entry: IndexEntry {
            device: device.clone(),
            attribute: attribute.to_owned(),
            value,
        },
        time,
        remove,
    }
}
