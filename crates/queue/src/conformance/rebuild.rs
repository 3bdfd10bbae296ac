//! Rebuilding a bucket from the ledger while work goes on.

use super::{EVERY, LEASE, at, build, claimed, device, id, ok, open, pending};
use crate::{Claim, Enqueue, Phase, Queue};
use hearth_types::DeviceKey;
use std::sync::Arc;

pub(super) async fn all<F, Fut>(new: &F)
where
    F: Fn() -> Fut,
    Fut: Future<Output = Arc<dyn Queue>>,
{
    every_bucket_is_suspect_once(new().await).await;
    one_rebuilds_a_bucket(new().await).await;
    what_ended_meanwhile_stays_away(new().await).await;
    what_is_there_stays_as_it_is(new().await).await;
    sessions_go_on(new().await).await;
}

async fn every_bucket_is_suspect_once(queue: Arc<dyn Queue>) {
    // As a process asks that has just started: it builds nothing.
    ok!(queue.probe());
    let suspects = ok!(queue.suspects(EVERY, at(1)));
    let mut buckets: Vec<_> = suspects.iter().map(|suspect| suspect.bucket).collect();
    buckets.sort_unstable();
    assert!(buckets.into_iter().eq(0..DeviceKey::BUCKETS));
    assert!(suspects.iter().all(|suspect| suspect.lost));
    build(&queue).await;
    assert_eq!(ok!(queue.suspects(EVERY, at(1))), []);
}

async fn one_rebuilds_a_bucket(queue: Arc<dyn Queue>) {
    let device = device("a");
    let bucket = device.bucket();
    assert!(ok!(queue.begin_rebuild(bucket, "a", LEASE, at(0))));
    assert!(!ok!(queue.begin_rebuild(bucket, "b", LEASE, at(1))));
    assert!(ok!(queue.begin_rebuild(bucket, "a", LEASE, at(2))), "again");
    assert!(!ok!(queue.finish_rebuild(bucket, "b", at(3))));
    // The owner died; another one takes over, and the first can't interfere.
    assert!(ok!(queue.begin_rebuild(bucket, "b", LEASE, at(40))));
    let tasks = [(device.clone(), pending(id(1)))];
    assert!(!ok!(queue.restore(bucket, "a", &tasks, LEASE, at(41))));
    assert!(!ok!(queue.finish_rebuild(bucket, "a", at(41))));
    assert_eq!(ok!(queue.depth()).open, 0);
    assert!(ok!(queue.restore(bucket, "b", &tasks, LEASE, at(60))));
    assert!(
        ok!(queue.finish_rebuild(bucket, "b", at(80))),
        "it was extended"
    );
    assert!(!ok!(queue.finish_rebuild(bucket, "b", at(80))));
    assert!(ok!(queue.contains(&device, id(1))));
}

async fn what_ended_meanwhile_stays_away(queue: Arc<dyn Queue>) {
    let device = device("a");
    let bucket = device.bucket();
    assert!(ok!(queue.begin_rebuild(bucket, "a", LEASE, at(0))));
    ok!(queue.enqueue(&device, pending(id(1))));
    ok!(queue.complete(&device, id(1)));
    ok!(queue.complete(&device, id(2)));
    let tasks = [1, 2, 3].map(|number| (device.clone(), pending(id(number))));
    assert!(ok!(queue.restore(bucket, "a", &tasks, LEASE, at(1))));
    assert!(ok!(queue.finish_rebuild(bucket, "a", at(1))));
    let epoch = open(&queue, &device, "s", at(2)).await;
    assert_eq!(claimed(&queue, &device, epoch, at(2)).await, Some(id(3)));
    assert_eq!(ok!(queue.peek(&device, at(2))).open, 1);
}

async fn what_is_there_stays_as_it_is(queue: Arc<dyn Queue>) {
    build(&queue).await;
    let device = device("a");
    let bucket = device.bucket();
    ok!(queue.enqueue(&device, pending(id(1))));
    let old = open(&queue, &device, "s1", at(0)).await;
    assert_eq!(claimed(&queue, &device, old, at(0)).await, Some(id(1)));
    // The ledger knows of a newer session than this copy of the index does.
    let newer = Enqueue {
        phase: Phase::InFlight {
            epoch: old + 5,
            lease: at(30),
        },
        ..pending(id(1))
    };
    assert!(ok!(queue.begin_rebuild(bucket, "a", LEASE, at(0))));
    let tasks = [(device.clone(), newer), (device.clone(), pending(id(2)))];
    assert!(ok!(queue.restore(bucket, "a", &tasks, LEASE, at(1))));
    assert!(ok!(queue.restore(bucket, "a", &tasks, LEASE, at(1))));
    assert!(ok!(queue.finish_rebuild(bucket, "a", at(1))));
    assert_eq!(ok!(queue.peek(&device, at(1))).open, 2);
    let claim = ok!(queue.claim(&device, old, LEASE, None, at(1)));
    assert_eq!(claim, Claim::Fenced);
    let claim = ok!(queue.claim(&device, old + 5, LEASE, None, at(1)));
    let orphan = Claim::Task {
        task: id(1),
        resumed: false,
        orphan_of: Some(old),
    };
    assert_eq!(claim, orphan);
}

/// A wipe in mid-session: the session is accepted and given its task again.
async fn sessions_go_on(queue: Arc<dyn Queue>) {
    let device = device("a");
    let bucket = device.bucket();
    let live = at(0).as_micros().unsigned_abs();
    assert!(ok!(queue.renew(&device, live, Some(id(1)), LEASE, at(1))));
    assert!(ok!(queue.begin_rebuild(bucket, "a", LEASE, at(1))));
    let in_flight = Enqueue {
        phase: Phase::InFlight {
            epoch: live,
            lease: at(60),
        },
        ..pending(id(1))
    };
    let tasks = [
        (device.clone(), in_flight),
        (device.clone(), pending(id(2))),
    ];
    assert!(ok!(queue.restore(bucket, "a", &tasks, LEASE, at(2))));
    assert!(ok!(queue.finish_rebuild(bucket, "a", at(2))));
    let next = ok!(queue.claim(&device, live, LEASE, Some(id(1)), at(3)));
    assert!(matches!(next, Claim::Task { task, resumed: false, .. } if task == id(2)));
    ok!(queue.complete(&device, id(1)));
    assert_eq!(claimed(&queue, &device, live, at(3)).await, Some(id(2)));
    assert!(open(&queue, &device, "s2", at(-100)).await > live);
}
