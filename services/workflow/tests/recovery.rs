//! Lost sessions, repeated turns, restarts, a ledger that fails: at each point, for every kind.

use crate::common::{self, Loss, Script, TENANT, World, cpe::Cpe, value};
use hearth_clients::Workflow;
use hearth_proto::{
    types::v1::{
        AddObject, DeleteObject, Download, FactoryReset, GetParameterNames, GetParameterValues,
        GetRpcMethods, Reboot, Refresh, ScheduleInform, SetParameterValues, TaskState, Upload,
        task_spec::Kind,
    },
    workflow::v1::next_request_response::Kind as Next,
};
use std::sync::atomic::Ordering::SeqCst;

fn kinds() -> Vec<Kind> {
    vec![
        Kind::GetParameterValues(GetParameterValues {
            paths: vec!["Device.DeviceInfo.".into()],
        }),
        Kind::Refresh(Refresh {
            path: "Device.".into(),
        }),
        Kind::GetParameterNames(GetParameterNames {
            path: "Device.".into(),
            next_level: false,
        }),
        Kind::SetParameterValues(SetParameterValues {
            values: vec![value("Device.ManagementServer.Password", "hunter2")],
        }),
        Kind::GetRpcMethods(GetRpcMethods {}),
        Kind::ScheduleInform(ScheduleInform { delay_seconds: 9 }),
        add(true),
        add(false),
        Kind::DeleteObject(DeleteObject {
            object: "Device.NAT.PortMapping.1.".into(),
        }),
        Kind::Reboot(Reboot {}),
        Kind::FactoryReset(FactoryReset {}),
        download(),
        Kind::Upload(Upload {
            file_type: "1 Vendor Configuration File".into(),
            ..Upload::default()
        }),
    ]
}

fn add(with_values: bool) -> Kind {
    let values = match with_values {
        true => vec![value("Description", "web")],
        false => vec![],
    };
    Kind::AddObject(AddObject {
        object: "Device.NAT.PortMapping.".into(),
        values,
    })
}

fn download() -> Kind {
    Kind::Download(Download {
        file_type: "1 Firmware Upgrade Image".into(),
        file: format!("tenants/{TENANT}/files/fw.bin"),
        ..Download::default()
    })
}

/// Each step of a read is in the ledger: what fails at each turn would begin again for ever.
async fn careful() -> World {
    let mut config = common::config();
    config.checkpoint_steps = 1;
    World::with(config).await
}

/// What must not happen twice.
fn once(kind: &Kind) -> Option<&'static str> {
    match kind {
        Kind::AddObject(_) => Some("AddObject"),
        Kind::Reboot(_) => Some("Reboot"),
        Kind::Download(_) => Some("Download"),
        Kind::Upload(_) => Some("Upload"),
        _ => None,
    }
}

/// Whether the device can't tell any more that a request never reached it.
fn never_known(kind: &Kind) -> bool {
    matches!(kind, Kind::Reboot(_) | Kind::FactoryReset(_))
}

#[tokio::test]
async fn a_session_lost_at_any_point_is_recovered() {
    let mut world = World::new().await;
    for kind in kinds() {
        for loss in [Loss::Before, Loss::After] {
            for at in 0..3 {
                // Each request once with a restart, once without, over the losses.
                let restart = (at % 2 == 0) == (loss == Loss::After);
                lose_once(&mut world, &kind, at, loss, restart).await;
            }
        }
    }
}

