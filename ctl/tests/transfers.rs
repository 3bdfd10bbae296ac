//! Scheduled downloads, queued transfers, software modules.

use crate::common::{self, Fake, ROUTER, TASK};
use hearth_proto::types::v1::{
    DuResult, Fault, QueuedTransfer, QueuedTransferState, TaskResult, TaskState,
    du_operation::Kind as Operation, task_spec::Kind,
};
use hearthctl::Exit;

const UUID: &str = "85f8a1c2-5d3e-4c1b-9b7a-0d4f2f0c9e11";
const URL: &str = "http://files.example/fw.bin";

#[tokio::test]
async fn windows_are_seconds_or_times() {
    let fake = Fake::start().await;
    let schedule = async |more: &[&str]| {
        let mut line = vec!["schedule-download", ROUTER, URL, "--type", "firmware"];
        line.extend(more);
        fake.run(&line).await.ok();
        match fake.last_kind() {
            Kind::ScheduleDownload(download) => download,
            other => panic!("{other:?}"),
        }
    };
    let made = schedule(&[
        "--window",
        "2h..4h",
        "--window",
        "5h..6h",
        "--mode",
        "idle",
        "--mode",
        "confirm",
        "--message",
        "Now?",
        "--max-retries",
        "3",
    ])
    .await;
    assert_eq!((made.url.as_str(), made.time_windows.len()), (URL, 2));
    let [first, second] = made.time_windows.as_slice() else {
        panic!()
    };
    assert_eq!((first.window_start, first.window_end), (7200, 14_400));
    assert_eq!(first.window_mode, "3 When Idle");
    assert_eq!(second.window_mode, "4 Confirmation Needed");
    assert_eq!(
        (second.user_message.as_str(), second.max_retries),
        ("Now?", 3)
    );
    let window = "2026-01-31T14:00:00Z..2026-01-31T15:00:00Z";
    let made = schedule(&["--window", window]).await;
    let first = &made.time_windows[0];
    assert_eq!(first.start_time, common::time("2026-01-31T14:00:00Z"));
    assert_eq!((first.window_end, first.max_retries), (0, -1));
    assert_eq!(first.window_mode, "1 At Any Time");
    for wrong in ["2h", "2h..2026-01-31T15:00:00Z", "x..y"] {
        let line = ["schedule-download", ROUTER, URL, "--window", wrong];
        assert_eq!(fake.run(&line).await.exit, Exit::Usage, "{wrong}");
    }
}

#[tokio::test]
async fn queued_transfers_are_listed_and_cancelled() {
    let fake = Fake::start().await;
    fake.with(|s| {
        s.result.transfers = vec![QueuedTransfer {
            command_key: format!("{TASK}.1"),
            task: format!("tenants/default/tasks/{TASK}"),
            state: QueuedTransferState::NotStarted.into(),
            is_download: Some(true),
            file_type: "1 Firmware Upgrade Image".into(),
            ..QueuedTransfer::default()
        }];
    });
    let ran = fake.run(&["transfer", "list", ROUTER]).await.ok();
    assert!(
        ran.out.contains(TASK) && ran.out.contains("not begun"),
        "{}",
        ran.out
    );
    assert!(matches!(fake.last_kind(), Kind::GetQueuedTransfers(get) if !get.deprecated_method));
    fake.run(&["transfer", "list", ROUTER, "--deprecated"])
        .await
        .ok();
    assert!(matches!(fake.last_kind(), Kind::GetQueuedTransfers(get) if get.deprecated_method));
    fake.run(&["transfer", "cancel", ROUTER, TASK]).await.ok();
    let name = format!("tenants/default/tasks/{TASK}");
    assert!(matches!(fake.last_kind(), Kind::CancelTransfer(c) if c.task == name));
    fake.run(&["transfer", "cancel", ROUTER, "--key", "k"])
        .await
        .ok();
    assert!(matches!(fake.last_kind(), Kind::CancelTransfer(c) if c.command_key == "k"));
    let neither = fake.run(&["transfer", "cancel", ROUTER]).await;
    assert_eq!(neither.exit, Exit::Usage);
}

#[tokio::test]
async fn software_is_changed_and_each_unit_is_shown() {
    let fake = Fake::start().await;
    fake.with(|s| {
        s.result = TaskResult {
            du_results: vec![DuResult {
                uuid: UUID.into(),
                version: "1.2".into(),
                current_state: "Installed".into(),
                resolved: true,
                ..DuResult::default()
            }],
            ..TaskResult::default()
        };
    });
    let change = async |line: &[&str]| {
        let mut all = vec!["software"];
        all.extend(line);
        let ran = fake.run(&all).await.ok();
        assert!(ran.out.contains(UUID), "{}", ran.out);
        match fake.last_kind() {
            Kind::ChangeDuState(mut change) => change.operations.remove(0).kind.unwrap(),
            other => panic!("{other:?}"),
        }
    };
    let made = change(&["install", ROUTER, URL, "--uuid", UUID]).await;
    assert!(matches!(made, Operation::Install(i) if i.url == URL && i.uuid == UUID));
    let made = change(&["update", ROUTER, UUID, "--version", "1"]).await;
    assert!(matches!(made, Operation::Update(u) if u.version == "1" && !u.all_units));
    let made = change(&["update", ROUTER, "--all"]).await;
    assert!(matches!(made, Operation::Update(u) if u.all_units && u.uuid.is_empty()));
    let made = change(&["uninstall", ROUTER, UUID, "--all-versions"]).await;
    assert!(matches!(made, Operation::Uninstall(u) if u.all_versions && u.uuid == UUID));
    // All is never meant by leaving something out.
    for wrong in [
        vec!["software", "update", ROUTER],
        vec!["software", "uninstall", ROUTER, UUID],
        vec!["software", "update", ROUTER, UUID, "--all"],
    ] {
        assert_eq!(fake.run(&wrong).await.exit, Exit::Usage, "{wrong:?}");
    }
}

#[tokio::test]
async fn a_unit_that_failed_says_why() {
    let fake = Fake::start().await;
    fake.with(|s| {
        s.script = vec![TaskState::Failed];
        s.result.du_results = vec![DuResult {
            uuid: UUID.into(),
            current_state: "Failed".into(),
            fault: Some(Fault {
                code: 9026,
                text: "Duplicate".into(),
                ..Fault::default()
            }),
            ..DuResult::default()
        }];
    });
    let line = ["software", "install", ROUTER, URL, "-o", "json"];
    let ran = fake.run(&line).await;
    assert_eq!(ran.exit, Exit::Failed);
    assert!(ran.out.contains("9026"), "{}\n{}", ran.out, ran.err);
}
