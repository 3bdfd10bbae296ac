//! Sessions of a device, and captures.

use crate::common::sessions::{CAPTURE, SESSION};
use crate::common::{Fake, ROUTER, TASK};
use hearthctl::Exit;

#[tokio::test]
async fn a_devices_sessions_are_listed_and_one_is_shown_turn_by_turn() {
    let fake = Fake::start().await;
    let ran = fake.run(&["device", "sessions", ROUTER]).await.ok();
    for shown in [SESSION, "2 PERIODIC", "refused", "TURNS"] {
        assert!(ran.out.contains(shown), "{shown}: {ran:?}");
    }
    let ran = fake
        .run(&["device", "sessions", ROUTER, SESSION])
        .await
        .ok();
    for shown in ["refused (too_large)", "InformResponse", "9002", TASK, "17"] {
        assert!(ran.out.contains(shown), "{shown}: {ran:?}");
    }
    let args = ["device", "sessions", ROUTER, SESSION, "-o", "json"];
    let ran = fake.run(&args).await.ok();
    assert_eq!(ran.json()["turns"][1]["sent"], "Reboot");
    let ran = fake.run(&["device", "sessions", ROUTER, CAPTURE]).await;
    ran.fails(Exit::NotFound, &["no such session"]);
}

#[tokio::test]
async fn captures_are_started_listed_downloaded_and_deleted() {
    let fake = Fake::start().await;
    fake.run(&["capture", "start"])
        .await
        .fails(Exit::Usage, &["DEVICE"]);
    let both = ["capture", "start", ROUTER, "--any"];
    fake.run(&both).await.fails(Exit::Usage, &["--any"]);
    let ran = fake.run(&["capture", "start", ROUTER]).await.ok();
    assert!(
        ran.out.contains(CAPTURE) && ran.out.contains("active"),
        "{ran:?}"
    );
    let rule = [
        "capture",
        "start",
        "--oui",
        "00D09E",
        "--software",
        "2.*",
        "--sessions",
        "5",
        "--for",
        "2h",
    ];
    fake.run(&rule).await.ok();
    let asked = fake.state.lock().unwrap().captures.clone();
    let device = format!("tenants/default/devices/{ROUTER}");
    assert_eq!(asked[0].rule.as_ref().unwrap().device, device);
    let rule = asked[1].rule.as_ref().unwrap();
    assert_eq!((&*rule.oui, &*rule.software_version), ("00D09E", "2.*"));
    assert_eq!(
        (asked[1].max_sessions, asked[1].duration_seconds),
        (5, 7200)
    );
    let ran = fake.run(&["capture", "list"]).await.ok();
    assert!(
        ran.out.contains("00D09E 2.*") && ran.out.contains("0/5"),
        "{ran:?}"
    );
    let ran = fake.run(&["capture", "stop", CAPTURE]).await.ok();
    assert!(ran.out.contains("stopped"), "{ran:?}");
    let ran = fake.run(&["capture", "get", CAPTURE]).await;
    ran.fails(Exit::NotFound, &["no capture"]);

    let text = "# hearth capture 1\n--- session x turn 1\n";
    let ran = fake.run(&["capture", "download", CAPTURE]).await.ok();
    assert_eq!(ran.out, text);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("session.txt");
    let args = ["capture", "download", CAPTURE, file.to_str().unwrap()];
    fake.run(&args).await.ok();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
    fake.run(&["capture", "delete", CAPTURE]).await.ok();
    assert_eq!(fake.state.lock().unwrap().deleted, [CAPTURE]);
}
