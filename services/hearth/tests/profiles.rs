//! Quirk profiles from end to end: a simulated CPE that takes booleans as digits only, with a profile
//! that says so, and without.
#![allow(clippy::unwrap_used)]

use hearth_proto::northbound::v1 as nb;
use hearth_proto::northbound::v1::device_service_client::DeviceServiceClient;
use hearth_proto::northbound::v1::profile_service_client::ProfileServiceClient;
use hearth_proto::northbound::v1::task_service_client::TaskServiceClient;
use hearth_proto::types::v1::{
    BooleanForm, ParameterValue, Profile, ProfileMatch, Quirks, SetParameterValues, TaskSpec,
    TaskState, Upload, ValueType, task_spec::Kind,
};
use hearth_runtime::Shutdown;
use hearth_server::config::HearthConfig;
use hearth_server::server::Server;
use hearth_sim::{Fleet, FleetOptions, Keep};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tonic::metadata::MetadataValue;
use tonic::service::interceptor::InterceptedService;
use tonic::{Code, Request, service::Interceptor, transport::Channel};

const PARENT: &str = "tenants/default";
const ID: &str = "digits";

#[derive(Clone)]
struct Token(String);

impl Interceptor for Token {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, tonic::Status> {
        let value: MetadataValue<_> = format!("Bearer {}", self.0).parse().unwrap();
        request.metadata_mut().insert("authorization", value);
        Ok(request)
    }
}

fn config(dir: &std::path::Path) -> HearthConfig {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut config = HearthConfig {
        data_dir: dir.to_owned(),
        ..HearthConfig::default()
    };
    config.listen.cwmp = any;
    config.listen.api = any;
    config.listen.files = any;
    config.listen.admin = any;
    config
}

/// The way to the API.
#[derive(Clone)]
struct Api {
    channel: Channel,
    token: Token,
    device: String,
}

type Way = InterceptedService<Channel, Token>;

impl Api {
    fn profiles(&self) -> ProfileServiceClient<Way> {
        ProfileServiceClient::with_interceptor(self.channel.clone(), self.token.clone())
    }

