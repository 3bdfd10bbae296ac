//! Writing the overlay to the store.

use std::time::Duration;

use hearth_store::{Error, Mutation, Result};
use hearth_types::DeviceKey;

use crate::core::{Core, Turn};
use crate::overlay::Overlay;
use crate::panics;

/// How long a query waits for what it asks about to be written.
const QUERY_WAIT: Duration = Duration::from_secs(2);

/// Why changes weren't written.
enum Unwritten {
    /// The store can't be used now.
    Now(Error),
    /// They never can be.
    Ever(String),
}

impl Core {
    /// Writes all that waits; then its events are done. The caller holds the turn.
    ///
    /// # Errors
    /// The store can't be used now: everything stays as it was.
    pub async fn flush(&self, turn: &mut Turn) -> Result<()> {
        self.flush_some(turn, true).await
    }

    /// The same; without `seen`, signs of life that brought nothing else go on waiting.
    pub async fn flush_some(&self, turn: &mut Turn, seen: bool) -> Result<()> {
        let all = {
            let mut overlay = self.overlay.lock();
            let all = overlay.mutations(seen);
            if all.is_empty() {
                overlay.take_idle(&mut turn.done);
                return Ok(());
            }
            all
        };
        let timer = self.metrics.flush_seconds.start_timer();
        #[allow(clippy::cast_precision_loss, reason = "for a histogram")]
        self.metrics.flush_changes.observe(all.len() as f64);
        match self.write(all).await {
            Ok(()) => {}
            Err(Unwritten::Now(error)) => {
                timer.stop_and_discard();
                self.metrics.flush_failures.inc();
                return Err(error);
            }
            Err(Unwritten::Ever(_)) => self.flush_apart(turn).await?,
        }
        timer.observe_duration();
        let mut overlay = self.overlay.lock();
        overlay.clear(seen, &mut turn.done);
        let left = i64::try_from(overlay.len()).unwrap_or(i64::MAX);
        self.metrics.pending.set(left);
        Ok(())
    }

    /// Writes changes; a panic of the store's says that they never can be.
    async fn write(&self, all: Vec<Mutation>) -> std::result::Result<(), Unwritten> {
        match panics::caught(self.write_all(all)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) if error.is_retryable() => Err(Unwritten::Now(error)),
            Ok(Err(error)) => Err(Unwritten::Ever(error.to_string())),
            Err(reason) => Err(Unwritten::Ever(reason)),
        }
    }

    /// A store that several processes share may write a part of a batch and then fail. A value that
    /// is there is taken for applied when its event comes again: its history goes first.
    async fn write_all(&self, mut all: Vec<Mutation>) -> Result<()> {
        if self.parts.is_shared() {
            let is_record = |m: &mut Mutation| matches!(m, Mutation::History { .. });
            let records: Vec<_> = all.extract_if(.., is_record).collect();
            if !records.is_empty() {
                self.store.write(records).await?;
            }
            if all.is_empty() {
                return Ok(());
            }
        }
        self.store.write(all).await
    }

    /// Something in the batch can never be written: writes device by device. The events of one that
    /// can't be come again, to be written one by one; an only one is given up.
    async fn flush_apart(&self, turn: &mut Turn) -> Result<()> {
        let devices = self.overlay.lock().devices();
        for device in devices {
            let mutations = self.overlay.lock().mutations_of(&device);
            match self.write(mutations).await {
                Ok(()) => {}
                Err(Unwritten::Now(error)) => return Err(error),
                Err(Unwritten::Ever(reason)) => {
                    let marks = self.overlay.lock().take_device(&device);
                    let events = marks.len();
                    tracing::error!(%device, events, reason, "what changed of a device can't be written");
                    turn.unwritable(&device, marks, reason);
                    self.cache.forget(&device);
                }
            }
        }
        Ok(())
    }

    /// What waits of devices that are another process's now and can't be written: that one gets
    /// their events, and doesn't wait for this one any longer.
    pub fn give_up_lost(&self, turn: &mut Turn) {
        let lost = |device: &DeviceKey| !self.parts.owns(self.parts.of(device));
        for (device, marks) in self.overlay.lock().take_devices(lost) {
            self.cache.forget(&device);
            // Also while the bus can't be told: nothing behind them is to be applied.
            self.parts.begin_anew(self.parts.of(&device));
            turn.back.extend(marks);
        }
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
            Ok(written) => written.map_err(hearth_clients::Error::from),
            Err(_) => Err(hearth_clients::Error::unavailable(
                "the store is too slow to write the latest events; try again",
            )),
        }
    }
}
