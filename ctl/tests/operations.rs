//! Devices, what is known of them, files.

use crate::common::{Fake, ONT, ROUTER, Run, TOKEN, TWIN, device};
use hearth_proto::{northbound::v1 as nb, types::v1::task_spec::Kind};
use hearthctl::Exit;

#[tokio::test]
async fn devices_are_listed_over_all_pages() {
    let fake = Fake::start().await;
    let ran = fake.run(&["device", "list"]).await.ok();
    assert_eq!(
        ran.out,
        "DEVICE                    STATE    MANUFACTURER  VERSION  ADDRESS    LAST SEEN  TAGS\n\
         00D09E-HomeRouter-000001  online   Forum         2.1      192.0.2.1  2m ago\n\
         00D09E-Ont-000002         offline  Forum         2.1      192.0.2.1  2m ago\n\
         00D09E-Ont-000003         offline  Forum         2.1      192.0.2.1  2m ago\n"
    );
    let ran = fake.run(&["device", "list", "-o", "json"]).await.ok();
    assert_eq!(ran.json().as_array().unwrap().len(), 3);
    assert_eq!(ran.json()[0]["lastSeenTime"], "2026-01-31T11:58:00+00:00");
    let ran = fake
        .run(&["device", "list", "-o", "json", "--limit", "1"])
        .await
        .ok();
    assert_eq!(ran.json().as_array().unwrap().len(), 1);
    assert!(ran.err.contains("more than 1"), "{ran:?}");
    fake.with(|s| s.devices.clear());
    let ran = fake.run(&["device", "list", "-o", "json"]).await.ok();
    assert_eq!((ran.out.as_str(), ran.err.as_str()), ("[]\n", ""));
}

#[tokio::test]
async fn a_device_is_found_by_whatever_is_unique() {
    let fake = Fake::start().await;
    let full = format!("tenants/default/devices/{ROUTER}");
    for given in [
        ROUTER,
        "00d09e-HomeRouter-000001",
        &full,
        "000001",
        "00D09E-Home",
        "00D09E-H",
    ] {
        let ran = fake.run(&["device", "get", given, "-o", "json"]).await.ok();
        assert_eq!(ran.json()["name"], full.as_str(), "{given}");
    }
    let ran = fake.run(&["device", "get", "00D09E-Ont"]).await;
    ran.fails(Exit::Usage, &["more than one", ONT, TWIN]);
    fake.run(&["device", "get", "nothing"])
        .await
        .fails(Exit::NotFound, &["device list"]);
    let ran = fake
        .run(&["device", "get", "tenants/other/devices/00D09E-A-1"])
        .await;
    ran.fails(Exit::Usage, &["--tenant other"]);
    // The exact id costs one request, no search.
    fake.with(|s| s.filters.clear());
    fake.run(&["device", "get", ROUTER]).await.ok();
    assert!(fake.state.lock().unwrap().filters.is_empty());
}

#[tokio::test]
async fn devices_never_seen_get_tasks_only_when_meant() {
    let fake = Fake::start().await;
    let ran = fake.run(&["device", "reboot", "00D09E-New-9"]).await;
    ran.fails(Exit::NotFound, &["--unseen"]);
    fake.run(&["device", "reboot", "00D09E-New-9", "--unseen"])
        .await
        .ok();
    assert_eq!(
        fake.created()[0].parent,
        "tenants/default/devices/00D09E-New-9"
    );
}

#[tokio::test]
async fn a_device_in_detail() {
    let fake = Fake::start().await;
    let ran = fake.run(&["device", "get", ROUTER]).await.ok();
    for line in [
        "id             00D09E-HomeRouter-000001\n",
        "last seen      2026-01-31 11:58:00 (2m ago)\n",
        "last wake-up   accepted by http, 2026-01-31 11:58:00 (2m ago): the device accepted\n",
    ] {
        assert!(ran.out.contains(line), "{ran:?}");
    }
}

#[tokio::test]
async fn searches_become_filters() {
    let fake = Fake::start().await;
    let line = [
        "device",
        "search",
        "--serial",
        "ABC*",
        "--tag",
        "beta",
        "--offline",
        "--state",
        "silent",
    ];
    fake.run(&line).await.ok();
    let filters = fake.state.lock().unwrap().filters.clone();
    assert_eq!(
        filters[0],
        "serial_number = \"ABC*\" AND state = \"silent\" AND tag = \"beta\" AND online = false"
    );
    fake.run(&["device", "search"])
        .await
        .fails(Exit::Usage, &["no condition"]);
    let ran = fake
        .run(&["device", "list", "--filter", "colour = 1"])
        .await;
    ran.fails(Exit::Usage, &["filter: expected a field"]);
}