async fn lose_once(world: &mut World, kind: &Kind, at: usize, loss: Loss, restart: bool) {
    let what = format!("{kind:?} lost {loss:?} request {at}, restart {restart}");
    let mut cpe = Cpe::new();
    let id = world.create(kind.clone()).await;
    let script = Script {
        lose: Some((at, loss)),
        duplicate: false,
    };
    let was_lost = world.session_as(&mut cpe, script).await == at
        && world.state(&id).await == TaskState::Running;
    if restart {
        world.restart().await;
    }
    for _ in 0..4 {
        cpe.transfer();
        world.session(&mut cpe).await;
    }
    let task = world.task(&id).await;
    if was_lost && loss == Loss::Before && never_known(kind) {
        assert_eq!(task.state(), TaskState::WaitingForDevice, "{what}");
        assert_eq!(cpe.count("Reboot") + cpe.count("FactoryReset"), 0, "{what}");
        world.advance(8 * 24 * 3600);
        world.wait_for(&id, TaskState::UnknownOutcome).await;
        return;
    }
    assert_eq!(
        task.state(),
        TaskState::Succeeded,
        "{what}: {}",
        task.reason
    );
    if let Some(rpc) = once(kind) {
        let count = cpe.by_task.get(&(id, rpc)).copied();
        assert_eq!(count, Some(1), "{what}: {task:?}");
    }
}

#[tokio::test]
async fn a_restart_in_mid_session_goes_on_with_the_same_request() {
    let mut world = careful().await;
    for kind in kinds() {
        let mut cpe = Cpe::new();
        let id = world.create(kind.clone()).await;
        let mut turn = world.opened(&mut cpe).await;
        // Before each answer the process dies.
        while let Some(request) = world.next(&turn).await {
            world.restart().await;
            turn.outcome = Some(cpe.outcome(request));
            if cpe.executed.values().sum::<u32>() > 30 {
                panic!("{kind:?} goes on for ever");
            }
        }
        cpe.session_ended();
        cpe.transfer();
        world.session(&mut cpe).await;
        let task = world.task(&id).await;
        assert_eq!(task.state(), TaskState::Succeeded, "{kind:?} {task:?}");
        assert_eq!(task.attempts.len(), 1, "{kind:?}");
        if let Some(rpc) = once(&kind) {
            assert_eq!(cpe.by_task.get(&(id, rpc)), Some(&1), "{kind:?}");
        }
    }
}

#[tokio::test]
async fn repeated_turns_get_the_same_request() {
    let mut world = World::new().await;
    for kind in kinds() {
        let mut cpe = Cpe::new();
        let id = world.create(kind.clone()).await;
        let script = Script {
            lose: None,
            duplicate: true,
        };
        world.session_as(&mut cpe, script).await;
        cpe.transfer();
        world.session_as(&mut cpe, script).await;
        let task = world.task(&id).await;
        assert_eq!(task.state(), TaskState::Succeeded, "{kind:?} {task:?}");
    }
}

#[tokio::test]
async fn a_ledger_that_fails_acknowledges_nothing_and_recovers() {
    let mut world = careful().await;
    for kind in kinds() {
        for kept in [false, true] {
            let mut cpe = Cpe::new();
            let id = world.create(kind.clone()).await;
            let mut turn = world.opened(&mut cpe).await;
            loop {
                let store = &world.store;
                let failing = if kept {
                    &store.lose_answer
                } else {
                    &store.refuse
                };
                failing.store(true, SeqCst);
                let failed = world.service.next_request(turn.clone()).await;
                failing.store(false, SeqCst);
                // Steps of reads that aren't written don't fail.
                if let Err(error) = failed {
                    assert!(error.is_retryable(), "{error}");
                }
                let Some(request) = world.next(&turn).await else {
                    break;
                };
                turn.outcome = Some(cpe.outcome(request));
                let executed = cpe.executed.values().sum::<u32>();
                assert!(executed < 30, "{kind:?} kept {kept} goes on for ever");
            }
            cpe.session_ended();
            cpe.transfer();
            world.session(&mut cpe).await;
            let task = world.task(&id).await;
            assert_eq!(
                task.state(),
                TaskState::Succeeded,
                "{kind:?} kept {kept}: {task:?}"
            );
            if let Some(rpc) = once(&kind) {
                assert_eq!(cpe.by_task.get(&(id, rpc)), Some(&1), "{kind:?}");
            }
        }
    }
}

