//! Searching, paging, credentials, models, indexing again.

use crate::common::{SECOND, START, TENANT, World, config, inform, values};
use hearth_auth::ExposeSecret;
use hearth_clients::{DeviceState, Kind};
use hearth_proto::devicestate::v1 as ds;
use hearth_proto::events::v1 as ev;
use hearth_types::TenantId;

const VERSION: &str = "Device.DeviceInfo.SoftwareVersion";

fn id(n: usize) -> String {
    format!("001122-X-{n:03}")
}

async fn fleet(world: &World, count: usize) {
    for n in 0..count {
        let version = if n % 3 == 0 { "1.0" } else { "2.0" };
        let line = format!("L{}", n % 10);
        let reported = [(VERSION, version), ("Device.Line", line.as_str())];
        world
            .publish(&inform(&id(n), START, "1 BOOT", &reported))
            .await;
    }
    world.settled().await;
}

async fn tag(world: &World, n: usize, add: &[&str], remove: &[&str]) {
    let request = ds::SetTagsRequest {
        tenant: TENANT.into(),
        device: id(n),
        add: add.iter().map(|t| (*t).into()).collect(),
        remove: remove.iter().map(|t| (*t).into()).collect(),
    };
    world.state.set_tags(request).await.unwrap();
}

#[tokio::test]
async fn devices_are_found_by_conditions() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::open(dir.path(), config()).await;
    world.run().await;
    fleet(&world, 30).await;
    for n in [3, 4, 6] {
        tag(&world, n, &["vip", "pilot"], &[]).await;
    }
    tag(&world, 6, &[], &["vip"]).await;
    assert_eq!(world.search(&[]).await.len(), 30);
    assert_eq!(world.search(&[("id", &id(7), false)]).await, [id(7)]);
    let tens: Vec<_> = (10..20).map(id).collect();
    assert_eq!(world.search(&[("id", "001122-X-01", true)]).await, tens);
    assert_eq!(world.search(&[("serial_number", "01", true)]).await, tens);
    assert_eq!(
        world
            .search(&[("software_version", "1.0", false)])
            .await
            .len(),
        10
    );
    let both = [("software_version", "1.0", false), ("tag", "vip", false)];
    assert_eq!(world.search(&both).await, [id(3)]);
    assert_eq!(
        world.search(&[("tag", "", true)]).await,
        [id(3), id(4), id(6)]
    );
    assert_eq!(
        world
            .search(&[("remote_address", "10.0.0.1", false)])
            .await
            .len(),
        30
    );
    assert_eq!(world.search(&[("online", "true", false)]).await.len(), 30);
    assert!(world.search(&[("online", "false", false)]).await.is_empty());
    let none = [("manufacturer", "Acme", false), ("oui", "FFFFFF", false)];
    assert!(world.search(&none).await.is_empty());
    let error = list(&world, &[("shoe_size", "44", false)], 0, "")
        .await
        .unwrap_err();
    assert_eq!(error.kind, Kind::InvalidArgument);
    assert_eq!(error.field, "conditions[0].attribute");
    world.stop().await;
}

async fn list(
    world: &World,
    conditions: &[(&str, &str, bool)],
    size: u32,
    token: &str,
) -> hearth_clients::Result<ds::ListDevicesResponse> {
    let conditions = conditions
        .iter()
        .map(|(attribute, value, prefix)| ds::Condition {
            attribute: (*attribute).into(),
            value: (*value).into(),
            prefix: *prefix,
        });
    let request = ds::ListDevicesRequest {
        tenant: TENANT.into(),
        conditions: conditions.collect(),
        page_size: size,
        page_token: token.into(),
    };
    world.state.list_devices(request).await
}

#[tokio::test]
async fn pages_hold_every_device_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::open(dir.path(), config()).await;
    world.run().await;
    fleet(&world, 25).await;
    let queries: [&[(&str, &str, bool)]; 5] = [
        &[],
        &[("manufacturer", "Acme", false)],
        &[("id", "001122", true)],
        &[("software_version", "", true)],
        &[("software_version", "2", true), ("online", "true", false)],
    ];
    for (conditions, expected) in queries.into_iter().zip([25, 25, 25, 25, 16]) {
        for size in [1, 4, 25, 1000] {
            let mut seen = Vec::new();
            let mut token = String::new();
            loop {
                let page = list(&world, conditions, size, &token).await.unwrap();
                assert!(page.devices.len() <= size as usize);
                seen.extend(page.devices.into_iter().map(|d| d.id));
                token = page.next_page_token;
                if token.is_empty() {
                    break;
                }
            }
            assert_eq!(seen.len(), expected, "{conditions:?} in pages of {size}");
            assert!(seen.is_sorted(), "in the order of ids");
            seen.dedup();
            assert_eq!(seen.len(), expected);
        }
    }
    let page = list(&world, &[], 2, "").await.unwrap();
    for (conditions, token) in [
        (queries[1], page.next_page_token.as_str()),
        (queries[0], "x y"),
    ] {
        let error = list(&world, conditions, 2, token).await.unwrap_err();
        assert_eq!(
            (error.kind, error.field.as_str()),
            (Kind::InvalidArgument, "page_token")
        );
    }
    world.stop().await;
}

