//! Transport, retries, loss of power and connection requests.

use std::time::{Duration, Instant};

use crate::support::{Acs, Ask, codes, until};
use hearth_auth::Challenge;
use hearth_cwmp::*;
use hearth_sim::{AuthStyle, CookieStyle, FaultRate, Fleet, Kind, ListenerStyle, Point, PowerLoss};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const REBOOT_KEY: &str = "r1.1";

fn reboot() -> AcsRequest {
    AcsRequest::Reboot(Reboot {
        command_key: REBOOT_KEY.to_owned(),
    })
}

#[tokio::test]
async fn every_way_of_transport() {
    for (ask, style) in [
        (Ask::Basic, AuthStyle::Basic),
        (Ask::Basic, AuthStyle::Challenge),
        (Ask::Digest, AuthStyle::Challenge),
        (Ask::Digest, AuthStyle::UnauthenticatedFirst),
    ] {
        for (per_turn, chunked, gzip, cookies) in [
            (false, false, false, CookieStyle::Plain),
            (true, true, false, CookieStyle::Old),
            (false, true, true, CookieStyle::Plain),
        ] {
            let acs = Acs::start().await;
            *acs.ask.lock() = ask;
            let mut options = acs.options();
            options.behaviour.authentication = style;
            options.behaviour.connection_per_turn = per_turn;
            options.behaviour.chunked = chunked;
            options.behaviour.gzip = gzip;
            options.behaviour.cookies = cookies;
            let fleet = Fleet::start(options).await.unwrap();
            let done = acs.ask(&fleet, AcsRequest::GetRpcMethods).await;
            assert_eq!(done.method(), "GetRPCMethodsResponse", "{ask:?} {style:?}");
            until("the end", || fleet.stats().in_session == 0).await;
            let stats = fleet.stats();
            fleet.stop().await;
            let seen = acs.seen.lock();
            let refused = match style {
                AuthStyle::Basic => 0,
                AuthStyle::UnauthenticatedFirst => seen.headers.len() / 2,
                _ => stats.sessions as usize,
            };
            assert_eq!(seen.refused, refused, "{ask:?} {style:?}");
            assert_eq!(seen.connections > stats.sessions as usize, per_turn);
            let last = seen.headers.last().unwrap();
            let cookie = last.get("cookie").unwrap().to_str().unwrap();
            match cookies {
                CookieStyle::Plain => assert_eq!(cookie, "hs=abc-1; other=2"),
                CookieStyle::Old => assert!(cookie.contains("hs=\"abc-1\"")),
            }
        }
    }
}

#[tokio::test]
async fn wrong_credentials_end_in_retries_and_not_in_a_loop() {
    let acs = Acs::start().await;
    *acs.ask.lock() = Ask::Digest;
    let mut options = acs.options();
    options.password = "wrong".into();
    options.time_scale = 1.0;
    let fleet = Fleet::start(options).await.unwrap();
    until("a failed session", || fleet.stats().failed_sessions > 0).await;
    assert_eq!(acs.seen.lock().refused, 2);
    fleet.stop().await;
}

#[tokio::test]
async fn retries_count_and_wait() {
    let acs = Acs::start().await;
    acs.failures.lock().extend([503, 500, 503]);
    let start = Instant::now();
    let fleet = Fleet::start(acs.options()).await.unwrap();
    until("a session", || fleet.stats().sessions > 0).await;
    let inform = acs.informs().remove(0);
    assert_eq!(inform.retry_count, 3);
    assert_eq!(codes(&inform), ["0 BOOTSTRAP", "1 BOOT"]);
    // At least 5, 10 and 20 s of the device's, at a hundredth.
    assert!(
        start.elapsed() >= Duration::from_millis(350),
        "{:?}",
        start.elapsed()
    );
    fleet.stop().await;
}