#[tokio::test]
async fn several_new_instances_are_an_unknown_outcome() {
    let (mut world, mut cpe) = (World::new().await, Cpe::new());
    let id = world.create(add(false)).await;
    let script = Script {
        lose: Some((1, Loss::After)),
        duplicate: false,
    };
    world.session_as(&mut cpe, script).await;
    // Someone else adds one, too.
    cpe.values
        .insert("Device.NAT.PortMapping.7.Enable".into(), "true".into());
    world.session(&mut cpe).await;
    let task = world.task(&id).await;
    assert_eq!(task.state(), TaskState::UnknownOutcome);
    assert!(task.reason.contains("(2, 7)"), "{}", task.reason);
    assert_eq!(cpe.count("AddObject"), 1);
}

#[tokio::test]
async fn a_device_without_queued_transfers_is_waited_for() {
    let (mut world, mut cpe) = (World::new().await, Cpe::new());
    cpe.lacks_queued_transfers = true;
    let id = world.create(download()).await;
    let script = Script {
        lose: Some((0, Loss::After)),
        duplicate: false,
    };
    world.session_as(&mut cpe, script).await;
    world.session(&mut cpe).await;
    assert_eq!(world.state(&id).await, TaskState::WaitingForDevice);
    cpe.transfer();
    world.session(&mut cpe).await;
    assert_eq!(world.state(&id).await, TaskState::Succeeded);
    assert_eq!(cpe.count("Download"), 1);
}

#[tokio::test]
async fn an_older_session_is_fenced() {
    let (mut world, mut cpe) = (World::new().await, Cpe::new());
    let id = world.create(add(false)).await;
    let mut turn = world.opened(&mut cpe).await;
    let request = world.next(&turn).await.expect("there is work");
    let outcome = cpe.outcome(request);
    world.advance(1);
    let _newer = world.opened(&mut cpe).await;
    for outcome in [None, Some(outcome)] {
        turn.outcome = outcome;
        let next = world.service.next_request(turn.clone()).await.unwrap();
        assert!(matches!(next.kind, Some(Next::Fenced(_))));
    }
    world.session(&mut cpe).await;
    assert_eq!(world.state(&id).await, TaskState::Succeeded);
    assert_eq!(cpe.count("AddObject"), 1);
}

/// A small generator: the same seed, the same run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound as u64).unwrap()
    }
}

#[tokio::test]
async fn random_losses_never_double_what_must_happen_once() {
    for seed in 1..=12_u64 {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let (mut world, mut cpe) = (World::new().await, Cpe::new());
        cpe.lacks_queued_transfers = random.below(3) == 0;
        let mut tasks = Vec::new();
        for _ in 0..25 {
            match random.below(8) {
                0 => world.restart().await,
                1 => cpe.transfer(),
                2 => world.advance(600),
                3 | 4 => {
                    let kinds = kinds();
                    let kind = kinds[random.below(kinds.len())].clone();
                    tasks.push((world.create(kind.clone()).await, kind));
                }
                _ => {
                    let loss = match random.below(2) {
                        0 => Loss::Before,
                        _ => Loss::After,
                    };
                    let at = random.below(6);
                    let script = Script {
                        lose: (random.below(3) > 0).then_some((at, loss)),
                        duplicate: random.below(3) == 0,
                    };
                    world.session_as(&mut cpe, script).await;
                }
            }
        }
        for _ in 0..8 {
            world.advance(600);
            cpe.transfer();
            world.session(&mut cpe).await;
        }
        world.advance(30 * 24 * 3600);
        world.session(&mut cpe).await;
        for (id, kind) in &tasks {
            let mut task = world.task(id).await;
            for _ in 0..400 {
                if task.state().is_final() {
                    break;
                }
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                task = world.task(id).await;
            }
            assert!(task.state().is_final(), "seed {seed}: {kind:?} {task:?}");
            let Some(rpc) = once(kind) else { continue };
            let count = cpe.by_task.get(&(id.clone(), rpc)).copied().unwrap_or(0);
            // A factory reset takes what the others did, so that their doing can't be seen.
            assert!(count <= 1, "seed {seed}: {rpc} {count} times: {task:?}");
            if task.state() == TaskState::Succeeded {
                assert_eq!(count, 1, "seed {seed}: {task:?}");
            }
        }
    }
}
