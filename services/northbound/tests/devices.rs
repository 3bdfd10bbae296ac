//! DeviceService and CredentialService.

use crate::common::{Api, Authorized, DEVICE, blamed};
use hearth_proto::events::v1 as ev;
use hearth_proto::northbound::v1 as nb;
use hearth_proto::types::v1 as ty;
use hearth_proto::wakeup::v1 as wk;
use nb::credential_service_client::CredentialServiceClient;
use nb::device_service_client::DeviceServiceClient;
use nb::watch_devices_response::Event;
use tonic::Code;
use tonic_types::StatusExt;

async fn devices() -> (Api, DeviceServiceClient<Authorized>) {
    let api = Api::start().await;
    let client = DeviceServiceClient::new(api.authorized().await);
    (api, client)
}

#[tokio::test]
async fn a_device_is_read_by_its_name() {
    let (_api, mut client) = devices().await;
    let get = |name: &str| nb::GetDeviceRequest { name: name.into() };
    let device = client
        .get_device(get(DEVICE))
        .await
        .unwrap()
        .into_inner()
        .device
        .unwrap();
    assert_eq!(device.name, DEVICE);
    let seen = device.first_seen_time.unwrap();
    assert_eq!((seen.seconds, seen.nanos), (1, 500_000_000));
    assert!(device.last_boot_time.is_none(), "never");

    let other = "tenants/default/devices/00AA11-Router-2";
    let status = client.get_device(get(other)).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    let resource = status.get_details_resource_info().unwrap();
    assert_eq!(resource.resource_name, other);
    assert_eq!(status.get_details_error_info().unwrap().domain, "hearth");
    for bad in [
        "",
        "00AA11-Router-1",
        "tenants/default",
        "tenants/default/devices/x",
    ] {
        let status = client.get_device(get(bad)).await.unwrap_err();
        assert_eq!(blamed(&status), ["name"], "{bad}");
    }
}

