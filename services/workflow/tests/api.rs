//! Making, listing, cancelling, repeating tasks; deadlines; wake-ups.

use crate::common::{self, DEVICE, Loss, Script, TENANT, World, cpe::Cpe, create, now, value};
use hearth_clients::{Kind as ErrorKind, Workflow};
use hearth_config::HumanDuration;
use hearth_proto::{
    types::v1::{
        Download, GetParameterValues, Reboot, ScheduleInform, SetParameterValues, TaskState,
        ValueType, task_spec::Kind,
    },
    wakeup::v1::WakeOutcome,
    workflow::v1 as wf,
};
use std::sync::atomic::Ordering::SeqCst;

fn read() -> Kind {
    Kind::GetParameterValues(GetParameterValues {
        paths: vec!["Device.DeviceInfo.".into()],
    })
}

#[tokio::test]
async fn errors_name_the_field_and_the_remedy() {
    let world = World::new().await;
    let mut bad_type = value("Device.A.B", "abc");
    bad_type.set_type(ValueType::UnsignedInt);
    let set = |values| Kind::SetParameterValues(SetParameterValues { values });
    let download = |file: &str, url: &str| {
        Kind::Download(Download {
            file_type: "1 Firmware Upgrade Image".into(),
            file: file.into(),
            url: url.into(),
            ..Download::default()
        })
    };
    for (kind, field, hint) in [
        (
            set(vec![value("Device.A.B", "1"), bad_type]),
            "spec.set_parameter_values.values[1].path",
            "twice",
        ),
        (
            set(vec![value("Device.A.", "1")]),
            "spec.set_parameter_values.values[0].path",
            "object",
        ),
        (set(vec![]), "spec.set_parameter_values.values", "1 to 1000"),
        (
            set(vec![value("Device.A.B", "a\u{1}")]),
            "spec.set_parameter_values.values[0].value",
            "U+0001",
        ),
        // What every device must take is 32 KiB, as it is written.
        (
            set(vec![value("Device.A.B", &"&".repeat(7000))]),
            "spec.set_parameter_values.values",
            "32768",
        ),
        (
            set((0..300)
                .map(|i| value(&format!("Device.A.{i}"), "1"))
                .collect()),
            "spec.set_parameter_values.values",
            "several tasks",
        ),
        (
            Kind::ScheduleInform(ScheduleInform { delay_seconds: 0 }),
            "spec.schedule_inform.delay_seconds",
            "over 0",
        ),
        (download("", ""), "spec.download.file", "tenants/"),
        (
            download("tenants/other/files/a", ""),
            "spec.download.file",
            "tenants/default/files/",
        ),
        (download("", "no url"), "spec.download.url", "http://"),
    ] {
        let error = world.service.create_task(create(kind)).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::InvalidArgument);
        assert_eq!(error.field, field);
        assert!(error.message.contains(hint), "{error}");
    }
    let mut bad = value("Device.A.B", "abc");
    bad.set_type(ValueType::UnsignedInt);
    let request = create(set(vec![value("Device.A.A", "1"), bad]));
    let error = world.service.create_task(request).await.unwrap_err();
    assert_eq!(error.field, "spec.set_parameter_values.values[1].value");
    for (change, field) in [
        (
            Box::new(|r: &mut wf::CreateTaskRequest| r.priority = 101) as Box<dyn Fn(&mut _)>,
            "priority",
        ),
        (
            Box::new(|r: &mut wf::CreateTaskRequest| r.deadline_us = 1),
            "deadline",
        ),
        (
            Box::new(|r: &mut wf::CreateTaskRequest| r.max_attempts = 100_000),
            "max_attempts",
        ),
        (
            Box::new(|r: &mut wf::CreateTaskRequest| r.idempotency_key = "a b".into()),
            "idempotency_key",
        ),
        (
            Box::new(|r: &mut wf::CreateTaskRequest| r.spec = None),
            "spec",
        ),
    ] {
        let mut request = create(read());
        change(&mut request);
        let error = world.service.create_task(request).await.unwrap_err();
        assert_eq!(error.field, field);
    }
}

#[tokio::test]
async fn the_same_key_makes_one_task() {
    let mut world = World::new().await;
    let mut request = create(read());
    request.idempotency_key = "order-17".into();
    let first = world.service.create_task(request.clone()).await.unwrap();
    world.restart().await;
    let again = world.service.create_task(request).await.unwrap();
    assert!(!first.existed && again.existed);
    assert_eq!(first.task.unwrap().id, again.task.unwrap().id);
}

