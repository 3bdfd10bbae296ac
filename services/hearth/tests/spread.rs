//! A fleet's periodic Informs are spread: simulated devices take the proposed PeriodicInformTime in their own sessions,
//! and their phases are even.

use crate::apart::api::{self, PARENT};
use crate::apart::{Process, alone};
use hearth_cwmp::{CwmpTime, Time};
use hearth_proto::northbound::v1 as nb;
use hearth_proto::northbound::v1::spread_periodic_informs_response::Kind;
use hearth_proto::northbound::v1::spread_service_client::SpreadServiceClient;
use hearth_sim::{Fleet, FleetOptions};
use std::time::Duration;

const DEVICES: usize = 120;
const INTERVAL: u32 = 6000;
const SLOTS: usize = 6;
const ROOTS: [&str; 2] = ["Device.", "InternetGatewayDevice."];

struct Api(SpreadServiceClient<api::Api>);

impl Api {
    /// The plan, and the last progress.
    async fn spread(&mut self, apply: bool) -> (nb::SpreadPlan, Option<nb::SpreadProgress>) {
        let request = nb::SpreadPeriodicInformsRequest {
            parent: PARENT.into(),
            interval_seconds: INTERVAL,
            apply,
            tasks_per_second: 1000,
            slots: SLOTS as u32,
            ..nb::SpreadPeriodicInformsRequest::default()
        };
        let answers = self.0.spread_periodic_informs(request).await;
        let mut answers = answers.unwrap().into_inner();
        let (mut plan, mut progress) = (None, None);
        while let Some(answer) = answers.message().await.unwrap() {
            match answer.kind.unwrap() {
                Kind::Plan(made) => plan = Some(made),
                Kind::Progress(made) => progress = Some(made),
            }
        }
        (plan.unwrap(), progress)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn periodic_informs_of_a_fleet_are_spread() {
    let dir = tempfile::tempdir().unwrap();
    let config = alone(dir.path());
    let process = Process::start(&config, &config.roles).await;
    let mut api = Api(SpreadServiceClient::new(process.api().await));
    let fleet = FleetOptions {
        count: DEVICES,
        // One of the devices' minutes is a tenth of a second: they inform every five seconds, and
        // then every ten.
        periodic: Some(Duration::from_secs(3000)),
        time_scale: 1.0 / 600.0,
        inform: ROOTS
            .map(|root| format!("{root}ManagementServer.PeriodicInformInterval"))
            .to_vec(),
        ..process.fleet()
    };
    let fleet = Fleet::start(fleet).await.unwrap();
    let (mut plan, mut none) = api.spread(false).await;
    for _ in 0..200 {
        if plan.differing == DEVICES as u64 && plan.present.iter().sum::<f64>() > 239.0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        (plan, none) = api.spread(false).await;
    }
    assert_eq!(
        (plan.differing, plan.skipped, none),
        (120, 0, None),
        "{plan:?}"
    );
    // Each informs once in the window as proposed, and twice with its own interval.
    let sum = |slots: &[f64]| slots.iter().sum::<f64>();
    assert!((sum(&plan.proposed) - 120.0).abs() < 0.1, "{plan:?}");
    assert!((sum(&plan.present) - 240.0).abs() < 0.1, "{plan:?}");
    let (_, done) = api.spread(true).await;
    let done = done.unwrap();
    assert!(done.done && done.failed == 0, "{done:?}");
    assert_eq!(done.created + done.existing, 120, "{done:?}");
    // Again at once: nothing is made twice.
    let (plan, again) = api.spread(true).await;
    let again = again.unwrap();
    assert_eq!(again.created, 0, "{plan:?} {again:?}");
    for _ in 0..300 {
        if api.spread(false).await.0.settled == DEVICES as u64 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let mut slots = [0_u32; SLOTS];
    for device in fleet.devices() {
        let root = ROOTS.into_iter().find(|root| {
            device
                .value(&format!("{root}ManagementServer.URL"))
                .is_some()
        });
        let value = |name: &str| device.value(&format!("{}ManagementServer.{name}", root.unwrap()));
        assert_eq!(
            value("PeriodicInformInterval").unwrap(),
            INTERVAL.to_string()
        );
        let time = CwmpTime(value("PeriodicInformTime").unwrap());
        let Some(Time::At { timestamp, .. }) = time.time() else {
            panic!("{time:?}");
        };
        let phase = timestamp.as_second().rem_euclid(i64::from(INTERVAL));
        slots[usize::try_from(phase).unwrap() * SLOTS / INTERVAL as usize] += 1;
    }
    let mean = (DEVICES / SLOTS) as f64;
    let chi: f64 = slots
        .iter()
        .map(|n| (f64::from(*n) - mean).powi(2) / mean)
        .sum();
    // 5 degrees of freedom: chance is above 25 once in 7,000 times, and these devices are always the same.
    assert!(chi < 25.0, "{slots:?}");
    fleet.stop().await;
    process.end().await;
}
