//! Damaged journals: a torn last entry is dropped, any other damage is reported and left alone.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use hearth_engine::{Engine, EngineOptions, Error, WriteBatch};
use tempfile::TempDir;

fn open(dir: &Path) -> hearth_engine::Result<Engine> {
    Engine::open(EngineOptions::new(dir))
}

/// Three entries in one journal; returns its path and the end of what was written.
fn write(dir: &Path) -> (PathBuf, usize) {
    let engine = open(dir).unwrap();
    let k = engine.keyspace("k").unwrap();
    for key in ["a", "b", "c"] {
        let mut batch = WriteBatch::new();
        batch.put(&k, key, vec![7; 100_000]);
        engine.commit_blocking(batch).unwrap();
    }
    engine.close();
    let journal = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|e| e == "jnl"))
        .unwrap();
    let content = std::fs::read(&journal).unwrap();
    let end = content.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    assert!(end > 300_000);
    (journal, end)
}

/// Makes a block of the journal zero, as if it had never reached the disk.
fn lose_block(journal: &Path, at: usize) {
    let mut content = std::fs::read(journal).unwrap();
    content[at..at + 4096].fill(0);
    std::fs::write(journal, content).unwrap();
}

#[test]
fn a_torn_last_entry_is_dropped() {
    let dir = TempDir::new().unwrap();
    let (journal, end) = write(dir.path());
    lose_block(&journal, end - 50_000);
    for _ in 0..2 {
        let engine = open(dir.path()).unwrap();
        let k = engine.keyspace("k").unwrap();
        assert!(k.contains("a").unwrap() && k.contains("b").unwrap());
        assert!(!k.contains("c").unwrap());
        let mut batch = WriteBatch::new();
        batch.put(&k, "d", "new");
        engine.commit_blocking(batch).unwrap();
    }
    let k = open(dir.path()).unwrap().keyspace("k").unwrap();
    assert_eq!(k.get("d").unwrap().unwrap(), "new");
}

#[test]
fn other_damage_is_reported_and_nothing_is_changed() {
    let dir = TempDir::new().unwrap();
    let (journal, end) = write(dir.path());
    lose_block(&journal, end - 150_000);
    let damaged = std::fs::read(&journal).unwrap();
    for _ in 0..2 {
        let error = open(dir.path()).unwrap_err();
        assert!(matches!(error, Error::Storage(_)), "{error}");
        assert!(!error.is_retryable());
    }
    assert!(std::fs::read(&journal).unwrap() == damaged);
}
