//! ChangeDUState, to its report; nothing that it could do twice, and nothing that means more than
//! it says.

use crate::common::{Loss, Script, TENANT, World, cpe::Cpe};
use hearth_proto::{
    events::v1::DuStateChange,
    types::v1::{
        ChangeDuState, DuInstall, DuOperation, DuResult, DuUninstall, DuUpdate, FactoryReset,
        TaskState, du_operation::Kind as Operation, task_spec::Kind,
    },
    workflow::v1::request::Rpc,
};

const UUID: &str = "85f8a1c2-5d3e-4c1b-9b7a-0d4f2f0c9e11";

fn change(operations: Vec<Operation>) -> Kind {
    let operations = operations
        .into_iter()
        .map(|kind| DuOperation { kind: Some(kind) });
    Kind::ChangeDuState(ChangeDuState {
        operations: operations.collect(),
    })
}

fn install() -> Operation {
    Operation::Install(DuInstall {
        url: "http://files.example/app.ipk".into(),
        username: "joe".into(),
        password: "hunter2".into(),
        ..DuInstall::default()
    })
}

fn update(update: DuUpdate) -> Operation {
    Operation::Update(update)
}

fn uninstall(version: &str, all_versions: bool) -> Operation {
    Operation::Uninstall(DuUninstall {
        uuid: UUID.into(),
        version: version.into(),
        all_versions,
        ..DuUninstall::default()
    })
}

#[tokio::test]
async fn each_units_result_is_kept() {
    for duplicate in [false, true] {
        let (mut world, mut cpe) = (World::new().await, Cpe::new());
        let id = world
            .create(change(vec![install(), uninstall("1.0", false)]))
            .await;
        assert!(!format!("{:?}", world.task(&id).await).contains("hunter2"));
        let script = Script {
            lose: None,
            duplicate,
        };
        world.session_as(&mut cpe, script).await;
        assert_eq!(world.state(&id).await, TaskState::WaitingForDevice);
        let Some(Rpc::ChangeDuState(sent)) = cpe.last.clone() else {
            panic!("{:?}", cpe.last);
        };
        let Some(Operation::Install(first)) = &sent.operations[0].kind else {
            panic!("{sent:?}");
        };
        assert_eq!(first.password, "hunter2");
        assert!(first.sealed_password.is_empty());
        cpe.change_units();
        let reports = cpe.unit_reports();
        for report in reports {
            assert!(world.report_units(report.clone()).await);
            assert!(world.report_units(report).await);
        }
        let task = world.task(&id).await;
        assert_eq!(task.state(), TaskState::Succeeded, "{}", task.reason);
        let result = task.result.unwrap();
        assert_eq!((result.total, result.du_results.len()), (2, 2));
        assert_eq!(result.du_results[0].current_state, "Installed");
    }
}

#[tokio::test]
async fn one_failure_fails_the_task_and_all_are_told() {
    let (mut world, mut cpe) = (World::new().await, Cpe::new());
    let id = world
        .create(change(vec![install(), install(), install()]))
        .await;
    world.session(&mut cpe).await;
    cpe.unit_faults = vec![0, 9026, 0];
    cpe.change_units();
    world.session(&mut cpe).await;
    let task = world.task(&id).await;
    assert_eq!(task.state(), TaskState::Failed, "{}", task.reason);
    assert!(task.reason.starts_with("1 of 3 units"), "{}", task.reason);
    let fault = task.fault.unwrap();
    assert_eq!(fault.code, 9026);
    assert!(!fault.remedy.is_empty());
    assert_eq!(task.result.unwrap().du_results.len(), 3);
    assert_eq!(cpe.count("ChangeDUState"), 1);
}

#[tokio::test]
async fn it_is_never_sent_twice_by_itself() {
    for (executed, state) in [
        (Loss::After, TaskState::Succeeded),
        (Loss::Before, TaskState::UnknownOutcome),
    ] {
        let (mut world, mut cpe) = (World::new().await, Cpe::new());
        let id = world.create(change(vec![install()])).await;
        let script = Script {
            // The first asks for the methods.
            lose: Some((1, executed)),
            duplicate: false,
        };
        world.session_as(&mut cpe, script).await;
        world.session(&mut cpe).await;
        assert_eq!(world.state(&id).await, TaskState::WaitingForDevice);
        cpe.change_units();
        world.session(&mut cpe).await;
        assert!(cpe.count("ChangeDUState") <= 1);
        if state == TaskState::Succeeded {
            assert_eq!(world.state(&id).await, state);
        } else {
            world.advance(8 * 24 * 3600);
            let task = world.wait_for(&id, state).await;
            assert!(task.reason.contains("DUStateChangeComplete"));
        }
    }
}

