//! The optional RPCs in both directions, and what devices wish for themselves.

use hearth_cwmp::{AcsRequest, CpeRequest, DecodeOptions, Message, Receiver, decode};
use hearth_proto::events::v1 as ev;
use hearth_proto::types::v1 as ty;
use hearth_proto::workflow::v1 as wf;
use wf::request::Rpc;
use wf::request_outcome::Kind;

use crate::support::client::{Answer, basic};
use crate::support::xml::{envelope, inform};
use crate::support::{Cpe, House, house};

const KEY: &str = "01hzy3v7k2q4w6e8r0t2y4a6d8.1";
const UUID: &str = "85f8a1c2-5d3e-4c1b-9b7a-0d4f2f0c9e11";
const UNKNOWN_TIME: &str = "0001-01-01T00:00:00Z";

/// A CPE that has informed, and its cookie.
async fn informed(house: &House) -> (Cpe, String) {
    let mut cpe = house.connect().await;
    let answer = cpe.post(&basic(), inform()).await;
    (cpe, answer.cookie())
}

fn request(answer: &Answer) -> AcsRequest {
    assert_eq!(answer.status, 200, "{answer:?}");
    let read = decode(answer.body.as_bytes(), &DecodeOptions::new(Receiver::Cpe)).unwrap();
    let Message::AcsRequest(request) = read.envelope.message else {
        panic!("a request: {}", answer.body)
    };
    request
}

fn schedule() -> Rpc {
    Rpc::ScheduleDownload(wf::ScheduleDownloadRpc {
        download: Some(wf::DownloadRpc {
            command_key: KEY.to_owned(),
            file_type: "1 Firmware Upgrade Image".to_owned(),
            url: "http://{host}/fw.bin".to_owned(),
            password: "secret".to_owned(),
            ..wf::DownloadRpc::default()
        }),
        time_windows: vec![ty::TimeWindow {
            window_start: 60,
            window_end: 120,
            window_mode: "3 When Idle".to_owned(),
            max_retries: -1,
            ..ty::TimeWindow::default()
        }],
    })
}

fn change() -> Rpc {
    let update = ty::DuUpdate {
        all_units: true,
        ..ty::DuUpdate::default()
    };
    Rpc::ChangeDuState(wf::ChangeDuStateRpc {
        command_key: KEY.to_owned(),
        operations: vec![ty::DuOperation {
            kind: Some(ty::du_operation::Kind::Update(update)),
        }],
    })
}

