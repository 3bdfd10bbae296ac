//! CaptureService: what devices and the server say to each other.

use crate::caller::Caller;
use crate::convert;
use crate::core::Core;
use crate::error::{Context, invalid};
use crate::page;
use hearth_proto::northbound::v1::{self as nb, capture_service_server::CaptureService};
use hearth_proto::{devicestate::v1 as ds, types::v1::Capture};
use hearth_types::TenantId;
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// Internal fields by their public names.
const FIELDS: &[(&str, &str)] = &[("tenant", "parent"), ("id", "capture")];

/// The service.
pub(crate) struct Captures(pub(crate) Arc<Core>);

/// Makes a call, and its error one of the public API.
macro_rules! call {
    ($self:ident, $method:ident, $id:expr, $request:expr) => {{
        let context = Context::of("Capture", $id).fields(FIELDS);
        let answer = $self.0.clients.device_state.$method($request).await;
        answer.map_err(|error| context.status(error))?
    }};
}

#[tonic::async_trait]
impl CaptureService for Captures {
    async fn start_capture(
        &self,
        request: Request<nb::StartCaptureRequest>,
    ) -> Result<Response<nb::StartCaptureResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let tenant = caller.tenant("parent", &request.parent)?;
        let mut capture = request
            .capture
            .ok_or_else(|| invalid("capture", "is missing; expected one with a rule"))?;
        if let Some(rule) = &mut capture.rule
            && !rule.device.is_empty()
        {
            let key = caller.device("capture.rule.device", &rule.device)?;
            if key.tenant != tenant {
                return Err(invalid("capture.rule.device", "is of another tenant"));
            }
            rule.device = key.device.into();
        }
        let internal = ds::StartCaptureRequest {
            tenant: tenant.to_string(),
            capture: Some(capture),
        };
        let answer = call!(self, start_capture, "", internal);
        Ok(Response::new(nb::StartCaptureResponse {
            capture: named(&tenant, answer.capture),
        }))
    }

    async fn list_captures(
        &self,
        request: Request<nb::ListCapturesRequest>,
    ) -> Result<Response<nb::ListCapturesResponse>, Status> {
        let caller = Caller::of(&request)?;
        let tenant = caller.tenant("parent", &request.into_inner().parent)?;
        let internal = ds::ListCapturesRequest {
            tenant: tenant.to_string(),
        };
        let answer = call!(self, list_captures, "", internal);
        let captures = answer.captures.into_iter();
        Ok(Response::new(nb::ListCapturesResponse {
            captures: captures
                .filter_map(|one| named(&tenant, Some(one)))
                .collect(),
        }))
    }

    async fn get_capture(
        &self,
        request: Request<nb::GetCaptureRequest>,
    ) -> Result<Response<nb::GetCaptureResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let tenant = caller.tenant("parent", &request.parent)?;
        let internal = ds::GetCaptureRequest {
            tenant: tenant.to_string(),
            id: id(&request.capture)?,
        };
        let answer = call!(self, get_capture, &request.capture, internal);
        Ok(Response::new(nb::GetCaptureResponse {
            capture: named(&tenant, answer.capture),
        }))
    }

    async fn stop_capture(
        &self,
        request: Request<nb::StopCaptureRequest>,
    ) -> Result<Response<nb::StopCaptureResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let tenant = caller.tenant("parent", &request.parent)?;
        let internal = ds::StopCaptureRequest {
            tenant: tenant.to_string(),
            id: id(&request.capture)?,
        };
        let answer = call!(self, stop_capture, &request.capture, internal);
        Ok(Response::new(nb::StopCaptureResponse {
            capture: named(&tenant, answer.capture),
        }))
    }

    async fn delete_capture(
        &self,
        request: Request<nb::DeleteCaptureRequest>,
    ) -> Result<Response<nb::DeleteCaptureResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let tenant = caller.tenant("parent", &request.parent)?;
        let internal = ds::DeleteCaptureRequest {
            tenant: tenant.to_string(),
            id: id(&request.capture)?,
        };
        call!(self, delete_capture, &request.capture, internal);
        Ok(Response::new(nb::DeleteCaptureResponse {}))
    }

    async fn download_capture(
        &self,
        request: Request<nb::DownloadCaptureRequest>,
    ) -> Result<Response<nb::DownloadCaptureResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let tenant = caller.tenant("parent", &request.parent)?;
        let internal = ds::ReadCaptureRequest {
            tenant: tenant.to_string(),
            id: id(&request.capture)?,
            page_token: page::token(request.page_token)?,
        };
        let answer = call!(self, read_capture, &request.capture, internal);
        Ok(Response::new(nb::DownloadCaptureResponse {
            text: answer.text,
            next_page_token: answer.next_page_token,
        }))
    }
}

/// An id goes into keys: 26 letters and digits.
fn id(text: &str) -> Result<String, Status> {
    let good = text.len() == 26 && text.bytes().all(|b| b.is_ascii_alphanumeric());
    match good {
        true => Ok(text.to_ascii_lowercase()),
        false => Err(invalid("capture", "expected the id of a capture")),
    }
}

/// A capture with its device's name.
fn named(tenant: &TenantId, capture: Option<Capture>) -> Option<Capture> {
    let mut capture = capture?;
    if let Some(rule) = &mut capture.rule
        && !rule.device.is_empty()
    {
        rule.device = convert::device_name(tenant.as_str(), &rule.device);
    }
    Some(capture)
}
