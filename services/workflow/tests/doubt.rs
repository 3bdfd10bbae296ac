//! A state must not claim to know what can't be known: a write whose answer was lost, and that
//! could not be sent again in time, may have been done.

use crate::common::{Loss, Script, TENANT, World, cpe::Cpe, value};
use hearth_clients::{Kind as ErrorKind, Workflow};
use hearth_proto::types::v1::{
    AddObject, DeleteObject, Download, GetParameterValues, ScheduleInform, SetParameterValues,
    TaskState, task_spec::Kind,
};
use std::sync::atomic::Ordering::SeqCst;

const LOST: Script = Script {
    lose: Some((0, Loss::After)),
    duplicate: false,
};

fn writes() -> [Kind; 3] {
    [
        Kind::SetParameterValues(SetParameterValues {
            values: vec![value("Device.DeviceInfo.ProvisioningCode", "a")],
        }),
        Kind::ScheduleInform(ScheduleInform { delay_seconds: 9 }),
        Kind::DeleteObject(DeleteObject {
            object: "Device.NAT.PortMapping.1.".into(),
        }),
    ]
}

fn read() -> Kind {
    Kind::GetParameterValues(GetParameterValues {
        paths: vec!["Device.DeviceInfo.".into()],
    })
}

/// Loses the answer, and lets the deadline pass: with a restart before the lost session was
/// settled, or after it.
async fn outcome(kind: Kind, settled: bool) -> TaskState {
    let (mut world, mut cpe) = (World::new().await, Cpe::new());
    let id = world.create(kind).await;
    world.session_as(&mut cpe, LOST).await;
    if settled {
        world.advance(60);
        world.wait_for(&id, TaskState::Queued).await;
    } else {
        world.restart().await;
    }
    world.advance(8 * 24 * 3600);
    for _ in 0..1000 {
        let state = world.state(&id).await;
        if state != TaskState::Running && state != TaskState::Queued {
            return state;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    world.state(&id).await
}

#[tokio::test]
async fn a_write_without_an_answer_is_not_called_failed_at_its_deadline() {
    for settled in [false, true] {
        for kind in writes() {
            let what = format!("{kind:?}, settled {settled}");
            assert_eq!(
                outcome(kind, settled).await,
                TaskState::UnknownOutcome,
                "{what}"
            );
        }
        // A read changes nothing: that it failed is all there is to say.
        assert_eq!(outcome(read(), settled).await, TaskState::Failed);
    }
}

#[tokio::test]
async fn an_instance_whose_values_may_be_set_is_not_called_failed() {
    // Instances are read, one is made, its values are set: the answer to this one or that is lost.
    for (at, state) in [
        (0, TaskState::Failed),
        (1, TaskState::UnknownOutcome),
        (2, TaskState::UnknownOutcome),
    ] {
        let (mut world, mut cpe) = (World::new().await, Cpe::new());
        let add = AddObject {
            object: "Device.NAT.PortMapping.".into(),
            values: vec![value("Description", "web")],
        };
        let id = world.create(Kind::AddObject(add)).await;
        let script = Script {
            lose: Some((at, Loss::After)),
            duplicate: false,
        };
        world.session_as(&mut cpe, script).await;
        world.advance(60);
        world.wait_for(&id, TaskState::Queued).await;
        world.advance(8 * 24 * 3600);
        world.wait_for(&id, state).await;
    }
}

#[tokio::test]
async fn a_write_without_an_answer_is_not_called_failed_when_its_tries_are_used_up() {
    // A deletion is not among them: sent again, the device says that the instance is gone.
    let [set, schedule, _] = writes();
    for kind in [set, schedule] {
        let (mut world, mut cpe) = (World::new().await, Cpe::new());
        let what = format!("{kind:?}");
        let id = world.create(kind).await;
        for _ in 0..world.config.default_max_attempts + 1 {
            world.session_as(&mut cpe, LOST).await;
        }
        assert_eq!(world.state(&id).await, TaskState::UnknownOutcome, "{what}");
    }
}

#[tokio::test]
async fn a_device_that_can_not_be_asked_leaves_the_outcome_unknown() {
    let (mut world, mut cpe) = (World::new().await, Cpe::new());
    let add = AddObject {
        object: "Device.NAT.PortMapping.".into(),
        values: vec![],
    };
    let id = world.create(Kind::AddObject(add)).await;
    let script = Script {
        lose: Some((1, Loss::After)),
        duplicate: false,
    };
    world.session_as(&mut cpe, script).await;
    cpe.faults.insert("GetParameterNames", (9005, 1));
    world.session(&mut cpe).await;
    let task = world.task(&id).await;
    assert_eq!(task.state(), TaskState::UnknownOutcome, "{}", task.reason);
    assert_eq!(cpe.count("AddObject"), 1);
}

/// A gateway that has no answer asks another replica. The first call's answer may reach the device
/// all the same, so that the second one knows nothing when it can't make the request.
#[tokio::test]
async fn a_repeated_turn_that_can_not_be_answered_ends_no_try() {
    let (mut world, mut cpe) = (World::new().await, Cpe::new());
    let id = world
        .create(Kind::Download(Download {
            file_type: "1 Firmware Upgrade Image".into(),
            file: format!("tenants/{TENANT}/files/fw.bin"),
            ..Download::default()
        }))
        .await;
    let mut turn = world.opened(&mut cpe).await;
    let request = world.next(&turn).await.unwrap();
    world.files.away.store(true, SeqCst);
    let again = world.service.next_request(turn.clone()).await;
    assert_eq!(again.unwrap_err().kind, ErrorKind::Unavailable);
    world.files.away.store(false, SeqCst);
    // Later than the next try would come, within the session.
    world.advance(20);
    turn.outcome = Some(cpe.outcome(request));
    assert_eq!(world.next(&turn).await, None, "it is not sent again");
    let task = world.task(&id).await;
    assert_eq!(task.state(), TaskState::WaitingForDevice, "{}", task.reason);
    assert_eq!(task.attempts.len(), 1);
}
