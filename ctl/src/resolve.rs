//! Which device is meant: by id, full name, serial number, or the beginning of an id.

use crate::{
    api::Api,
    error::{Error, id_of},
    filter,
};
use hearth_proto::northbound::v1 as nb;
use hearth_types::{DeviceId, ResourceName};
use tonic::Code;

/// Ids that are shown where a short form fits several devices.
const CANDIDATES: i32 = 10;

/// A device that was found.
#[derive(Debug)]
pub(crate) struct Found {
    /// `tenants/{tenant}/devices/{device}`
    pub(crate) name: String,
    /// What is known; nothing of a device that was never seen.
    pub(crate) device: Option<nb::Device>,
    /// Whether the whole id or serial number was given, not only its beginning.
    pub(crate) exact: bool,
}

impl Found {
    /// The device's id.
    pub(crate) fn id(&self) -> &str {
        id_of(&self.name)
    }
}

/// Reads a whole device id or full name, without asking the server.
pub(crate) fn whole(api: &Api, given: &str) -> Result<Option<String>, Error> {
    if given.contains('/') {
        return match given.parse() {
            Ok(ResourceName::Device(tenant, device)) if tenant == api.tenant => {
                Ok(Some(ResourceName::Device(tenant, device).to_string()))
            }
            Ok(ResourceName::Device(tenant, _)) => Err(Error::usage(format!(
                "`{given}` is a device of another tenant; use --tenant {tenant}"
            ))),
            _ => Err(Error::usage(format!(
                "`{given}` is not a device; expected its id (OUI-ProductClass-SerialNumber), \
                 tenants/{{tenant}}/devices/{{device}}, its serial number, or the beginning of its id"
            ))),
        };
    }
    Ok(given
        .parse::<DeviceId>()
        .ok()
        .map(|id| ResourceName::Device(api.tenant.clone(), id).to_string()))
}

/// Finds a device. One request for a whole id, one to three for a short form.
///
/// # Errors
/// NotFound, or Ambiguous with the first ids that fit.
pub(crate) async fn device(api: &Api, given: &str, unseen: bool) -> Result<Found, Error> {
    let whole = whole(api, given)?;
    if let Some(name) = &whole {
        let request = nb::GetDeviceRequest { name: name.clone() };
        match api.answer(api.devices().get_device(request)).await {
            Ok(answer) => {
                return Ok(Found {
                    name: name.clone(),
                    device: answer.device,
                    exact: true,
                });
            }
            Err(Error::Api(status)) if status.code() == Code::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    if given.is_empty() {
        return Err(Error::usage(
            "a device is missing: expected its id or serial number",
        ));
    }
    // A full name is meant as it stands.
    if !given.contains('/') {
        let serial = filter::literal("serial_number", given, false);
        if let Some(found) = one(api, given, serial, true).await? {
            return Ok(found);
        }
        let id = filter::literal("id", given, true);
        if let Some(found) = one(api, given, id, false).await? {
            return Ok(found);
        }
    }
    match whole {
        Some(name) if unseen => Ok(Found {
            name,
            device: None,
            exact: true,
        }),
        _ => Err(Error::NotFound {
            message: format!("no device `{given}` in tenant {}", api.tenant),
            advice: "see: hearthctl device list; one that was never seen can get tasks and a \
                     login by its whole id and --unseen"
                .into(),
        }),
    }
}

async fn one(api: &Api, given: &str, filter: String, exact: bool) -> Result<Option<Found>, Error> {
    let request = nb::ListDevicesRequest {
        parent: api.tenant_name(),
        page_size: CANDIDATES,
        page_token: String::new(),
        filter,
    };
    let mut found = api
        .answer(api.devices().list_devices(request))
        .await?
        .devices;
    match found.len() {
        0 => Ok(None),
        1 => Ok(found.pop().map(|device| Found {
            name: device.name.clone(),
            device: Some(device),
            exact,
        })),
        _ => Err(Error::Ambiguous {
            given: given.to_owned(),
            candidates: found.iter().map(|d| id_of(&d.name).to_owned()).collect(),
        }),
    }
}
