//! Requests as they leave: secrets opened, types and URLs filled in.

mod transfers;

use crate::{
    ledger::Work,
    plan::{Command, Plan, set::Types},
    service::Inner,
};
use hearth_clients::{Error, Kind as ErrorKind};
use hearth_proto::{
    devicestate::v1::ListParametersRequest,
    files::v1::{PrepareTransferRequest, PrepareTransferResponse},
    types::v1::{ParameterValue, TaskState, Upload, ValueType, task_spec::Kind},
    workflow::v1::{DownloadRpc, Request, SetParameterValuesRpc, UploadRpc, request::Rpc},
};
use hearth_types::ResourceName;

/// Why a request can't be made.
pub(crate) enum Unbuilt {
    /// It never can.
    Never(String),
    /// A part that is needed is away.
    NotNow(String),
    /// The task has ended without it.
    Ended(TaskState, String),
}

impl Unbuilt {
    /// What is the matter.
    pub(crate) fn reason(self) -> String {
        match self {
            Self::Never(reason) | Self::NotNow(reason) | Self::Ended(_, reason) => reason,
        }
    }
}

impl From<Error> for Unbuilt {
    fn from(error: Error) -> Self {
        if error.is_retryable() {
            Self::NotNow(error.message)
        } else {
            Self::Never(error.message)
        }
    }
}

impl Inner {
    /// The request of the present step. Made again it is the same.
    pub(crate) async fn build(&self, work: &mut Work) -> Result<Request, Unbuilt> {
        let key = work.key();
        let id = work.request_id();
        if let Some(Plan::Lacking(reason)) = &work.progress.plan {
            return Err(Unbuilt::Never(reason.clone()));
        }
        let command = match (&work.progress.plan, work.kind()) {
            (Some(plan), Some(kind)) => plan.command(kind, key),
            _ => None,
        };
        let misfit = || Unbuilt::Never("the task's progress does not fit its kind".to_owned());
        let command = command.ok_or_else(misfit)?;
        work.note_rpc(command.name());
        let rpc = match command {
            Command::Rpc(rpc) => rpc,
            Command::SetValues {
                prefix,
                like,
                types,
                forms,
            } => Rpc::SetParameterValues(SetParameterValuesRpc {
                values: self.values_to_set(work, &prefix, &like, &types).await?,
                parameter_key: key.to_string(),
                boolean_form: forms.booleans,
                no_fractional_seconds: forms.whole_seconds,
            }),
            Command::Download => Rpc::Download(self.download(work).await?),
            Command::Upload => Rpc::Upload(self.upload(work).await?),
            Command::ScheduleDownload => Rpc::ScheduleDownload(self.schedule_download(work).await?),
            Command::CancelTransfer => Rpc::CancelTransfer(self.cancel_transfer(work).await?),
            Command::ChangeDuState => Rpc::ChangeDuState(self.change_units(work).await?),
        };
        Ok(Request { id, rpc: Some(rpc) })
    }

