//! TaskService: what is to be done on devices.

use crate::caller::Caller;
use crate::core::Core;
use crate::devices::time;
use crate::error::{Context, invalid, not_found};
use crate::{convert, page, watch};
use futures::stream::BoxStream;
use hearth_proto::northbound::v1::{self as nb, task_service_server::TaskService};
use hearth_proto::types::v1::{self as ty, task_spec::Kind};
use hearth_proto::workflow::v1 as wf;
use hearth_types::{MASK, TenantId, is_secret_name};
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// Internal fields by their public names.
const CREATE: &[(&str, &str)] = &[
    ("spec", "task.spec"),
    ("priority", "task.priority"),
    ("deadline_us", "task.deadline"),
    ("deadline", "task.deadline"),
    ("max_attempts", "task.max_attempts"),
    ("idempotency_key", "request_id"),
    ("device", "parent"),
    ("tenant", "parent"),
];
const NAMED: &[(&str, &str)] = &[("task", "name"), ("tenant", "name")];
const LIST: &[(&str, &str)] = &[("device", "parent"), ("tenant", "parent")];

/// The service.
pub(crate) struct Tasks(pub(crate) Arc<Core>);

#[tonic::async_trait]
impl TaskService for Tasks {
    async fn create_task(
        &self,
        request: Request<nb::CreateTaskRequest>,
    ) -> Result<Response<nb::CreateTaskResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let key = caller.device("parent", &request.parent)?;
        let task = request
            .task
            .ok_or_else(|| invalid("task", "is missing; expected a task with a spec"))?;
        let spec = checked(&caller, &key.tenant, task.spec)?;
        if request.request_id.chars().count() > 128 {
            return Err(invalid(
                "request_id",
                "expected 1 to 128 characters, or none",
            ));
        }
        let internal = wf::CreateTaskRequest {
            tenant: key.tenant.to_string(),
            device: key.device.to_string(),
            spec: Some(spec),
            priority: task.priority,
            deadline_us: time("task.deadline", task.deadline.as_ref())?,
            idempotency_key: request.request_id,
            max_attempts: task.max_attempts,
            no_wake: request.no_wake,
        };
        let context = Context::of("Task", &request.parent).fields(CREATE);
        let answer = self.0.clients.workflow.create_task(internal).await;
        let answer = answer.map_err(|error| context.status(error))?;
        Ok(Response::new(nb::CreateTaskResponse {
            task: answer.task.map(convert::task),
        }))
    }

    async fn get_task(
        &self,
        request: Request<nb::GetTaskRequest>,
    ) -> Result<Response<nb::GetTaskResponse>, Status> {
        let caller = Caller::of(&request)?;
        let name = request.into_inner().name;
        let (tenant, task) = caller.task("name", &name)?;
        let internal = wf::GetTaskRequest {
            tenant: tenant.to_string(),
            task: task.to_string(),
        };
        let context = Context::of("Task", &name).fields(NAMED);
        let answer = self.0.clients.workflow.get_task(internal).await;
        let task = answer.map_err(|error| context.status(error))?.task;
        let task = task.ok_or_else(|| not_found("Task", &name, "there is no such task"))?;
        Ok(Response::new(nb::GetTaskResponse {
            task: Some(convert::task(task)),
        }))
    }

    async fn list_tasks(
        &self,
        request: Request<nb::ListTasksRequest>,
    ) -> Result<Response<nb::ListTasksResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let (tenant, device) = caller.scope("parent", &request.parent)?;
        for (index, &state) in request.states.iter().enumerate() {
            if matches!(
                ty::TaskState::try_from(state),
                Err(_) | Ok(ty::TaskState::Unspecified)
            ) {
                return Err(invalid(
                    &format!("states[{index}]"),
                    "expected a state as TASK_STATE_QUEUED; leave the list empty for all",
                ));
            }
        }
        let size = page::RESOURCES.size(request.page_size)?;
        let context = Context::of("Device", &request.parent).fields(LIST);
        let fetch = |page_size, page_token| {
            let call = self.0.clients.workflow.list_tasks(wf::ListTasksRequest {
                tenant: tenant.to_string(),
                device: device.clone(),
                states: request.states.clone(),
                page_size,
                page_token,
            });
            async move {
                let answer = call.await.map_err(|error| context.status(error))?;
                let tasks = answer.tasks.into_iter().map(convert::listed_task);
                Ok((tasks.collect(), answer.next_page_token))
            }
        };
        let token = page::token(request.page_token)?;
        let (tasks, next_page_token) = page::gather(size, token, fetch).await?;
        Ok(Response::new(nb::ListTasksResponse {
            tasks,
            next_page_token,
        }))
    }

    async fn cancel_task(
        &self,
        request: Request<nb::CancelTaskRequest>,
    ) -> Result<Response<nb::CancelTaskResponse>, Status> {
        let caller = Caller::of(&request)?;
        let name = request.into_inner().name;
        let (tenant, task) = caller.task("name", &name)?;
        let internal = wf::CancelTaskRequest {
            tenant: tenant.to_string(),
            task: task.to_string(),
        };
        let context = Context::of("Task", &name).fields(NAMED);
        let answer = self.0.clients.workflow.cancel_task(internal).await;
        let answer = answer.map_err(|error| context.status(error))?;
        Ok(Response::new(nb::CancelTaskResponse {
            task: answer.task.map(convert::task),
        }))
    }

    async fn retry_task(
        &self,
        request: Request<nb::RetryTaskRequest>,
    ) -> Result<Response<nb::RetryTaskResponse>, Status> {
        let caller = Caller::of(&request)?;
        let name = request.into_inner().name;
        let (tenant, task) = caller.task("name", &name)?;
        let internal = wf::RetryTaskRequest {
            tenant: tenant.to_string(),
            task: task.to_string(),
        };
        let context = Context::of("Task", &name).fields(NAMED);
        let answer = self.0.clients.workflow.retry_task(internal).await;
        let answer = answer.map_err(|error| context.status(error))?;
        Ok(Response::new(nb::RetryTaskResponse {
            task: answer.task.map(convert::task),
        }))
    }

    type WatchTaskStream = BoxStream<'static, Result<nb::WatchTaskResponse, Status>>;

    async fn watch_task(
        &self,
        request: Request<nb::WatchTaskRequest>,
    ) -> Result<Response<Self::WatchTaskStream>, Status> {
        let caller = Caller::of(&request)?;
        let name = request.into_inner().name;
        let (tenant, task) = caller.task("name", &name)?;
        let stream = watch::task(self.0.clone(), name, &tenant, task).await?;
        Ok(Response::new(stream))
    }
}

