//! Every role in a process of its own, as far as processes go within a test: servers that share nothing but NATS, Redis,
//! CQL and certificates. Real servers are named by `HEARTH_TEST_NATS`, `HEARTH_TEST_REDIS` and `HEARTH_TEST_CQL`
//! (`scripts/servers`); without them the test is skipped.

use crate::apart::{Process, common};
use hearth_runtime::Readiness;
use hearth_server::demo;
use hearth_server::roles::Role;
use hearth_sim::FleetOptions;
use std::time::Duration;
use tokio::time::timeout;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn roles_apart_do_what_one_process_does_and_replicas_may_die() {
    let dir = tempfile::tempdir().unwrap();
    let Some(mut common) = common(dir.path()) else {
        return;
    };
    common.log.filter = std::env::var("HEARTH_LOG__FILTER").unwrap_or_else(|_| "warn".into());
    hearth_telemetry::init_logs(&common.log).unwrap();
    let devices = [
        Process::join(&mut common, &[Role::DeviceState]).await,
        Process::join(&mut common, &[Role::DeviceState]).await,
    ];
    let wakeup = Process::join(&mut common, &[Role::Wakeup]).await;
    let files = Process::join(&mut common, &[Role::Files]).await;
    let [first, second] = [
        Process::join(&mut common, &[Role::Workflow]).await,
        Process::join(&mut common, &[Role::Workflow]).await,
    ];
    let api = Process::start(&common, &[Role::Northbound]).await;
    let gateway = Process::start(&common, &[Role::Gateway]).await;

    let (username, password) = devices[0].onboarding.clone().unwrap();
    let fleet = || FleetOptions {
        username: username.clone(),
        password: password.clone(),
        count: 2,
        ..FleetOptions::new(format!("http://{}/", gateway.addresses.cwmp.unwrap()))
    };
    let (address, token) = (api.addresses.api.unwrap(), api.token.clone().unwrap());
    demo::tour_of(address, &token, fleet()).await.unwrap();

    // One of two replicas goes at once, another orderly.
    first.serving.abort();
    let [left, gone] = devices;
    gone.end().await;
    demo::tour_of(address, &token, fleet()).await.unwrap();

    // The last one goes: the edge is not ready, the API only says so, and both are well when it is back.
    let line = |readiness: &Readiness| {
        let found = readiness
            .snapshot()
            .into_iter()
            .find(|line| line.name == "workflow elsewhere");
        found.map(|line| line.state.to_string()).unwrap()
    };
    assert!(gateway.readiness.is_ready());
    let at = second.addresses.internal.unwrap();
    second.end().await;
    let waited = timeout(Duration::from_secs(20), async {
        while gateway.readiness.is_ready() || !line(&api.readiness).contains("not ready") {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    waited.await.unwrap();
    assert!(line(&gateway.readiness).contains("not ready"));
    assert!(
        api.readiness.is_ready(),
        "devices can be read without workflow"
    );
    common.internal.listen = at;
    let back = Process::start(&common, &[Role::Workflow]).await;
    timeout(Duration::from_secs(20), gateway.readiness.wait_all_ready())
        .await
        .unwrap();

    for process in [gateway, api, back, files, wakeup, left] {
        process.end().await;
    }
}