#[tokio::test]
async fn optional_requests_and_their_answers() {
    let house = house().await;
    let queued = |name: &str, more: &str| {
        format!(
            "<TransferList><{name}><CommandKey>{KEY}</CommandKey><State>2</State>{more}</{name}></TransferList>"
        )
    };
    let all_queued = queued(
        "AllQueuedTransferStruct",
        "<IsDownload>true</IsDownload><FileType>2 Web Content</FileType><FileSize>7</FileSize>\
         <TargetFileName>n</TargetFileName>",
    );
    let old_queued = queued("QueuedTransferStruct", "");
    let cancel = Rpc::CancelTransfer(wf::CommandKeyRpc {
        command_key: KEY.to_owned(),
    });
    let all = [
        (schedule(), "ScheduleDownload", ""),
        (cancel, "CancelTransfer", ""),
        (
            Rpc::GetAllQueuedTransfers(wf::Empty {}),
            "GetAllQueuedTransfers",
            all_queued.as_str(),
        ),
        (
            Rpc::GetQueuedTransfers(wf::Empty {}),
            "GetQueuedTransfers",
            old_queued.as_str(),
        ),
        (change(), "ChangeDUState", ""),
    ];
    let mut ids = Vec::new();
    for (step, (rpc, ..)) in all.iter().enumerate() {
        let id = format!("{KEY}.{step}");
        house.workflow.will_send(&id, rpc.clone());
        ids.push(id);
    }
    let (mut cpe, cookie) = informed(&house).await;
    let mut answer = cpe.turn(&cookie, "").await;
    for (id, (_, method, content)) in ids.iter().zip(&all) {
        let sent = request(&answer);
        assert_eq!(sent.method(), *method);
        match sent {
            AcsRequest::ScheduleDownload(sent) => {
                assert!(!sent.url.contains("{host}"), "{}", sent.url);
                assert_eq!(sent.time_window_list[0].window_end, 120);
                assert_eq!(sent.time_window_list[0].max_retries, -1);
            }
            AcsRequest::CancelTransfer(sent) => assert_eq!(sent.command_key, KEY),
            AcsRequest::ChangeDuState(sent) => {
                assert_eq!(sent.command_key.as_deref(), Some(KEY));
                assert_eq!(sent.operations.len(), 1);
            }
            _ => {}
        }
        let body = format!("<cwmp:{method}Response>{content}</cwmp:{method}Response>");
        answer = cpe.turn(&answer.cookie(), envelope(id, &body)).await;
    }
    assert_eq!(answer.status, 204);
    let outcomes = house.workflow.outcomes();
    let kinds: Vec<_> = outcomes.into_iter().map(|o| o.kind.unwrap()).collect();
    let [
        Kind::Empty(_),
        Kind::Empty(_),
        Kind::Transfers(all),
        Kind::Transfers(old),
        Kind::Empty(_),
    ] = kinds.as_slice()
    else {
        panic!("{kinds:?}")
    };
    let told = &all.transfers[0];
    assert_eq!(
        (told.state, told.file_size, told.is_download),
        (2, 7, Some(true))
    );
    assert_eq!(
        (old.transfers[0].state, old.transfers[0].is_download),
        (2, None)
    );
}

/// What one operation came to.
fn unit(fault: u32, more: &str) -> String {
    format!(
        "<UUID>{UUID}</UUID><DeploymentUnitRef>Device.SoftwareModules.DeploymentUnit.1</DeploymentUnitRef>\
         <Version>1.2</Version><CurrentState>Installed</CurrentState><Resolved>1</Resolved>\
         <ExecutionUnitRefList></ExecutionUnitRefList><StartTime>2026-01-31T12:00:00Z</StartTime>\
         <CompleteTime>2026-01-31T12:01:00Z</CompleteTime>\
         <Fault><FaultCode>{fault}</FaultCode><FaultString></FaultString></Fault>{more}"
    )
}

