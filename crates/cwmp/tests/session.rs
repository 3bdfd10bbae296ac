//! The session machine: whole sessions as tables, and what holds for any input whatever.
#![allow(clippy::unwrap_used)]

use hearth_cwmp::session::{Action, Delivery, Input, Phase, State, TURN_LIMIT};
use hearth_cwmp::{
    AcsResponse, CpeResponse, DecodeOptions, Envelope, FaultCode, InformResponse, Message,
    Receiver, decode, encode,
};
use proptest::prelude::*;

const INPUTS: [Input; 13] = [
    Input::Inform,
    Input::CpeRequest,
    Input::UnknownMethod,
    Input::CpeResponse,
    Input::CpeFault,
    Input::Empty,
    Input::BadInform,
    Input::BadRequest,
    Input::BadResponse,
    Input::Undecodable,
    Input::Lost,
    Input::Work,
    Input::NoWork,
];

/// An answer that was asked for.
fn deliver(what: Delivery) -> Action {
    Action::Deliver {
        what,
        expected: true,
    }
}

/// Runs a session and compares every action and phase.
fn session(name: &str, triple_empty: bool, rows: &[(Input, Action, Phase)]) {
    let mut state = State::new(triple_empty);
    for (index, (input, action, phase)) in rows.iter().enumerate() {
        let (next, done) = state.on(*input);
        assert_eq!(
            (done, next.phase),
            (*action, *phase),
            "{name}, row {index}: {input:?}"
        );
        state = State::from_bytes(next.to_bytes()).unwrap();
        assert_eq!(state, next, "{name}, row {index}: the cookie");
    }
}

const END: Action = Action::EndSession { unanswered: false };

#[test]
fn sessions_as_tr_069_has_them() {
    use Action::*;
    use Phase::*;
    session(
        "nothing to do (3.7.1)",
        false,
        &[
            (Input::Inform, AcceptInform, Processing),
            (Input::Empty, AskForWork, Choosing),
            (Input::NoWork, END, Ended),
        ],
    );
    session(
        "two requests, one of which fails",
        false,
        &[
            (Input::Inform, AcceptInform, Processing),
            (Input::Empty, AskForWork, Choosing),
            (Input::Work, SendRequest, AwaitResponse),
            (Input::CpeResponse, deliver(Delivery::Response), Choosing),
            (Input::Work, SendRequest, AwaitResponse),
            (Input::CpeFault, deliver(Delivery::Fault), Choosing),
            (Input::NoWork, END, Ended),
        ],
    );
    session(
        "the CPE's own requests come first, and late ones are answered too",
        false,
        &[
            (Input::Inform, AcceptInform, Processing),
            (Input::CpeRequest, AnswerRequest, Processing),
            (Input::CpeRequest, AnswerRequest, Processing),
            (Input::Empty, AskForWork, Choosing),
            (Input::Work, SendRequest, AwaitResponse),
            (Input::CpeRequest, AnswerRequest, AwaitResponse),
            (Input::CpeResponse, deliver(Delivery::Response), Choosing),
            (Input::NoWork, END, Ended),
            (Input::CpeRequest, AnswerRequest, Ended),
            (Input::Empty, END, Ended),
        ],
    );
    session(
        "an unknown method does not end the session",
        false,
        &[
            (Input::Inform, AcceptInform, Processing),
            (
                Input::UnknownMethod,
                SendFault(FaultCode::ACS_METHOD_NOT_SUPPORTED),
                Processing,
            ),
            (
                Input::BadRequest,
                SendFault(FaultCode::ACS_INVALID_ARGUMENTS),
                Processing,
            ),
            (Input::Empty, AskForWork, Choosing),
            (Input::NoWork, END, Ended),
        ],
    );
    session(
        "a CPE from before Amendment 1 ends with a second empty POST",
        true,
        &[
            (Input::Inform, AcceptInform, Processing),
            (Input::Empty, AskForWork, Choosing),
            (Input::NoWork, SendEmpty, Closing),
            (Input::Empty, END, Ended),
        ],
    );
}