/// The ledger keeps the task, but answers neither the call nor, at first, who asks by the key: so it
/// is while a CQL node dies.
#[tokio::test]
async fn a_task_that_the_ledger_kept_unseen_is_worked_on_when_the_call_is_repeated() {
    let mut world = World::new().await;
    let mut request = create(read());
    request.idempotency_key = "order-18".into();
    world.store.lose_answer.store(true, SeqCst);
    let error = world.service.create_task(request.clone()).await;
    assert_eq!(error.unwrap_err().kind, ErrorKind::Unavailable);
    world.store.lose_answer.store(false, SeqCst);
    world.store.hide_keys.store(true, SeqCst);
    let again = world.service.create_task(request).await.unwrap();
    assert!(again.existed);
    let mut cpe = Cpe::new();
    assert_eq!(world.session(&mut cpe).await, 1, "it is in the queue");
    let id = again.task.unwrap().id;
    assert_eq!(world.state(&id).await, TaskState::Succeeded);
}

#[tokio::test]
async fn a_task_that_the_ledger_was_given_twice_was_made_once() {
    let world = World::new().await;
    let mut request = create(read());
    request.idempotency_key = "order-19".into();
    world.store.try_twice.store(true, SeqCst);
    let made = world.service.create_task(request).await.unwrap();
    assert!(!made.existed, "it is this call's");
    let text = world.registry.render();
    let counted = "hearth_workflow_tasks_created_total{";
    let mut counted = text.lines().filter(|line| line.starts_with(counted));
    assert!(counted.any(|line| line.ends_with(" 1")), "{text}");
}

#[tokio::test]
async fn a_full_ledger_takes_no_task() {
    let world = World::new().await;
    world.store.refuse.store(true, SeqCst);
    let error = world.service.create_task(create(read())).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable);
    world.store.refuse.store(false, SeqCst);
    let (mut world, mut cpe) = (world, Cpe::new());
    assert_eq!(world.session(&mut cpe).await, 0);
}

#[tokio::test]
async fn too_many_open_tasks_are_refused() {
    let mut config = common::config();
    config.max_open_per_device = 2;
    let world = World::with(config).await;
    world.create(read()).await;
    world.create(read()).await;
    let error = world.service.create_task(create(read())).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::ResourceExhausted);
}

#[tokio::test]
async fn lists_in_pages_newest_first() {
    let (mut world, mut cpe) = (World::new().await, Cpe::new());
    let mut made = Vec::new();
    for _ in 0..7 {
        made.push(world.create(read()).await);
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    let list = |page_token: String, states: Vec<i32>| wf::ListTasksRequest {
        tenant: TENANT.into(),
        device: DEVICE.into(),
        states,
        page_size: 3,
        page_token,
    };
    let (mut found, mut token) = (Vec::new(), String::new());
    for _ in 0..3 {
        let page = world.service.list_tasks(list(token, vec![])).await.unwrap();
        found.extend(page.tasks.into_iter().map(|task| task.id));
        token = page.next_page_token;
    }
    made.reverse();
    assert_eq!(found, made);
    assert!(token.is_empty());
    world.session(&mut cpe).await;
    let done = list(String::new(), vec![TaskState::Succeeded.into()]);
    assert_eq!(world.service.list_tasks(done).await.unwrap().tasks.len(), 3);
    let open = list(String::new(), vec![TaskState::Queued.into()]);
    assert!(
        world
            .service
            .list_tasks(open)
            .await
            .unwrap()
            .tasks
            .is_empty()
    );
    let error = world
        .service
        .list_tasks(list("x".into(), vec![]))
        .await
        .unwrap_err();
    assert_eq!(error.field, "page_token");
}

#[tokio::test]
async fn cancels_only_what_was_not_sent() {
    let (mut world, mut cpe) = (World::new().await, Cpe::new());
    let cancel = |id: &str| wf::CancelTaskRequest {
        tenant: TENANT.into(),
        task: id.into(),
    };
    let queued = world.create(read()).await;
    let done = world.service.cancel_task(cancel(&queued)).await.unwrap();
    assert_eq!(done.task.unwrap().state(), TaskState::Cancelled);
    assert_eq!(world.session(&mut cpe).await, 0);

    let reboot = world.create(Kind::Reboot(Reboot {})).await;
    world.session(&mut cpe).await;
    let error = world
        .service
        .cancel_task(cancel(&reboot))
        .await
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::FailedPrecondition);
    assert!(error.message.contains("device has it"), "{error}");
    let retry = wf::RetryTaskRequest {
        tenant: TENANT.into(),
        task: queued.clone(),
    };
    let again = world.service.retry_task(retry).await.unwrap().task.unwrap();
    assert_eq!(again.retry_of, queued);
    world.session(&mut cpe).await;
    assert_eq!(world.state(&again.id).await, TaskState::Succeeded);
    let retry = wf::RetryTaskRequest {
        tenant: TENANT.into(),
        task: again.id,
    };
    let error = world.service.retry_task(retry).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::FailedPrecondition);
    let error = world
        .service
        .cancel_task(cancel("01arz3ndektsv4rrffq69g5fav"))
        .await
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound);
}

