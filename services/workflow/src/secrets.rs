//! Secrets: sealed before they reach the ledger or the bus, opened only into the request that
//! carries them to the device.

use hearth_auth::Sealer;
use hearth_auth::seal::parameter_place;
use hearth_clients::Error;
use hearth_proto::types::v1::{
    ChangeDuState, DuOperation, ParameterValue, TaskSpec, du_operation::Kind as Operation,
    task_spec::Kind,
};
use hearth_types::{DeviceKey, MASK, is_secret_name};

/// Seals and opens secrets of a device's parameters and transfers, for the place
/// `{tenant}/{device}/{path}`.
#[derive(Clone, Debug)]
pub(crate) struct Secrets {
    sealer: Sealer,
}

/// The places of transfer passwords; no parameter's path holds a blank.
const DOWNLOAD: &str = "task download password";
const UPLOAD: &str = "task upload password";
const SCHEDULED: &str = "task scheduled download password";

/// The place of the password of a ChangeDUState's operation.
fn unit_place(index: usize) -> String {
    format!("task unit {index} password")
}

/// An operation's password, and the same sealed.
fn unit_password(operation: &mut DuOperation) -> Option<(&mut String, &mut Vec<u8>)> {
    match operation.kind.as_mut()? {
        Operation::Install(install) => Some((&mut install.password, &mut install.sealed_password)),
        Operation::Update(update) => Some((&mut update.password, &mut update.sealed_password)),
        Operation::Uninstall(_) => None,
    }
}

impl Secrets {
    pub(crate) fn new(sealer: Sealer) -> Self {
        Self { sealer }
    }

    fn seal(&self, device: &DeviceKey, path: &str, text: &str) -> Result<Vec<u8>, Error> {
        self.sealer
            .seal(&parameter_place(device, path), text.as_bytes())
            .map_err(|error| {
                tracing::error!(%error, %device, "a secret can't be sealed");
                Error::internal("a secret value could not be sealed; see the server's log")
            })
    }

    fn open(&self, device: &DeviceKey, path: &str, sealed: &[u8]) -> Result<String, Error> {
        let opened = self.sealer.open(&parameter_place(device, path), sealed);
        let text = opened.ok().and_then(|bytes| String::from_utf8(bytes).ok());
        text.ok_or_else(|| {
            tracing::error!(%device, path, "a sealed value can't be opened: is secret.key the one it was sealed with?");
            Error::internal("a sealed value can't be opened with this server's key")
        })
    }

    /// Seals a value whose name is a secret's. Nothing is sealed where there is
    /// no secret: devices read passwords back empty, and the gateway masks what they don't.
    pub(crate) fn seal_value(
        &self,
        device: &DeviceKey,
        value: &mut ParameterValue,
    ) -> Result<(), Error> {
        let masked = value.value.is_empty() || value.value == MASK;
        if is_secret_name(&value.path) && value.sealed.is_empty() && !masked {
            value.sealed = self.seal(device, &value.path, &value.value)?;
            value.value = String::new();
        }
        Ok(())
    }

    /// The value in plain text, for the request.
    pub(crate) fn open_value(
        &self,
        device: &DeviceKey,
        value: &ParameterValue,
    ) -> Result<ParameterValue, Error> {
        let mut value = value.clone();
        if !value.sealed.is_empty() {
            value.value = self.open(device, &value.path, &value.sealed)?;
            value.sealed = Vec::new();
        }
        Ok(value)
    }

    /// The same value under a longer path: a secret is sealed for its new place.
    pub(crate) fn moved(
        &self,
        device: &DeviceKey,
        value: &ParameterValue,
        prefix: &str,
    ) -> Result<ParameterValue, Error> {
        let mut moved = self.open_value(device, value)?;
        moved.path = format!("{prefix}{}", value.path);
        if !value.sealed.is_empty() {
            moved.sealed = self.seal(device, &moved.path, &moved.value)?;
            moved.value = String::new();
        }
        Ok(moved)
    }

    /// Seals all secrets of a task; nothing in plain text stays.
    pub(crate) fn seal_spec(&self, device: &DeviceKey, spec: &mut TaskSpec) -> Result<(), Error> {
        match &mut spec.kind {
            Some(Kind::SetParameterValues(set)) => {
                for value in &mut set.values {
                    value.sealed = Vec::new();
                    self.seal_value(device, value)?;
                }
            }
            Some(Kind::AddObject(add)) => {
                for value in &mut add.values {
                    value.sealed = Vec::new();
                    self.seal_value(device, value)?;
                }
            }
            Some(Kind::Download(download)) => {
                download.sealed_password = Vec::new();
                if !download.password.is_empty() {
                    download.sealed_password = self.seal(device, DOWNLOAD, &download.password)?;
                    download.password = String::new();
                }
            }
            Some(Kind::Upload(upload)) => {
                upload.sealed_password = Vec::new();
                if !upload.password.is_empty() {
                    upload.sealed_password = self.seal(device, UPLOAD, &upload.password)?;
                    upload.password = String::new();
                }
            }
            Some(Kind::ScheduleDownload(download)) => {
                download.sealed_password = Vec::new();
                if !download.password.is_empty() {
                    download.sealed_password = self.seal(device, SCHEDULED, &download.password)?;
                    download.password = String::new();
                }
            }
            Some(Kind::ChangeDuState(change)) => {
                for (index, operation) in change.operations.iter_mut().enumerate() {
                    if let Some((password, sealed)) = unit_password(operation) {
                        *sealed = Vec::new();
                        if !password.is_empty() {
                            *sealed = self.seal(device, &unit_place(index), password)?;
                            *password = String::new();
                        }
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The password of a Download or Upload with a URL of its own.
    pub(crate) fn transfer_password(
        &self,
        device: &DeviceKey,
        kind: &Kind,
    ) -> Result<String, Error> {
        let (place, sealed) = match kind {
            Kind::Download(download) => (DOWNLOAD, &download.sealed_password),
            Kind::Upload(upload) => (UPLOAD, &upload.sealed_password),
            Kind::ScheduleDownload(download) => (SCHEDULED, &download.sealed_password),
            _ => return Ok(String::new()),
        };
        if sealed.is_empty() {
            return Ok(String::new());
        }
        self.open(device, place, sealed)
    }

    /// The operations of a ChangeDUState with their passwords in plain text.
    pub(crate) fn open_units(
        &self,
        device: &DeviceKey,
        change: &ChangeDuState,
    ) -> Result<Vec<DuOperation>, Error> {
        let mut operations = change.operations.clone();
        for (index, operation) in operations.iter_mut().enumerate() {
            if let Some((password, sealed)) = unit_password(operation)
                && !sealed.is_empty()
            {
                *password = self.open(device, &unit_place(index), sealed)?;
                *sealed = Vec::new();
            }
        }
        Ok(operations)
    }
}
