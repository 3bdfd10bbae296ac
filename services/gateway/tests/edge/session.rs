//! Sessions: cookies, turns, ends, fencing (TR-069 3.7.1).

use std::sync::atomic::Ordering;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hearth_auth::{SecretKeys, keyring};
use hearth_bus::Stream;
use hearth_gateway::GatewayConfig;
use hearth_proto::events::v1 as ev;
use hearth_proto::workflow::v1 as wf;
use wf::request::Rpc;

use crate::support::client::basic;
use crate::support::doubles::REQUEST;
use crate::support::xml::{envelope, inform, inform_of};
use crate::support::{House, house, house_with_keys};

async fn open(house: &House) -> String {
    let answer = house.connect().await.post(&basic(), inform()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.cookie()
}

#[tokio::test]
async fn nothing_begins_but_with_an_inform() {
    let house = house().await;
    let transfer = envelope("1", "<cwmp:TransferComplete/>");
    for body in [
        "",
        " \r\n",
        &transfer,
        &envelope("1", "<cwmp:RebootResponse/>"),
    ] {
        let mut cpe = house.connect().await;
        let answer = cpe.post(&basic(), body).await;
        assert_eq!(answer.status, 400, "{body:?}");
        assert!(answer.closes());
        assert!(cpe.is_closed().await);
    }
}

#[tokio::test]
async fn any_connection_and_any_replica_serves_a_turn() {
    let house = house().await;
    let cookie = open(&house).await;
    let replica = house.replica().await;
    let answer = replica.connect().await.turn(&cookie, "  \r\n").await;
    assert_eq!(answer.status, 204);
    assert!(answer.body.is_empty() && answer.header("Content-Type").is_none());
    assert_eq!(
        replica.metric("hearth_gateway_sessions_total{event=\"ended\"}"),
        1.0
    );
}

/// The id of the key that a cookie is sealed under.
fn key_of(cookie: &str) -> u8 {
    let sealed = cookie.strip_prefix("hs=").unwrap();
    URL_SAFE_NO_PAD.decode(sealed).unwrap()[0]
}

#[tokio::test]
async fn a_session_goes_on_over_a_change_of_keys() {
    let dir = tempfile::tempdir().unwrap();
    let ring = dir.path().join("ring");
    let keys = || SecretKeys::load(&ring).unwrap();
    keyring::create(&ring).unwrap();
    let before = house_with_keys(GatewayConfig::default(), keys()).await;
    keyring::stage(&ring).unwrap();
    let staged = before.replica_with_keys(keys()).await;
    keyring::promote(&ring).unwrap();
    let promoted = before.replica_with_keys(keys()).await;
    // One after another, as they are restarted; each turn meets another one.
    let (old, known, new) = ((&before, 1), (&staged, 1), (&promoted, 2));
    for way in [[known, new, known], [new, known, new], [old, known, old]] {
        let mut cookie = String::new();
        for (turn, (house, key)) in way.into_iter().enumerate() {
            let mut cpe = house.connect().await;
            let answer = match turn {
                0 => cpe.post(&basic(), inform()).await,
                _ => {
                    let asked = envelope("2", "<cwmp:GetRPCMethods/>");
                    cpe.turn(&cookie, asked).await
                }
            };
            assert_eq!(answer.status, 200, "turn {turn}: {answer:?}");
            cookie = answer.cookie();
            assert_eq!(key_of(&cookie), key, "turn {turn}");
        }
        let (house, _) = way[1];
        let answer = house.connect().await.turn(&cookie, "").await;
        assert_eq!(answer.status, 204, "{answer:?}");
    }
    // Why a key is staged first: one that was never told of it takes the session for none.
    let cookie = open(&promoted).await;
    assert_eq!(before.connect().await.turn(&cookie, "").await.status, 401);
    // And why one is retired late.
    let cookie = open(&staged).await;
    keyring::retire(&ring, 1).unwrap();
    let retired = before.replica_with_keys(keys()).await;
    assert_eq!(retired.connect().await.turn(&cookie, "").await.status, 401);
}

#[tokio::test]
async fn an_idle_session_is_one_call_of_workflow() {
    let house = house().await;
    house.workflow.idle.store(true, Ordering::SeqCst);
    let cookie = open(&house).await;
    // Made since: its device is woken for it, and this session has been told that there is none.
    let reboot = Rpc::Reboot(wf::CommandKeyRpc::default());
    house.workflow.will_send(REQUEST, reboot);
    house.workflow.down.store(true, Ordering::SeqCst);
    for _ in 0..2 {
        let answer = house.connect().await.turn(&cookie, "").await;
        assert_eq!(answer.status, 204);
    }
    assert!(house.workflow.asked.lock().is_empty());
}

#[tokio::test]
async fn whatever_a_device_says_beside_its_inform_may_bring_work() {
    let wanted = "<cwmp:RequestDownload><FileType>1 Firmware Upgrade Image</FileType><FileTypeArg/>\
        </cwmp:RequestDownload>";
    for body in [
        transfer_complete("01hzy3v7k2q4w6e8r0t2y4a6d8.1"),
        envelope("2", wanted),
        envelope("2", "<cwmp:GetRPCMethods/>"),
        envelope("2", "<cwmp:Frobnicate/>"),
    ] {
        let house = house().await;
        house.workflow.idle.store(true, Ordering::SeqCst);
        let cookie = open(&house).await;
        let mut cpe = house.connect().await;
        let answer = cpe.turn(&cookie, &body).await;
        assert_eq!(answer.status, 200, "{body}");
        let reboot = Rpc::Reboot(wf::CommandKeyRpc::default());
        house.workflow.will_send(REQUEST, reboot);
        let answer = cpe.turn(&answer.cookie(), "").await;
        assert_eq!(answer.text("cwmp:ID"), Some(REQUEST), "{body}");
    }
    // An answer to nothing, too.
    let house = house().await;
    house.workflow.idle.store(true, Ordering::SeqCst);
    let cookie = open(&house).await;
    let answer = envelope("2", "<cwmp:RebootResponse/>");
    assert_eq!(
        house.connect().await.turn(&cookie, answer).await.status,
        204
    );
    assert_eq!(house.workflow.asked.lock().len(), 1);
}

#[tokio::test]
async fn two_informs_on_one_connection_and_the_first_session_is_fenced() {
    let house = house().await;
    let mut cpe = house.connect().await;
    let first = cpe.post(&basic(), inform()).await.cookie();
    let second = cpe
        .post(&basic(), inform_of("0001", &["1 BOOT"]))
        .await
        .cookie();
    let answer = house.connect().await.turn(&first, "").await;
    assert_eq!(answer.status, 400, "superseded");
    assert!(answer.closes());
    assert_eq!(
        house.metric("hearth_gateway_sessions_total{event=\"superseded\"}"),
        1.0
    );
    assert_eq!(cpe.turn(&second, "").await.status, 204);
    // Another device's session is another matter.
    let other = cpe.post(&basic(), inform_of("0002", &[])).await.cookie();
    assert_eq!(cpe.turn(&other, "").await.status, 204);
}

#[tokio::test]
async fn silence_ends_a_session() {
    let house = house().await;
    let cookie = open(&house).await;
    house.clock.advance(Duration::from_secs(29));
    let late = envelope("2", "<cwmp:GetRPCMethods/>");
    let mut cpe = house.connect().await;
    let cookie = cpe.turn(&cookie, late).await.cookie();
    house.clock.advance(Duration::from_secs(29));
    assert_eq!(
        cpe.turn(&cookie, "").await.status,
        204,
        "each turn begins anew"
    );
    house.clock.advance(Duration::from_secs(31));
    assert_eq!(
        cpe.turn(&cookie, "").await.status,
        401,
        "as without a session"
    );
    let headers = format!("Cookie: {cookie}\r\n{}", basic());
    assert_eq!(cpe.post(&headers, "").await.status, 400);
    assert_eq!(
        house.metric("hearth_gateway_sessions_total{event=\"expired\"}"),
        1.0
    );
}

#[tokio::test]
async fn the_cpes_own_requests_are_answered_in_the_session() {
    let house = house().await;
    let cookie = open(&house).await;
    let mut cpe = house.connect().await;
    let answer = cpe
        .turn(&cookie, envelope("2", "<cwmp:GetRPCMethods/>"))
        .await;
    for method in [
        "Inform",
        "TransferComplete",
        "Kicked",
        "AutonomousDUStateChangeComplete",
    ] {
        assert!(
            answer.body.contains(&format!("<string>{method}</string>")),
            "{}",
            answer.body
        );
    }
    let kicked = envelope(
        "3",
        "<cwmp:Kicked><Command>c</Command><Referer>r</Referer><Arg>a</Arg><Next>http://next/</Next></cwmp:Kicked>",
    );
    let answer = cpe.turn(&answer.cookie(), kicked).await;
    assert_eq!(answer.text("NextURL"), Some("http://next/"));
    let (_, _, event) = house.bus.last();
    let Some(ev::event::Kind::DeviceRequest(request)) = event.kind else {
        panic!("a DeviceRequest")
    };
    assert_eq!(request.method, "Kicked");
    assert_eq!(request.arguments["Referer"], "r");
    let wanted = envelope(
        "4",
        "<cwmp:RequestDownload><FileType>1 Firmware Upgrade Image</FileType><FileTypeArg/></cwmp:RequestDownload>",
    );
    let answer = cpe.turn(&answer.cookie(), wanted).await;
    assert!(answer.body.contains("RequestDownloadResponse"));
    // An unknown method is a fault, and the session goes on.
    let answer = cpe
        .turn(
            &answer.cookie(),
            envelope("5", "<cwmp:Frobnicate><A>1</A></cwmp:Frobnicate>"),
        )
        .await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.text("FaultCode"), Some("8000"));
    assert_eq!(answer.text("cwmp:ID"), Some("5"));
    assert_eq!(cpe.turn(&answer.cookie(), "").await.status, 204);
}

