//! A device's life, its line, what is odd about its identity; credentials in bulk.

use crate::common::{self, SECOND, START, TENANT, World, config, inform};
use crate::flaky::{Flaky, Trap};
use hearth_clients::{DeviceState as _, Kind, Result};
use hearth_engine::EngineOptions;
use hearth_proto::devicestate::v1 as ds;
use hearth_proto::types::v1::{DeviceState, EdgePolicy, IdentityProof, Line, TrustedNetwork};
use std::sync::Arc;

const ID: &str = "00D09E-Box-7";
const DAY: i64 = 86_400 * SECOND;

async fn set(world: &World, id: &str, state: DeviceState) -> Result<ds::Device> {
    let request = ds::SetDeviceStateRequest {
        tenant: TENANT.into(),
        device: id.into(),
        state: state.into(),
        reason: "stolen".into(),
    };
    let answer = world.state.set_device_state(request).await?;
    Ok(answer.device.unwrap())
}

async fn update(world: &World, policy: EdgePolicy, field: &str) -> Result<EdgePolicy> {
    let request = ds::UpdateEdgePolicyRequest {
        tenant: TENANT.into(),
        policy: Some(policy),
        fields: vec![field.into()],
    };
    let answer = world.state.update_edge_policy(request).await?;
    Ok(answer.policy.unwrap())
}

fn coming(id: &str, username: &str) -> ds::CheckIdentityRequest {
    ds::CheckIdentityRequest {
        tenant: TENANT.into(),
        username: username.into(),
        device: id.into(),
        ..ds::CheckIdentityRequest::default()
    }
}

/// The label of the refusal; empty for none.
async fn refused(world: &World, request: ds::CheckIdentityRequest) -> String {
    let answer = world.state.check_identity(request).await.unwrap();
    assert_eq!(answer.allowed, answer.code.is_empty());
    answer.code
}

async fn onboarding(world: &World) -> String {
    let tenant = hearth_types::TenantId::default();
    world.state.ensure_onboarding(&tenant).await.unwrap().0
}

#[tokio::test]
async fn a_device_from_expected_to_retired() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::open(dir.path(), config()).await;
    world.run().await;
    let user = onboarding(&world).await;
    let device = set(&world, ID, DeviceState::Expected).await.unwrap();
    assert_eq!(device.state(), DeviceState::Expected);
    assert_eq!(
        (device.oui.as_str(), device.serial_number.as_str()),
        ("00D09E", "7")
    );
    assert_eq!(world.search(&[("state", "expected", false)]).await, [ID]);
    assert_eq!(world.search(&[("serial_number", "7", false)]).await, [ID]);
    assert_eq!(world.search(&[]).await, [ID]);

    world.publish(&inform(ID, START, "0 BOOTSTRAP", &[])).await;
    world.settled().await;
    let device = world.device(ID).await;
    assert_eq!(device.state(), DeviceState::New);
    assert_eq!((device.first_seen_us, device.inform_count), (START, 1));
    assert_eq!(world.search(&[("state", "new", false)]).await, [ID]);
    assert!(
        world
            .search(&[("state", "expected", false)])
            .await
            .is_empty()
    );

    let interval = "Device.ManagementServer.PeriodicInformInterval";
    for day in 1..4 {
        let at = START + day * DAY;
        world
            .publish(&inform(ID, at, "2 PERIODIC", &[(interval, "3600")]))
            .await;
        world.settled().await;
        world.clock.set(at + SECOND);
        assert_eq!(world.device(ID).await.state(), DeviceState::Active, "{day}");
        assert_eq!(world.search(&[("state", "active", false)]).await, [ID]);
        assert!(world.search(&[("state", "silent", false)]).await.is_empty());
    }
    world.clock.set(START + 4 * DAY + 2 * SECOND);
    assert_eq!(world.device(ID).await.state(), DeviceState::Silent);
    assert_eq!(world.search(&[("state", "silent", false)]).await, [ID]);
    assert!(world.search(&[("state", "new", false)]).await.is_empty());

    let device = set(&world, ID, DeviceState::Blocked).await.unwrap();
    assert_eq!(device.state_reason, "stolen");
    assert_eq!(refused(&world, coming(ID, &user)).await, "blocked");
    let device = set(&world, ID, DeviceState::Retired).await.unwrap();
    assert_eq!(device.state(), DeviceState::Retired);
    assert_eq!(refused(&world, coming(ID, &user)).await, "retired");
    assert_eq!(world.search(&[("state", "retired", false)]).await, [ID]);
    assert!(
        world
            .search(&[("state", "blocked", false)])
            .await
            .is_empty()
    );
    set(&world, ID, DeviceState::Active).await.unwrap();
    assert_eq!(refused(&world, coming(ID, &user)).await, "");
    let told: Vec<_> = world
        .history(ID)
        .await
        .into_iter()
        .filter(|e| e.kind == "identity")
        .collect();
    assert_eq!(told.len(), 3, "{told:?}");
    // Who was never seen can be kept out beforehand, but not retired.
    let unseen = "00D09E-Box-8";
    let error = set(&world, unseen, DeviceState::Retired).await.unwrap_err();
    assert_eq!(error.kind, Kind::NotFound);
    set(&world, unseen, DeviceState::Blocked).await.unwrap();
    assert_eq!(refused(&world, coming(unseen, &user)).await, "blocked");
    let error = set(&world, unseen, DeviceState::Silent).await.unwrap_err();
    assert_eq!(error.field, "state");
    world.stop().await;
}

