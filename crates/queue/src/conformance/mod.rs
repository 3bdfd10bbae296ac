//! The suite that every backend runs. Each check gets an empty queue; [`all`] runs them all and
//! panics at the first that fails, with its name.

mod concurrent;
mod order;
mod rebuild;
mod sessions;
mod timers;

use crate::{Claim, Enqueue, Phase, Queue};
use hearth_types::{DeviceId, DeviceKey, TaskId, TenantId, Timestamp};
use std::{sync::Arc, time::Duration};

/// Runs every check on queues that `new` gives, each one new: empty, with all buckets suspect.
pub async fn all<F, Fut>(new: F)
where
    F: Fn() -> Fut,
    Fut: Future<Output = Arc<dyn Queue>>,
{
    rebuild::all(&new).await;
    let make = async || {
        let queue = new().await;
        build(&queue).await;
        queue
    };
    sessions::epochs_grow(make().await).await;
    sessions::the_same_session_again_is_the_same(make().await).await;
    sessions::an_idle_session_is_closed_at_once(make().await).await;
    sessions::an_older_session_is_fenced(make().await).await;
    sessions::a_lost_index_accepts_the_live_session(make().await).await;
    sessions::a_closed_session_gets_nothing(make().await).await;
    sessions::orphans_are_told_and_given_first(make().await).await;
    sessions::an_older_session_cannot_give_back(make().await).await;
    sessions::in_session_until_empty_or_expired(make().await).await;
    order::priority_then_age(make().await).await;
    order::the_same_session_gets_the_same_task(make().await).await;
    order::excluded_stays_in_flight(make().await).await;
    order::delayed_and_parked_block_no_other(make().await).await;
    order::enqueue_is_idempotent(make().await).await;
    order::removal_spares_what_is_in_flight(make().await).await;
    order::depth_counts(make().await).await;
    order::a_probe_changes_nothing(make().await).await;
    timers::deadlines(make().await).await;
    timers::leases_and_renewal(make().await).await;
    timers::parked_and_unparked(make().await).await;
    timers::delays_are_told_once(make().await).await;
    timers::reminders_are_told_once(make().await).await;
    timers::a_reminder_outlives_its_task(make().await).await;
    timers::limits_are_kept(make().await).await;
    of_two(|| async {
        let queue = new().await;
        [Arc::clone(&queue), queue]
    })
    .await;
}

/// What two processes do at once. `new` gives two handles of one queue: an empty one each time, with
/// all buckets suspect.
pub async fn of_two<F, Fut>(new: F)
where
    F: Fn() -> Fut,
    Fut: Future<Output = [Arc<dyn Queue>; 2]>,
{
    let make = async || {
        let queues = new().await;
        build(&queues[0]).await;
        queues
    };
    concurrent::claims(&make().await).await;
    concurrent::what_is_due_is_told_to_one(&make().await).await;
}

const LEASE: Duration = Duration::from_secs(30);
const AGAIN: Duration = Duration::from_secs(10);
const EVERY: Duration = Duration::from_secs(600);

/// A time `seconds` into the tests.
fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(1_800_000_000_000_000 + seconds * 1_000_000)
}

fn device(serial: &str) -> DeviceKey {
    let id = DeviceId::new("001122", "Box", serial).unwrap_or_else(|e| panic!("{e}"));
    DeviceKey::new(TenantId::default(), id)
}

/// A task id that sorts by `number`.
fn id(number: u8) -> TaskId {
    let mut bytes = [0; 16];
    bytes[15] = number;
    TaskId::from_bytes(bytes)
}

fn pending(task: TaskId) -> Enqueue {
    Enqueue {
        task,
        priority: 0,
        deadline: Timestamp::ZERO,
        phase: Phase::Pending {
            not_before: Timestamp::ZERO,
        },
    }
}

/// `queue.call(..)` awaited, its error a failure of the check.
macro_rules! ok {
    ($call:expr) => {
        match $call.await {
            Ok(value) => value,
            Err(error) => panic!("the queue failed: {error}"),
        }
    };
}
use ok;

/// Takes an empty ledger for all suspect buckets.
async fn build(queue: &Arc<dyn Queue>) {
    for suspect in ok!(queue.suspects(EVERY, at(0))) {
        assert!(ok!(queue.begin_rebuild(
            suspect.bucket,
            "build",
            LEASE,
            at(0)
        )));
        assert!(ok!(queue.finish_rebuild(suspect.bucket, "build", at(0))));
    }
}

/// Enters a task as a rebuild does.
async fn restore(queue: &Arc<dyn Queue>, device: &DeviceKey, task: Enqueue) {
    let bucket = device.bucket();
    assert!(ok!(queue.begin_rebuild(bucket, "restore", LEASE, at(0))));
    let tasks = [(device.clone(), task)];
    assert!(ok!(queue.restore(bucket, "restore", &tasks, LEASE, at(0))));
    assert!(ok!(queue.finish_rebuild(bucket, "restore", at(0))));
}

async fn open(queue: &Arc<dyn Queue>, device: &DeviceKey, session: &str, now: Timestamp) -> u64 {
    ok!(queue.open_session(device, session, LEASE, now)).epoch
}

/// The task that a claim brought.
async fn claimed(
    queue: &Arc<dyn Queue>,
    device: &DeviceKey,
    epoch: u64,
    now: Timestamp,
) -> Option<TaskId> {
    match ok!(queue.claim(device, epoch, LEASE, None, now)) {
        Claim::Task { task, .. } => Some(task),
        Claim::Empty => None,
        Claim::Fenced => panic!("the session is fenced"),
    }
}
