//! "Why?" from end to end: simulated devices that can't get in, can't be woken, or answer with a
//! fault, and what the API says of them.

use crate::apart::api::{Api, PARENT, create_task, name_of, until};
use crate::apart::{Process, alone};
use hearth_proto::northbound::v1 as nb;
use hearth_proto::northbound::v1::device_service_client::DeviceServiceClient;
use hearth_proto::northbound::v1::explain_service_client::ExplainServiceClient;
use hearth_proto::northbound::v1::task_service_client::TaskServiceClient;
use hearth_proto::types::v1::{self as ty, DeviceState, TaskState, task_spec::Kind};
use hearth_sim::{Fleet, FleetOptions};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);

/// A server, the way to its API, and how a device gets in.
struct Scene {
    _dir: tempfile::TempDir,
    process: Process,
    api: Api,
    /// One device that has the onboarding login.
    options: FleetOptions,
}

impl Scene {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = alone(dir.path());
        config.wakeup.allow_loopback = true;
        let process = Process::start(&config, &config.roles).await;
        Self {
            _dir: dir,
            api: process.api().await,
            options: process.fleet(),
            process,
        }
    }

    /// A device that has informed, and whose session is over.
    async fn device(&self, prefix: &str) -> (Fleet, String) {
        let fleet = Fleet::start(FleetOptions {
            serial_prefix: prefix.to_owned(),
            ..self.options.clone()
        });
        let fleet = fleet.await.unwrap();
        let device = fleet.devices()[0].clone();
        until(PATIENCE, async || {
            device.with_ledger(|ledger| ledger.informs) >= 1 && !device.in_session()
        })
        .await;
        let name = name_of(&fleet);
        self.explained(&name, "informed").await;
        (fleet, name)
    }

    async fn why_device(&self, name: &str) -> nb::Explanation {
        let mut api = ExplainServiceClient::new(self.api.clone());
        let request = nb::ExplainDeviceRequest { name: name.into() };
        let answer = api.explain_device(request).await.unwrap().into_inner();
        answer.explanation.unwrap()
    }

    async fn why_task(&self, name: &str) -> nb::Explanation {
        let mut api = ExplainServiceClient::new(self.api.clone());
        let request = nb::ExplainTaskRequest { name: name.into() };
        let answer = api.explain_task(request).await.unwrap().into_inner();
        answer.explanation.unwrap()
    }

    /// The first finding of a device, once it is this one.
    async fn explained(&self, name: &str, code: &str) -> nb::Finding {
        for _ in 0..400 {
            let found = self.why_device(name).await;
            if let Some(first) = found.findings.first().filter(|first| first.code == code) {
                assert_eq!(first.sentence, found.sentence);
                return first.clone();
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{code}: {:?}", self.why_device(name).await);
    }

    /// The first finding of a task, once it is this one.
    async fn task_explained(&self, name: &str, code: &str) -> nb::Explanation {
        for _ in 0..400 {
            let found = self.why_task(name).await;
            if found
                .findings
                .first()
                .is_some_and(|first| first.code == code)
            {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{code}: {:?}", self.why_task(name).await);
    }

    async fn task(&self, device: &str, kind: Kind, no_wake: bool) -> String {
        create_task(&self.api, device, kind, no_wake).await
    }

    async fn refusals(&self, device: &str) -> Vec<nb::Refusal> {
        let mut api = ExplainServiceClient::new(self.api.clone());
        let request = nb::ListRefusalsRequest {
            parent: PARENT.into(),
            device: device.into(),
            ..nb::ListRefusalsRequest::default()
        };
        api.list_refusals(request)
            .await
            .unwrap()
            .into_inner()
            .refusals
    }

    async fn end(self, fleets: Vec<Fleet>) {
        for fleet in fleets {
            fleet.stop().await;
        }
        self.process.end().await;
    }
}

fn read() -> Kind {
    Kind::GetParameterValues(ty::GetParameterValues {
        paths: vec!["Device.DeviceInfo.".into()],
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn devices_that_cannot_get_in() {
    let scene = Scene::new().await;
    let never = "tenants/default/devices/00D09E-HomeRouter-NOBODY001";
    assert_eq!(scene.why_device(never).await.findings[0].code, "never_seen");

    // A wrong password of a login that all share: told of its address, and nothing of the password.
    let (good, known) = scene.device("GOOD").await;
    let wrong = Fleet::start(FleetOptions {
        password: "hunter2-hunter2".to_owned().into(),
        serial_prefix: "WRONGPW".to_owned(),
        ..scene.options.clone()
    });
    let wrong = wrong.await.unwrap();
    let mut told = Vec::new();
    for _ in 0..200 {
        told = scene.refusals("").await;
        if !told.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(told[0].reason, "wrong_password", "{told:?}");
    assert_eq!(told[0].user, scene.options.username);
    assert!(!format!("{told:?}").contains("hunter2"));
    let neighbour = scene.why_device(&known).await;
    let codes: Vec<_> = neighbour.findings.iter().map(|f| f.code.as_str()).collect();
    assert!(
        codes[0] == "informed" && codes.contains(&"wrong_password"),
        "{codes:?}"
    );

    // A user that is not known, and names the serial number.
    let unknown = Fleet::start(FleetOptions {
        username: "cpe-NOUSER000001".to_owned(),
        serial_prefix: "NOUSER".to_owned(),
        ..scene.options.clone()
    });
    let unknown = unknown.await.unwrap();
    let finding = scene.explained(&name_of(&unknown), "unknown_user").await;
    assert!(
        finding.remedy.contains("hearthctl credential"),
        "{finding:?}"
    );
    assert_eq!(finding.facts["user"], "cpe-NOUSER000001");

    // Blocked by an operator: it comes, and is refused.
    let mut devices = DeviceServiceClient::new(scene.api.clone());
    let request = nb::SetDeviceStateRequest {
        name: known.clone(),
        state: DeviceState::Blocked.into(),
        reason: "reported stolen".into(),
    };
    devices.set_device_state(request).await.unwrap();
    tokio::time::sleep(Duration::from_secs(4)).await;
    good.devices()[0].trigger("2 PERIODIC", "");
    let mut blocked = scene.explained(&known, "blocked").await;
    assert!(blocked.sentence.contains("reported stolen"), "{blocked:?}");
    for _ in 0..200 {
        if blocked.facts.contains_key("refused") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        blocked = scene.explained(&known, "blocked").await;
    }
    assert!(blocked.facts.contains_key("refused"), "{blocked:?}");
    let refused = scene.refusals(&known).await;
    assert!(
        refused
            .iter()
            .any(|r| r.reason == "blocked" && r.status == 403),
        "{refused:?}"
    );
    // Its task waits for that.
    let task = scene.task(&known, read(), true).await;
    assert_eq!(
        scene.task_explained(&task, "blocked").await.findings[0].code,
        "blocked"
    );
    scene.end(vec![good, wrong, unknown]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_that_do_not_run() {
    let scene = Scene::new().await;
    let (fleet, device) = scene.device("TASKS").await;

    // A fault, with its meaning.
    let nothing = Kind::GetParameterValues(ty::GetParameterValues {
        paths: vec!["Device.Nothing.Of.This".into()],
    });
    let task = scene.task(&device, nothing, true).await;
    fleet.devices()[0].trigger("2 PERIODIC", "");
    let why = scene.task_explained(&task, "task_fault").await;
    let fault = &why.findings[0];
    assert_eq!(fault.facts["code"], "9005");
    assert!(
        why.sentence.contains("9005") && !fault.remedy.is_empty(),
        "{why:?}"
    );

    // Unreachable: the device is gone.
    fleet.stop().await;
    let task = scene.task(&device, read(), false).await;
    let why = scene.task_explained(&task, "wake_unreachable").await;
    assert!(why.sentence.contains("could not be reached"), "{why:?}");
    let codes: Vec<_> = why.findings.iter().map(|f| f.code.as_str()).collect();
    assert!(codes.contains(&"deadline"), "{codes:?}");

    // Behind another: which one is said.
    let behind = scene.task(&device, read(), true).await;
    let why = scene.task_explained(&behind, "not_waking").await;
    let ahead = why
        .findings
        .iter()
        .find(|f| f.code == "behind_task")
        .unwrap();
    assert!(task.ends_with(&ahead.facts["ahead"]), "{ahead:?}");

    // Cancelled.
    let mut tasks = TaskServiceClient::new(scene.api.clone());
    let request = nb::CancelTaskRequest {
        name: behind.clone(),
    };
    let cancelled = tasks.cancel_task(request).await.unwrap().into_inner();
    assert_eq!(cancelled.task.unwrap().state(), TaskState::Cancelled);
    scene.task_explained(&behind, "task_cancelled").await;
    scene.end(Vec::new()).await;
}
