//! DeviceService: devices, their parameters and their history.

use crate::caller::Caller;
use crate::core::Core;
use crate::error::{Context, invalid, status};
use crate::tags::TagChange;
use crate::{convert, filter, page, watch};
use futures::stream::BoxStream;
use hearth_clients::Kind;
use hearth_proto::convert::micros;
use hearth_proto::northbound::v1::{self as nb, device_service_server::DeviceService};
use hearth_proto::{devicestate::v1 as ds, wakeup::v1 as wk, workflow::v1 as wf};
use hearth_types::DeviceKey;
use pbjson_types::Timestamp;
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// Internal fields by their public names.
const LIST: &[(&str, &str)] = &[
    ("conditions", "filter"),
    ("tenant", "parent"),
    ("device", "parent"),
];
const UPDATE: &[(&str, &str)] = &[
    ("add", "add_tags"),
    ("remove", "remove_tags"),
    ("tags", "device.tags"),
    ("device", "device.name"),
];
const HISTORY: &[(&str, &str)] = &[
    ("device", "parent"),
    ("since_us", "start_time"),
    ("until_us", "end_time"),
];

/// The service.
pub(crate) struct Devices(pub(crate) Arc<Core>);

impl Devices {
    async fn read(&self, name: &str, key: &DeviceKey) -> Result<ds::Device, Status> {
        let request = ds::GetDeviceRequest {
            tenant: key.tenant.to_string(),
            device: key.device.to_string(),
        };
        let context = Context::of("Device", name).fields(&[("device", "name")]);
        let answer = self.0.clients.device_state.get_device(request).await;
        let device = answer.map_err(|error| context.status(error))?.device;
        device.ok_or_else(|| crate::error::not_found("Device", name, "no such device was seen"))
    }
}

#[tonic::async_trait]
impl DeviceService for Devices {
    async fn get_device(
        &self,
        request: Request<nb::GetDeviceRequest>,
    ) -> Result<Response<nb::GetDeviceResponse>, Status> {
        let caller = Caller::of(&request)?;
        let name = request.into_inner().name;
        let key = caller.device("name", &name)?;
        let device = convert::device(self.read(&name, &key).await?);
        Ok(Response::new(nb::GetDeviceResponse {
            device: Some(device),
        }))
    }