#[tokio::test]
async fn changes_of_units_reach_their_task_and_the_bus() {
    let house = house().await;
    let (mut cpe, mut cookie) = informed(&house).await;
    let body = format!(
        "<cwmp:DUStateChangeComplete><Results>{}</Results><Results>{}</Results>\
         <CommandKey>{KEY}</CommandKey>\
         </cwmp:DUStateChangeComplete>",
        unit(0, ""),
        unit(9027, "")
    );
    // Sent again it has the same id on the bus.
    let mut ids = Vec::new();
    for _ in 0..2 {
        let answer = cpe.turn(&cookie, envelope("7", &body)).await;
        assert!(
            answer.body.contains("DUStateChangeCompleteResponse"),
            "{}",
            answer.body
        );
        cookie = answer.cookie();
        ids.push(house.bus.last().1.unwrap());
    }
    assert_eq!(ids[0], ids[1]);
    let reports = std::mem::take(&mut *house.workflow.du_changes.lock());
    assert_eq!(reports.len(), 2);
    let change = reports[0].change.clone().unwrap();
    assert_eq!(
        (change.command_key.as_str(), change.results.len()),
        (KEY, 2)
    );
    assert_eq!(change.results[1].fault.as_ref().unwrap().code, 9027);
    assert!(change.results[0].resolved && change.results[0].fault.is_none());
    // On its own: recorded, and nobody's task.
    let body = format!(
        "<cwmp:AutonomousDUStateChangeComplete><Results>{}</Results></cwmp:AutonomousDUStateChangeComplete>",
        unit(0, "<OperationPerformed>Update</OperationPerformed>")
    );
    let answer = cpe.turn(&cookie, envelope("8", &body)).await;
    assert!(
        answer
            .body
            .contains("AutonomousDUStateChangeCompleteResponse")
    );
    let Some(ev::event::Kind::DuStateChange(change)) = house.bus.last().2.kind else {
        panic!("a change of units")
    };
    assert!(change.autonomous);
    assert_eq!(change.results[0].operation, "Update");
    assert!(house.workflow.du_changes.lock().is_empty());
    let body = format!(
        "<cwmp:AutonomousTransferComplete><AnnounceURL></AnnounceURL><TransferURL>http://u:hunter2@h/f</TransferURL>\
         <IsDownload>1</IsDownload><FileType>1 Firmware Upgrade Image</FileType><FileSize>1</FileSize>\
         <TargetFileName></TargetFileName><FaultStruct><FaultCode>0</FaultCode><FaultString></FaultString>\
         </FaultStruct><StartTime>{UNKNOWN_TIME}</StartTime><CompleteTime>{UNKNOWN_TIME}</CompleteTime>\
         </cwmp:AutonomousTransferComplete>"
    );
    let answer = cpe.turn(&answer.cookie(), envelope("9", &body)).await;
    assert!(answer.body.contains("AutonomousTransferCompleteResponse"));
    let Some(ev::event::Kind::TransferComplete(transfer)) = house.bus.last().2.kind else {
        panic!("a transfer")
    };
    assert!(transfer.autonomous && transfer.is_download);
    assert!(!transfer.transfer_url.contains("hunter2"));
    assert!(house.workflow.transfers.lock().is_empty());
}

#[tokio::test]
async fn what_is_named_is_what_is_answered() {
    let house = house().await;
    let (mut cpe, cookie) = informed(&house).await;
    let mut answer = cpe
        .turn(&cookie, envelope("1", "<cwmp:GetRPCMethods/>"))
        .await;
    let named: Vec<String> = answer
        .body
        .split("<string>")
        .skip(1)
        .map(|rest| rest[..rest.find('<').unwrap()].to_owned())
        .collect();
    assert_eq!(named, CpeRequest::METHODS);
    // An Inform would begin another session.
    for method in named.iter().filter(|method| *method != "Inform") {
        let body = envelope("2", &format!("<cwmp:{method}/>"));
        answer = cpe.turn(&answer.cookie(), body).await;
        assert_eq!(answer.status, 200, "{method}");
        assert_ne!(answer.text("FaultCode"), Some("8000"), "{method}");
    }
    for other in ["RequestUpload", "Download", "GetParameterValues"] {
        let body = envelope("3", &format!("<cwmp:{other}/>"));
        answer = cpe.turn(&answer.cookie(), body).await;
        assert_eq!(answer.text("FaultCode"), Some("8000"), "{other}");
    }
}

fn wanted(arguments: &str) -> String {
    envelope(
        "4",
        &format!(
            "<cwmp:RequestDownload><FileType>1 Firmware Upgrade Image</FileType>\
             <FileTypeArg>{arguments}</FileTypeArg></cwmp:RequestDownload>"
        ),
    )
}

fn offer(file: &str) -> ty::DownloadOffer {
    ty::DownloadOffer {
        file_type: "1 Firmware Upgrade Image".to_owned(),
        file: format!("tenants/default/files/{file}"),
        ..ty::DownloadOffer::default()
    }
}

/// What a RequestDownload brings under a policy: the events recorded, the files of the tasks made.
async fn wish(house: &House, policy: ty::EdgePolicy, arguments: &str) -> (usize, Vec<String>) {
    *house.device_state.policy.lock() = policy;
    let (mut cpe, cookie) = informed(house).await;
    let before = house.bus.events().len();
    let answer = cpe.turn(&cookie, wanted(arguments)).await;
    assert!(
        answer.body.contains("RequestDownloadResponse"),
        "{}",
        answer.body
    );
    let made = std::mem::take(&mut *house.workflow.created.lock());
    let files = made.into_iter().map(|task| {
        let Some(ty::task_spec::Kind::Download(download)) = task.spec.unwrap().kind else {
            panic!("a download")
        };
        assert!(download.url.is_empty());
        assert!(!task.idempotency_key.is_empty());
        download.file
    });
    (house.bus.events().len() - before, files.collect())
}

