//! Downloads and uploads that really move bytes, and their completion.

use std::sync::Arc;
use std::time::Duration;

use crate::support::{Acs, Ask, PASSWORD, USER, codes, until};
use bytes::Bytes;
use hearth_cwmp::*;
use hearth_sim::{Fleet, Point, PowerLoss};

async fn start() -> (Arc<Acs>, Fleet) {
    let acs = Acs::start().await;
    let fleet = Fleet::start(acs.options()).await.unwrap();
    until("the first session", || fleet.stats().sessions > 0).await;
    (acs, fleet)
}

fn download(acs: &Acs, path: &str, key: &str) -> Download {
    Download {
        command_key: key.to_owned(),
        file_type: "1 Firmware Upgrade Image".to_owned(),
        url: acs.url(path),
        username: USER.to_owned(),
        password: PASSWORD.into(),
        ..Download::default()
    }
}

fn completes(acs: &Acs) -> Vec<(String, u32)> {
    let seen = acs.seen.lock();
    let pairs = seen.transfers.iter();
    pairs
        .map(|t| (t.command_key.clone(), t.fault_struct.fault_code.0))
        .collect()
}

#[tokio::test]
async fn firmware_is_fetched_installed_and_told() {
    let (acs, fleet) = start().await;
    *acs.ask.lock() = Ask::Digest;
    let image = Bytes::from(format!("version=9.9.1\n{}", "x".repeat(100_000)));
    acs.files.lock().insert("/fw.bin".to_owned(), image.clone());
    let message = acs
        .ask(
            &fleet,
            AcsRequest::Download(download(&acs, "/fw.bin", "t1.1")),
        )
        .await;
    let Message::CpeResponse(CpeResponse::Download(response)) = message else {
        panic!()
    };
    assert_eq!(response.status, 1);
    until("TransferComplete", || {
        completes(&acs) == [("t1".to_owned() + ".1", 0)]
    })
    .await;
    let device = &fleet.devices()[0];
    assert_eq!(device.root_value("DeviceInfo.SoftwareVersion"), "9.9.1");
    let file = device.files().remove(0);
    assert_eq!(
        (file.size, file.content.as_ref()),
        (image.len() as u64, Some(&image))
    );
    let inform = acs.informs().pop().unwrap();
    let mut sent = codes(&inform);
    sent.sort_unstable();
    assert_eq!(sent, ["1 BOOT", "7 TRANSFER COMPLETE", "M Download"]);
    // Told once: the next session has nothing more to say of it.
    until("its end", || !device.in_session()).await;
    device.trigger("6 CONNECTION REQUEST", "");
    until("one more", || {
        codes(acs.informs().last().unwrap()) == ["6 CONNECTION REQUEST"]
    })
    .await;
    assert!(fleet.doubled().is_empty());
    fleet.stop().await;
}

#[tokio::test]
async fn transfers_that_fail_say_why() {
    let (acs, fleet) = start().await;
    acs.files
        .lock()
        .insert("/short".to_owned(), Bytes::from_static(b"abc"));
    let ask = async |change: &dyn Fn(&mut Download)| {
        let mut request = download(&acs, "/short", "k");
        change(&mut request);
        let key = request.command_key.clone();
        let message = acs.ask(&fleet, AcsRequest::Download(request)).await;
        if let Message::Fault(fault) = message {
            return fault.code.0;
        }
        until("TransferComplete", || {
            completes(&acs).iter().any(|(k, _)| *k == key)
        })
        .await;
        until("the session's end", || !fleet.devices()[0].in_session()).await;
        completes(&acs)
            .into_iter()
            .find(|(k, _)| *k == key)
            .unwrap()
            .1
    };
    let missing = acs.url("/none");
    assert_eq!(
        ask(&|d| (d.url, d.command_key) = (missing.clone(), "a".into())).await,
        9016
    );
    let nobody = "http://127.0.0.1:1/x".to_owned();
    assert_eq!(
        ask(&|d| (d.url, d.command_key) = (nobody.clone(), "b".into())).await,
        9015
    );
    assert_eq!(
        ask(&|d| (d.file_size, d.command_key) = (10, "c".into())).await,
        9017
    );
    assert_eq!(
        ask(&|d| (d.file_size, d.command_key) = (2, "d".into())).await,
        9018
    );
    assert_eq!(ask(&|d| d.url = "ftp://x/y".into()).await, 9013);
    assert_eq!(ask(&|d| d.url = "http://u:p@x/y".into()).await, 9003);
    assert!(fleet.devices()[0].files().is_empty());
    *acs.ask.lock() = Ask::Basic;
    assert_eq!(
        ask(&|d| (d.password, d.command_key) = ("no".into(), "e".into())).await,
        9012
    );
    fleet.stop().await;
}

