//! Sessions and captures, as gateways tell of them.

use crate::common::{START, World, config, event, inform};
use hearth_clients::{DeviceState, Kind};
use hearth_proto::devicestate::v1 as ds;
use hearth_proto::events::v1 as ev;
use hearth_proto::types::v1::{Capture, CaptureRule, CaptureState};

const ID: &str = "001122-X-1";
const FIRST: &str = "01hzy3v7k2q4w6e8r0t2y4a6d8";
const SECOND: &str = "01hzy3v7k2q4w6e8r0t2y4a6d9";
const THIRD: &str = "01hzy3v7k2q4w6e8r0t2y4a6da";
const TASK: &str = "01hzy3v7k2q4w6e8r0t2y4a6db";

fn of(session: &str, event: ev::Event) -> ev::Event {
    ev::Event {
        session: session.to_owned(),
        ..event
    }
}

fn record(time: i64, end: &str) -> ev::Event {
    let turn = |time_us, received: &str, task: &str| ev::SessionTurn {
        time_us,
        received: received.into(),
        task: task.into(),
        ..ev::SessionTurn::default()
    };
    let record = ev::SessionRecord {
        start_us: time,
        events: vec!["2 PERIODIC".into()],
        end: end.into(),
        turns: vec![turn(time, "Inform", ""), turn(time + 5, "empty", TASK)],
        ..ev::SessionRecord::default()
    };
    event(ID, time + 5, ev::event::Kind::SessionRecord(record))
}

async fn sessions(world: &World) -> Vec<ds::Session> {
    let request = ds::ListSessionsRequest {
        tenant: "default".into(),
        device: ID.into(),
        page_size: 0,
    };
    world.state.list_sessions(request).await.unwrap().sessions
}

#[tokio::test]
async fn sessions_are_listed_with_and_without_records_and_go_with_the_device() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::open(dir.path(), config()).await;
    world.run().await;
    let boot = of(FIRST, inform(ID, START, "1 BOOT", &[]));
    world.publish(&boot).await;
    // Plain ones: no row of theirs.
    let plain = |time| inform(ID, time, "2 PERIODIC", &[]);
    world.publish(&of(SECOND, plain(START + 1_000_000))).await;
    world.publish(&of(THIRD, plain(START + 2_000_000))).await;
    world
        .publish(&of(THIRD, record(START + 2_000_000, "ended")))
        .await;
    world.settled().await;
    let listed = sessions(&world).await;
    let ids: Vec<_> = listed.iter().map(|session| session.id.as_str()).collect();
    assert_eq!(ids, [THIRD, SECOND, FIRST]);
    assert_eq!((&*listed[0].end, listed[0].turn_count), ("ended", 2));
    assert_eq!(listed[0].tasks, [TASK]);
    assert!(listed[0].turns.is_empty());
    assert_eq!(listed[2].events, ["1 BOOT"]);
    assert_eq!(listed[1].events, ["2 PERIODIC"]);
    // It is no entry of the history, and no sign of life.
    let kinds: Vec<_> = world
        .history(ID)
        .await
        .into_iter()
        .map(|e| e.kind)
        .collect();
    assert_eq!(kinds, ["inform"]);
    let device = world.device(ID).await;
    assert_eq!(
        (device.inform_count, device.last_seen_us),
        (3, START + 2_000_000)
    );

    let request = ds::GetSessionRequest {
        tenant: "default".into(),
        device: ID.into(),
        session: THIRD.into(),
    };
    let session = world.state.get_session(request.clone()).await.unwrap();
    assert_eq!(session.session.unwrap().turns.len(), 2);
    let delete = ds::DeleteDeviceRequest {
        tenant: "default".into(),
        device: ID.into(),
    };
    world.state.delete_device(delete).await.unwrap();
    let gone = world.state.get_session(request).await.unwrap_err();
    assert_eq!(gone.kind, Kind::NotFound);
    world
        .publish(&of(FIRST, inform(ID, START + 9_000_000, "1 BOOT", &[])))
        .await;
    world.settled().await;
    assert_eq!(sessions(&world).await.len(), 1);
}

fn start(change: impl FnOnce(&mut Capture)) -> ds::StartCaptureRequest {
    let mut capture = Capture {
        rule: Some(CaptureRule {
            device: ID.into(),
            ..CaptureRule::default()
        }),
        ..Capture::default()
    };
    change(&mut capture);
    ds::StartCaptureRequest {
        tenant: "default".into(),
        capture: Some(capture),
    }
}

fn part(id: &str, time: i64, turn: u32, text: &str) -> ev::Event {
    let part = ev::CapturePart {
        captures: vec![id.to_owned()],
        turn,
        text: text.to_owned(),
        cut: false,
    };
    event(ID, time, ev::event::Kind::CapturePart(part))
}

