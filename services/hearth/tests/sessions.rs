//! Sessions from end to end: a simulated CPE, a task, and what the API shows of it.

use crate::apart::api::{
    Api, PARENT, create_task, ended_task, name_of, set_connection_login, until,
};
use crate::apart::{Process, alone};
use hearth_auth::ExposeSecret;
use hearth_proto::northbound::v1 as nb;
use hearth_proto::northbound::v1::capture_service_client::CaptureServiceClient;
use hearth_proto::northbound::v1::policy_service_client::PolicyServiceClient;
use hearth_proto::northbound::v1::session_service_client::SessionServiceClient;
use hearth_proto::types::v1::{
    Capture, CaptureRule, CaptureState, EdgePolicy, GetParameterValues, ParameterValue,
    SetParameterValues, TaskState, ValueType, task_spec::Kind,
};
use hearth_sim::Fleet;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);

type Captures = CaptureServiceClient<Api>;

/// A server, one device, and the way to the API.
struct Scene {
    _dir: tempfile::TempDir,
    process: Process,
    api: Api,
    fleet: Fleet,
    device: String,
    /// What the device logs in with.
    password: String,
}

impl Scene {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = alone(dir.path());
        config.wakeup.allow_loopback = true;
        let process = Process::start(&config, &config.roles).await;
        let api = process.api().await;
        let fleet = process.fleet();
        let password = fleet.password.expose_secret().to_owned();
        set_connection_login(&api, &fleet).await;
        let fleet = Fleet::start(fleet).await.unwrap();
        let scene = Self {
            _dir: dir,
            process,
            api,
            device: name_of(&fleet),
            fleet,
            password,
        };
        let device = &scene.fleet.devices()[0];
        let idle = || device.with_ledger(|l| l.informs) > 0 && !device.in_session();
        until(PATIENCE, async || idle()).await;
        scene
    }

    fn sessions(&self) -> SessionServiceClient<Api> {
        SessionServiceClient::new(self.api.clone())
    }

    async fn list(&self) -> Vec<nb::Session> {
        let request = nb::ListSessionsRequest {
            parent: self.device.clone(),
            page_size: 0,
        };
        match self.sessions().list_sessions(request).await {
            Ok(answer) => answer.into_inner().sessions,
            // Its first Inform is on its way.
            Err(status) if status.code() == tonic::Code::NotFound => Vec::new(),
            Err(status) => panic!("{status:?}"),
        }
    }

    /// Has a task done; its name.
    async fn perform(&self, kind: Kind) -> String {
        let name = create_task(&self.api, &self.device, kind, false).await;
        let task = ended_task(&self.api, &name).await;
        assert_eq!(task.state(), TaskState::Succeeded, "{}", task.reason);
        name
    }

    async fn end(self) {
        self.fleet.stop().await;
        self.process.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_api_shows_sessions_with_their_turns() {
    let scene = Scene::new().await;
    // The first one had nothing to do: its Inform tells of it.
    until(PATIENCE, async || !scene.list().await.is_empty()).await;
    let first = scene.list().await.remove(0);
    assert!(
        first.events.contains(&"0 BOOTSTRAP".to_owned()),
        "{first:?}"
    );
    assert!(first.start_time.is_some() && !first.id.is_empty());

    let paths = vec!["Device.DeviceInfo.SoftwareVersion".to_owned()];
    let task = scene
        .perform(Kind::GetParameterValues(GetParameterValues { paths }))
        .await;
    let ended = |session: &nb::Session| session.end == "ended" && session.tasks == [task.clone()];
    until(PATIENCE, async || scene.list().await.iter().any(ended)).await;
    let listed = scene.list().await.into_iter().find(ended).unwrap();
    assert!(
        listed.turns.is_empty() && listed.turn_count >= 3,
        "{listed:?}"
    );
    let request = nb::GetSessionRequest {
        parent: scene.device.clone(),
        session: listed.id.clone(),
    };
    let answer = scene.sessions().get_session(request).await.unwrap();
    let session = answer.into_inner().session.unwrap();
    let shape = |turn: &nb::SessionTurn| (turn.received.clone(), turn.sent.clone());
    let shapes: Vec<_> = session.turns.iter().map(shape).collect();
    let expected = [
        ("Inform", "InformResponse"),
        ("empty", "GetParameterValues"),
        ("GetParameterValuesResponse", "empty"),
    ];
    for expected in expected {
        let found = shapes.iter().any(|(r, s)| (&**r, &**s) == expected);
        assert!(found, "{expected:?} in {shapes:?}");
    }
    assert_eq!(session.proof, "credential");
    assert_eq!(session.address, "127.0.0.1");
    let request = nb::GetSessionRequest {
        parent: scene.device.clone(),
        session: "01hzy3v7k2q4w6e8r0t2y4a6d8".into(),
    };
    let status = scene.sessions().get_session(request).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::NotFound);
    scene.end().await;
}

