//! The real queue, that can't be asked on demand: all of it, or what a rebuild holds up.

use async_trait::async_trait;
use hearth_queue::{
    Claim, Depth, Due, EmbeddedQueue, Enqueue, Error, Peek, Queue, Released, Removed, Result,
    Session, Suspect,
};
use hearth_types::{DeviceKey, TaskId, Timestamp};
use std::{
    sync::atomic::{AtomicBool, Ordering::SeqCst},
    time::Duration,
};

#[derive(Default)]
pub struct FlakyQueue {
    pub inner: EmbeddedQueue,
    /// Nothing answers.
    pub down: AtomicBool,
    /// The device's bucket is not whole.
    pub rebuilding: AtomicBool,
}

impl FlakyQueue {
    fn up(&self) -> Result<&EmbeddedQueue> {
        match self.down.load(SeqCst) {
            true => Err(Error::Unavailable("told to".into())),
            false => Ok(&self.inner),
        }
    }

    fn whole(&self) -> Result<&EmbeddedQueue> {
        match self.rebuilding.load(SeqCst) {
            true => Err(Error::Rebuilding),
            false => self.up(),
        }
    }
}

#[async_trait]
impl Queue for FlakyQueue {
    async fn open_session(
        &self,
        device: &DeviceKey,
        session: &str,
        ttl: Duration,
        now: Timestamp,
    ) -> Result<Session> {
        self.up()?.open_session(device, session, ttl, now).await
    }
    async fn claim(
        &self,
        device: &DeviceKey,
        epoch: u64,
        lease: Duration,
        exclude: Option<TaskId>,
        now: Timestamp,
    ) -> Result<Claim> {
        let queue = self.whole()?;
        queue.claim(device, epoch, lease, exclude, now).await
    }
    async fn renew(
        &self,
        device: &DeviceKey,
        epoch: u64,
        task: Option<TaskId>,
        lease: Duration,
        now: Timestamp,
    ) -> Result<bool> {
        self.up()?.renew(device, epoch, task, lease, now).await
    }
    async fn close_session(&self, device: &DeviceKey, epoch: u64) -> Result<()> {
        self.up()?.close_session(device, epoch).await
    }
    async fn enqueue(&self, device: &DeviceKey, task: Enqueue) -> Result<()> {
        self.up()?.enqueue(device, task).await
    }
    async fn complete(&self, device: &DeviceKey, task: TaskId) -> Result<()> {
        self.up()?.complete(device, task).await
    }
    async fn remove(&self, device: &DeviceKey, task: TaskId, force: bool) -> Result<Removed> {
        self.up()?.remove(device, task, force).await
    }
    async fn release(
        &self,
        device: &DeviceKey,
        task: TaskId,
        epoch: u64,
        not_before: Timestamp,
    ) -> Result<Released> {
        self.up()?.release(device, task, epoch, not_before).await
    }
    async fn park(
        &self,
        device: &DeviceKey,
        task: TaskId,
        epoch: u64,
        until: Timestamp,
    ) -> Result<Released> {
        self.up()?.park(device, task, epoch, until).await
    }
    async fn unpark(&self, device: &DeviceKey, task: TaskId) -> Result<bool> {
        self.whole()?.unpark(device, task).await
    }
    async fn contains(&self, device: &DeviceKey, task: TaskId) -> Result<bool> {
        self.whole()?.contains(device, task).await
    }
    async fn peek(&self, device: &DeviceKey, now: Timestamp) -> Result<Peek> {
        self.whole()?.peek(device, now).await
    }
    async fn remind(&self, device: &DeviceKey, at: Timestamp, now: Timestamp) -> Result<()> {
        self.up()?.remind(device, at, now).await
    }
    async fn due(&self, now: Timestamp, again: Duration, limit: usize) -> Result<Vec<Due>> {
        self.up()?.due(now, again, limit).await
    }
    async fn depth(&self) -> Result<Depth> {
        self.up()?.depth().await
    }
    async fn suspects(&self, every: Duration, now: Timestamp) -> Result<Vec<Suspect>> {
        self.up()?.suspects(every, now).await
    }
    async fn begin_rebuild(
        &self,
        bucket: u8,
        owner: &str,
        ttl: Duration,
        now: Timestamp,
    ) -> Result<bool> {
        self.up()?.begin_rebuild(bucket, owner, ttl, now).await
    }
    async fn restore(
        &self,
        bucket: u8,
        owner: &str,
        tasks: &[(DeviceKey, Enqueue)],
        ttl: Duration,
        now: Timestamp,
    ) -> Result<bool> {
        self.up()?.restore(bucket, owner, tasks, ttl, now).await
    }
    async fn finish_rebuild(&self, bucket: u8, owner: &str, now: Timestamp) -> Result<bool> {
        self.up()?.finish_rebuild(bucket, owner, now).await
    }
}
