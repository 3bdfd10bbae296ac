//! Events on the bus: facts about devices, awaited before the ledger says that they happened, and
//! changes of tasks, in order but behind the ledger.

use crate::{
    ledger::{Work, bus_error},
    metrics::Metrics,
};
use bytes::Bytes;
use hearth_bus::{Bus, Publish, Stream};
use hearth_clients::Error;
use hearth_proto::events::v1::{Event, TaskChanged, event};
use hearth_proto::pieces::pieces;
use hearth_types::{DeviceKey, Timestamp};
use prost::Message;
use std::{sync::Arc, time::Duration};
use tokio::sync::mpsc;

/// Changes that may wait for the bus.
const WAITING: usize = 16_384;
/// Published at once.
const GROUP: usize = 256;
/// Tries of a group while the bus can't take it.
const TRIES: u32 = 30;

/// Publishes facts about a device, in order, and returns when the bus has them on disk. `id` makes
/// a repetition harmless.
pub(crate) async fn publish_facts(
    bus: &dyn Bus,
    device: &DeviceKey,
    session: &str,
    id: &str,
    now: Timestamp,
    facts: Vec<event::Kind>,
) -> Result<(), Error> {
    for (index, kind) in facts.into_iter().enumerate() {
        let id = format!("{id}#{index}");
        let event = event(device, session, now, kind);
        let whole = message(device, id.clone(), now, Stream::Values, &event);
        match bus.publish(whole).await {
            Ok(_) => {}
            Err(hearth_bus::Error::TooLarge { len, max }) => {
                let Some(pieces) = pieces(&event, max) else {
                    // Never to be published: the task goes on, and a read brings what is missing.
                    tracing::warn!(%device, len, max, "a fact is too large for the event bus");
                    continue;
                };
                for (piece, event) in pieces.iter().enumerate() {
                    let id = format!("{id}.{piece}");
                    let message = message(device, id, now, Stream::Values, event);
                    bus.publish(message).await.map_err(bus_error)?;
                }
            }
            Err(error) => return Err(bus_error(error)),
        }
    }
    Ok(())
}

fn event(device: &DeviceKey, session: &str, now: Timestamp, kind: event::Kind) -> Event {
    Event {
        tenant: device.tenant.to_string(),
        device: device.device.to_string(),
        time_us: now.as_micros(),
        session: session.to_owned(),
        kind: Some(kind),
    }
}

fn message(
    device: &DeviceKey,
    id: String,
    now: Timestamp,
    stream: Stream,
    event: &Event,
) -> Publish {
    Publish {
        stream,
        device: device.clone(),
        message_id: Some(id),
        time: now,
        payload: Bytes::from(event.encode_to_vec()),
    }
}

/// Where changes of tasks are handed in.
pub(crate) struct Changes {
    sender: mpsc::Sender<Publish>,
}

impl Changes {
    pub(crate) fn new() -> (Self, mpsc::Receiver<Publish>) {
        let (sender, receiver) = mpsc::channel(WAITING);
        (Self { sender }, receiver)
    }

    /// Hands in the change that a task's last revision made. Never waits: the ledger has it, and
    /// whoever watches can read it there.
    pub(crate) fn tell(&self, work: &Work, session: &str, now: Timestamp, metrics: &Metrics) {
        let changed = TaskChanged {
            task: work.id.to_string(),
            state: work.task.state,
            reason: work.task.reason.clone(),
            kind: work.label().to_owned(),
        };
        let id = format!("{}@{}", work.id, work.task.revision);
        let changed = event::Kind::TaskChanged(changed);
        let event = event(&work.device, session, now, changed);
        let message = message(&work.device, id, now, Stream::TaskChange, &event);
        if self.sender.try_send(message).is_err() {
            metrics.dropped.inc();
        }
    }
}