#[tokio::test]
async fn a_reset_ends_what_it_has_forgotten() {
    let (mut world, mut cpe) = (World::new().await, Cpe::new());
    let id = world.create(change(vec![install()])).await;
    world.session(&mut cpe).await;
    world.create(Kind::FactoryReset(FactoryReset {})).await;
    world.session(&mut cpe).await;
    world.session(&mut cpe).await;
    let task = world.task(&id).await;
    assert_eq!(task.state(), TaskState::Failed, "{}", task.reason);
}

#[tokio::test]
async fn reports_of_others_change_nothing() {
    let (mut world, mut cpe) = (World::new().await, Cpe::new());
    let id = world.create(change(vec![install()])).await;
    let report = |command_key: String| DuStateChange {
        command_key,
        ..DuStateChange::default()
    };
    assert!(!world.report_units(report("another-acs".into())).await);
    // Not sent yet.
    assert!(!world.report_units(report(format!("{id}.1"))).await);
    world.session(&mut cpe).await;
    assert_eq!(world.state(&id).await, TaskState::WaitingForDevice);
    // An end without any result tells nothing, nor does a result without a state.
    assert!(world.report_units(report(format!("{id}.1"))).await);
    assert_eq!(world.state(&id).await, TaskState::UnknownOutcome);
    let id = world.create(change(vec![install()])).await;
    world.session(&mut cpe).await;
    let mut empty = report(format!("{id}.1"));
    empty.results.push(DuResult::default());
    assert!(world.report_units(empty).await);
    assert_eq!(world.state(&id).await, TaskState::UnknownOutcome);
}

#[tokio::test]
async fn what_would_mean_more_than_it_says_is_refused() {
    let world = World::new().await;
    let field = "spec.change_du_state.operations";
    let by = |uuid: &str, url: &str| DuUpdate {
        uuid: uuid.into(),
        url: url.into(),
        ..DuUpdate::default()
    };
    let all = |mut one: DuUpdate| {
        one.all_units = true;
        update(one)
    };
    let versioned = |uuid: &str| DuUpdate {
        version: "2".into(),
        ..by(uuid, "http://h/f")
    };
    let file = format!("tenants/{TENANT}/files/app.ipk");
    for (operation, name) in [
        (update(by("", "")), "update.uuid"),
        (all(by(UUID, "")), "update.all_units"),
        (all(by("", "http://h/f")), "update.all_units"),
        (update(versioned("")), "update.version"),
        (update(by("1234", "")), "update.uuid"),
        (
            update(DuUpdate {
                file: file.clone(),
                ..by("", "")
            }),
            "update.uuid",
        ),
        (uninstall("", false), "uninstall.version"),
        (uninstall("1", true), "uninstall.all_versions"),
        (
            Operation::Uninstall(DuUninstall {
                all_versions: true,
                ..DuUninstall::default()
            }),
            "uninstall.uuid",
        ),
        (Operation::Install(DuInstall::default()), "install.file"),
        (
            Operation::Install(DuInstall {
                url: format!("http://h/{}", "x".repeat(1024)),
                ..DuInstall::default()
            }),
            "install.url",
        ),
        (
            Operation::Install(DuInstall {
                file: "tenants/other/files/app.ipk".into(),
                ..DuInstall::default()
            }),
            "install.file",
        ),
    ] {
        let what = format!("{operation:?}");
        let refused = world.refused(change(vec![operation])).await;
        assert_eq!(refused, format!("{field}[0].{name}"), "{what}");
    }
    assert_eq!(world.refused(change(vec![])).await, field);
    assert_eq!(world.refused(change(vec![install(); 17])).await, field);
    for good in [
        all(DuUpdate::default()),
        update(by(UUID, "")),
        update(by("", "http://h/f")),
        update(versioned(UUID)),
        uninstall("1", false),
        uninstall("", true),
    ] {
        world.create(change(vec![good])).await;
    }
}
