//! Commands that make tasks: waiting, results, exit codes.

use crate::common::{self, Fake, ONT, ROUTER, Run, TASK, TOKEN, fault};
use hearth_proto::types::v1::{ParameterValue, TaskResult, TaskState, ValueType, task_spec::Kind};
use hearthctl::Exit;
use std::time::Duration;

fn read(path: &str, value: &str) -> ParameterValue {
    ParameterValue {
        path: path.into(),
        value: value.into(),
        r#type: ValueType::UnsignedInt.into(),
        ..Default::default()
    }
}

#[tokio::test]
async fn a_read_waits_and_prints_what_was_read() {
    let fake = Fake::start().await;
    fake.with(|s| s.result.values = vec![read("Device.DeviceInfo.UpTime", "42")]);
    let path = "Device.DeviceInfo.UpTime";
    let ran = fake.run(&["param", "get", ROUTER, path]).await.ok();
    assert_eq!(
        ran.out,
        "PATH                      VALUE  TYPE\n\
         Device.DeviceInfo.UpTime  42     unsignedInt\n"
    );
    assert_eq!(
        ran.err,
        "queued: step 0\nrunning: step 1\nsucceeded: done\n"
    );
    let ran = fake
        .run(&["param", "get", ROUTER, path, "-o", "json"])
        .await
        .ok();
    assert_eq!(ran.json()[0]["value"], "42");
    assert_eq!(ran.json()[0]["type"], "VALUE_TYPE_UNSIGNED_INT");
    let ran = fake
        .run(&["-q", "param", "get", ROUTER, path, "--raw"])
        .await
        .ok();
    assert_eq!((ran.out.as_str(), ran.err.as_str()), ("42\n", ""));
    let ran = fake
        .run(&["-q", "param", "get", ROUTER, path, "-o", "yaml"])
        .await
        .ok();
    assert_eq!(
        ran.out,
        "- path: Device.DeviceInfo.UpTime\n  value: '42'\n  type: VALUE_TYPE_UNSIGNED_INT\n"
    );
}

#[tokio::test]
async fn a_cut_result_is_completed_from_what_is_known() {
    let fake = Fake::start().await;
    fake.with(|s| {
        s.result.values = vec![read("Device.A", "new")];
        s.result.truncated = true;
        for (path, value) in [("Device.A", "old"), ("Device.B", "2")] {
            s.parameters.push(hearth_proto::northbound::v1::Parameter {
                path: path.into(),
                value: Some(value.into()),
                ..Default::default()
            });
        }
    });
    let ran = fake
        .run(&["param", "get", ROUTER, "Device.", "--raw"])
        .await
        .ok();
    assert_eq!(ran.out, "new\n2\n");
}