/// Publishes changes until all senders are gone or `stop` says so.
pub(crate) async fn run(
    bus: Arc<dyn Bus>,
    mut changes: mpsc::Receiver<Publish>,
    metrics: Arc<Metrics>,
    stop: hearth_runtime::CancellationToken,
) {
    let mut group = Vec::with_capacity(GROUP);
    loop {
        let count = tokio::select! {
            biased;
            count = changes.recv_many(&mut group, GROUP) => count,
            () = stop.cancelled() => 0,
        };
        if count == 0 {
            return;
        }
        publish_group(bus.as_ref(), std::mem::take(&mut group), &metrics, &stop).await;
    }
}

async fn publish_group(
    bus: &dyn Bus,
    mut group: Vec<Publish>,
    metrics: &Metrics,
    stop: &hearth_runtime::CancellationToken,
) {
    for _ in 0..TRIES {
        // Polled in their order, so that the bus takes them in it; one group commit for all.
        let done = futures::future::join_all(group.iter().cloned().map(|m| bus.publish(m))).await;
        let mut failed = done.into_iter().map(|result| match result {
            Ok(_) => false,
            Err(error) if error.is_retryable() => true,
            Err(error) => {
                tracing::warn!(%error, "a task's change can't be published");
                metrics.dropped.inc();
                false
            }
        });
        group.retain(|_| failed.next().unwrap_or(false));
        if group.is_empty() {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
            () = stop.cancelled() => break,
        }
    }
    let left = group.len();
    tracing::warn!(left, "task changes were not published; the ledger has them");
    metrics.dropped.inc_by(u64::try_from(left).unwrap_or(0));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use hearth_bus::{ConsumerSpec, EmbeddedBus, EmbeddedOptions};
    use hearth_engine::{Engine, EngineOptions};
    use hearth_proto::events::v1::{ObjectDeleted, ValuesReported};
    use hearth_proto::types::v1::ParameterValue;

    fn values(count: usize, len: usize) -> event::Kind {
        let value = |n| ParameterValue {
            path: format!("Device.X.{n}"),
            value: "v".repeat(len),
            ..ParameterValue::default()
        };
        event::Kind::ValuesReported(ValuesReported {
            values: (0..count).map(value).collect(),
            ..ValuesReported::default()
        })
    }

    #[tokio::test]
    async fn facts_larger_than_the_bus_takes_hold_no_task_up() {
        let dir = tempfile::tempdir().unwrap();
        let engine = Engine::open(EngineOptions::new(dir.path())).unwrap();
        let options = EmbeddedOptions {
            max_payload: 1000,
            ..EmbeddedOptions::default()
        };
        let bus = EmbeddedBus::open(engine, options).await.unwrap();
        let consumer = bus.consumer(ConsumerSpec::new("c", [Stream::Values]));
        let consumer = consumer.await.unwrap();
        let device = DeviceKey::parse("default", "00AABB-X-1").unwrap();
        let gone = event::Kind::ObjectDeleted(ObjectDeleted {
            object: "Device.Y.1.".to_owned(),
        });
        let facts = vec![values(100, 20), values(1, 1000), gone.clone()];
        let now = Timestamp::from_micros(7);
        // Made again, it changes nothing.
        for _ in 0..2 {
            let facts = facts.clone();
            publish_facts(&bus, &device, "s", "id", now, facts)
                .await
                .unwrap();
        }
        let got = consumer.fetch(1000, Duration::from_secs(5)).await.unwrap();
        let kinds = got.iter().map(|message| {
            let event = Event::decode(message.payload.as_ref()).unwrap();
            assert_eq!(event.time_us, 7);
            event.kind.unwrap()
        });
        let mut kinds: Vec<_> = kinds.collect();
        assert_eq!(kinds.pop(), Some(gone), "in order, and what follows too");
        let counts = kinds.into_iter().map(|kind| match kind {
            event::Kind::ValuesReported(reported) => reported.values.len(),
            other => panic!("{other:?}"),
        });
        assert_eq!(counts.sum::<usize>(), 100);
    }
}
