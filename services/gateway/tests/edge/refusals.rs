//! Who is turned away is remembered, and told to device-state.

use std::time::Duration;

use hearth_proto::devicestate::v1 as ds;

use crate::support::client::{basic, basic_of};
use crate::support::xml::{DEVICE, inform, inform_of};
use crate::support::{House, PASSWORD, USER, house};

/// What was told, once it is so much.
async fn told(house: &House, count: usize) -> Vec<ds::Refusal> {
    for _ in 0..600 {
        let told = house.device_state.refusals.lock().clone();
        if told.len() >= count {
            return told;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{:?}", house.device_state.refusals.lock());
}

#[tokio::test]
async fn wrong_passwords_and_unknown_users_are_told_without_their_passwords() {
    let house = house().await;
    for _ in 0..3 {
        let mut cpe = house.connect().await;
        let answer = cpe.post(&basic_of(USER, "hunter2"), inform()).await;
        assert_eq!(answer.status, 401);
    }
    let mut cpe = house.connect().await;
    cpe.post(&basic_of("no\u{1b}body", "hunter2"), inform())
        .await;
    let mut told = told(&house, 2).await;
    told.sort_by(|a, b| a.reason.cmp(&b.reason));
    let [unknown, wrong] = told.as_slice() else {
        panic!("{told:?}");
    };
    assert_eq!(
        (wrong.reason.as_str(), wrong.user.as_str()),
        ("wrong_password", USER)
    );
    assert_eq!((wrong.status, wrong.address.as_str()), (401, "127.0.0.1"));
    assert_eq!(unknown.reason, "unknown_user");
    assert!(!unknown.user.contains('\u{1b}'), "{unknown:?}");
    let text = format!("{told:?}");
    assert!(
        !text.contains("hunter2") && !text.contains(PASSWORD),
        "{text}"
    );
    assert!(!text.contains("Basic "), "{text}");
}

#[tokio::test]
async fn a_refused_inform_is_told_of_its_device_and_repetition_once_a_minute() {
    let house = house().await;
    let blocked = ds::CheckIdentityResponse {
        code: "blocked".to_owned(),
        reason: "the device is blocked".to_owned(),
        ..ds::CheckIdentityResponse::default()
    };
    let judged = &house.device_state.judged;
    judged.lock().insert(DEVICE.to_owned(), blocked);
    house.connect().await.post(&basic(), inform()).await;
    let first = told(&house, 1).await;
    assert_eq!(
        (first[0].device.as_str(), first[0].reason.as_str()),
        (DEVICE, "blocked")
    );
    assert_eq!((first[0].status, first[0].count), (403, 1));
    for _ in 0..5 {
        house.connect().await.post(&basic(), inform()).await;
    }
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(told(&house, 1).await.len(), 1, "within the minute");
    house.clock.advance(Duration::from_secs(61));
    let second = told(&house, 2).await;
    assert_eq!(second[1].count, 5);
    let line = "hearth_gateway_refusals_told_total";
    assert_eq!(house.metric(line), 2.0);
}

#[tokio::test]
async fn an_inform_answered_by_a_fault_and_one_that_is_none_are_told() {
    let house = house().await;
    let bad = inform().replace("<OUI>0000CA", "<OUI>NOTHEX");
    let answer = house.connect().await.post(&basic(), bad).await;
    assert!(answer.body.contains("8003"), "{answer:?}");
    house.connect().await.post(&basic(), "hello").await;
    let told = told(&house, 2).await;
    let fault = told.iter().find(|r| r.fault == 8003).unwrap();
    assert_eq!(
        (fault.reason.as_str(), fault.user.as_str()),
        ("inform_fault", USER)
    );
    let other = told.iter().find(|r| r.reason == "undecodable").unwrap();
    assert!(other.status >= 400 && other.user == USER);
}

#[tokio::test]
async fn a_device_that_never_sends_credentials_is_noticed() {
    let house = house().await;
    for _ in 0..12 {
        let answer = house.connect().await.post("", inform()).await;
        assert_eq!(answer.status, 401);
        house.clock.advance(Duration::from_secs(1));
    }
    let told_of = told(&house, 1).await;
    let one = &told_of[0];
    assert_eq!(
        (one.reason.as_str(), one.address.as_str()),
        ("no_credentials", "127.0.0.1")
    );
    assert!(
        one.count >= 10 && one.device.is_empty() && one.user.is_empty(),
        "{one:?}"
    );
}

#[tokio::test]
async fn sessions_that_begin_with_a_challenge_are_not_refusals() {
    let house = house().await;
    for n in 0..20 {
        let mut cpe = house.connect().await;
        assert_eq!(cpe.post("", inform()).await.status, 401);
        let inform = inform_of(&format!("{n:04}"), &["2 PERIODIC"]);
        assert_eq!(cpe.post(&basic(), inform).await.status, 200);
        house.clock.advance(Duration::from_secs(20));
    }
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert!(house.device_state.refusals.lock().is_empty());
}

#[tokio::test]
async fn what_cannot_be_told_now_is_told_later() {
    let house = house().await;
    let down = &house.device_state.deaf;
    down.store(true, std::sync::atomic::Ordering::SeqCst);
    let mut cpe = house.connect().await;
    cpe.post(&basic_of(USER, "wrong"), inform()).await;
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert!(house.device_state.refusals.lock().is_empty());
    down.store(false, std::sync::atomic::Ordering::SeqCst);
    house.clock.advance(Duration::from_secs(61));
    assert_eq!(told(&house, 1).await[0].count, 1);
}
