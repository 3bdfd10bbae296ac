//! A storm against a server with few places, in short: two tenants' devices all at once, one tenant ten times as large.
//! Everybody gets in, who is turned away is told when to come again, and the small tenant is not pushed aside.

use crate::apart::{Process, alone};
use hearth_config::HumanDuration;
use hearth_proto::northbound::v1 as nb;
use hearth_proto::northbound::v1::credential_service_client::CredentialServiceClient;
use hearth_sim::load::storm::{self, StormOptions, StormTenant};

const PASSWORD: &str = "storm-password-of-a-test";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_two_tenants_is_let_in_fairly() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = alone(dir.path());
    config.gateway.max_informs = 8;
    config.gateway.min_informs = 4;
    config.gateway.retry_after = HumanDuration::secs(1);
    let process = Process::start(&config, &config.roles).await;
    let names = ["loud", "quiet"];
    for name in names {
        onboarding(&process, name).await;
    }
    let tenant = |(name, devices): (&str, u32)| StormTenant {
        name: name.to_owned(),
        devices,
    };
    let options = StormOptions {
        url: format!("http://{}/", process.addresses.cwmp.unwrap()),
        tenants: names.into_iter().zip([300, 30]).map(tenant).collect(),
        username: "storm".to_owned(),
        password: PASSWORD.into(),
        first_device: 1,
    };
    let report = storm::run(&options).await.unwrap();
    let [loud, quiet] = report.tenants.as_slice() else {
        panic!("{report:?}");
    };
    assert_eq!((loud.in_at_last, quiet.in_at_last), (300, 30), "{report:?}");
    assert!(loud.refused > 0, "the limit was never reached: {report:?}");
    for tally in &report.tenants {
        let odd = (
            tally.wrong,
            tally.refused_without_time,
            tally.refused_in_session,
        );
        assert_eq!(odd, (0, 0, 0), "{report:?}");
    }
    // From the configured time to twice as long.
    assert!(report.retry_after.keys().all(|secs| (1..=2).contains(secs)));
    // No worse off than a device of the other, but for chance.
    assert!(
        quiet.refused_per_device() <= loud.refused_per_device() + 0.5,
        "{report:?}"
    );
    process.end().await;
}

/// All devices of a tenant come with the same login.
async fn onboarding(process: &Process, tenant: &str) {
    let request = nb::SetCredentialRequest {
        parent: format!("tenants/{tenant}"),
        credential: Some(nb::Credential {
            username: "storm".to_owned(),
            kind: nb::CredentialKind::Onboarding.into(),
            ..nb::Credential::default()
        }),
        password: PASSWORD.to_owned(),
    };
    let mut api = CredentialServiceClient::new(process.api().await);
    api.set_credential(request).await.unwrap();
}
