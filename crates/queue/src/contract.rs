//! The contract of a queue.

use crate::{Claim, Depth, Due, Enqueue, Peek, Released, Removed, Result, Session};
use async_trait::async_trait;
use hearth_types::{DeviceKey, TaskId, Timestamp};
use std::time::Duration;

/// Open tasks by device, sessions and their epochs.
///
/// For every backend:
/// - Each call MUST be atomic, and SHOULD be one round trip: nothing asks its caller to read,
///   decide and write back.
/// - Calls MUST be idempotent where they name a task or a session id: made again they change
///   nothing, and answer the same.
/// - Nothing needs to be durable. What is lost MUST be lost whole, so that it can be rebuilt; an
///   index that was lost MUST still give epochs above all earlier ones, as long as the clock's
///   steps backwards are shorter than the time it was away.
/// - Memory MUST be proportional to open tasks and live sessions.
/// - `now` is the caller's clock; a backend MUST NOT use another one.
///
/// For its users:
/// - The ledger is written before the queue is told ([`Queue::complete`], [`Queue::park`] …), so
///   that a rebuilt index is never behind what was acknowledged.
#[async_trait]
pub trait Queue: Send + Sync + 'static {
    /// Opens a session and fences all earlier ones of the device.
    ///
    /// - The epoch MUST be above every earlier one of the device and at least `now` in µs
    ///   (`max(last + 1, now)`).
    /// - The same session id again, while it is the newest, MUST answer the same epoch.
    /// - The device counts as in session for `ttl`, renewed by each call of the session.
    async fn open_session(
        &self,
        device: &DeviceKey,
        session: &str,
        ttl: Duration,
        now: Timestamp,
    ) -> Result<Session>;

    /// The next task for a session, leased for `lease`.
    ///
    /// - An epoch below the newest MUST be [`Claim::Fenced`]. One above it MUST be taken as the
    ///   newest: the index was lost in mid-session.
    /// - A task that this session has in flight, other than `exclude`, MUST be given again.
    ///   Otherwise one that an earlier session had in flight; otherwise the pending one of the
    ///   highest priority and oldest id whose delay has passed.
    /// - `exclude` is the task that the caller is about to complete: it stays in flight.
    /// - After [`Queue::close_session`] it MUST be [`Claim::Empty`].
    async fn claim(
        &self,
        device: &DeviceKey,
        epoch: u64,
        lease: Duration,
        exclude: Option<TaskId>,
        now: Timestamp,
    ) -> Result<Claim>;

    /// Extends the session and, if `task` is in flight in it, its lease. `false`: a newer session
    /// has taken over.
    async fn renew(
        &self,
        device: &DeviceKey,
        epoch: u64,
        task: Option<TaskId>,
        lease: Duration,
        now: Timestamp,
    ) -> Result<bool>;

    /// Ends a session: nothing more is given to it. Later epochs are not concerned.
    async fn close_session(&self, device: &DeviceKey, epoch: u64) -> Result<()>;

    /// Enters a task. One that is there already MUST stay as it is.
    async fn enqueue(&self, device: &DeviceKey, task: Enqueue) -> Result<()>;

    /// The task has ended: it goes, whoever has it.
    async fn complete(&self, device: &DeviceKey, task: TaskId) -> Result<()>;

    /// The task goes if no session has it, or if `force`; the answer tells where it stood.
    async fn remove(&self, device: &DeviceKey, task: TaskId, force: bool) -> Result<Removed>;

    /// Gives a task back: pending, not before `not_before`. A newer epoch's lease MUST NOT be
    /// touched.
    async fn release(
        &self,
        device: &DeviceKey,
        task: TaskId,
        epoch: u64,
        not_before: Timestamp,
    ) -> Result<Released>;

    /// The task waits for the device until `until` and blocks no other. A newer epoch's lease MUST
    /// NOT be touched.
    async fn park(
        &self,
        device: &DeviceKey,
        task: TaskId,
        epoch: u64,
        until: Timestamp,
    ) -> Result<Released>;

    /// A parked task becomes pending. One that isn't parked stays as it is. `false`: there is no
    /// such task.
    async fn unpark(&self, device: &DeviceKey, task: TaskId) -> Result<bool>;

    /// Whether the task is open here.
    async fn contains(&self, device: &DeviceKey, task: TaskId) -> Result<bool>;

    /// What there is of a device.
    async fn peek(&self, device: &DeviceKey, now: Timestamp) -> Result<Peek>;

    /// At most `limit` tasks whose time has come, without looking at the others. Each is told
    /// again after `again`, until something is done about it (so that a caller that died loses
    /// none), except [`crate::DueKind::Ready`], which is told once.
    async fn due(&self, now: Timestamp, again: Duration, limit: usize) -> Result<Vec<Due>>;

    /// How much there is.
    async fn depth(&self) -> Result<Depth>;
}
