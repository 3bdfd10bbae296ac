//! Dead letters through the role: found, read, replayed, deleted; those who come behind don't wait.

use crate::common::{SECOND, START, TENANT, World, config, inform};
use hearth_clients::{DeviceState, Kind};
use hearth_proto::devicestate::v1 as ds;
use hearth_proto::events::v1 as ev;
use hearth_types::DeviceKey;
use prost::Message;

const CORRUPT: &str = "001122-X-1";
const UNKNOWN: &str = "001122-X-2";
const GOOD: &str = "001122-X-3";

fn list(tenant: &str, filter: ds::DeadLetterFilter) -> ds::ListDeadLettersRequest {
    ds::ListDeadLettersRequest {
        tenant: tenant.to_owned(),
        filter: Some(filter),
        ..Default::default()
    }
}

async fn found(world: &World, filter: ds::DeadLetterFilter) -> Vec<ds::DeadLetter> {
    let answer = world.state.list_dead_letters(list(TENANT, filter)).await;
    answer.unwrap().letters
}

/// An event whose kind is one of a later version.
fn unknown(id: &str) -> Vec<u8> {
    let event = ev::Event {
        tenant: TENANT.to_owned(),
        device: id.to_owned(),
        time_us: START,
        ..Default::default()
    };
    // Field 1000, of no bytes.
    [event.encode_to_vec(), vec![0xc2, 0x3e, 0]].concat()
}

async fn world(dir: &std::path::Path) -> World {
    let mut world = World::open(dir, config()).await;
    world.run().await;
    let key = |tenant: &str, id: &str| DeviceKey::parse(tenant, id).unwrap();
    let corrupt = vec![0xff; 40];
    world
        .publish_raw(&key(TENANT, CORRUPT), START, corrupt.clone())
        .await;
    world
        .publish_raw(&key(TENANT, UNKNOWN), START, unknown(UNKNOWN))
        .await;
    world
        .publish_raw(&key("other", CORRUPT), START, corrupt)
        .await;
    world
        .publish(&inform(GOOD, START + SECOND, "2 PERIODIC", &[]))
        .await;
    world.settled().await;
    world
}

#[tokio::test]
async fn what_cannot_be_worked_on_is_listed_and_blocks_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let world = world(dir.path()).await;
    assert_eq!(world.device(GOOD).await.inform_count, 1);
    let letters = found(&world, ds::DeadLetterFilter::default()).await;
    let of: Vec<_> = letters.iter().map(|l| l.device.as_str()).collect();
    assert_eq!(of, [CORRUPT, UNKNOWN]);
    assert!(letters[0].reason.contains("not a hearth.events.v1.Event"));
    assert_eq!(
        (letters[0].stream.as_str(), letters[0].size),
        ("inform", 40)
    );
    let all = list("", ds::DeadLetterFilter::default());
    let all = world.state.list_dead_letters(all).await.unwrap().letters;
    assert_eq!(all.len(), 3, "of all tenants");
    for (filter, count) in [
        (("", "", "NO KNOWN KIND"), 1),
        (("", UNKNOWN, ""), 1),
        (("values", "", ""), 0),
        (("inform", CORRUPT, "event"), 1),
    ] {
        let filter = ds::DeadLetterFilter {
            stream: filter.0.to_owned(),
            device: filter.1.to_owned(),
            reason: filter.2.to_owned(),
        };
        assert_eq!(
            found(&world, filter.clone()).await.len(),
            count,
            "{filter:?}"
        );
    }
    let bad = ds::DeadLetterFilter {
        stream: "informs".to_owned(),
        ..Default::default()
    };
    let refused = world.state.list_dead_letters(list(TENANT, bad)).await;
    assert_eq!(refused.unwrap_err().field, "filter.stream");
    world.stop().await;
}

#[tokio::test]
async fn pages_go_on_where_the_one_before_ended() {
    let dir = tempfile::tempdir().unwrap();
    let world = world(dir.path()).await;
    let mut ids = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ds::ListDeadLettersRequest {
            page_size: 1,
            page_token,
            ..list("", ds::DeadLetterFilter::default())
        };
        let page = world.state.list_dead_letters(request).await.unwrap();
        assert!(page.letters.len() <= 1);
        ids.extend(page.letters.iter().map(|letter| letter.id));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(ids.len(), 3);
    assert!(ids.is_sorted());
    world.stop().await;
}

#[tokio::test]
async fn a_letter_is_read_replayed_and_deleted_by_its_tenant_only() {
    let dir = tempfile::tempdir().unwrap();
    let world = world(dir.path()).await;
    let letters = found(&world, ds::DeadLetterFilter::default()).await;
    let get = |tenant: &str, id: u64| ds::GetDeadLetterRequest {
        tenant: tenant.to_owned(),
        id,
    };
    let letter = world
        .state
        .get_dead_letter(get(TENANT, letters[0].id))
        .await;
    let letter = letter.unwrap().letter.unwrap();
    assert!(letter.event.is_none() && !letter.unreadable.is_empty());
    let letter = world
        .state
        .get_dead_letter(get(TENANT, letters[1].id))
        .await;
    assert_eq!(
        letter.unwrap().letter.unwrap().event.unwrap().device,
        UNKNOWN
    );
    for id in [letters[1].id, 9999] {
        let refused = world.state.get_dead_letter(get("other", id)).await;
        assert_eq!(refused.unwrap_err().kind, Kind::NotFound);
    }
    let delete = |tenant: &str| ds::DeleteDeadLetterRequest {
        tenant: tenant.to_owned(),
        id: letters[0].id,
    };
    let refused = world.state.delete_dead_letter(delete("other")).await;
    assert_eq!(refused.unwrap_err().kind, Kind::NotFound);
    world
        .state
        .delete_dead_letter(delete(TENANT))
        .await
        .unwrap();
    let replay = ds::ReplayDeadLetterRequest {
        tenant: TENANT.to_owned(),
        id: letters[1].id,
    };
    world
        .state
        .replay_dead_letter(replay.clone())
        .await
        .unwrap();
    world.settled().await;
    // The cause is still there: it is one again, with another number.
    let again = found(&world, ds::DeadLetterFilter::default()).await;
    assert_eq!(again.len(), 1);
    assert!(again[0].device == UNKNOWN && again[0].id > letters[1].id);
    let refused = world.state.replay_dead_letter(replay).await;
    assert_eq!(refused.unwrap_err().kind, Kind::NotFound);
    let metrics = world.registry.render();
    for name in ["replayed", "deleted"] {
        let line = format!("hearth_device_state_dead_letters_{name}_total 1");
        assert!(metrics.contains(&line), "{line}");
    }
    world.stop().await;
}
