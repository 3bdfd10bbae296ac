//! Two callers at once: of one queue, or of two processes on the same one.

use super::{LEASE, at, id, ok, pending};
use crate::{Claim, Due, Enqueue, Queue};
use hearth_types::{DeviceKey, TaskId};
use std::{collections::BTreeMap, sync::Arc};

const DEVICES: u8 = 20;
const TASKS: u8 = 5;

fn device(serial: u8) -> DeviceKey {
    super::device(&serial.to_string())
}

/// Runs this for both at once, and answers what they had.
async fn both<T: Send + 'static, F>(
    queues: &[Arc<dyn Queue>; 2],
    run: impl Fn(Arc<dyn Queue>, usize) -> F,
) -> Vec<T>
where
    F: Future<Output = Vec<T>> + Send + 'static,
{
    let [one, other] = queues.clone();
    let runs = [tokio::spawn(run(one, 0)), tokio::spawn(run(other, 1))];
    let mut had = Vec::new();
    for run in runs {
        had.extend(run.await.unwrap_or_else(|lost| panic!("{lost}")));
    }
    had
}

/// Sessions of both on the same devices: each task is given out once.
pub(super) async fn claims(queues: &[Arc<dyn Queue>; 2]) {
    for serial in 0..DEVICES {
        for number in 0..TASKS {
            let task = pending(id(serial * TASKS + number));
            let queue = &queues[usize::from(serial % 2)];
            ok!(queue.enqueue(&device(serial), task));
        }
    }
    let sessions = |queue: Arc<dyn Queue>, process: usize| async move {
        let mut given = Vec::new();
        for serial in 0..DEVICES {
            let (device, session) = (device(serial), format!("{process}-{serial}"));
            let epoch = ok!(queue.open_session(&device, &session, LEASE, at(1))).epoch;
            while let Claim::Task {
                task, orphan_of, ..
            } = ok!(queue.claim(&device, epoch, LEASE, None, at(1)))
            {
                given.push((task, orphan_of));
                tokio::task::yield_now().await;
                ok!(queue.complete(&device, task));
            }
            tokio::task::yield_now().await;
        }
        given
    };
    let mut first: BTreeMap<TaskId, usize> = BTreeMap::new();
    for (task, orphan_of) in both(queues, sessions).await {
        // One that another session had is told as such: the ledger decides.
        *first.entry(task).or_default() += usize::from(orphan_of.is_none());
    }
    assert_eq!(
        first.len(),
        usize::from(DEVICES * TASKS),
        "each is given out"
    );
    assert!(first.values().all(|count| *count == 1), "{first:?}");
    assert_eq!(ok!(queues[0].depth()).open, 0);
}

/// Who asks at the same time as another one is not told the same.
pub(super) async fn what_is_due_is_told_to_one(queues: &[Arc<dyn Queue>; 2]) {
    const DUE: u8 = 250;
    for serial in 0..DUE {
        let task = Enqueue {
            deadline: at(10),
            ..pending(id(serial))
        };
        ok!(queues[0].enqueue(&device(serial), task));
    }
    let ask = |queue: Arc<dyn Queue>, _| async move {
        let mut told: Vec<Due> = Vec::new();
        loop {
            let due = ok!(queue.due(at(11), LEASE, 17));
            assert!(due.len() <= 17);
            if due.is_empty() {
                return told;
            }
            told.extend(due);
            tokio::task::yield_now().await;
        }
    };
    let told = both(queues, ask).await;
    let mut tasks: Vec<_> = told.iter().map(|due| due.task).collect();
    tasks.sort_unstable();
    tasks.dedup();
    let all = usize::from(DUE);
    assert_eq!((told.len(), tasks.len()), (all, all));
    let again = ok!(queues[1].due(at(11 + 30), LEASE, 1000));
    assert_eq!(again.len(), all);
}
