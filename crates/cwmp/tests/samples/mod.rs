//! One envelope of every kind that can be emitted, filled with what the schemas allow.

use hearth_cwmp::*;

/// First CWMP version (the N of `cwmp-1-N.xsd`) whose schema has the message.
pub type Since = u8;

fn text(value: &str) -> String {
    value.to_owned()
}

fn values() -> Vec<ParameterValue> {
    [
        ("Device.A", "a <b> & \"c\" ]]> é", XsdType::String),
        ("Device.B", "-1", XsdType::Int),
        ("Device.C", "1", XsdType::UnsignedInt),
        ("Device.D", "-9000000000", XsdType::Long),
        ("Device.E", "9000000000", XsdType::UnsignedLong),
        ("Device.F", "true", XsdType::Boolean),
        ("Device.G", "2024-02-29T10:00:00Z", XsdType::DateTime),
        ("Device.H", "YWJj", XsdType::Base64),
        ("Device.I", "00FF", XsdType::HexBinary),
        ("Device.J", "", XsdType::Other),
    ]
    .map(|(name, value, xsd_type)| ParameterValue::new(name, value, xsd_type))
    .to_vec()
}

fn names() -> Vec<String> {
    vec![text("Device."), text("Device.DeviceInfo.UpTime")]
}

fn now() -> CwmpTime {
    CwmpTime::from("2024-02-29T10:00:00Z")
}

fn transfer_fault(code: FaultCode) -> TransferFault {
    TransferFault {
        fault_code: code,
        fault_string: text(code.text()),
    }
}

fn cpe_requests() -> Vec<(Since, CpeRequest)> {
    vec![
        (0, CpeRequest::Inform(inform())),
        (0, CpeRequest::GetRpcMethods),
        (
            0,
            CpeRequest::TransferComplete(TransferComplete {
                command_key: text("key"),
                fault_struct: transfer_fault(FaultCode::DOWNLOAD_FAILURE),
                start_time: now(),
                complete_time: CwmpTime::default(),
            }),
        ),
        (
            1,
            CpeRequest::AutonomousTransferComplete(AutonomousTransferComplete {
                announce_url: text("http://a/"),
                transfer_url: text("http://b/"),
                is_download: true,
                file_type: text("1 Firmware Upgrade Image"),
                file_size: 1,
                target_file_name: text("x"),
                fault_struct: TransferFault::default(),
                start_time: now(),
                complete_time: now(),
            }),
        ),
        (
            0,
            CpeRequest::Kicked(Kicked {
                command: text("c"),
                referer: text("r"),
                arg: text("a"),
                next: text("n"),
            }),
        ),
        (
            0,
            CpeRequest::RequestDownload(RequestDownload {
                file_type: text("2 Web Content"),
                file_type_arg: vec![ArgStruct {
                    name: text("Version"),
                    value: text("2"),
                }],
            }),
        ),
        (
            2,
            CpeRequest::DuStateChangeComplete(DuStateChangeComplete {
                results: vec![du_result(), du_result()],
                command_key: Some(text("key")),
            }),
        ),
        (
            2,
            CpeRequest::AutonomousDuStateChangeComplete(AutonomousDuStateChangeComplete {
                results: vec![autonomous_result()],
            }),
        ),
    ]
}

fn inform() -> Inform {
    let event = |code: &str, key: &str| EventStruct {
        event_code: text(code),
        command_key: text(key),
    };
    Inform {
        device_id: DeviceId {
            manufacturer: text("Acme & Söhne"),
            oui: text("00D09E"),
            product_class: text("Gateway"),
            serial_number: text("S1"),
        },
        event: vec![event("1 BOOT", ""), event("M Reboot", "key")],
        max_envelopes: 1,
        current_time: now(),
        retry_count: 0,
        parameter_list: values(),
    }
}

const UUID: &str = "01234567-89ab-cdef-0123-456789abcdef";

fn du_result() -> DuResult {
    DuResult {
        uuid: text(UUID),
        deployment_unit_ref: text("Device.SoftwareModules.DeploymentUnit.1."),
        version: text("1.0"),
        current_state: text("Installed"),
        resolved: true,
        execution_unit_ref_list: text(""),
        start_time: now(),
        complete_time: now(),
        fault: DuFault {
            fault_code: FaultCode(0),
            fault_string: None,
        },
    }
}

fn autonomous_result() -> AutonomousDuResult {
    let DuResult {
        uuid,
        deployment_unit_ref,
        version,
        ..
    } = du_result();
    AutonomousDuResult {
        uuid,
        deployment_unit_ref,
        version,
        current_state: text("Failed"),
        resolved: false,
        execution_unit_ref_list: text(""),
        start_time: now(),
        complete_time: now(),
        fault: DuFault {
            fault_code: FaultCode::UNKNOWN_DEPLOYMENT_UNIT,
            fault_string: Some(text("which?")),
        },
        operation_performed: text("Update"),
    }
}