#[tokio::test]
async fn an_upload_puts_the_settings_without_secrets() {
    let (acs, fleet) = start().await;
    *acs.ask.lock() = Ask::Basic;
    let upload = AcsRequest::Upload(Upload {
        command_key: "u1.1".to_owned(),
        file_type: "1 Vendor Configuration File".to_owned(),
        url: acs.url("/up"),
        username: USER.to_owned(),
        password: PASSWORD.into(),
        delay_seconds: 0,
    });
    acs.ask(&fleet, upload).await;
    until("TransferComplete", || {
        completes(&acs) == [("u1.1".to_owned(), 0)]
    })
    .await;
    let file = acs.seen.lock().uploads[0].clone();
    let text = std::str::from_utf8(&file).unwrap();
    assert!(text.contains("Device.WiFi.SSID.1.SSID=Hearth\n"));
    assert!(!text.contains("Password="));
    let told = acs.informs();
    assert!(
        told.iter()
            .any(|inform| codes(inform).contains(&"M Upload"))
    );
    fleet.stop().await;
}

#[tokio::test]
async fn queued_transfers_are_listed_and_survive_a_loss_of_power() {
    let (acs, fleet) = start().await;
    acs.files
        .lock()
        .insert("/f".to_owned(), Bytes::from_static(b"version=2\n"));
    let mut request = download(&acs, "/f", "q1.1");
    request.delay_seconds = 100; // A second of ours.
    acs.ask(&fleet, AcsRequest::Download(request)).await;
    let queued = acs.ask(&fleet, AcsRequest::GetAllQueuedTransfers).await;
    let Message::CpeResponse(CpeResponse::GetAllQueuedTransfers(list)) = queued else {
        panic!()
    };
    let queued = &list.transfer_list[0];
    assert_eq!(
        (
            queued.command_key.as_str(),
            queued.state,
            queued.is_download
        ),
        ("q1.1", 1, true)
    );
    let old = acs.ask(&fleet, AcsRequest::GetQueuedTransfers).await;
    let Message::CpeResponse(CpeResponse::GetQueuedTransfers(list)) = old else {
        panic!()
    };
    assert_eq!(list.transfer_list.len(), 1);
    fleet.devices()[0].power_cycle();
    until("TransferComplete", || {
        completes(&acs) == [("q1.1".to_owned(), 0)]
    })
    .await;
    fleet.stop().await;
}

#[tokio::test]
async fn a_transfer_complete_is_repeated_until_acknowledged() {
    let (acs, fleet) = start().await;
    acs.files
        .lock()
        .insert("/f".to_owned(), Bytes::from_static(b"x"));
    // The session that tells it fails at the Inform, twice.
    let mut request = download(&acs, "/f", "r1.1");
    request.file_type = "3 Vendor Configuration File".to_owned();
    acs.ask(&fleet, AcsRequest::Download(request)).await;
    until("the session's end", || !fleet.devices()[0].in_session()).await;
    acs.failures.lock().extend([503, 503]);
    until("TransferComplete", || {
        completes(&acs) == [("r1.1".to_owned(), 0)]
    })
    .await;
    fleet.stop().await;
}

#[tokio::test]
async fn late_and_immediate_transfers() {
    let (acs, fleet) = start().await;
    let device = fleet.devices()[0].clone();
    device.behave(|b| b.late_transfer_complete = true);
    acs.files
        .lock()
        .insert("/f".to_owned(), Bytes::from_static(b"version=3\n"));
    acs.ask(&fleet, AcsRequest::Download(download(&acs, "/f", "l1.1")))
        .await;
    until("TransferComplete", || {
        completes(&acs) == [("l1.1".to_owned(), 0)]
    })
    .await;
    until("rest", || !device.in_session()).await;

    device.behave(|b| b.transfer_at_once = true);
    acs.files
        .lock()
        .insert("/g".to_owned(), Bytes::from_static(b"version=4\n"));
    let message = acs
        .ask(&fleet, AcsRequest::Download(download(&acs, "/g", "l2.1")))
        .await;
    let Message::CpeResponse(CpeResponse::Download(response)) = message else {
        panic!()
    };
    assert_eq!(response.status, 0);
    until("the version", || {
        device.root_value("DeviceInfo.SoftwareVersion") == "4"
    })
    .await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(completes(&acs).len(), 1);
    fleet.stop().await;
}

#[tokio::test]
async fn power_lost_after_a_download_was_taken_on() {
    let (acs, fleet) = start().await;
    acs.files
        .lock()
        .insert("/f".to_owned(), Bytes::from_static(b"version=5\n"));
    let device = fleet.devices()[0].clone();
    device.behave(|b| {
        b.power_loss
            .push(PowerLoss::once(Point::AfterExecute, "Download"))
    });
    let waiting = acs.enqueue(AcsRequest::Download(download(&acs, "/f", "p1.1")));
    device.trigger("6 CONNECTION REQUEST", "");
    until("TransferComplete", || {
        completes(&acs) == [("p1.1".to_owned(), 0)]
    })
    .await;
    drop(waiting);
    assert_eq!(device.with_ledger(|l| l.count("Download")), 1);
    assert_eq!(device.root_value("DeviceInfo.SoftwareVersion"), "5");
    fleet.stop().await;
}
