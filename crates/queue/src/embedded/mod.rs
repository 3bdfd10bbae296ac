//! The index in memory.
//!
//! Devices are spread over shards, each with a lock that is held for well under a microsecond. A
//! shard knows its devices by key, its alarms by time (so that [`Queue::due`] looks at nothing
//! else) and its open tasks by age.

mod record;
mod shard;

use crate::{Claim, Depth, Due, Enqueue, Peek, Phase, Queue, Released, Removed, Result, Session};
use async_trait::async_trait;
use hearth_types::{DeviceKey, TaskId, Timestamp};
use parking_lot::{Mutex, MutexGuard};
use shard::Shard;
use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

const SHARDS: usize = 64;

/// A queue in this process's memory: the embedded backend.
pub struct EmbeddedQueue {
    shards: Vec<Mutex<Shard>>,
    hasher: ahash::RandomState,
    /// Where the next [`Queue::due`] begins, so that no shard starves the others.
    turn: AtomicUsize,
}

impl EmbeddedQueue {
    /// An empty index.
    pub fn new() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: ahash::RandomState::new(),
            turn: AtomicUsize::new(0),
        }
    }

    fn shard(&self, device: &DeviceKey) -> MutexGuard<'_, Shard> {
        let hash = self.hasher.hash_one(device);
        // The upper bits: the maps inside use the lower ones of their own hash.
        let index = usize::try_from(hash >> 32).unwrap_or(0) % SHARDS;
        self.shards[index].lock()
    }
}

impl Default for EmbeddedQueue {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Queue for EmbeddedQueue {
    async fn open_session(
        &self,
        device: &DeviceKey,
        session: &str,
        ttl: Duration,
        now: Timestamp,
    ) -> Result<Session> {
        Ok(self.shard(device).open_session(device, session, ttl, now))
    }

    async fn claim(
        &self,
        device: &DeviceKey,
        epoch: u64,
        lease: Duration,
        exclude: Option<TaskId>,
        now: Timestamp,
    ) -> Result<Claim> {
        Ok(self.shard(device).claim(device, epoch, lease, exclude, now))
    }

    async fn renew(
        &self,
        device: &DeviceKey,
        epoch: u64,
        task: Option<TaskId>,
        lease: Duration,
        now: Timestamp,
    ) -> Result<bool> {
        Ok(self.shard(device).renew(device, epoch, task, lease, now))
    }

    async fn close_session(&self, device: &DeviceKey, epoch: u64) -> Result<()> {
        self.shard(device).close_session(device, epoch);
        Ok(())
    }

    async fn enqueue(&self, device: &DeviceKey, task: Enqueue) -> Result<()> {
        self.shard(device).enqueue(device, task);
        Ok(())
    }

    async fn complete(&self, device: &DeviceKey, task: TaskId) -> Result<()> {
        self.shard(device).remove(device, task, true);
        Ok(())
    }

    async fn remove(&self, device: &DeviceKey, task: TaskId, force: bool) -> Result<Removed> {
        Ok(self.shard(device).remove(device, task, force))
    }

    async fn release(
        &self,
        device: &DeviceKey,
        task: TaskId,
        epoch: u64,
        not_before: Timestamp,
    ) -> Result<Released> {
        let phase = Phase::Pending { not_before };
        Ok(self.shard(device).give_back(device, task, epoch, phase))
    }

    async fn park(
        &self,
        device: &DeviceKey,
        task: TaskId,
        epoch: u64,
        until: Timestamp,
    ) -> Result<Released> {
        let phase = Phase::Parked { until };
        Ok(self.shard(device).give_back(device, task, epoch, phase))
    }

    async fn unpark(&self, device: &DeviceKey, task: TaskId) -> Result<bool> {
        Ok(self.shard(device).unpark(device, task))
    }

    async fn contains(&self, device: &DeviceKey, task: TaskId) -> Result<bool> {
        Ok(self.shard(device).contains(device, task))
    }

    async fn peek(&self, device: &DeviceKey, now: Timestamp) -> Result<Peek> {
        Ok(self.shard(device).peek(device, now))
    }

    async fn due(&self, now: Timestamp, again: Duration, limit: usize) -> Result<Vec<Due>> {
        let mut found = Vec::new();
        let start = self.turn.fetch_add(1, Ordering::Relaxed);
        for offset in 0..SHARDS {
            let mut shard = self.shards[start.wrapping_add(offset) % SHARDS].lock();
            if offset == 0 {
                // Sessions that were never ended: one shard a call, so that no call is long.
                shard.sweep(now);
            }
            shard.due(now, again, limit, &mut found);
            if found.len() >= limit {
                break;
            }
        }
        Ok(found)
    }

    async fn depth(&self) -> Result<Depth> {
        let mut depth = Depth::default();
        for shard in &self.shards {
            shard.lock().add_depth(&mut depth);
        }
        Ok(depth)
    }
}
