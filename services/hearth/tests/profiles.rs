//! Quirk profiles from end to end: a simulated CPE that takes booleans as digits only, with a profile
//! that says so, and without.

use crate::apart::api::{self, PARENT, create_task, ended_task, name_of};
use crate::apart::{Process, alone};
use hearth_proto::northbound::v1 as nb;
use hearth_proto::northbound::v1::device_service_client::DeviceServiceClient;
use hearth_proto::northbound::v1::profile_service_client::ProfileServiceClient;
use hearth_proto::types::v1::{
    BooleanForm, ParameterValue, Profile, ProfileMatch, Quirks, SetParameterValues, TaskState,
    Upload, ValueType, task_spec::Kind,
};
use hearth_sim::{Fleet, FleetOptions, Keep};
use std::time::Duration;
use tonic::Code;

const ID: &str = "digits";

/// The way to the API, and the device there.
struct Api {
    way: api::Api,
    device: String,
}

impl Api {
    fn profiles(&self) -> ProfileServiceClient<api::Api> {
        ProfileServiceClient::new(self.way.clone())
    }

    /// Has a task done, or not, at one of the device's periodic Informs.
    async fn perform(&self, kind: Kind) -> nb::Task {
        let name = create_task(&self.way, &self.device, kind, true).await;
        ended_task(&self.way, &name).await
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
        let mut devices = DeviceServiceClient::new(self.way.clone());
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
    let config = alone(dir.path());
    let process = Process::start(&config, &config.roles).await;
    let mut options = FleetOptions {
        periodic: Some(Duration::from_secs(1)),
        keep: Keep::Everything,
        ..process.fleet()
    };
    options.behaviour.refuse_boolean_words = true;
    let fleet = Fleet::start(options).await.unwrap();
    let device = &fleet.devices()[0];
    let id = device.id().clone();
    let api = Api {
        way: process.api().await,
        device: name_of(&fleet),
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
    process.end().await;
}
