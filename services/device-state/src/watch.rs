//! Watching events as they come.

use futures::{StreamExt, future};
use hearth_bus::{Delivery, Stream, TailEvent};
use hearth_clients::{EventStream, Result};
use hearth_proto::devicestate::v1 as ds;
use hearth_proto::events::v1::{Event, event::Kind};
use hearth_types::{CommandKey, DeviceId, MASK, TaskId, TenantId, is_secret_name};
use prost::Message;

use crate::core::Core;

/// Which events a watcher wants.
struct Filter {
    tenant: TenantId,
    device: Option<DeviceId>,
    task: Option<TaskId>,
}

impl Core {
    /// Events from now on. The bus bounds what waits for a slow reader, and says what it left out.
    pub fn watch(&self, request: &ds::WatchEventsRequest) -> Result<EventStream> {
        let device = (!request.device.is_empty()).then(|| request.device.parse());
        let task = (!request.task.is_empty()).then(|| request.task.parse());
        let filter = Filter {
            tenant: request.tenant.parse()?,
            device: device.transpose()?,
            task: task.transpose()?,
        };
        let mut missed = 0;
        let events = self.bus.tail(&Stream::ALL).filter_map(move |event| {
            let found = match event {
                TailEvent::Lagged(count) => {
                    missed += count;
                    None
                }
                TailEvent::Message(delivery) => filter.event(&delivery).map(|event| {
                    Ok(ds::WatchEventsResponse {
                        event: Some(event),
                        missed: std::mem::take(&mut missed),
                    })
                }),
            };
            future::ready(found)
        });
        Ok(events.boxed())
    }
}

impl Filter {
    fn event(&self, delivery: &Delivery) -> Option<Event> {
        let of = &delivery.device;
        if of.tenant != self.tenant || self.device.as_ref().is_some_and(|d| *d != of.device) {
            return None;
        }
        let event = Event::decode(delivery.payload.clone()).ok()?;
        if let Some(Kind::SessionRecord(_) | Kind::CapturePart(_)) = &event.kind {
            return None;
        }
        let wanted = self.task.is_none_or(|task| task_of(&event) == Some(task));
        wanted.then(|| masked(event))
    }
}

/// The task that an event is about.
fn task_of(event: &Event) -> Option<TaskId> {
    match event.kind.as_ref()? {
        Kind::TaskChanged(changed) => changed.task.parse().ok(),
        Kind::TransferComplete(done) => {
            let key: CommandKey = done.command_key.parse().ok()?;
            Some(key.task)
        }
        Kind::DuStateChange(changed) => {
            let key: CommandKey = changed.command_key.parse().ok()?;
            Some(key.task)
        }
        _ => None,
    }
}

/// The event with its secrets masked.
fn masked(mut event: Event) -> Event {
    let values = match &mut event.kind {
        Some(Kind::Inform(inform)) => &mut inform.parameters,
        Some(Kind::ValuesReported(reported)) => &mut reported.values,
        Some(Kind::DeviceRequest(request)) => {
            for (name, value) in &mut request.arguments {
                if is_secret_name(name) {
                    MASK.clone_into(value);
                }
            }
            return event;
        }
        _ => return event,
    };
    *values = std::mem::take(values)
        .into_iter()
        .map(|v| v.masked())
        .collect();
    event
}
