//! Events that can't be applied or written, whatever is tried: each becomes a dead letter, and those
//! around it are applied.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::common::{SECOND, START, World, config, inform, key, values};
use crate::flaky::{Flaky, Trap};
use hearth_bus::{Bus, ConsumerSpec, DeadLetter, Stream};
use hearth_config::HumanDuration;
use hearth_device_state::DeviceStateConfig;
use hearth_engine::EngineOptions;
use hearth_proto::events::v1::ValueSource;
use hearth_store::{DocumentKind, Store as _};
use hearth_types::TenantId;
use tokio::sync::Notify;

const BEFORE: &str = "001122-X-1";
const POISON: &str = "001122-X-2";
const BEHIND: &str = "001122-X-3";
const LINE: &str = "Device.Line";

async fn trapped(dir: &Path, config: DeviceStateConfig, trap: Trap) -> World {
    let wrap = |store| Flaky::with(store, trap);
    World::over(EngineOptions::new(dir), config, wrap).await
}

async fn letters(world: &World) -> Vec<DeadLetter> {
    world.bus.dead_letters(None, 10).await.unwrap().letters
}

#[tokio::test]
async fn an_event_that_panics_dies_alone_and_leaves_nothing_half_known() {
    let dir = tempfile::tempdir().unwrap();
    let armed = Arc::new(AtomicBool::new(false));
    let trap = Trap::Panics(key(POISON), Arc::clone(&armed));
    let mut world = trapped(dir.path(), config(), trap).await;
    world.run().await;
    let ids = [BEFORE, POISON, BEHIND];
    for id in ids {
        let first = inform(id, START, "1 BOOT", &[(LINE, "1")]);
        world.publish(&first).await;
    }
    world.settled().await;
    armed.store(true, Ordering::Relaxed);
    for id in ids {
        let second = inform(id, START + SECOND, "4 VALUE CHANGE", &[(LINE, "2")]);
        world.publish(&second).await;
    }
    world.settled().await;
    assert!(world.is_ready());
    for (id, line, informs) in [(BEFORE, "2", 2), (POISON, "1", 1), (BEHIND, "2", 2)] {
        assert_eq!(world.value(id, LINE).await.as_deref(), Some(line), "{id}");
        assert_eq!(world.device(id).await.inform_count, informs, "{id}");
    }
    let dead = letters(&world).await;
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].message.device, key(POISON));
    assert!(
        dead[0].reason.starts_with("panicked: "),
        "{}",
        dead[0].reason
    );
    assert!(!dead[0].reason.contains(LINE), "{}", dead[0].reason);

    armed.store(false, Ordering::Relaxed);
    let third = inform(POISON, START + 2 * SECOND, "4 VALUE CHANGE", &[(LINE, "2")]);
    world.publish(&third).await;
    world.settled().await;
    assert_eq!(world.value(POISON, LINE).await.as_deref(), Some("2"));
    world.bus.replay_dead_letter(dead[0].id).await.unwrap();
    world.settled().await;
    assert_eq!(world.value(POISON, LINE).await.as_deref(), Some("2"));
    assert!(letters(&world).await.is_empty());
    world.stop().await;
}