#[tokio::test]
async fn tags_wakes_counts_history_and_deletes() {
    let fake = Fake::start().await;
    assert_eq!(
        fake.run(&["device", "count"]).await.ok().out,
        "3 devices, 1 online\n"
    );
    let ran = fake
        .run(&["device", "tag", ROUTER, "a", "b", "--remove", "c"])
        .await
        .ok();
    assert_eq!(ran.out, "a\nb\n");
    let tags = fake.state.lock().unwrap().tags.clone();
    assert_eq!(tags, [(vec!["a".into(), "b".into()], vec!["c".into()])]);
    fake.run(&["device", "wake", ROUTER]).await.ok();
    let ran = fake.run(&["device", "wake", ONT, "-o", "json"]).await;
    let ran = ran.fails(Exit::Failed, &["credentials", "hearthctl credential set"]);
    assert_eq!(ran.json()["outcome"], "credentials");
    let ran = fake
        .run(&["device", "history", ROUTER, "--since", "2h"])
        .await
        .ok();
    assert!(
        ran.out.contains("2h ago  value  Device.X: 1 → 2\n"),
        "{ran:?}"
    );
    fake.run(&["device", "delete", ROUTER]).await.ok();
    assert_eq!(fake.state.lock().unwrap().deleted.len(), 1);
}

#[tokio::test]
async fn what_can_not_be_undone_is_asked_for() {
    let fake = Fake::start().await;
    let ask = async |answer: &str| {
        let mut run = Run::default().var("HEARTH_TOKEN", TOKEN).input(answer);
        run.interactive = true;
        run.go(&["--server", &fake.url, "device", "factory-reset", ROUTER])
            .await
    };
    ask("n\n").await.fails(Exit::Failed, &["[y/N]", "not done"]);
    ask("").await.fails(Exit::Failed, &["not done"]);
    assert!(fake.created().is_empty());
    ask("yes\n").await.ok();
    // With nobody to ask a whole id is not enough: a device's settings don't come back.
    let ran = fake.run(&["device", "factory-reset", ROUTER]).await;
    ran.fails(Exit::Usage, &["--yes", ROUTER]);
    assert_eq!(fake.created().len(), 1);
    let ran = fake.run(&["device", "delete", "00D09E-Home"]).await;
    ran.fails(Exit::Usage, &["whole id", ROUTER, "--yes"]);
    fake.run(&["device", "delete", "00D09E-Home", "--yes"])
        .await
        .ok();
}

#[tokio::test]
async fn watches_print_lines() {
    let fake = Fake::start().await;
    let ran = fake
        .run(&["device", "watch", ROUTER, "--limit", "2"])
        .await
        .ok();
    assert_eq!(
        ran.out,
        format!(
            "12:00:00  {ROUTER}  inform  2 PERIODIC  from 192.0.2.1\n\
             12:00:00  {ROUTER}  set  Device.X=1 and 4 more\n"
        )
    );
    let ran = fake
        .run(&["device", "watch", "-o", "json", "--for", "300ms"])
        .await
        .ok();
    let lines: Vec<serde_json::Value> = ran
        .out
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["inform"]["events"][0], "2 PERIODIC");
}

#[tokio::test]
async fn what_is_known_needs_no_task() {
    let fake = Fake::start().await;
    let parameter = |path: &str, value: Option<&str>| nb::Parameter {
        path: path.into(),
        value: value.map(Into::into),
        writable: Some(true),
        ..Default::default()
    };
    fake.with(|s| {
        s.parameters = vec![
            parameter("Device.A.", None),
            parameter("Device.A.B", Some("1")),
        ];
    });
    let ran = fake.run(&["param", "list", ROUTER, "Device.A."]).await.ok();
    assert_eq!(
        ran.out,
        "PATH        VALUE  TYPE  WRITABLE  REPORTED\n\
         Device.A.                yes\n\
         Device.A.B  1            yes\n"
    );
    let ran = fake
        .run(&["param", "get", ROUTER, "Device.A.B", "--cached", "--raw"])
        .await
        .ok();
    assert_eq!(ran.out, "1\n");
    let ran = fake
        .run(&["param", "get", ROUTER, "Device.Z", "--cached"])
        .await;
    ran.fails(Exit::NotFound, &["without --cached"]);
    assert!(fake.created().is_empty());
}

