//! Telling of sessions: now and then, beside all else, and once.

use std::sync::Arc;
use std::time::Duration;

use hearth_bus::Stream;
use hearth_proto::events::v1 as ev;
use hearth_runtime::CancellationToken;
use hearth_types::{DeviceKey, TenantId};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::Record;
use crate::capture::Part;
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

/// What is told of.
enum News {
    Session(Record),
    Captured(Part),
}

impl News {
    /// All that is due; with `all`, all there is.
    fn due(edge: &Edge, all: bool) -> Vec<Self> {
        let now = edge.clock.now_micros();
        let sessions = edge.timeline.due(now, all).into_iter().map(Self::Session);
        let parts = edge.captures.due(now).into_iter().map(Self::Captured);
        sessions.chain(parts).collect()
    }
}

/// Tells of sessions until `stop`.
pub(crate) async fn run(edge: Arc<Edge>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(TICK) => {}
        }
        tell(&edge, News::due(&edge, false)).await;
    }
}

/// Tells of all sessions: nothing more comes.
pub(crate) async fn tell_all(edge: &Arc<Edge>) {
    let due = News::due(edge, true);
    let left = due.len();
    if timeout(LAST, tell(edge, due)).await.is_err() {
        tracing::warn!(left, "the bus is too slow to be told of the last sessions");
    }
}

async fn tell(edge: &Arc<Edge>, news: Vec<News>) {
    let room = Arc::new(Semaphore::new(AT_ONCE));
    let mut tasks = JoinSet::new();
    for one in news {
        let Ok(place) = Arc::clone(&room).acquire_owned().await else {
            return;
        };
        let edge = Arc::clone(edge);
        tasks.spawn(async move {
            let _place = place;
            let told = async {
                match one {
                    News::Session(record) => {
                        let bytes = record.bytes;
                        let told = timeout(PUBLISHED, session(&edge, record)).await;
                        edge.timeline.release(bytes);
                        told
                    }
                    News::Captured(part) => {
                        let bytes = part.told.text.len();
                        let told = timeout(PUBLISHED, captured(&edge, part)).await;
                        edge.captures.release(bytes);
                        told
                    }
                }
            };
            match told.await {
                Ok(true) => edge.timeline.metrics.told(),
                Ok(false) | Err(_) => edge.timeline.metrics.dropped("lost"),
            }
        });
        while tasks.try_join_next().is_some() {}
    }
    while tasks.join_next().await.is_some() {}
}

async fn session(edge: &Edge, record: Record) -> bool {
    let session = record.session();
    // Told twice by a bus that lost its answer, it is the same; by another gateway, it is another.
    let first = record.told.turns.first().map_or(0, |turn| turn.time_us);
    let id = format!("session/{session}/{first}");
    let kind = ev::event::Kind::SessionRecord(record.told);
    let of = (record.tenant, record.device.as_str(), session);
    publish(edge, of, record.last, id, kind).await
}

async fn captured(edge: &Edge, part: Part) -> bool {
    let id = format!("capture/{}/{}", part.session, part.time);
    let kind = ev::event::Kind::CapturePart(part.told);
    let of = (part.tenant, part.device.as_str(), part.session);
    publish(edge, of, part.time, id, kind).await
}

async fn publish(
    edge: &Edge,
    (tenant, device, session): (TenantId, &str, String),
    time: i64,
    id: String,
    kind: ev::event::Kind,
) -> bool {
    let Ok(device) = device.parse() else {
        return false;
    };
    let key = DeviceKey::new(tenant, device);
    let source = Source {
        key: &key,
        session,
        time,
    };
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
