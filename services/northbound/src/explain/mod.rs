//! ExplainService: why a device doesn't connect, why a task doesn't run, and who was turned away.
//!
//! Facts come from device-state (what is known of the device, and what the gateways refused) and
//! from workflow (its tasks, sessions and wake-ups). Here they become findings: `device` and `task`
//! decide what counts, `codes` has what each code means and what to do.

mod codes;
mod device;
mod finding;
mod refusals;
mod task;
#[cfg(test)]
mod tests;

use crate::caller::Caller;
use crate::core::Core;
use crate::error::{Context, invalid, not_found};
use crate::{convert, page};
use hearth_clients::Kind;
use hearth_proto::northbound::v1::{self as nb, explain_service_server::ExplainService};
use hearth_proto::{devicestate::v1 as ds, workflow::v1 as wf};
use hearth_types::DeviceKey;
use std::sync::Arc;
use tonic::{Request, Response, Status};

pub use codes::{ACS_FAULTS, FINDINGS, FindingCode};

/// The service.
pub(crate) struct Explanations(pub(crate) Arc<Core>);

/// All that is known of a device.
struct Known {
    /// Absent when it was never seen, nor registered.
    device: Option<ds::Device>,
    facts: ds::GetDeviceFactsResponse,
    work: wf::GetDeviceWorkResponse,
}

impl Explanations {
    async fn known(&self, name: &str, key: &DeviceKey) -> Result<Known, Status> {
        let context = Context::of("Device", name).fields(&[("device", "name")]);
        let (tenant, device) = (key.tenant.to_string(), key.device.to_string());
        let clients = &self.0.clients;
        let row = clients.device_state.get_device(ds::GetDeviceRequest {
            tenant: tenant.clone(),
            device: device.clone(),
        });
        let facts = clients
            .device_state
            .get_device_facts(ds::GetDeviceFactsRequest {
                tenant: tenant.clone(),
                device: device.clone(),
            });
        let work = clients
            .workflow
            .get_device_work(wf::GetDeviceWorkRequest { tenant, device });
        let (row, facts, work) = tokio::join!(row, facts, work);
        let device = match row {
            Ok(answer) => answer.device,
            Err(error) if error.kind == Kind::NotFound => None,
            Err(error) => return Err(context.status(error)),
        };
        Ok(Known {
            device,
            facts: facts.map_err(|error| context.status(error))?,
            work: work.map_err(|error| context.status(error))?,
        })
    }
}

#[tonic::async_trait]
impl ExplainService for Explanations {
    async fn explain_device(
        &self,
        request: Request<nb::ExplainDeviceRequest>,
    ) -> Result<Response<nb::ExplainDeviceResponse>, Status> {
        let caller = Caller::of(&request)?;
        let name = request.into_inner().name;
        let key = caller.device("name", &name)?;
        let known = self.known(&name, &key).await?;
        let now = self.0.clock.now_micros();
        let findings = device::explain(&key, &known, now);
        Ok(Response::new(nb::ExplainDeviceResponse {
            explanation: Some(findings.answer()),
        }))
    }

    async fn explain_task(
        &self,
        request: Request<nb::ExplainTaskRequest>,
    ) -> Result<Response<nb::ExplainTaskResponse>, Status> {
        let caller = Caller::of(&request)?;
        let name = request.into_inner().name;
        let (tenant, id) = caller.task("name", &name)?;
        let context = Context::of("Task", &name).fields(&[("task", "name"), ("tenant", "name")]);
        let answer = self.0.clients.workflow.get_task(wf::GetTaskRequest {
            tenant: tenant.to_string(),
            task: id.to_string(),
        });
        let task = answer.await.map_err(|error| context.status(error))?.task;
        let task = task.ok_or_else(|| not_found("Task", &name, "there is no such task"))?;
        let key = DeviceKey::parse(&task.tenant, &task.device)
            .map_err(|error| context.status(error.into()))?;
        let known = self.known(&name, &key).await?;
        let now = self.0.clock.now_micros();
        let findings = task::explain(&key, &task, &known, now);
        Ok(Response::new(nb::ExplainTaskResponse {
            explanation: Some(findings.answer()),
        }))
    }

    async fn list_refusals(
        &self,
        request: Request<nb::ListRefusalsRequest>,
    ) -> Result<Response<nb::ListRefusalsResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let tenant = caller.tenant("parent", &request.parent)?;
        let mut device = String::new();
        if !request.device.is_empty() {
            let key = caller.device("device", &request.device)?;
            if key.tenant != tenant {
                return Err(invalid("device", "is of another tenant"));
            }
            device = key.device.into();
        }
        let address = match request.address.as_str() {
            "" => String::new(),
            text => match text.parse::<std::net::IpAddr>() {
                Ok(address) => address.to_canonical().to_string(),
                Err(_) => return Err(invalid("address", "expected an IP address, as 192.0.2.7")),
            },
        };
        let internal = ds::ListRefusalsRequest {
            tenant: tenant.to_string(),
            device,
            user: request.user,
            address,
            page_size: page::RESOURCES.size(request.page_size)?,
            page_token: page::token(request.page_token)?,
        };
        let context = Context::default().fields(&[("tenant", "parent")]);
        let answer = self.0.clients.device_state.list_refusals(internal).await;
        let answer = answer.map_err(|error| context.status(error))?;
        let refusals = answer.refusals.into_iter();
        Ok(Response::new(nb::ListRefusalsResponse {
            refusals: refusals.map(refusals::public).collect(),
            next_page_token: answer.next_page_token,
        }))
    }
}

/// The name of a device, where there is one.
fn device_name(tenant: &str, device: &str) -> String {
    match device {
        "" => String::new(),
        device => convert::device_name(tenant, device),
    }
}
