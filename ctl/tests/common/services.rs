//! The services of the canned server.

use super::{Fake, TASK, invalid, time};
use futures::{StreamExt, stream};
use hearth_proto::{
    northbound::v1 as nb,
    types::v1::{ParameterValue, TaskAttempt, TaskState},
};
use std::pin::Pin;
use tonic::{Request, Response, Status, Streaming};

type Answer<T> = Result<Response<T>, Status>;
type Stream<T> = Pin<Box<dyn futures::Stream<Item = Result<T, Status>> + Send>>;

fn ok<T>(answer: T) -> Answer<T> {
    Ok(Response::new(answer))
}

impl Fake {
    fn device(&self, name: &str) -> Result<nb::Device, Status> {
        let state = self.state.lock().unwrap();
        let found = state.devices.iter().find(|d| d.name == name);
        found
            .cloned()
            .ok_or_else(|| Status::not_found("no such device was seen"))
    }

    /// A task in each of the states that it goes through.
    fn stages(&self, name: &str) -> Vec<nb::Task> {
        let state = self.state.lock().unwrap();
        let base = state.tasks.get(name).cloned().unwrap_or_default();
        let stage = |(index, stage): (usize, &TaskState)| {
            let mut task = base.clone();
            task.state = (*stage).into();
            if stage.is_final() {
                task.reason = "done".into();
                task.result = Some(state.result.clone());
                task.fault = state.fault.clone();
                task.attempts = vec![TaskAttempt {
                    number: 1,
                    rpc: "Rpc".into(),
                    start_time: time("2026-01-31T11:59:00Z"),
                    end_time: time("2026-01-31T11:59:02.5Z"),
                    outcome: "answered".into(),
                    ..Default::default()
                }];
            } else {
                task.reason = format!("step {index}");
            }
            task
        };
        state.script.iter().enumerate().map(stage).collect()
    }
}

#[tonic::async_trait]
impl nb::device_service_server::DeviceService for Fake {
    async fn get_device(&self, r: Request<nb::GetDeviceRequest>) -> Answer<nb::GetDeviceResponse> {
        let device = Some(self.device(&r.into_inner().name)?);
        ok(nb::GetDeviceResponse { device })
    }

    async fn list_devices(
        &self,
        r: Request<nb::ListDevicesRequest>,
    ) -> Answer<nb::ListDevicesResponse> {
        let request = r.into_inner();
        let mut state = self.state.lock().unwrap();
        state.filters.push(request.filter.clone());
        if request.filter.contains("colour") {
            return Err(invalid("filter", "expected a field at character 1"));
        }
        let fits = |d: &nb::Device| match request.filter.split_once(" = ") {
            Some(("serial_number", value)) => format!("\"{}\"", d.serial_number) == value,
            Some(("id", value)) => {
                let id = d.name.rsplit('/').next().unwrap();
                id.starts_with(value.trim_matches('"').trim_end_matches('*'))
            }
            _ => true,
        };
        let skip: usize = request.page_token.parse().unwrap_or(0);
        let mut fitting = state.devices.iter().filter(|d| fits(d)).skip(skip);
        // Pages of two, so that paging is seen.
        let size = (request.page_size as usize).min(2);
        let devices: Vec<_> = fitting.by_ref().take(size).cloned().collect();
        let next_page_token = match fitting.next() {
            Some(_) => (skip + devices.len()).to_string(),
            None => String::new(),
        };
        ok(nb::ListDevicesResponse {
            devices,
            next_page_token,
        })
    }

    async fn set_device_state(
        &self,
        r: Request<nb::SetDeviceStateRequest>,
    ) -> Answer<nb::SetDeviceStateResponse> {
        let request = r.into_inner();
        let device = nb::Device {
            name: request.name.clone(),
            state: request.state,
            state_reason: request.reason.clone(),
            ..nb::Device::default()
        };
        self.with(|state| state.states.push(request));
        ok(nb::SetDeviceStateResponse {
            device: Some(device),
        })
    }

