//! The embedded backend against the suite, and its memory.
#![allow(clippy::unwrap_used)]

use hearth_queue::{EmbeddedQueue, Queue, conformance};
use hearth_types::{DeviceKey, Timestamp};
use std::{sync::Arc, time::Duration};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_contract() {
    conformance::all(|| async { Arc::new(EmbeddedQueue::new()) as Arc<dyn Queue> }).await;
}

#[tokio::test]
async fn idle_devices_leave_nothing_behind() {
    let queue = EmbeddedQueue::new();
    let now = Timestamp::from_micros(1_800_000_000_000_000);
    for serial in 0..1000 {
        let device = DeviceKey::parse("default", &format!("001122-Box-{serial}")).unwrap();
        let ttl = Duration::from_secs(30);
        let session = queue.open_session(&device, "s", ttl, now).await.unwrap();
        assert!(!session.pending);
        queue
            .claim(&device, session.epoch, ttl, None, now)
            .await
            .unwrap();
    }
    assert_eq!(queue.depth().await.unwrap().devices, 0);
}
