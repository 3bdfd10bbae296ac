//! What becomes of values, names, attributes and secrets, and what the history tells.

use crate::common::{START, World, config, event, inform, value, values};
use futures::StreamExt;
use hearth_bus::Bus;
use hearth_clients::DeviceState;
use hearth_proto::devicestate::v1 as ds;
use hearth_proto::events::v1 as ev;
use hearth_proto::types::v1 as ty;
use hearth_types::MASK;

const ID: &str = "001122-X-1";
const VERSION: &str = "Device.DeviceInfo.SoftwareVersion";
const URL: &str = "Device.ManagementServer.ConnectionRequestURL";

fn boot(time: i64) -> ev::Event {
    let values = [(VERSION, "1.0"), (URL, "http://10.0.0.1/a")];
    inform(ID, time, "1 BOOT", &values)
}

#[tokio::test]
async fn bootstrap_forgets_the_tree_and_keeps_the_device() {
    let dir = tempfile::tempdir().unwrap();
    let mut indexed = config();
    indexed.indexed_parameters = vec!["Device.Line".parse().unwrap()];
    let mut world = World::open(dir.path(), indexed).await;
    world.run().await;
    world.publish(&boot(START)).await;
    let more = [
        ("Device.Line", "L1"),
        ("Device.B", "2"),
        ("Device.WiFi.Password", "pw"),
    ];
    world
        .publish(&values(ID, START + 1, ev::ValueSource::Set, &more))
        .await;
    world.settled().await;
    let tags = ds::SetTagsRequest {
        tenant: "default".into(),
        device: ID.into(),
        add: vec!["vip".into()],
        remove: vec![],
    };
    world.state.set_tags(tags).await.unwrap();
    assert_eq!(world.search(&[("Device.Line", "L1", false)]).await, [ID]);
    let reported = [(VERSION, "1.0"), (URL, "http://10.0.0.1/b")];
    world
        .publish(&inform(ID, START + 100, "0 BOOTSTRAP", &reported))
        .await;
    world.settled().await;
    let paths: Vec<_> = world
        .parameters(ID)
        .await
        .into_iter()
        .map(|p| p.path)
        .collect();
    assert_eq!(paths, [VERSION, URL]);
    let device = world.device(ID).await;
    assert_eq!(device.tags, ["vip"]);
    assert_eq!(device.connection_request_url, "http://10.0.0.1/b");
    assert_eq!(device.last_bootstrap_us, START + 100);
    assert_eq!(device.first_seen_us, START);
    assert!(
        world
            .search(&[("Device.Line", "L1", false)])
            .await
            .is_empty()
    );
    assert_eq!(world.search(&[("tag", "vip", false)]).await, [ID]);
    // What was known before is news again.
    world
        .publish(&values(ID, START + 200, ev::ValueSource::Read, &more[..2]))
        .await;
    world.settled().await;
    assert_eq!(world.value(ID, "Device.B").await.as_deref(), Some("2"));
    assert_eq!(world.search(&[("Device.Line", "L", true)]).await, [ID]);
    world.stop().await;
}

#[tokio::test]
async fn history_shows_reads_sets_and_changes() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::open(dir.path(), config()).await;
    world.run().await;
    let ssid = "Device.WiFi.SSID.1.SSID";
    let secret = "Device.WiFi.AccessPoint.1.Security.KeyPassphrase";
    let uptime = "Device.DeviceInfo.UpTime";
    for event in [
        boot(START),
        values(
            ID,
            START + 1,
            ev::ValueSource::Read,
            &[(ssid, "old"), (uptime, "1")],
        ),
        values(
            ID,
            START + 2,
            ev::ValueSource::Set,
            &[(ssid, "new"), (secret, "hush-hush")],
        ),
        values(ID, START + 3, ev::ValueSource::Read, &[(ssid, "new")]),
        values(ID, START + 4, ev::ValueSource::Read, &[(secret, "")]),
        inform(
            ID,
            START + 5,
            "2 PERIODIC",
            &[(ssid, "other"), (uptime, "7")],
        ),
        inform(
            ID,
            START + 6,
            "2 PERIODIC",
            &[(ssid, "other"), (uptime, "8")],
        ),
    ] {
        let mut event = event;
        if let Some(ev::event::Kind::ValuesReported(reported)) = &mut event.kind {
            reported.task = "t1".into();
        }
        world.publish(&event).await;
    }
    world.settled().await;
    let text = |all: &[(&str, &str, &str, &str)]| {
        all.iter()
            .map(|(a, b, c, d)| ((*a).into(), (*b).into(), (*c).into(), (*d).into()))
            .collect::<Vec<(String, String, String, String)>>()
    };
    let expected = text(&[
        ("inform", "", "", ""),
        ("read", "", "", ""),
        ("value", ssid, "old", "new"),
        ("value", secret, "", MASK),
        ("read", ssid, "", "new"),
        ("read", secret, "", MASK),
        ("inform", "", "", ""),
        ("value", ssid, "new", "other"),
    ]);
    assert_eq!(world.story(ID).await, expected);
    let history = world.history(ID).await;
    let read = history.iter().rfind(|e| e.kind == "read").unwrap();
    assert_eq!(
        read.summary,
        format!("read 2 values: {ssid}=old, {uptime}=1")
    );
    let set = history
        .iter()
        .find(|e| e.new_value == "new" && e.kind == "value");
    let set = set.unwrap();
    assert_eq!(
        (set.source(), set.task.as_str()),
        (ev::ValueSource::Set, "t1")
    );
    assert_eq!(read.task, "t1");
    let told = history.iter().find(|e| e.new_value == "other").unwrap();
    assert_eq!(told.task, "", "the device's own change");
    assert!(
        !format!("{history:?}").contains("hush"),
        "secrets are masked"
    );
    let of_one = ds::ListHistoryRequest {
        tenant: "default".into(),
        device: ID.into(),
        path: "Device.WiFi.SSID.".into(),
        page_size: 2,
        ..ds::ListHistoryRequest::default()
    };
    let page = world.state.list_history(of_one.clone()).await.unwrap();
    assert_eq!(page.entries.len(), 2);
    let rest = ds::ListHistoryRequest {
        page_token: page.next_page_token,
        ..of_one
    };
    let page = world.state.list_history(rest).await.unwrap();
    assert_eq!(page.entries.len(), 1);
    assert_eq!(page.entries[0].new_value, "new");
    assert!(page.next_page_token.is_empty());
    world.stop().await;
}

