//! Credentials of a device's own: one SetParameterValues with user names and passwords that
//! device-state keeps as pending until the device has used them.
//!
//! The task has the user names, and of the passwords only who has them: they are opened when the
//! request leaves. What was tried is known by the task's idempotency key, `rotation/{id}/{attempt}`,
//! so that a crash anywhere, or the same Inform again, finds the task that is there.

use crate::{
    create::NewTask,
    ledger::Work,
    request::{Unbuilt, spec_values},
    service::Inner,
};
use hearth_clients::{Kind as ErrorKind, Result};
use hearth_proto::{
    devicestate::v1::{
        GetDeviceRequest, OpenRotationRequest, OpenRotationResponse, PrepareRotationRequest,
        PrepareRotationResponse,
    },
    types::v1::{
        ParameterValue, SetParameterValues, TaskSpec, TaskState, ValueType, task_spec::Kind,
    },
    workflow::v1::{OpenSessionRequest, Task},
};
use hearth_types::{DeviceKey, TaskId, Timestamp};
use std::time::Duration;

/// Between a try that ended without success and the next; twice as long each time.
const BACKOFF: Duration = Duration::from_secs(600);
const MAX_BACKOFF: Duration = Duration::from_secs(24 * 3600);
/// Before what else is to be done.
const PRIORITY: i32 = 100;
/// Parameters below the root.
const PASSWORD: &str = "ManagementServer.Password";
const TO_DEVICE_PASSWORD: &str = "ManagementServer.ConnectionRequestPassword";

impl Inner {
    /// Makes the task that gives a device credentials of its own, if there is none. The session goes
    /// on without it where that fails: the next Inform comes.
    pub(crate) async fn rotate_credentials(
        &self,
        device: &DeviceKey,
        request: &OpenSessionRequest,
    ) {
        if let Err(error) = self.try_to_rotate(device, request).await {
            tracing::warn!(%error, %device, "a device can't be given credentials of its own now");
        }
    }

    async fn try_to_rotate(&self, device: &DeviceKey, request: &OpenSessionRequest) -> Result<()> {
        let root = self.root_of(device, &request.root).await;
        if root.is_empty() {
            tracing::debug!(%device, "no credentials: its data model's root is not known yet");
            return Ok(());
        }
        let mut pending = self.prepare_rotation(device, 0).await?;
        if let Some(task) = self.rotation_task(device, &pending).await? {
            let bootstrap = |event: &hearth_proto::events::v1::InformEvent| {
                event.code.split_whitespace().next() == Some("0")
            };
            let reset = request.events.iter().any(bootstrap);
            if !is_due(&task, pending.attempt, reset, self.now()) {
                return Ok(());
            }
            pending = self.prepare_rotation(device, pending.attempt + 1).await?;
        }
        let now = self.now();
        let new = NewTask {
            device: device.clone(),
            spec: spec(&root, &pending),
            priority: PRIORITY,
            deadline: now.saturating_add(self.options.default_deadline.get()),
            max_attempts: self.options.default_max_attempts,
            idempotency_key: key(&pending),
            retry_of: String::new(),
            // The device is here.
            no_wake: true,
        };
        let (task, existed) = self.make(new, now).await?;
        if !existed {
            tracing::info!(%device, task = task.id, attempt = pending.attempt, "the device is given credentials of its own");
        }
        Ok(())
    }

    async fn prepare_rotation(
        &self,
        device: &DeviceKey,
        attempt: u32,
    ) -> Result<PrepareRotationResponse> {
        let request = PrepareRotationRequest {
            tenant: device.tenant.to_string(),
            device: device.device.to_string(),
            attempt,
        };
        self.device_state.prepare_rotation(request).await
    }

    /// The task of the present try.
    async fn rotation_task(
        &self,
        device: &DeviceKey,
        pending: &PrepareRotationResponse,
    ) -> Result<Option<Task>> {
        let id: Option<TaskId> = self
            .ledger
            .store()
            .task_by_key(&device.tenant, &key(pending))
            .await
            .map_err(crate::ledger::store_error)?;
        let Some(id) = id else { return Ok(None) };
        let work = self.ledger.get(&device.tenant, id).await?;
        Ok(work.map(|work| work.task))
    }

    async fn root_of(&self, device: &DeviceKey, told: &str) -> String {
        if !told.is_empty() {
            return told.to_owned();
        }
        let request = GetDeviceRequest {
            tenant: device.tenant.to_string(),
            device: device.device.to_string(),
        };
        let found = self.device_state.get_device(request).await.ok();
        let device = found.and_then(|found| found.device);
        device.map(|device| device.root).unwrap_or_default()
    }

    /// The secrets that a task sets, if it is one of a rotation.
    pub(crate) async fn open_rotation(
        &self,
        work: &Work,
    ) -> std::result::Result<Option<Opened>, Unbuilt> {
        let Some(rotation) = spec_values(work).iter().find_map(reference) else {
            return Ok(None);
        };
        let request = OpenRotationRequest {
            tenant: work.device.tenant.to_string(),
            device: work.device.device.to_string(),
            rotation: rotation.to_owned(),
        };
        match self.device_state.open_rotation(request).await {
            Ok(opened) => Ok(Some(Opened(opened))),
            Err(error) if error.kind == ErrorKind::NotFound => Err(Unbuilt::Never(error.message)),
            Err(error) => Err(error.into()),
        }
    }
}

