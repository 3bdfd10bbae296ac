//! Quirk profiles: kept, versioned, checked, chosen for a device.

use crate::common::{START, TENANT, World, config, inform};
use hearth_clients::{DeviceState as _, Kind, Result};
use hearth_proto::devicestate::v1 as ds;
use hearth_proto::types::v1::{Profile, ProfileMatch, Quirks};
use hearth_types::TenantId;

const ID: &str = "00D09E-Box-7";
const VERSION: &str = "Device.DeviceInfo.SoftwareVersion";

fn profile(id: &str, priority: i32, oui: &str) -> Profile {
    Profile {
        id: id.into(),
        priority,
        matches: vec![ProfileMatch {
            oui: oui.into(),
            ..ProfileMatch::default()
        }],
        quirks: Some(Quirks {
            triple_empty_end: true,
            ..Quirks::default()
        }),
        ..Profile::default()
    }
}

async fn put(world: &World, profile: Profile, check_only: bool) -> Result<(u64, bool)> {
    let request = ds::PutProfileRequest {
        tenant: TENANT.into(),
        profile: Some(profile),
        check_only,
    };
    let answer = world.state.put_profile(request).await?;
    Ok((answer.profile.unwrap().version, answer.changed))
}

async fn delete(world: &World, id: &str) -> (bool, bool) {
    let request = ds::DeleteProfileRequest {
        tenant: TENANT.into(),
        id: id.into(),
    };
    let answer = world.state.delete_profile(request).await.unwrap();
    (answer.existed, answer.builtin)
}

async fn get(world: &World, id: &str) -> Result<Profile> {
    let request = ds::GetProfileRequest {
        tenant: TENANT.into(),
        id: id.into(),
    };
    let answer = world.state.get_profile(request).await?;
    Ok(answer.profile.unwrap())
}

async fn ids(world: &World, tenant: &str, page_size: u32) -> Vec<String> {
    let mut ids = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ds::ListProfilesRequest {
            tenant: tenant.into(),
            page_size,
            page_token,
        };
        let page = world.state.list_profiles(request).await.unwrap();
        ids.extend(page.profiles.into_iter().map(|profile| profile.id));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return ids;
        }
    }
}

/// What a device's Inform gets: the profile, and whether it says how sessions end.
async fn informing(world: &World, user: &str, version: &str) -> (String, bool) {
    let request = ds::CheckIdentityRequest {
        tenant: TENANT.into(),
        username: user.into(),
        device: ID.into(),
        manufacturer: "Acme".into(),
        software_version: version.into(),
        ..ds::CheckIdentityRequest::default()
    };
    let answer = world.state.check_identity(request).await.unwrap();
    assert!(answer.allowed, "{}", answer.reason);
    let ends = answer.quirks.is_some_and(|quirks| quirks.triple_empty_end);
    (answer.profile, ends)
}

#[tokio::test]
async fn profiles_are_kept_versioned_listed_and_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::open(dir.path(), config()).await;
    let builtin = ids(&world, TENANT, 0).await;
    assert!(builtin.contains(&"pre-amendment-1".to_owned()));
    let acme = profile("acme", 0, "00D09E");
    assert_eq!(put(&world, acme.clone(), true).await.unwrap(), (1, true));
    let none = get(&world, "acme").await.unwrap_err();
    assert_eq!(none.kind, Kind::NotFound, "only checked");
    assert_eq!(put(&world, acme.clone(), false).await.unwrap(), (1, true));
    assert_eq!(put(&world, acme.clone(), false).await.unwrap(), (1, false));
    let other = profile("acme", 5, "00D09E");
    assert_eq!(put(&world, other, true).await.unwrap(), (2, true));
    assert_eq!(get(&world, "acme").await.unwrap().version, 1);
    let other = profile("acme", 5, "00D09E");
    assert_eq!(put(&world, other, false).await.unwrap(), (2, true));
    assert!(get(&world, "acme").await.unwrap().update_time.is_some());
    // One by one, in order; another tenant has its own.
    let all = ids(&world, TENANT, 1).await;
    assert_eq!(all.len(), builtin.len() + 1);
    assert!(all.is_sorted());
    assert_eq!(ids(&world, "other", 0).await, builtin);
    world.stop().await;
    // Versions go on over a restart and a deletion.
    let world = World::open(dir.path(), config()).await;
    assert_eq!(get(&world, "acme").await.unwrap().version, 2);
    assert_eq!(delete(&world, "acme").await, (true, false));
    assert_eq!(delete(&world, "acme").await, (false, false));
    assert_eq!(put(&world, acme, false).await.unwrap(), (3, true));
    // A built-in one is replaced, and comes back.
    let own = profile("pre-amendment-1", 0, "00D09E");
    assert_eq!(put(&world, own, false).await.unwrap(), (2, true));
    assert!(!get(&world, "pre-amendment-1").await.unwrap().builtin);
    assert_eq!(ids(&world, TENANT, 0).await.len(), builtin.len() + 1);
    assert_eq!(delete(&world, "pre-amendment-1").await, (true, true));
    assert_eq!(delete(&world, "pre-amendment-1").await, (false, true));
    let back = get(&world, "pre-amendment-1").await.unwrap();
    assert!(back.builtin && back.matches.is_empty());
    world.stop().await;
}

