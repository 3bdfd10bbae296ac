//! Deadlines, leases, parking, delays.

use super::{AGAIN, LEASE, at, claimed, device, id, ok, open, pending};
use crate::{DueKind, Enqueue, Queue};
use hearth_types::{TaskId, Timestamp};
use std::sync::Arc;

async fn due(queue: &Arc<dyn Queue>, now: Timestamp) -> Vec<(TaskId, DueKind)> {
    let found = ok!(queue.due(now, AGAIN, 100));
    found.into_iter().map(|d| (d.task, d.kind)).collect()
}

pub(super) async fn deadlines(queue: Arc<dyn Queue>) {
    let device = device("a");
    let task = Enqueue {
        deadline: at(10),
        ..pending(id(1))
    };
    ok!(queue.enqueue(&device, task));
    assert_eq!(due(&queue, at(9)).await, []);
    assert_eq!(due(&queue, at(10)).await, [(id(1), DueKind::Deadline)]);
    assert_eq!(due(&queue, at(11)).await, [], "told a moment ago");
    assert_eq!(due(&queue, at(20)).await, [(id(1), DueKind::Deadline)]);
    ok!(queue.complete(&device, id(1)));
    assert_eq!(due(&queue, at(90)).await, []);
}

pub(super) async fn leases_and_renewal(queue: Arc<dyn Queue>) {
    let device = device("a");
    let task = Enqueue {
        deadline: at(10),
        ..pending(id(1))
    };
    ok!(queue.enqueue(&device, task));
    let epoch = open(&queue, &device, "s", at(0)).await;
    assert_eq!(claimed(&queue, &device, epoch, at(0)).await, Some(id(1)));
    assert_eq!(
        due(&queue, at(15)).await,
        [],
        "in flight, the deadline waits"
    );
    assert!(ok!(queue.renew(&device, epoch, Some(id(1)), LEASE, at(20))));
    assert_eq!(due(&queue, at(31)).await, [], "renewed");
    assert_eq!(ok!(queue.peek(&device, at(31))).ready, 0);
    let lapsed = ok!(queue.peek(&device, at(50)));
    assert_eq!((lapsed.ready, lapsed.in_session), (1, false));
    assert_eq!(due(&queue, at(50)).await, [(id(1), DueKind::Lease)]);
    ok!(queue.release(&device, id(1), epoch, Timestamp::ZERO));
    assert_eq!(due(&queue, at(51)).await, [(id(1), DueKind::Deadline)]);
}

pub(super) async fn parked_and_unparked(queue: Arc<dyn Queue>) {
    let device = device("a");
    ok!(queue.enqueue(&device, pending(id(1))));
    let epoch = open(&queue, &device, "s", at(0)).await;
    assert_eq!(claimed(&queue, &device, epoch, at(0)).await, Some(id(1)));
    ok!(queue.park(&device, id(1), epoch, at(100)));
    assert_eq!(claimed(&queue, &device, epoch, at(1)).await, None);
    assert_eq!(due(&queue, at(100)).await, [(id(1), DueKind::Parked)]);
    assert!(ok!(queue.unpark(&device, id(1))));
    assert_eq!(due(&queue, at(200)).await, []);
    assert!(ok!(queue.unpark(&device, id(1))), "it is pending already");
    let epoch = open(&queue, &device, "t", at(201)).await;
    assert_eq!(claimed(&queue, &device, epoch, at(201)).await, Some(id(1)));
    assert!(ok!(queue.unpark(&device, id(1))));
    let again = claimed(&queue, &device, epoch, at(202)).await;
    assert_eq!(again, Some(id(1)), "in flight, it stays so");
    assert!(!ok!(queue.unpark(&device, id(9))));
}

