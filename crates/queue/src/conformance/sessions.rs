//! Sessions, epochs, fencing, orphans.

use super::{AGAIN, LEASE, at, claimed, device, id, ok, open, pending, restore};
use crate::{Claim, Enqueue, Phase, Queue, Released};
use std::sync::Arc;

pub(super) async fn epochs_grow(queue: Arc<dyn Queue>) {
    let device = device("a");
    let first = open(&queue, &device, "s1", at(0)).await;
    assert!(first >= at(0).as_micros().unsigned_abs());
    let second = open(&queue, &device, "s2", at(0)).await;
    assert!(second > first, "a second session at the same time");
    let third = open(&queue, &device, "s3", at(-100)).await;
    assert!(third > second, "the clock was set back");
    // The session ends, and with it all that is kept of the device.
    assert_eq!(claimed(&queue, &device, third, at(1)).await, None);
    let fourth = open(&queue, &device, "s4", at(-100)).await;
    assert!(fourth > third, "the clock was set back while it was idle");
    let later = open(&queue, &device, "s5", at(5000)).await;
    assert!(later >= at(5000).as_micros().unsigned_abs());
}

pub(super) async fn the_same_session_again_is_the_same(queue: Arc<dyn Queue>) {
    let device = device("a");
    ok!(queue.enqueue(&device, pending(id(1))));
    let first = open(&queue, &device, "s1", at(0)).await;
    assert_eq!(open(&queue, &device, "s1", at(1)).await, first);
}

pub(super) async fn an_idle_session_is_closed_at_once(queue: Arc<dyn Queue>) {
    let device = device("a");
    let session = ok!(queue.open_session(&device, "s1", LEASE, at(0)));
    assert!(!session.pending && session.open == 0 && session.orphans.is_empty());
    assert!(!ok!(queue.peek(&device, at(0))).in_session);
    ok!(queue.enqueue(&device, pending(id(1))));
    assert!(!ok!(queue.peek(&device, at(0))).in_session, "it is woken");
    assert_eq!(claimed(&queue, &device, session.epoch, at(1)).await, None);
    assert!(ok!(queue.renew(&device, session.epoch, None, LEASE, at(1))));
    ok!(queue.close_session(&device, session.epoch));
    assert!(!ok!(queue.peek(&device, at(1))).in_session);
    let next = open(&queue, &device, "s2", at(1)).await;
    assert!(next > session.epoch);
    let claim = ok!(queue.claim(&device, session.epoch, LEASE, None, at(1)));
    assert_eq!(claim, Claim::Fenced);
    assert_eq!(claimed(&queue, &device, next, at(1)).await, Some(id(1)));
    // A session whose tasks are done is no obstacle to that either.
    ok!(queue.complete(&device, id(1)));
    assert!(ok!(queue.peek(&device, at(1))).in_session);
    let last = open(&queue, &device, "s3", at(-100)).await;
    assert!(last > next, "the clock was set back");
    assert_eq!(ok!(queue.depth()).devices, 0);
}

pub(super) async fn an_older_session_is_fenced(queue: Arc<dyn Queue>) {
    let device = device("a");
    ok!(queue.enqueue(&device, pending(id(1))));
    let old = open(&queue, &device, "s1", at(0)).await;
    let new = open(&queue, &device, "s2", at(1)).await;
    assert_eq!(
        ok!(queue.claim(&device, old, LEASE, None, at(2))),
        Claim::Fenced
    );
    assert!(!ok!(queue.renew(&device, old, None, LEASE, at(2))));
    assert!(ok!(queue.renew(&device, new, None, LEASE, at(2))));
    // An old session that ends doesn't end the new one.
    ok!(queue.close_session(&device, old));
    assert_eq!(claimed(&queue, &device, new, at(3)).await, Some(id(1)));
}

pub(super) async fn a_lost_index_accepts_the_live_session(queue: Arc<dyn Queue>) {
    let device = device("a");
    let live = at(0).as_micros().unsigned_abs();
    assert_eq!(claimed(&queue, &device, live, at(1)).await, None);
    // Rebuilt: what the live session had in flight is its own again.
    let in_flight = Phase::InFlight {
        epoch: live,
        lease: at(30),
    };
    let task = Enqueue {
        phase: in_flight,
        ..pending(id(1))
    };
    restore(&queue, &device, task).await;
    let claim = ok!(queue.claim(&device, live, LEASE, None, at(2)));
    let expected = Claim::Task {
        task: id(1),
        resumed: true,
        orphan_of: None,
    };
    assert_eq!(claim, expected);
    assert!(open(&queue, &device, "s2", at(-100)).await > live);
}

