//! What was learned about models.

use std::sync::Arc;
use std::time::Duration;

use hearth_clients::Result;
use hearth_proto::devicestate::v1 as ds;
use hearth_store::{Document, DocumentKind};
use hearth_types::{DeviceKey, TenantId};
use prost::Message;

use crate::core::Core;
use hearth_runtime::Expiring;

/// Models in memory, and for how long: another process may learn, too.
const CACHED: usize = 10_000;
const CACHE_TIME: Duration = Duration::from_secs(30);

/// Models in memory, by tenant and key.
pub struct ModelCache {
    models: Expiring<(TenantId, String), Arc<ds::Model>>,
}

impl ModelCache {
    pub fn new() -> Self {
        Self {
            models: Expiring::new(CACHED, CACHE_TIME),
        }
    }
}

/// A model's key. An OUI has no slash.
fn key(oui: &str, product_class: &str) -> String {
    format!("{}/{product_class}", oui.to_ascii_uppercase())
}

impl Core {
    pub async fn get_model(&self, request: ds::GetModelRequest) -> Result<ds::GetModelResponse> {
        let tenant: TenantId = request.tenant.parse()?;
        let profile = match request.device.as_str() {
            "" => None,
            device => {
                let device = DeviceKey::new(tenant.clone(), device.parse()?);
                self.profile_of(&device, "", "").await?
            }
        };
        let model = self.learned(tenant, &request.oui, &request.product_class);
        Ok(ds::GetModelResponse {
            model: Some(model.await?),
            profile,
        })
    }

    /// What was learned about a model; empty where nothing was.
    pub async fn learned(
        &self,
        tenant: TenantId,
        oui: &str,
        product_class: &str,
    ) -> Result<ds::Model> {
        let place = (tenant.clone(), key(oui, product_class));
        if let Some(model) = self.models.models.get(&place) {
            return Ok(ds::Model::clone(&model));
        }
        let document = self.store.document(DocumentKind::Model, &tenant, &place.1);
        let model = match document.await? {
            Some(document) => ds::Model::decode(document.payload.as_slice()).unwrap_or_default(),
            None => ds::Model::default(),
        };
        self.models.models.insert(place, Arc::new(model.clone()));
        Ok(model)
    }

    pub async fn put_model(&self, request: ds::PutModelRequest) -> Result<ds::PutModelResponse> {
        let tenant: TenantId = request.tenant.parse()?;
        let key = key(&request.oui, &request.product_class);
        let model = request.model.unwrap_or_default();
        let document = Document {
            key: key.clone(),
            time: self.now(),
            payload: model.encode_to_vec(),
        };
        self.store
            .put_document(DocumentKind::Model, &tenant, document)
            .await?;
        self.models.models.insert((tenant, key), Arc::new(model));
        Ok(ds::PutModelResponse {})
    }
}
