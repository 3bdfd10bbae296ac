//! Every kind of task: its happy path, and its faults.

use crate::common::{self, Script, TENANT, World, cpe::Cpe, create, value};
use futures::StreamExt;
use hearth_bus::{Bus, Stream, TailEvent};
use hearth_clients::Workflow;
use hearth_proto::{
    devicestate::v1::Parameter,
    events::v1::{Event, ValueSource, event},
    types::v1::{
        AddObject, DeleteObject, Download, FactoryReset, GetParameterAttributes, GetParameterNames,
        GetParameterValues, GetRpcMethods, ParameterAttributes, Reboot, Refresh, ScheduleInform,
        SetParameterAttributes, SetParameterValues, TaskState, Upload, ValueType, task_spec::Kind,
    },
    workflow::v1::request::Rpc,
};
use prost::Message;

fn get(paths: &[&str]) -> Kind {
    Kind::GetParameterValues(GetParameterValues {
        paths: paths.iter().map(|p| (*p).to_owned()).collect(),
    })
}

#[tokio::test]
async fn reads_values_and_masks_nothing_that_is_open() {
    let (mut world, mut cpe) = (World::new().await, Cpe::new());
    let paths = ["Device.DeviceInfo.", "Device.ManagementServer.Password"];
    cpe.values
        .insert("Device.ManagementServer.Password".into(), "hunter2".into());
    let id = world.create(get(&paths)).await;
    assert_eq!(world.state(&id).await, TaskState::Queued);
    world.session(&mut cpe).await;
    let task = world.task(&id).await;
    assert_eq!(task.state(), TaskState::Succeeded, "{}", task.reason);
    let result = task.result.unwrap();
    assert_eq!((result.total, result.truncated), (3, false));
    assert_eq!(result.values[0].value, "1");
    assert!(!format!("{result:?}").contains("hunter2"));
    assert!(!result.values[2].sealed.is_empty());
    assert_eq!(task.attempts.len(), 1);
    assert_eq!(task.attempts[0].rpc, "GetParameterValues");
}

#[tokio::test]
async fn large_reads_are_split_and_adapt() {
    let (mut world, mut cpe) = (World::new().await, Cpe::new());
    let mut paths = Vec::new();
    for n in 0..250 {
        let path = format!("Device.X.{n}.Value");
        cpe.values.insert(path.clone(), n.to_string());
        paths.push(path);
    }
    cpe.most = 30;
    let id = world
        .create(Kind::GetParameterValues(GetParameterValues { paths }))
        .await;
    let requests = world.session(&mut cpe).await;
    let task = world.task(&id).await;
    assert_eq!(task.state(), TaskState::Succeeded, "{}", task.reason);
    assert_eq!(task.result.unwrap().total, 250);
    // 100 and 50 refused, then 25 at a time.
    assert_eq!(requests, 12);
    tokio::task::yield_now().await;
    assert_eq!(world.device_state.model.lock().unwrap().gpv_batch, 25);
}

#[tokio::test]
async fn a_partial_path_too_large_is_read_child_by_child() {
    let (mut world, mut cpe) = (World::new().await, Cpe::new());
    cpe.most = 3;
    cpe.strict_partial = true;
    let id = world.create(get(&["Device."])).await;
    world.session(&mut cpe).await;
    let task = world.task(&id).await;
    assert_eq!(task.state(), TaskState::Succeeded, "{}", task.reason);
    assert_eq!(task.result.unwrap().total, 6);
}

#[tokio::test]
async fn an_unknown_name_is_named() {
    let (mut world, mut cpe) = (World::new().await, Cpe::new());
    let paths = [
        "Device.DeviceInfo.SerialNumber",
        "Device.DeviceInfo.SoftwareVersion",
        "Device.Nothing",
    ];
    let id = world.create(get(&paths)).await;
    world.session(&mut cpe).await;
    let task = world.task(&id).await;
    assert_eq!(task.state(), TaskState::Failed);
    assert!(task.reason.contains("Device.Nothing"), "{}", task.reason);
    let fault = task.fault.unwrap();
    assert_eq!(fault.code, 9005);
    assert!(fault.remedy.contains("Discover"), "{}", fault.remedy);
}

