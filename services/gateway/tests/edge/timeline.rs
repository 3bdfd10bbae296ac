//! Records of sessions: what is told of which, and when.

use std::sync::atomic::Ordering;
use std::time::Duration;

use hearth_bus::Stream;
use hearth_config::ByteSize;
use hearth_gateway::GatewayConfig;
use hearth_proto::events::v1 as ev;
use hearth_proto::types::v1 as ty;
use hearth_proto::workflow::v1 as wf;
use wf::request::Rpc;

use crate::support::client::basic;
use crate::support::doubles::REQUEST;
use crate::support::xml::{envelope, inform, value};
use crate::support::{Cpe, House, house, house_with};

const TASK: &str = "01hzy3v7k2q4w6e8r0t2y4a6d8";

fn told(house: &House) -> Vec<(ev::Event, ev::SessionRecord)> {
    let published = house.bus.published.lock();
    let records = published.iter().filter_map(|(stream, _, event)| {
        let Some(ev::event::Kind::SessionRecord(record)) = &event.kind else {
            return None;
        };
        assert_eq!(*stream, Stream::DeviceChange);
        Some((event.clone(), record.clone()))
    });
    records.collect()
}

/// Waits for so many records.
async fn records(house: &House, count: usize) -> Vec<(ev::Event, ev::SessionRecord)> {
    for _ in 0..200 {
        let told = told(house);
        if told.len() >= count {
            return told;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("not {count} records: {:?}", told(house));
}

async fn informed(house: &House) -> (Cpe, String) {
    let mut cpe = house.connect().await;
    let answer = cpe.post(&basic(), inform()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let cookie = answer.cookie();
    (cpe, cookie)
}

fn read() -> Rpc {
    Rpc::GetParameterValues(ty::GetParameterValues {
        paths: vec!["Device.".into()],
    })
}

fn values() -> String {
    let list = value("Device.DeviceInfo.UpTime", "7");
    envelope(
        REQUEST,
        &format!(
            "<cwmp:GetParameterValuesResponse><ParameterList>{list}</ParameterList>\
             </cwmp:GetParameterValuesResponse>"
        ),
    )
}

#[tokio::test]
async fn a_session_with_work_is_told_turn_by_turn_once_it_ends() {
    let house = house().await;
    house.workflow.will_send(REQUEST, read());
    let (mut cpe, cookie) = informed(&house).await;
    let answer = cpe.turn(&cookie, "").await;
    let fault = "<SOAP-ENV:Fault><faultcode>Client</faultcode><faultstring>CWMP fault</faultstring>\
        <detail><cwmp:Fault><FaultCode>9002</FaultCode><FaultString>no</FaultString></cwmp:Fault>\
        </detail></SOAP-ENV:Fault>";
    let fault = envelope(REQUEST, fault);
    let answer = cpe.turn(&answer.cookie(), &fault).await;
    assert_eq!(answer.status, 204, "{answer:?}");
    let (event, record) = records(&house, 1).await.remove(0);
    assert_eq!(event.session.len(), 26);
    assert_eq!(
        (&*record.end, record.turns.len()),
        ("ended", 3),
        "{record:?}"
    );
    assert_eq!(record.start_us, record.turns[0].time_us);
    assert_eq!(
        (&*record.address, &*record.proof),
        ("127.0.0.1", "credential")
    );
    assert!(!record.events.is_empty());
    let shape = |turn: &ev::SessionTurn| (turn.received.clone(), turn.sent.clone(), turn.status);
    let shapes: Vec<_> = record.turns.iter().map(shape).collect();
    let expected = [
        ("Inform", "InformResponse", 200),
        ("empty", "GetParameterValues", 200),
        ("Fault", "empty", 204),
    ];
    for ((received, sent, status), expected) in shapes.iter().zip(expected) {
        assert_eq!((received.as_str(), sent.as_str(), *status), expected);
    }
    for turn in &record.turns[1..] {
        assert_eq!((&*turn.request_id, &*turn.task), (REQUEST, TASK));
    }
    assert_eq!(record.turns[2].fault_code, 9002);
    assert!(record.turns[0].bytes_in > 100 && record.turns[0].bytes_out > 100);
    let metric = "hearth_gateway_session_records_total{result=\"told\"}";
    assert_eq!(house.metric(metric), 1.0);
}

#[tokio::test]
async fn an_idle_session_publishes_its_inform_and_nothing_more() {
    let house = house().await;
    house.workflow.idle.store(true, Ordering::SeqCst);
    let (mut cpe, cookie) = informed(&house).await;
    assert_eq!(cpe.turn(&cookie, "").await.status, 204);
    // One that brings a report is told, with its Inform.
    let (mut cpe, cookie) = informed(&house).await;
    let body = envelope("7", "<cwmp:GetRPCMethods/>");
    let answer = cpe.turn(&cookie, &body).await;
    assert_eq!(cpe.turn(&answer.cookie(), "").await.status, 204);
    let told = records(&house, 1).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(house.bus.published.lock().len(), 2 + 1);
    let received: Vec<_> = told[0].1.turns.iter().map(|turn| &*turn.received).collect();
    assert_eq!(received, ["Inform", "GetRPCMethods", "empty"]);
}

#[tokio::test]
async fn silence_fencing_and_refusal_are_ends_too() {
    let house = house().await;
    let (_, first) = informed(&house).await;
    let (mut cpe, _) = informed(&house).await;
    assert_eq!(cpe.turn(&first, "").await.status, 400);
    let fenced = records(&house, 1).await.remove(0).1;
    assert_eq!(
        (&*fenced.end, &*fenced.end_detail),
        ("fenced", "superseded")
    );
    assert_eq!(fenced.turns.last().unwrap().status, 400);
    // The second one says nothing more.
    house.clock.advance(Duration::from_secs(31));
    let silent = records(&house, 2).await.remove(1).1;
    assert_eq!((&*silent.end, silent.turns.len()), ("silent", 1));
}

#[tokio::test]
async fn what_goes_on_at_the_end_of_the_process_is_told() {
    let house = house().await;
    house.workflow.will_send(REQUEST, read());
    let (mut cpe, cookie) = informed(&house).await;
    let answer = cpe.turn(&cookie, "").await;
    assert_eq!(answer.status, 200);
    drop(cpe);
    house.stop.cancel();
    let (_, record) = records(&house, 1).await.remove(0);
    assert_eq!((&*record.end, record.turns.len()), ("", 2));
}

#[tokio::test]
async fn replicas_tell_their_parts() {
    let house = house().await;
    let replica = house.replica().await;
    house.workflow.will_send(REQUEST, read());
    let (_, cookie) = informed(&house).await;
    let mut cpe = replica.connect().await;
    let answer = cpe.turn(&cookie, "").await;
    assert_eq!(cpe.turn(&answer.cookie(), values()).await.status, 204);
    house.clock.advance(Duration::from_secs(31));
    let told = records(&house, 2).await;
    assert_eq!(told[0].0.session, told[1].0.session);
    let turns: usize = told.iter().map(|(_, record)| record.turns.len()).sum();
    assert_eq!(turns, 3);
}

#[tokio::test]
async fn without_memory_for_it_nothing_is_told() {
    let house = house_with(GatewayConfig {
        session_memory: ByteSize(0),
        ..GatewayConfig::default()
    })
    .await;
    let (mut cpe, cookie) = informed(&house).await;
    assert_eq!(cpe.turn(&cookie, "").await.status, 204);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert!(told(&house).is_empty());
}
