//! The journal stays short, so that a start does not have to read much back.
#![allow(clippy::unwrap_used, missing_docs)]

use hearth_engine::{Engine, EngineOptions, WriteBatch};

const MIB: usize = 1024 * 1024;

fn journals(directory: &std::path::Path) -> Vec<(std::path::PathBuf, u64)> {
    let files = std::fs::read_dir(directory).unwrap().map(|e| e.unwrap());
    let journals = files.filter(|e| e.path().extension().is_some_and(|x| x == "jnl"));
    journals
        .map(|e| (e.path(), e.metadata().unwrap().len()))
        .collect()
}

#[test]
fn a_keyspace_that_is_rarely_written_holds_no_journal_back() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::open(EngineOptions::new(dir.path())).unwrap();
    let busy = engine.keyspace("busy").unwrap();
    let rare = engine.keyspace("rare").unwrap();
    let value = vec![7; 64 * 1024];
    let mut most = 0;
    for round in 0..320_u32 {
        let mut batch = WriteBatch::new();
        for place in 0..16_u32 {
            batch.put(&busy, (round * 16 + place).to_be_bytes(), &value);
        }
        if round == 0 {
            batch.put(&rare, "once", "kept");
        }
        engine.commit_blocking(batch).unwrap();
        let total: u64 = journals(dir.path()).iter().map(|(_, length)| length).sum();
        most = most.max(total);
    }
    let first = dir.path().join("0.jnl");
    assert!(!first.exists(), "the first journal is still there");
    let bound = 3 * 64 * MIB as u64;
    assert!(most < bound, "{most} bytes of journal");
    engine.close();
    drop((busy, rare, engine));

    let engine = Engine::open(EngineOptions::new(dir.path())).unwrap();
    let rare = engine.keyspace("rare").unwrap();
    assert_eq!(rare.get("once").unwrap().unwrap(), "kept");
    let busy = engine.keyspace("busy").unwrap();
    assert_eq!(
        busy.get(5_000_u32.to_be_bytes()).unwrap().unwrap().len(),
        value.len()
    );
}
