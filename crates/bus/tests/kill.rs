//! SIGKILL at random moments: every message that was acknowledged to its publisher has been seen
//! by the consumer, or comes after the restart.
//!
//! The child is this test binary itself, told by the environment which directory to use.
#![allow(clippy::unwrap_used)]

use std::collections::HashSet;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use hearth_bus::conformance::message;
use hearth_bus::{Bus, ConsumerSpec, EmbeddedBus, EmbeddedOptions, Stream};
use hearth_engine::{Engine, EngineOptions};
use tempfile::TempDir;

const DIRECTORY: &str = "HEARTH_BUS_TEST_DIRECTORY";
const ROUNDS: usize = 6;
const PUBLISHERS: u32 = 16;

async fn open(directory: &Path) -> (Engine, Arc<EmbeddedBus>) {
    let engine = Engine::open(EngineOptions::new(directory)).unwrap();
    let options = EmbeddedOptions {
        progress_interval: Duration::from_millis(20),
        tail_messages: 64,
        ..EmbeddedOptions::default()
    };
    let bus = EmbeddedBus::open(engine.clone(), options).await.unwrap();
    (engine, Arc::new(bus))
}

fn spec() -> ConsumerSpec {
    ConsumerSpec::new("c", [Stream::Inform])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the child of nothing_published_is_lost_by_sigkill"]
async fn child_that_publishes_until_killed() {
    let Some(directory) = std::env::var_os(DIRECTORY) else {
        return;
    };
    let (_engine, bus) = open(Path::new(&directory)).await;
    let consumer = bus.consumer(spec()).await.unwrap();
    for n in 0..PUBLISHERS {
        let bus = Arc::clone(&bus);
        tokio::spawn(async move {
            loop {
                let ack = bus
                    .publish(message(Stream::Inform, n, "text"))
                    .await
                    .unwrap();
                println!("published {}", ack.seq);
            }
        });
    }
    loop {
        for message in consumer.fetch(100, Duration::from_secs(1)).await.unwrap() {
            println!("consumed {}", message.seq);
            consumer.ack(&[message.seq]).await.unwrap();
        }
    }
}

#[tokio::test]
async fn nothing_published_is_lost_by_sigkill() {
    let dir = TempDir::new().unwrap();
    let mut published = HashSet::new();
    let mut consumed = HashSet::new();
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_publishes_until_killed"])
            .args(["--ignored", "--nocapture"])
            .env(DIRECTORY, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let enough = published.len() + 200 + round * 331;
        let mut killed = false;
        for line in lines.map_while(Result::ok) {
            let mut words = line.rsplit(' ');
            let (number, word) = (words.next(), words.next());
            // The last line may be cut: its number is then another one, or none.
            let Some(seq) = number.and_then(|n| n.parse::<u64>().ok()) else {
                continue;
            };
            match word {
                Some("published") => assert!(published.insert(seq), "{seq} was given twice"),
                Some("consumed") => drop(consumed.insert(seq)),
                _ => {}
            }
            if published.len() >= enough && !killed {
                child.kill().unwrap();
                killed = true;
            }
        }
        child.wait().unwrap();
        assert!(killed, "the child ended by itself");
    }

    let (engine, bus) = open(dir.path()).await;
    let consumer = bus.consumer(spec()).await.unwrap();
    loop {
        let more = consumer
            .fetch(1000, Duration::from_millis(500))
            .await
            .unwrap();
        if more.is_empty() {
            break;
        }
        let seqs: Vec<_> = more.iter().map(|m| m.seq).collect();
        consumer.ack(&seqs).await.unwrap();
        consumed.extend(seqs);
    }
    let lost: Vec<_> = published.difference(&consumed).collect();
    assert!(lost.is_empty(), "lost of {}: {lost:?}", published.len());
    bus.close().await.unwrap();
    engine.close();
}
