//! What an idle device's session costs: open, ask, end.
#![allow(clippy::unwrap_used)]

use divan::{Bencher, black_box};
use futures::executor::block_on;
use hearth_queue::{EmbeddedQueue, Enqueue, Phase, Queue};
use hearth_types::{DeviceKey, TaskId, Timestamp};
use std::time::Duration;

fn main() {
    divan::main();
}

fn device(serial: usize) -> DeviceKey {
    DeviceKey::parse("default", &format!("001122-Box-{serial:08}")).unwrap()
}

#[divan::bench]
fn idle_session(bencher: Bencher) {
    let queue = EmbeddedQueue::new();
    let devices: Vec<_> = (0..10_000).map(device).collect();
    let ttl = Duration::from_secs(30);
    let mut turn = 0;
    bencher.bench_local(|| {
        turn += 1;
        let device = &devices[turn % devices.len()];
        let now = Timestamp::from_micros(1_800_000_000_000_000 + turn as i64);
        block_on(async {
            let session = queue.open_session(device, "0123456789", ttl, now).await;
            let epoch = session.unwrap().epoch;
            black_box(queue.claim(device, epoch, ttl, None, now).await.unwrap());
        });
    });
}

#[divan::bench]
fn task_through(bencher: Bencher) {
    let queue = EmbeddedQueue::new();
    let devices: Vec<_> = (0..10_000).map(device).collect();
    let ttl = Duration::from_secs(30);
    let mut turn = 0;
    bencher.bench_local(|| {
        turn += 1;
        let device = &devices[turn % devices.len()];
        let now = Timestamp::from_micros(1_800_000_000_000_000 + turn as i64);
        let task = Enqueue {
            task: TaskId::generate(),
            priority: 0,
            deadline: now.saturating_add(ttl),
            phase: Phase::Pending {
                not_before: Timestamp::ZERO,
            },
        };
        block_on(async {
            queue.enqueue(device, task).await.unwrap();
            let session = queue.open_session(device, "0123456789", ttl, now).await;
            let epoch = session.unwrap().epoch;
            queue.claim(device, epoch, ttl, None, now).await.unwrap();
            queue.complete(device, task.task).await.unwrap();
            queue.claim(device, epoch, ttl, None, now).await.unwrap();
        });
    });
}