#[test]
fn sessions_as_they_go_wrong() {
    use Action::*;
    use Phase::*;
    let lost = Refuse { unanswered: true };
    session(
        "nothing but an Inform begins a session",
        false,
        &[
            (Input::Empty, Refuse { unanswered: false }, AwaitInform),
            (Input::CpeRequest, Refuse { unanswered: false }, AwaitInform),
            (
                Input::CpeResponse,
                Refuse { unanswered: false },
                AwaitInform,
            ),
            (
                Input::UnknownMethod,
                Refuse { unanswered: false },
                AwaitInform,
            ),
            (
                Input::Undecodable,
                Refuse { unanswered: false },
                AwaitInform,
            ),
            (
                Input::BadInform,
                SendFault(FaultCode::ACS_INVALID_ARGUMENTS),
                AwaitInform,
            ),
            (Input::Inform, AcceptInform, Processing),
        ],
    );
    session(
        "power is lost while a request is out",
        false,
        &[
            (Input::Inform, AcceptInform, Processing),
            (Input::Empty, AskForWork, Choosing),
            (Input::Work, SendRequest, AwaitResponse),
            (Input::Inform, AcceptInform, Processing),
            (Input::Empty, AskForWork, Choosing),
            (Input::NoWork, END, Ended),
        ],
    );
    session(
        "the CPE overhears a request once, then ignores it",
        false,
        &[
            (Input::Inform, AcceptInform, Processing),
            (Input::Empty, AskForWork, Choosing),
            (Input::Work, SendRequest, AwaitResponse),
            (Input::Empty, RepeatRequest, AwaitResponse),
            (Input::CpeResponse, deliver(Delivery::Response), Choosing),
            (Input::Work, SendRequest, AwaitResponse),
            (Input::Empty, RepeatRequest, AwaitResponse),
            (Input::Empty, EndSession { unanswered: true }, Ended),
        ],
    );
    session(
        "an answer that can't be understood is an answer",
        false,
        &[
            (Input::Inform, AcceptInform, Processing),
            (Input::Empty, AskForWork, Choosing),
            (Input::Work, SendRequest, AwaitResponse),
            (Input::BadResponse, deliver(Delivery::Garbled), Choosing),
            (Input::NoWork, END, Ended),
        ],
    );
    session(
        "an old cookie: only the task source knows what is in flight",
        false,
        &[
            (Input::Inform, AcceptInform, Processing),
            (
                Input::CpeResponse,
                Deliver {
                    what: Delivery::Response,
                    expected: false,
                },
                Choosing,
            ),
            (Input::NoWork, END, Ended),
            (Input::CpeResponse, Refuse { unanswered: false }, Ended),
        ],
    );
    for input in [Input::Undecodable, Input::Lost] {
        session(
            "what ends a session leaves the request unanswered",
            false,
            &[
                (Input::Inform, AcceptInform, Processing),
                (Input::Empty, AskForWork, Choosing),
                (Input::Work, SendRequest, AwaitResponse),
                (input, lost, Ended),
            ],
        );
    }
}

#[test]
fn what_is_decoded_becomes_an_input() {
    let read = |message: Message, receiver| {
        let bytes = encode(&Envelope::new(message)).unwrap();
        Input::of(&decode(&bytes, &DecodeOptions::new(receiver)))
    };
    let reboot = Message::CpeResponse(CpeResponse::Reboot);
    assert_eq!(read(reboot, Receiver::Acs), Input::CpeResponse);
    // A response that only a CPE may receive is nothing an ACS knows.
    let foreign = Message::AcsResponse(AcsResponse::Inform(InformResponse { max_envelopes: 1 }));
    assert_eq!(read(foreign, Receiver::Acs), Input::UnknownMethod);

    let raw = |body: &str| {
        let text = format!("<Envelope><Body>{body}</Body></Envelope>");
        Input::of(&decode(text.as_bytes(), &DecodeOptions::new(Receiver::Acs)))
    };
    assert_eq!(raw("<Inform/>"), Input::BadInform);
    assert_eq!(raw("<AddObjectResponse/>"), Input::BadResponse);
    assert_eq!(
        raw("<Fault><FaultCode>x</FaultCode></Fault>"),
        Input::BadResponse
    );
    assert_eq!(raw("<Kicked/>"), Input::CpeRequest);
    assert_eq!(raw("<GetRPCMethods/>"), Input::CpeRequest);
    assert_eq!(raw("<Reboot/>"), Input::UnknownMethod);
    assert_eq!(raw("<Open>"), Input::Undecodable);
}

