//! The optional RPCs of a simulated device, and what it asks for itself.

use std::sync::Arc;

use crate::support::{Acs, codes, until};
use bytes::Bytes;
use hearth_cwmp::*;
use hearth_sim::{Fleet, Point, PowerLoss};

async fn start() -> (Arc<Acs>, Fleet) {
    let acs = Acs::start().await;
    let fleet = Fleet::start(acs.options()).await.unwrap();
    until("the first session", || fleet.stats().sessions > 0).await;
    (acs, fleet)
}

fn schedule(acs: &Acs, key: &str, windows: &[(u32, u32)]) -> AcsRequest {
    let windows = windows.iter().map(|(start, end)| TimeWindow {
        window_start: *start,
        window_end: *end,
        window_mode: "1 At Any Time".to_owned(),
        ..TimeWindow::default()
    });
    AcsRequest::ScheduleDownload(ScheduleDownload {
        command_key: key.to_owned(),
        file_type: "2 Web Content".to_owned(),
        url: acs.url("/page"),
        time_window_list: windows.collect(),
        ..ScheduleDownload::default()
    })
}

fn code(message: &Message) -> u32 {
    match message {
        Message::Fault(fault) => fault.code.0,
        _ => 0,
    }
}

#[tokio::test]
async fn a_scheduled_download_is_fetched_in_its_window() {
    let (acs, fleet) = start().await;
    acs.files
        .lock()
        .insert("/page".to_owned(), Bytes::from_static(b"<p>"));
    // A hundred times as fast: 1 s and 10 s are 10 ms and 100 ms.
    let message = acs
        .ask(&fleet, schedule(&acs, "t1.1", &[(1, 10), (20, 30)]))
        .await;
    assert!(matches!(
        message,
        Message::CpeResponse(CpeResponse::ScheduleDownload)
    ));
    until("its report", || !acs.seen.lock().transfers.is_empty()).await;
    let told = acs.seen.lock().transfers[0].clone();
    assert_eq!(
        (told.command_key.as_str(), told.fault_struct.fault_code.0),
        ("t1.1", 0)
    );
    let inform = acs.informs().pop().unwrap();
    let mut events = codes(&inform);
    events.sort_unstable();
    assert_eq!(events, ["7 TRANSFER COMPLETE", "M ScheduleDownload"]);
    for wrong in [&[(5, 5)][..], &[(0, 9), (8, 20)]] {
        let answer = acs.ask(&fleet, schedule(&acs, "t2.1", wrong)).await;
        assert_eq!(code(&answer), 9003, "{wrong:?}");
    }
    fleet.stop().await;
}

#[tokio::test]
async fn a_waiting_transfer_can_be_cancelled_and_a_done_one_not() {
    let (acs, fleet) = start().await;
    let later = schedule(&acs, "t1.1", &[(90_000, 99_000)]);
    acs.ask(&fleet, later).await;
    let cancel = |key: &str| {
        AcsRequest::CancelTransfer(CancelTransfer {
            command_key: key.to_owned(),
        })
    };
    let queued = async || match acs.ask(&fleet, AcsRequest::GetAllQueuedTransfers).await {
        Message::CpeResponse(CpeResponse::GetAllQueuedTransfers(list)) => list.transfer_list.len(),
        other => panic!("{other:?}"),
    };
    assert_eq!(queued().await, 1);
    let done = acs.ask(&fleet, cancel("t1.1")).await;
    assert!(matches!(
        done,
        Message::CpeResponse(CpeResponse::CancelTransfer)
    ));
    assert_eq!(queued().await, 0);
    assert!(acs.seen.lock().transfers.is_empty());
    fleet.stop().await;
}

fn change(operations: Vec<DuOperation>, key: &str) -> AcsRequest {
    AcsRequest::ChangeDuState(ChangeDuState {
        operations,
        command_key: Some(key.to_owned()),
    })
}

fn install(url: String) -> DuOperation {
    DuOperation::Install(DuInstall {
        url,
        ..DuInstall::default()
    })
}

