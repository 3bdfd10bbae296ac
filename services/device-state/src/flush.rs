//! Writing the overlay to the store.

use std::time::Duration;

use hearth_store::Result;

use crate::core::{Core, Turn};
use crate::errors::from_store;
use crate::overlay::Overlay;

/// How long a query waits for what it asks about to be written.
const QUERY_WAIT: Duration = Duration::from_secs(2);

impl Core {
    /// Writes all that waits; then its events are done. The caller holds the turn.
    ///
    /// # Errors
    /// The store can't be used now: everything stays as it was.
    pub async fn flush(&self, turn: &mut Turn) -> Result<()> {
        let all = {
            let overlay = self.overlay.lock();
            if overlay.is_empty() {
                return Ok(());
            }
            overlay.mutations()
        };
        let timer = self.metrics.flush_seconds.start_timer();
        #[allow(clippy::cast_precision_loss, reason = "for a histogram")]
        self.metrics.flush_changes.observe(all.len() as f64);
        match self.store.write(all).await {
            Ok(()) => {}
            Err(error) if error.is_retryable() => {
                timer.stop_and_discard();
                self.metrics.flush_failures.inc();
                return Err(error);
            }
            Err(_) => self.flush_apart(turn).await?,
        }
        timer.observe_duration();
        self.overlay.lock().clear(&mut turn.done);
        self.metrics.pending.set(0);
        Ok(())
    }

    /// Something in the batch can never be written: writes device by device, and gives up on the
    /// events of those that can't be.
    async fn flush_apart(&self, turn: &mut Turn) -> Result<()> {
        let devices = self.overlay.lock().devices();
        for device in devices {
            let mutations = self.overlay.lock().mutations_of(&device);
            match self.store.write(mutations).await {
                Ok(()) => {}
                Err(error) if error.is_retryable() => return Err(error),
                Err(error) => {
                    let reason = error.to_string();
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(%device, error, "events of a device can't be written");
                    let seqs = self.overlay.lock().take_device(&device);
                    turn.dead
                        .extend(seqs.into_iter().map(|seq| (seq, reason.clone())));
                    self.cache.forget(&device);
                }
            }
        }
        Ok(())
    }

    /// Writes what waits if a query needs it.
    ///
    /// # Errors
    /// It can't be written now, a full disk for one: the query fails rather than leave out what
    /// was acknowledged.
    pub async fn settle(&self, needs: impl Fn(&Overlay) -> bool) -> hearth_clients::Result<()> {
        if !needs(&self.overlay.lock()) {
            return Ok(());
        }
        let flush = async {
            let mut turn = self.turn.lock().await;
            self.flush(&mut turn).await
        };
        match tokio::time::timeout(QUERY_WAIT, flush).await {
            Ok(written) => written.map_err(from_store),
            Err(_) => Err(hearth_clients::Error::unavailable(
                "the store is too slow to write the latest events; try again",
            )),
        }
    }
}