    async fn update_device(
        &self,
        r: Request<nb::UpdateDeviceRequest>,
    ) -> Answer<nb::UpdateDeviceResponse> {
        let request = r.into_inner();
        let mut device = self.device(&request.device.unwrap().name)?;
        device.tags.clone_from(&request.add_tags);
        self.with(|state| state.tags.push((request.add_tags, request.remove_tags)));
        ok(nb::UpdateDeviceResponse {
            device: Some(device),
        })
    }

    async fn delete_device(
        &self,
        r: Request<nb::DeleteDeviceRequest>,
    ) -> Answer<nb::DeleteDeviceResponse> {
        let name = r.into_inner().name;
        self.device(&name)?;
        self.with(|state| state.deleted.push(name));
        ok(nb::DeleteDeviceResponse {})
    }

    async fn count_devices(
        &self,
        _: Request<nb::CountDevicesRequest>,
    ) -> Answer<nb::CountDevicesResponse> {
        ok(nb::CountDevicesResponse {
            total: 3,
            online: 1,
        })
    }

    async fn wake_device(
        &self,
        r: Request<nb::WakeDeviceRequest>,
    ) -> Answer<nb::WakeDeviceResponse> {
        let accepted = self.device(&r.into_inner().name)?.online;
        let (outcome, detail) = match accepted {
            true => ("accepted", "the device accepted"),
            false => ("credentials", "set them: hearthctl credential set"),
        };
        ok(nb::WakeDeviceResponse {
            accepted,
            outcome: outcome.into(),
            detail: detail.into(),
            way: "http".into(),
        })
    }

    async fn list_parameters(
        &self,
        r: Request<nb::ListParametersRequest>,
    ) -> Answer<nb::ListParametersResponse> {
        let request = r.into_inner();
        let state = self.state.lock().unwrap();
        let fits = |p: &&nb::Parameter| match request.path.as_str() {
            path if path.is_empty() || path.ends_with('.') => p.path.starts_with(path),
            path => p.path == path,
        };
        ok(nb::ListParametersResponse {
            parameters: state.parameters.iter().filter(fits).cloned().collect(),
            next_page_token: String::new(),
        })
    }

    async fn list_history(
        &self,
        r: Request<nb::ListHistoryRequest>,
    ) -> Answer<nb::ListHistoryResponse> {
        let request = r.into_inner();
        let entry = nb::HistoryEntry {
            time: request.start_time.or_else(|| time("2026-01-31T11:00:00Z")),
            kind: "value".into(),
            path: "Device.X".into(),
            old_value: "1".into(),
            new_value: "2".into(),
            ..Default::default()
        };
        ok(nb::ListHistoryResponse {
            entries: vec![entry; 2.min(request.page_size as usize)],
            next_page_token: String::new(),
        })
    }

    type WatchDevicesStream = Stream<nb::WatchDevicesResponse>;

    async fn watch_devices(
        &self,
        r: Request<nb::WatchDevicesRequest>,
    ) -> Answer<Self::WatchDevicesStream> {
        use nb::watch_devices_response::Event;
        let base = nb::WatchDevicesResponse {
            device: r.into_inner().parent,
            time: time("2026-01-31T12:00:00Z"),
            ..Default::default()
        };
        let inform = Event::Inform(nb::InformEvent {
            events: vec!["2 PERIODIC".into()],
            remote_address: "192.0.2.1".into(),
            ..Default::default()
        });
        let values = Event::Values(nb::ValuesEvent {
            values: vec![ParameterValue {
                path: "Device.X".into(),
                value: "1".into(),
                ..Default::default()
            }],
            total: 5,
            set: true,
        });
        let events = [None, Some(inform), Some(values)].map(|event| {
            Ok(nb::WatchDevicesResponse {
                event,
                ..base.clone()
            })
        });
        ok(stream::iter(events).chain(stream::pending()).boxed())
    }
}