#[tokio::test]
async fn a_delete_that_was_cut_off_is_finished_by_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let wrap = |store| Flaky::with(store, Trap::CutOff(Arc::default()));
    let mut world = World::over(EngineOptions::new(dir.path()), config(), wrap).await;
    world.run().await;
    let user = onboarding(&world).await;
    set(&world, ID, DeviceState::Blocked).await.unwrap();
    let request = ds::DeleteDeviceRequest {
        tenant: TENANT.into(),
        device: ID.into(),
    };
    let error = world
        .state
        .delete_device(request.clone())
        .await
        .unwrap_err();
    assert_eq!(error.kind, Kind::Unavailable, "{error}");
    assert_eq!(refused(&world, coming(ID, &user)).await, "blocked");
    // The second call: there is no such device any more, nor anything that was said of it.
    let error = world.state.delete_device(request).await.unwrap_err();
    assert_eq!(error.kind, Kind::NotFound, "{error}");
    assert_eq!(refused(&world, coming(ID, &user)).await, "");
    world.stop().await;
}

#[tokio::test]
async fn only_expected_devices_are_let_in_if_the_tenant_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::open(dir.path(), config()).await;
    world.run().await;
    let user = onboarding(&world).await;
    let only = EdgePolicy {
        expected_devices_only: true,
        ..EdgePolicy::default()
    };
    update(&world, only, "expected_devices_only").await.unwrap();
    assert_eq!(refused(&world, coming(ID, &user)).await, "not_expected");
    set(&world, ID, DeviceState::Expected).await.unwrap();
    assert_eq!(refused(&world, coming(ID, &user)).await, "");
    let seen = "00D09E-Box-8";
    world.publish(&inform(seen, START, "1 BOOT", &[])).await;
    world.settled().await;
    assert_eq!(refused(&world, coming(seen, &user)).await, "");
    world.stop().await;
}

#[tokio::test]
async fn a_line_stands_in_for_a_credential_or_beside_one() {
    use IdentityProof as P;
    let dir = tempfile::tempdir().unwrap();
    let world = World::open(dir.path(), config()).await;
    let user = onboarding(&world).await;
    let on = |line: &str, user: &str| ds::CheckIdentityRequest {
        line: line.into(),
        ..coming(ID, user)
    };
    for (proof, both, credential, line, neither) in [
        (P::Credential, "", "", "identity", "identity"),
        (P::Line, "", "line", "", "identity"),
        (P::CredentialAndLine, "", "line", "identity", "identity"),
        (P::Either, "", "", "", "identity"),
    ] {
        let mut policy = EdgePolicy::default();
        policy.set_identity_proof(proof);
        update(&world, policy, "identity_proof").await.unwrap();
        assert_eq!(refused(&world, on("l", &user)).await, both, "{proof:?}");
        assert_eq!(
            refused(&world, on("", &user)).await,
            credential,
            "{proof:?}"
        );
        assert_eq!(refused(&world, on("l", "")).await, line, "{proof:?}");
        assert_eq!(refused(&world, on("", "")).await, neither, "{proof:?}");
        let bound = ds::CheckIdentityRequest {
            line_device: "00D09E-Box-8".into(),
            ..on("l", &user)
        };
        let refused_by_line = if proof == P::Credential { "" } else { "line" };
        assert_eq!(refused(&world, bound).await, refused_by_line, "{proof:?}");
    }
    world.stop().await;
}

