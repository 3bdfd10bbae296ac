//! Who was turned away by the gateways: kept, put together, bounded, and told of a device.

use crate::common::{SECOND, START, TENANT, World, config, inform};
use hearth_clients::DeviceState as _;
use hearth_proto::devicestate::v1 as ds;
use hearth_proto::types::v1::DeviceState;

const ID: &str = "00D09E-Box-SN00007";

fn refusal(user: &str, reason: &str, address: &str) -> ds::Refusal {
    ds::Refusal {
        tenant: TENANT.into(),
        user: user.into(),
        reason: reason.into(),
        address: address.into(),
        status: 401,
        count: 1,
        first_time_us: START,
        last_time_us: START,
        ..ds::Refusal::default()
    }
}

async fn note(world: &World, refusals: Vec<ds::Refusal>) -> u32 {
    let request = ds::NoteRefusalsRequest { refusals };
    world.state.note_refusals(request).await.unwrap().kept
}

async fn list(
    world: &World,
    change: impl FnOnce(&mut ds::ListRefusalsRequest),
) -> Vec<ds::Refusal> {
    let mut request = ds::ListRefusalsRequest {
        tenant: TENANT.into(),
        ..ds::ListRefusalsRequest::default()
    };
    change(&mut request);
    world.state.list_refusals(request).await.unwrap().refusals
}

async fn facts(world: &World, device: &str) -> ds::GetDeviceFactsResponse {
    let request = ds::GetDeviceFactsRequest {
        tenant: TENANT.into(),
        device: device.into(),
    };
    world.state.get_device_facts(request).await.unwrap()
}

async fn login(world: &World, username: &str, kind: ds::CredentialKind, device: &str) {
    let mut credential = ds::Credential {
        tenant: TENANT.into(),
        username: username.into(),
        device: device.into(),
        ..ds::Credential::default()
    };
    credential.set_kind(kind);
    let request = ds::PutCredentialRequest {
        credential: Some(credential),
        password: "Zaphod-42-Zaphod".into(),
    };
    world.state.put_credential(request).await.unwrap();
}

#[tokio::test]
async fn a_refusal_finds_its_device_by_the_login_that_was_claimed() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::open(dir.path(), config()).await;
    login(&world, "router7", ds::CredentialKind::Device, ID).await;
    let wrong = refusal("router7", "wrong_password", "192.0.2.7");
    let mut later = wrong.clone();
    (later.count, later.last_time_us) = (59, START + 60 * SECOND);
    assert_eq!(note(&world, vec![wrong]).await, 1);
    assert_eq!(note(&world, vec![later]).await, 1);
    let found = list(&world, |request| request.device = ID.into()).await;
    assert_eq!(found.len(), 1, "{found:?}");
    let one = &found[0];
    assert_eq!((one.count, one.reason.as_str()), (60, "wrong_password"));
    assert_eq!(
        (one.first_time_us, one.last_time_us),
        (START, START + 60 * SECOND)
    );
    assert_eq!(
        (one.user.as_str(), one.tenant.as_str()),
        ("router7", TENANT)
    );
    let facts = facts(&world, ID).await;
    assert_eq!(facts.refusals, found);
    assert_eq!(
        (facts.username.as_str(), facts.username_used_us),
        ("router7", 0)
    );
    assert!(!facts.may_onboard && !facts.has_connection_request_login);
    world.stop().await;
}

#[tokio::test]
async fn who_is_not_known_is_found_by_address_and_by_serial_number() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::open(dir.path(), config()).await;
    world.run().await;
    let mut event = inform(ID, START, "1 BOOT", &[]);
    if let Some(hearth_proto::events::v1::event::Kind::Inform(inform)) = &mut event.kind {
        inform.remote_address = "192.0.2.7".into();
    }
    world.publish(&event).await;
    world.settled().await;
    note(
        &world,
        vec![
            refusal("cpe-SN00007", "unknown_user", "198.51.100.1"),
            refusal("misspelt", "unknown_user", "192.0.2.7"),
            refusal("somebody", "unknown_user", "203.0.113.1"),
        ],
    )
    .await;
    let facts = facts(&world, ID).await;
    assert!(facts.refusals.is_empty());
    let mut near: Vec<_> = facts.near.iter().map(|r| r.user.as_str()).collect();
    near.sort_unstable();
    assert_eq!(near, ["cpe-SN00007", "misspelt"]);
    for (filter, users) in [("203.0.113.1", 1), ("203.0.113.2", 0)] {
        let found = list(&world, |request| request.address = filter.into()).await;
        assert_eq!(found.len(), users, "{filter}");
    }
    let found = list(&world, |request| request.user = "misspelt".into()).await;
    assert_eq!(found.len(), 1);
    world.stop().await;
}

