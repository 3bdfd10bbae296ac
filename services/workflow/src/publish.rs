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
        let message = message(
            device,
            session,
            format!("{id}#{index}"),
            now,
            Stream::Values,
            kind,
        );
        bus.publish(message).await.map_err(bus_error)?;
    }
    Ok(())
}

fn message(
    device: &DeviceKey,
    session: &str,
    id: String,
    now: Timestamp,
    stream: Stream,
    kind: event::Kind,
) -> Publish {
    let event = Event {
        tenant: device.tenant.to_string(),
        device: device.device.to_string(),
        time_us: now.as_micros(),
        session: session.to_owned(),
        kind: Some(kind),
    };
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
        let message = message(
            &work.device,
            session,
            format!("{}@{}", work.id, work.task.revision),
            now,
            Stream::TaskChange,
            event::Kind::TaskChanged(changed),
        );
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
