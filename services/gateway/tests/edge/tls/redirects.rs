//! Devices that are sent elsewhere (TR-069 3.4.1).

use hearth_gateway::{GatewayConfig, RedirectRule};

use crate::support::client::basic;
use crate::support::house_with;
use crate::support::xml::inform;

fn rule(tenant: Option<&str>, url: &str, status: u16) -> RedirectRule {
    RedirectRule {
        tenant: tenant.map(|tenant| tenant.parse().unwrap()),
        url: url.to_owned(),
        status,
    }
}

#[tokio::test]
async fn a_tenants_devices_are_sent_elsewhere_before_anything_is_accepted() {
    let config = GatewayConfig {
        redirects: vec![
            rule(Some("moved"), "https://new.example/t/moved", 307),
            rule(Some("here"), "http://acs.example:1/t/here", 302),
        ],
        ..GatewayConfig::default()
    };
    let house = house_with(config).await;
    let mut cpe = house.connect().await;
    // A probe of zero length, an Inform without credentials, one with: all begin a session.
    for (headers, body) in [
        (String::new(), String::new()),
        (String::new(), inform()),
        (basic(), inform()),
    ] {
        let answer = cpe.post_to("/t/moved", &headers, body).await;
        assert_eq!(answer.status, 307);
        assert_eq!(
            answer.header("Location"),
            Some("https://new.example/t/moved")
        );
    }
    assert_eq!(house.metric("hearth_gateway_redirected_total"), 3.0);
    assert!(house.bus.published.lock().is_empty());
    // Whoever has arrived isn't sent again.
    cpe.host = "ACS.example:1".to_owned();
    assert_eq!(cpe.post_to("/t/here", &basic(), inform()).await.status, 200);
    assert_eq!(cpe.post(&basic(), inform()).await.status, 200);
}

#[tokio::test]
async fn a_session_that_goes_on_ends_here() {
    let house = house_with(GatewayConfig::default()).await;
    let cookie = house
        .connect()
        .await
        .post(&basic(), inform())
        .await
        .cookie();
    let config = GatewayConfig {
        redirects: vec![rule(None, "http://new.example/", 302)],
        ..GatewayConfig::default()
    };
    let moved = crate::support::house_over(
        config,
        house.bus.clone(),
        house.workflow.clone(),
        house.device_state.clone(),
        house.clock.clone(),
    )
    .await;
    let mut cpe = moved.connect().await;
    assert_eq!(cpe.turn(&cookie, "").await.status, 204);
    assert_eq!(cpe.post(&basic(), inform()).await.status, 302);
}