#[tokio::test]
async fn made_up_names_fill_their_own_slot_and_push_out_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::open(dir.path(), config()).await;
    login(&world, "router7", ds::CredentialKind::Device, ID).await;
    let honest = ["192.0.2.1", "192.0.2.2"].map(|a| refusal("misspelt", "unknown_user", a));
    note(&world, honest.to_vec()).await;
    note(
        &world,
        vec![refusal("router7", "wrong_password", "192.0.2.7")],
    )
    .await;
    for batch in 0..4 {
        let made_up = (0..500).map(|n| {
            let mut refusal = refusal(&format!("x{batch}-{n}"), "unknown_user", "198.51.100.9");
            refusal.last_time_us += SECOND + n;
            refusal
        });
        assert_eq!(note(&world, made_up.collect()).await, 500);
    }
    let all = list(&world, |request| request.page_size = 1000).await;
    assert!(all.len() <= 16 + 3, "{}", all.len());
    let of = |user: &str| all.iter().filter(|r| r.user == user).count();
    assert_eq!((of("router7"), of("misspelt")), (1, 2));
    let too_many = ds::NoteRefusalsRequest {
        refusals: vec![refusal("x", "unknown_user", ""); 501],
    };
    assert_eq!(
        world.state.note_refusals(too_many).await.unwrap_err().field,
        "refusals"
    );
    world.stop().await;
}

#[tokio::test]
async fn tenants_that_do_not_exist_get_no_documents() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::open(dir.path(), config()).await;
    let of = |tenant: &str| ds::Refusal {
        tenant: tenant.into(),
        ..refusal("u", "unknown_user", "192.0.2.1")
    };
    assert_eq!(
        note(&world, vec![of("made-up"), of(TENANT), of("NOT A TENANT")]).await,
        1
    );
    let metrics = world.registry.render();
    assert!(
        metrics.contains("hearth_device_state_refusals_dropped_total 2"),
        "{metrics}"
    );
    world.stop().await;
}

#[tokio::test]
async fn refusals_end_after_a_week_and_with_their_device() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::open(dir.path(), config()).await;
    let request = ds::SetDeviceStateRequest {
        tenant: TENANT.into(),
        device: ID.into(),
        state: DeviceState::Blocked.into(),
        reason: "stolen".into(),
    };
    world.state.set_device_state(request).await.unwrap();
    let mut blocked = refusal("any", "blocked", "192.0.2.7");
    blocked.device = ID.into();
    note(&world, vec![blocked.clone()]).await;
    let known = facts(&world, ID).await;
    assert_eq!(
        (known.stance(), known.stance_reason.as_str()),
        (DeviceState::Blocked, "stolen")
    );
    assert_eq!(known.refusals.len(), 1);
    let request = ds::DeleteDeviceRequest {
        tenant: TENANT.into(),
        device: ID.into(),
    };
    world.state.delete_device(request).await.unwrap();
    assert!(list(&world, |_| {}).await.is_empty());
    note(&world, vec![refusal("u", "unknown_user", "192.0.2.1")]).await;
    assert_eq!(list(&world, |_| {}).await.len(), 1);
    world
        .clock
        .advance(std::time::Duration::from_secs(7 * 86_400 + 1));
    assert!(list(&world, |_| {}).await.is_empty());
    world.stop().await;
}

#[tokio::test]
async fn pages_are_the_newest_first() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::open(dir.path(), config()).await;
    let many = (0..30).map(|n| {
        let mut refusal = refusal("u", "unknown_user", &format!("192.0.2.{n}"));
        refusal.last_time_us += n * SECOND;
        refusal
    });
    note(&world, many.collect()).await;
    let (mut seen, mut token) = (Vec::new(), String::new());
    loop {
        let request = ds::ListRefusalsRequest {
            tenant: TENANT.into(),
            page_size: 7,
            page_token: token,
            ..ds::ListRefusalsRequest::default()
        };
        let page = world.state.list_refusals(request).await.unwrap();
        seen.extend(page.refusals.into_iter().map(|r| r.last_time_us));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(seen.len(), 30);
    assert!(seen.is_sorted_by(|a, b| a > b), "{seen:?}");
    world.stop().await;
}

#[tokio::test]
async fn what_is_known_of_logins_and_of_the_clock() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::open(dir.path(), config()).await;
    world.run().await;
    login(&world, "factory", ds::CredentialKind::Onboarding, "").await;
    login(&world, "acs", ds::CredentialKind::ConnectionRequest, "").await;
    let mut event = inform(ID, START, "1 BOOT", &[]);
    if let Some(hearth_proto::events::v1::event::Kind::Inform(inform)) = &mut event.kind {
        inform.current_time = "1970-01-01T00:00:30Z".into();
    }
    world.publish(&event).await;
    world.settled().await;
    let facts = facts(&world, ID).await;
    assert!(facts.may_onboard && facts.has_connection_request_login);
    assert!(facts.clock_offset_seconds.unwrap() < -1_000_000_000);
    world.stop().await;
}
