//! A device's state, the policy of the edge, lines, credentials from a file.

use crate::common::{Fake, ROUTER};
use hearth_proto::types::v1::{DeviceState, IdentityProof, RotateCredentials};
use hearthctl::Exit;

#[tokio::test]
async fn devices_are_expected_blocked_retired_and_let_in_again() {
    let fake = Fake::start().await;
    let unseen = "00D09E-New-9";
    for (line, state, says) in [
        (
            vec!["device", "expect", unseen],
            DeviceState::Expected,
            "is expected",
        ),
        (
            vec!["device", "block", unseen, "--reason", "stolen"],
            DeviceState::Blocked,
            "is blocked",
        ),
        (
            vec!["device", "unblock", ROUTER],
            DeviceState::Active,
            "is active",
        ),
        (
            vec!["device", "retire", ROUTER],
            DeviceState::Retired,
            "is retired",
        ),
    ] {
        let ran = fake.run(&line).await.ok();
        assert!(ran.out.contains(says), "{ran:?}");
        let last = fake.state.lock().unwrap().states.last().cloned().unwrap();
        assert_eq!(last.state(), state);
    }
    let states = fake.state.lock().unwrap().states.clone();
    assert_eq!(states[1].reason, "stolen");
    let ran = fake.run(&["device", "retire", unseen]).await;
    ran.fails(Exit::NotFound, &[]);
}

#[tokio::test]
async fn the_policy_is_set_field_by_field() {
    let fake = Fake::start().await;
    let folder = tempfile::tempdir().unwrap();
    let header = folder.path().join("header.json");
    std::fs::write(
        &header,
        "{\"name\": \"X-Line\", \"secret\": \"0123456789abcdef\"}\n",
    )
    .unwrap();
    let header = format!("line_header=@{}", header.display());
    let line = [
        "policy",
        "set",
        "rotate_credentials=onboarding",
        "identity_proof=credential_and_line",
        "expected_devices_only=true",
        &header,
        "new_for_seconds=",
    ];
    let ran = fake.run(&line).await.ok();
    assert!(ran.out.contains("rotate_credentials"), "{ran:?}");
    let update = fake.state.lock().unwrap().policies[0].clone();
    let policy = update.policy.unwrap();
    assert_eq!(policy.rotate_credentials(), RotateCredentials::Onboarding);
    assert_eq!(policy.identity_proof(), IdentityProof::CredentialAndLine);
    assert!(policy.expected_devices_only);
    assert_eq!(policy.line_header.unwrap().name, "X-Line");
    assert_eq!(update.update_mask.unwrap().paths.len(), 5);
    let ran = fake
        .run(&["policy", "set", "rotate_credentials=daily"])
        .await;
    ran.fails(Exit::Usage, &["rotate_credentials"]);
    let ran = fake.run(&["policy", "show", "-o", "json"]).await.ok();
    assert!(ran.out.contains("ROTATE_CREDENTIALS_ONBOARDING"), "{ran:?}");
}

#[tokio::test]
async fn lines_are_set_listed_and_deleted() {
    let fake = Fake::start().await;
    let line = [
        "line",
        "set",
        "192.0.2.7",
        "--circuit-id",
        "dslam7",
        "--expire",
        "1h",
    ];
    fake.run(&line).await.ok();
    let ran = fake.run(&["line", "list"]).await.ok();
    assert!(ran.out.contains("dslam7"), "{ran:?}");
    assert!(fake.state.lock().unwrap().lines[0].expire_time.is_some());
    fake.run(&["line", "delete", "192.0.2.7"]).await.ok();
    assert_eq!(fake.state.lock().unwrap().deleted, ["192.0.2.7"]);
}

#[tokio::test]
async fn a_file_of_logins_goes_in_parts_and_errors_name_the_line() {
    let fake = Fake::start().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("logins.csv");
    let name = file.to_str().unwrap();
    let rows: String = (0..2500)
        .map(|n| format!("u{n},p,00D09E-X-{n}\n"))
        .collect();
    std::fs::write(&file, format!("username,password,device\n{rows}")).unwrap();
    let ran = fake
        .run(&["credential", "import", name, "--dry-run"])
        .await
        .ok();
    assert!(ran.out.contains("2500 credentials could be set"), "{ran:?}");
    let imports = fake.state.lock().unwrap().imports.clone();
    assert_eq!(imports.len(), 2);
    assert!(
        imports
            .iter()
            .all(|part| part.dry_run && part.csv.starts_with("username,"))
    );
    assert_eq!(
        (imports[0].lines_before, imports[1].lines_before),
        (1, 2001)
    );
    std::fs::write(&file, "username,password,device\nu,hunter2,bad\n").unwrap();
    let ran = fake.run(&["credential", "import", name]).await;
    assert!(ran.out.contains("line 2: device: expected"), "{ran:?}");
    assert!(!ran.out.contains("hunter2"));
    ran.fails(Exit::Failed, &["1 lines"]);
}