pub(super) async fn delays_are_told_once(queue: Arc<dyn Queue>) {
    let device = device("a");
    let task = Enqueue {
        deadline: at(100),
        ..pending(id(1))
    };
    ok!(queue.enqueue(&device, task));
    let epoch = open(&queue, &device, "s", at(0)).await;
    assert_eq!(claimed(&queue, &device, epoch, at(0)).await, Some(id(1)));
    ok!(queue.release(&device, id(1), epoch, at(10)));
    assert_eq!(due(&queue, at(10)).await, [(id(1), DueKind::Ready)]);
    assert_eq!(due(&queue, at(50)).await, []);
    assert_eq!(due(&queue, at(100)).await, [(id(1), DueKind::Deadline)]);
}

pub(super) async fn reminders_are_told_once(queue: Arc<dyn Queue>) {
    let device = device("a");
    ok!(queue.remind(&device, at(1), at(0)));
    assert_eq!(due(&queue, at(2)).await, [], "it has no task");
    let late = Enqueue {
        deadline: at(100),
        ..pending(id(1))
    };
    for task in [late, pending(id(2))] {
        ok!(queue.enqueue(&device, task));
    }
    for time in [10, 20] {
        ok!(queue.remind(&device, at(time), at(3)));
    }
    assert_eq!(due(&queue, at(19)).await, [], "moved on");
    assert_eq!(due(&queue, at(20)).await, [(id(1), DueKind::Ready)]);
    assert_eq!(due(&queue, at(21)).await, []);
    // A more urgent one comes, and takes it over.
    ok!(queue.remind(&device, at(30), at(21)));
    let urgent = Enqueue {
        priority: 1,
        ..pending(id(3))
    };
    ok!(queue.enqueue(&device, urgent));
    ok!(queue.remind(&device, at(40), at(22)));
    assert_eq!(due(&queue, at(39)).await, []);
    assert_eq!(due(&queue, at(40)).await, [(id(3), DueKind::Ready)]);
    // None any more; and what a session has is not told of.
    ok!(queue.remind(&device, at(50), at(41)));
    ok!(queue.remind(&device, Timestamp::ZERO, at(42)));
    assert_eq!(due(&queue, at(50)).await, []);
    ok!(queue.remind(&device, at(60), at(51)));
    let epoch = open(&queue, &device, "s", at(52)).await;
    assert_eq!(claimed(&queue, &device, epoch, at(52)).await, Some(id(3)));
    assert_eq!(due(&queue, at(61)).await, []);
    // A deadline comes before.
    ok!(queue.complete(&device, id(3)));
    ok!(queue.remind(&device, at(200), at(62)));
    assert_eq!(due(&queue, at(100)).await, [(id(1), DueKind::Deadline)]);
}

pub(super) async fn a_reminder_outlives_its_task(queue: Arc<dyn Queue>) {
    let device = device("a");
    for task in [id(1), id(2), id(3)] {
        ok!(queue.enqueue(&device, pending(task)));
    }
    ok!(queue.remind(&device, at(10), at(1)));
    // Cancelled, and ended.
    ok!(queue.remove(&device, id(1), false));
    ok!(queue.complete(&device, id(2)));
    assert_eq!(due(&queue, at(9)).await, []);
    assert_eq!(due(&queue, at(10)).await, [(id(3), DueKind::Ready)]);
    assert_eq!(due(&queue, at(20)).await, []);
    // What was none, nobody has.
    ok!(queue.enqueue(&device, pending(id(4))));
    let late = Enqueue {
        deadline: at(50),
        priority: 1,
        ..pending(id(5))
    };
    ok!(queue.enqueue(&device, late));
    ok!(queue.complete(&device, id(5)));
    assert_eq!(due(&queue, at(60)).await, []);
}

pub(super) async fn limits_are_kept(queue: Arc<dyn Queue>) {
    for number in 0..50 {
        let task = Enqueue {
            deadline: at(1),
            ..pending(id(number))
        };
        ok!(queue.enqueue(&device(&format!("d{number}")), task));
    }
    let mut told = Vec::new();
    for _ in 0..5 {
        let found = ok!(queue.due(at(2), AGAIN, 10));
        assert_eq!(found.len(), 10);
        told.extend(found.into_iter().map(|due| due.task));
    }
    told.sort_unstable();
    told.dedup();
    assert_eq!(told.len(), 50, "each once");
}