fn acs_responses() -> Vec<(Since, AcsResponse)> {
    vec![
        (0, AcsResponse::Inform(InformResponse { max_envelopes: 1 })),
        (
            0,
            AcsResponse::GetRpcMethods(GetRpcMethodsResponse {
                method_list: vec![text("Inform")],
            }),
        ),
        (0, AcsResponse::TransferComplete),
        (1, AcsResponse::AutonomousTransferComplete),
        (
            0,
            AcsResponse::Kicked(KickedResponse {
                next_url: text("http://a/?b&c"),
            }),
        ),
        (0, AcsResponse::RequestDownload),
        (2, AcsResponse::DuStateChangeComplete),
        (2, AcsResponse::AutonomousDuStateChangeComplete),
    ]
}

fn acs_requests() -> Vec<(Since, AcsRequest)> {
    let key = || text("01jabcdefghjkmnpqrstvwxyz0.1");
    let mut requests = transfers();
    requests.extend([
        (0, AcsRequest::GetRpcMethods),
        (
            0,
            AcsRequest::SetParameterValues(SetParameterValues {
                parameter_list: values(),
                parameter_key: key(),
            }),
        ),
        (
            0,
            AcsRequest::GetParameterValues(GetParameterValues {
                parameter_names: names(),
            }),
        ),
        (
            0,
            AcsRequest::GetParameterNames(GetParameterNames {
                parameter_path: text(""),
                next_level: true,
            }),
        ),
        (0, AcsRequest::SetParameterAttributes(set_attributes())),
        (
            0,
            AcsRequest::GetParameterAttributes(GetParameterAttributes {
                parameter_names: names(),
            }),
        ),
        (
            0,
            AcsRequest::AddObject(AddObject {
                object_name: text("Device.Users.User."),
                parameter_key: key(),
            }),
        ),
        (
            0,
            AcsRequest::DeleteObject(DeleteObject {
                object_name: text("Device.Users.User.3."),
                parameter_key: key(),
            }),
        ),
        (0, AcsRequest::Reboot(Reboot { command_key: key() })),
        (0, AcsRequest::FactoryReset),
        (
            0,
            AcsRequest::ScheduleInform(ScheduleInform {
                delay_seconds: 60,
                command_key: key(),
            }),
        ),
        (
            2,
            AcsRequest::CancelTransfer(CancelTransfer { command_key: key() }),
        ),
        (0, AcsRequest::GetQueuedTransfers),
        (1, AcsRequest::GetAllQueuedTransfers),
        (2, AcsRequest::ChangeDuState(change_du_state())),
        (
            0,
            AcsRequest::SetVouchers(SetVouchers {
                voucher_list: vec![text("YWJj")],
            }),
        ),
        (
            0,
            AcsRequest::GetOptions(GetOptions {
                option_name: text(""),
            }),
        ),
    ]);
    requests
}

fn set_attributes() -> SetParameterAttributes {
    SetParameterAttributes {
        parameter_list: vec![SetParameterAttributesStruct {
            name: text("Device."),
            notification_change: true,
            notification: 2,
            access_list_change: true,
            access_list: vec![text("Subscriber")],
        }],
    }
}

fn change_du_state() -> ChangeDuState {
    ChangeDuState {
        operations: vec![
            DuOperation::Install(DuInstall {
                url: text("http://a/"),
                uuid: Some(text(UUID)),
                username: Some(text("u")),
                password: Some(Secret::from("p")),
                execution_env_ref: None,
            }),
            DuOperation::Update(DuUpdate {
                uuid: Some(text(UUID)),
                ..DuUpdate::default()
            }),
            DuOperation::Uninstall(DuUninstall {
                uuid: text(UUID),
                version: Some(text("1")),
                execution_env_ref: None,
            }),
        ],
        command_key: Some(text("key")),
    }
}

fn transfers() -> Vec<(Since, AcsRequest)> {
    let window = TimeWindow {
        window_start: 0,
        window_end: 60,
        window_mode: text("1 At Any Time"),
        user_message: text(""),
        max_retries: -1,
    };
    vec![
        (
            0,
            AcsRequest::Download(Download {
                command_key: text("key"),
                file_type: text("1 Firmware Upgrade Image"),
                url: text("http://a/b?c=d&e=f"),
                username: text("u"),
                password: Secret::from("p<>&"),
                file_size: 1,
                ..Download::default()
            }),
        ),
        (
            0,
            AcsRequest::Upload(Upload {
                command_key: text("key"),
                file_type: text("2 Vendor Log File"),
                url: text("http://a/"),
                ..Upload::default()
            }),
        ),
        (
            2,
            AcsRequest::ScheduleDownload(ScheduleDownload {
                command_key: text("key"),
                file_type: text("3 Vendor Configuration File"),
                url: text("http://a/"),
                time_window_list: vec![
                    window.clone(),
                    TimeWindow {
                        window_start: 60,
                        window_end: 90,
                        ..window
                    },
                ],
                ..ScheduleDownload::default()
            }),
        ),
    ]
}