    /// Has a task done, or not, at one of the device's periodic Informs.
    async fn perform(&self, kind: Kind) -> nb::Task {
        let mut tasks =
            TaskServiceClient::with_interceptor(self.channel.clone(), self.token.clone());
        let request = nb::CreateTaskRequest {
            parent: self.device.clone(),
            task: Some(nb::Task {
                spec: Some(TaskSpec { kind: Some(kind) }),
                ..nb::Task::default()
            }),
            no_wake: true,
            ..nb::CreateTaskRequest::default()
        };
        let made = tasks.create_task(request).await.unwrap().into_inner();
        let name = made.task.unwrap().name;
        for _ in 0..600 {
            let request = nb::GetTaskRequest { name: name.clone() };
            let task = tasks.get_task(request).await.unwrap().into_inner().task;
            let task = task.unwrap();
            if matches!(task.state(), TaskState::Succeeded | TaskState::Failed) {
                return task;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the task is not done");
    }

    async fn set_true(&self) {
        let enable = ParameterValue {
            path: "Device.ManagementServer.PeriodicInformEnable".into(),
            value: "true".into(),
            r#type: ValueType::Boolean.into(),
            sealed: Vec::new(),
        };
        let set = SetParameterValues {
            values: vec![enable],
        };
        let task = self.perform(Kind::SetParameterValues(set)).await;
        assert_eq!(task.state(), TaskState::Succeeded, "{}", task.reason);
    }

    async fn device(&self) -> nb::Device {
        let mut devices =
            DeviceServiceClient::with_interceptor(self.channel.clone(), self.token.clone());
        let request = nb::GetDeviceRequest {
            name: self.device.clone(),
        };
        let answer = devices.get_device(request).await.unwrap().into_inner();
        answer.device.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_profile_is_followed_and_shown_and_without_it_the_form_is_learned() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::build(&config(dir.path())).await.unwrap();
    let addresses = server.addresses;
    let token = server.admin_token.clone().unwrap();
    let onboarding = server.onboarding.as_ref().unwrap();
    let mut options = FleetOptions {
        username: onboarding.username.clone(),
        password: onboarding.password.clone(),
        count: 1,
        periodic: Some(Duration::from_secs(1)),
        keep: Keep::Everything,
        ..FleetOptions::new(format!("http://{}/", addresses.cwmp.unwrap()))
    };
    options.behaviour.refuse_boolean_words = true;
    let readiness = server.readiness();
    let stop = Shutdown::new();
    let serving = tokio::spawn(server.run(stop.clone()));
    readiness.wait_all_ready().await;
    let url = format!("http://{}", addresses.api.unwrap());
    let channel = Channel::from_shared(url).unwrap().connect().await.unwrap();
    let fleet = Fleet::start(options).await.unwrap();
    let device = &fleet.devices()[0];
    let id = device.id().clone();
    let api = Api {
        channel,
        token: Token(token.expose().to_owned()),
        device: format!(
            "{PARENT}/devices/{}-{}-{}",
            id.oui, id.product_class, id.serial_number
        ),
    };
    // How often it was set, and refused.
    let sets = || {
        device.with_ledger(|ledger| {
            let all = ledger.executed().iter();
            let all = all.filter(|one| one.method == "SetParameterValues");
            let (refused, done): (Vec<_>, Vec<_>) = all.partition(|one| one.fault.is_some());
            (done.len(), refused.len())
        })
    };

    let mut request = nb::PutProfileRequest {
        parent: PARENT.into(),
        profile: Some(Profile {
            id: ID.into(),
            matches: vec![ProfileMatch {
                oui: id.oui.clone(),
                product_class: "*".into(),
                software_below: "999".into(),
                ..ProfileMatch::default()
            }],
            quirks: Some(Quirks {
                boolean_form: BooleanForm::Digits.into(),
                xml_declaration: true,
                missing_rpcs: vec!["Upload".into()],
                ..Quirks::default()
            }),
            ..Profile::default()
        }),
        check_only: false,
    };
    let answer = api.profiles().put_profile(request.clone()).await.unwrap();
    assert_eq!(answer.into_inner().profile.unwrap().version, 1);
    request.profile.as_mut().unwrap().matches[0].oui = "xyz".into();
    let wrong = api.profiles().put_profile(request).await.unwrap_err();
    assert_eq!(wrong.code(), Code::InvalidArgument);
    assert!(wrong.message().contains("matches[0].oui"), "{wrong:?}");

    api.set_true().await;
    assert_eq!(sets(), (1, 0), "written as digits at once");
    let upload = Upload {
        file_type: "1 Vendor Configuration File".into(),
        ..Upload::default()
    };
    let task = api.perform(Kind::Upload(upload)).await;
    assert_eq!(task.state(), TaskState::Failed);
    assert!(task.reason.contains("digits@1"), "{}", task.reason);
    let shown = api.device().await;
    let choice = shown.profile.unwrap();
    assert_eq!((choice.id.as_str(), choice.version), (ID, 1));
    assert!(choice.reason.contains(&id.oui), "{}", choice.reason);
    let learned = shown.learned.unwrap_or_default();
    assert_eq!(learned.boolean_form(), BooleanForm::Unspecified);

    let request = nb::DeleteProfileRequest {
        parent: PARENT.into(),
        id: ID.into(),
    };
    api.profiles().delete_profile(request).await.unwrap();
    // A session that was under way goes on as it began.
    tokio::time::sleep(Duration::from_secs(2)).await;
    api.set_true().await;
    assert_eq!(sets(), (2, 1), "refused once, then learned");
    let mut left = 100;
    let shown = loop {
        let shown = api.device().await;
        let learned = shown.learned.clone().unwrap_or_default();
        if learned.boolean_form() == BooleanForm::Digits {
            break shown;
        }
        left -= 1;
        assert!(left > 0, "not learned");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(shown.profile, None);
    api.set_true().await;
    assert_eq!(sets(), (3, 1), "written as digits at once");
    fleet.stop().await;
    stop.request();
    serving.await.unwrap().unwrap();
}