#[tokio::test]
async fn files_go_there_and_back() {
    let fake = Fake::start().await;
    let run = Run::default().var("HEARTH_TOKEN", TOKEN);
    std::fs::write(run.path("fw.bin"), "some firmware").unwrap();
    let go = async |line: &[&str]| {
        let mut words = vec!["--server", &fake.url];
        words.extend(line);
        run.go(&words).await
    };
    let ran = go(&[
        "file",
        "put",
        "fw.bin",
        "--type",
        "firmware",
        "--file-version",
        "2",
        "-o",
        "json",
    ])
    .await
    .ok();
    assert_eq!(ran.json()["fileType"], "1 Firmware Upgrade Image");
    assert_eq!(ran.json()["name"], "tenants/default/files/fw.bin");
    assert_eq!(ran.json()["sha256"].as_str().unwrap().len(), 64);
    let ran = go(&["file", "list"]).await.ok();
    assert!(
        ran.out
            .contains("fw.bin  1 Firmware Upgrade Image  2        13 B"),
        "{ran:?}"
    );
    go(&["file", "get", "fw.bin"])
        .await
        .fails(Exit::Failed, &["--force"]);
    go(&["file", "get", "fw.bin", "-O", "copy.bin"]).await.ok();
    assert_eq!(
        std::fs::read(run.path("copy.bin")).unwrap(),
        b"some firmware"
    );
    assert_eq!(
        go(&["file", "get", "fw.bin", "-O", "-"]).await.ok().out,
        "some firmware"
    );
    go(&["download", ROUTER, "fw.bin"]).await.ok();
    let Kind::Download(download) = fake.last_kind() else {
        panic!()
    };
    assert_eq!(download.file, "tenants/default/files/fw.bin");
    assert_eq!(download.file_type, "1 Firmware Upgrade Image");
    std::fs::write(run.path("here.cfg"), "x").unwrap();
    go(&["download", ROUTER, "here.cfg"])
        .await
        .fails(Exit::NotFound, &["hearthctl file put here.cfg"]);
    go(&["download", ROUTER, "http://x/y"])
        .await
        .fails(Exit::Usage, &["--type"]);
    // What is in the way is told before a device is asked for anything.
    let tasks = fake.created().len();
    for (path, exit, said) in [
        ("here.cfg", Exit::Failed, "--force"),
        ("nowhere/got.cfg", Exit::NotFound, "no folder"),
    ] {
        go(&["upload", ROUTER, "--type", "config", "-O", path])
            .await
            .fails(exit, &[said]);
    }
    assert_eq!(fake.created().len(), tasks);
    fake.with(|s| s.result.file = "tenants/default/files/fw.bin".into());
    go(&["upload", ROUTER, "--type", "config", "-O", "got.cfg"])
        .await
        .ok();
    assert_eq!(
        std::fs::read(run.path("got.cfg")).unwrap(),
        b"some firmware"
    );
    go(&["file", "put", "absent", "--type", "web"])
        .await
        .fails(Exit::NotFound, &["absent"]);
    fake.with(|s| s.damage_files = true);
    go(&["file", "put", "fw.bin", "--type", "firmware"])
        .await
        .fails(Exit::Failed, &["SHA-256"]);
    let ran = go(&["file", "get", "fw.bin", "-O", "bad.bin"]).await;
    ran.fails(Exit::Failed, &["SHA-256"]);
    assert!(!run.path("bad.bin").exists());
    go(&["file", "delete", "fw.bin"]).await.ok();
    go(&["file", "info", "fw.bin"])
        .await
        .fails(Exit::NotFound, &["no such file"]);
}

#[tokio::test]
async fn what_devices_send_can_not_steer_the_terminal() {
    let fake = Fake::start().await;
    fake.with(|s| {
        let mut evil = device("00D09E-Evil-1", "1");
        evil.manufacturer = "\u{1b}]0;owned\u{7}".into();
        s.devices.push(evil);
    });
    let ran = fake.run(&["device", "list"]).await.ok();
    assert!(!ran.out.contains('\u{1b}'), "{ran:?}");
}
