//! A bus on which no dead letter can be written for a while: they wait, and nobody with them.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::stream::BoxStream;
use hearth_bus::{
    Ack, Bus, BusStats, Consumer, ConsumerSpec, DeadLetterPage, Delivery, Error, Publish, Result,
    Stream, TailEvent,
};
use hearth_engine::EngineOptions;
use tokio::time::sleep;

use crate::common::{SECOND, START, World, config, inform, key};

/// How long a try takes, as it does without a leader of the stream of dead letters.
const SLOW: Duration = Duration::from_millis(500);

const ROOM: u8 = 0;
const FULL: u8 = 1;
/// No room will do.
const NEVER: u8 = 2;

struct Cramped {
    bus: Arc<dyn Bus>,
    state: Arc<AtomicU8>,
}

struct CrampedConsumer {
    consumer: Box<dyn Consumer>,
    state: Arc<AtomicU8>,
}

#[async_trait]
impl Consumer for CrampedConsumer {
    fn name(&self) -> &str {
        self.consumer.name()
    }

    async fn fetch(&self, max: usize, wait: Duration) -> Result<Vec<Delivery>> {
        self.consumer.fetch(max, wait).await
    }

    async fn ack(&self, seqs: &[u64]) -> Result<()> {
        self.consumer.ack(seqs).await
    }

    async fn nak(&self, seq: u64, delay: Duration) -> Result<()> {
        self.consumer.nak(seq, delay).await
    }

    async fn term(&self, seq: u64, reason: &str) -> Result<()> {
        match self.state.load(Ordering::Relaxed) {
            FULL => {
                sleep(SLOW).await;
                Err(Error::Full { backlog: 1, max: 1 })
            }
            NEVER => Err(Error::TooLarge { len: 40, max: 10 }),
            _ => self.consumer.term(seq, reason).await,
        }
    }
}

#[async_trait]
impl Bus for Cramped {
    async fn publish(&self, message: Publish) -> Result<Ack> {
        self.bus.publish(message).await
    }

    async fn consumer(&self, spec: ConsumerSpec) -> Result<Box<dyn Consumer>> {
        Ok(Box::new(CrampedConsumer {
            consumer: self.bus.consumer(spec).await?,
            state: Arc::clone(&self.state),
        }))
    }

    async fn delete_consumer(&self, name: &str) -> Result<()> {
        self.bus.delete_consumer(name).await
    }

    fn tail(&self, streams: &[Stream]) -> BoxStream<'static, TailEvent> {
        self.bus.tail(streams)
    }

    async fn dead_letters(&self, after: Option<u64>, limit: usize) -> Result<DeadLetterPage> {
        self.bus.dead_letters(after, limit).await
    }

    async fn replay_dead_letter(&self, id: u64) -> Result<Ack> {
        self.bus.replay_dead_letter(id).await
    }

    async fn delete_dead_letter(&self, id: u64) -> Result<()> {
        self.bus.delete_dead_letter(id).await
    }

    async fn stats(&self) -> BusStats {
        self.bus.stats().await
    }

    async fn close(&self) -> Result<()> {
        self.bus.close().await
    }
}

async fn cramped(dir: &Path, state: u8) -> (World, Arc<AtomicU8>) {
    let state = Arc::new(AtomicU8::new(state));
    let switch = Arc::clone(&state);
    let wrap = |bus| -> Arc<dyn Bus> { Arc::new(Cramped { bus, state }) };
    let options = EngineOptions::new(dir);
    let mut world = World::between(options, config(), |store| store, wrap).await;
    world.run().await;
    (world, switch)
}

#[tokio::test]
async fn an_event_that_cannot_even_become_a_dead_letter_ends_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (world, _) = cramped(dir.path(), NEVER).await;
    world
        .publish_raw(&key("001122-Bad-1"), START, vec![0xff; 40])
        .await;
    for n in 0..3 {
        let good = inform("001122-X-1", START + n * SECOND, "2 PERIODIC", &[]);
        let seq = world.publish(&good).await;
        let started = Instant::now();
        loop {
            let consumer = world.bus.stats().await.consumers[0].clone();
            if (consumer.delivered, consumer.in_flight) == (seq, 1) {
                break;
            }
            assert!(started.elapsed() < Duration::from_secs(10), "{seq} waits");
            sleep(Duration::from_millis(5)).await;
        }
    }
    assert!(world.is_ready());
    assert_eq!(world.device("001122-X-1").await.inform_count, 3);
    world.stop().await;
}

#[tokio::test]
async fn dead_letters_that_wait_for_room_hold_up_nobody() {
    const POISON: usize = 50;
    let dir = tempfile::tempdir().unwrap();
    let (world, state) = cramped(dir.path(), FULL).await;
    for n in 0..POISON {
        let device = key(&format!("001122-Bad-{n}"));
        world.publish_raw(&device, START, vec![0xff; 40]).await;
    }
    let started = Instant::now();
    for n in 0..20 {
        let seq = world
            .publish(&inform("001122-X-1", START + n * SECOND, "2 PERIODIC", &[]))
            .await;
        // Only what can't be worked on is left.
        loop {
            let consumer = world.bus.stats().await.consumers[0].clone();
            if (consumer.delivered, consumer.in_flight) == (seq, POISON as u64) {
                break;
            }
            assert!(started.elapsed() < Duration::from_secs(6), "{seq} waits");
            sleep(Duration::from_millis(5)).await;
        }
    }
    println!("20 events, one after another: {:?}", started.elapsed());
    assert_eq!(world.device("001122-X-1").await.inform_count, 20);
    assert!(
        world
            .bus
            .dead_letters(None, 10)
            .await
            .unwrap()
            .letters
            .is_empty()
    );
    state.store(ROOM, Ordering::Relaxed);
    world.settled().await;
    let letters = world.bus.dead_letters(None, 100).await.unwrap().letters;
    assert_eq!(letters.len(), POISON);
    world.stop().await;
}