#[test]
fn no_session_is_endless() {
    let forever: [&[Input]; 4] = [
        &[Input::CpeRequest],
        &[Input::CpeRequest, Input::UnknownMethod, Input::BadRequest],
        &[
            Input::Empty,
            Input::Work,
            Input::CpeResponse,
            Input::Work,
            Input::CpeFault,
        ],
        &[Input::BadResponse, Input::Work],
    ];
    for inputs in forever {
        for triple_empty in [false, true] {
            let (mut state, _) = State::new(triple_empty).on(Input::Inform);
            let most = 3 * usize::from(TURN_LIMIT);
            let turns = inputs.iter().cycle().take(most).take_while(|input| {
                (state, _) = state.on(**input);
                state.phase != Phase::Ended
            });
            assert!(turns.count() < most, "{inputs:?}");
            assert!(state.turns() <= TURN_LIMIT + 1);
        }
    }
}

#[test]
fn a_cookie_of_another_version_is_not_understood() {
    assert_eq!(State::from_bytes([6, 0, 0, 0]), None);
    assert_eq!(State::from_bytes([0, 4, 0, 0]), None);
    assert_eq!(
        State::from_bytes(State::new(true).to_bytes()),
        Some(State::new(true))
    );
}

/// What must hold of every step, whatever came before.
fn check_step(before: State, input: Input, after: State, action: Action) {
    let asked = before.phase == Phase::Choosing;
    match action {
        Action::AcceptInform => assert_eq!(input, Input::Inform),
        Action::AnswerRequest => assert_eq!(input, Input::CpeRequest),
        Action::SendRequest => assert!(asked && input == Input::Work),
        Action::RepeatRequest => assert_eq!(before.phase, Phase::AwaitResponse),
        Action::SendEmpty => assert!(asked && before.triple_empty),
        Action::AskForWork => assert_eq!((input, after.phase), (Input::Empty, Phase::Choosing)),
        Action::Deliver { .. } => assert_eq!(after.phase, Phase::Choosing),
        Action::SendFault(_) => assert_eq!(before.phase, after.phase),
        Action::EndSession { .. } => assert_eq!(after.phase, Phase::Ended),
        Action::Refuse { .. } => assert!(matches!(after.phase, Phase::Ended | Phase::AwaitInform)),
    }
    // Without a session, no work is given and nothing is recorded.
    if before.phase == Phase::AwaitInform && input != Input::Inform {
        assert!(matches!(
            action,
            Action::Refuse { .. } | Action::SendFault(_)
        ));
    }
    // A request is forgotten only by saying so, by an answer, or by a new Inform.
    if before.phase == Phase::AwaitResponse && after.phase != Phase::AwaitResponse {
        assert!(matches!(
            action,
            Action::AcceptInform
                | Action::Deliver { expected: true, .. }
                | Action::EndSession { unanswered: true }
                | Action::Refuse { unanswered: true }
        ));
    }
    assert_eq!(State::from_bytes(after.to_bytes()), Some(after));
}

proptest! {
    #[test]
    fn any_inputs_keep_the_rules(
        triple_empty: bool,
        inputs in prop::collection::vec(prop::sample::select(INPUTS.to_vec()), 0..60),
    ) {
        let mut state = State::new(triple_empty);
        for input in inputs {
            let (next, action) = state.on(input);
            check_step(state, input, next, action);
            state = next;
        }
    }

    #[test]
    fn any_cookie_is_understood_or_refused(bytes: [u8; 4]) {
        if let Some(state) = State::from_bytes(bytes) {
            prop_assert_eq!(state.to_bytes(), bytes);
            for input in INPUTS {
                let (next, action) = state.on(input);
                check_step(state, input, next, action);
            }
        }
    }
}
