//! The real queue, that can't be asked on demand (all of it, or what a rebuild holds up), and that is
//! lost on demand, as one in a server of its own may be.

use async_trait::async_trait;
use hearth_queue::{
    Claim, Depth, Due, EmbeddedQueue, Enqueue, Error, Peek, Queue, Released, Removed, Result,
    Session, Suspect,
};
use hearth_types::{DeviceKey, TaskId, Timestamp};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

/// Between two comparisons of an index: never here.
const EVERY: Duration = Duration::MAX;

#[derive(Default)]
pub struct FlakyQueue {
    inner: Mutex<Arc<EmbeddedQueue>>,
    /// Nothing answers.
    pub down: AtomicBool,
    /// The device's bucket is not whole.
    pub rebuilding: AtomicBool,
    wiped: AtomicBool,
    /// Buckets that were rebuilt, since the last wipe.
    pub rebuilt: AtomicU32,
}

impl FlakyQueue {
    /// All of it is lost.
    pub fn wipe(&self) {
        self.wiped.store(true, SeqCst);
        self.rebuilt.store(0, SeqCst);
        *self.inner.lock().unwrap() = Arc::default();
    }

    /// Buckets that are lost.
    pub async fn lost(&self) -> Vec<u8> {
        let queue = self.inner.lock().unwrap().clone();
        let suspects = queue.suspects(EVERY, Timestamp::ZERO).await.unwrap();
        suspects.iter().map(|suspect| suspect.bucket).collect()
    }

    fn up(&self) -> Result<Arc<EmbeddedQueue>> {
        match self.down.load(SeqCst) {
            true => Err(Error::Unavailable("told to".into())),
            false => Ok(self.inner.lock().unwrap().clone()),
        }
    }

    async fn is_lost(&self, device: &DeviceKey) -> bool {
        self.wiped.load(SeqCst) && self.lost().await.contains(&device.bucket())
    }

    async fn whole(&self, device: &DeviceKey) -> Result<Arc<EmbeddedQueue>> {
        match self.rebuilding.load(SeqCst) || self.is_lost(device).await {
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
        let lost = self.is_lost(device).await;
        let mut opened = self.up()?.open_session(device, session, ttl, now).await?;
        opened.rebuilding = lost;
        Ok(opened)
    }
    async fn claim(
        &self,
        device: &DeviceKey,
        epoch: u64,
        lease: Duration,
        exclude: Option<TaskId>,
        now: Timestamp,
    ) -> Result<Claim> {
        let queue = self.whole(device).await?;
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
        self.whole(device).await?.unpark(device, task).await
    }
    async fn contains(&self, device: &DeviceKey, task: TaskId) -> Result<bool> {
        self.whole(device).await?.contains(device, task).await
    }
    async fn peek(&self, device: &DeviceKey, now: Timestamp) -> Result<Peek> {
        self.whole(device).await?.peek(device, now).await
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
        let finished = self.up()?.finish_rebuild(bucket, owner, now).await?;
        self.rebuilt.fetch_add(u32::from(finished), SeqCst);
        Ok(finished)
    }
}
