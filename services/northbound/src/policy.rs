//! PolicyService: what a tenant's operator chooses for the edge, and which lines addresses have.

use crate::caller::Caller;
use crate::core::Core;
use crate::error::{Context, invalid, not_found};
use crate::{convert, page};
use hearth_proto::northbound::v1::{self as nb, policy_service_server::PolicyService};
use hearth_proto::{devicestate::v1 as ds, types::v1 as ty};
use hearth_types::TenantId;
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// Internal fields by their public names.
const FIELDS: &[(&str, &str)] = &[("tenant", "parent"), ("device", "line.device")];

/// The service.
pub(crate) struct Policies(pub(crate) Arc<Core>);

/// The policy as it may be seen.
fn shown(policy: Option<ty::EdgePolicy>) -> Option<ty::EdgePolicy> {
    let mut policy = policy.unwrap_or_default();
    if let Some(header) = &mut policy.line_header {
        header.has_secret = !header.sealed_secret.is_empty();
        header.secret.clear();
        header.sealed_secret.clear();
    }
    Some(policy)
}

#[tonic::async_trait]
impl PolicyService for Policies {
    async fn get_edge_policy(
        &self,
        request: Request<nb::GetEdgePolicyRequest>,
    ) -> Result<Response<nb::GetEdgePolicyResponse>, Status> {
        let caller = Caller::of(&request)?;
        let tenant = caller.tenant("parent", &request.into_inner().parent)?;
        let internal = ds::GetEdgePolicyRequest {
            tenant: tenant.to_string(),
        };
        let context = Context::default().fields(FIELDS);
        let answer = self.0.clients.device_state.get_edge_policy(internal).await;
        let answer = answer.map_err(|error| context.status(error))?;
        Ok(Response::new(nb::GetEdgePolicyResponse {
            policy: shown(answer.policy),
        }))
    }

    async fn update_edge_policy(
        &self,
        request: Request<nb::UpdateEdgePolicyRequest>,
    ) -> Result<Response<nb::UpdateEdgePolicyResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let tenant = caller.tenant("parent", &request.parent)?;
        let fields = request.update_mask.unwrap_or_default().paths;
        if fields.is_empty() {
            return Err(invalid(
                "update_mask",
                "is missing; expected the fields to change, or *",
            ));
        }
        let mut policy = request.policy.unwrap_or_default();
        if let Some(header) = &mut policy.line_header {
            header.sealed_secret.clear();
        }
        let internal = ds::UpdateEdgePolicyRequest {
            tenant: tenant.to_string(),
            policy: Some(policy),
            fields,
        };
        let context = Context::default().fields(FIELDS);
        let device_state = &self.0.clients.device_state;
        let answer = device_state.update_edge_policy(internal).await;
        let answer = answer.map_err(|error| context.status(error))?;
        Ok(Response::new(nb::UpdateEdgePolicyResponse {
            policy: shown(answer.policy),
        }))
    }

    async fn set_line(
        &self,
        request: Request<nb::SetLineRequest>,
    ) -> Result<Response<nb::SetLineResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let tenant = caller.tenant("parent", &request.parent)?;
        let mut line = request
            .line
            .ok_or_else(|| invalid("line", "is missing; expected a prefix"))?;
        if !line.device.is_empty() {
            let key = caller.device("line.device", &line.device)?;
            if key.tenant != tenant {
                return Err(invalid("line.device", "is of another tenant"));
            }
            line.device = key.device.into();
        }
        let internal = ds::SetLineRequest {
            tenant: tenant.to_string(),
            line: Some(line),
        };
        let context = Context::default().fields(FIELDS);
        let answer = self.0.clients.device_state.set_line(internal).await;
        let answer = answer.map_err(|error| context.status(error))?;
        Ok(Response::new(nb::SetLineResponse {
            line: answer.line.map(|line| named(&tenant, line)),
        }))
    }

    async fn list_lines(
        &self,
        request: Request<nb::ListLinesRequest>,
    ) -> Result<Response<nb::ListLinesResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let tenant = caller.tenant("parent", &request.parent)?;
        let internal = ds::ListLinesRequest {
            tenant: tenant.to_string(),
            page_size: page::RESOURCES.size(request.page_size)?,
            page_token: page::token(request.page_token)?,
        };
        let context = Context::default().fields(FIELDS);
        let answer = self.0.clients.device_state.list_lines(internal).await;
        let answer = answer.map_err(|error| context.status(error))?;
        let lines = answer.lines.into_iter();
        Ok(Response::new(nb::ListLinesResponse {
            lines: lines.map(|line| named(&tenant, line)).collect(),
            next_page_token: answer.next_page_token,
        }))
    }

    async fn delete_line(
        &self,
        request: Request<nb::DeleteLineRequest>,
    ) -> Result<Response<nb::DeleteLineResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let tenant = caller.tenant("parent", &request.parent)?;
        let internal = ds::DeleteLineRequest {
            tenant: tenant.to_string(),
            prefix: request.prefix.clone(),
        };
        let context = Context::default().fields(FIELDS);
        let answer = self.0.clients.device_state.delete_line(internal).await;
        if !answer.map_err(|error| context.status(error))?.existed {
            let message = "no line was set for this prefix; ListLines shows them";
            return Err(not_found("Line", &request.prefix, message));
        }
        Ok(Response::new(nb::DeleteLineResponse {}))
    }
}

/// A line with its device's name.
fn named(tenant: &TenantId, mut line: ty::Line) -> ty::Line {
    if !line.device.is_empty() {
        line.device = convert::device_name(tenant.as_str(), &line.device);
    }
    line
}