#[tokio::test]
async fn what_is_wrong_is_named_and_there_are_limits() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::open(dir.path(), config()).await;
    let error = put(&world, profile("acme", 0, "00D0"), true)
        .await
        .unwrap_err();
    assert_eq!(error.field, "profile.matches[0].oui");
    let error = put(&world, profile("Acme", 0, "*"), false)
        .await
        .unwrap_err();
    assert_eq!(error.field, "profile.id");
    for n in 0..500 {
        put(&world, profile(&format!("p{n}"), 0, "*"), false)
            .await
            .unwrap();
    }
    let error = put(&world, profile("more", 0, "*"), false)
        .await
        .unwrap_err();
    assert_eq!(error.kind, Kind::FailedPrecondition);
    put(&world, profile("p7", 3, "*"), false).await.unwrap();
    assert_eq!(ids(&world, TENANT, 100).await.len(), 505);
    world.stop().await;
}

#[tokio::test]
async fn a_device_gets_the_best_that_matches_and_shows_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::open(dir.path(), config()).await;
    world.run().await;
    let tenant = TenantId::default();
    let user = world.state.ensure_onboarding(&tenant).await.unwrap().0;
    assert_eq!(
        informing(&world, &user, "1.5").await,
        (String::new(), false)
    );
    put(&world, profile("wide", 0, "*"), false).await.unwrap();
    let old = Profile {
        matches: vec![ProfileMatch {
            oui: "00d09e".into(),
            manufacturer: "Acm*".into(),
            product_class: "Box".into(),
            software_below: "1.10".into(),
            ..ProfileMatch::default()
        }],
        quirks: Some(Quirks {
            max_names_per_read: 9,
            ..Quirks::default()
        }),
        ..profile("old", 10, "")
    };
    put(&world, old, false).await.unwrap();
    let old = ("old@1".to_owned(), false);
    assert_eq!(informing(&world, &user, "1.9").await, old);
    let wide = ("wide@1".to_owned(), true);
    assert_eq!(informing(&world, &user, "1.10").await, wide);
    // A device that doesn't say its version has the one that is known of it.
    assert_eq!(informing(&world, &user, "").await, wide);
    world
        .publish(&inform(ID, START, "1 BOOT", &[(VERSION, "1.9")]))
        .await;
    world.settled().await;
    let before = world.device(ID).await;
    assert_eq!(before.manufacturer, "Acme", "the Informs of the tests");
    assert_eq!(informing(&world, &user, "").await, old);
    // In a session that goes on there is nothing to choose.
    let request = ds::CheckIdentityRequest {
        tenant: TENANT.into(),
        username: user,
        device: ID.into(),
        in_session: true,
        ..ds::CheckIdentityRequest::default()
    };
    let answer = world.state.check_identity(request).await.unwrap();
    assert_eq!(answer.quirks, None);
    // Workflow and the operator are told the same; what was learned stands beside it.
    let request = ds::GetModelRequest {
        tenant: TENANT.into(),
        oui: "00D09E".into(),
        product_class: "Box".into(),
        device: ID.into(),
    };
    let model = ds::Model {
        gpv_batch: 4,
        ..ds::Model::default()
    };
    let learned = ds::PutModelRequest {
        tenant: TENANT.into(),
        oui: "00D09E".into(),
        product_class: "Box".into(),
        model: Some(model.clone()),
    };
    world.state.put_model(learned).await.unwrap();
    let answer = world.state.get_model(request).await.unwrap();
    let choice = answer.profile.unwrap();
    assert_eq!((choice.id.as_str(), choice.version), ("old", 1));
    assert_eq!(choice.quirks.as_ref().unwrap().max_names_per_read, 9);
    assert_eq!(answer.model, Some(model.clone()));
    let device = world.device(ID).await;
    assert_eq!(device.learned, Some(model));
    let shown = device.profile.unwrap();
    assert_eq!(
        shown.reason,
        "oui 00D09E, manufacturer Acm*, product_class Box, software_below 1.10; priority 10"
    );
    assert_eq!(delete(&world, "old").await, (true, false));
    let device = world.device(ID).await;
    assert_eq!(device.profile.unwrap().id, "wide");
    world.stop().await;
}