#[tokio::test]
async fn a_wish_for_a_file_is_answered_by_policy() {
    use ty::RequestDownload as Wish;
    let with = |answer: Wish, offers: Vec<ty::DownloadOffer>| {
        let mut policy = ty::EdgePolicy {
            download_offers: offers,
            ..ty::EdgePolicy::default()
        };
        policy.set_request_download(answer);
        policy
    };
    let argument = "<ArgStruct><Name>Slot</Name><Value>b</Value></ArgStruct>";
    let mut slot = offer("b.bin");
    slot.arguments.insert("Slot".to_owned(), "b".to_owned());
    let mut other = offer("other.bin");
    other.file_type = "2 Web Content".to_owned();
    let mut elsewhere = offer("elsewhere.bin");
    elsewhere.product_class = "OtherBox".to_owned();
    let offers = vec![other, elsewhere, slot, offer("fw.bin")];
    let file = |name: &str| vec![format!("tenants/default/files/{name}")];
    // One policy counts for some seconds: a house for each.
    for (answer, arguments, events, files) in [
        (Wish::Unspecified, "", 1, vec![]),
        (Wish::Record, "", 1, vec![]),
        (Wish::Ignore, "", 0, vec![]),
        (Wish::Download, "", 1, file("fw.bin")),
        (Wish::Download, argument, 1, file("b.bin")),
    ] {
        let house = house().await;
        let got = wish(&house, with(answer, offers.clone()), arguments).await;
        assert_eq!(got, (events, files), "{answer:?} {arguments}");
    }
    let house = house().await;
    let none = wish(&house, with(Wish::Download, vec![]), "").await;
    assert_eq!(none, (1, vec![]));
}

#[tokio::test]
async fn a_wish_that_is_under_way_makes_no_second_task() {
    let house = house().await;
    let mut policy = ty::EdgePolicy {
        download_offers: vec![offer("fw.bin")],
        ..ty::EdgePolicy::default()
    };
    policy.set_request_download(ty::RequestDownload::Download);
    let open = ty::Download {
        file: "tenants/default/files/fw.bin".to_owned(),
        ..ty::Download::default()
    };
    house.workflow.open.lock().push(wf::Task {
        spec: Some(ty::TaskSpec {
            kind: Some(ty::task_spec::Kind::Download(open)),
        }),
        ..wf::Task::default()
    });
    assert_eq!(wish(&house, policy, "").await, (1, vec![]));
}

#[tokio::test]
async fn users_are_sent_where_the_policy_says() {
    use ty::Kicked;
    for (answer, next) in [
        (Kicked::Unspecified, Some("http://next/")),
        (Kicked::Next, Some("http://next/")),
        (Kicked::Url, Some("https://portal.example/")),
        (Kicked::None, None),
    ] {
        let house = house().await;
        let mut policy = ty::EdgePolicy {
            kicked_url: "https://portal.example/".to_owned(),
            ..ty::EdgePolicy::default()
        };
        policy.set_kicked(answer);
        *house.device_state.policy.lock() = policy;
        let (mut cpe, cookie) = informed(&house).await;
        let kicked = "<cwmp:Kicked><Command>c</Command><Referer>r</Referer><Arg>a</Arg>\
            <Next>http://next/</Next></cwmp:Kicked>";
        let told = cpe.turn(&cookie, envelope("3", kicked)).await;
        assert_eq!(told.status, 200);
        assert!(told.body.contains("KickedResponse"));
        let url = told.text("NextURL").filter(|url| !url.is_empty());
        assert_eq!(url, next, "{answer:?}");
    }
}