fn cpe_responses() -> Vec<(Since, CpeResponse)> {
    let transfer = || TransferResponse {
        status: 1,
        ..TransferResponse::default()
    };
    let info = |name: &str, writable| ParameterInfo {
        name: text(name),
        writable,
    };
    vec![
        (
            0,
            CpeResponse::GetRpcMethods(GetRpcMethodsResponse {
                method_list: AcsRequest::METHODS.iter().map(|name| text(name)).collect(),
            }),
        ),
        (
            0,
            CpeResponse::SetParameterValues(StatusResponse { status: 1 }),
        ),
        (
            0,
            CpeResponse::GetParameterValues(GetParameterValuesResponse {
                parameter_list: values(),
            }),
        ),
        (
            0,
            CpeResponse::GetParameterNames(GetParameterNamesResponse {
                parameter_list: vec![info("Device.", false), info("Device.A", true)],
            }),
        ),
        (0, CpeResponse::SetParameterAttributes),
        (
            0,
            CpeResponse::GetParameterAttributes(GetParameterAttributesResponse {
                parameter_list: vec![ParameterAttribute {
                    name: text("Device.A"),
                    notification: 1,
                    access_list: vec![],
                }],
            }),
        ),
        (
            0,
            CpeResponse::AddObject(AddObjectResponse {
                instance_number: 3,
                status: 0,
            }),
        ),
        (0, CpeResponse::DeleteObject(StatusResponse { status: 0 })),
        (0, CpeResponse::Download(transfer())),
        (0, CpeResponse::Upload(transfer())),
        (0, CpeResponse::Reboot),
        (0, CpeResponse::FactoryReset),
        (0, CpeResponse::ScheduleInform),
        (2, CpeResponse::ScheduleDownload),
        (2, CpeResponse::CancelTransfer),
        (
            0,
            CpeResponse::GetQueuedTransfers(GetQueuedTransfersResponse {
                transfer_list: vec![QueuedTransfer {
                    command_key: text("key"),
                    state: 2,
                }],
            }),
        ),
        (
            1,
            CpeResponse::GetAllQueuedTransfers(GetAllQueuedTransfersResponse {
                transfer_list: vec![AllQueuedTransfer {
                    command_key: text("key"),
                    state: 1,
                    is_download: false,
                    file_type: text("4 Vendor Log File"),
                    file_size: 0,
                    target_file_name: text(""),
                }],
            }),
        ),
        (2, CpeResponse::ChangeDuState),
        (0, CpeResponse::SetVouchers),
        (
            0,
            CpeResponse::GetOptions(GetOptionsResponse {
                option_list: vec![OptionStruct {
                    option_name: text("o"),
                    voucher_sn: 1,
                    state: 1,
                    mode: 2,
                    start_date: now(),
                    expiration_date: Some(now()),
                    is_transferable: 0,
                }],
            }),
        ),
    ]
}

fn faults() -> Vec<(Since, Fault)> {
    let bad = |name: &str, code: FaultCode| SetParameterValuesFault {
        parameter_name: text(name),
        fault_code: code,
        fault_string: Some(text(code.text())),
    };
    let set = Fault {
        parameters: vec![
            bad("Device.A", FaultCode::INVALID_PARAMETER_VALUE),
            bad("Device.B", FaultCode::NOT_WRITABLE),
        ],
        ..Fault::new(FaultCode::INVALID_ARGUMENTS)
    };
    vec![
        (0, set),
        (0, Fault::new(FaultCode::ACS_METHOD_NOT_SUPPORTED)),
        (0, Fault::new(FaultCode::ACS_RETRY_REQUEST)),
        (2, Fault::new(FaultCode::UPDATE_VERSION_EXISTS)),
    ]
}

/// Every message, with the first version that has it and who receives it.
pub fn messages() -> Vec<(Since, Receiver, Message)> {
    let cpe = cpe_requests()
        .into_iter()
        .map(|(n, m)| (n, Receiver::Acs, Message::CpeRequest(m)));
    let answers = cpe_responses()
        .into_iter()
        .map(|(n, m)| (n, Receiver::Acs, Message::CpeResponse(m)));
    let acs = acs_requests()
        .into_iter()
        .map(|(n, m)| (n, Receiver::Cpe, Message::AcsRequest(m)));
    let replies = acs_responses()
        .into_iter()
        .map(|(n, m)| (n, Receiver::Cpe, Message::AcsResponse(m)));
    let faults = faults()
        .into_iter()
        .map(|(n, m)| (n, Receiver::Acs, Message::Fault(m)));
    cpe.chain(answers)
        .chain(acs)
        .chain(replies)
        .chain(faults)
        .collect()
}
