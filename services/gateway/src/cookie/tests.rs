//! Cookies: what fits, what is tolerated, what is refused.
#![allow(clippy::unwrap_used)]

use hearth_auth::{SecretKeys, labels};
use hearth_cwmp::session::Input;

use super::*;

const NOW: i64 = 1_800_000_000_000_000;

fn cookies() -> Cookies {
    let keys = SecretKeys::from_seed([7; 32]);
    Cookies::new(keys.sealer(labels::COOKIE).unwrap(), 3600)
}

fn session(device: &str) -> Session {
    Session {
        id: Ulid::generate(),
        state: State::default().on(Input::Inform).0,
        namespace: Namespace::V1_2,
        epoch: 1_800_000_000_123_456,
        started: NOW,
        last_turn: NOW + 1_234_000,
        idle_secs: 30,
        user: user_mark("cpe"),
        in_flight: InFlight::of(&format!("{}.99999.3", TaskId::generate())),
        ask: true,
        quirks: Quirks::default(),
        tenant: TenantId::default(),
        device: device.to_owned(),
    }
}

fn headers(values: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for value in values {
        headers.append(header::COOKIE, value.parse().unwrap());
    }
    headers
}

fn pair(cookies: &Cookies, session: &Session) -> String {
    let set = cookies.set(session).unwrap();
    let text = set.to_str().unwrap();
    text.split_once(';').unwrap().0.to_owned()
}

fn live(session: &Session) -> Found {
    Found::Live(Box::new(session.clone()))
}

#[test]
fn a_session_reads_back() {
    let cookies = cookies();
    for in_flight in ["", "01hzy3v7k2q4w6e8r0t2y4a6d8.1.0", "x.01.0", "odd"] {
        let session = Session {
            in_flight: InFlight::of(in_flight),
            ..session("012345-Router-0000001")
        };
        assert_eq!(
            session.in_flight.text().unwrap_or_default(),
            in_flight,
            "an id comes back as it was"
        );
        let headers = headers(&[&pair(&cookies, &session)]);
        assert_eq!(
            cookies.find(&headers, &session.tenant, NOW + 2_000_000),
            live(&session)
        );
    }
}

#[test]
fn whether_to_ask_is_the_version_of_the_layout() {
    let cookies = cookies();
    for (ask, version) in [(true, 1), (false, 2)] {
        let session = Session {
            ask,
            ..session("012345-Router-0000001")
        };
        assert_eq!(session.to_bytes()[0], version, "1 is what there was before");
        let headers = headers(&[&pair(&cookies, &session)]);
        let found = cookies.find(&headers, &session.tenant, NOW + 2_000_000);
        assert_eq!(found, live(&session));
        let mut later = session.to_bytes();
        later[0] = 5;
        assert_eq!(Session::from_bytes(&later, &session.tenant), None);
    }
}

fn quirks() -> Quirks {
    Quirks::of(&hearth_proto::types::v1::Quirks {
        xml_declaration: true,
        max_request_bytes: 8192,
        ..hearth_proto::types::v1::Quirks::default()
    })
}

#[test]
fn quirks_are_in_the_cookie_and_older_cookies_still_open() {
    let cookies = cookies();
    for (ask, version) in [(true, 3), (false, 4)] {
        let session = Session {
            ask,
            quirks: quirks(),
            ..session("012345-Router-0000001")
        };
        let bytes = session.to_bytes();
        assert_eq!(bytes[0], version);
        let headers = headers(&[&pair(&cookies, &session)]);
        let found = cookies.find(&headers, &session.tenant, NOW + 2_000_000);
        assert_eq!(found, live(&session));
        // What a gateway wrote that knew of no quirks: the same without them.
        let older = [&[version - 2], &bytes[3..]].concat();
        let bare = Session {
            quirks: Quirks::default(),
            ..session.clone()
        };
        assert_eq!(Session::from_bytes(&older, &session.tenant), Some(bare));
        let mut unknown = bytes;
        unknown[1] = 255;
        assert_eq!(Session::from_bytes(&unknown, &session.tenant), None);
    }
}

#[test]
fn usual_ids_stay_short_and_the_longest_stay_below_512() {
    let cookies = cookies();
    let mut session = session(&"x".repeat(84 - "default".len()));
    assert!(pair(&cookies, &session).len() <= USUAL);
    session.device = "x".repeat(MAX_IDENTITY - "default".len());
    assert!(pair(&cookies, &session).len() <= MAX);
    session.quirks = quirks();
    assert!(pair(&cookies, &session).len() <= MAX);
    session.device = "x".repeat(400);
    assert!(cookies.set(&session).is_none());
}

#[test]
fn odd_cookie_headers_are_read() {
    let cookies = cookies();
    let session = session("012345-Router-0000001");
    let ours = pair(&cookies, &session);
    let value = ours.strip_prefix("hs=").unwrap();
    let stale = {
        let mut old = session.clone();
        old.epoch -= 1;
        pair(&cookies, &old)
    };
    for values in [
        vec![format!("a=b; {ours}; c")],
        vec![format!("a=b, {ours},c=d")],
        vec![format!("$Version=\"1\"; hs=\"{value}\"; $Path=\"/\"")],
        vec!["a=b".to_owned(), ours.clone()],
        vec![format!("{stale}; {ours}")],
        vec![format!("{ours}; {stale}")],
        vec![format!("hs=garbage; {ours}")],
    ] {
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        let found = cookies.find(&headers(&values), &session.tenant, NOW + 2_000_000);
        assert_eq!(found, live(&session), "{values:?}");
    }
}

#[test]
fn what_is_not_ours_is_nothing() {
    let cookies = cookies();
    let session = session("012345-Router-0000001");
    let ours = pair(&cookies, &session);
    let find = |text: &str, tenant: &TenantId, now| cookies.find(&headers(&[text]), tenant, now);
    let tenant = &session.tenant;
    assert_eq!(find("xhs=1", tenant, NOW), Found::Nothing);
    assert_eq!(find("hs=", tenant, NOW), Found::Unreadable);
    assert_eq!(
        find(&format!("hs={}", "A".repeat(10_000)), tenant, NOW),
        Found::Unreadable
    );
    let other: TenantId = "other".parse().unwrap();
    assert_eq!(find(&ours, &other, NOW), Found::Unreadable);
    // One character changed anywhere.
    for at in 3..ours.len() {
        let mut bytes = ours.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(bytes).unwrap();
        // The last character may differ in bits that base64 doesn't use; the reader refuses them.
        assert_eq!(find(&changed, tenant, NOW), Found::Unreadable, "{at}");
    }
    let foreign = Cookies::new(
        SecretKeys::from_seed([8; 32])
            .sealer(labels::COOKIE)
            .unwrap(),
        3600,
    );
    assert_eq!(
        foreign.find(&headers(&[&ours]), tenant, NOW),
        Found::Unreadable
    );
}

#[test]
fn silence_and_age_end_a_session() {
    let cookies = cookies();
    let mut session = session("012345-Router-0000001");
    let ours = pair(&cookies, &session);
    let at = |text: &str, secs: i64| {
        cookies.find(
            &headers(&[text]),
            &TenantId::default(),
            NOW + secs * 1_000_000,
        )
    };
    assert_eq!(at(&ours, 31), live(&session));
    assert_eq!(at(&ours, 33), Found::Over);
    assert_eq!(at(&ours, -100), live(&session), "another replica's clock");
    session.last_turn = NOW + 3_601_000_000;
    assert_eq!(at(&pair(&cookies, &session), 3602), Found::Over);
}
