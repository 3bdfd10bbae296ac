//! What is given out, and in which order.

use super::{EVERY, LEASE, at, claimed, device, id, ok, open, pending};
use crate::{Claim, Depth, Enqueue, Peek, Phase, Queue, Released, Removed};
use hearth_types::Timestamp;
use std::{sync::Arc, time::Duration};

pub(super) async fn priority_then_age(queue: Arc<dyn Queue>) {
    let device = device("a");
    for (number, priority) in [(5, 0), (4, -1), (3, 7), (2, 0), (1, 0)] {
        let task = Enqueue {
            priority,
            ..pending(id(number))
        };
        ok!(queue.enqueue(&device, task));
    }
    let epoch = open(&queue, &device, "s", at(0)).await;
    let mut given = Vec::new();
    while let Some(task) = claimed(&queue, &device, epoch, at(0)).await {
        ok!(queue.complete(&device, task));
        given.push(task);
    }
    assert_eq!(given, [id(3), id(1), id(2), id(5), id(4)]);
}

pub(super) async fn the_same_session_gets_the_same_task(queue: Arc<dyn Queue>) {
    let device = device("a");
    ok!(queue.enqueue(&device, pending(id(2))));
    let epoch = open(&queue, &device, "s", at(0)).await;
    assert_eq!(claimed(&queue, &device, epoch, at(0)).await, Some(id(2)));
    let urgent = Enqueue {
        priority: 100,
        ..pending(id(1))
    };
    ok!(queue.enqueue(&device, urgent));
    let again = ok!(queue.claim(&device, epoch, LEASE, None, at(1)));
    let expected = Claim::Task {
        task: id(2),
        resumed: true,
        orphan_of: None,
    };
    assert_eq!(again, expected);
}

pub(super) async fn excluded_stays_in_flight(queue: Arc<dyn Queue>) {
    let device = device("a");
    ok!(queue.enqueue(&device, pending(id(1))));
    ok!(queue.enqueue(&device, pending(id(2))));
    let epoch = open(&queue, &device, "s", at(0)).await;
    assert_eq!(claimed(&queue, &device, epoch, at(0)).await, Some(id(1)));
    let next = ok!(queue.claim(&device, epoch, LEASE, Some(id(1)), at(0)));
    assert!(matches!(next, Claim::Task { task, resumed: false, .. } if task == id(2)));
    // The caller could not write the ledger: the second goes back, the first is still there.
    assert_eq!(
        ok!(queue.release(&device, id(2), epoch, Timestamp::ZERO)),
        Released::Done
    );
    assert_eq!(claimed(&queue, &device, epoch, at(1)).await, Some(id(1)));
}

pub(super) async fn delayed_and_parked_block_no_other(queue: Arc<dyn Queue>) {
    let device = device("a");
    for number in 1..=3 {
        ok!(queue.enqueue(&device, pending(id(number))));
    }
    let epoch = open(&queue, &device, "s", at(0)).await;
    assert_eq!(claimed(&queue, &device, epoch, at(0)).await, Some(id(1)));
    ok!(queue.release(&device, id(1), epoch, at(10)));
    assert_eq!(claimed(&queue, &device, epoch, at(0)).await, Some(id(2)));
    ok!(queue.park(&device, id(2), epoch, at(1000)));
    assert_eq!(claimed(&queue, &device, epoch, at(0)).await, Some(id(3)));
    ok!(queue.complete(&device, id(3)));
    assert_eq!(claimed(&queue, &device, epoch, at(9)).await, None);
    let peek = ok!(queue.peek(&device, at(9)));
    assert_eq!((peek.open, peek.ready, peek.ages), (2, 0, None));
    ok!(queue.enqueue(&device, pending(id(5))));
    ok!(queue.enqueue(&device, pending(id(4))));
    let peek = ok!(queue.peek(&device, at(9)));
    assert_eq!((peek.ready, peek.ages), (2, Some((id(4), id(5)))));
    ok!(queue.complete(&device, id(4)));
    ok!(queue.complete(&device, id(5)));
    assert!(!ok!(queue.open_session(&device, "t", LEASE, at(9))).pending);
    let session = ok!(queue.open_session(&device, "u", LEASE, at(10)));
    assert!(session.pending && session.orphans.is_empty());
    assert_eq!(
        claimed(&queue, &device, session.epoch, at(10)).await,
        Some(id(1))
    );
}