/// The results of the change with this key, once they are told.
async fn results(acs: &Acs, key: &str) -> Vec<DuResult> {
    let find = || {
        let seen = acs.seen.lock();
        seen.requests.iter().find_map(|request| match request {
            CpeRequest::DuStateChangeComplete(told) if told.command_key.as_deref() == Some(key) => {
                Some(told.results.clone())
            }
            _ => None,
        })
    };
    until("DUStateChangeComplete", || find().is_some()).await;
    find().unwrap()
}

#[tokio::test]
async fn units_are_installed_updated_and_uninstalled() {
    let (acs, fleet) = start().await;
    let device = fleet.devices()[0].clone();
    let put = |version: &str| {
        let content = format!("version={version}\n");
        acs.files.lock().insert("/app".to_owned(), content.into());
    };
    put("1.0");
    let missing = acs.url("/none");
    let both = change(vec![install(acs.url("/app")), install(missing)], "a.1");
    acs.ask(&fleet, both).await;
    let told = results(&acs, "a.1").await;
    assert_eq!(
        (told[0].current_state.as_str(), told[0].version.as_str()),
        ("Installed", "1.0")
    );
    assert_eq!(
        (told[1].current_state.as_str(), told[1].fault.fault_code.0),
        ("Failed", 9016)
    );
    let uuid = told[0].uuid.clone();
    assert_eq!(device.units(), [(uuid.clone(), "1.0".to_owned())]);
    put("2.0");
    // Neither UUID nor URL: all of them.
    acs.ask(
        &fleet,
        change(vec![DuOperation::Update(DuUpdate::default())], "b.1"),
    )
    .await;
    assert_eq!(results(&acs, "b.1").await[0].version, "2.0");
    let gone = DuOperation::Uninstall(DuUninstall {
        uuid: uuid.clone(),
        ..DuUninstall::default()
    });
    acs.ask(&fleet, change(vec![gone.clone(), gone], "c.1"))
        .await;
    let told = results(&acs, "c.1").await;
    assert_eq!(told[0].current_state, "Uninstalled");
    assert_eq!(told[1].fault.fault_code.0, 9028);
    assert!(device.units().is_empty());
    assert!(fleet.doubled().is_empty());
    fleet.stop().await;
}

#[tokio::test]
async fn a_change_outlasts_a_loss_of_power() {
    let (acs, fleet) = start().await;
    acs.files
        .lock()
        .insert("/app".to_owned(), Bytes::from_static(b"version=1\n"));
    fleet.devices()[0].behave(|b| {
        b.power_loss = vec![PowerLoss::once(Point::AfterExecute, "ChangeDUState")];
    });
    let answer = acs.enqueue(change(vec![install(acs.url("/app"))], "a.1"));
    fleet.devices()[0].trigger("6 CONNECTION REQUEST", "");
    assert_eq!(results(&acs, "a.1").await.len(), 1);
    drop(answer);
    assert_eq!(fleet.devices()[0].units().len(), 1);
    fleet.stop().await;
}

#[tokio::test]
async fn what_it_asks_for_itself_is_told_once() {
    let (acs, fleet) = start().await;
    let device = &fleet.devices()[0];
    let wanted = CpeRequest::RequestDownload(RequestDownload {
        file_type: "1 Firmware Upgrade Image".to_owned(),
        ..RequestDownload::default()
    });
    assert!(device.tell(wanted.clone()));
    assert!(!device.tell(CpeRequest::GetRpcMethods));
    until("its answer", || device.answers().len() == 1).await;
    assert_eq!(codes(&acs.informs().pop().unwrap()), ["9 REQUEST DOWNLOAD"]);
    assert_eq!(acs.seen.lock().requests, [wanted]);
    until("the session's end", || !device.in_session()).await;
    device.trigger("6 CONNECTION REQUEST", "");
    until("one more", || {
        codes(acs.informs().last().unwrap()) == ["6 CONNECTION REQUEST"]
    })
    .await;
    fleet.stop().await;
}
