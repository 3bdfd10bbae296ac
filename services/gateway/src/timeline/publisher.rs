//! Telling of sessions: now and then, beside all else, and once.

use std::sync::Arc;
use std::time::Duration;

use hearth_bus::Stream;
use hearth_proto::events::v1 as ev;
use hearth_runtime::CancellationToken;
use hearth_types::DeviceKey;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::Record;
use crate::edge::Edge;
use crate::publish::Source;

/// Between two looks.
const TICK: Duration = Duration::from_secs(1);
/// What is told at once: the bus writes for others, too.
const AT_ONCE: usize = 8;
/// How long the bus may take for one.
const PUBLISHED: Duration = Duration::from_secs(10);
/// How long telling of all that is left may hold up the end of the process.
const LAST: Duration = Duration::from_secs(5);

/// Tells of sessions until `stop`.
pub(crate) async fn run(edge: Arc<Edge>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(TICK) => {}
        }
        let due = edge.timeline.due(edge.clock.now_micros(), false);
        tell(&edge, due).await;
    }
}

/// Tells of all sessions: nothing more comes.
pub(crate) async fn tell_all(edge: &Arc<Edge>) {
    let due = edge.timeline.due(edge.clock.now_micros(), true);
    let left = due.len();
    if timeout(LAST, tell(edge, due)).await.is_err() {
        tracing::warn!(left, "the bus is too slow to be told of the last sessions");
    }
}

async fn tell(edge: &Arc<Edge>, records: Vec<Record>) {
    let room = Arc::new(Semaphore::new(AT_ONCE));
    let mut tasks = JoinSet::new();
    for record in records {
        let Ok(place) = Arc::clone(&room).acquire_owned().await else {
            return;
        };
        let edge = Arc::clone(edge);
        tasks.spawn(async move {
            let _place = place;
            let bytes = record.bytes;
            match timeout(PUBLISHED, publish(&edge, record)).await {
                Ok(true) => edge.timeline.metrics.told(),
                Ok(false) | Err(_) => edge.timeline.metrics.dropped("lost"),
            }
            edge.timeline.release(bytes);
        });
        while tasks.try_join_next().is_some() {}
    }
    while tasks.join_next().await.is_some() {}
}

async fn publish(edge: &Edge, record: Record) -> bool {
    let Ok(device) = record.device.parse() else {
        return false;
    };
    let session = record.session();
    let key = DeviceKey::new(record.tenant, device);
    // Told twice by a bus that lost its answer, it is the same; by another gateway, it is another.
    let first = record.told.turns.first().map_or(0, |turn| turn.time_us);
    let id = format!("session/{session}/{first}");
    let source = Source {
        key: &key,
        session,
        time: record.last,
    };
    let kind = ev::event::Kind::SessionRecord(record.told);
    let told = edge.publish(Stream::DeviceChange, source, Some(id), kind);
    match told.await {
        Ok(_) => true,
        Err(refusal) => {
            let why = refusal.detail();
            tracing::debug!(device = %key, why, "a session's record is lost");
            false
        }
    }
}
