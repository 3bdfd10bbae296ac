//! Servers, tokens, contexts, credentials, arguments.

use crate::common::{Fake, ROUTER, Ran, Run, TOKEN};
use hearth_proto::northbound::v1 as nb;
use hearthctl::Exit;

async fn local(line: &[&str]) -> Ran {
    Run::default().go(line).await
}

#[tokio::test]
async fn credentials() {
    let fake = Fake::start().await;
    let ran = fake.run(&["credential", "onboarding"]).await.ok();
    assert_eq!(ran.out, "username    hearth\npassword    first-pass\n");
    let ran = fake
        .run(&["credential", "onboarding", "-o", "json"])
        .await
        .ok();
    assert_eq!(ran.json()["password"], "first-pass");
    // A device that was never seen.
    let ran = fake
        .run(&["credential", "set", "00D09E-New-9", "--username", "u"])
        .await
        .ok();
    assert!(
        ran.out.contains("made-here") && ran.err.contains("not shown again"),
        "{ran:?}"
    );
    let run = Run::default().var("HEARTH_TOKEN", TOKEN).input("s3cret\n");
    let line = [
        "--server",
        &fake.url,
        "credential",
        "set",
        "--connection-request",
        "-u",
        "acs",
        "--password-stdin",
    ];
    let ran = run.go(&line).await.ok();
    assert!(!ran.out.contains("s3cret"));
    let sent = fake.state.lock().unwrap().credentials.clone();
    assert_eq!(
        sent[0].credential.as_ref().unwrap().device,
        "tenants/default/devices/00D09E-New-9"
    );
    assert_eq!(sent[1].password, "s3cret");
    assert_eq!(
        sent[1].credential.as_ref().unwrap().kind(),
        nb::CredentialKind::ConnectionRequest
    );
    fake.run(&["credential", "set", "--username", "u"])
        .await
        .fails(Exit::Usage, &["DEVICE"]);
    let ran = fake.run(&["credential", "list"]).await.ok();
    assert!(
        ran.out.contains(&format!("device  router1  {ROUTER}")),
        "{ran:?}"
    );
    fake.run(&["credential", "delete", "router1"]).await.ok();
    assert_eq!(
        fake.state.lock().unwrap().deleted,
        ["tenants/default/credentials/router1"]
    );
}

#[tokio::test]
async fn contexts_keep_server_and_token() {
    let fake = Fake::start().await;
    let run = Run::default().input(TOKEN);
    run.go(&[
        "context",
        "set",
        "lab",
        "--server",
        &fake.url,
        "--token-stdin",
    ])
    .await
    .ok();
    let file = run.path(".config/hearth/contexts.toml");
    run.go(&["device", "count"]).await.ok();
    let listed = run.go(&["context", "list"]).await.ok();
    assert!(
        listed.out.contains("*  lab") && !listed.out.contains(TOKEN),
        "{listed:?}"
    );
    // Another server is not shown this context's token.
    let other = Fake::start().await;
    run.go(&["--server", &other.url, "device", "count"])
        .await
        .fails(Exit::Denied, &["admin.token"]);
    run.go(&["context", "set", "away", "--server", &other.url, "--use"])
        .await
        .ok();
    run.go(&["device", "count"]).await.fails(Exit::Denied, &[]);
    run.go(&["--context", "lab", "device", "count"]).await.ok();
    run.go(&["context", "use", "nowhere"])
        .await
        .fails(Exit::NotFound, &["context list"]);
    run.go(&["--context", "nowhere", "device", "count"])
        .await
        .fails(Exit::NotFound, &[]);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(
            std::fs::metadata(&file).unwrap().permissions().mode() & 0o777,
            0o600
        );
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        run.go(&["device", "count"])
            .await
            .fails(Exit::Denied, &["chmod 600"]);
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    run.go(&["context", "delete", "lab"]).await.ok();
    assert!(!std::fs::read_to_string(&file).unwrap().contains(TOKEN));
}

#[tokio::test]
async fn the_token_is_found_where_the_server_keeps_it() {
    let fake = Fake::start().await;
    let run = Run::default();
    run.go(&["--server", &fake.url, "device", "count"])
        .await
        .fails(
            Exit::Denied,
            &["--token-file", "HEARTH_TOKEN", "admin.token"],
        );
    std::fs::create_dir(run.path("hearth-data")).unwrap();
    std::fs::write(run.path("hearth-data/admin.token"), format!("{TOKEN}\n")).unwrap();
    let ran = run
        .go(&["--server", &fake.url, "device", "count"])
        .await
        .ok();
    assert!(ran.err.contains("hearth-data/admin.token"), "{ran:?}");
    let ran = run
        .go(&[
            "--server",
            &fake.url,
            "--token-file",
            "absent",
            "device",
            "count",
        ])
        .await;
    ran.fails(Exit::NotFound, &["absent"]);
}

#[tokio::test]
async fn nobody_there() {
    let ran = local(&["--server", "http://127.0.0.1:1", "device", "list"]).await;
    let ran = ran.fails(
        Exit::Unavailable,
        &["refused", "is `hearth run` running?", "--server"],
    );
    assert_eq!(ran.err.lines().count(), 2);
    local(&["--server", "ftp://x", "device", "list"])
        .await
        .fails(Exit::Usage, &["http://HOST:PORT"]);
    local(&["--tenant", "A B", "device", "list"])
        .await
        .fails(Exit::Usage, &["tenant"]);
}

#[tokio::test]
async fn a_server_that_is_something_else() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let _ = socket.read(&mut [0; 1024]).await;
            let _ = socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let ran = local(&["--server", &url, "device", "list"]).await;
    assert!(ran.err.contains("--server"), "{ran:?}");
    assert_ne!(ran.exit, Exit::Ok);
}