    /// The spec's values in plain text and with types.
    async fn values_to_set(
        &self,
        work: &Work,
        prefix: &str,
        like: &str,
        types: &Types,
    ) -> Result<Vec<ParameterValue>, Unbuilt> {
        let mut values = Vec::new();
        let rotation = self.open_rotation(work).await?;
        for value in spec_values(work) {
            let mut plain = match rotation.as_ref().and_then(|opened| opened.value(value)) {
                Some(pending) => pending,
                None => self.secrets.open_value(&work.device, value)?,
            };
            plain.path.insert_str(0, prefix);
            if let Some(told) = types.get(&plain.path)
                && plain.r#type() == ValueType::Unspecified
            {
                plain.r#type = *told;
            }
            if plain.r#type() == ValueType::Unspecified {
                let known = self.known_type(work, &plain.path).await;
                let known = match known {
                    None if !like.is_empty() => {
                        let sibling = format!("{like}{}", value.path);
                        self.known_type(work, &sibling).await
                    }
                    known => known,
                };
                plain.set_type(known.unwrap_or(ValueType::String));
            }
            values.push(plain);
        }
        Ok(values)
    }

    /// The type that the device last reported for a parameter.
    async fn known_type(&self, work: &Work, path: &str) -> Option<ValueType> {
        let request = ListParametersRequest {
            tenant: work.device.tenant.to_string(),
            device: work.device.device.to_string(),
            path: path.to_owned(),
            page_size: 1,
            values_only: true,
            ..ListParametersRequest::default()
        };
        // Where it can't be learned a string is sent: most devices take it.
        let found = self.device_state.list_parameters(request).await.ok()?;
        let parameter = found.parameters.into_iter().find(|p| p.path == path)?;
        (parameter.has_value && parameter.r#type() != ValueType::Unspecified)
            .then(|| parameter.r#type())
    }

    async fn download(&self, work: &Work) -> Result<DownloadRpc, Unbuilt> {
        let Some(Kind::Download(spec)) = work.kind() else {
            return Err(Unbuilt::Never("not a download".to_owned()));
        };
        let mut rpc = DownloadRpc {
            command_key: work.key().to_string(),
            file_type: spec.file_type.clone(),
            url: spec.url.clone(),
            username: spec.username.clone(),
            password: String::new(),
            file_size: spec.file_size,
            target_file_name: spec.target_file_name.clone(),
            delay_seconds: spec.delay_seconds,
            success_url: spec.success_url.clone(),
            failure_url: spec.failure_url.clone(),
        };
        if spec.file.is_empty() {
            rpc.password = self.password(work)?;
        } else {
            let file = own_file(&spec.file)?;
            let made = self.prepare(work, file, String::new()).await?;
            if made.begun && is_unproven(work) {
                return Err(fetched_already());
            }
            (rpc.url, rpc.username, rpc.password) = (made.url, made.username, made.password);
            rpc.file_size = made.file_size;
        }
        Ok(rpc)
    }

    async fn upload(&self, work: &mut Work) -> Result<UploadRpc, Unbuilt> {
        let Some(Kind::Upload(spec)) = work.kind() else {
            return Err(Unbuilt::Never("not an upload".to_owned()));
        };
        let mut rpc = UploadRpc {
            command_key: work.key().to_string(),
            file_type: spec.file_type.clone(),
            url: spec.url.clone(),
            username: spec.username.clone(),
            password: String::new(),
            delay_seconds: spec.delay_seconds,
        };
        if is_own(spec) {
            let file_type = spec.file_type.clone();
            let made = self.prepare(work, String::new(), file_type).await?;
            if made.kept && is_unproven(work) {
                let name = format!("tenants/{}/files/{}", work.device.tenant, made.file);
                work.task.result.get_or_insert_default().file = name;
                return Err(Unbuilt::Ended(
                    TaskState::Succeeded,
                    "the file is here; the device's answer was lost".to_owned(),
                ));
            }
            (rpc.url, rpc.username, rpc.password) = (made.url, made.username, made.password);
            if let Some(Plan::Transfer(transfer)) = &mut work.progress.plan {
                transfer.file = format!("tenants/{}/files/{}", work.device.tenant, made.file);
            }
        } else {
            rpc.password = self.password(work)?;
        }
        Ok(rpc)
    }

    fn password(&self, work: &Work) -> Result<String, Unbuilt> {
        match work.kind() {
            Some(kind) => Ok(self.secrets.transfer_password(&work.device, kind)?),
            None => Ok(String::new()),
        }
    }

    /// The URL and credential of a transfer from or to this server.
    async fn prepare(
        &self,
        work: &Work,
        file: String,
        upload_file_type: String,
    ) -> Result<PrepareTransferResponse, Unbuilt> {
        let name = file.clone();
        let request = PrepareTransferRequest {
            tenant: work.device.tenant.to_string(),
            device: work.device.device.to_string(),
            task: work.id.to_string(),
            file,
            upload_file_type,
            expire_time_us: work.task.deadline_us,
        };
        match self.files.prepare_transfer(request).await {
            Ok(made) => Ok(made),
            Err(error) if error.kind == ErrorKind::NotFound => Err(Unbuilt::Never(format!(
                "this server has no file {name} any more; put it there and repeat the task"
            ))),
            Err(error) => Err(error.into()),
        }
    }
}

/// A device that transfers at once never lists it, and reports nothing more: another one would
/// install the same again.
fn fetched_already() -> Unbuilt {
    Unbuilt::Ended(
        TaskState::UnknownOutcome,
        "the device has fetched the file, but its answer was lost and it does not list the \
         transfer: look at what it runs"
            .to_owned(),
    )
}

/// Whether a transfer is to be sent again because the device does not list it.
fn is_unproven(work: &Work) -> bool {
    matches!(&work.progress.plan, Some(Plan::Transfer(transfer)) if transfer.unproven)
}

/// The values that a task sets.
pub(crate) fn spec_values(work: &Work) -> &[ParameterValue] {
    match work.kind() {
        Some(Kind::SetParameterValues(set)) => &set.values,
        Some(Kind::AddObject(add)) => &add.values,
        _ => &[],
    }
}

/// The name of the file of this server that a Download is about.
fn own_file(name: &str) -> Result<String, Unbuilt> {
    match name.parse::<ResourceName>() {
        Ok(ResourceName::File(_, file)) => Ok(file),
        _ => Err(Unbuilt::Never(format!("{name} is not the name of a file"))),
    }
}

/// Whether an Upload comes to this server.
fn is_own(spec: &Upload) -> bool {
    spec.url.is_empty()
}