#[tokio::test]
async fn options_reach_the_task() {
    let fake = Fake::start().await;
    let line = [
        "param",
        "set",
        ROUTER,
        "Device.A=x=y",
        "Device.B=7",
        "--type",
        "Device.B=unsignedInt",
        "--no-wait",
        "--priority",
        "-5",
        "--deadline",
        "1h",
        "--request-id",
        "order-1",
        "--no-wake",
        "--max-attempts",
        "2",
    ];
    let ran = fake.run(&line).await.ok();
    assert_eq!(ran.out, format!("{TASK}\n"));
    let request = fake.created().pop().unwrap();
    assert_eq!(request.parent, format!("tenants/default/devices/{ROUTER}"));
    assert_eq!(
        (request.request_id.as_str(), request.no_wake),
        ("order-1", true)
    );
    let task = request.task.unwrap();
    assert_eq!((task.priority, task.max_attempts), (-5, 2));
    assert_eq!(task.deadline, common::time("2026-01-31T13:00:00Z"));
    let Kind::SetParameterValues(set) = fake.last_kind() else {
        panic!()
    };
    assert_eq!(set.values[0].value, "x=y");
    assert_eq!(set.values[1].r#type(), ValueType::UnsignedInt);
}

#[tokio::test]
async fn secret_values_come_from_standard_input_or_files() {
    let fake = Fake::start().await;
    let run = Run::default()
        .var("HEARTH_TOKEN", TOKEN)
        .input("from-stdin\n");
    std::fs::write(run.path("pw"), "from-file\r\n").unwrap();
    let line = [
        "--server",
        &fake.url,
        "param",
        "set",
        ROUTER,
        "--value-file",
        "Device.P=-",
        "--value-file",
        "Device.Q=pw",
    ];
    let ran = run.go(&line).await.ok();
    assert_eq!(ran.out, format!("{ROUTER}: 2 values set\n"));
    let Kind::SetParameterValues(set) = fake.last_kind() else {
        panic!()
    };
    assert_eq!(set.values[0].value, "from-stdin");
    assert_eq!(set.values[1].value, "from-file");
}

#[tokio::test]
async fn every_end_has_its_exit_code() {
    let fake = Fake::start().await;
    for (end, exit, said) in [
        (TaskState::Expired, Exit::Ended, "expired"),
        (TaskState::Cancelled, Exit::Ended, "was cancelled"),
        (
            TaskState::UnknownOutcome,
            Exit::UnknownOutcome,
            "look at the device",
        ),
        (TaskState::Failed, Exit::Failed, "task retry"),
    ] {
        fake.with(|s| s.script = vec![TaskState::Queued, end]);
        let ran = fake
            .run(&["device", "reboot", ROUTER])
            .await
            .fails(exit, &[said, TASK]);
        assert_eq!(ran.out, "");
    }
}

#[tokio::test]
async fn a_fault_is_told_with_code_text_and_remedy() {
    let fake = Fake::start().await;
    fake.with(|s| {
        s.script = vec![TaskState::Failed];
        s.fault = Some(fault());
    });
    let ran = fake
        .run(&["-q", "param", "set", ROUTER, "Device.X=1"])
        .await;
    let ran = ran.fails(Exit::Failed, &[]);
    assert_eq!(
        ran.err,
        format!(
            "error: set_parameter_values (task {TASK}) failed: fault 9003 Invalid arguments\n  \
             Device.X: 9007 Invalid parameter value\n  \
             correct the parameters that are named\n  done\n  \
             its attempts: hearthctl task get {TASK}; again: hearthctl task retry {TASK}\n"
        )
    );
    let ran = fake
        .run(&["param", "set", ROUTER, "Device.X=1", "-o", "json"])
        .await;
    assert_eq!(
        ran.fails(Exit::Failed, &["9003"]).json()["fault"]["code"],
        9003
    );
}

#[tokio::test]
async fn a_wait_ends_in_time_and_says_how_to_follow() {
    let fake = Fake::start().await;
    fake.with(|s| s.script = vec![TaskState::Queued, TaskState::Waking]);
    let ran = fake
        .run(&["device", "reboot", ROUTER, "--wait-timeout", "200ms"])
        .await;
    ran.fails(
        Exit::StillOpen,
        &["it goes on", &format!("hearthctl task watch {TASK}")],
    );
}

#[tokio::test]
async fn an_interrupt_says_that_the_task_goes_on() {
    let fake = Fake::start().await;
    fake.with(|s| s.script = vec![TaskState::Queued]);
    let mut run = Run::default().var("HEARTH_TOKEN", TOKEN);
    run.interrupt_after = Some(Duration::from_millis(300));
    let ran = run
        .go(&["--server", &fake.url, "device", "reboot", ROUTER])
        .await;
    ran.fails(
        Exit::Interrupted,
        &["the task goes on", &format!("task watch {TASK}")],
    );
}

#[tokio::test]
async fn a_server_that_restarts_does_not_end_the_wait() {
    let fake = Fake::start().await;
    fake.with(|s| s.broken_watches = 1);
    fake.run(&["device", "reboot", ROUTER]).await.ok();
    assert_eq!(fake.created().len(), 1);
}

#[tokio::test]
async fn each_command_makes_its_task() {
    let fake = Fake::start().await;
    fake.with(|s| {
        s.result = TaskResult {
            instance_number: 4,
            methods: vec!["Reboot".into(), "Download".into()],
            total: 12,
            ..Default::default()
        };
    });
    let run = async |line: &[&str]| fake.run(line).await.ok().out;
    assert_eq!(
        run(&["device", "reboot", ROUTER]).await,
        format!("{ROUTER} has restarted\n")
    );
    assert!(matches!(fake.last_kind(), Kind::Reboot(_)));
    run(&["device", "factory-reset", ROUTER, "--yes"]).await;
    assert!(matches!(fake.last_kind(), Kind::FactoryReset(_)));
    let out = run(&["device", "refresh", ROUTER, "Device.WiFi."]).await;
    assert_eq!(out, format!("{ROUTER}: 12 values were read\n"));
    assert!(matches!(fake.last_kind(), Kind::Refresh(r) if r.path == "Device.WiFi."));
    assert_eq!(
        run(&["device", "rpc-methods", ROUTER]).await,
        "Reboot\nDownload\n"
    );
    assert_eq!(
        run(&[
            "object",
            "add",
            ROUTER,
            "Device.NAT.PortMapping",
            "Enable=true"
        ])
        .await,
        "Device.NAT.PortMapping.4.\n"
    );
    assert!(
        matches!(fake.last_kind(), Kind::AddObject(a) if a.object == "Device.NAT.PortMapping." && a.values[0].path == "Enable")
    );
    run(&["object", "delete", ROUTER, "Device.NAT.PortMapping.4."]).await;
    assert!(matches!(fake.last_kind(), Kind::DeleteObject(_)));
    run(&["param", "discover", ROUTER, "--next-level"]).await;
    assert!(
        matches!(fake.last_kind(), Kind::GetParameterNames(g) if g.path == "Device." && g.next_level)
    );
    run(&["attr", "get", ROUTER, "Device.X"]).await;
    assert!(matches!(fake.last_kind(), Kind::GetParameterAttributes(_)));
    run(&[
        "attr", "set", ROUTER, "Device.X", "-n", "active", "--access", "nobody",
    ])
    .await;
    let Kind::SetParameterAttributes(set) = fake.last_kind() else {
        panic!()
    };
    assert_eq!(
        (
            set.attributes[0].notification,
            set.attributes[0].set_access_list
        ),
        (Some(2), true)
    );
    assert!(set.attributes[0].access_list.is_empty());
    run(&["schedule-inform", ROUTER, "10m"]).await;
    assert!(matches!(fake.last_kind(), Kind::ScheduleInform(s) if s.delay_seconds == 600));
    run(&["upload", ROUTER, "--type", "log:2"]).await;
    assert!(matches!(fake.last_kind(), Kind::Upload(u) if u.file_type == "4 Vendor Log File 2"));
}

#[tokio::test]
async fn a_change_that_needs_a_restart_says_so() {
    let fake = Fake::start().await;
    fake.with(|s| s.result.reboot_required = true);
    let ran = fake.run(&["param", "set", ROUTER, "Device.X=1"]).await.ok();
    assert!(ran.err.contains("hearthctl device reboot"), "{ran:?}");
}

#[tokio::test]
async fn tasks_are_listed_shown_followed_cancelled_and_retried() {
    let fake = Fake::start().await;
    fake.run(&["device", "reboot", ROUTER, "--no-wait"])
        .await
        .ok();
    let ran = fake.run(&["task", "list"]).await.ok();
    assert_eq!(
        ran.out,
        format!(
            "TASK                        DEVICE                    KIND    STATE      MADE    WHY\n\
             {TASK}  {ROUTER}  reboot  succeeded  1m ago\n"
        )
    );
    let ran = fake.run(&["task", "get", TASK]).await.ok();
    assert!(ran.out.contains("state       succeeded"), "{ran:?}");
    assert!(
        ran.out.contains("1    Rpc  1m ago  2.5s  answered"),
        "{ran:?}"
    );
    let full = format!("tenants/default/tasks/{TASK}");
    let ran = fake.run(&["task", "get", &full, "-o", "json"]).await.ok();
    assert_eq!(ran.json()["state"], "TASK_STATE_SUCCEEDED");
    fake.with(|s| s.script = vec![TaskState::Running, TaskState::Failed]);
    let ran = fake
        .run(&["task", "watch", TASK, "-o", "json"])
        .await
        .fails(Exit::Failed, &[]);
    assert_eq!(ran.out.lines().count(), 1);
    fake.run(&["task", "retry", TASK])
        .await
        .fails(Exit::Failed, &[]);
    fake.run(&["task", "cancel", TASK, "01hzy3v7k2q4w6e8r0t2y4a6d9"])
        .await
        .fails(Exit::Failed, &["ended already"]);
    fake.run(&["task", "get", "01hzy3v7k2q4w6e8r0t2y4a6d9"])
        .await
        .fails(Exit::NotFound, &["no such task"]);
}

#[tokio::test]
async fn what_the_server_refuses_names_the_field() {
    let fake = Fake::start().await;
    let ran = fake
        .run(&["device", "reboot", ONT, "--priority", "99"])
        .await;
    let ran = ran.fails(Exit::Usage, &["task.priority: expected at most 98"]);
    assert_eq!(ran.err.lines().count(), 1);
}
