//! The real binary: exit codes, streams, signals.

use crate::common::{Fake, ROUTER, TASK, TOKEN};
use hearth_proto::types::v1::TaskState;
use std::process::{Output, Stdio};
use tokio::process::Command;

fn hearthctl(fake: &Fake) -> Command {
    let home = std::env::temp_dir();
    let mut command = Command::new(env!("CARGO_BIN_EXE_hearthctl"));
    command
        .env_clear()
        .env("HOME", home)
        .env("HEARTH_SERVER", &fake.url)
        .env("HEARTH_TOKEN", TOKEN)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

async fn run(fake: &Fake, line: &[&str]) -> Output {
    hearthctl(fake).args(line).output().await.unwrap()
}

#[tokio::test]
async fn exit_codes() {
    let fake = Fake::start().await;
    let code = async |line: &[&str]| run(&fake, line).await.status.code().unwrap();
    assert_eq!(code(&["device", "list"]).await, 0);
    assert_eq!(code(&["device", "list", "--nonsense"]).await, 2);
    assert_eq!(code(&["device", "get", "nothing"]).await, 3);
    assert_eq!(
        code(&["--server", "http://127.0.0.1:1", "device", "list"]).await,
        5
    );
    for (end, expected) in [
        (TaskState::Succeeded, 0),
        (TaskState::Failed, 1),
        (TaskState::Waking, 4),
        (TaskState::Expired, 7),
        (TaskState::UnknownOutcome, 8),
    ] {
        fake.with(|s| s.script = vec![TaskState::Queued, end]);
        let line = ["device", "reboot", ROUTER, "--wait-timeout", "300ms"];
        assert_eq!(code(&line).await, expected, "{end:?}");
    }
    let denied = hearthctl(&fake)
        .env("HEARTH_TOKEN", "wrong")
        .args(["device", "list"])
        .output();
    assert_eq!(denied.await.unwrap().status.code(), Some(6));
}

#[tokio::test]
async fn results_are_on_standard_output_alone() {
    let fake = Fake::start().await;
    let output = run(&fake, &["device", "reboot", ROUTER, "-o", "json"]).await;
    let task: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(task["name"], format!("tenants/default/tasks/{TASK}"));
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("running")
    );
}

#[tokio::test]
async fn a_reader_that_leaves_is_no_error() {
    let fake = Fake::start().await;
    let mut child = hearthctl(&fake)
        .args(["completion", "zsh"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().await.unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stderr.is_empty());
}

#[cfg(unix)]
#[tokio::test]
async fn ctrl_c_ends_at_once_and_says_that_the_task_goes_on() {
    let fake = Fake::start().await;
    fake.with(|s| s.script = vec![TaskState::Queued]);
    let child = hearthctl(&fake)
        .args(["device", "reboot", ROUTER])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let id = child.id().unwrap().to_string();
    while fake.created().is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    // It made the task, so it has been listening for the signal for long.
    let kill = Command::new("kill")
        .args(["-INT", &id])
        .status()
        .await
        .unwrap();
    assert!(kill.success());
    let output = child.wait_with_output().await.unwrap();
    assert_eq!(output.status.code(), Some(130));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("interrupted"), "{said}");
}

#[cfg(unix)]
#[tokio::test]
async fn ctrl_c_ends_a_run_that_reads_standard_input() {
    let fake = Fake::start().await;
    let mut child = hearthctl(&fake)
        .args([
            "credential",
            "set",
            "--onboarding",
            "-u",
            "x",
            "--password-stdin",
        ])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    // Waiting would close it.
    let _stdin = child.stdin.take();
    let id = child.id().unwrap().to_string();
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    Command::new("kill")
        .args(["-INT", &id])
        .status()
        .await
        .unwrap();
    let ended = tokio::time::timeout(std::time::Duration::from_secs(10), child.wait()).await;
    // By the signal itself, if it came before anybody listened.
    let status = ended.expect("still running").unwrap();
    assert!(matches!(status.code(), Some(130) | None), "{status:?}");
}