#[tokio::test]
async fn lines_are_found_by_the_longest_prefix_until_they_end() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::open(dir.path(), config()).await;
    let set_line = |prefix: &str, circuit: &str, ends: i64| ds::SetLineRequest {
        tenant: TENANT.into(),
        line: Some(Line {
            prefix: prefix.into(),
            circuit_id: circuit.into(),
            expire_time: hearth_proto::convert::timestamp(ends),
            ..Line::default()
        }),
    };
    let find = |address: &'static str| {
        let request = ds::FindLineRequest {
            tenant: TENANT.into(),
            address: address.into(),
        };
        let world = &world;
        async move {
            let found = world.state.find_line(request).await.unwrap();
            found.line.map(|line| line.circuit_id).unwrap_or_default()
        }
    };
    for line in [
        set_line("192.0.2.0/24", "dslam", 0),
        set_line("192.0.2.7", "port 7", START + 10 * SECOND),
        set_line("2001:db8:1::/56", "v6", 0),
    ] {
        world.state.set_line(line).await.unwrap();
    }
    assert_eq!(find("192.0.2.7").await, "port 7");
    assert_eq!(find("::ffff:192.0.2.8").await, "dslam");
    assert_eq!(find("2001:db8:1:ff::1").await, "v6");
    assert_eq!(find("2001:db8:2::1").await, "");
    world.clock.set(START + 11 * SECOND);
    let request = ds::ListLinesRequest {
        tenant: TENANT.into(),
        ..ds::ListLinesRequest::default()
    };
    let listed = world.state.list_lines(request).await.unwrap().lines;
    assert_eq!(listed.len(), 2, "{listed:?}");
    for (bad, field) in [
        (set_line("192.0.2.1/24", "", 0), "line.prefix"),
        (set_line("192.0.2.1", "a\nb", 0), "line.circuit_id"),
        (set_line("192.0.2.1", "", START), "line.expire_time"),
    ] {
        assert_eq!(world.state.set_line(bad).await.unwrap_err().field, field);
    }
    let delete = ds::DeleteLineRequest {
        tenant: TENANT.into(),
        prefix: "2001:db8:1::/56".into(),
    };
    assert!(
        world
            .state
            .delete_line(delete.clone())
            .await
            .unwrap()
            .existed
    );
    assert!(!world.state.delete_line(delete).await.unwrap().existed);
    world.stop().await;
}

#[tokio::test]
async fn a_policy_that_makes_no_sense_is_refused_by_field() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::open(dir.path(), config()).await;
    let networks = |prefix: &str| EdgePolicy {
        trusted_networks: vec![TrustedNetwork {
            prefix: prefix.into(),
            line: String::new(),
        }],
        ..EdgePolicy::default()
    };
    let number = |silent_after_intervals| EdgePolicy {
        silent_after_intervals,
        ..EdgePolicy::default()
    };
    for (policy, field, wrong) in [
        (
            networks("x"),
            "trusted_networks",
            "policy.trusted_networks[0].prefix",
        ),
        (
            networks("0.0.0.0/0"),
            "trusted_networks",
            "policy.trusted_networks[0].prefix",
        ),
        (
            number(1),
            "silent_after_intervals",
            "policy.silent_after_intervals",
        ),
        (number(0), "shoe_size", "update_mask"),
    ] {
        let error = update(&world, policy, field).await.unwrap_err();
        assert_eq!(error.field, wrong, "{error}");
    }
    // Only what the mask names changes, and what is not set has its default.
    let policy = update(&world, number(7), "silent_after_intervals")
        .await
        .unwrap();
    assert_eq!(
        (policy.silent_after_intervals, policy.silent_after_seconds),
        (7, 86_400)
    );
    let policy = update(&world, networks("192.0.2.0/24"), "trusted_networks")
        .await
        .unwrap();
    assert_eq!(
        (policy.silent_after_intervals, policy.trusted_networks.len()),
        (7, 1)
    );
    let policy = update(&world, EdgePolicy::default(), "*").await.unwrap();
    assert_eq!(
        (policy.silent_after_intervals, policy.trusted_networks.len()),
        (3, 0)
    );
    world.stop().await;
}

