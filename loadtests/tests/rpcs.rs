//! Every RPC a device executes, over real HTTP.

use crate::support::{Acs, codes, until};
use hearth_cwmp::*;
use hearth_sim::{Behaviour, Fleet, FleetOptions};

const SSID: &str = "Device.WiFi.SSID.1.SSID";

async fn start() -> (std::sync::Arc<Acs>, Fleet) {
    start_with(|_| {}).await
}

async fn start_with(change: impl FnOnce(&mut FleetOptions)) -> (std::sync::Arc<Acs>, Fleet) {
    let acs = Acs::start().await;
    let mut options = acs.options();
    change(&mut options);
    let fleet = Fleet::start(options).await.unwrap();
    until("the first session", || fleet.stats().sessions > 0).await;
    (acs, fleet)
}

fn fault_code(message: Message) -> u32 {
    match message {
        Message::Fault(fault) => fault.code.0,
        other => panic!("a fault was expected, not {}", other.method()),
    }
}

fn response(message: Message) -> CpeResponse {
    match message {
        Message::CpeResponse(response) => response,
        other => panic!("a response was expected, not {other:?}"),
    }
}

#[tokio::test]
async fn the_first_inform_says_who_it_is() {
    let (acs, fleet) = start().await;
    let inform = acs.informs().remove(0);
    assert_eq!(codes(&inform), ["0 BOOTSTRAP", "1 BOOT"]);
    assert_eq!(inform.device_id.serial_number, "SIM000001");
    assert_eq!(inform.device_id.oui, "00D09E");
    let value = |name: &str| {
        inform
            .parameter_list
            .iter()
            .find(|p| p.name == name)
            .unwrap()
    };
    assert_eq!(value("Device.DeviceInfo.SoftwareVersion").value, "4.2.0");
    let url = &value("Device.ManagementServer.ConnectionRequestURL").value;
    assert_eq!(*url, fleet.devices()[0].connection_request_url());
    let acknowledged = fleet.devices()[0].acknowledged();
    assert_eq!(acknowledged[0].values, inform.parameter_list);
    fleet.stop().await;
}

#[tokio::test]
async fn values_names_and_attributes() {
    let (acs, fleet) = start().await;
    let set = AcsRequest::SetParameterValues(SetParameterValues {
        parameter_list: vec![ParameterValue::new(SSID, "Neu & gut", XsdType::String)],
        parameter_key: "task1.1".to_owned(),
    });
    let done = response(acs.ask(&fleet, set).await);
    assert_eq!(
        done,
        CpeResponse::SetParameterValues(StatusResponse { status: 0 })
    );
    assert_eq!(fleet.devices()[0].value(SSID).unwrap(), "Neu & gut");
    assert_eq!(
        fleet.devices()[0].root_value("ManagementServer.ParameterKey"),
        "task1.1"
    );

    let get = |name: &str| {
        AcsRequest::GetParameterValues(GetParameterValues {
            parameter_names: vec![name.to_owned()],
        })
    };
    let CpeResponse::GetParameterValues(read) = response(acs.ask(&fleet, get(SSID)).await) else {
        panic!()
    };
    assert_eq!(read.parameter_list[0].value, "Neu & gut");
    assert_eq!(fault_code(acs.ask(&fleet, get("Device.Nope")).await), 9005);

    let names = AcsRequest::GetParameterNames(GetParameterNames {
        parameter_path: "Device.NAT.".to_owned(),
        next_level: true,
    });
    let CpeResponse::GetParameterNames(names) = response(acs.ask(&fleet, names).await) else {
        panic!()
    };
    assert_eq!(names.parameter_list.len(), 4);

    let attributes = AcsRequest::SetParameterAttributes(SetParameterAttributes {
        parameter_list: vec![SetParameterAttributesStruct {
            name: SSID.to_owned(),
            notification_change: true,
            notification: 2,
            ..SetParameterAttributesStruct::default()
        }],
    });
    let done = response(acs.ask(&fleet, attributes).await);
    assert_eq!(done, CpeResponse::SetParameterAttributes);
    let read = AcsRequest::GetParameterAttributes(GetParameterAttributes {
        parameter_names: vec![SSID.to_owned()],
    });
    let CpeResponse::GetParameterAttributes(read) = response(acs.ask(&fleet, read).await) else {
        panic!()
    };
    assert_eq!(read.parameter_list[0].notification, 2);

    // The ACS's own change is not told to it; the user's is, at once.
    let before = acs.informs().len();
    assert!(fleet.devices()[0].set_value(SSID, "By the user"));
    until("VALUE CHANGE", || acs.informs().len() > before).await;
    let inform = acs.informs().pop().unwrap();
    assert_eq!(codes(&inform), ["4 VALUE CHANGE"]);
    assert!(
        inform
            .parameter_list
            .iter()
            .any(|p| p.name == SSID && p.value == "By the user")
    );
    fleet.stop().await;
}

