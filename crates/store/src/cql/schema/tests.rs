//! The lock that starts take, and what the tables hold.
#![allow(clippy::unwrap_used)]

use super::*;
use scylla::client::session_builder::SessionBuilder;

#[test]
fn a_locks_table_has_an_id_of_its_keyspace() {
    let id = lock_id("hearth");
    // Never changed: an older version that starts at the same time makes the same table.
    assert_eq!(id, "c2b9191b-2e4e-3237-bebc-07b41f5edc92");
    assert_eq!(id, lock_id("hearth"));
    assert_ne!(id, lock_id("hearth_b"));
    assert_eq!((id.len(), &id[14..15]), (36, "3"), "{id}");
}

/// A write that is made again must change nothing: a counter would count it twice, a list have it twice.
#[test]
fn nothing_in_the_tables_minds_a_write_that_is_made_twice() {
    for text in VERSIONS.iter().copied().flatten() {
        assert!(!text.contains(" counter"), "{text}");
        let lists = text.matches("list<").count();
        assert_eq!(text.matches("frozen<list<").count(), lists, "{text}");
    }
    assert!(FIRST[0].contains("first_seen set<bigint>"));
}

#[tokio::test]
async fn a_lock_is_waited_for_and_its_loss_ends_the_work() {
    let Ok(node) = std::env::var("HEARTH_TEST_CQL") else {
        eprintln!("SKIPPED: HEARTH_TEST_CQL is not set");
        return;
    };
    let session = SessionBuilder::new().known_node(node);
    let session = session.build().await.unwrap();
    let state = session.get_cluster_state();
    let datacenter = state.get_nodes_info()[0].datacenter.clone().unwrap();
    let keyspace = format!("hearth_lock_{}", std::process::id());
    let schema = |owner: &str| Schema {
        session: &session,
        keyspace: &keyspace,
        owner: owner.to_owned(),
    };
    let (one, other) = (schema("one"), schema("other"));
    one.keyspace(true, &[(datacenter, 1)]).await.unwrap();
    let table = format!("{LOCK_TABLE}{}", lock_id(&keyspace));
    one.define(table).await.unwrap();
    let every = Duration::from_millis(100);
    let locked_out = |tried: Result<(), ConnectError>| {
        let refused = tried.unwrap_err();
        assert!(matches!(refused, ConnectError::Locked { .. }), "{refused}");
        let line = refused.to_string();
        assert!(line.contains(&keyspace) && line.contains("try again"));
    };

    one.lock(WAIT).await.unwrap();
    locked_out(other.lock(every * 5).await);
    // One whose answer was lost takes it again.
    one.lock(WAIT).await.unwrap();
    // Renewed, it is good for longer than the work.
    let work = async {
        sleep(every * 5).await;
        Ok(())
    };
    one.while_locked(every, work).await.unwrap();

    // Another has it in the middle of the work, which goes on no further.
    let stolen = async {
        one.unlock().await.unwrap();
        other.lock(WAIT).await.unwrap();
        std::future::pending().await
    };
    let ended = tokio::time::timeout(WAIT, one.while_locked(every, stolen));
    locked_out(ended.await.unwrap());
    // Nor is the other's lock taken away.
    one.unlock().await.unwrap();
    locked_out(one.lock(every * 5).await);
    other.unlock().await.unwrap();
    one.lock(WAIT).await.unwrap();
    one.define(format!("DROP KEYSPACE {keyspace}"))
        .await
        .unwrap();
}
