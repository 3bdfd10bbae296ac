//! Streams of what happens. They end when the client goes, and at the stop of the process, which is
//! the edge's doing.

use crate::convert;
use crate::core::Core;
use crate::error::{Context, not_found, retryable, status};
use futures::{StreamExt, stream, stream::BoxStream};
use hearth_clients::{Error, EventStream, Kind};
use hearth_proto::{devicestate::v1 as ds, northbound::v1 as nb, workflow::v1 as wf};
use hearth_types::{TaskId, TenantId};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;
use tonic::{Code, Status};

/// Failures to read a task, one after the other, after which its watch ends.
const MAX_FAILURES: u32 = 3;

/// Events of a tenant, or of one device where `device` is not empty. The first message is without
/// an event: from then on nothing is missed.
pub(crate) async fn devices(
    core: &Core,
    tenant: &TenantId,
    device: String,
) -> Result<BoxStream<'static, Result<nb::WatchDevicesResponse, Status>>, Status> {
    let first = nb::WatchDevicesResponse {
        device: match device.as_str() {
            "" => String::new(),
            device => convert::device_name(tenant.as_str(), device),
        },
        time: hearth_proto::convert::timestamp(core.clock.now_micros()),
        ..Default::default()
    };
    let request = ds::WatchEventsRequest {
        tenant: tenant.to_string(),
        device,
        task: String::new(),
    };
    let events = core.clients.device_state.watch_events(request).await;
    let events = events
        .map_err(status)?
        .map(|event| event.map(convert::event).map_err(status));
    // A client can't tell an end from a quiet tenant otherwise.
    let end = stream::once(async {
        Err(retryable(
            Code::Unavailable,
            "WATCH_ENDED",
            "the source of events ended; watch again",
        ))
    });
    Ok(stream::once(async { Ok(first) })
        .chain(events)
        .chain(end)
        .boxed())
}

/// A task now and at each change, until it has ended. It is subscribed to before it is first read,
/// so that no change falls between; and read again now and then, so that a lost event only delays.
pub(crate) async fn task(
    core: Arc<Core>,
    name: String,
    tenant: &TenantId,
    task: TaskId,
) -> Result<BoxStream<'static, Result<nb::WatchTaskResponse, Status>>, Status> {
    let mut watched = WatchedTask {
        core,
        name,
        tenant: tenant.to_string(),
        task: task.to_string(),
        events: None,
        revision: None,
        failures: 0,
        ended: false,
    };
    watched.subscribe().await;
    let first = watched
        .read()
        .await
        .map_err(|error| watched.status(error))?;
    watched.revision = Some(first.revision);
    watched.ended = first.state().is_final();
    let first = Ok(answer(first));
    let changes = stream::unfold(watched, |mut watched| async move {
        let change = watched.next().await?;
        Some((change, watched))
    });
    Ok(stream::once(async { first }).chain(changes).boxed())
}

struct WatchedTask {
    core: Arc<Core>,
    name: String,
    tenant: String,
    task: String,
    /// None while there is no subscription: then only the rereading finds changes.
    events: Option<EventStream>,
    /// The revision last sent.
    revision: Option<u64>,
    failures: u32,
    ended: bool,
}

impl WatchedTask {
    async fn subscribe(&mut self) {
        let request = ds::WatchEventsRequest {
            tenant: self.tenant.clone(),
            device: String::new(),
            task: self.task.clone(),
        };
        match self.core.clients.device_state.watch_events(request).await {
            Ok(events) => self.events = Some(events),
            Err(error) => tracing::debug!(%error, "no events for a watched task; only rereading"),
        }
    }

    async fn read(&mut self) -> Result<wf::Task, Error> {
        let request = wf::GetTaskRequest {
            tenant: self.tenant.clone(),
            task: self.task.clone(),
        };
        let answer = self.core.clients.workflow.get_task(request).await?;
        answer
            .task
            .ok_or_else(|| Error::not_found("there is no such task"))
    }

    fn status(&self, error: Error) -> Status {
        if error.kind == Kind::NotFound {
            return not_found("Task", &self.name, error.message);
        }
        Context::of("Task", &self.name)
            .fields(&[("task", "name")])
            .status(error)
    }

    /// The next change; `None` once the task has ended.
    async fn next(&mut self) -> Option<Result<nb::WatchTaskResponse, Status>> {
        while !self.ended {
            self.wait().await;
            match self.read().await {
                Ok(task) if self.revision == Some(task.revision) => self.failures = 0,
                Ok(task) => {
                    self.failures = 0;
                    self.revision = Some(task.revision);
                    self.ended = task.state().is_final();
                    return Some(Ok(answer(task)));
                }
                Err(error) if error.is_retryable() && self.failures < MAX_FAILURES => {
                    self.failures += 1;
                }
                Err(error) => {
                    self.ended = true;
                    return Some(Err(self.status(error)));
                }
            }
        }
        None
    }

    /// Waits for an event of the task, or for the time to look without one.
    async fn wait(&mut self) {
        let interval = self
            .core
            .config
            .watch_reread_interval
            .get()
            .max(Duration::from_millis(10));
        let Some(events) = &mut self.events else {
            tokio::time::sleep(interval).await;
            return self.subscribe().await;
        };
        match timeout(interval, events.next()).await {
            Ok(Some(Ok(_))) | Err(_) => {}
            Ok(Some(Err(_)) | None) => self.events = None,
        }
    }
}

fn answer(task: wf::Task) -> nb::WatchTaskResponse {
    nb::WatchTaskResponse {
        task: Some(convert::task(task)),
    }
}