#[tokio::test]
async fn objects() {
    let (acs, fleet) = start().await;
    let add = AcsRequest::AddObject(AddObject {
        object_name: "Device.NAT.PortMapping.".to_owned(),
        parameter_key: "task2.1".to_owned(),
    });
    let added = CpeResponse::AddObject(AddObjectResponse {
        instance_number: 1,
        status: 0,
    });
    assert_eq!(response(acs.ask(&fleet, add.clone()).await), added);
    let device = &fleet.devices()[0];
    assert_eq!(
        device.root_value("ManagementServer.ParameterKey"),
        "task2.1"
    );
    assert!(fleet.doubled().is_empty());
    acs.ask(&fleet, add).await;
    let doubled = fleet.doubled();
    assert_eq!(
        (doubled[0].method, &*doubled[0].task, doubled[0].times),
        ("AddObject", "task2", 2)
    );

    let delete = AcsRequest::DeleteObject(DeleteObject {
        object_name: "Device.NAT.PortMapping.1.".to_owned(),
        parameter_key: String::new(),
    });
    let done = response(acs.ask(&fleet, delete.clone()).await);
    assert_eq!(
        done,
        CpeResponse::DeleteObject(StatusResponse { status: 0 })
    );
    assert_eq!(fault_code(acs.ask(&fleet, delete).await), 9005);
    assert_eq!(device.root_value("NAT.PortMappingNumberOfEntries"), "1");
    let faults: Vec<_> = device
        .executed()
        .iter()
        .map(|e| (e.method, e.fault))
        .collect();
    assert_eq!(faults.last(), Some(&("DeleteObject", Some(9005))));
    fleet.stop().await;
}

#[tokio::test]
async fn a_reboot_comes_after_the_session() {
    let (acs, fleet) = start().await;
    let address = fleet.devices()[0].connection_request_url();
    let reboot = AcsRequest::Reboot(Reboot {
        command_key: "task3.1".to_owned(),
    });
    assert_eq!(response(acs.ask(&fleet, reboot).await), CpeResponse::Reboot);
    until("M Reboot", || {
        codes(acs.informs().last().unwrap()).contains(&"M Reboot")
    })
    .await;
    let inform = acs.informs().pop().unwrap();
    assert_eq!(codes(&inform), ["M Reboot", "1 BOOT"]);
    assert_eq!(inform.event[0].command_key, "task3.1");
    assert_ne!(fleet.devices()[0].connection_request_url(), address);
    fleet.stop().await;
}

#[tokio::test]
async fn a_factory_reset_forgets_everything() {
    let (acs, fleet) = start().await;
    fleet.devices()[0].set_value(SSID, "X");
    assert_eq!(
        response(acs.ask(&fleet, AcsRequest::FactoryReset).await),
        CpeResponse::FactoryReset
    );
    until("BOOTSTRAP", || {
        acs.informs().len() > 2 && codes(acs.informs().last().unwrap()).contains(&"0 BOOTSTRAP")
    })
    .await;
    assert_eq!(fleet.devices()[0].value(SSID).unwrap(), "Hearth");
    assert_eq!(
        fleet.devices()[0].root_value("DeviceInfo.SerialNumber"),
        "SIM000001"
    );
    fleet.stop().await;
}

#[tokio::test]
async fn scheduled_and_periodic_informs() {
    let (acs, fleet) = start_with(|options| {
        options.periodic = Some(std::time::Duration::from_secs(20));
    })
    .await;
    let schedule = AcsRequest::ScheduleInform(ScheduleInform {
        delay_seconds: 5,
        command_key: "task4.1".to_owned(),
    });
    assert_eq!(
        response(acs.ask(&fleet, schedule).await),
        CpeResponse::ScheduleInform
    );
    let with = |code: &str| {
        acs.informs()
            .iter()
            .any(|inform| codes(inform).contains(&code))
    };
    until("3 SCHEDULED", || {
        with("3 SCHEDULED") && with("M ScheduleInform")
    })
    .await;
    until("2 PERIODIC", || with("2 PERIODIC")).await;
    fleet.stop().await;
}

