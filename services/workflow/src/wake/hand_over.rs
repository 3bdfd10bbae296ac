//! The end of a process: what it had planned, another one does.

use super::{Due, MISSED};
use crate::service::Inner;
use futures::{StreamExt, stream};
use hearth_runtime::Backoff;
use hearth_types::DeviceKey;
use std::{
    collections::HashMap,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};
use tokio::{
    task::{Id, JoinError, JoinSet},
    time::timeout,
};

/// How long requests that are under way may take once this process is to end.
const LAST: Duration = Duration::from_secs(2);
/// How long telling the queue of all plans may take then, and of how many at once.
const HAND_OVER: Duration = Duration::from_secs(4);
const AT_ONCE: usize = 64;
/// The longest pause before a queue that could not answer is told again.
const PAUSE: Duration = Duration::from_millis(500);

/// Devices that are being asked.
#[derive(Default)]
pub(crate) struct Asking {
    tasks: JoinSet<()>,
    who: HashMap<Id, (DeviceKey, Due)>,
}

impl Asking {
    pub(super) fn len(&self) -> usize {
        self.tasks.len()
    }

    pub(super) fn begin(
        &mut self,
        device: &DeviceKey,
        due: Due,
        ask: impl Future<Output = ()> + Send + 'static,
    ) {
        let task = self.tasks.spawn(ask);
        self.who.insert(task.id(), (device.clone(), due));
    }

    /// Waits until one was asked; for ever when none is.
    pub(super) async fn one_ends(&mut self) {
        match self.tasks.join_next_with_id().await {
            Some(ended) => self.ended(&ended),
            None => std::future::pending().await,
        }
    }

    /// Forgets those that were asked.
    pub(super) fn sweep(&mut self) {
        while let Some(ended) = self.tasks.try_join_next_with_id() {
            self.ended(&ended);
        }
    }

    fn ended(&mut self, ended: &Result<(Id, ()), JoinError>) {
        let id = match ended {
            Ok((id, ())) => *id,
            Err(lost) => lost.id(),
        };
        self.who.remove(&id);
    }

    /// Gives them a little longer. Who was not asked by then?
    async fn end(mut self) -> Vec<(DeviceKey, Due)> {
        let last = async {
            while !self.who.is_empty() {
                self.one_ends().await;
            }
        };
        let _ = timeout(LAST, last).await;
        self.tasks.shutdown().await;
        self.who.into_values().collect()
    }
}

impl Inner {
    /// Has the queue tell another process of all that was planned, at the planned times. Whoever was
    /// just being asked is asked again. A queue of this process alone ends with it; the next start
    /// asks by the ledger.
    pub(crate) async fn hand_over(&self, asking: Asking) {
        if !self.queue.is_shared() {
            return;
        }
        self.waker.leaving.store(true, Ordering::Release);
        let mut left = asking.end().await;
        left.extend(self.waker.take_all());
        let (all, told) = (left.len(), AtomicUsize::new(0));
        let tell = stream::iter(left).for_each_concurrent(AT_ONCE, async |(device, due)| {
            let mut backoff = Backoff::new(PAUSE / 4, PAUSE);
            while let Err(error) = self.queue.remind(&device, due.at, self.now()).await {
                tracing::debug!(%error, %device, "a wake-up can't be handed over now");
                backoff.wait().await;
            }
            told.fetch_add(1, Ordering::Relaxed);
        });
        if timeout(HAND_OVER, tell).await.is_err() {
            tracing::warn!(
                left = all - told.load(Ordering::Relaxed),
                "the queue can't be told of wake-ups: another process makes them {} s late",
                MISSED.as_secs()
            );
        }
    }
}