#[tokio::test]
async fn a_deleted_device_has_no_open_tasks() {
    let (mut world, mut cpe) = (World::new().await, Cpe::new());
    let reboot = world.create(Kind::Reboot(Reboot {})).await;
    world.session(&mut cpe).await;
    let queued = world.create(read()).await;
    let request = wf::ForgetDeviceRequest {
        tenant: TENANT.into(),
        device: DEVICE.into(),
    };
    let done = world.service.forget_device(request).await.unwrap();
    assert_eq!(done.cancelled, 2);
    assert_eq!(world.state(&queued).await, TaskState::Cancelled);
    // It was sent.
    assert_eq!(world.state(&reboot).await, TaskState::UnknownOutcome);
    assert_eq!(world.session(&mut cpe).await, 0);
}

#[tokio::test]
async fn deadlines() {
    let (mut world, mut cpe) = (World::new().await, Cpe::new());
    let mut request = create(read());
    request.deadline_us = now(&world) + 60_000_000;
    let id = world.service.create_task(request).await.unwrap();
    let id = id.task.unwrap().id;
    let reboot = world.create(Kind::Reboot(Reboot {})).await;
    world.advance(61);
    let task = world.wait_for(&id, TaskState::Expired).await;
    assert!(task.reason.contains("no session"), "{}", task.reason);
    world.session(&mut cpe).await;
    cpe.inform();
    world.advance(8 * 24 * 3600);
    let task = world.wait_for(&reboot, TaskState::UnknownOutcome).await;
    assert!(task.reason.contains("M Reboot"), "{}", task.reason);
}

#[tokio::test]
async fn a_lost_session_shows_before_the_device_comes_back() {
    let (mut world, mut cpe) = (World::new().await, Cpe::new());
    let id = world.create(read()).await;
    let script = Script {
        lose: Some((0, Loss::Before)),
        duplicate: false,
    };
    world.session_as(&mut cpe, script).await;
    assert_eq!(world.state(&id).await, TaskState::Running);
    world.advance(60);
    let task = world.wait_for(&id, TaskState::Queued).await;
    assert!(task.reason.contains("session ended"), "{}", task.reason);
    world.session(&mut cpe).await;
    assert_eq!(world.state(&id).await, TaskState::Succeeded);
    // And one whose device never comes back.
    let id = world.create(read()).await;
    world.session_as(&mut cpe, script).await;
    world.advance(8 * 24 * 3600);
    world.wait_for(&id, TaskState::Failed).await;
}

#[tokio::test]
async fn wakes_the_device_and_says_why_not() {
    let mut config = common::config();
    config.wake_backoff = vec![HumanDuration::secs(10)];
    let (mut world, mut cpe) = (World::with(config).await, Cpe::new());
    let detail = "no connection to 192.0.2.1:7547 in 5 s";
    world.wakeup.will(WakeOutcome::Unreachable, detail);
    let mut request = create(read());
    request.no_wake = false;
    let made = world.service.create_task(request.clone()).await.unwrap();
    let made = made.task.unwrap();
    assert_eq!(made.state(), TaskState::Waking);
    let task = world.wait_for(&made.id, TaskState::Queued).await;
    assert!(task.reason.starts_with(detail), "{}", task.reason);
    assert!(task.reason.contains("in 10 s"), "{}", task.reason);
    world.advance(11);
    for _ in 0..500 {
        if world.wakeup.asked.load(SeqCst) == 2 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert_eq!(world.wakeup.asked.load(SeqCst), 2);
    world.session(&mut cpe).await;
    assert_eq!(world.state(&made.id).await, TaskState::Succeeded);
    // In a session that has work nobody is woken.
    world.create(read()).await;
    let open = world.open(&mut cpe).await;
    world.service.open_session(open).await.unwrap();
    let made = world.service.create_task(request).await.unwrap();
    assert_eq!(made.task.unwrap().state(), TaskState::Queued);
    assert_eq!(world.wakeup.asked.load(SeqCst), 2);
}

#[tokio::test]
async fn an_idle_session_touches_no_disk() {
    let (mut world, mut cpe) = (World::new().await, Cpe::new());
    let before = world.store.puts.load(SeqCst);
    for _ in 0..10 {
        assert_eq!(world.session(&mut cpe).await, 0);
    }
    assert_eq!(world.store.puts.load(SeqCst), before);
    let text = world.registry.render();
    assert!(text.contains("hearth_workflow_sessions_total 10"), "{text}");
}

#[tokio::test]
async fn a_turn_costs_one_commit() {
    let (mut world, mut cpe) = (World::new().await, Cpe::new());
    for _ in 0..5 {
        world.create(read()).await;
    }
    let before = world.store.puts.load(SeqCst);
    assert_eq!(world.session(&mut cpe).await, 5);
    assert_eq!(world.store.puts.load(SeqCst) - before, 6);
}
