//! Quirk profiles at work: what a device's profile says is followed, before what was learned of its
//! model, and that stays as it is.

use crate::common::{World, cpe::Cpe};
use hearth_proto::devicestate::v1::Model;
use hearth_proto::types::v1::{
    BooleanForm, GetParameterValues, GetQueuedTransfers, ParameterValue, ProfileChoice, Quirks,
    Reboot, Refresh, SetParameterValues, TaskState, Upload, ValueType, task_spec::Kind,
};
use hearth_proto::workflow::v1::request::Rpc;

fn follow(world: &World, quirks: Quirks) {
    *world.device_state.profile.lock().unwrap() = Some(ProfileChoice {
        id: "acme".into(),
        version: 3,
        quirks: Some(quirks),
        ..ProfileChoice::default()
    });
}

fn upload() -> Kind {
    Kind::Upload(Upload {
        file_type: "1 Vendor Configuration File".into(),
        url: "http://192.0.2.1/up".into(),
        ..Upload::default()
    })
}

fn read(cpe: &mut Cpe, count: usize, name: &str) -> Kind {
    let mut paths = Vec::new();
    for n in 0..count {
        let path = format!("Device.X.{n}.{name}");
        cpe.values.insert(path.clone(), n.to_string());
        paths.push(path);
    }
    Kind::GetParameterValues(GetParameterValues { paths })
}

fn set(value: &str, kind: ValueType) -> Kind {
    Kind::SetParameterValues(SetParameterValues {
        values: vec![ParameterValue {
            path: "Device.NAT.PortMapping.1.Enable".into(),
            value: value.into(),
            r#type: kind.into(),
            sealed: Vec::new(),
        }],
    })
}

#[tokio::test]
async fn names_of_one_read_go_by_the_profile() {
    for (learned, said, reads) in [(0, 10, 3), (5, 25, 1), (5, 0, 5), (0, 5000, 1)] {
        let (mut world, mut cpe) = (World::new().await, Cpe::new());
        let model = Model {
            gpv_batch: learned,
            ..Model::default()
        };
        *world.device_state.model.lock().unwrap() = model.clone();
        follow(
            &world,
            Quirks {
                max_names_per_read: said,
                ..Quirks::default()
            },
        );
        let id = world.create(read(&mut cpe, 25, "Value")).await;
        world.session(&mut cpe).await;
        assert_eq!(world.state(&id).await, TaskState::Succeeded);
        assert_eq!(cpe.count("GetParameterValues"), reads, "{learned} {said}");
        let kept = world.device_state.model.lock().unwrap().clone();
        assert_eq!(kept, model, "what was learned is kept apart");
    }
}

#[tokio::test]
async fn a_read_fits_into_the_longest_request() {
    let (mut world, mut cpe) = (World::new().await, Cpe::new());
    follow(
        &world,
        Quirks {
            max_request_bytes: 2048,
            ..Quirks::default()
        },
    );
    let name = "N".repeat(200);
    let id = world.create(read(&mut cpe, 20, &name)).await;
    world.session(&mut cpe).await;
    let task = world.task(&id).await;
    assert_eq!(task.state(), TaskState::Succeeded, "{}", task.reason);
    assert_eq!(task.result.unwrap().total, 20);
    // 1 KiB is left for names of some 250 bytes.
    assert_eq!(cpe.count("GetParameterValues"), 5);
}

#[tokio::test]
async fn an_empty_path_is_or_is_not_sent_by_the_profile() {
    for (learned, said, refused, asked) in [
        (false, Some(true), 0, "Device."),
        (true, Some(false), 0, ""),
        (true, None, 0, "Device."),
    ] {
        let (mut world, mut cpe) = (World::new().await, Cpe::new());
        world.device_state.model.lock().unwrap().refuses_empty_path = learned;
        follow(
            &world,
            Quirks {
                refuses_empty_path: said,
                ..Quirks::default()
            },
        );
        cpe.refuses_empty_path = said == Some(true);
        let id = world.create(Kind::Refresh(Refresh::default())).await;
        world.session(&mut cpe).await;
        assert_eq!(world.state(&id).await, TaskState::Succeeded);
        let names = cpe.count("GetParameterNames");
        assert_eq!(names, 1 + refused, "{asked:?} at once");
    }
}

