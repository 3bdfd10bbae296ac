//! SIGKILL at random moments, and writes that the operating system refuses: nothing that was
//! acknowledged is lost, and nothing is seen in part.
//!
//! The children are this test binary itself, told by the environment which directory to use.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hearth_engine::{Engine, EngineOptions, Error, WriteBatch};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tempfile::TempDir;

const DIRECTORY: &str = "HEARTH_ENGINE_TEST_DIRECTORY";
const ROUNDS: u64 = 10;
const WRITERS: u64 = 8;

fn directory() -> Option<PathBuf> {
    std::env::var_os(DIRECTORY).map(PathBuf::from)
}

/// Runs one ignored test of this binary in a process of its own.
fn child(test: &str, directory: &Path) -> Command {
    // Writing over a size limit must fail instead of killing the process.
    let mut command = Command::new("sh");
    command
        .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--ignored", "--nocapture"])
        .env(DIRECTORY, directory);
    command
}

#[test]
#[ignore = "the child of nothing_acknowledged_is_lost_by_sigkill"]
fn child_that_writes_until_killed() {
    let Some(directory) = directory() else { return };
    let engine = Engine::open(EngineOptions::new(directory)).unwrap();
    let numbers = engine.keyspace("numbers").unwrap();
    let twins = engine.keyspace("twins").unwrap();
    let next = AtomicU64::new(numbers.last().unwrap().map_or(0, |last| {
        u64::from_be_bytes((*last.key).try_into().unwrap()) + 1
    }));
    std::thread::scope(|scope| {
        for _ in 0..WRITERS {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    let mut batch = WriteBatch::new();
                    let value = vec![n.to_le_bytes()[0]; 1 + (n as usize * 37) % 3000];
                    batch.put(&numbers, n.to_be_bytes(), &value);
                    batch.put(&twins, n.to_be_bytes(), &value);
                    engine.commit_blocking(batch).unwrap();
                    println!("acknowledged {n}");
                }
            });
        }
    });
}

#[test]
fn nothing_acknowledged_is_lost_by_sigkill() {
    let dir = TempDir::new().unwrap();
    let mut acknowledged = Vec::new();
    for round in 0..ROUNDS {
        let mut child = child("child_that_writes_until_killed", dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // Kills after some acknowledgements, in the midst of others.
        let enough = 50 + round * 97;
        let mut seen = 0;
        for line in lines.map_while(Result::ok) {
            let Some((_, n)) = line.split_once("acknowledged ") else {
                continue;
            };
            // The last line may be cut.
            let Ok(n) = n.parse::<u64>() else { continue };
            acknowledged.push(n);
            seen += 1;
            if seen == enough {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(seen >= enough, "the child ended by itself");

        let engine = Engine::open(EngineOptions::new(dir.path())).unwrap();
        let numbers = engine.keyspace("numbers").unwrap();
        let twins = engine.keyspace("twins").unwrap();
        for n in &acknowledged {
            let value = numbers.get(n.to_be_bytes()).unwrap();
            assert_eq!(value.map(|v| v[0]), Some(n.to_le_bytes()[0]), "{n} is lost");
        }
        let all = hearth_engine::Scan::all();
        assert!(numbers.scan(&all).unwrap() == twins.scan(&all).unwrap());
    }
}

fn limit_file_size(bytes: Option<u64>) {
    let maximum = getrlimit(Resource::Fsize).maximum;
    let current = bytes;
    setrlimit(Resource::Fsize, Rlimit { current, maximum }).unwrap();
}

#[test]
#[ignore = "the child of the_engine_recovers_from_refused_writes"]
fn child_whose_writes_are_refused() {
    let Some(directory) = directory() else { return };
    let engine = Engine::open(EngineOptions::new(directory)).unwrap();
    let k = engine.keyspace("k").unwrap();
    let put = |key: &str, bytes: usize| {
        let mut batch = WriteBatch::new();
        batch.put(&k, key, vec![7; bytes]);
        engine.commit_blocking(batch)
    };
    for round in 0..5 {
        put(&format!("before{round}"), 100_000).unwrap();
        limit_file_size(Some(10_000));
        for _ in 0..5 {
            let error = put("refused", 200_000).unwrap_err();
            assert!(matches!(error, Error::Io(_)), "{error}");
            assert!(error.is_retryable());
            // The files may be closed while they can't be opened; they are never wrong.
            if let Ok(value) = k.get(format!("before{round}")) {
                assert_eq!(value.unwrap().len(), 100_000);
            }
        }
        limit_file_size(getrlimit(Resource::Fsize).maximum);
        std::thread::sleep(Duration::from_millis(300));
        put(&format!("after{round}"), 100_000).unwrap();
        for earlier in 0..=round {
            assert!(k.contains(format!("before{earlier}")).unwrap());
            assert!(k.contains(format!("after{earlier}")).unwrap());
        }
    }
    assert!(engine.stats().reopened >= 5);
    println!("recovered");
}

#[test]
fn the_engine_recovers_from_refused_writes() {
    let dir = TempDir::new().unwrap();
    let output = child("child_whose_writes_are_refused", dir.path())
        .output()
        .unwrap();
    let out = String::from_utf8_lossy(&output.stdout);
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && out.contains("recovered"),
        "{out}{err}"
    );
    let engine = Engine::open(EngineOptions::new(dir.path())).unwrap();
    assert!(engine.keyspace("k").unwrap().contains("after4").unwrap());
}