    async fn list_devices(
        &self,
        request: Request<nb::ListDevicesRequest>,
    ) -> Result<Response<nb::ListDevicesResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let tenant = caller.tenant("parent", &request.parent)?;
        let internal = ds::ListDevicesRequest {
            tenant: tenant.to_string(),
            conditions: filter::parse(&request.filter)?,
            page_size: page::RESOURCES.size(request.page_size)?,
            page_token: page::token(request.page_token)?,
        };
        let context = Context::default().fields(LIST);
        let answer = self.0.clients.device_state.list_devices(internal).await;
        let answer = answer.map_err(|error| context.status(error))?;
        Ok(Response::new(nb::ListDevicesResponse {
            devices: answer.devices.into_iter().map(convert::device).collect(),
            next_page_token: answer.next_page_token,
        }))
    }

    async fn set_device_state(
        &self,
        request: Request<nb::SetDeviceStateRequest>,
    ) -> Result<Response<nb::SetDeviceStateResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let key = caller.device("name", &request.name)?;
        let internal = ds::SetDeviceStateRequest {
            tenant: key.tenant.to_string(),
            device: key.device.to_string(),
            state: request.state,
            reason: request.reason,
        };
        let context = Context::of("Device", &request.name).fields(&[("device", "name")]);
        let answer = self.0.clients.device_state.set_device_state(internal).await;
        let answer = answer.map_err(|error| context.status(error))?;
        Ok(Response::new(nb::SetDeviceStateResponse {
            device: answer.device.map(convert::device),
        }))
    }

    async fn update_device(
        &self,
        request: Request<nb::UpdateDeviceRequest>,
    ) -> Result<Response<nb::UpdateDeviceResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let name = request.device.as_ref().map_or("", |device| &device.name);
        let key = caller.device("device.name", name)?;
        let change = TagChange::of(&request)?;
        let present = match &change {
            TagChange::Replace(_) => self.read(name, &key).await?.tags,
            TagChange::Edit { .. } => Vec::new(),
        };
        let (add, remove) = change.against(&present);
        let internal = ds::SetTagsRequest {
            tenant: key.tenant.to_string(),
            device: key.device.to_string(),
            add,
            remove,
        };
        let context = Context::of("Device", name).fields(UPDATE);
        let answer = self.0.clients.device_state.set_tags(internal).await;
        let answer = answer.map_err(|error| context.status(error))?;
        Ok(Response::new(nb::UpdateDeviceResponse {
            device: answer.device.map(convert::device),
        }))
    }

    async fn delete_device(
        &self,
        request: Request<nb::DeleteDeviceRequest>,
    ) -> Result<Response<nb::DeleteDeviceResponse>, Status> {
        let caller = Caller::of(&request)?;
        let name = request.into_inner().name;
        let key = caller.device("name", &name)?;
        let (tenant, device) = (key.tenant.to_string(), key.device.to_string());
        let context = Context::of("Device", &name).fields(&[("device", "name")]);
        // Tasks first: a failure between the two leaves a device that can be deleted again, not
        // tasks of a device that nobody sees.
        let forget = wf::ForgetDeviceRequest {
            tenant: tenant.clone(),
            device: device.clone(),
        };
        let forgotten = self.0.clients.workflow.forget_device(forget).await;
        let cancelled = forgotten.map_err(|error| context.status(error))?.cancelled;
        let delete = ds::DeleteDeviceRequest { tenant, device };
        match self.0.clients.device_state.delete_device(delete).await {
            // A device that was never seen may have tasks all the same.
            Err(error) if error.kind == Kind::NotFound && cancelled > 0 => {}
            result => {
                result.map_err(|error| context.status(error))?;
            }
        }
        Ok(Response::new(nb::DeleteDeviceResponse {}))
    }

    async fn count_devices(
        &self,
        request: Request<nb::CountDevicesRequest>,
    ) -> Result<Response<nb::CountDevicesResponse>, Status> {
        let caller = Caller::of(&request)?;
        let tenant = caller.tenant("parent", &request.into_inner().parent)?;
        let internal = ds::CountDevicesRequest {
            tenant: tenant.to_string(),
        };
        let counts = self.0.clients.device_state.count_devices(internal).await;
        let counts = counts.map_err(status)?;
        Ok(Response::new(nb::CountDevicesResponse {
            total: counts.total,
            online: counts.online,
        }))
    }

    async fn wake_device(
        &self,
        request: Request<nb::WakeDeviceRequest>,
    ) -> Result<Response<nb::WakeDeviceResponse>, Status> {
        let caller = Caller::of(&request)?;
        let name = request.into_inner().name;
        let key = caller.device("name", &name)?;
        let internal = wk::WakeRequest {
            tenant: key.tenant.to_string(),
            device: key.device.to_string(),
        };
        let context = Context::of("Device", &name).fields(&[("device", "name")]);
        let answer = self.0.clients.wakeup.wake(internal).await;
        let answer = answer.map_err(|error| context.status(error))?;
        let outcome = answer.outcome();
        Ok(Response::new(nb::WakeDeviceResponse {
            accepted: outcome == wk::WakeOutcome::Accepted,
            outcome: convert::wake_outcome(outcome).to_owned(),
            way: convert::wake_way(answer.way()).to_owned(),
            detail: answer.detail,
        }))
    }

    async fn list_parameters(
        &self,
        request: Request<nb::ListParametersRequest>,
    ) -> Result<Response<nb::ListParametersResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let key = caller.device("parent", &request.parent)?;
        let path = path(request.path)?;
        let size = page::PARAMETERS.size(request.page_size)?;
        let context = Context::of("Device", &request.parent).fields(&[("device", "parent")]);
        let fetch = |page_size, page_token| {
            let call = self
                .0
                .clients
                .device_state
                .list_parameters(ds::ListParametersRequest {
                    tenant: key.tenant.to_string(),
                    device: key.device.to_string(),
                    path: path.clone(),
                    page_size,
                    page_token,
                    values_only: request.values_only,
                });
            async move {
                let answer = call.await.map_err(|error| context.status(error))?;
                let parameters = answer.parameters.into_iter().map(convert::parameter);
                Ok((parameters.collect(), answer.next_page_token))
            }
        };
        let token = page::token(request.page_token)?;
        let (parameters, next_page_token) = page::gather(size, token, fetch).await?;
        Ok(Response::new(nb::ListParametersResponse {
            parameters,
            next_page_token,
        }))
    }

    async fn list_history(
        &self,
        request: Request<nb::ListHistoryRequest>,
    ) -> Result<Response<nb::ListHistoryResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let key = caller.device("parent", &request.parent)?;
        let since_us = time("start_time", request.start_time.as_ref())?;
        let until_us = time("end_time", request.end_time.as_ref())?;
        if since_us != 0 && until_us != 0 && since_us >= until_us {
            return Err(invalid("end_time", "expected a time after start_time"));
        }
        let path = path(request.path)?;
        let size = page::HISTORY.size(request.page_size)?;
        let context = Context::of("Device", &request.parent).fields(HISTORY);
        let tenant = key.tenant.as_str();
        let fetch = |page_size, page_token| {
            let call = self
                .0
                .clients
                .device_state
                .list_history(ds::ListHistoryRequest {
                    tenant: tenant.to_owned(),
                    device: key.device.to_string(),
                    path: path.clone(),
                    since_us,
                    until_us,
                    page_size,
                    page_token,
                });
            async move {
                let answer = call.await.map_err(|error| context.status(error))?;
                let entries = answer.entries.into_iter();
                let entries = entries.map(|entry| convert::history_entry(tenant, entry));
                Ok((entries.collect(), answer.next_page_token))
            }
        };
        let token = page::token(request.page_token)?;
        let (entries, next_page_token) = page::gather(size, token, fetch).await?;
        Ok(Response::new(nb::ListHistoryResponse {
            entries,
            next_page_token,
        }))
    }

    type WatchDevicesStream = BoxStream<'static, Result<nb::WatchDevicesResponse, Status>>;

    async fn watch_devices(
        &self,
        request: Request<nb::WatchDevicesRequest>,
    ) -> Result<Response<Self::WatchDevicesStream>, Status> {
        let caller = Caller::of(&request)?;
        let parent = request.into_inner().parent;
        let (tenant, device) = caller.scope("parent", &parent)?;
        let stream = watch::devices(&self.0, &tenant, device).await?;
        Ok(Response::new(stream))
    }
}

/// A path or partial path as it may stand in a request; empty for all.
fn path(path: String) -> Result<String, Status> {
    if path.is_empty() {
        return Ok(path);
    }
    let parsed: Result<hearth_types::ParameterPath, _> = path.parse();
    match parsed {
        Ok(_) => Ok(path),
        Err(error) => Err(invalid(
            "path",
            format!(
                "{}; a parameter is written Device.WiFi.SSID.1.SSID, a subtree Device.WiFi.",
                error.reason
            ),
        )),
    }
}

/// Microseconds since the epoch; 0 for none.
pub(crate) fn time(field: &str, time: Option<&Timestamp>) -> Result<i64, Status> {
    /// The end of the year 9999, the last that RFC 3339 can write.
    const LAST: i64 = 253_402_300_799;
    match time {
        Some(t) if !(0..=LAST).contains(&t.seconds) || !(0..1_000_000_000).contains(&t.nanos) => {
            Err(invalid(
                field,
                "expected a time from 1970 to 9999, as 2026-01-31T12:00:00Z in JSON",
            ))
        }
        // 0 would mean "none" inside.
        Some(t) => Ok(micros(Some(t)).max(1)),
        None => Ok(0),
    }
}