#[tokio::test]
async fn arguments() {
    for (line, exit, said) in [
        (&["--help"][..], Exit::Ok, "Exit codes:"),
        (&["version"], Exit::Ok, "hearthctl 0."),
        (&["completion", "bash"], Exit::Ok, "_hearthctl"),
        (&["param", "set", "--help"], Exit::Ok, "Examples:"),
        (&["frobnicate"], Exit::Usage, "unrecognized"),
        (&["param", "get", "x"], Exit::Usage, "<PATHS>"),
        (
            &["param", "get", "x", "y", "--cached", "--no-wait"],
            Exit::Usage,
            "cannot be used with",
        ),
        (&["param", "set", "x"], Exit::Usage, "PATH=VALUE"),
        (
            &["param", "set", "x", "novalue"],
            Exit::Usage,
            "expected PATH=VALUE",
        ),
        (&["attr", "set", "x", "y", "-n", "9"], Exit::Usage, "0 to 6"),
        (
            &["download", "x", "f", "--type", "movie"],
            Exit::Usage,
            "firmware",
        ),
        (&["upload", "x", "--type", "log:0"], Exit::Usage, "log:N"),
        (
            &["device", "reboot", "x", "--priority", "101"],
            Exit::Usage,
            "101",
        ),
        (
            &["device", "reboot", "x", "--deadline", "soon"],
            Exit::Usage,
            "2026-01-31",
        ),
    ] {
        let ran = local(line).await;
        assert_eq!(ran.exit, exit, "{line:?} {ran:?}");
        let text = if exit == Exit::Ok { &ran.out } else { &ran.err };
        assert!(text.contains(said), "{line:?} {ran:?}");
    }
}

#[tokio::test]
async fn https_needs_a_certificate_that_is_trusted() {
    let (fake, pem) = Fake::start_tls().await;
    fake.run(&["device", "count"])
        .await
        .fails(Exit::Unavailable, &["certificate", "--ca-file"]);
    let run = Run::default().var("HEARTH_TOKEN", TOKEN);
    std::fs::write(run.path("ca.pem"), pem).unwrap();
    let ran = run
        .go(&[
            "--server",
            &fake.url,
            "--ca-file",
            "ca.pem",
            "device",
            "count",
        ])
        .await
        .ok();
    assert_eq!(ran.out, "3 devices, 1 online\n");
}

/// A proxy answers in plain HTTP while no server is behind it.
#[tokio::test]
async fn an_answer_that_is_not_grpc_is_told_as_it_is() {
    for (status, exit, words) in [
        (503, Exit::Unavailable, ["HTTP 503", "try again"]),
        (404, Exit::Failed, ["HTTP 404", "--server"]),
        (403, Exit::Denied, ["HTTP 403", "--server"]),
    ] {
        let page = Fake::page(status, "<html>503 Service Unavailable</html>").await;
        for line in [&["device", "count"][..], &["device", "reboot", ROUTER]] {
            let mut words = words.to_vec();
            words.push("not Hearth's API");
            let line = [&["--server", page.as_str()], line].concat();
            let ran = Run::default().var("HEARTH_TOKEN", TOKEN).go(&line).await;
            assert!(!ran.err.contains("compression"), "{ran:?}");
            ran.fails(exit, &words);
        }
    }
}

#[tokio::test]
async fn a_token_that_is_not_taken_is_named_by_its_place() {
    let fake = Fake::start().await;
    let count = ["--server", &fake.url, "device", "count"];
    let none = Run::default().go(&count).await;
    none.fails(Exit::Denied, &["none was found", "context set"]);
    let run = Run::default().var("HEARTH_TOKEN", "wrong");
    run.go(&count)
        .await
        .fails(Exit::Denied, &["token in HEARTH_TOKEN"]);
    std::fs::write(run.path("old.token"), "wrong").unwrap();
    let line = [&["--token-file", "old.token"], &count[..]].concat();
    run.go(&line)
        .await
        .fails(Exit::Denied, &["token in old.token"]);
    let run = Run::default().input("wrong");
    let set = [
        "context",
        "set",
        "lab",
        "--server",
        &fake.url,
        "--token-stdin",
    ];
    run.go(&set).await.ok();
    run.go(&["device", "count"])
        .await
        .fails(Exit::Denied, &["token in the context `lab`"]);
}

#[tokio::test]
async fn what_is_wrong_is_said_once() {
    let fake = Fake::start().await;
    for (line, said) in [
        (
            &["task", "get", "nope"][..],
            "error: `nope` is not a task's id: expected 26 characters",
        ),
        (
            &["--tenant", "A B", "device", "count"],
            "error: `A B` is not a tenant: expected 1 to 63",
        ),
    ] {
        fake.run(line).await.fails(Exit::Usage, &[said]);
    }
}

#[tokio::test]
async fn a_question_is_asked_once_more_and_a_command_is_not() {
    let fake = Fake::start().await;
    fake.with(|state| state.away = 1);
    fake.run(&["device", "count"]).await.ok();
    fake.with(|state| (state.away, state.calls) = (9, 0));
    let ran = fake.run(&["device", "count"]).await;
    ran.fails(Exit::Unavailable, &["the store is starting"]);
    assert_eq!(fake.state.lock().unwrap().calls, 2);
    fake.with(|state| (state.away, state.calls) = (1, 0));
    let line = ["line", "delete", "192.0.2.7"];
    let ran = fake.run(&line).await;
    ran.fails(Exit::Unavailable, &["the store is starting"]);
    assert_eq!(fake.state.lock().unwrap().calls, 1);
}
