//! From CWMP to the house's contracts: what CPEs report and answer.

use hearth_cwmp as cwmp;
use hearth_cwmp::{CpeResponse, XsdType};
use hearth_proto::events::v1 as ev;
use hearth_proto::types::v1 as ty;
use hearth_proto::workflow::v1 as wf;
use hearth_types::{MASK, is_secret_name};
use wf::request_outcome::Kind;

/// A CPE's answer to a request.
pub(crate) enum Answer {
    /// Values read: for the bus, too.
    Values(Vec<ty::ParameterValue>),
    /// Names read: for the bus, too.
    Names(Vec<ty::ParameterName>),
    /// Attributes read: for the bus, too.
    Attributes(Vec<ty::ParameterAttributes>),
    /// For workflow alone.
    Outcome(Kind),
}

/// What a response says.
pub(crate) fn of_response(response: CpeResponse) -> Answer {
    let method = response.method();
    Answer::Outcome(match response {
        CpeResponse::GetParameterValues(read) => {
            return Answer::Values(values(read.parameter_list));
        }
        CpeResponse::GetParameterNames(read) => {
            return Answer::Names(read.parameter_list.into_iter().map(name).collect());
        }
        CpeResponse::GetParameterAttributes(read) => {
            return Answer::Attributes(read.parameter_list.into_iter().map(attributes).collect());
        }
        CpeResponse::SetParameterValues(done) | CpeResponse::DeleteObject(done) => {
            applied(done.status)
        }
        CpeResponse::AddObject(added) => Kind::Applied(wf::Applied {
            status: added.status,
            instance_number: added.instance_number,
            ..wf::Applied::default()
        }),
        CpeResponse::Download(answer) | CpeResponse::Upload(answer) => Kind::Applied(wf::Applied {
            status: answer.status,
            instance_number: 0,
            start_time: answer.start_time.0,
            complete_time: answer.complete_time.0,
        }),
        CpeResponse::SetParameterAttributes
        | CpeResponse::Reboot
        | CpeResponse::FactoryReset
        | CpeResponse::ScheduleInform
        | CpeResponse::ScheduleDownload
        | CpeResponse::CancelTransfer
        | CpeResponse::ChangeDuState => Kind::Empty(wf::Empty {}),
        CpeResponse::GetRpcMethods(methods) => Kind::Methods(wf::Methods {
            names: methods.method_list,
        }),
        CpeResponse::GetQueuedTransfers(queued) => {
            let all = queued.transfer_list.into_iter();
            transfers(all.map(|one| wf::QueuedTransfer {
                command_key: one.command_key,
                state: one.state,
                ..wf::QueuedTransfer::default()
            }))
        }
        CpeResponse::GetAllQueuedTransfers(queued) => {
            let all = queued.transfer_list.into_iter();
            transfers(all.map(|one| wf::QueuedTransfer {
                command_key: one.command_key,
                state: one.state,
                is_download: Some(one.is_download),
                file_type: one.file_type,
                file_size: u64::from(one.file_size),
                target_file_name: one.target_file_name,
            }))
        }
        CpeResponse::SetVouchers | CpeResponse::GetOptions(_) => Kind::Invalid(format!(
            "{method} is the answer to a request that was not sent"
        )),
    })
}

fn applied(status: u32) -> Kind {
    Kind::Applied(wf::Applied {
        status,
        ..wf::Applied::default()
    })
}

fn transfers(all: impl Iterator<Item = wf::QueuedTransfer>) -> Kind {
    Kind::Transfers(wf::Transfers {
        transfers: all.collect(),
    })
}

/// A CPE's fault. Its texts are shown to people and some CPEs repeat the bad value in them: about
/// a secret parameter only the code's own text is kept.
pub(crate) fn of_fault(fault: cwmp::Fault) -> ty::Fault {
    let about_a_secret = |one: &cwmp::SetParameterValuesFault| is_secret_name(&one.parameter_name);
    let secret = fault.parameters.iter().any(about_a_secret);
    let parameters = fault.parameters.into_iter().map(|one| ty::ParameterFault {
        code: one.fault_code.0,
        text: fault_text(
            one.fault_code,
            one.fault_string,
            is_secret_name(&one.parameter_name),
        ),
        path: one.parameter_name,
    });
    ty::Fault {
        code: fault.code.0,
        text: fault_text(fault.code, fault.string, secret),
        remedy: String::new(),
        parameters: parameters.collect(),
    }
}

fn fault_text(code: cwmp::FaultCode, said: Option<String>, secret: bool) -> String {
    match said.filter(|_| !secret) {
        Some(said) => masked_urls(said),
        None => code.text().to_owned(),
    }
}

/// A text with the passwords of the URLs in it masked: CPEs repeat the URL of a transfer in what
/// they say of it.
pub(crate) fn masked_urls(text: String) -> String {
    let Some((mut done, mut rest)) = text.split_once("://") else {
        return text;
    };
    let mut masked = String::with_capacity(text.len());
    loop {
        masked.push_str(done);
        masked.push_str("://");
        let ends =
            |c: char| c.is_whitespace() || matches!(c, '/' | '?' | '#' | '"' | '\'' | '<' | '>');
        let authority = &rest[..rest.find(ends).unwrap_or(rest.len())];
        if let Some((user, _)) = authority.rsplit_once('@')
            && let Some((name, _)) = user.split_once(':')
        {
            masked.push_str(name);
            masked.push(':');
            masked.push_str(MASK);
            rest = &rest[user.len()..];
        }
        match rest.split_once("://") {
            Some(next) => (done, rest) = next,
            None => break,
        }
    }
    masked.push_str(rest);
    masked
}