pub(super) async fn a_closed_session_gets_nothing(queue: Arc<dyn Queue>) {
    let device = device("a");
    ok!(queue.enqueue(&device, pending(id(1))));
    let epoch = open(&queue, &device, "s1", at(0)).await;
    ok!(queue.close_session(&device, epoch));
    assert_eq!(claimed(&queue, &device, epoch, at(1)).await, None);
    let next = open(&queue, &device, "s2", at(2)).await;
    assert_eq!(claimed(&queue, &device, next, at(2)).await, Some(id(1)));
}

pub(super) async fn orphans_are_told_and_given_first(queue: Arc<dyn Queue>) {
    let device = device("a");
    ok!(queue.enqueue(&device, pending(id(2))));
    let old = open(&queue, &device, "s1", at(0)).await;
    assert_eq!(claimed(&queue, &device, old, at(0)).await, Some(id(2)));
    let urgent = Enqueue {
        priority: 100,
        ..pending(id(1))
    };
    ok!(queue.enqueue(&device, urgent));
    let session = ok!(queue.open_session(&device, "s2", LEASE, at(1)));
    assert!(session.pending);
    assert_eq!(session.open, 2);
    assert_eq!(session.orphans, [id(2)]);
    let claim = ok!(queue.claim(&device, session.epoch, LEASE, None, at(1)));
    let expected = Claim::Task {
        task: id(2),
        resumed: false,
        orphan_of: Some(old),
    };
    assert_eq!(claim, expected);
    let session = ok!(queue.open_session(&device, "s2", LEASE, at(1)));
    assert!(session.orphans.is_empty(), "it is this session's own now");
}

pub(super) async fn an_older_session_cannot_give_back(queue: Arc<dyn Queue>) {
    let device = device("a");
    ok!(queue.enqueue(&device, pending(id(1))));
    let old = open(&queue, &device, "s1", at(0)).await;
    assert_eq!(claimed(&queue, &device, old, at(0)).await, Some(id(1)));
    let new = open(&queue, &device, "s2", at(1)).await;
    assert_eq!(claimed(&queue, &device, new, at(1)).await, Some(id(1)));
    assert_eq!(
        ok!(queue.release(&device, id(1), old, at(2))),
        Released::Fenced
    );
    assert_eq!(
        ok!(queue.park(&device, id(1), old, at(9))),
        Released::Fenced
    );
    assert_eq!(
        ok!(queue.release(&device, id(1), new, at(2))),
        Released::Done
    );
    assert_eq!(
        ok!(queue.release(&device, id(9), new, at(2))),
        Released::Gone
    );
}

pub(super) async fn in_session_until_empty_or_expired(queue: Arc<dyn Queue>) {
    let device = device("a");
    ok!(queue.enqueue(&device, pending(id(1))));
    assert!(!ok!(queue.peek(&device, at(0))).in_session);
    let epoch = open(&queue, &device, "s1", at(0)).await;
    assert!(ok!(queue.peek(&device, at(29))).in_session);
    assert!(!ok!(queue.peek(&device, at(31))).in_session, "expired");
    assert!(ok!(queue.renew(&device, epoch, None, LEASE, at(20))));
    assert!(ok!(queue.peek(&device, at(31))).in_session, "renewed");
    ok!(queue.park(&device, id(1), epoch, at(900)));
    assert_eq!(claimed(&queue, &device, epoch, at(31)).await, None);
    assert!(
        !ok!(queue.peek(&device, at(31))).in_session,
        "nothing to do"
    );
    open(&queue, &device, "s2", at(32)).await;
    ok!(queue.complete(&device, id(1)));
    assert_eq!(ok!(queue.depth()).devices, 1);
    // Sessions that nobody ends are forgotten in the end.
    for second in 0..200 {
        ok!(queue.due(at(100 + second), AGAIN, 10));
    }
    assert_eq!(ok!(queue.depth()).devices, 0);
}