#[tokio::test]
async fn secrets_are_sealed_masked_and_not_lost_by_reading() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::open(dir.path(), config()).await;
    world.run().await;
    let user = "Device.ManagementServer.ConnectionRequestUsername";
    let password = "Device.ManagementServer.ConnectionRequestPassword";
    let place = format!("default/{ID}/{password}");
    let mut sealed = value(password, "");
    sealed.sealed = world.sealer.seal(place.as_bytes(), b"hush-hush").unwrap();
    let mut set = ev::ValuesReported {
        values: vec![value(user, "acs"), sealed],
        ..ev::ValuesReported::default()
    };
    set.set_source(ev::ValueSource::Set);
    world.publish(&boot(START)).await;
    let set = ev::event::Kind::ValuesReported(set);
    world.publish(&event(ID, START + 1, set)).await;
    world
        .publish(&values(
            ID,
            START + 2,
            ev::ValueSource::Read,
            &[(password, "")],
        ))
        .await;
    let hidden = [(password, "***")];
    world
        .publish(&inform(ID, START + 3, "2 PERIODIC", &hidden))
        .await;
    world.settled().await;
    assert_eq!(world.value(ID, password).await.as_deref(), Some(MASK));
    let request = ds::GetConnectionRequestRequest {
        tenant: "default".into(),
        device: ID.into(),
    };
    let how = world.state.get_connection_request(request).await.unwrap();
    assert_eq!(how.url, "http://10.0.0.1/a");
    assert_eq!(
        (how.username.as_str(), how.password.as_str()),
        ("acs", "hush-hush")
    );
    // At rest as well.
    for name in ["store.parameter", "store.history", "store.index"] {
        let space = world.engine.keyspace(name).unwrap();
        for entry in space.scan(&hearth_engine::Scan::all()).unwrap() {
            let found = entry.value.windows(9).any(|w| w == b"hush-hush");
            assert!(!found, "{name} holds the secret");
        }
    }
    world.stop().await;
}

#[tokio::test]
async fn names_attributes_and_deleted_objects() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::open(dir.path(), config()).await;
    world.run().await;
    let name = |path: &str, writable| ty::ParameterName {
        path: path.into(),
        writable,
    };
    let names = |time, path: &str, next_level, names: Vec<ty::ParameterName>| {
        let reported = ev::NamesReported {
            path: path.into(),
            next_level,
            names,
        };
        event(ID, time, ev::event::Kind::NamesReported(reported))
    };
    world.publish(&boot(START)).await;
    let read = [
        ("Device.H.1.X", "1"),
        ("Device.H.2.X", "2"),
        ("Device.H.3.X", "3"),
    ];
    world
        .publish(&values(ID, START + 1, ev::ValueSource::Read, &read))
        .await;
    let found = vec![
        name("Device.H.", true),
        name("Device.H.1.", true),
        name("Device.H.1.X", true),
        name("Device.H.3.", true),
        name("Device.H.3.X", false),
    ];
    world
        .publish(&names(START + 10, "Device.H.", false, found))
        .await;
    let deleted = ev::ObjectDeleted {
        object: "Device.H.3.".into(),
    };
    world
        .publish(&event(
            ID,
            START + 20,
            ev::event::Kind::ObjectDeleted(deleted),
        ))
        .await;
    let attributes = ev::AttributesReported {
        attributes: vec![ty::ParameterAttributes {
            path: "Device.H.1.X".into(),
            notification: Some(2),
            access_list: vec!["Subscriber".into()],
            set_access_list: false,
        }],
    };
    let attributes = ev::event::Kind::AttributesReported(attributes);
    world.publish(&event(ID, START + 30, attributes)).await;
    world.settled().await;
    let all = world.parameters(ID).await;
    let below: Vec<_> = all
        .iter()
        .filter(|p| p.path.starts_with("Device.H."))
        .collect();
    let paths: Vec<_> = below.iter().map(|p| p.path.as_str()).collect();
    assert_eq!(paths, ["Device.H.", "Device.H.1.", "Device.H.1.X"]);
    assert!(below[0].is_object && !below[0].has_value);
    let leaf = below[2];
    assert_eq!((leaf.value.as_str(), leaf.writable), ("1", Some(true)));
    assert_eq!(leaf.notification, Some(2));
    assert_eq!(leaf.access_list, ["Subscriber"]);
    let children = vec![
        name("Device.DeviceInfo.", false),
        name("Device.ManagementServer.", false),
    ];
    world
        .publish(&names(START + 40, "Device.", true, children))
        .await;
    world.settled().await;
    let left = world.parameters(ID).await;
    assert!(
        left.iter().all(|p| !p.path.starts_with("Device.H.")),
        "{left:?}"
    );
    assert_eq!(world.value(ID, VERSION).await.as_deref(), Some("1.0"));
    world.stop().await;
}

