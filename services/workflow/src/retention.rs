//! What is beyond its time goes: tasks that have ended, with their idempotency keys, and dead
//! letters. In small steps, so that the work of devices goes on.

use crate::{
    ledger::{bus_error, store_error},
    service::Inner,
};
use hearth_clients::Result;
use hearth_config::HumanDuration;
use hearth_runtime::CancellationToken;
use hearth_types::Timestamp;
use std::{sync::Arc, time::Duration};

/// Removed at once.
const STEP: usize = 500;
/// Between two steps.
const PAUSE: Duration = Duration::from_millis(100);

/// Removes what is beyond its time, now and then, until `stop`.
pub(crate) async fn run(inner: Arc<Inner>, stop: CancellationToken) {
    let interval = inner.options.trim_interval.get();
    // Soon after the start, too: a process that never runs for long would never come to it.
    let mut wait = interval / 60;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
        wait = interval;
        tokio::select! {
            () = stop.cancelled() => return,
            () = inner.trim() => {}
        }
    }
}

impl Inner {
    async fn trim(&self) {
        if let Err(error) = self.trim_tasks().await {
            tracing::warn!(%error, "old tasks can't be removed now; it is tried again");
        }
        if let Err(error) = self.trim_dead_letters().await {
            tracing::warn!(%error, "old dead letters can't be removed now; it is tried again");
        }
    }

    /// The time of what is to go.
    fn before(&self, kept: HumanDuration) -> Timestamp {
        let kept = i64::try_from(kept.get().as_micros()).unwrap_or(i64::MAX);
        Timestamp::from_micros(self.now().as_micros().saturating_sub(kept))
    }

    async fn trim_tasks(&self) -> Result<()> {
        let before = self.before(self.options.task_retention);
        loop {
            let trimmed = self.ledger.store().trim_tasks(before, STEP).await;
            let trimmed = trimmed.map_err(store_error)?;
            self.metrics
                .trimmed
                .inc_by(u64::try_from(trimmed).unwrap_or_default());
            if trimmed < STEP {
                return Ok(());
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn trim_dead_letters(&self) -> Result<()> {
        let before = self.before(self.options.dead_letter_retention);
        loop {
            // The oldest first.
            let page = self.bus.dead_letters(None, STEP).await.map_err(bus_error)?;
            let old = page.letters.iter().filter(|letter| letter.died < before);
            let mut trimmed = 0;
            for letter in old {
                match self.bus.delete_dead_letter(letter.id).await {
                    // Someone replayed it, or another process does the same.
                    Ok(()) | Err(hearth_bus::Error::NotFound(_)) => {}
                    Err(error) => return Err(bus_error(error)),
                }
                trimmed += 1;
            }
            self.metrics.letters_trimmed.inc_by(trimmed);
            if trimmed == 0 || page.next.is_none() {
                return Ok(());
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}
