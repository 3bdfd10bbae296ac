//! A collector that is not there: sessions don't wait for it, and their spans are dropped, not kept.
#![allow(clippy::unwrap_used)]

use hearth_telemetry::trace::{TARGET, TraceConfig, session_span};
use hearth_telemetry::{LogConfig, init_logs_and_traces};
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_for_a_collector_that_is_away() {
    let config = TraceConfig {
        // Port 9, "discard": nobody listens.
        endpoint: Some("http://127.0.0.1:9".into()),
        sample: 1.0,
    };
    let traces = init_logs_and_traces(&LogConfig::default(), &config).unwrap();
    let started = Instant::now();
    for session in 0..50_000_u128 {
        let turn = || tracing::info_span!(target: TARGET, "turn");
        session_span(session + (1 << 80), turn).in_scope(|| ());
    }
    let took = started.elapsed();
    // Some 5 µs each where nothing else runs; with an exporter that is waited for it would be hours.
    assert!(took < Duration::from_secs(20), "{took:?}");
    let started = Instant::now();
    tokio::task::spawn_blocking(|| traces.close())
        .await
        .unwrap();
    assert!(started.elapsed() < Duration::from_secs(10));
}