#[tokio::test]
async fn watchers_see_events_masked() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::open(dir.path(), config()).await;
    world.run().await;
    let request = ds::WatchEventsRequest {
        tenant: "default".into(),
        device: ID.into(),
        task: String::new(),
    };
    let mut events = world.state.watch_events(request).await.unwrap();
    world
        .publish(&inform("001122-X-2", START, "1 BOOT", &[]))
        .await;
    let set = [("Device.Password", "hush"), ("Device.A", "a")];
    world
        .publish(&values(ID, START, ev::ValueSource::Set, &set))
        .await;
    let seen = events.next().await.unwrap().unwrap();
    let Some(ev::event::Kind::ValuesReported(reported)) = seen.event.unwrap().kind else {
        panic!("another event");
    };
    let texts: Vec<_> = reported.values.iter().map(|v| v.value.as_str()).collect();
    assert_eq!(texts, [MASK, "a"]);
    world.stop().await;
}

#[tokio::test]
async fn a_name_that_is_too_long_takes_nothing_else_along() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::open(dir.path(), config()).await;
    world.run().await;
    // Longer than a key of the store, shorter than the longest text that is read.
    let long = format!("Device.{}", "X".repeat(70_000));
    let names = [long.as_str(), "Device.A"].map(|path| ty::ParameterName {
        path: path.into(),
        writable: true,
    });
    let names = ev::NamesReported {
        path: "Device.".into(),
        next_level: true,
        names: names.into(),
    };
    let attributes = ev::AttributesReported {
        attributes: vec![ty::ParameterAttributes {
            path: long,
            notification: Some(2),
            ..ty::ParameterAttributes::default()
        }],
    };
    world.publish(&boot(START)).await;
    world
        .publish(&event(ID, START + 1, ev::event::Kind::NamesReported(names)))
        .await;
    let attributes = ev::event::Kind::AttributesReported(attributes);
    world.publish(&event(ID, START + 2, attributes)).await;
    world.settled().await;
    assert_eq!(world.device(ID).await.first_seen_us, START);
    let all = world.parameters(ID).await;
    assert!(all.iter().any(|p| p.path == "Device.A"), "{all:?}");
    let letters = world.bus.dead_letters(None, 10).await.unwrap().letters;
    assert_eq!(letters.len(), 0);
    world.stop().await;
}

#[tokio::test]
async fn the_first_use_of_an_own_credential_outlives_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::open(dir.path(), config()).await;
    world.run().await;
    let tenant = hearth_types::TenantId::default();
    let (onboarding, _) = world.state.ensure_onboarding(&tenant).await.unwrap();
    let own = ds::Credential {
        tenant: "default".into(),
        username: "own".into(),
        kind: ds::CredentialKind::Device.into(),
        device: "001122-X-1".into(),
        ..ds::Credential::default()
    };
    let put = ds::PutCredentialRequest {
        credential: Some(own),
        password: "secret".into(),
    };
    world.state.put_credential(put).await.unwrap();
    let is = |username: &str| ds::CheckIdentityRequest {
        tenant: "default".into(),
        username: username.into(),
        device: "001122-X-1".into(),
        ..ds::CheckIdentityRequest::default()
    };
    let answer = world.state.check_identity(is(&onboarding)).await.unwrap();
    assert!(answer.allowed, "only set, not yet used");
    assert!(world.state.check_identity(is("own")).await.unwrap().allowed);
    world.crash().await;
    let world = World::open(dir.path(), config()).await;
    let answer = world.state.check_identity(is(&onboarding)).await.unwrap();
    assert!(!answer.allowed, "the device has used its own");
    world.stop().await;
}