#[tonic::async_trait]
impl nb::task_service_server::TaskService for Fake {
    async fn create_task(
        &self,
        r: Request<nb::CreateTaskRequest>,
    ) -> Answer<nb::CreateTaskResponse> {
        let request = r.into_inner();
        let mut state = self.state.lock().unwrap();
        let mut task = request.task.clone().unwrap();
        if task.priority == 99 {
            return Err(invalid("task.priority", "expected at most 98"));
        }
        task.name = format!("tenants/default/tasks/{TASK}");
        task.device.clone_from(&request.parent);
        task.create_time = time("2026-01-31T11:59:00Z");
        task.state = TaskState::Queued.into();
        state.tasks.insert(task.name.clone(), task.clone());
        state.created.push(request);
        ok(nb::CreateTaskResponse { task: Some(task) })
    }

    async fn get_task(&self, r: Request<nb::GetTaskRequest>) -> Answer<nb::GetTaskResponse> {
        let name = r.into_inner().name;
        if !self.state.lock().unwrap().tasks.contains_key(&name) {
            return Err(Status::not_found("there is no such task"));
        }
        ok(nb::GetTaskResponse {
            task: self.stages(&name).pop(),
        })
    }

    async fn list_tasks(&self, _: Request<nb::ListTasksRequest>) -> Answer<nb::ListTasksResponse> {
        let names: Vec<_> = self.state.lock().unwrap().tasks.keys().cloned().collect();
        ok(nb::ListTasksResponse {
            tasks: names
                .iter()
                .filter_map(|name| self.stages(name).pop())
                .collect(),
            next_page_token: String::new(),
        })
    }

    async fn cancel_task(
        &self,
        r: Request<nb::CancelTaskRequest>,
    ) -> Answer<nb::CancelTaskResponse> {
        let name = r.into_inner().name;
        let mut state = self.state.lock().unwrap();
        let task = state.tasks.get_mut(&name);
        let task = task.ok_or_else(|| Status::failed_precondition("it has ended already"))?;
        task.state = TaskState::Cancelled.into();
        ok(nb::CancelTaskResponse {
            task: Some(task.clone()),
        })
    }

    async fn retry_task(&self, r: Request<nb::RetryTaskRequest>) -> Answer<nb::RetryTaskResponse> {
        let state = self.state.lock().unwrap();
        let mut task = state.tasks.get(&r.into_inner().name).cloned().unwrap();
        task.retry_of.clone_from(&task.name);
        task.state = TaskState::Queued.into();
        ok(nb::RetryTaskResponse { task: Some(task) })
    }

    type WatchTaskStream = Stream<nb::WatchTaskResponse>;

    async fn watch_task(&self, r: Request<nb::WatchTaskRequest>) -> Answer<Self::WatchTaskStream> {
        let stages = self.stages(&r.into_inner().name);
        let stages: Vec<_> = stages
            .into_iter()
            .map(|t| Ok(nb::WatchTaskResponse { task: Some(t) }))
            .collect();
        let mut state = self.state.lock().unwrap();
        if state.broken_watches > 0 {
            state.broken_watches -= 1;
            let broken = stream::iter([Err(Status::unavailable("restarting"))]);
            return ok(stream::iter(stages.into_iter().take(1))
                .chain(broken)
                .boxed());
        }
        let open = !state.script.last().unwrap().is_final();
        let stages = stream::iter(stages);
        ok(if open {
            stages.chain(stream::pending()).boxed()
        } else {
            stages.boxed()
        })
    }
}

#[tonic::async_trait]
impl nb::file_service_server::FileService for Fake {
    async fn upload_file(
        &self,
        r: Request<Streaming<nb::UploadFileRequest>>,
    ) -> Answer<nb::UploadFileResponse> {
        use nb::upload_file_request::Part;
        let mut parts = r.into_inner();
        let (mut file, mut bytes, mut ended) = (nb::File::default(), Vec::new(), false);
        while let Some(message) = parts.message().await? {
            match message.part.unwrap() {
                Part::File(first) => file = first,
                Part::Chunk(chunk) => bytes.extend(chunk),
                Part::End(end) => ended = end,
            }
        }
        assert_eq!((file.size, ended), (bytes.len() as u64, true));
        file.create_time = time("2026-01-31T12:00:00Z");
        self.with(|state| {
            if state.damage_files {
                file.sha256 = "00".repeat(32);
            }
            state.files.insert(file.name.clone(), (file.clone(), bytes));
        });
        ok(nb::UploadFileResponse { file: Some(file) })
    }