#[tokio::test]
async fn a_capture_is_filled_read_and_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::open(dir.path(), config()).await;
    world.run().await;
    world
        .publish(&of(FIRST, inform(ID, START, "1 BOOT", &[])))
        .await;
    world.settled().await;
    let state = &world.state;
    let started = state.start_capture(start(|_| {})).await.unwrap();
    let capture = started.capture.unwrap();
    assert_eq!((capture.max_sessions, capture.duration_seconds), (1, 3600));
    let policy = ds::GetEdgePolicyRequest {
        tenant: "default".into(),
    };
    let told = state.get_edge_policy(policy.clone()).await.unwrap();
    assert_eq!(told.captures.len(), 1);
    assert_eq!(
        (&told.captures[0].id, told.captures[0].sessions_left),
        (&capture.id, 1)
    );

    let second = part(&capture.id, START + 20, 2, "second\n");
    for event in [
        part(&capture.id, START + 10, 1, "first\n"),
        second.clone(),
        // The bus delivers it again.
        second,
        part("01hzy3v7k2q4w6e8r0t2y4a6zz", START + 20, 2, "of nothing\n"),
    ] {
        world.publish(&of(FIRST, event)).await;
    }
    // One session is what it takes.
    world
        .publish(&of(SECOND, part(&capture.id, START + 30, 1, "too many\n")))
        .await;
    world.settled().await;
    let get = ds::GetCaptureRequest {
        tenant: "default".into(),
        id: capture.id.clone(),
    };
    let now = state
        .get_capture(get.clone())
        .await
        .unwrap()
        .capture
        .unwrap();
    assert_eq!(now.state(), CaptureState::Full);
    assert_eq!((now.sessions, now.bytes, now.left_out), (1, 13, 0));
    let told = state.get_edge_policy(policy).await.unwrap();
    assert!(told.captures.is_empty(), "{told:?}");
    let read = ds::ReadCaptureRequest {
        tenant: "default".into(),
        id: capture.id.clone(),
        page_token: String::new(),
    };
    let text = state.read_capture(read.clone()).await.unwrap();
    assert!(text.next_page_token.is_empty());
    assert!(text.text.starts_with("# hearth capture 1\n"), "{text:?}");
    assert!(text.text.ends_with("left out\nfirst\nsecond\n"), "{text:?}");

    let delete = ds::DeleteDeviceRequest {
        tenant: "default".into(),
        device: ID.into(),
    };
    state.delete_device(delete).await.unwrap();
    let text = state.read_capture(read).await.unwrap().text;
    assert!(text.lines().all(|line| line.starts_with('#')), "{text}");
    let delete = ds::DeleteCaptureRequest {
        tenant: "default".into(),
        id: capture.id,
    };
    state.delete_capture(delete).await.unwrap();
    assert_eq!(
        state.get_capture(get).await.unwrap_err().kind,
        Kind::NotFound
    );
}

#[tokio::test]
async fn a_capture_says_whose_sessions_how_many_and_for_how_long() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::open(dir.path(), config()).await;
    let rule = |rule: CaptureRule| start(|capture| capture.rule = Some(rule));
    let none = CaptureRule::default;
    for (request, field) in [
        (rule(none()), "capture.rule"),
        (
            rule(CaptureRule {
                device: ID.into(),
                any: true,
                ..none()
            }),
            "capture.rule",
        ),
        (
            rule(CaptureRule {
                oui: "12345".into(),
                ..none()
            }),
            "capture.rule.oui",
        ),
        (
            rule(CaptureRule {
                device: "x".into(),
                ..none()
            }),
            "capture.rule.device",
        ),
        (
            start(|capture| capture.max_sessions = 101),
            "capture.max_sessions",
        ),
        (
            start(|capture| capture.duration_seconds = 86_401),
            "capture.duration_seconds",
        ),
    ] {
        let error = world.state.start_capture(request).await.unwrap_err();
        assert_eq!(error.field, field);
    }
    let by_model = CaptureRule {
        oui: "001122".into(),
        ..none()
    };
    let capture = world.state.start_capture(rule(by_model)).await.unwrap();
    let id = capture.capture.unwrap().id;
    let stop = ds::StopCaptureRequest {
        tenant: "default".into(),
        id,
    };
    let stopped = world
        .state
        .stop_capture(stop)
        .await
        .unwrap()
        .capture
        .unwrap();
    assert_eq!(
        (stopped.state(), stopped.max_sessions),
        (CaptureState::Stopped, 10)
    );
    let list = ds::ListCapturesRequest {
        tenant: "default".into(),
    };
    assert_eq!(
        world
            .state
            .list_captures(list)
            .await
            .unwrap()
            .captures
            .len(),
        1
    );
}