#[tokio::test]
async fn refreshes_the_tree_by_its_root() {
    for (root, refuses) in [("", false), ("", true), ("Device.", true)] {
        let (mut world, mut cpe) = (World::new().await, Cpe::new());
        root.clone_into(&mut world.device_state.root.lock().unwrap());
        cpe.refuses_empty_path = refuses;
        let id = world.create(Kind::Refresh(Refresh::default())).await;
        world.session(&mut cpe).await;
        let task = world.task(&id).await;
        assert_eq!(task.state(), TaskState::Succeeded, "{}", task.reason);
        assert_eq!(task.result.unwrap().total, 6);
    }
}

#[tokio::test]
async fn an_instance_that_vanishes_does_not_fail_a_refresh() {
    let mut config = common::config();
    config.gpv_batch = 2;
    let (mut world, mut cpe) = (World::with(config).await, Cpe::new());
    let id = world
        .create(Kind::Refresh(Refresh {
            path: "Device.".into(),
        }))
        .await;
    // The names are found; before the values are read, the instance is gone.
    let script = Script {
        lose: Some((1, common::Loss::Before)),
        duplicate: false,
    };
    world.session_as(&mut cpe, script).await;
    cpe.values.retain(|path, _| !path.contains("PortMapping"));
    world.session(&mut cpe).await;
    let task = world.task(&id).await;
    assert_eq!(task.state(), TaskState::Succeeded, "{}", task.reason);
    assert_eq!(task.result.unwrap().total, 4);
}