/// Texts that must not be in what leaves the server: what the fleet logs in with, what is set on it.
const SECRET: &str = "Tr1llian&<42>";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_is_captured_downloaded_and_replayed_without_its_secrets() {
    let scene = Scene::new().await;
    until(PATIENCE, async || !scene.list().await.is_empty()).await;
    let mut captures = Captures::new(scene.api.clone());
    let mut policies = PolicyServiceClient::new(scene.api.clone());
    let parent = PARENT.to_owned();
    let mut policy = nb::UpdateEdgePolicyRequest {
        parent: parent.clone(),
        policy: Some(EdgePolicy {
            redact_paths: vec!["*.DeviceInfo.ProvisioningCode".into()],
            ..EdgePolicy::default()
        }),
        ..nb::UpdateEdgePolicyRequest::default()
    };
    policy.update_mask.get_or_insert_default().paths = vec!["redact_paths".into()];
    policies.update_edge_policy(policy).await.unwrap();
    let start = nb::StartCaptureRequest {
        parent: parent.clone(),
        capture: Some(Capture {
            rule: Some(CaptureRule {
                device: scene.device.clone(),
                ..CaptureRule::default()
            }),
            max_sessions: 2,
            ..Capture::default()
        }),
    };
    let started = captures.start_capture(start).await.unwrap().into_inner();
    let capture = started.capture.unwrap();
    assert_eq!(capture.state(), CaptureState::Active);
    // Until all have read the policy again.
    tokio::time::sleep(Duration::from_secs(7)).await;
    let set = |path: &str, value: &str| ParameterValue {
        path: path.to_owned(),
        value: value.to_owned(),
        r#type: ValueType::String.into(),
        ..ParameterValue::default()
    };
    let values = vec![
        set("Device.Users.User.1.Password", SECRET),
        set("Device.DeviceInfo.ProvisioningCode", "home-of-anna"),
    ];
    scene
        .perform(Kind::SetParameterValues(SetParameterValues { values }))
        .await;
    let paths = vec!["Device.DeviceInfo.".to_owned()];
    let task = Kind::GetParameterValues(GetParameterValues { paths });
    scene.perform(task).await;
    let held = async |captures: &mut Captures| {
        let request = nb::GetCaptureRequest {
            parent: parent.clone(),
            capture: capture.id.clone(),
        };
        let found = captures.get_capture(request).await.unwrap().into_inner();
        found.capture.unwrap()
    };
    until(PATIENCE, async || {
        held(&mut captures.clone()).await.sessions > 0
    })
    .await;
    // The last turns are on their way.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let stop = nb::StopCaptureRequest {
        parent: parent.clone(),
        capture: capture.id.clone(),
    };
    captures.stop_capture(stop).await.unwrap();
    let mut text = String::new();
    let mut page_token = String::new();
    loop {
        let request = nb::DownloadCaptureRequest {
            parent: parent.clone(),
            capture: capture.id.clone(),
            page_token,
        };
        let piece = captures.download_capture(request).await.unwrap();
        let piece = piece.into_inner();
        text.push_str(&piece.text);
        page_token = piece.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let steps = hearth_cwmp::replay::replay(&text).unwrap();
    let all: Vec<String> = steps.iter().map(ToString::to_string).collect();
    assert!(steps.iter().all(|step| step.agrees), "{all:#?}");
    for (received, sent) in [
        ("Inform", "InformResponse"),
        ("empty", "SetParameterValues"),
        ("SetParameterValuesResponse", "empty"),
    ] {
        let found = steps
            .iter()
            .any(|step| step.received == received && step.sent == sent);
        assert!(found, "{received}, {sent}: {all:#?}");
    }
    let escaped = SECRET.replace('&', "&amp;").replace('<', "&lt;");
    let escaped = escaped.replace('>', "&gt;");
    let password = scene.password.clone();
    for secret in [
        SECRET,
        &escaped,
        "home-of-anna",
        &password,
        "Digest ",
        "hs=",
    ] {
        assert!(!text.contains(secret), "{secret} is in\n{text}");
    }
    assert!(text.contains("Users.User.1.Password"), "{text}");
    assert!(text.contains("********"));
    let delete = nb::DeleteCaptureRequest {
        parent: parent.clone(),
        capture: capture.id.clone(),
    };
    captures.delete_capture(delete).await.unwrap();
    let request = nb::ListCapturesRequest { parent };
    let left = captures.list_captures(request).await.unwrap().into_inner();
    assert!(left.captures.is_empty());
    scene.end().await;
}
