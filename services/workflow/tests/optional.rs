//! Optional RPCs: a device that lacks one costs its own task and nothing else, and its model's
//! others are not asked again.

use crate::common::{Loss, Script, World, cpe::Cpe};
use hearth_proto::types::v1::{
    ChangeDuState, DuOperation, DuUpdate, GetParameterValues, GetQueuedTransfers, GetRpcMethods,
    TaskState, Upload, du_operation, task_spec::Kind,
};

fn change() -> Kind {
    let all = DuUpdate {
        all_units: true,
        ..DuUpdate::default()
    };
    Kind::ChangeDuState(ChangeDuState {
        operations: vec![DuOperation {
            kind: Some(du_operation::Kind::Update(all)),
        }],
    })
}

fn read() -> Kind {
    Kind::GetParameterValues(GetParameterValues {
        paths: vec!["Device.DeviceInfo.".into()],
    })
}

fn queued() -> Kind {
    Kind::GetQueuedTransfers(GetQueuedTransfers::default())
}

/// What is learned is kept behind the turn.
async fn learned(world: &World, rpc: &str) {
    for _ in 0..1000 {
        let model = world.device_state.model.lock().unwrap().clone();
        if model.unsupported_rpcs.iter().any(|known| known == rpc) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    panic!("{rpc} is not learned");
}

#[tokio::test]
async fn one_that_is_not_named_is_never_sent() {
    let (mut world, mut cpe) = (World::new().await, Cpe::new());
    cpe.methods.retain(|name| name != "ChangeDUState");
    let id = world.create(change()).await;
    let other = world.create(read()).await;
    world.session(&mut cpe).await;
    let task = world.task(&id).await;
    assert_eq!(task.state(), TaskState::Failed, "{}", task.reason);
    assert!(task.reason.contains("ChangeDUState"), "{}", task.reason);
    assert_eq!(world.state(&other).await, TaskState::Succeeded);
    assert_eq!(cpe.count("ChangeDUState"), 0);
    // Known now: not even asked for.
    let id = world.create(change()).await;
    world.session(&mut cpe).await;
    let task = world.task(&id).await;
    assert_eq!(task.state(), TaskState::Failed, "{}", task.reason);
    assert_eq!(cpe.count("GetRPCMethods"), 1);
    // New firmware has it.
    cpe.methods.push("ChangeDUState".into());
    world.create(Kind::GetRpcMethods(GetRpcMethods {})).await;
    world.session(&mut cpe).await;
    tokio::task::yield_now().await;
    let id = world.create(change()).await;
    world.session(&mut cpe).await;
    assert_eq!(world.state(&id).await, TaskState::WaitingForDevice);
}

#[tokio::test]
async fn one_that_is_named_and_refused_is_remembered() {
    let (mut world, mut cpe) = (World::new().await, Cpe::new());
    cpe.faults.insert("ChangeDUState", (9000, 5));
    let id = world.create(change()).await;
    world.session(&mut cpe).await;
    let task = world.task(&id).await;
    assert_eq!(task.state(), TaskState::Failed, "{}", task.reason);
    assert_eq!(task.fault.unwrap().code, 9000);
    learned(&world, "ChangeDUState").await;
    let id = world.create(change()).await;
    world.session(&mut cpe).await;
    let task = world.task(&id).await;
    assert_eq!(task.state(), TaskState::Failed);
    assert!(task.reason.contains("not implemented"), "{}", task.reason);
    assert_eq!(cpe.faults["ChangeDUState"].1, 4);
}

#[tokio::test]
async fn a_device_that_can_not_say_is_tried() {
    let (mut world, mut cpe) = (World::new().await, Cpe::new());
    cpe.faults.insert("GetRPCMethods", (9000, 9));
    let id = world.create(change()).await;
    world.session(&mut cpe).await;
    assert_eq!(world.state(&id).await, TaskState::WaitingForDevice);
}

#[tokio::test]
async fn sessions_that_end_at_a_question_blame_it() {
    let (mut world, mut cpe) = (World::new().await, Cpe::new());
    let id = world.create(queued()).await;
    // It names the RPC, and ends the session without a word when it comes.
    for at in [1, 0] {
        let script = Script {
            lose: Some((at, Loss::Before)),
            duplicate: false,
        };
        world.session_as(&mut cpe, script).await;
    }
    world.session(&mut cpe).await;
    learned(&world, "GetAllQueuedTransfers").await;
    let task = world.task(&id).await;
    assert_eq!(task.state(), TaskState::Succeeded, "{}", task.reason);
    assert_eq!(cpe.count("GetAllQueuedTransfers"), 0);
    assert_eq!(cpe.count("GetQueuedTransfers"), 1);
}

#[tokio::test]
async fn common_ones_are_sent_where_nothing_is_known() {
    let (mut world, mut cpe) = (World::new().await, Cpe::new());
    let upload = || {
        Kind::Upload(Upload {
            file_type: "4 Vendor Log File 2".into(),
            ..Upload::default()
        })
    };
    let id = world.create(upload()).await;
    world.session(&mut cpe).await;
    assert_eq!(world.state(&id).await, TaskState::WaitingForDevice);
    assert_eq!(cpe.count("GetRPCMethods"), 0);
    // Known not to have it, it is not asked.
    cpe.methods.retain(|name| name != "Upload");
    world.create(Kind::GetRpcMethods(GetRpcMethods {})).await;
    world.session(&mut cpe).await;
    tokio::task::yield_now().await;
    let id = world.create(upload()).await;
    world.session(&mut cpe).await;
    assert_eq!(world.state(&id).await, TaskState::Failed);
}
