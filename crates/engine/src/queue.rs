//! Batches that wait for the committer, in the order in which they were submitted.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::{Error, Result, WriteBatch};

/// A permit stands for this many bytes.
const UNIT: u64 = 1024;

/// A batch and who waits for it.
pub(crate) struct Pending {
    pub(crate) batch: WriteBatch,
    pub(crate) done: oneshot::Sender<Result<()>>,
    // Gives the room back when the group is answered.
    pub(crate) _room: Option<OwnedSemaphorePermit>,
}

/// A queue bounded by bytes, with one consumer.
pub(crate) struct Queue {
    state: Mutex<State>,
    arrived: Condvar,
    room: Arc<Semaphore>,
    units: u32,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Pending>,
    bytes: u64,
    closed: bool,
}

impl Queue {
    pub(crate) fn new(bytes: u64) -> Self {
        let units = u32::try_from((bytes / UNIT).max(1)).unwrap_or(u32::MAX);
        let units = units.min(u32::try_from(Semaphore::MAX_PERMITS).unwrap_or(u32::MAX));
        Self {
            state: Mutex::default(),
            arrived: Condvar::new(),
            room: Arc::new(Semaphore::new(units as usize)),
            units,
        }
    }

    /// Room for a batch, if there is any now.
    pub(crate) fn try_room(&self, batch: &WriteBatch) -> Option<OwnedSemaphorePermit> {
        let units = self.units_of(batch);
        Arc::clone(&self.room).try_acquire_many_owned(units).ok()
    }

    /// Waits for room, first come first served.
    pub(crate) async fn room(&self, batch: &WriteBatch) -> Result<OwnedSemaphorePermit> {
        let units = self.units_of(batch);
        let room = Arc::clone(&self.room).acquire_many_owned(units).await;
        room.map_err(|_| Error::Closed)
    }

    /// Adds a batch. `room` is `None` for callers that bound themselves by blocking.
    pub(crate) fn push(
        &self,
        batch: WriteBatch,
        room: Option<OwnedSemaphorePermit>,
    ) -> Result<oneshot::Receiver<Result<()>>> {
        let (done, answer) = oneshot::channel();
        let mut state = self.state.lock();
        if state.closed {
            return Err(Error::Closed);
        }
        state.bytes += batch.bytes as u64;
        state.waiting.push_back(Pending {
            batch,
            done,
            _room: room,
        });
        drop(state);
        self.arrived.notify_one();
        Ok(answer)
    }

    /// Moves the next group into `group`, waiting for a first batch. False when the queue is
    /// closed and empty.
    pub(crate) fn take(&self, group: &mut Vec<Pending>, max_bytes: u64) -> bool {
        let mut state = self.state.lock();
        while state.waiting.is_empty() {
            if state.closed {
                return false;
            }
            self.arrived.wait(&mut state);
        }
        let mut bytes = 0;
        while let Some(next) = state.waiting.front() {
            bytes += next.batch.bytes as u64;
            if bytes > max_bytes && !group.is_empty() {
                break;
            }
            group.extend(state.waiting.pop_front());
        }
        let taken: u64 = group.iter().map(|p| p.batch.bytes as u64).sum();
        state.bytes = state.bytes.saturating_sub(taken);
        true
    }

    /// Takes no more; what waits is still written.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.room.close();
        self.arrived.notify_all();
    }

    /// Closes and drops what waits: its callers get [`Error::Closed`].
    pub(crate) fn abandon(&self) {
        self.close();
        self.state.lock().waiting.clear();
    }

    /// Batches and bytes that wait.
    pub(crate) fn len(&self) -> (u64, u64) {
        let state = self.state.lock();
        (state.waiting.len() as u64, state.bytes)
    }

    // A batch larger than the whole bound is let through alone.
    fn units_of(&self, batch: &WriteBatch) -> u32 {
        u32::try_from(batch.bytes as u64 / UNIT + 1)
            .unwrap_or(u32::MAX)
            .min(self.units)
    }
}