#[tokio::test]
async fn power_lost_before_and_after_a_reboot_is_taken_on() {
    for (point, executed, told) in [
        (Point::BeforeExecute, 0, false),
        (Point::AfterExecute, 1, true),
        (Point::AfterResponse, 1, true),
    ] {
        let acs = Acs::start().await;
        let mut options = acs.options();
        options.behaviour.power_loss = vec![PowerLoss::once(point, "Reboot")];
        let fleet = Fleet::start(options).await.unwrap();
        until("the first session", || fleet.stats().sessions > 0).await;
        let waiting = acs.enqueue(reboot());
        fleet.devices()[0].trigger("6 CONNECTION REQUEST", "");
        until("a boot", || {
            fleet.devices()[0].with_ledger(|l| l.boots) == 2 && fleet.stats().sessions > 1
        })
        .await;
        drop(waiting);
        let ledger = fleet.devices()[0].with_ledger(|l| (l.count("Reboot"), l.failed_sessions));
        assert_eq!(ledger, (executed, 1), "{point:?}");
        let inform = acs.informs().pop().unwrap();
        assert_eq!(codes(&inform).contains(&"M Reboot"), told, "{point:?}");
        assert!(codes(&inform).contains(&"1 BOOT"), "{point:?}");
        fleet.stop().await;
    }
}

#[tokio::test]
async fn power_lost_after_the_inform_repeats_its_events() {
    for point in [Point::AfterInform, Point::BeforeEmptyPost] {
        let acs = Acs::start().await;
        let mut options = acs.options();
        options.behaviour.power_loss = vec![PowerLoss {
            point,
            method: None,
            chance: 1.0,
            times: Some(1),
        }];
        let fleet = Fleet::start(options).await.unwrap();
        until("a session", || fleet.stats().sessions > 0).await;
        let informs = acs.informs();
        assert_eq!(codes(&informs[0]), ["0 BOOTSTRAP", "1 BOOT"]);
        let second = codes(&informs[1]);
        let again = point == Point::AfterInform;
        assert_eq!(second.contains(&"0 BOOTSTRAP"), again, "{point:?}");
        let acknowledged = fleet.devices()[0].acknowledged().len();
        assert_eq!(acknowledged, if again { 1 } else { 2 });
        fleet.stop().await;
    }
}

#[tokio::test]
async fn faults_on_demand_execute_nothing() {
    let acs = Acs::start().await;
    let mut options = acs.options();
    options.behaviour.faults = vec![FaultRate {
        code: FaultCode::INTERNAL_ERROR,
        method: Some("AddObject".to_owned()),
        chance: 1.0,
        times: Some(1),
    }];
    let fleet = Fleet::start(options).await.unwrap();
    let add = AcsRequest::AddObject(AddObject {
        object_name: "Device.NAT.PortMapping.".to_owned(),
        parameter_key: "a".to_owned(),
    });
    let Message::Fault(fault) = acs.ask(&fleet, add.clone()).await else {
        panic!()
    };
    assert_eq!(fault.code.0, 9002);
    assert_eq!(fleet.devices()[0].with_ledger(|l| l.count("AddObject")), 0);
    assert_eq!(acs.ask(&fleet, add).await.method(), "AddObjectResponse");
    fleet.stop().await;
}