#[tokio::test]
async fn methods() {
    let (acs, fleet) = start_with(|options| {
        options.behaviour.unsupported = vec!["Upload".to_owned()];
    })
    .await;
    let CpeResponse::GetRpcMethods(methods) =
        response(acs.ask(&fleet, AcsRequest::GetRpcMethods).await)
    else {
        panic!()
    };
    assert_eq!(methods.method_list.len(), 17);
    assert!(!methods.method_list.contains(&"Upload".to_owned()));
    let options = AcsRequest::GetOptions(GetOptions {
        option_name: "x".to_owned(),
    });
    assert_eq!(fault_code(acs.ask(&fleet, options.clone()).await), 9000);
    fleet.devices()[0].behave(|b| b.drop_at_unsupported = true);
    let failed = fleet.stats().failed_sessions;
    acs.enqueue(options);
    fleet.devices()[0].trigger("6 CONNECTION REQUEST", "");
    until("the drop", || fleet.stats().failed_sessions > failed).await;
    fleet.stop().await;
}

#[tokio::test]
async fn limits_and_refusals() {
    let (acs, fleet) = start_with(|options| {
        options.behaviour = Behaviour {
            max_names: Some(2),
            max_values: Some(50),
            refuse_empty_path: true,
            booleans_as_digits: true,
            first_fault_only: true,
            ..options.behaviour.clone()
        };
    })
    .await;
    let get = |names: &[&str]| {
        AcsRequest::GetParameterValues(GetParameterValues {
            parameter_names: names.iter().map(|n| (*n).to_owned()).collect(),
        })
    };
    assert_eq!(
        fault_code(acs.ask(&fleet, get(&[SSID, SSID, SSID])).await),
        9004
    );
    assert_eq!(fault_code(acs.ask(&fleet, get(&["Device."])).await), 9004);
    assert_eq!(fault_code(acs.ask(&fleet, get(&[""])).await), 9005);
    let enable = get(&["Device.WiFi.SSID.1.Enable"]);
    let CpeResponse::GetParameterValues(read) = response(acs.ask(&fleet, enable).await) else {
        panic!()
    };
    assert_eq!(read.parameter_list[0].value, "1");
    let bad = |name: &str| ParameterValue::new(name, "x", XsdType::String);
    let set = AcsRequest::SetParameterValues(SetParameterValues {
        parameter_list: vec![bad("Device.A"), bad("Device.B")],
        parameter_key: String::new(),
    });
    let Message::Fault(fault) = acs.ask(&fleet, set).await else {
        panic!()
    };
    assert_eq!((fault.code.0, fault.parameters.len()), (9003, 1));
    fleet.stop().await;
}

#[tokio::test]
async fn diagnostics_end_with_event_8() {
    let (acs, fleet) = start().await;
    let ping = "Device.IP.Diagnostics.IPPing.";
    let set = AcsRequest::SetParameterValues(SetParameterValues {
        parameter_list: vec![
            ParameterValue::new(format!("{ping}Host"), "192.0.2.1", XsdType::String),
            ParameterValue::new(
                format!("{ping}DiagnosticsState"),
                "Requested",
                XsdType::String,
            ),
        ],
        parameter_key: String::new(),
    });
    response(acs.ask(&fleet, set).await);
    let done = || codes(acs.informs().last().unwrap()) == ["8 DIAGNOSTICS COMPLETE"];
    until("8 DIAGNOSTICS COMPLETE", done).await;
    let device = &fleet.devices()[0];
    assert_eq!(
        device.root_value("IP.Diagnostics.IPPing.DiagnosticsState"),
        "Complete"
    );
    assert_eq!(device.root_value("IP.Diagnostics.IPPing.SuccessCount"), "4");
    fleet.stop().await;
}

#[tokio::test]
async fn a_device_of_a_model_file_tells_its_whole_tree() {
    let Some(dir) = std::env::var_os("HEARTH_BBF_DIR").map(std::path::PathBuf::from) else {
        eprintln!("skipped: HEARTH_BBF_DIR doesn't say where the Broadband Forum's models are");
        return;
    };
    let files = ["tr-181-2-17-0-cwmp-full.xml", "tr-135-1-4-1-cwmp-full.xml"];
    let kind = hearth_sim::Kind::Model(files.map(|name| dir.join(name)).to_vec());
    let (acs, fleet) = start_with(|options| options.kinds = vec![kind]).await;
    let size = fleet.devices()[0].with_tree(|tree| tree.len());
    let get = AcsRequest::GetParameterValues(GetParameterValues {
        parameter_names: vec!["Device.".to_owned()],
    });
    let CpeResponse::GetParameterValues(values) = response(acs.ask(&fleet, get).await) else {
        panic!()
    };
    assert!(size > 6000, "{size}");
    assert_eq!(values.parameter_list.len(), size);
    let names = AcsRequest::GetParameterNames(GetParameterNames {
        parameter_path: String::new(),
        next_level: false,
    });
    let CpeResponse::GetParameterNames(names) = response(acs.ask(&fleet, names).await) else {
        panic!()
    };
    assert!(names.parameter_list.len() > size);
    fleet.stop().await;
}