fn transfer_complete(key: &str) -> String {
    envelope(
        "2",
        &format!(
            "<cwmp:TransferComplete><CommandKey>{key}</CommandKey><FaultStruct><FaultCode>9010</FaultCode>\
             <FaultString>no route</FaultString></FaultStruct><StartTime>2027-01-15T07:00:00Z</StartTime>\
             <CompleteTime>2027-01-15T07:01:00Z</CompleteTime></cwmp:TransferComplete>"
        ),
    )
}

#[tokio::test]
async fn a_transfer_complete_is_durable_and_reported_before_its_answer() {
    let house = house().await;
    let cookie = open(&house).await;
    let mut cpe = house.connect().await;
    let key = "01hzy3v7k2q4w6e8r0t2y4a6d8.1";
    // Even after the closing 204.
    assert_eq!(cpe.turn(&cookie, "").await.status, 204);
    let answer = cpe.turn(&cookie, transfer_complete(key)).await;
    assert!(
        answer.body.contains("TransferCompleteResponse"),
        "{answer:?}"
    );
    let (stream, id, event) = house.bus.last();
    assert_eq!(stream, Stream::Transfer);
    assert!(id.unwrap().contains(key), "a repetition is known by its id");
    let Some(ev::event::Kind::TransferComplete(transfer)) = event.kind else {
        panic!("a TransferComplete")
    };
    assert_eq!(
        (transfer.command_key.as_str(), transfer.fault_code),
        (key, 9010)
    );
    let reported = house.workflow.transfers.lock()[0].clone();
    assert_eq!(reported.transfer.unwrap(), transfer);
    // A foreign key is acknowledged all the same.
    let answer = cpe.turn(&cookie, transfer_complete("someone else's")).await;
    assert_eq!(answer.status, 200);
    assert_eq!(house.bus.last().1, None);
    house.bus.full.store(true, Ordering::SeqCst);
    assert_eq!(cpe.turn(&cookie, transfer_complete(key)).await.status, 503);
    house.bus.full.store(false, Ordering::SeqCst);
    assert_eq!(
        cpe.turn(&cookie, transfer_complete(key)).await.status,
        200,
        "the session lives"
    );
}

