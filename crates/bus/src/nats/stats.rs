//! Counters of this process and levels of the servers, the latter not asked for at each look.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::core::Core;
use super::layout::{self, ConsumerLevels};
use super::link::Trouble;
use crate::{BusStats, ConsumerStats};

/// Levels are asked for at most so often.
const FRESH: Duration = Duration::from_millis(100);

/// What the servers told last.
#[derive(Debug, Clone, Default)]
struct Levels {
    last_seq: u64,
    backlog_bytes: u64,
    dead_letters: u64,
    consumers: Vec<(String, u64, u64)>,
}

#[derive(Debug, Default)]
pub(crate) struct Cache {
    known: Mutex<Option<(Instant, Levels)>>,
    /// Held by who asks.
    asking: tokio::sync::Mutex<()>,
}

impl Cache {
    /// Bytes that waited for consumers when the servers were asked last.
    pub(crate) fn backlog(&self) -> Option<u64> {
        let known = self.known.lock();
        known.as_ref().map(|(_, levels)| levels.backlog_bytes)
    }

    /// This process changed something: asks again at the next look.
    pub(crate) fn forget(&self) {
        *self.known.lock() = None;
    }

    fn fresh(&self) -> Option<Levels> {
        let known = self.known.lock();
        let (at, levels) = known.as_ref()?;
        (at.elapsed() < FRESH).then(|| levels.clone())
    }
}

impl Core {
    pub(crate) async fn stats(&self) -> BusStats {
        let levels = self.levels().await;
        let members = self.members.lock();
        let consumers = levels.consumers.into_iter().map(|(name, lag, in_flight)| {
            let member = members.get(&name);
            let counts = member.map(|member| member.held.lock().counts());
            let (delivered, redelivered, dead) = counts.unwrap_or_default();
            ConsumerStats {
                name,
                lag,
                in_flight,
                delivered,
                redelivered,
                dead,
            }
        });
        BusStats {
            last_seq: levels.last_seq,
            published: self.counters.published.load(Relaxed),
            duplicates: self.counters.duplicates.load(Relaxed),
            refused: self.counters.refused.load(Relaxed),
            groups: 0,
            backlog_bytes: levels.backlog_bytes,
            dead_letters: levels.dead_letters,
            consumers: consumers.collect(),
        }
    }

    async fn levels(&self) -> Levels {
        if let Some(levels) = self.levels.fresh() {
            return levels;
        }
        let _asking = self.levels.asking.lock().await;
        if let Some(levels) = self.levels.fresh() {
            return levels;
        }
        match self.ask_levels().await {
            Ok(levels) => {
                *self.levels.known.lock() = Some((Instant::now(), levels.clone()));
                levels
            }
            Err(trouble) => {
                tracing::debug!(%trouble, "NATS does not tell how full it is");
                let known = self.levels.known.lock().clone();
                known.map(|(_, levels)| levels).unwrap_or_default()
            }
        }
    }

    async fn ask_levels(&self) -> Result<Levels, Trouble> {
        let (events, dead) = (self.names.events_stream(), self.names.dead_stream());
        let (events, dead, mut consumers) = tokio::try_join!(
            layout::stream_info(&self.link, &events),
            layout::stream_info(&self.link, &dead),
            layout::consumers(&self.link, &self.names),
        )?;
        consumers.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Levels {
            last_seq: events.state.last_sequence,
            backlog_bytes: events.state.bytes,
            dead_letters: dead.state.messages,
            consumers: consumers.into_iter().map(of_consumer).collect(),
        })
    }
}

fn of_consumer(levels: ConsumerLevels) -> (String, u64, u64) {
    let in_flight = levels.num_ack_pending;
    (levels.name, levels.num_pending + in_flight, in_flight)
}
