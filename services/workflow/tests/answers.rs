//! What comes back from the gateway other than a device's plain answer: too much of it, under
//! another request's id, or the request itself.

use crate::common::{self, Loss, Script, World, cpe::Cpe, value};
use hearth_clients::Workflow;
use hearth_proto::{
    types::v1::{
        AddObject, GetParameterValues, Refresh, SetParameterValues, TaskState, task_spec::Kind,
    },
    workflow::v1 as wf,
};
use wf::{request::Rpc, request_outcome::Kind as Answer};

/// A session by hand.
struct Session {
    turn: wf::NextRequestRequest,
}

impl Session {
    async fn open(world: &mut World, cpe: &mut Cpe) -> Self {
        world.advance(1);
        let turn = world.opened(cpe).await;
        Self { turn }
    }

    async fn next(&self, world: &World) -> Option<wf::Request> {
        world.next(&self.turn).await
    }

    async fn answer(
        &mut self,
        world: &World,
        id: &str,
        recorded: &str,
        kind: Answer,
    ) -> Option<wf::Request> {
        self.turn.outcome = Some(wf::RequestOutcome {
            request_id: id.into(),
            recorded_request_id: recorded.into(),
            kind: Some(kind),
        });
        self.next(world).await
    }
}

/// The whole session, where the gateway takes no more than `most` values in one answer; `breaks`:
/// and then ends the session. How often it took none.
async fn session(world: &mut World, cpe: &mut Cpe, most: usize, breaks: bool) -> usize {
    let mut session = Session::open(world, cpe).await;
    let mut refused = 0;
    let mut next = session.next(world).await;
    while let Some(request) = next {
        let mut answer = cpe.execute(request.rpc.unwrap());
        if matches!(&answer, Answer::Values(read) if read.values.len() > most) {
            answer = Answer::TooLarge("too many".into());
            refused += 1;
            session.turn.last = breaks;
        }
        next = session.answer(world, &request.id, "", answer).await;
        assert!(
            next.is_none() || !session.turn.last,
            "nothing more is given"
        );
    }
    refused
}

