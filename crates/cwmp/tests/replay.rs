//! Captured text replayed.
#![allow(clippy::unwrap_used)]

use hearth_cwmp::replay::replay;
use hearth_cwmp::session::Action;

fn envelope(body: &str) -> String {
    format!(
        "<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\" \
         xmlns:cwmp=\"urn:dslforum-org:cwmp-1-2\">\n<s:Body>{body}</s:Body></s:Envelope>"
    )
}

fn lines(side: char, body: &str) -> String {
    body.lines()
        .map(|line| format!("{side}|{line}\n"))
        .collect()
}

#[test]
fn each_turn_says_what_it_was_and_what_follows() {
    let inform = envelope(
        "<cwmp:Inform><DeviceId><Manufacturer>M</Manufacturer><OUI>0000CA</OUI><ProductClass/>\
         <SerialNumber>1</SerialNumber></DeviceId><Event/><MaxEnvelopes>1</MaxEnvelopes>\
         <CurrentTime/><RetryCount>0</RetryCount><ParameterList/></cwmp:Inform>",
    );
    let accepted =
        envelope("<cwmp:InformResponse><MaxEnvelopes>1</MaxEnvelopes></cwmp:InformResponse>");
    let reboot = envelope("<cwmp:Reboot><CommandKey>k</CommandKey></cwmp:Reboot>");
    let done = envelope("<cwmp:RebootResponse/>");
    let text = format!(
        "# hearth capture 1\n\
         --- session a turn 1\n> POST /\n> Host: h\n{}< 200\n{}\
         --- session b turn 1\n> POST /\n>! 17 bytes: not kept\n< 400\n\
         --- session a turn 2\n> POST /\n< 200\n{}\
         --- session a turn 3\n> POST /\n{}< 204\n\
         --- session a turn 4\n> POST /\n{}< 200\n{}",
        lines('>', &inform),
        lines('<', &accepted),
        lines('<', &reboot),
        lines('>', &done),
        lines('>', &inform),
        lines('<', &reboot),
    );
    let steps = replay(&text).unwrap();
    let shown: Vec<_> = steps
        .iter()
        .map(|step| {
            (
                &*step.session,
                &*step.received,
                step.action,
                &*step.sent,
                step.agrees,
            )
        })
        .collect();
    let ended = Action::EndSession { unanswered: false };
    assert_eq!(
        shown,
        [
            (
                "a",
                "Inform",
                Some(Action::AcceptInform),
                "InformResponse",
                true
            ),
            ("b", "not kept", None, "empty", true),
            ("a", "empty", Some(Action::SendRequest), "Reboot", true),
            ("a", "RebootResponse", Some(ended), "empty", true),
            ("a", "Inform", Some(Action::AcceptInform), "Reboot", false),
        ]
    );
    assert_eq!(
        steps[0].to_string(),
        "a turn 1: Inform -> AcceptInform, InformResponse"
    );
    assert!(steps[4].to_string().contains("not what the machine does"));
}

#[test]
fn what_is_no_capture_is_said_with_its_line() {
    assert_eq!(replay("# x\nhello").unwrap_err().line, 2);
    assert_eq!(replay("> POST /").unwrap_err().line, 1);
    assert!(replay("").unwrap().is_empty());
}