#[tokio::test]
async fn lists_are_filtered_and_paged() {
    let (api, mut client) = devices().await;
    for serial in 2..=5 {
        let mut device = api.fake.devices.lock()["00AA11-Router-1"].clone();
        device.id = format!("00AA11-Router-{serial}");
        api.fake.devices.lock().insert(device.id.clone(), device);
    }
    let list = |page_size, page_token: &str, filter: &str| nb::ListDevicesRequest {
        parent: "tenants/default".into(),
        page_size,
        page_token: page_token.into(),
        filter: filter.into(),
    };
    let mut names = Vec::new();
    let mut token = String::new();
    loop {
        let page = client
            .list_devices(list(2, &token, ""))
            .await
            .unwrap()
            .into_inner();
        names.extend(page.devices.into_iter().map(|device| device.name));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(names.len(), 5);
    assert_eq!(names[4], "tenants/default/devices/00AA11-Router-5");

    let filter = "serial_number = \"AB*\" AND tag = beta";
    client
        .list_devices(list(100_000, "", filter))
        .await
        .unwrap();
    let asked = api.fake.asked.lock().last().unwrap().clone();
    assert!(asked.contains("page_size: 1000"), "{asked}");
    let conditions = "conditions: [Condition { attribute: \"serial_number\", value: \"AB\", prefix: \
                      true }, Condition { attribute: \"tag\", value: \"beta\", prefix: false }]";
    assert!(asked.contains(conditions), "{asked}");

    for (request, field) in [
        (list(-1, "", ""), "page_size"),
        (list(0, "nonsense", ""), "page_token"),
        (list(0, &"x".repeat(5000), ""), "page_token"),
        (list(0, "", "tag = a OR tag = b"), "filter"),
    ] {
        let status = client.list_devices(request).await.unwrap_err();
        assert_eq!(blamed(&status), [field]);
    }
}

#[tokio::test]
async fn tags_are_replaced_by_mask_or_edited() {
    let (_api, mut client) = devices().await;
    let update = |tags: &[&str], mask: &[&str], add: &[&str], remove: &[&str]| {
        let owned = |list: &[&str]| list.iter().map(|&one| one.to_owned()).collect::<Vec<_>>();
        nb::UpdateDeviceRequest {
            device: Some(nb::Device {
                name: DEVICE.into(),
                tags: owned(tags),
                ..Default::default()
            }),
            update_mask: (!mask.is_empty()).then(|| pbjson_types::FieldMask { paths: owned(mask) }),
            add_tags: owned(add),
            remove_tags: owned(remove),
        }
    };
    let tags = |response: tonic::Response<nb::UpdateDeviceResponse>| {
        response.into_inner().device.unwrap().tags
    };
    let answer = client
        .update_device(update(&["a", "b"], &["tags"], &[], &[]))
        .await;
    assert_eq!(tags(answer.unwrap()), ["a", "b"]);
    let answer = client.update_device(update(&[], &[], &["c"], &["a"])).await;
    assert_eq!(tags(answer.unwrap()), ["b", "c"]);
    for (request, field) in [
        (update(&[], &["manufacturer"], &[], &[]), "update_mask"),
        (update(&[], &[], &[], &[]), "update_mask"),
        (
            update(&["no spaces"], &["tags"], &[], &[]),
            "device.tags[0]",
        ),
        (update(&[], &[], &["ok", ""], &[]), "add_tags[1]"),
        (nb::UpdateDeviceRequest::default(), "device.name"),
    ] {
        let status = client.update_device(request).await.unwrap_err();
        assert_eq!(blamed(&status), [field]);
    }
}

#[tokio::test]
async fn deleting_forgets_tasks_first_and_then_the_device() {
    let (api, mut client) = devices().await;
    let delete = || nb::DeleteDeviceRequest {
        name: DEVICE.into(),
    };
    client.delete_device(delete()).await.unwrap();
    let asked = api.fake.asked.lock().clone();
    assert!(
        asked[0].starts_with("ForgetDevice") && asked[1].starts_with("DeleteDevice"),
        "{asked:?}"
    );
    let status = client.delete_device(delete()).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
}

#[tokio::test]
async fn outcomes_of_waking_are_words() {
    let (api, mut client) = devices().await;
    for (outcome, word) in [
        (wk::WakeOutcome::Accepted, "accepted"),
        (wk::WakeOutcome::Unreachable, "unreachable"),
        (wk::WakeOutcome::RateLimited, "rate_limited"),
        (wk::WakeOutcome::NoAddress, "no_address"),
        (wk::WakeOutcome::Offline, "offline"),
    ] {
        *api.fake.wake.lock() = wk::WakeResponse {
            outcome: outcome.into(),
            detail: "why".into(),
            way: wk::WakeWay::Udp.into(),
            ..Default::default()
        };
        let request = nb::WakeDeviceRequest {
            name: DEVICE.into(),
        };
        let answer = client.wake_device(request).await.unwrap().into_inner();
        assert_eq!(answer.outcome, word);
        assert_eq!(answer.accepted, word == "accepted");
        assert_eq!(answer.detail, "why");
        assert_eq!(answer.way, "udp");
    }
}

#[tokio::test]
async fn secrets_are_masked_in_parameters_and_history() {
    let (_api, mut client) = devices().await;
    let request = nb::ListParametersRequest {
        parent: DEVICE.into(),
        ..Default::default()
    };
    let parameters = client
        .list_parameters(request)
        .await
        .unwrap()
        .into_inner()
        .parameters;
    assert_eq!(parameters[0].value.as_deref(), Some("7"));
    assert_eq!(parameters[1].value, None, "an object");
    assert_eq!(parameters[2].value.as_deref(), Some("********"));
    let request = nb::ListHistoryRequest {
        parent: DEVICE.into(),
        ..Default::default()
    };
    let entries = client
        .list_history(request)
        .await
        .unwrap()
        .into_inner()
        .entries;
    assert_eq!(
        (entries[0].old_value.as_str(), entries[0].new_value.as_str()),
        ("", "********")
    );
    assert_eq!(
        entries[0].task,
        "tenants/default/tasks/01hzy3v7k2q4w6e8r0t2y4a6d8"
    );

    let request = nb::ListParametersRequest {
        parent: DEVICE.into(),
        path: "Device..X".into(),
        ..Default::default()
    };
    assert_eq!(
        blamed(&client.list_parameters(request).await.unwrap_err()),
        ["path"]
    );
    let time = |seconds| Some(pbjson_types::Timestamp { seconds, nanos: 0 });
    let request = nb::ListHistoryRequest {
        parent: DEVICE.into(),
        start_time: time(10),
        end_time: time(5),
        ..Default::default()
    };
    assert_eq!(
        blamed(&client.list_history(request).await.unwrap_err()),
        ["end_time"]
    );
    let request = nb::ListHistoryRequest {
        parent: DEVICE.into(),
        start_time: time(-10),
        ..Default::default()
    };
    assert_eq!(
        blamed(&client.list_history(request).await.unwrap_err()),
        ["start_time"]
    );
}

#[tokio::test]
async fn events_are_watched_from_the_first_answer_on() {
    let (api, mut client) = devices().await;
    let request = nb::WatchDevicesRequest {
        parent: "tenants/default".into(),
    };
    let mut watch = client.watch_devices(request).await.unwrap().into_inner();
    assert!(
        watch.message().await.unwrap().unwrap().event.is_none(),
        "the watch stands"
    );
    let event = |kind| ev::Event {
        tenant: "default".into(),
        device: "00AA11-Router-1".into(),
        time_us: 2_000_000,
        kind: Some(kind),
        ..Default::default()
    };
    let value = |path: &str| ty::ParameterValue {
        path: path.into(),
        value: "v".into(),
        ..Default::default()
    };
    let mut values = vec![value("Device.Users.User.1.Password")];
    values.resize(150, value("Device.X"));
    api.fake
        .tell(event(ev::event::Kind::ValuesReported(ev::ValuesReported {
            values,
            source: ev::ValueSource::Set.into(),
            task: String::new(),
        })));
    let message = watch.message().await.unwrap().unwrap();
    assert_eq!(message.device, DEVICE);
    let Some(Event::Values(values)) = message.event else {
        panic!("{message:?}");
    };
    assert_eq!(
        (values.values.len(), values.total, values.set),
        (100, 150, true)
    );
    assert_eq!(values.values[0].value, "********");
    api.fake
        .tell(event(ev::event::Kind::TaskChanged(ev::TaskChanged {
            task: "t".into(),
            state: ty::TaskState::Running.into(),
            kind: "reboot".into(),
            ..Default::default()
        })));
    let message = watch.message().await.unwrap().unwrap();
    let Some(Event::Task(task)) = message.event else {
        panic!("{message:?}");
    };
    assert_eq!(
        (task.task.as_str(), task.kind.as_str()),
        ("tenants/default/tasks/t", "reboot")
    );
    api.fake
        .tell(event(ev::event::Kind::ObjectDeleted(ev::ObjectDeleted {
            object: "Device.X.1.".into(),
        })));
    let message = watch.message().await.unwrap().unwrap();
    assert_eq!(
        message.event,
        Some(Event::Other("Device.X.1. deleted".into()))
    );
    // The source ends: the client is told to watch again.
    api.fake.watchers.lock().clear();
    let status = watch.message().await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
}

#[tokio::test]
async fn credentials_are_set_listed_and_deleted() {
    let api = Api::start().await;
    let mut client = CredentialServiceClient::new(api.authorized().await);
    let parent = || "tenants/default".to_owned();
    let onboarding = nb::GetOnboardingCredentialRequest { parent: parent() };
    let status = client
        .get_onboarding_credential(onboarding.clone())
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    let set = |username: &str, kind: nb::CredentialKind, device: &str, password: &str| {
        nb::SetCredentialRequest {
            parent: parent(),
            credential: Some(nb::Credential {
                username: username.into(),
                kind: kind.into(),
                device: device.into(),
                ..Default::default()
            }),
            password: password.into(),
        }
    };
    use nb::CredentialKind::{ConnectionRequest, Device, Onboarding, Unspecified};
    let answer = client
        .set_credential(set("onboard", Onboarding, "", ""))
        .await
        .unwrap();
    let made = answer.into_inner().password;
    assert!(made.len() >= 16);
    let answer = client
        .set_credential(set("cpe-1", Device, DEVICE, "given"))
        .await
        .unwrap();
    let answer = answer.into_inner();
    assert_eq!(answer.password, "", "only a password made here is returned");
    assert_eq!(
        answer.credential.unwrap().name,
        "tenants/default/credentials/cpe-1"
    );
    let found = client
        .get_onboarding_credential(onboarding)
        .await
        .unwrap()
        .into_inner();
    assert_eq!((found.username.as_str(), found.password), ("onboard", made));
    client
        .set_credential(set("acs", ConnectionRequest, "", "x"))
        .await
        .unwrap();

    let list = nb::ListCredentialsRequest {
        parent: parent(),
        ..Default::default()
    };
    let listed = client
        .list_credentials(list)
        .await
        .unwrap()
        .into_inner()
        .credentials;
    assert_eq!(listed.len(), 3);
    assert_eq!(listed[1].device, DEVICE);

    for (request, field) in [
        (set("", Onboarding, "", ""), "credential.username"),
        (set("a:b", Onboarding, "", ""), "credential.username"),
        (set("a", Unspecified, "", ""), "credential.kind"),
        (set("a", Device, "", ""), "credential.device"),
        (
            set("a", Device, "tenants/other/devices/00AA11-X-1", ""),
            "credential.device",
        ),
        (set("a", Onboarding, DEVICE, ""), "credential.device"),
        (set("a", Onboarding, "", "x\n"), "password"),
        (
            nb::SetCredentialRequest {
                parent: parent(),
                ..Default::default()
            },
            "credential",
        ),
    ] {
        let status = client.set_credential(request).await.unwrap_err();
        assert_eq!(blamed(&status), [field]);
    }
    let delete = nb::DeleteCredentialRequest {
        name: "tenants/default/credentials/cpe-1".into(),
        kind: Device.into(),
        device: String::new(),
    };
    client.delete_credential(delete.clone()).await.unwrap();
    let status = client.delete_credential(delete).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
}