    async fn get_file(&self, r: Request<nb::GetFileRequest>) -> Answer<nb::GetFileResponse> {
        let state = self.state.lock().unwrap();
        let found = state.files.get(&r.into_inner().name);
        let (file, _) = found.ok_or_else(|| Status::not_found("there is no such file"))?;
        ok(nb::GetFileResponse {
            file: Some(file.clone()),
        })
    }

    async fn list_files(&self, _: Request<nb::ListFilesRequest>) -> Answer<nb::ListFilesResponse> {
        let state = self.state.lock().unwrap();
        ok(nb::ListFilesResponse {
            files: state.files.values().map(|(file, _)| file.clone()).collect(),
            next_page_token: String::new(),
        })
    }

    async fn delete_file(
        &self,
        r: Request<nb::DeleteFileRequest>,
    ) -> Answer<nb::DeleteFileResponse> {
        self.with(|state| {
            state.files.remove(&r.into_inner().name);
        });
        ok(nb::DeleteFileResponse {})
    }

    type ReadFileStream = Stream<nb::ReadFileResponse>;

    async fn read_file(&self, r: Request<nb::ReadFileRequest>) -> Answer<Self::ReadFileStream> {
        let state = self.state.lock().unwrap();
        let (_, bytes) = state.files.get(&r.into_inner().name).unwrap();
        let chunks: Vec<_> = bytes
            .chunks(7)
            .map(|chunk| {
                Ok(nb::ReadFileResponse {
                    chunk: chunk.into(),
                })
            })
            .collect();
        ok(stream::iter(chunks).boxed())
    }
}

#[tonic::async_trait]
impl nb::credential_service_server::CredentialService for Fake {
    async fn get_onboarding_credential(
        &self,
        _: Request<nb::GetOnboardingCredentialRequest>,
    ) -> Answer<nb::GetOnboardingCredentialResponse> {
        ok(nb::GetOnboardingCredentialResponse {
            username: "hearth".into(),
            password: "first-pass".into(),
        })
    }

    async fn set_credential(
        &self,
        r: Request<nb::SetCredentialRequest>,
    ) -> Answer<nb::SetCredentialResponse> {
        let request = r.into_inner();
        let password = match request.password.is_empty() {
            true => "made-here".into(),
            false => String::new(),
        };
        let credential = request.credential.clone();
        self.with(|state| state.credentials.push(request));
        ok(nb::SetCredentialResponse {
            credential,
            password,
        })
    }

    async fn import_credentials(
        &self,
        r: Request<nb::ImportCredentialsRequest>,
    ) -> Answer<nb::ImportCredentialsResponse> {
        let request = r.into_inner();
        let lines = request.csv.lines().count() - 1;
        let wrong = request.csv.contains("bad").then(|| nb::ImportError {
            line: request.lines_before + 1,
            column: "device".into(),
            message: "expected OUI-ProductClass-SerialNumber".into(),
        });
        let errors: Vec<_> = wrong.into_iter().collect();
        let imported = u32::try_from(lines - errors.len()).unwrap();
        self.with(|state| state.imports.push(request));
        ok(nb::ImportCredentialsResponse { imported, errors })
    }

    async fn list_credentials(
        &self,
        _: Request<nb::ListCredentialsRequest>,
    ) -> Answer<nb::ListCredentialsResponse> {
        let credential = nb::Credential {
            name: "tenants/default/credentials/router1".into(),
            username: "router1".into(),
            kind: nb::CredentialKind::Device.into(),
            device: format!("tenants/default/devices/{}", super::ROUTER),
            ..Default::default()
        };
        ok(nb::ListCredentialsResponse {
            credentials: vec![credential],
            next_page_token: String::new(),
        })
    }

    async fn delete_credential(
        &self,
        r: Request<nb::DeleteCredentialRequest>,
    ) -> Answer<nb::DeleteCredentialResponse> {
        self.with(|state| state.deleted.push(r.into_inner().name));
        ok(nb::DeleteCredentialResponse {})
    }
}