#[tokio::test]
async fn workflow_may_be_away_for_a_moment() {
    let house = house().await;
    let cookie = open(&house).await;
    let mut cpe = house.connect().await;
    house.workflow.down.store(true, Ordering::SeqCst);
    let answer = cpe.turn(&cookie, "").await;
    assert_eq!(answer.status, 503);
    assert!(answer.header("Retry-After").is_some());
    house.workflow.down.store(false, Ordering::SeqCst);
    assert_eq!(cpe.turn(&cookie, "").await.status, 204);
}

#[tokio::test]
async fn cookies_come_in_many_styles_and_forged_ones_are_none() {
    let house = house().await;
    let cookie = open(&house).await;
    let value = cookie.strip_prefix("hs=").unwrap();
    for header in [
        format!("Cookie: a=b, {cookie}, c=d\r\n"),
        format!("Cookie: a=b\r\nCookie: {cookie}\r\n"),
        format!("Cookie: $Version=1; hs=\"{value}\"; $Path=\"/\"\r\n"),
    ] {
        assert_eq!(
            house.connect().await.post(&header, "").await.status,
            204,
            "{header}"
        );
    }
    let mut changed = cookie.clone().into_bytes();
    changed[20] ^= 1;
    let changed = String::from_utf8(changed).unwrap();
    assert_eq!(house.connect().await.turn(&changed, "").await.status, 401);
    let oversize = format!("hs={}", "A".repeat(8000));
    assert_eq!(house.connect().await.turn(&oversize, "").await.status, 401);
}

#[tokio::test]
async fn an_answer_that_takes_long_to_arrive_is_no_silence() {
    let house = house().await;
    let cookie = open(&house).await;
    let late = envelope("2", "<cwmp:GetRPCMethods/>");
    let mut cpe = house.connect().await;
    let head = format!(
        "POST / HTTP/1.1\r\nHost: a\r\nCookie: {cookie}\r\nContent-Length: {}\r\nExpect: 100-continue\r\n\r\n",
        late.len()
    );
    cpe.write(head).await;
    assert_eq!(cpe.answer().await.status, 100, "its header was seen");
    // Over a slow link the body takes longer than a session may be silent.
    house.clock.advance(Duration::from_secs(40));
    cpe.write(late).await;
    let answer = cpe.answer().await;
    assert_eq!(answer.status, 200);
    house.clock.advance(Duration::from_secs(5));
    assert_eq!(cpe.turn(&answer.cookie(), "").await.status, 204);
}
