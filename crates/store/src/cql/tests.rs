//! How requests are made, as the driver is told: whom they ask, of how many, and which are made again.
#![allow(clippy::unwrap_used)]

use super::connect::{self, profile};
use super::statements::Statement;
use super::{CqlConfig, CqlConsistency};
use hearth_telemetry::Registry;
use scylla::client::execution_profile::ExecutionProfile;
use scylla::statement::{Consistency, SerialConsistency};
use std::time::Duration;

fn made(config: &CqlConfig) -> ExecutionProfile {
    profile(config).to_profile()
}

#[test]
fn a_quorum_nearby_is_asked() {
    let near = made(&CqlConfig::default());
    assert_eq!(near.get_consistency(), Consistency::LocalQuorum);
    let serial = near.get_serial_consistency();
    assert_eq!(serial, Some(SerialConsistency::LocalSerial));
    assert_eq!(near.get_request_timeout(), Some(Duration::from_secs(5)));
    let everywhere = made(&CqlConfig {
        consistency: CqlConsistency::Quorum,
        ..CqlConfig::default()
    });
    assert_eq!(everywhere.get_consistency(), Consistency::Quorum);
    let serial = everywhere.get_serial_consistency();
    assert_eq!(serial, Some(SerialConsistency::Serial));
}

#[test]
fn who_has_the_row_is_asked_and_a_second_one_soon() {
    let config = CqlConfig {
        local_datacenter: Some("dc7".into()),
        ..CqlConfig::default()
    };
    let profile = made(&config);
    let balancing = format!("{:?}", profile.get_load_balancing_policy());
    for said in ["is_token_aware: true", "permit_dc_failover: false", "dc7"] {
        assert!(balancing.contains(said), "{said}: {balancing}");
    }
    let speculative = format!("{:?}", profile.get_speculative_execution_policy());
    for said in ["max_retry_count: 1", "200ms"] {
        assert!(speculative.contains(said), "{said}: {speculative}");
    }
    // The one that makes again what may be made again, and nothing else.
    let retry = format!("{:?}", profile.get_retry_policy());
    assert!(retry.contains("DefaultRetryPolicy"), "{retry}");
    let alone = made(&CqlConfig {
        speculative_delay: hearth_config::HumanDuration::millis(0),
        ..config
    });
    assert!(alone.get_speculative_execution_policy().is_none());
}

/// The driver repeats what it is told may be repeated: all but what is decided.
#[tokio::test]
async fn statements_are_prepared_as_what_they_are() {
    let Ok(node) = std::env::var("HEARTH_TEST_CQL") else {
        eprintln!("SKIPPED: HEARTH_TEST_CQL is not set");
        return;
    };
    let keyspace = format!("hearth_prepared_{}", std::process::id());
    let config = CqlConfig {
        nodes: vec![node],
        keyspace: keyspace.clone(),
        ..CqlConfig::default()
    };
    let client = connect::client(&config, &Registry::new()).await.unwrap();
    for statement in Statement::ALL.iter().copied() {
        let text = statement.in_keyspace(&keyspace);
        let prepared = client.prepared(statement);
        let may_be_repeated = !text.contains(" IF ");
        assert_eq!(prepared.get_is_idempotent(), may_be_repeated, "{text}");
        // What the profile says holds for each.
        assert_eq!(prepared.get_consistency(), None, "{text}");
    }
    let drop = format!("DROP KEYSPACE {keyspace}");
    client.session.query_unpaged(drop, ()).await.unwrap();
}
