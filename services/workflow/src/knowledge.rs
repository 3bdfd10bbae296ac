//! What is known of a device when a plan is made, and what a plan's outcomes bring: facts for the
//! bus, knowledge about the model.

use crate::{
    ledger::Work,
    plan::{Facts, Gains, Plan},
    publish::publish_facts,
    request::spec_values,
    service::Inner,
};
use hearth_clients::{Error, Result};
use hearth_proto::{
    devicestate::v1::{GetDeviceRequest, GetModelRequest},
    events::v1::{ValueSource, ValuesReported, event},
    types::v1::task_spec::Kind,
};
use hearth_types::{DeviceKey, Timestamp};

impl Inner {
    /// Publishes what happened to the device, before the ledger says so.
    pub(crate) async fn publish_gains(
        &self,
        work: &Work,
        session: &str,
        now: Timestamp,
        gains: &mut Gains,
    ) -> Result<()> {
        let mut facts = std::mem::take(&mut gains.events);
        if let Some(prefix) = gains.set_values.take() {
            let values = spec_values(work).iter();
            // Pending passwords are device-state's, and not in the task.
            let values = values.filter(|value| !crate::rotate::is_pending(value));
            let values = values.map(|value| self.secrets.moved(&work.device, value, &prefix));
            facts.push(event::Kind::ValuesReported(ValuesReported {
                values: values.collect::<Result<_>>()?,
                source: ValueSource::Set.into(),
                task: work.id.to_string(),
            }));
        }
        if facts.is_empty() {
            return Ok(());
        }
        let id = work.request_id();
        publish_facts(self.bus.as_ref(), &work.device, session, &id, now, facts).await
    }

    /// The plan of a task that is sent for the first time.
    pub(crate) async fn new_plan(&self, work: &Work) -> Plan {
        let Some(kind) = work.kind() else {
            return Plan::Methods;
        };
        let tenant = work.device.tenant.to_string();
        let (oui, product_class, _) = work.device.device.parts();
        let request = GetModelRequest {
            tenant: tenant.clone(),
            oui,
            product_class,
            device: work.device.device.to_string(),
        };
        // Without it the defaults hold, and what they break is learned again.
        let found = self.device_state.get_model(request).await;
        let found = found.unwrap_or_default();
        let model = found.model.unwrap_or_default();
        let mut facts = Facts::new(self.options.gpv_batch, &model, found.profile.as_ref());
        if matches!(kind, Kind::Refresh(refresh) if refresh.path.is_empty()) {
            let device = work.device.device.to_string();
            let request = GetDeviceRequest { tenant, device };
            let found = self.device_state.get_device(request).await.ok();
            facts.root = found
                .and_then(|found| found.device)
                .map(|device| device.root)
                .unwrap_or_default();
        }
        let mut plan = Plan::new(kind, &facts);
        if let Some(transfer) = plan.transfer_mut() {
            transfer.task = Some(work.id);
        }
        plan
    }

    /// Remembers what was learned about the device's model, behind the turn.
    pub(crate) fn learn(&self, device: &DeviceKey, learned: Vec<crate::plan::Learned>) {
        if learned.is_empty() {
            return;
        }
        let device_state = std::sync::Arc::clone(&self.device_state);
        let device = device.clone();
        tokio::spawn(async move {
            let done: std::result::Result<(), Error> =
                crate::plan::remember(device_state.as_ref(), &device, learned).await;
            if let Err(error) = done {
                tracing::warn!(%error, %device, "what was learned about a model is not kept");
            }
        });
    }
}
