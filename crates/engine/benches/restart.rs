//! How long an engine takes to open with much data and a full journal, as after a crash.
//!
//! `cargo bench -p hearth-engine --bench restart [-- DIRECTORY]`
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::time::Instant;

use hearth_engine::{Engine, EngineOptions, WriteBatch};

const DEVICES: u64 = 100_000;
const PARAMETERS: u64 = 100;

fn main() {
    let root = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with('-'))
        .map_or_else(std::env::temp_dir, PathBuf::from);
    let directory = tempfile::TempDir::new_in(root).unwrap();
    let open = || Engine::open(EngineOptions::new(directory.path())).unwrap();
    let engine = open();
    let summaries = engine.keyspace("summaries").unwrap();
    let parameters = engine.keyspace("parameters").unwrap();
    let started = Instant::now();
    let mut last = None;
    for device in 0..DEVICES {
        let mut batch = WriteBatch::new();
        batch.put(&summaries, device.to_be_bytes(), [b'x'; 300]);
        for parameter in 0..PARAMETERS {
            let key = format!("{device:08}Device.WiFi.Radio.{parameter}.Stats.BytesReceived");
            batch.put(&parameters, key, (device * parameter).to_string());
        }
        last = Some(engine.submit(batch));
        if device % 64 == 0
            && let Some(ticket) = last.take()
        {
            ticket.wait().unwrap();
        }
    }
    if let Some(ticket) = last {
        ticket.wait().unwrap();
    }
    println!(
        "{DEVICES} devices of {PARAMETERS} parameters written in {:.1} s, {} MiB on disk",
        started.elapsed().as_secs_f64(),
        engine.disk_bytes() >> 20
    );
    drop((summaries, parameters, engine));
    for _ in 0..3 {
        let started = Instant::now();
        let engine = open();
        let opened = started.elapsed();
        let summaries = engine.keyspace("summaries").unwrap();
        assert!(summaries.get(77_777_u64.to_be_bytes()).unwrap().is_some());
        println!(
            "opened in {opened:.1?}, first read after {:.1?}",
            started.elapsed()
        );
    }
}