pub(super) async fn enqueue_is_idempotent(queue: Arc<dyn Queue>) {
    let device = device("a");
    ok!(queue.enqueue(&device, pending(id(1))));
    let epoch = open(&queue, &device, "s", at(0)).await;
    assert_eq!(claimed(&queue, &device, epoch, at(0)).await, Some(id(1)));
    ok!(queue.enqueue(&device, pending(id(1))));
    let peek = Peek {
        open: 1,
        ready: 0,
        in_session: true,
        ages: None,
    };
    assert_eq!(ok!(queue.peek(&device, at(0))), peek);
    assert!(ok!(queue.contains(&device, id(1))));
    ok!(queue.complete(&device, id(1)));
    ok!(queue.complete(&device, id(1)));
    assert!(!ok!(queue.contains(&device, id(1))));
}

pub(super) async fn removal_spares_what_is_in_flight(queue: Arc<dyn Queue>) {
    let device = device("a");
    ok!(queue.enqueue(&device, pending(id(1))));
    ok!(queue.enqueue(&device, pending(id(2))));
    let epoch = open(&queue, &device, "s", at(0)).await;
    assert_eq!(claimed(&queue, &device, epoch, at(0)).await, Some(id(1)));
    let refused = ok!(queue.remove(&device, id(1), false));
    assert!(matches!(refused, Removed::Was(Phase::InFlight { epoch: of, .. }) if of == epoch));
    assert!(ok!(queue.contains(&device, id(1))));
    let gone = ok!(queue.remove(&device, id(2), false));
    assert!(matches!(gone, Removed::Was(Phase::Pending { .. })));
    assert_eq!(ok!(queue.remove(&device, id(2), false)), Removed::Gone);
    ok!(queue.remove(&device, id(1), true));
    assert!(!ok!(queue.contains(&device, id(1))));
}

pub(super) async fn depth_counts(queue: Arc<dyn Queue>) {
    assert_eq!(ok!(queue.depth()), Depth::default());
    for serial in ["a", "b", "c"] {
        for number in 1..=3 {
            ok!(queue.enqueue(&device(serial), pending(id(number))));
        }
    }
    let epoch = open(&queue, &device("a"), "s", at(0)).await;
    assert_eq!(
        claimed(&queue, &device("a"), epoch, at(0)).await,
        Some(id(1))
    );
    ok!(queue.park(&device("b"), id(2), 0, at(9)));
    ok!(queue.complete(&device("c"), id(3)));
    let depth = ok!(queue.depth());
    assert_eq!((depth.in_flight, depth.parked, depth.devices), (1, 1, 3));
    assert_eq!(depth.oldest, Some(id(1)));
    // The ids of these tests say 1970.
    assert!(depth.oldest_age(at(0)) > Duration::from_secs(1_000_000_000));
}

pub(super) async fn a_probe_changes_nothing(queue: Arc<dyn Queue>) {
    let device = device("a");
    ok!(queue.enqueue(&device, pending(id(1))));
    let epoch = open(&queue, &device, "s", at(0)).await;
    let before = ok!(queue.depth());
    // Often enough to meet each bucket.
    for _ in 0..200 {
        ok!(queue.probe());
    }
    assert_eq!(ok!(queue.depth()), before);
    assert_eq!(ok!(queue.suspects(EVERY, at(1))), []);
    assert_eq!(claimed(&queue, &device, epoch, at(1)).await, Some(id(1)));
}