#[tokio::test]
async fn what_is_odd_about_an_identity_is_told_and_blocks_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::open(dir.path(), config()).await;
    world.run().await;
    let (one, two) = ("00D09E-Box-7", "001122-Router-7");
    let url = "Device.ManagementServer.ConnectionRequestURL";
    let from = |place: i64, at: i64| {
        let url_value = format!("http://192.0.2.{place}:7547/x");
        inform(one, START + at * SECOND, "2 PERIODIC", &[(url, &url_value)])
    };
    world.publish(&from(1, 0)).await;
    world.settled().await;
    world.publish(&inform(two, START + 1, "1 BOOT", &[])).await;
    for at in 1..4 {
        world.publish(&from(1 + at % 2, at)).await;
    }
    world.settled().await;
    let kinds = |device: ds::Device| {
        let mut kinds: Vec<_> = device.identity_alerts.into_iter().map(|a| a.kind).collect();
        kinds.sort_unstable();
        kinds
    };
    assert_eq!(
        kinds(world.device(one).await),
        ["duplicate_serial", "two_places"]
    );
    assert_eq!(kinds(world.device(two).await), ["duplicate_serial"]);
    let mut credential = ds::Credential {
        tenant: TENANT.into(),
        username: "own".into(),
        device: one.into(),
        ..ds::Credential::default()
    };
    credential.set_kind(ds::CredentialKind::Device);
    let put = ds::PutCredentialRequest {
        credential: Some(credential),
        password: "secret".into(),
    };
    world.state.put_credential(put).await.unwrap();
    assert_eq!(refused(&world, coming(two, "own")).await, "identity");
    assert_eq!(refused(&world, coming(one, "own")).await, "");
    assert!(kinds(world.device(one).await).contains(&"shared_credential".to_owned()));
    assert!(kinds(world.device(two).await).contains(&"shared_credential".to_owned()));
    let told = world.history(two).await;
    assert!(
        told.iter()
            .any(|e| e.kind == "identity" && e.summary.contains("user own"))
    );
    world.stop().await;
}

#[tokio::test]
async fn lines_of_an_import_stand_for_themselves() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::open(dir.path(), config()).await;
    let line = |line: u32, username: &str, password: &str, device: &str| {
        let mut credential = ds::Credential {
            username: username.into(),
            device: device.into(),
            ..ds::Credential::default()
        };
        credential.set_kind(ds::CredentialKind::Device);
        ds::CredentialToImport {
            credential: Some(credential),
            password: password.into(),
            line,
        }
    };
    let lines = vec![
        line(2, "a", "p", ID),
        line(3, "b", "", ID),
        line(4, "a", "q", ID),
        line(5, "c", "p", ""),
        line(6, "d", "p", "00D09E-Box-8"),
    ];
    for (dry_run, there) in [(true, false), (false, true), (false, true)] {
        let request = ds::ImportCredentialsRequest {
            tenant: TENANT.into(),
            credentials: lines.clone(),
            dry_run,
        };
        let answer = world.state.import_credentials(request).await.unwrap();
        assert_eq!(answer.imported, 2);
        let wrong: Vec<_> = answer
            .errors
            .iter()
            .map(|e| (e.line, e.column.as_str()))
            .collect();
        assert_eq!(wrong, [(3, "password"), (4, "username"), (5, "device")]);
        let request = ds::GetCredentialRequest {
            tenant: TENANT.into(),
            username: "d".into(),
        };
        let found = world.state.get_credential(request).await.unwrap();
        assert_eq!(found.credential.is_some(), there);
    }
    let taken = ds::ImportCredentialsRequest {
        tenant: TENANT.into(),
        credentials: vec![line(2, "a", "p", "00D09E-Box-9")],
        dry_run: true,
    };
    let answer = world.state.import_credentials(taken).await.unwrap();
    assert_eq!(
        (answer.imported, answer.errors[0].column.as_str()),
        (0, "username")
    );
    world.stop().await;
}

#[tokio::test]
async fn devices_of_an_earlier_version_are_found_by_their_state() {
    use hearth_store::{Cell, CellValue, DeviceColumn, Mutation, Store as _};
    use hearth_types::Timestamp;
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::open(dir.path(), config()).await;
    let at = |time: i64, sign: i64| Cell {
        value: CellValue::Int(time),
        time: Timestamp::from_micros(sign * time),
    };
    let row = Mutation::Device {
        device: common::key(ID),
        cells: vec![
            (DeviceColumn::FirstSeen, at(START - 9 * DAY, -1)),
            (DeviceColumn::LastInform, at(START - 5 * DAY, 1)),
        ],
    };
    world.store.write(vec![row]).await.unwrap();
    assert!(world.search(&[("state", "silent", false)]).await.is_empty());
    world.run().await;
    for _ in 0..1000 {
        if world.search(&[("state", "silent", false)]).await == [ID] {
            world.stop().await;
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("never found");
}
