//! The index in memory.
//!
//! Each bucket of devices is a shard with a lock that is held for well under a microsecond. A shard
//! knows its devices by key, its alarms by time (so that [`Queue::due`] looks at nothing
//! else) and its open tasks by age.

mod rebuild;
mod record;
mod shard;

use crate::{
    Claim, Depth, Due, Enqueue, Peek, Phase, Queue, Released, Removed, Result, Session, Suspect,
};
use async_trait::async_trait;
use hearth_types::{DeviceKey, TaskId, Timestamp};
use parking_lot::{Mutex, MutexGuard};
use shard::Shard;
use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

const SHARDS: usize = DeviceKey::BUCKETS as usize;

/// A queue in this process's memory: the embedded backend.
///
/// It begins empty, with all its buckets suspect; who starts it rebuilds it before anything else.
/// Calls are answered from what there is even before.
pub struct EmbeddedQueue {
    shards: Vec<Mutex<Shard>>,
    /// Where the next [`Queue::due`] begins, so that no shard starves the others.
    turn: AtomicUsize,
}

impl EmbeddedQueue {
    /// An empty index.
    pub fn new() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            turn: AtomicUsize::new(0),
        }
    }

    fn shard(&self, device: &DeviceKey) -> MutexGuard<'_, Shard> {
        self.bucket(device.bucket())
    }

    fn bucket(&self, bucket: u8) -> MutexGuard<'_, Shard> {
        self.shards[usize::from(bucket) % SHARDS].lock()
    }
}

impl Default for EmbeddedQueue {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Queue for EmbeddedQueue {
    fn is_shared(&self) -> bool {
        false
    }

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

    async fn remind(&self, device: &DeviceKey, at: Timestamp, now: Timestamp) -> Result<()> {
        self.shard(device).remind(device, at, now);
        Ok(())
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

    async fn suspects(&self, _: Duration, _: Timestamp) -> Result<Vec<Suspect>> {
        let lost = (0..DeviceKey::BUCKETS).filter(|b| !self.bucket(*b).rebuild.is_done());
        Ok(lost.map(|bucket| Suspect { bucket, lost: true }).collect())
    }

    async fn begin_rebuild(
        &self,
        bucket: u8,
        owner: &str,
        ttl: Duration,
        now: Timestamp,
    ) -> Result<bool> {
        Ok(self.bucket(bucket).rebuild.begin(owner, ttl, now))
    }

    async fn restore(
        &self,
        bucket: u8,
        owner: &str,
        tasks: &[(DeviceKey, Enqueue)],
        ttl: Duration,
        now: Timestamp,
    ) -> Result<bool> {
        let mut shard = self.bucket(bucket);
        let held = shard.rebuild.extend(owner, ttl, now);
        if held {
            for (device, task) in tasks {
                shard.restore(device, *task);
            }
        }
        Ok(held)
    }

    async fn finish_rebuild(&self, bucket: u8, owner: &str, now: Timestamp) -> Result<bool> {
        Ok(self.bucket(bucket).rebuild.finish(owner, now))
    }
}