#[tokio::test]
async fn an_event_that_ends_the_process_dies_after_bounded_tries() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::open(dir.path(), config()).await;
    for id in [BEFORE, POISON, BEHIND] {
        world.publish(&inform(id, START, "1 BOOT", &[])).await;
    }
    // Delivered so often, all of them: the bus can't know which one it was.
    let spec = ConsumerSpec {
        max_deliver: 1000,
        ..ConsumerSpec::new("device-state", Stream::ALL)
    };
    let consumer = world.bus.consumer(spec).await.unwrap();
    for _ in 0..21 {
        let got = consumer.fetch(10, Duration::from_secs(5)).await.unwrap();
        assert_eq!(got.len(), 3);
        for event in got {
            consumer.nak(event.seq, Duration::ZERO).await.unwrap();
        }
    }
    // Until that is on disk.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let mut tries = 0;
    while letters(&world).await.is_empty() {
        world.crash().await;
        let told = Arc::new(Notify::new());
        let trap = Trap::Ends(key(POISON), Arc::clone(&told));
        world = trapped(dir.path(), config(), trap).await;
        world.run().await;
        tokio::select! {
            () = told.notified() => tries += 1,
            () = world.settled() => break,
        }
        assert!(tries < 10, "it is tried without end");
    }
    assert_eq!(tries, 3);
    let dead = letters(&world).await;
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].message.device, key(POISON));
    let reason = &dead[0].reason;
    assert!(reason.contains("the process ended 3 times"), "{reason}");
    for id in [BEFORE, BEHIND] {
        assert_eq!(world.device(id).await.inform_count, 1, "{id}");
    }
    let tenant = TenantId::default();
    let (kind, prefix) = (DocumentKind::Setting, "device-state/alone/");
    let left = world.store.documents(kind, &tenant, prefix, None, 10).await;
    assert!(left.unwrap().is_empty(), "notes of tries are left");
    world.stop().await;
}

#[tokio::test]
async fn of_a_devices_events_only_the_one_that_cannot_be_written_dies() {
    const BIG: &str = "Device.Big";
    for (trap, why) in [
        (Trap::TooLarge(BIG), "can't keep this"),
        (Trap::PanicsToWrite(BIG), "panicked: no room in the double"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let mut world = trapped(dir.path(), config(), trap).await;
        for id in [BEFORE, POISON, BEHIND] {
            let first = inform(id, START, "1 BOOT", &[(LINE, "1")]);
            world.publish(&first).await;
        }
        let mut offender = 0;
        for (n, path) in (1..).zip(["Device.A", BIG, "Device.B", "Device.C"]) {
            let time = START + n * SECOND;
            let set = values(POISON, time, ValueSource::Set, &[(path, "x")]);
            let seq = world.publish(&set).await;
            if path == BIG {
                offender = seq;
            }
        }
        // All of them wait, so that they are written together.
        world.run().await;
        world.settled().await;
        let dead = letters(&world).await;
        let of: Vec<_> = dead.iter().map(|letter| letter.message.seq).collect();
        assert_eq!(of, [offender]);
        assert!(dead[0].reason.contains(why), "{}", dead[0].reason);
        for id in [BEFORE, POISON, BEHIND] {
            assert_eq!(world.device(id).await.inform_count, 1, "{id}");
            assert_eq!(world.value(id, LINE).await.as_deref(), Some("1"), "{id}");
        }
        for path in ["Device.A", "Device.B", "Device.C"] {
            let kept = world.value(POISON, path).await;
            assert_eq!(kept.as_deref(), Some("x"), "{path}");
        }
        assert_eq!(world.value(POISON, BIG).await, None);
        let story = world.story(POISON).await;
        let sets = story.iter().filter(|(_, _, _, new)| new == "x").count();
        assert_eq!(sets, 3, "each once: {story:?}");
        world.stop().await;
    }
}

#[tokio::test]
async fn large_events_are_written_before_the_memory_is_full_of_them() {
    let dir = tempfile::tempdir().unwrap();
    let patient = DeviceStateConfig {
        flush_interval: HumanDuration::secs(3600),
        ..config()
    };
    let mut world = World::open(dir.path(), patient).await;
    world.run().await;
    world.publish(&inform(BEFORE, START, "1 BOOT", &[])).await;
    let large = "x".repeat(15_000_000);
    for n in 1..=5 {
        let time = START + n * SECOND;
        let read = values(BEFORE, time, ValueSource::Read, &[(LINE, &large)]);
        world.publish(&read).await;
    }
    for _ in 0..600 {
        if world.bus.stats().await.consumers[0].lag == 0 {
            world.stop().await;
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("75 MB wait: {:?}", world.bus.stats().await);
}