#[tokio::test]
async fn an_rpc_that_is_there_is_sent_though_the_model_does_not_name_it() {
    let (mut world, mut cpe) = (World::new().await, Cpe::new());
    *world.device_state.model.lock().unwrap() = Model {
        rpcs: vec!["Reboot".into()],
        unsupported_rpcs: vec!["Upload".into()],
        ..Model::default()
    };
    let id = world.create(upload()).await;
    world.session(&mut cpe).await;
    assert_eq!(
        world.state(&id).await,
        TaskState::Failed,
        "as it was learned"
    );
    assert_eq!(cpe.count("Upload"), 0);
    follow(
        &world,
        Quirks {
            present_rpcs: vec!["Upload".into()],
            ..Quirks::default()
        },
    );
    let id = world.create(upload()).await;
    world.session(&mut cpe).await;
    assert_eq!(world.state(&id).await, TaskState::WaitingForDevice);
    assert_eq!(cpe.count("Upload"), 1);
}

#[tokio::test]
async fn an_rpc_that_is_missing_is_never_sent_and_the_task_says_why() {
    let (mut world, mut cpe) = (World::new().await, Cpe::new());
    let missing = [
        "Upload",
        "Reboot",
        "GetAllQueuedTransfers",
        "GetQueuedTransfers",
    ];
    follow(
        &world,
        Quirks {
            missing_rpcs: missing.map(str::to_owned).to_vec(),
            ..Quirks::default()
        },
    );
    for (kind, rpc) in [
        (upload(), "Upload"),
        (Kind::Reboot(Reboot {}), "Reboot"),
        (
            Kind::GetQueuedTransfers(GetQueuedTransfers::default()),
            "GetQueuedTransfers",
        ),
    ] {
        let id = world.create(kind).await;
        world.session(&mut cpe).await;
        let task = world.task(&id).await;
        assert_eq!(task.state(), TaskState::Failed, "{}", task.reason);
        assert!(task.reason.contains("acme@3"), "{}", task.reason);
        assert!(task.reason.contains(rpc), "{}", task.reason);
        assert_eq!(cpe.count(rpc), 0);
    }
    assert_eq!(cpe.count("GetRPCMethods"), 0, "nothing is asked");
}

/// What is learned is kept behind the turn.
async fn learned(world: &World, good: impl Fn(&Model) -> bool) -> bool {
    for _ in 0..200 {
        if good(&world.device_state.model.lock().unwrap()) {
            return true;
        }
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    false
}

fn form_of_last(cpe: &Cpe) -> BooleanForm {
    match &cpe.last {
        Some(Rpc::SetParameterValues(set)) => set.boolean_form(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_boolean_that_is_refused_is_sent_once_more_in_the_other_form_and_that_is_remembered() {
    let (mut world, mut cpe) = (World::new().await, Cpe::new());
    cpe.faults.insert("SetParameterValues", (9007, 1));
    let id = world.create(set("true", ValueType::Boolean)).await;
    world.session(&mut cpe).await;
    let task = world.task(&id).await;
    assert_eq!(task.state(), TaskState::Succeeded, "{}", task.reason);
    assert_eq!(form_of_last(&cpe), BooleanForm::Digits);
    let is_digits = |model: &Model| model.boolean_form() == BooleanForm::Digits;
    assert!(learned(&world, is_digits).await);
    // At once, from now on.
    let id = world.create(set("true", ValueType::Boolean)).await;
    let before = cpe.count("SetParameterValues");
    world.session(&mut cpe).await;
    assert_eq!(world.state(&id).await, TaskState::Succeeded);
    assert_eq!(form_of_last(&cpe), BooleanForm::Digits);
    assert_eq!(cpe.count("SetParameterValues"), before + 1);
}

#[tokio::test]
async fn what_no_form_helps_fails_as_before_and_nothing_is_learned() {
    let (mut world, mut cpe) = (World::new().await, Cpe::new());
    cpe.faults.insert("SetParameterValues", (9007, 9));
    let id = world.create(set("true", ValueType::Boolean)).await;
    world.session(&mut cpe).await;
    let task = world.task(&id).await;
    assert_eq!(task.state(), TaskState::Failed);
    assert_eq!(task.fault.unwrap().code, 9007);
    assert_eq!(cpe.faults["SetParameterValues"].1, 7, "tried twice");
    assert_eq!(*world.device_state.model.lock().unwrap(), Model::default());
    // A number is no boolean, and where the profile says how booleans are written nothing is tried.
    cpe.faults.insert("SetParameterValues", (9007, 9));
    world.create(set("1", ValueType::UnsignedInt)).await;
    world.session(&mut cpe).await;
    assert_eq!(cpe.faults["SetParameterValues"].1, 8);
    follow(
        &world,
        Quirks {
            boolean_form: BooleanForm::Words.into(),
            ..Quirks::default()
        },
    );
    world.create(set("true", ValueType::Boolean)).await;
    world.session(&mut cpe).await;
    assert_eq!(cpe.faults["SetParameterValues"].1, 7);
}
