//! The contract of a queue.

use crate::{Claim, Depth, Due, Enqueue, Peek, Released, Removed, Result, Session, Suspect};
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
/// - The index is kept and rebuilt by bucket ([`DeviceKey::bucket`]). A bucket whose index was lost
///   MUST be told by [`Queue::suspects`]. Until it is rebuilt, calls that answer from what there is
///   ([`Queue::claim`], [`Queue::peek`], [`Queue::contains`], and [`Queue::remove`],
///   [`Queue::unpark`] where the task is not there) MAY be [`crate::Error::Rebuilding`]; all others
///   MUST work.
///
/// For its users:
/// - The ledger is written before the queue is told ([`Queue::complete`], [`Queue::park`] …), so
///   that a rebuilt index is never behind what was acknowledged.
/// - An index may be behind the ledger: it was rebuilt while a task changed, or its server was
///   replaced by an older copy. Nothing is sent for a task before the ledger was read: that it is
///   open, and that no attempt of a newer epoch is in it.
#[async_trait]
pub trait Queue: Send + Sync + 'static {
    /// Whether other processes work with the same index, so that a rebuild, at a start too, takes from
    /// what they have.
    fn is_shared(&self) -> bool {
        true
    }

    /// Opens a session and fences all earlier ones of the device.
    ///
    /// - The epoch MUST be above every earlier one of the device and at least `now` in µs
    ///   (`max(last + 1, now)`).
    /// - The same session id again, while it is the newest and open, MUST answer the same epoch.
    /// - A device without open tasks: the session MUST be taken as closed at once. Nothing is given
    ///   to it, the device doesn't count as in session (a task that is made later wakes it), and
    ///   nothing is kept of it.
    /// - Otherwise the device counts as in session for `ttl`, renewed by each call of the session.
    /// - While the bucket is being rebuilt ([`Session::rebuilding`]) the session MUST stay open and
    ///   `pending` be true: what there is isn't known whole.
    async fn open_session(
        &self,
        device: &DeviceKey,
        session: &str,
        ttl: Duration,
        now: Timestamp,
    ) -> Result<Session>;

    /// The next task for a session, leased for `lease`.
    ///
    /// - An epoch below the newest MUST be [`Claim::Fenced`] ([`Claim::Empty`] where nothing is known
    ///   of the device's sessions, since they had nothing to do). One above it MUST be taken as the
    ///   newest: the index was lost in mid-session.
    /// - A task that this session has in flight, other than `exclude`, MUST be given again.
    ///   Otherwise one that an earlier session had in flight; otherwise the pending one of the
    ///   highest priority and oldest id whose delay has passed.
    /// - `exclude` is the task that the caller is about to complete: it stays in flight.
    /// - After [`Queue::close_session`], and for a session that opened on a device without open
    ///   tasks, it MUST be [`Claim::Empty`].
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

    /// Tells of the device at `at`: as [`crate::DueKind::Ready`], by one of its tasks that a session
    /// may have now. Another time, or [`Timestamp::ZERO`] for none, takes the place of an earlier
    /// one; a device that no session may have a task of is left as it is. So the plans of a process
    /// that has died are known to the others.
    async fn remind(&self, device: &DeviceKey, at: Timestamp, now: Timestamp) -> Result<()>;

    /// At most `limit` tasks whose time has come, without looking at the others. Each is told
    /// again after `again`, until something is done about it (so that a caller that died loses
    /// none), except [`crate::DueKind::Ready`], which is told once.
    async fn due(&self, now: Timestamp, again: Duration, limit: usize) -> Result<Vec<Due>>;

    /// How much there is.
    async fn depth(&self) -> Result<Depth>;

    /// Buckets that must be compared to the ledger: those whose index was lost, and those that may
    /// be behind it: since their server was restarted or replaced, or, in an index that several
    /// processes share, since the last rebuild is `every` ago (one of them may have died between the
    /// ledger and the queue).
    async fn suspects(&self, every: Duration, now: Timestamp) -> Result<Vec<Suspect>>;

    /// Takes the lease on a bucket's rebuild for `ttl`, so that one process does it. `false`: another
    /// `owner` has it.
    ///
    /// From now on until [`Queue::finish_rebuild`] or the lease's end, tasks that are completed or
    /// removed MUST NOT come back by [`Queue::restore`]: who read the ledger after this call may
    /// enter what was open then.
    async fn begin_rebuild(
        &self,
        bucket: u8,
        owner: &str,
        ttl: Duration,
        now: Timestamp,
    ) -> Result<bool>;

    /// Enters tasks that the ledger had open after [`Queue::begin_rebuild`], all of them of `bucket`,
    /// and extends the lease. `false`: it was lost; begin again.
    ///
    /// One that is there already MUST stay as it is, but an epoch that it has in flight in the ledger
    /// fences earlier ones.
    async fn restore(
        &self,
        bucket: u8,
        owner: &str,
        tasks: &[(DeviceKey, Enqueue)],
        ttl: Duration,
        now: Timestamp,
    ) -> Result<bool>;

    /// Every open task of the bucket was entered: its index is whole. `false`: the lease was lost;
    /// begin again.
    async fn finish_rebuild(&self, bucket: u8, owner: &str, now: Timestamp) -> Result<bool>;

    /// Whether sessions can be opened now, at least those of some devices. For the readiness: a server
    /// that answers may yet refuse writes, so it MUST be asked by a write, and one that is refused when
    /// [`Queue::open_session`] is. It changes nothing that another call tells.
    ///
    /// The default is that of a backend in its caller's process.
    async fn probe(&self) -> Result<()> {
        Ok(())
    }
}