/// Values as they came.
pub(crate) fn values(list: Vec<cwmp::ParameterValue>) -> Vec<ty::ParameterValue> {
    let value = |read: cwmp::ParameterValue| ty::ParameterValue {
        path: read.name,
        value: read.value,
        r#type: i32::from(value_type(read.xsd_type)),
        sealed: Vec::new(),
    };
    list.into_iter().map(value).collect()
}

const fn value_type(of: XsdType) -> ty::ValueType {
    match of {
        XsdType::String => ty::ValueType::String,
        XsdType::Int => ty::ValueType::Int,
        XsdType::UnsignedInt => ty::ValueType::UnsignedInt,
        XsdType::Long => ty::ValueType::Long,
        XsdType::UnsignedLong => ty::ValueType::UnsignedLong,
        XsdType::Boolean => ty::ValueType::Boolean,
        XsdType::DateTime => ty::ValueType::DateTime,
        XsdType::Base64 => ty::ValueType::Base64,
        XsdType::HexBinary => ty::ValueType::HexBinary,
        XsdType::Other => ty::ValueType::Unspecified,
    }
}

fn name(read: cwmp::ParameterInfo) -> ty::ParameterName {
    ty::ParameterName {
        path: read.name,
        writable: read.writable,
    }
}

fn attributes(read: cwmp::ParameterAttribute) -> ty::ParameterAttributes {
    ty::ParameterAttributes {
        path: read.name,
        notification: Some(read.notification),
        access_list: read.access_list,
        // What was read is the whole list: an empty one clears a known one.
        set_access_list: true,
    }
}

/// An Inform's events.
pub(crate) fn events(list: Vec<cwmp::EventStruct>) -> Vec<ev::InformEvent> {
    let event = |came: cwmp::EventStruct| ev::InformEvent {
        code: came.event_code,
        command_key: came.command_key,
    };
    list.into_iter().map(event).collect()
}

/// A transfer that the ACS asked for has ended.
pub(crate) fn transfer(ended: cwmp::TransferComplete) -> ev::TransferComplete {
    ev::TransferComplete {
        command_key: ended.command_key,
        fault_code: ended.fault_struct.fault_code.0,
        fault_string: masked_urls(ended.fault_struct.fault_string),
        start_time: ended.start_time.0,
        complete_time: ended.complete_time.0,
        ..ev::TransferComplete::default()
    }
}

/// A transfer that the ACS didn't ask for has ended.
pub(crate) fn autonomous_transfer(ended: cwmp::AutonomousTransferComplete) -> ev::TransferComplete {
    ev::TransferComplete {
        command_key: String::new(),
        fault_code: ended.fault_struct.fault_code.0,
        fault_string: masked_urls(ended.fault_struct.fault_string),
        start_time: ended.start_time.0,
        complete_time: ended.complete_time.0,
        autonomous: true,
        announce_url: masked_urls(ended.announce_url),
        transfer_url: masked_urls(ended.transfer_url),
        file_type: ended.file_type,
        is_download: ended.is_download,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about(parameter: &str) -> cwmp::Fault {
        let code = cwmp::FaultCode(9007);
        cwmp::Fault {
            string: Some("bad hunter2".to_owned()),
            parameters: vec![cwmp::SetParameterValuesFault {
                parameter_name: parameter.to_owned(),
                fault_code: code,
                fault_string: Some("not hunter2".to_owned()),
            }],
            ..cwmp::Fault::new(cwmp::FaultCode(9003))
        }
    }

    #[test]
    fn a_fault_does_not_tell_a_secret() {
        let kept = of_fault(about("Device.WiFi.SSID.1.SSID"));
        assert_eq!(kept.text, "bad hunter2");
        assert_eq!(kept.parameters[0].text, "not hunter2");
        let kept = of_fault(about("Device.WiFi.AccessPoint.1.Security.KeyPassphrase"));
        assert!(!format!("{kept:?}").contains("hunter2"), "{kept:?}");
        assert_eq!(kept.code, 9003);
        assert_eq!(kept.parameters[0].code, 9007);
        assert!(!kept.text.is_empty() && !kept.parameters[0].text.is_empty());
    }

    #[test]
    fn passwords_in_urls_are_masked() {
        for (said, kept) in [
            ("no route", "no route"),
            ("http://host/a@b:c", "http://host/a@b:c"),
            (
                "can't get http://u:p@ss@h:80/f?x=1 or \"ftp://v:q@h\"",
                "can't get http://u:********@h:80/f?x=1 or \"ftp://v:********@h\"",
            ),
            ("://", "://"),
            ("http://u@h/ http://:é@h", "http://u@h/ http://:********@h"),
        ] {
            assert_eq!(masked_urls(said.to_owned()), kept);
        }
    }
}