async fn get(url: &str, authorization: Option<String>) -> String {
    let (address, path) = url
        .strip_prefix("http://")
        .unwrap()
        .split_once('/')
        .unwrap();
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let header = authorization.map_or(String::new(), |a| format!("Authorization: {a}\r\n"));
    let request = format!("GET /{path} HTTP/1.1\r\nHost: x\r\n{header}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut out = vec![0; 4096];
    let read = stream.read(&mut out).await.unwrap();
    String::from_utf8_lossy(&out[..read]).into_owned()
}

fn answer(challenge: &str, url: &str, password: &str) -> String {
    let value = challenge
        .split_once("WWW-Authenticate:")
        .unwrap()
        .1
        .replace("\n ", " ");
    let all = Challenge::parse_all([value.lines().next().unwrap()]);
    let digest = Challenge::first_digest(&all).unwrap();
    let path = format!("/{}", url.rsplit('/').next().unwrap());
    digest
        .authorization("GET", &path, "acs", password, 1)
        .unwrap()
}

#[tokio::test]
async fn connection_requests() {
    for style in [
        ListenerStyle::Proper,
        ListenerStyle::WithoutQop,
        ListenerStyle::Broken,
    ] {
        let acs = Acs::start().await;
        let mut options = acs.options();
        options.behaviour.listener = style;
        options.behaviour.latency = (Duration::from_millis(80), Duration::from_millis(80));
        let fleet = Fleet::start(options).await.unwrap();
        until("the first session", || fleet.stats().sessions > 0).await;
        let url = fleet.devices()[0].connection_request_url();
        let challenge = get(&url, None).await;
        assert!(challenge.starts_with("HTTP/1.1 401"), "{challenge}");
        assert_eq!(challenge.contains('\r'), style != ListenerStyle::Broken);
        let wrong = answer(&challenge, &url, "guess");
        assert!(get(&url, Some(wrong)).await.starts_with("HTTP/1.1 401"));
        let right = answer(&challenge, &url, "connect");
        assert!(get(&url, Some(right)).await.starts_with("HTTP/1.1 200"));
        until("a session", || fleet.devices()[0].in_session()).await;
        let again = answer(&get(&url, None).await, &url, "connect");
        assert!(get(&url, Some(again)).await.starts_with("HTTP/1.1 503"));
        let informed = || codes(acs.informs().last().unwrap()) == ["6 CONNECTION REQUEST"];
        until("6 CONNECTION REQUEST", informed).await;
        let other = url.rsplit_once('/').unwrap().0.to_owned() + "/0000";
        assert!(get(&other, None).await.starts_with("HTTP/1.1 404"));
        fleet.stop().await;
    }
}

#[tokio::test]
async fn a_redirect_is_followed_and_fault_8005_answered_with_the_same_request() {
    let acs = Acs::start().await;
    *acs.moved_to.lock() = Some("/t/other".to_owned());
    acs.faults.lock().push_back(FaultCode::ACS_RETRY_REQUEST);
    let fleet = Fleet::start(acs.options()).await.unwrap();
    until("a session", || fleet.stats().sessions > 0).await;
    assert_eq!(fleet.stats().failed_sessions, 0);
    assert_eq!(acs.informs()[0].retry_count, 0);
    // Any other fault fails the session, and the Inform is sent again later.
    acs.faults.lock().push_back(FaultCode::ACS_INTERNAL_ERROR);
    fleet.devices()[0].trigger("13 WAKEUP", "");
    until("two sessions", || fleet.stats().sessions > 1).await;
    assert_eq!(fleet.stats().failed_sessions, 1);
    let inform = acs.informs().pop().unwrap();
    assert_eq!((inform.retry_count, codes(&inform)), (1, vec!["13 WAKEUP"]));
    fleet.stop().await;
}

#[tokio::test]
async fn a_passive_change_waits_for_the_next_inform() {
    const SSID: &str = "Device.WiFi.SSID.1.SSID";
    let acs = Acs::start().await;
    let fleet = Fleet::start(acs.options()).await.unwrap();
    let passive = AcsRequest::SetParameterAttributes(SetParameterAttributes {
        parameter_list: vec![SetParameterAttributesStruct {
            name: SSID.to_owned(),
            notification_change: true,
            notification: 1,
            ..SetParameterAttributesStruct::default()
        }],
    });
    acs.ask(&fleet, passive).await;
    until("the end", || fleet.stats().in_session == 0).await;
    let sessions = fleet.stats().sessions;
    assert!(fleet.devices()[0].set_value(SSID, "quiet"));
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(fleet.stats().sessions, sessions);
    fleet.devices()[0].trigger("13 WAKEUP", "");
    until("a session", || fleet.stats().sessions > sessions).await;
    let inform = acs.informs().pop().unwrap();
    assert_eq!(codes(&inform), ["13 WAKEUP", "4 VALUE CHANGE"]);
    assert!(
        inform
            .parameter_list
            .iter()
            .any(|p| p.name == SSID && p.value == "quiet")
    );
    fleet.stop().await;
}

#[tokio::test]
async fn a_mixed_fleet_informs_and_stops() {
    let acs = Acs::start().await;
    let mut options = acs.options();
    options.count = 30;
    options.kinds = Kind::OWN.to_vec();
    options.start_spread = Duration::from_millis(100);
    options.behaviour.probe = true;
    let fleet = Fleet::start(options).await.unwrap();
    until("all informed", || fleet.stats().informed == 30).await;
    let mut serials: Vec<_> = acs
        .informs()
        .into_iter()
        .map(|i| i.device_id.serial_number)
        .collect();
    serials.sort();
    serials.dedup();
    assert_eq!(serials.len(), 30);
    fleet.stop().await;
}
