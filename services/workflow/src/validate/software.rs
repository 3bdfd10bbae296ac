//! ChangeDUState: what would mean more than it says is refused (TR-069 A.4.1.10).

use super::{at_most, count, path, transfers};
use hearth_clients::{Error, Result};
use hearth_proto::types::v1::{
    ChangeDuState, DuInstall, DuOperation, DuUninstall, DuUpdate, du_operation::Kind,
};
use hearth_types::{DeviceKey, ResourceName};

/// What every device takes in one request.
const MAX_OPERATIONS: usize = 16;
const MAX_URL: usize = 1024;
const MAX_VERSION: usize = 32;

pub(super) fn change(device: &DeviceKey, change: &ChangeDuState) -> Result<()> {
    let field = "spec.change_du_state.operations";
    count(field, change.operations.len(), MAX_OPERATIONS)?;
    for (index, operation) in change.operations.iter().enumerate() {
        self::operation(device, &format!("{field}[{index}]"), operation)?;
    }
    Ok(())
}

fn operation(device: &DeviceKey, field: &str, operation: &DuOperation) -> Result<()> {
    match &operation.kind {
        Some(Kind::Install(one)) => install(device, &format!("{field}.install"), one),
        Some(Kind::Update(one)) => update(device, &format!("{field}.update"), one),
        Some(Kind::Uninstall(one)) => uninstall(&format!("{field}.uninstall"), one),
        None => Err(Error::invalid(
            field,
            "expected exactly one of install, update and uninstall",
        )),
    }
}

fn install(device: &DeviceKey, field: &str, install: &DuInstall) -> Result<()> {
    let at = |name: &str| format!("{field}.{name}");
    transfers::source(device, &at, &install.file, &install.url, MAX_URL)?;
    uuid(&at("uuid"), &install.uuid)?;
    transfers::credentials(&at, &install.username, &install.password)?;
    environment(&at("execution_env_ref"), &install.execution_env_ref)
}

fn update(device: &DeviceKey, field: &str, update: &DuUpdate) -> Result<()> {
    let at = |name: &str| format!("{field}.{name}");
    uuid(&at("uuid"), &update.uuid)?;
    at_most(&at("version"), &update.version, MAX_VERSION)?;
    transfers::credentials(&at, &update.username, &update.password)?;
    if !update.file.is_empty() || !update.url.is_empty() {
        transfers::source(device, &at, &update.file, &update.url, MAX_URL)?;
    }
    let named = [&update.uuid, &update.url, &update.file];
    let named = named.iter().any(|text| !text.is_empty());
    if update.all_units && (named || !update.version.is_empty()) {
        return Err(Error::invalid(
            at("all_units"),
            "means every unit of the device; expected it without uuid, version, url and file",
        ));
    }
    if !update.all_units && !named {
        return Err(Error::invalid(
            at("uuid"),
            "names no unit, which means ALL units to a device; expected a uuid or a url, or \
             all_units if that is meant",
        ));
    }
    if !update.version.is_empty() && update.uuid.is_empty() {
        return Err(Error::invalid(
            at("version"),
            "expected it with a uuid only: it says which version of that unit is updated",
        ));
    }
    if !update.file.is_empty() && update.uuid.is_empty() {
        let what = match update.file.parse::<ResourceName>() {
            Ok(ResourceName::File(_, file)) => file,
            _ => update.file.clone(),
        };
        return Err(Error::invalid(
            at("uuid"),
            format!("expected the unit that {what} updates: the URL of the file is made anew"),
        ));
    }
    Ok(())
}

fn uninstall(field: &str, uninstall: &DuUninstall) -> Result<()> {
    let at = |name: &str| format!("{field}.{name}");
    if uninstall.uuid.is_empty() {
        return Err(Error::invalid(at("uuid"), "expected the unit's UUID"));
    }
    uuid(&at("uuid"), &uninstall.uuid)?;
    at_most(&at("version"), &uninstall.version, MAX_VERSION)?;
    environment(&at("execution_env_ref"), &uninstall.execution_env_ref)?;
    match (uninstall.version.is_empty(), uninstall.all_versions) {
        (true, false) => Err(Error::invalid(
            at("version"),
            "is not given, which means ALL versions to a device; expected a version, or \
             all_versions if that is meant",
        )),
        (false, true) => Err(Error::invalid(
            at("all_versions"),
            "expected either a version or all_versions, not both",
        )),
        _ => Ok(()),
    }
}

fn environment(field: &str, text: &str) -> Result<()> {
    if text.is_empty() {
        return Ok(());
    }
    // A reference to an object may be written without its final dot.
    path(field, text).map(drop)
}

/// A UUID as RFC 4122 writes it, or none.
fn uuid(field: &str, text: &str) -> Result<()> {
    let lengths = [8, 4, 4, 4, 12];
    let parts: Vec<&str> = text.split('-').collect();
    let good = parts.len() == lengths.len()
        && parts.iter().zip(lengths).all(|(part, length)| {
            part.len() == length && part.bytes().all(|b| b.is_ascii_hexdigit())
        });
    if text.is_empty() || good {
        return Ok(());
    }
    Err(Error::invalid(
        field,
        "expected a UUID: `85f8a1c2-5d3e-4c1b-9b7a-0d4f2f0c9e11`",
    ))
}