#[tokio::test]
async fn sets_values_with_known_types_and_tells_the_bus() {
    let (mut world, mut cpe) = (World::new().await, Cpe::new());
    world.device_state.types.lock().unwrap().push(Parameter {
        path: "Device.ManagementServer.PeriodicInformInterval".into(),
        r#type: ValueType::UnsignedInt.into(),
        has_value: true,
        ..Parameter::default()
    });
    let mut tail = world.bus.tail(&[Stream::Values, Stream::TaskChange]);
    let values = vec![
        value("Device.ManagementServer.PeriodicInformInterval", "60"),
        value("Device.ManagementServer.Password", "hunter2"),
    ];
    let kind = Kind::SetParameterValues(SetParameterValues { values });
    let id = world.create(kind).await;
    let kept = world.task(&id).await;
    assert!(!format!("{kept:?}").contains("hunter2"), "sealed at rest");
    world.session(&mut cpe).await;
    assert_eq!(world.state(&id).await, TaskState::Succeeded);
    assert_eq!(
        cpe.values["Device.ManagementServer.Password"], "hunter2",
        "in plain text to the device"
    );
    let Some(Rpc::SetParameterValues(sent)) = &cpe.last else {
        panic!("{:?}", cpe.last);
    };
    assert_eq!(sent.values[0].r#type(), ValueType::UnsignedInt);
    assert_eq!(sent.parameter_key, format!("{id}.1"));
    let (mut states, mut set) = (Vec::new(), None);
    while states.len() < 3 {
        let Some(TailEvent::Message(message)) = tail.next().await else {
            panic!("the bus ended");
        };
        match Event::decode(message.payload).unwrap().kind.unwrap() {
            event::Kind::TaskChanged(changed) => states.push(changed.state()),
            event::Kind::ValuesReported(reported) => set = Some(reported),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(
        states,
        [TaskState::Queued, TaskState::Running, TaskState::Succeeded]
    );
    let set = set.unwrap();
    assert_eq!(
        (set.source(), set.task.as_str()),
        (ValueSource::Set, id.as_str())
    );
    assert!(set.values[1].value.is_empty() && !set.values[1].sealed.is_empty());
}

#[tokio::test]
async fn a_refused_set_fails_with_its_parameters() {
    let (mut world, mut cpe) = (World::new().await, Cpe::new());
    let values = vec![value("Device.Nothing.X", "1")];
    let kind = Kind::SetParameterValues(SetParameterValues { values });
    let id = world.create(kind).await;
    world.session(&mut cpe).await;
    let task = world.task(&id).await;
    assert_eq!(task.state(), TaskState::Failed);
    assert_eq!(task.fault.unwrap().parameters[0].path, "Device.Nothing.X");
}

#[tokio::test]
async fn names_attributes_methods_schedule() {
    let (mut world, mut cpe) = (World::new().await, Cpe::new());
    cpe.most = 2;
    let names = world
        .create(Kind::GetParameterNames(GetParameterNames {
            path: "Device.".into(),
            next_level: true,
        }))
        .await;
    let paths = ["Device.A", "Device.B", "Device.C"].map(String::from);
    let attributes = world
        .create(Kind::GetParameterAttributes(GetParameterAttributes {
            paths: paths.to_vec(),
        }))
        .await;
    let set = ParameterAttributes {
        path: "Device.A".into(),
        notification: Some(2),
        ..ParameterAttributes::default()
    };
    let set = world
        .create(Kind::SetParameterAttributes(SetParameterAttributes {
            attributes: vec![set],
        }))
        .await;
    let methods = world.create(Kind::GetRpcMethods(GetRpcMethods {})).await;
    let schedule = ScheduleInform { delay_seconds: 5 };
    let schedule = world.create(Kind::ScheduleInform(schedule)).await;
    world.session(&mut cpe).await;
    for id in [&names, &attributes, &set, &methods, &schedule] {
        let task = world.task(id).await;
        assert_eq!(task.state(), TaskState::Succeeded, "{}", task.reason);
    }
    assert_eq!(world.task(&names).await.result.unwrap().names.len(), 3);
    let read = world.task(&attributes).await.result.unwrap();
    assert_eq!(read.attributes.len(), 3);
    let told = world.task(&methods).await.result.unwrap().methods;
    assert_eq!(told, cpe.methods);
}

#[tokio::test]
async fn an_unsupported_method_fails_only_its_task() {
    let (mut world, mut cpe) = (World::new().await, Cpe::new());
    cpe.faults.insert("ScheduleInform", (9000, 1));
    let schedule = ScheduleInform { delay_seconds: 5 };
    let schedule = world.create(Kind::ScheduleInform(schedule)).await;
    let read = world.create(get(&["Device.DeviceInfo."])).await;
    world.session(&mut cpe).await;
    assert_eq!(world.state(&schedule).await, TaskState::Failed);
    assert_eq!(world.state(&read).await, TaskState::Succeeded);
    tokio::task::yield_now().await;
    let model = world.device_state.model.lock().unwrap().clone();
    assert_eq!(model.unsupported_rpcs, ["ScheduleInform"]);
}

#[tokio::test]
async fn a_passing_fault_is_tried_again_after_a_delay() {
    let (mut world, mut cpe) = (World::new().await, Cpe::new());
    cpe.faults.insert("GetParameterValues", (9002, 1));
    let id = world.create(get(&["Device.DeviceInfo."])).await;
    world.session(&mut cpe).await;
    let task = world.task(&id).await;
    assert_eq!(task.state(), TaskState::Queued);
    assert!(task.reason.contains("fault 9002"), "{}", task.reason);
    assert_eq!(world.session(&mut cpe).await, 0, "not before its time");
    world.advance(11);
    world.session(&mut cpe).await;
    let task = world.task(&id).await;
    assert_eq!(task.state(), TaskState::Succeeded);
    assert_eq!(task.attempts.len(), 2);

    cpe.faults.insert("GetParameterValues", (9002, 99));
    let id = world.create(get(&["Device.DeviceInfo."])).await;
    for _ in 0..5 {
        world.session(&mut cpe).await;
        world.advance(1000);
    }
    let task = world.task(&id).await;
    assert_eq!(task.state(), TaskState::Failed);
    assert!(task.reason.contains("5 tries"), "{}", task.reason);
}

#[tokio::test]
async fn adds_and_deletes_objects() {
    let (mut world, mut cpe) = (World::new().await, Cpe::new());
    let object = "Device.NAT.PortMapping.".to_owned();
    let add = AddObject {
        object,
        values: vec![value("Description", "web"), value("Enable", "true")],
    };
    let id = world.create(Kind::AddObject(add)).await;
    world.session(&mut cpe).await;
    let task = world.task(&id).await;
    assert_eq!(task.state(), TaskState::Succeeded, "{}", task.reason);
    assert_eq!(task.result.unwrap().instance_number, 2);
    assert_eq!(cpe.values["Device.NAT.PortMapping.2.Description"], "web");
    let object = "Device.NAT.PortMapping.2.".to_owned();
    let delete = Kind::DeleteObject(DeleteObject { object });
    let id = world.create(delete.clone()).await;
    world.session(&mut cpe).await;
    assert_eq!(world.state(&id).await, TaskState::Succeeded);
    let id = world.create(delete).await;
    world.session(&mut cpe).await;
    assert_eq!(world.state(&id).await, TaskState::Failed, "it is gone");
}

#[tokio::test]
async fn a_reboot_ends_by_its_event_and_ends_the_session() {
    for tells in [true, false] {
        let (mut world, mut cpe) = (World::new().await, Cpe::new());
        cpe.tells_reboot = tells;
        let id = world.create(Kind::Reboot(Reboot {})).await;
        let read = world.create(get(&["Device.DeviceInfo."])).await;
        let script = Script {
            duplicate: true,
            lose: None,
        };
        assert_eq!(world.session_as(&mut cpe, script).await, 1);
        assert_eq!(world.state(&id).await, TaskState::WaitingForDevice);
        assert_eq!(world.state(&read).await, TaskState::Queued);
        world.session(&mut cpe).await;
        let task = world.task(&id).await;
        assert_eq!(task.state(), TaskState::Succeeded, "{}", task.reason);
        assert_eq!(world.state(&read).await, TaskState::Succeeded);
        assert_eq!(cpe.count("Reboot"), 1);
    }
}

#[tokio::test]
async fn a_factory_reset_ends_by_bootstrap_and_fails_waiting_transfers() {
    let (mut world, mut cpe) = (World::new().await, Cpe::new());
    let download = world.create(Kind::Download(download())).await;
    let reset = world.create(Kind::FactoryReset(FactoryReset {})).await;
    world.session(&mut cpe).await;
    assert_eq!(world.state(&reset).await, TaskState::WaitingForDevice);
    world.session(&mut cpe).await;
    assert_eq!(world.state(&reset).await, TaskState::Succeeded);
    let task = world.task(&download).await;
    assert_eq!(task.state(), TaskState::Failed);
    assert!(task.reason.contains("reset"), "{}", task.reason);
}

fn download() -> Download {
    Download {
        file_type: "1 Firmware Upgrade Image".into(),
        file: format!("tenants/{TENANT}/files/fw.bin"),
        ..Download::default()
    }
}

#[tokio::test]
async fn transfers_end_by_their_report() {
    let (mut world, mut cpe) = (World::new().await, Cpe::new());
    let down = world.create(Kind::Download(download())).await;
    let upload = Upload {
        file_type: "1 Vendor Configuration File".into(),
        ..Upload::default()
    };
    let up = world.create(Kind::Upload(upload)).await;
    world.session(&mut cpe).await;
    for id in [&down, &up] {
        assert_eq!(world.state(id).await, TaskState::WaitingForDevice);
    }
    let Some(Rpc::Upload(sent)) = &cpe.last else {
        panic!("{:?}", cpe.last);
    };
    assert!(sent.url.contains("{host}") && sent.password == "p");
    cpe.transfer();
    world.session(&mut cpe).await;
    let task = world.task(&down).await;
    assert_eq!(task.state(), TaskState::Succeeded, "{}", task.reason);
    let result = task.result.unwrap();
    assert!(result.transfer_start_time.is_some() && result.transfer_complete_time.is_some());
    let file = world.task(&up).await.result.unwrap().file;
    assert_eq!(file, format!("tenants/{TENANT}/files/config-1.xml"));
    assert!(cpe.reports().is_empty());
    // Again, and one that nobody knows.
    let mut report = hearth_proto::events::v1::TransferComplete {
        command_key: format!("{down}.1"),
        ..Default::default()
    };
    assert!(world.report(report.clone()).await);
    report.command_key = "someone else's".into();
    assert!(!world.report(report).await);
}

#[tokio::test]
async fn a_transfer_at_once_and_failed_ones() {
    let (mut world, mut cpe) = (World::new().await, Cpe::new());
    cpe.transfer_status = 0;
    let id = world.create(Kind::Download(download())).await;
    world.session(&mut cpe).await;
    assert_eq!(world.state(&id).await, TaskState::Succeeded);
    // One that passes is tried again; one that doesn't fails.
    cpe.transfer_status = 1;
    let id = world.create(Kind::Download(download())).await;
    world.session(&mut cpe).await;
    cpe.transfer_fault = 9015;
    cpe.transfer();
    world.session(&mut cpe).await;
    let task = world.task(&id).await;
    assert_eq!(task.state(), TaskState::Queued, "{}", task.reason);
    world.advance(11);
    world.session(&mut cpe).await;
    cpe.transfer_fault = 9019;
    cpe.transfer();
    world.session(&mut cpe).await;
    let task = world.task(&id).await;
    assert_eq!(task.state(), TaskState::Failed, "{}", task.reason);
    assert_eq!(task.fault.unwrap().code, 9019);
    assert_eq!(task.attempts.len(), 2);
}

#[tokio::test]
async fn a_missing_file_fails_before_anything_is_sent() {
    let (mut world, mut cpe) = (World::new().await, Cpe::new());
    let file = format!("tenants/{TENANT}/files/gone.bin");
    let id = world
        .create(Kind::Download(Download { file, ..download() }))
        .await;
    assert_eq!(world.session(&mut cpe).await, 0);
    let task = world.task(&id).await;
    assert_eq!(task.state(), TaskState::Failed);
    assert!(task.reason.contains("gone.bin"), "{}", task.reason);
    use std::sync::atomic::Ordering::SeqCst;
    world.files.away.store(true, SeqCst);
    let id = world.create(Kind::Download(download())).await;
    assert_eq!(world.session(&mut cpe).await, 0);
    assert_eq!(world.state(&id).await, TaskState::Queued);
    world.files.away.store(false, SeqCst);
    world.advance(11);
    world.session(&mut cpe).await;
    assert_eq!(world.state(&id).await, TaskState::WaitingForDevice);
}

#[tokio::test]
async fn priority_comes_first_then_age() {
    let (mut world, mut cpe) = (World::new().await, Cpe::new());
    let first = world.create(get(&["Device.DeviceInfo."])).await;
    let mut urgent = create(get(&["Device.NAT."]));
    urgent.priority = 10;
    let urgent = world.service.create_task(urgent).await.unwrap();
    let urgent = urgent.task.unwrap().id;
    world.session(&mut cpe).await;
    let (first, urgent) = (world.task(&first).await, world.task(&urgent).await);
    let start = |task: &hearth_proto::workflow::v1::Task| task.update_time_us;
    assert!(start(&urgent) <= start(&first));
    assert_eq!(urgent.attempts[0].epoch, first.attempts[0].epoch);
}
