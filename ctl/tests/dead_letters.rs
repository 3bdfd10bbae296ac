//! Dead letters: list, look into, replay, delete.

use crate::common::{Fake, ROUTER, time};
use hearth_proto::northbound::v1 as nb;
use hearthctl::Exit;

fn letter(number: u64, reason: &str) -> nb::DeadLetter {
    nb::DeadLetter {
        name: format!("tenants/default/deadLetters/{number}"),
        consumer: "device-state".into(),
        reason: reason.into(),
        death_time: time("2026-01-31T11:58:00Z"),
        stream: "inform".into(),
        device: format!("tenants/default/devices/{ROUTER}"),
        deliveries: 1,
        size: 12,
        event_json: "{\"session\":\"s1\"}".into(),
        ..Default::default()
    }
}

async fn fake() -> Fake {
    let fake = Fake::start().await;
    fake.with(|state| {
        state.dead_letters = vec![
            letter(17, "the event is of no known kind"),
            letter(18, "the event has no time"),
            letter(21, "the event has no time"),
        ];
    });
    fake
}

fn left(fake: &Fake) -> usize {
    fake.state.lock().unwrap().dead_letters.len()
}

#[tokio::test]
async fn dead_letters_are_listed_and_shown() {
    let fake = fake().await;
    let ran = fake.run(&["dead-letters", "list"]).await.ok();
    for text in ["17", "21", ROUTER, "no known kind", "2m ago"] {
        assert!(ran.out.contains(text), "{text}: {ran:?}");
    }
    let line = ["dead-letters", "list", "--reason", "no time", "-o", "json"];
    let ran = fake.run(&line).await.ok();
    assert_eq!(ran.json().as_array().unwrap().len(), 2);
    let line = ["dead-letters", "list", "--stream", "nonsense"];
    fake.run(&line).await.fails(Exit::Usage, &["filter.stream"]);
    let ran = fake.run(&["dead-letters", "get", "17"]).await.ok();
    assert!(ran.out.contains("\"session\": \"s1\""), "{ran:?}");
    let line = ["dead-letters", "get", "17", "-o", "json"];
    let ran = fake.run(&line).await.ok();
    assert_eq!(ran.json()["event"]["session"], "s1");
    let ran = fake.run(&["dead-letters", "get", "5"]).await;
    ran.fails(Exit::NotFound, &[]);
}

#[tokio::test]
async fn dead_letters_are_replayed_by_number_by_condition_and_all() {
    let fake = fake().await;
    let ran = fake.run(&["dead-letters", "replay"]).await;
    ran.fails(Exit::Usage, &["--all"]);
    assert_eq!(left(&fake), 3);
    let ran = fake.run(&["dead-letters", "replay", "17"]).await.ok();
    assert!(ran.out.contains("17 replayed"), "{ran:?}");
    let line = ["dead-letters", "replay", "--reason", "nothing of the kind"];
    let ran = fake.run(&line).await.ok();
    assert!(ran.out.contains("0 dead letters"), "{ran:?}");
    // One in each call of the server.
    let ran = fake.run(&["dead-letters", "replay", "--all"]).await.ok();
    assert!(ran.out.contains("2 dead letters replayed"), "{ran:?}");
    assert_eq!(left(&fake), 0);
}

#[tokio::test]
async fn dead_letters_are_deleted() {
    let fake = fake().await;
    let line = ["dead-letters", "delete", "17", "18"];
    let ran = fake.run(&line).await.ok();
    assert!(ran.out.contains("18 deleted"), "{ran:?}");
    assert_eq!(left(&fake), 1);
    let ran = fake.run(&["dead-letters", "delete", "17"]).await;
    ran.fails(Exit::NotFound, &[]);
}