/// What only the edge of the API can check about a spec; the rest is workflow's.
fn checked(
    caller: &Caller,
    tenant: &TenantId,
    spec: Option<ty::TaskSpec>,
) -> Result<ty::TaskSpec, Status> {
    let spec = spec.unwrap_or_default();
    let sealed = |field: &str| {
        Err(invalid(
            &format!("task.spec.{field}"),
            "is for the server's own use; leave it empty and give the value in plain text",
        ))
    };
    match &spec.kind {
        None => {
            return Err(invalid(
                "task.spec",
                "has no kind; expected exactly one, as {\"reboot\": {}} or \
                 {\"getParameterValues\": {\"paths\": [\"Device.DeviceInfo.\"]}}",
            ));
        }
        Some(Kind::SetParameterValues(set)) => {
            check_values("task.spec.set_parameter_values.values", &set.values)?;
        }
        Some(Kind::AddObject(add)) => check_values("task.spec.add_object.values", &add.values)?,
        Some(Kind::Download(download)) => {
            if !download.sealed_password.is_empty() {
                return sealed("download.sealed_password");
            }
            own_file(caller, tenant, "task.spec.download.file", &download.file)?;
        }
        Some(Kind::ScheduleDownload(download)) => {
            if !download.sealed_password.is_empty() {
                return sealed("schedule_download.sealed_password");
            }
            let field = "task.spec.schedule_download.file";
            own_file(caller, tenant, field, &download.file)?;
        }
        Some(Kind::CancelTransfer(cancel)) if !cancel.task.is_empty() => {
            const FIELD: &str = "task.spec.cancel_transfer.task";
            let (owner, _) = caller.task(FIELD, &cancel.task)?;
            if owner != *tenant {
                return Err(invalid(
                    FIELD,
                    format!(
                        "is a task of another tenant; expected tenants/{tenant}/tasks/{{task}}"
                    ),
                ));
            }
        }
        Some(Kind::ChangeDuState(change)) => {
            for (index, operation) in change.operations.iter().enumerate() {
                use ty::du_operation::Kind;
                let (kind, is_sealed, file) = match &operation.kind {
                    Some(Kind::Install(install)) => (
                        "install",
                        !install.sealed_password.is_empty(),
                        &install.file,
                    ),
                    Some(Kind::Update(update)) => {
                        ("update", !update.sealed_password.is_empty(), &update.file)
                    }
                    Some(Kind::Uninstall(_)) | None => continue,
                };
                let field = format!("change_du_state.operations[{index}].{kind}");
                if is_sealed {
                    return sealed(&format!("{field}.sealed_password"));
                }
                own_file(caller, tenant, &format!("task.spec.{field}.file"), file)?;
            }
        }
        Some(Kind::Upload(upload)) if !upload.sealed_password.is_empty() => {
            return sealed("upload.sealed_password");
        }
        Some(_) => {}
    }
    Ok(spec)
}

/// Checks that a file, if one is named, is of the tenant.
fn own_file(caller: &Caller, tenant: &TenantId, field: &str, file: &str) -> Result<(), Status> {
    if file.is_empty() {
        return Ok(());
    }
    let (owner, _) = caller.file(field, file)?;
    if owner == *tenant {
        return Ok(());
    }
    Err(invalid(
        field,
        format!("is a file of another tenant; expected tenants/{tenant}/files/{{file}}"),
    ))
}

fn check_values(field: &str, values: &[ty::ParameterValue]) -> Result<(), Status> {
    for (index, value) in values.iter().enumerate() {
        if !value.sealed.is_empty() {
            return Err(invalid(
                &format!("{field}[{index}].sealed"),
                "is for the server's own use; leave it empty and give value in plain text",
            ));
        }
        // Someone sends back what they read: the device would get asterisks for a password.
        if value.value == MASK && is_secret_name(&value.path) {
            return Err(invalid(
                &format!("{field}[{index}].value"),
                "is the mask that stands for a secret in answers; give the real value, or leave \
                 the parameter out",
            ));
        }
    }
    Ok(())
}