/// Waits until the device was asked so often to connect.
async fn asked(world: &World, times: u32) {
    for _ in 0..1000 {
        if world.wakeup.asked.load(std::sync::atomic::Ordering::SeqCst) >= times {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("never asked {times} times");
}

fn read(paths: &[&str]) -> Kind {
    Kind::GetParameterValues(GetParameterValues {
        paths: paths.iter().map(|&path| path.into()).collect(),
    })
}

fn add() -> Kind {
    Kind::AddObject(AddObject {
        object: "Device.NAT.PortMapping.".into(),
        values: vec![value("Description", "web")],
    })
}

#[tokio::test]
async fn a_read_whose_answer_is_too_large_asks_for_less() {
    let refresh = Kind::Refresh(Refresh::default());
    for kind in [read(&["Device."]), refresh] {
        for breaks in [false, true] {
            let (mut world, mut cpe) = (World::new().await, Cpe::new());
            let id = world.create(kind.clone()).await;
            let mut sessions = 0;
            while !world.state(&id).await.is_final() {
                session(&mut world, &mut cpe, 2, breaks).await;
                sessions += 1;
                assert!(sessions < 20, "{kind:?} goes on for ever");
            }
            let task = world.task(&id).await;
            assert_eq!(task.state(), TaskState::Succeeded, "{}", task.reason);
            assert_eq!(task.result.unwrap().values.len(), 6, "{kind:?}");
            assert_eq!(sessions > 1, breaks, "{kind:?}");
        }
    }
}

#[tokio::test]
async fn a_broken_session_wakes_the_device_for_the_rest() {
    let (mut world, mut cpe) = (World::new().await, Cpe::new());
    let mut request = common::create(read(&["Device."]));
    request.no_wake = false;
    let made = world.service.create_task(request).await.unwrap();
    let id = made.task.unwrap().id;
    asked(&world, 1).await;
    assert_eq!(session(&mut world, &mut cpe, 2, true).await, 1);
    assert_eq!(world.state(&id).await, TaskState::Queued);
    asked(&world, 2).await;
}

#[tokio::test]
async fn one_value_that_is_too_large_ends_its_task_with_the_reason() {
    let (mut world, mut cpe) = (World::new().await, Cpe::new());
    let id = world
        .create(read(&["Device.DeviceInfo.SoftwareVersion"]))
        .await;
    assert_eq!(session(&mut world, &mut cpe, 0, false).await, 1);
    let task = world.task(&id).await;
    assert_eq!(task.state(), TaskState::Failed);
    let whole = "the device's answer on Device.DeviceInfo.SoftwareVersion is more than this server \
                 takes (too many), and can't be asked for in parts";
    assert_eq!(task.reason, whole);
    assert!(task.fault.is_none(), "the device has made no fault");
}

#[tokio::test]
async fn a_request_that_can_not_be_written_ends_its_task() {
    let (mut world, mut cpe) = (World::new().await, Cpe::new());
    let set = Kind::SetParameterValues(SetParameterValues {
        values: vec![value("Device.ManagementServer.PeriodicInformInterval", "9")],
    });
    let id = world.create(set).await;
    let other = world.create(read(&["Device.DeviceInfo."])).await;
    let mut session = Session::open(&mut world, &mut cpe).await;
    let request = session.next(&world).await.unwrap();
    let odd = Answer::Unsendable("a value holds U+0001".into());
    let next = session.answer(&world, &request.id, "", odd).await;
    assert!(next.unwrap().id.starts_with(&other), "the session goes on");
    let task = world.task(&id).await;
    assert_eq!(task.state(), TaskState::Failed);
    assert_eq!(
        task.reason,
        "the request can't be sent to the device: a value holds U+0001"
    );
    assert_eq!(task.attempts.len(), 1);
}

#[tokio::test]
async fn values_that_can_not_be_written_leave_a_known_instance() {
    let (mut world, mut cpe) = (World::new().await, Cpe::new());
    let id = world.create(add()).await;
    let mut session = Session::open(&mut world, &mut cpe).await;
    let mut request = session.next(&world).await.unwrap();
    while !matches!(request.rpc, Some(Rpc::SetParameterValues(_))) {
        let answer = cpe.execute(request.rpc.unwrap());
        request = session
            .answer(&world, &request.id, "", answer)
            .await
            .unwrap();
    }
    let odd = Answer::Unsendable("U+0001".into());
    assert!(session.answer(&world, &request.id, "", odd).await.is_none());
    let task = world.task(&id).await;
    assert_eq!(task.state(), TaskState::Failed);
    assert!(
        task.reason.contains("PortMapping.2. was made"),
        "{}",
        task.reason
    );
}

#[tokio::test]
async fn an_earlier_id_that_is_echoed_repeats_nothing() {
    let (mut world, mut cpe) = (World::new().await, Cpe::new());
    let id = world.create(add()).await;
    let mut session = Session::open(&mut world, &mut cpe).await;
    let first = session.next(&world).await.unwrap();
    // Each answer goes by the first request's id; the session's record knows better.
    let mut next = Some(first.clone());
    while let Some(request) = next {
        let answer = cpe.execute(request.rpc.unwrap());
        next = session.answer(&world, &first.id, &request.id, answer).await;
    }
    assert_eq!(world.state(&id).await, TaskState::Succeeded);
    assert_eq!(cpe.count("AddObject"), 1);
}

#[tokio::test]
async fn a_record_that_is_behind_repeats_nothing() {
    let (mut world, mut cpe) = (World::new().await, Cpe::new());
    let id = world.create(add()).await;
    let mut session = Session::open(&mut world, &mut cpe).await;
    let first = session.next(&world).await.unwrap();
    // The device keeps an early cookie, and echoes what it is asked.
    let mut next = Some(first.clone());
    while let Some(request) = next {
        let answer = cpe.execute(request.rpc.unwrap());
        next = session.answer(&world, &request.id, &first.id, answer).await;
    }
    assert_eq!(world.state(&id).await, TaskState::Succeeded);
    assert_eq!(cpe.count("AddObject"), 1);
}

/// Loses the answer to the second request, which is an AddObject's own.
const LOST: Script = Script {
    lose: Some((1, Loss::After)),
    duplicate: false,
};

#[tokio::test]
async fn two_instances_of_a_table_are_not_mistaken_for_each_other() {
    for done in [true, false] {
        let (mut world, mut cpe) = (World::new().await, Cpe::new());
        let doubtful = world.create(add()).await;
        let script = Script {
            lose: Some((1, if done { Loss::After } else { Loss::Before })),
            ..LOST
        };
        world.session_as(&mut cpe, script).await;
        // Without the key that would prove it.
        cpe.parameter_key.clear();
        let mut urgent = common::create(add());
        urgent.priority = 100;
        let made = world.service.create_task(urgent).await.unwrap();
        let urgent = made.task.unwrap().id;
        for _ in 0..3 {
            world.session(&mut cpe).await;
            world.advance(2);
        }
        let mut numbers = Vec::new();
        for id in [&doubtful, &urgent] {
            let task = world.task(id).await;
            assert_eq!(task.state(), TaskState::Succeeded, "{}", task.reason);
            numbers.push(task.result.unwrap().instance_number);
        }
        assert_eq!(numbers, [2, 3], "done {done}");
        assert_eq!(cpe.count("AddObject"), 2, "done {done}");
    }
}

#[tokio::test]
async fn a_number_that_was_deleted_meanwhile_is_a_new_one() {
    let (mut world, mut cpe) = (World::new().await, Cpe::new());
    let id = world.create(add()).await;
    let not_sent = Script {
        lose: Some((1, Loss::Before)),
        ..LOST
    };
    world.session_as(&mut cpe, not_sent).await;
    cpe.values
        .retain(|path, _| !path.contains("PortMapping.1."));
    // Looked for, not found, sent again: and now the answer is lost.
    world.session_as(&mut cpe, LOST).await;
    cpe.parameter_key.clear();
    world.session(&mut cpe).await;
    let task = world.task(&id).await;
    assert_eq!(task.state(), TaskState::Succeeded, "{}", task.reason);
    assert_eq!(task.result.unwrap().instance_number, 1);
    assert_eq!(cpe.count("AddObject"), 1);
}
