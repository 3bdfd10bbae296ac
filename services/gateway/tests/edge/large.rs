//! Events that are larger than the bus takes: in pieces, or refused once and for all.

use std::sync::atomic::Ordering;

use hearth_bus::Stream;
use hearth_proto::events::v1 as ev;
use hearth_proto::types::v1 as ty;
use hearth_proto::workflow::v1 as wf;
use wf::request::Rpc;
use wf::request_outcome::Kind;

use crate::support::client::basic;
use crate::support::doubles::REQUEST;
use crate::support::xml::{envelope, inform, value};
use crate::support::{Cpe, House, house};

const MAX: usize = 2000;

/// A house whose bus takes little, a CPE in session, and its cookie.
async fn asked() -> (House, Cpe, String) {
    let house = house().await;
    house.bus.max.store(MAX, Ordering::SeqCst);
    let read = ty::GetParameterValues {
        paths: vec!["Device.".to_owned()],
    };
    let request = Rpc::GetParameterValues(read);
    house.workflow.will_send(REQUEST, request);
    let mut cpe = house.connect().await;
    let cookie = cpe.post(&basic(), inform()).await.cookie();
    let cookie = cpe.turn(&cookie, "").await.cookie();
    (house, cpe, cookie)
}

fn values(count: usize, len: usize) -> String {
    let text = "x".repeat(len);
    let list = (0..count).map(|n| value(&format!("Device.X.{n}"), &text));
    list.collect()
}

fn answer(values: &str) -> String {
    let body = format!(
        "<cwmp:GetParameterValuesResponse><ParameterList>{values}</ParameterList>\
         </cwmp:GetParameterValuesResponse>"
    );
    envelope(REQUEST, &body)
}

fn large_inform(values: &str) -> String {
    let end = "</ParameterList>";
    inform().replace(end, &format!("{values}{end}"))
}

#[tokio::test]
async fn a_large_read_goes_to_the_bus_in_pieces_and_to_its_task_whole() {
    let (house, mut cpe, cookie) = asked().await;
    let end = cpe.turn(&cookie, answer(&values(200, 30))).await;
    assert_eq!(end.status, 204, "{end:?}");
    let published = house.bus.published.lock().clone();
    let mut count = 0;
    let mut ids = std::collections::BTreeSet::new();
    let time = published[1].2.time_us;
    for (stream, id, event) in &published[1..] {
        assert_eq!((*stream, event.time_us), (Stream::Values, time));
        assert!(ids.insert(id.clone().unwrap()), "one of its own each");
        let Some(ev::event::Kind::ValuesReported(reported)) = &event.kind else {
            panic!("{event:?}")
        };
        assert_eq!(reported.source(), ev::ValueSource::Read);
        count += reported.values.len();
    }
    assert_eq!(count, 200);
    assert!(ids.len() >= 200 * 30 / MAX);
    let outcomes = house.workflow.outcomes();
    assert!(matches!(&outcomes[0].kind, Some(Kind::Values(all)) if all.values.len() == 200));
    assert_eq!(house.metric("hearth_gateway_events_cut_total"), 1.0);
}

#[tokio::test]
async fn a_value_that_fits_into_no_message_is_told_to_its_task() {
    let (house, mut cpe, cookie) = asked().await;
    let end = cpe.turn(&cookie, answer(&values(1, MAX))).await;
    assert_eq!(end.status, 204, "the session goes on: {end:?}");
    let outcomes = house.workflow.outcomes();
    assert!(matches!(&outcomes[0].kind, Some(Kind::TooLarge(why)) if why.contains("event bus")));
    assert_eq!(house.bus.events().len(), 1, "the Inform alone");
    assert_eq!(house.metric("hearth_gateway_answers_too_large_total"), 1.0);
}

#[tokio::test]
async fn a_large_inform_is_accepted_in_pieces() {
    let house = house().await;
    house.bus.max.store(MAX, Ordering::SeqCst);
    let mut cpe = house.connect().await;
    let answer = cpe.post(&basic(), large_inform(&values(100, 50))).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.text("MaxEnvelopes"), Some("1"));
    let events = house.bus.events();
    let Some(ev::event::Kind::Inform(first)) = events.first() else {
        panic!("{events:?}")
    };
    let mut count = first.parameters.len();
    for event in &events[1..] {
        let ev::event::Kind::ValuesReported(rest) = event else {
            panic!("one Inform: {event:?}")
        };
        count += rest.values.len();
    }
    assert_eq!(count, 103);
}

#[tokio::test]
async fn an_inform_that_cannot_be_cut_is_refused_by_a_fault() {
    let house = house().await;
    house.bus.max.store(MAX, Ordering::SeqCst);
    let mut cpe = house.connect().await;
    let answer = cpe.post(&basic(), large_inform(&values(1, MAX))).await;
    assert_eq!(answer.status, 200, "not to be tried again: {answer:?}");
    assert_eq!(answer.text("FaultCode"), Some("8004"));
    assert!(answer.header("Retry-After").is_none());
    assert_eq!(house.bus.events(), []);
    let faults = house.metric("hearth_gateway_faults_sent_total{code=\"8004\"}");
    assert_eq!(faults, 1.0);
}

#[tokio::test]
async fn a_report_that_is_too_large_is_answered_by_a_fault() {
    let house = house().await;
    let mut cpe = house.connect().await;
    let cookie = cpe.post(&basic(), inform()).await.cookie();
    house.bus.max.store(100, Ordering::SeqCst);
    let report = "<cwmp:TransferComplete><CommandKey>k</CommandKey><FaultStruct><FaultCode>9010\
        </FaultCode><FaultString>no</FaultString></FaultStruct><StartTime>2027-01-15T07:00:00Z\
        </StartTime><CompleteTime>2027-01-15T07:01:00Z</CompleteTime></cwmp:TransferComplete>";
    let answer = cpe.turn(&cookie, envelope("2", report)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.text("FaultCode"), Some("8004"));
    assert!(house.workflow.transfers.lock().is_empty());
    // The session goes on.
    assert_eq!(cpe.turn(&answer.cookie(), "").await.status, 204);
}