/// Stands in place of a sealed value: the rotation that has it. Whoever makes a task through the API
/// can't have it in one, as what is sealed there is made here.
const REFERENCE: &[u8] = b"rotation:";

/// The rotation that has a value's secret.
fn reference(value: &ParameterValue) -> Option<&str> {
    let id = value.sealed.strip_prefix(REFERENCE)?;
    std::str::from_utf8(id).ok()
}

/// Whether a value is a rotation's, and only known by reference.
pub(crate) fn is_pending(value: &ParameterValue) -> bool {
    reference(value).is_some()
}

/// Secrets of a rotation, for a request.
pub(crate) struct Opened(OpenRotationResponse);

impl Opened {
    /// A password parameter with its value.
    pub(crate) fn value(&self, value: &ParameterValue) -> Option<ParameterValue> {
        reference(value)?;
        let secret = if value.path.ends_with(TO_DEVICE_PASSWORD) {
            &self.0.connection_request_password
        } else if value.path.ends_with(PASSWORD) {
            &self.0.password
        } else {
            return None;
        };
        Some(ParameterValue {
            value: secret.clone(),
            sealed: Vec::new(),
            ..value.clone()
        })
    }
}

fn key(pending: &PrepareRotationResponse) -> String {
    format!("rotation/{}/{}", pending.rotation, pending.attempt)
}

/// Whether another try is due after this one's task. A device that was reset after its task had
/// succeeded has nothing of it any more.
fn is_due(task: &Task, attempt: u32, reset: bool, now: Timestamp) -> bool {
    let state = task.state();
    if !state.is_final() {
        return false;
    }
    if state == TaskState::Succeeded && reset {
        return true;
    }
    let wait = BACKOFF.saturating_mul(1 << attempt.saturating_sub(1).min(10));
    let ended = Timestamp::from_micros(task.update_time_us);
    now >= ended.saturating_add(wait.min(MAX_BACKOFF))
}

fn spec(root: &str, pending: &PrepareRotationResponse) -> TaskSpec {
    let value = |name: &str, value: &str| ParameterValue {
        path: format!("{root}{name}"),
        value: value.to_owned(),
        r#type: ValueType::String.into(),
        sealed: Vec::new(),
    };
    let secret = |name: &str| ParameterValue {
        sealed: [REFERENCE, pending.rotation.as_bytes()].concat(),
        ..value(name, "")
    };
    let to_device = &pending.connection_request_username;
    let set = SetParameterValues {
        values: vec![
            value("ManagementServer.ConnectionRequestUsername", to_device),
            secret(TO_DEVICE_PASSWORD),
            value("ManagementServer.Username", &pending.username),
            secret(PASSWORD),
        ],
    };
    TaskSpec {
        kind: Some(Kind::SetParameterValues(set)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_come_at_longer_and_longer_intervals() {
        let task = |state: TaskState| Task {
            state: state.into(),
            update_time_us: 1_000_000,
            ..Task::default()
        };
        let after = |seconds: i64| Timestamp::from_micros((1 + seconds) * 1_000_000);
        let failed = task(TaskState::Failed);
        assert!(!is_due(&failed, 1, false, after(599)) && is_due(&failed, 1, false, after(600)));
        assert!(!is_due(&failed, 1, true, after(1)));
        assert!(!is_due(&failed, 2, false, after(1199)) && is_due(&failed, 2, false, after(1200)));
        assert!(is_due(&failed, 99, false, after(86_400)));
        assert!(!is_due(&task(TaskState::Running), 1, true, after(86_400)));
        assert!(is_due(&task(TaskState::Succeeded), 1, true, after(0)));
        assert!(!is_due(&task(TaskState::Succeeded), 1, false, after(0)));
    }

    #[test]
    fn passwords_are_not_in_the_task() {
        let pending = PrepareRotationResponse {
            rotation: "r".to_owned(),
            username: "u".to_owned(),
            connection_request_username: "c".to_owned(),
            attempt: 1,
        };
        let spec = spec("Device.", &pending);
        let Some(Kind::SetParameterValues(set)) = spec.kind else {
            unreachable!("it is one");
        };
        let opened = Opened(OpenRotationResponse {
            password: "to-server".to_owned(),
            connection_request_password: "to-device".to_owned(),
        });
        let sent: Vec<_> = set
            .values
            .iter()
            .map(|value| opened.value(value).unwrap_or_else(|| value.clone()).value)
            .collect();
        assert_eq!(sent, ["c", "to-device", "u", "to-server"]);
        let kept: Vec<_> = set.values.iter().map(|v| v.value.as_str()).collect();
        assert_eq!(kept, ["c", "", "u", ""]);
        let known: Vec<_> = set.values.iter().map(reference).collect();
        assert_eq!(known, [None, Some("r"), None, Some("r")]);
    }
}