#[tokio::test]
async fn parameters_come_in_pages() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::open(dir.path(), config()).await;
    world.run().await;
    fleet(&world, 1).await;
    let names: Vec<String> = (0..25).map(|n| format!("Device.P.{n:02}")).collect();
    let read: Vec<_> = names.iter().map(|name| (name.as_str(), "v")).collect();
    world
        .publish(&values(&id(0), START + 1, ev::ValueSource::Read, &read))
        .await;
    world.settled().await;
    let mut seen = Vec::new();
    let mut request = ds::ListParametersRequest {
        tenant: TENANT.into(),
        device: id(0),
        path: "Device.P.".into(),
        page_size: 10,
        ..ds::ListParametersRequest::default()
    };
    loop {
        let page = world.state.list_parameters(request.clone()).await.unwrap();
        seen.extend(page.parameters.into_iter().map(|p| p.path));
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    assert_eq!(seen, names);
    request.device = "001122-X-none".into();
    let error = world.state.list_parameters(request).await.unwrap_err();
    assert_eq!(error.kind, Kind::NotFound);
    world.stop().await;
}

#[tokio::test]
async fn another_set_of_indexed_parameters_indexes_known_devices() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::open(dir.path(), config()).await;
    world.run().await;
    fleet(&world, 20).await;
    world.stop().await;
    let with = |paths: &[&str]| {
        let mut config = config();
        config.indexed_parameters = paths.iter().map(|p| p.parse().unwrap()).collect();
        config
    };
    let line: &[&str] = &["Device.Line"];
    let none: &[&str] = &[];
    for (round, paths) in [line, none, line, none, line].into_iter().enumerate() {
        let mut world = World::open(dir.path(), with(paths)).await;
        world.run().await;
        let expected = if paths.is_empty() { 0 } else { 20 };
        let mut count = usize::MAX;
        for _ in 0..400 {
            let query = hearth_store::IndexQuery {
                tenant: TenantId::default(),
                attribute: "Device.Line".into(),
                value: String::new(),
                prefix: true,
                after: None,
                limit: 100,
            };
            use hearth_store::Store;
            count = world.store.search(&query).await.unwrap().len();
            if count == expected {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        assert_eq!(count, expected, "round {round}");
        if !paths.is_empty() {
            assert_eq!(world.search(&[("Device.Line", "L3", false)]).await.len(), 2);
        }
        // Let the set be written down.
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        world.stop().await;
    }
}

async fn put(
    world: &World,
    kind: ds::CredentialKind,
    username: &str,
    device: &str,
) -> hearth_clients::Result<ds::PutCredentialResponse> {
    let mut credential = ds::Credential {
        tenant: TENANT.into(),
        username: username.into(),
        device: device.into(),
        ..ds::Credential::default()
    };
    credential.set_kind(kind);
    let request = ds::PutCredentialRequest {
        credential: Some(credential),
        password: format!("{username}-secret"),
    };
    world.state.put_credential(request).await
}

async fn may(world: &World, username: &str, device: &str, bootstrap: bool) -> bool {
    let request = ds::CheckIdentityRequest {
        tenant: TENANT.into(),
        username: username.into(),
        device: device.into(),
        bootstrap,
        ..ds::CheckIdentityRequest::default()
    };
    let answer = world.state.check_identity(request).await.unwrap();
    assert_eq!(
        answer.allowed,
        answer.reason.is_empty(),
        "a no has a reason"
    );
    answer.allowed
}

#[tokio::test]
async fn credentials_decide_who_may_be_which_device() {
    use ds::CredentialKind as K;
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::open(dir.path(), config()).await;
    world.run().await;
    let tenant = TenantId::default();
    let (user, password) = world.state.ensure_onboarding(&tenant).await.unwrap();
    let password = password.unwrap();
    let (again, none) = world.state.ensure_onboarding(&tenant).await.unwrap();
    assert_eq!((&again, none.is_none()), (&user, true));
    let request = ds::GetCredentialRequest {
        tenant: TENANT.into(),
        username: user.clone(),
    };
    let found = world.state.get_credential(request).await.unwrap();
    assert_eq!(found.password, password.expose_secret());
    assert!(may(&world, &user, &id(1), false).await);
    put(&world, K::Device, "one", &id(1)).await.unwrap();
    assert!(may(&world, &user, &id(1), false).await, "not used yet");
    assert!(may(&world, "one", &id(1), false).await);
    assert!(!may(&world, "one", &id(2), true).await);
    assert!(!may(&world, &user, &id(1), false).await);
    assert!(may(&world, &user, &id(1), true).await, "0 BOOTSTRAP");
    assert!(may(&world, &user, &id(2), false).await);
    assert!(!may(&world, "nobody", &id(1), false).await);
    let taken = put(&world, K::Device, "one", &id(2)).await.unwrap_err();
    assert_eq!(taken.kind, Kind::AlreadyExists);
    put(&world, K::Device, "one", &id(1)).await.unwrap();
    let bad = put(&world, K::Device, "two", "").await.unwrap_err();
    assert_eq!(bad.field, "credential.device");
    put(&world, K::ConnectionRequest, "acs", "").await.unwrap();
    // A new password counts at once, and last uses are listed after they were written.
    let list = ds::ListCredentialsRequest {
        tenant: TENANT.into(),
        page_size: 2,
        page_token: String::new(),
    };
    let first = world.state.list_credentials(list.clone()).await.unwrap();
    assert_eq!(first.credentials.len(), 2);
    let rest = ds::ListCredentialsRequest {
        page_token: first.next_page_token.clone(),
        ..list.clone()
    };
    let second = world.state.list_credentials(rest).await.unwrap();
    let all = [first.credentials, second.credentials].concat();
    let names: Vec<_> = all.iter().map(|c| c.username.as_str()).collect();
    assert_eq!(names, ["acs", "onboarding", "one"]);
    assert!(all.iter().all(|c| c.sealed_password.is_empty()));
    let delete = ds::DeleteCredentialRequest {
        tenant: TENANT.into(),
        username: "one".into(),
        kind: K::Device.into(),
        device: String::new(),
    };
    assert!(
        world
            .state
            .delete_credential(delete.clone())
            .await
            .unwrap()
            .existed
    );
    assert!(!world.state.delete_credential(delete).await.unwrap().existed);
    assert!(may(&world, &user, &id(1), false).await);
    world.stop().await;
    let world = World::open(dir.path(), config()).await;
    let list = ds::ListCredentialsRequest {
        page_size: 0,
        ..list
    };
    let all = world
        .state
        .list_credentials(list)
        .await
        .unwrap()
        .credentials;
    let used = all.iter().find(|c| c.username == user).unwrap();
    assert!(
        used.last_used_us >= START,
        "last uses are written at the end"
    );
    world.stop().await;
}

#[tokio::test]
async fn devices_are_woken_with_the_nearest_credential() {
    use ds::CredentialKind as K;
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::open(dir.path(), config()).await;
    world.run().await;
    fleet(&world, 1).await;
    let how = async || {
        let request = ds::GetConnectionRequestRequest {
            tenant: TENANT.into(),
            device: id(0),
        };
        let how = world.state.get_connection_request(request).await.unwrap();
        (how.username, how.password)
    };
    assert_eq!(how().await, (String::new(), String::new()));
    put(&world, K::ConnectionRequest, "all", "").await.unwrap();
    assert_eq!(how().await, ("all".into(), "all-secret".into()));
    let set = [
        ("Device.ManagementServer.ConnectionRequestUsername", "set"),
        (
            "Device.ManagementServer.ConnectionRequestPassword",
            "set-secret",
        ),
    ];
    world
        .publish(&values(&id(0), START + SECOND, ev::ValueSource::Set, &set))
        .await;
    world.settled().await;
    assert_eq!(how().await, ("set".into(), "set-secret".into()));
    put(&world, K::ConnectionRequest, "own", &id(0))
        .await
        .unwrap();
    assert_eq!(how().await, ("own".into(), "own-secret".into()));
    world.stop().await;
}

#[tokio::test]
async fn models_are_remembered() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::open(dir.path(), config()).await;
    let request = ds::GetModelRequest {
        tenant: TENANT.into(),
        oui: "001122".into(),
        product_class: "A/B".into(),
        ..ds::GetModelRequest::default()
    };
    let found = world.state.get_model(request.clone()).await.unwrap();
    assert_eq!(found.model, Some(ds::Model::default()));
    let model = ds::Model {
        gpv_batch: 7,
        ..ds::Model::default()
    };
    let put = ds::PutModelRequest {
        tenant: TENANT.into(),
        oui: "001122".into(),
        product_class: "A/B".into(),
        model: Some(model.clone()),
    };
    world.state.put_model(put).await.unwrap();
    world.stop().await;
    let world = World::open(dir.path(), config()).await;
    let found = world.state.get_model(request).await.unwrap();
    assert_eq!(found.model, Some(model));
    world.stop().await;
}
