//! What the parts of the bus share.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout};

use super::config::NatsConfig;
use super::consumer::Member;
use super::layout;
use super::link::Link;
use super::probe::LastRefusal;
use super::stats::Cache;
use super::wire::Names;

/// Streams that a server lost are made again at most so often.
const REPAIR_PAUSE: Duration = Duration::from_secs(5);
/// A look after what servers may have lost takes at most so long.
pub(crate) const LOOK: Duration = Duration::from_secs(2);

pub(crate) struct Core {
    pub(crate) link: Arc<Link>,
    pub(crate) names: Names,
    pub(crate) config: NatsConfig,
    /// One for each message under way to NATS.
    pub(crate) permits: Semaphore,
    pub(crate) members: Mutex<BTreeMap<String, Arc<Member>>>,
    pub(crate) closed: watch::Sender<bool>,
    pub(crate) counters: Counters,
    pub(crate) levels: Cache,
    pub(crate) refusal: LastRefusal,
    repaired: Mutex<Option<Instant>>,
}

#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) published: AtomicU64,
    pub(crate) duplicates: AtomicU64,
    pub(crate) refused: AtomicU64,
}

impl Core {
    pub(crate) fn new(link: Arc<Link>, names: Names, config: NatsConfig) -> Self {
        Self {
            link,
            names,
            permits: Semaphore::new(config.publish_in_flight),
            config,
            members: Mutex::default(),
            closed: watch::Sender::new(false),
            counters: Counters::default(),
            levels: Cache::default(),
            refusal: LastRefusal::default(),
            repaired: Mutex::new(None),
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        *self.closed.borrow()
    }

    /// Ends when the bus is closed.
    pub(crate) async fn closing(&self) {
        let mut closed = self.closed.subscribe();
        // An error means that the bus was dropped.
        let _ = closed.wait_for(|closed| *closed).await;
    }

    /// Nobody answers for a stream: perhaps the servers lost it (a disk was replaced). Makes it
    /// again, so that work goes on without a restart. Whether it did.
    pub(crate) async fn repair(&self) -> bool {
        // It may be nothing but an election: nobody waits for long.
        timeout(LOOK, self.try_repair()).await.unwrap_or(false)
    }

    async fn try_repair(&self) -> bool {
        {
            let mut repaired = self.repaired.lock();
            if repaired.is_some_and(|at| at.elapsed() < REPAIR_PAUSE) {
                return false;
            }
            *repaired = Some(Instant::now());
        }
        if let Err(trouble) = layout::repair(&self.link, &self.names, &self.config).await {
            tracing::debug!(%trouble, "the streams can't be looked after now");
            return false;
        }
        true
    }
}
