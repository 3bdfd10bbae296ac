//! The load scenario against the bare server: it measures sessions, and none fails.

use std::net::SocketAddr;
use std::time::Duration;

use hearth_sim::load::bare::Bare;
use hearth_sim::load::compare;
use hearth_sim::load::dial::Dialing;
use hearth_sim::load::idle::{self, IdleAuth, IdleOptions};

async fn options() -> IdleOptions {
    let bare = Bare::bind(SocketAddr::from(([127, 0, 0, 1], 0)))
        .await
        .unwrap();
    let url = format!("http://{}/", bare.address().unwrap());
    tokio::spawn(bare.serve());
    IdleOptions {
        url,
        server_pid: Some(std::process::id()),
        processes: vec![format!("bare={}", std::process::id()).parse().unwrap()],
        auth: IdleAuth::Basic,
        dialing: Dialing::default(),
        username: "load".to_owned(),
        password: "x".into(),
        connections: 4,
        devices: 10,
        first_device: 1,
        parameters: 1000,
        prepare: true,
        changes: true,
        rate: None,
        warm_up: Duration::from_millis(50),
        measure: Duration::from_millis(200),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bare_server_holds_sessions() {
    let report = idle::run(&options().await).await.unwrap();
    assert!(report.sessions > 10, "{report:?}");
    assert_eq!((report.errors, report.refused, report.asked), (0, 0, 0));
    assert!(report.p50_ms <= report.p99_ms && report.p99_ms <= report.max_ms);
    assert!(report.server_cpu_seconds.is_some());
    assert_eq!(report.processes[0].name, "bare");
    assert!((2_900..3_500).contains(&report.inform_bytes));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_is_not_exceeded() {
    let mut options = options().await;
    options.rate = Some(40.0);
    options.measure = Duration::from_millis(500);
    let report = idle::run(&options).await.unwrap();
    let allowed = 40.0 * report.seconds + options.connections as f64;
    assert!(report.sessions > 0, "{report:?}");
    assert!((report.sessions as f64) <= allowed, "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_in_alternation() {
    let (acs, bare) = (options().await, options().await);
    let mut order = Vec::new();
    let compared = compare::run(&acs, &bare, 2, |side, _| order.push(side.to_owned()));
    let compared = compared.await.unwrap();
    assert_eq!(order, ["bare", "acs", "bare", "acs"]);
    assert_eq!(compared.acs.rounds.len(), 2);
    assert!(compared.throughput_ratio > 0.0);
}

#[tokio::test]
async fn no_server_is_an_error_and_not_a_figure() {
    let mut options = options().await;
    options.url = "http://127.0.0.1:1/".to_owned();
    options.devices = 1;
    let error = idle::run(&options).await.unwrap_err().to_string();
    assert!(error.contains("no answer"), "{error}");
    options.url = "ftp://x".to_owned();
    assert!(idle::run(&options).await.is_err());
}
