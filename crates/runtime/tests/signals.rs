//! Real signals; alone in its process.
#![allow(clippy::unwrap_used, missing_docs)]

use std::time::Duration;

use hearth_runtime::http::{HttpOptions, HttpServer, bind};
use hearth_runtime::{Runtime, RuntimeOptions, Shutdown, SystemClock};

fn send(signal: &str) {
    let id = std::process::id().to_string();
    let status = std::process::Command::new("kill")
        .args([signal, &id])
        .status()
        .unwrap();
    assert!(status.success());
}

#[tokio::test]
async fn sigterm_drains_and_sigint_then_forces() {
    let shutdown = Shutdown::new();
    shutdown.listen_to_signals().unwrap();
    let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let server = HttpServer::new(listener, axum::Router::new(), HttpOptions::new("admin"));
    let mut runtime = Runtime::new(SystemClock::shared(), RuntimeOptions::default());
    runtime.add(server);
    let readiness = runtime.readiness();
    let running = tokio::spawn(runtime.run(shutdown.clone()));
    readiness.wait_all_ready().await;
    send("-TERM");
    let ended = tokio::time::timeout(Duration::from_secs(10), running)
        .await
        .unwrap();
    ended.unwrap().unwrap();
    // The echo of the first signal is no second one; after that, any is.
    send("-TERM");
    tokio::time::sleep(Duration::from_millis(700)).await;
    send("-INT");
    tokio::time::timeout(Duration::from_secs(10), shutdown.forced())
        .await
        .unwrap();
}
