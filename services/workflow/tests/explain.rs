//! How a device's tasks stand, as whoever asks why is told it.

use crate::common::{self, DEVICE, Loss, Script, TENANT, World, cpe::Cpe};
use hearth_clients::Workflow;
use hearth_proto::{
    types::v1::{GetParameterValues, Reboot, TaskState, task_spec::Kind},
    wakeup::v1::WakeOutcome,
    workflow::v1 as wf,
};

async fn work(world: &World) -> wf::GetDeviceWorkResponse {
    let request = wf::GetDeviceWorkRequest {
        tenant: TENANT.into(),
        device: DEVICE.into(),
    };
    world.service.get_device_work(request).await.unwrap()
}

fn read() -> Kind {
    Kind::GetParameterValues(GetParameterValues {
        paths: vec!["Device.DeviceInfo.".into()],
    })
}

#[tokio::test]
async fn tasks_come_in_the_order_in_which_sessions_take_them() {
    let (mut world, mut cpe) = (World::new().await, Cpe::new());
    assert_eq!(work(&world).await, wf::GetDeviceWorkResponse::default());
    let first = world.create(read()).await;
    let second = world.create(read()).await;
    let mut urgent = common::create(read());
    urgent.priority = 10;
    let urgent = world.service.create_task(urgent).await.unwrap();
    let urgent = urgent.task.unwrap().id;
    let order = |work: &wf::GetDeviceWorkResponse| -> Vec<String> {
        work.tasks.iter().map(|open| open.task.clone()).collect()
    };
    let told = work(&world).await;
    assert_eq!(order(&told), [urgent.as_str(), &first, &second]);
    assert_eq!(
        (told.open, told.in_session, told.rebuilding),
        (3, false, false)
    );
    assert!(told.tasks[0].no_wake && told.tasks[0].kind == "get_parameter_values");
    // One is sent, and the session goes away.
    let lost = Script {
        lose: Some((0, Loss::Before)),
        ..Script::default()
    };
    world.session_as(&mut cpe, lost).await;
    let told = work(&world).await;
    let sent = &told.tasks[0];
    assert!(told.in_session && told.epoch > 0, "{told:?}");
    assert_eq!(
        (sent.task.as_str(), sent.in_flight_epoch),
        (urgent.as_str(), told.epoch)
    );
    assert!(sent.in_flight_since_us > 0 && sent.rpc == "GetParameterValues");
    world.advance(120);
    assert!(!work(&world).await.in_session);
}

#[tokio::test]
async fn one_that_waits_for_the_device_is_behind_the_others() {
    let (mut world, mut cpe) = (World::new().await, Cpe::new());
    let reboot = world.create(Kind::Reboot(Reboot {})).await;
    world.session(&mut cpe).await;
    world.wait_for(&reboot, TaskState::WaitingForDevice).await;
    let later = world.create(read()).await;
    let told = work(&world).await;
    let order: Vec<_> = told.tasks.iter().map(|open| open.task.as_str()).collect();
    assert_eq!(order, [later.as_str(), &reboot]);
}

#[tokio::test]
async fn a_wake_up_that_is_planned_is_told() {
    let world = World::new().await;
    world.wakeup.will(WakeOutcome::Unreachable, "no answer");
    let mut request = common::create(read());
    request.no_wake = false;
    world.service.create_task(request).await.unwrap();
    for _ in 0..600 {
        if let Some(wake) = work(&world).await.wake
            && wake.tries > 0
        {
            assert!(wake.time_us > common::now(&world) && !wake.accepted);
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("{:?}", work(&world).await);
}
