//! The session of TR-069 3.7, ACS side, as one state machine without I/O.
//!
//! The gateway turns what arrives into an [`Input`], calls [`State::on`], does the [`Action`], and
//! sends the new state along in the session cookie ([`State::to_bytes`], four bytes). Two inputs
//! come from the gateway's own side: after [`Action::AskForWork`] and [`Action::Deliver`] it asks
//! the task source and says [`Input::Work`] or [`Input::NoWork`].
//!
//! The machine ends always: whatever a CPE sends, a session has at most [`TURN_LIMIT`] turns.
//! The [transition table](State::on) is the specification; read it row by row.

use crate::decode::{DecodeError, Decoded};
use crate::fault::FaultCode;
use crate::message::MessageClass;

/// Turns (HTTP requests) after which a session is ended, come what may. Reading a device of
/// 100,000 parameters in the smallest sensible batches takes fewer.
pub const TURN_LIMIT: u16 = 10_000;

/// Where a session stands between two HTTP messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Phase {
    /// No session yet: only an Inform will do.
    #[default]
    AwaitInform,
    /// The Inform is answered; the CPE sends requests of its own, or an empty POST.
    Processing,
    /// The CPE has nothing of its own; the task source is being asked. Never in a cookie.
    Choosing,
    /// One request of the ACS is out.
    AwaitResponse,
    /// The ACS had nothing to say to a CPE that ends with a second empty POST.
    Closing,
    /// Over. A prompt request of the CPE is still answered.
    Ended,
}

/// What came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// An Inform.
    Inform,
    /// Another request of the CPE.
    CpeRequest,
    /// A request of an unknown method.
    UnknownMethod,
    /// A response of the CPE.
    CpeResponse,
    /// A fault of the CPE.
    CpeFault,
    /// An empty POST.
    Empty,
    /// An Inform whose content is wrong.
    BadInform,
    /// Another request whose content is wrong.
    BadRequest,
    /// A response or fault whose content is wrong.
    BadResponse,
    /// No envelope at all, or one beyond the caps.
    Undecodable,
    /// The session is over by other means: silent for too long, or superseded by a newer Inform.
    Lost,
    /// The task source has a request for the CPE.
    Work,
    /// The task source has none.
    NoWork,
}

impl Input {
    /// What a decoded, or undecodable, body is to the machine.
    pub fn of(result: &Result<Decoded, DecodeError>) -> Self {
        match result {
            Ok(decoded) => match decoded.envelope.message.class() {
                MessageClass::Inform => Self::Inform,
                MessageClass::CpeRequest => Self::CpeRequest,
                MessageClass::CpeResponse => Self::CpeResponse,
                MessageClass::Fault => Self::CpeFault,
                MessageClass::Unknown => Self::UnknownMethod,
            },
            Err(DecodeError::Content { method, .. }) => match method.as_str() {
                "Inform" => Self::BadInform,
                "Fault" => Self::BadResponse,
                other if other.ends_with("Response") => Self::BadResponse,
                _ => Self::BadRequest,
            },
            Err(_) => Self::Undecodable,
        }
    }
}

/// What to hand to the task source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Delivery {
    /// The response that came.
    Response,
    /// The fault that came.
    Fault,
    /// That the CPE answered, but that the answer can't be understood.
    Garbled,
}

/// What to do. What is sent goes out as HTTP 200 unless it says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Make the Inform durable, then answer it and set a new cookie. A live session of the same
    /// device is superseded. If the Inform can't be accepted, drop the new state.
    AcceptInform,
    /// Make the CPE's request durable, then answer it. Always answer it.
    AnswerRequest,
    /// Ask the task source; then [`Input::Work`] or [`Input::NoWork`].
    AskForWork,
    /// Hand the answer to the task source, then as [`Action::AskForWork`]. `expected` is false if
    /// this cookie knows of no request; the task source may, since a CPE may keep an old cookie.
    Deliver {
        /// What to hand over.
        what: Delivery,
        /// Whether a request is out, by this state.
        expected: bool,
    },
    /// Send the request that the task source gave.
    SendRequest,
    /// Send the request in flight once more, under the same ID.
    RepeatRequest,
    /// Answer with a fault. The session goes on.
    SendFault(FaultCode),
    /// Answer 204 without a body. `unanswered` if a request stays without an answer: its outcome
    /// is unknown.
    EndSession {
        /// Whether a request was out.
        unanswered: bool,
    },
    /// Answer 204 without a body; the CPE is to POST once more.
    SendEmpty,
    /// Answer 400 (or the decoder's status) and close the connection; `unanswered` as above.
    Refuse {
        /// Whether a request was out.
        unanswered: bool,
    },
}

/// Phase, flags and turns of one session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct State {
    /// Where the session stands.
    pub phase: Phase,
    /// The model ends a session empty-empty-empty, as before Amendment 1.
    pub triple_empty: bool,
    /// The request in flight was sent twice.
    repeated: bool,
    /// HTTP requests so far.
    turns: u16,
}

impl State {
    /// A session that is yet to begin. `triple_empty` is the quirk of pre-Amendment-1 CPEs.
    pub fn new(triple_empty: bool) -> Self {
        Self {
            triple_empty,
            ..Self::default()
        }
    }

    /// HTTP requests so far.
    pub fn turns(&self) -> u16 {
        self.turns
    }

    /// The transition table: from a phase, by an input, to a phase, doing an action.
    #[must_use]
    #[rustfmt::skip]
    pub fn on(self, input: Input) -> (Self, Action) {
        use Action::*;
        use Delivery::*;
        use Phase::*;
        let out = self.phase == AwaitResponse;
        let first = !self.repeated;
        let spent = self.turns >= TURN_LIMIT;

        let (phase, action) = match (self.phase, input) {
            // An Inform always begins anew: after a power cut that is the normal case (3.7.1.5).
            (_,             Input::Inform)        => (Processing,    AcceptInform),
            (AwaitInform,   Input::BadInform)     => (AwaitInform,   SendFault(FaultCode::ACS_INVALID_ARGUMENTS)),

            // Without a session nothing else will do.
            (AwaitInform,   _)                    => (AwaitInform,   Refuse { unanswered: false }),

            // What ends a session wherever it is.
            (_,             Input::Undecodable)   => (Ended,         Refuse { unanswered: out }),
            (_,             Input::Lost)          => (Ended,         Refuse { unanswered: out }),
            (Ended,         Input::Empty)         => (Ended,         EndSession { unanswered: false }),
            (_,             Input::Empty) if spent => (Ended,        EndSession { unanswered: out }),
            (_,             Input::CpeRequest | Input::UnknownMethod | Input::BadInform | Input::BadRequest)
                                         if spent => (Ended,         Refuse { unanswered: out }),

            // The CPE's requests are answered at any time, even late ones (3.7.1.3).
            (phase,         Input::CpeRequest)    => (phase,         AnswerRequest),
            (phase,         Input::UnknownMethod) => (phase,         SendFault(FaultCode::ACS_METHOD_NOT_SUPPORTED)),
            (phase,         Input::BadInform | Input::BadRequest)
                                                  => (phase,         SendFault(FaultCode::ACS_INVALID_ARGUMENTS)),

            // An empty POST: it is the ACS's turn.
            (Processing,    Input::Empty)         => (Choosing,      AskForWork),
            (Choosing,      Input::Empty)         => (Choosing,      AskForWork),
            (Closing,       Input::Empty)         => (Ended,         EndSession { unanswered: false }),

            // An empty POST where an answer is due: the request was lost, or the CPE ignores it.
            (AwaitResponse, Input::Empty) if first => (AwaitResponse, RepeatRequest),
            (AwaitResponse, Input::Empty)         => (Ended,         EndSession { unanswered: true }),

            // The answer to the ACS's request. Whether there was one, the task source knows best.
            (Ended,         Input::CpeResponse | Input::CpeFault | Input::BadResponse)
                                                  => (Ended,         Refuse { unanswered: false }),
            (_,             Input::CpeResponse)   => (Choosing,      Deliver { what: Response, expected: out }),
            (_,             Input::CpeFault)      => (Choosing,      Deliver { what: Fault, expected: out }),
            (_,             Input::BadResponse)   => (Choosing,      Deliver { what: Garbled, expected: out }),

            // What the task source says. It is asked in no other phase.
            (Choosing,      Input::Work) if !spent => (AwaitResponse, SendRequest),
            (Choosing,      Input::NoWork) if self.triple_empty && !spent
                                                  => (Closing,       SendEmpty),
            (Choosing,      Input::Work | Input::NoWork)
                                                  => (Ended,         EndSession { unanswered: false }),
            (_,             Input::Work | Input::NoWork)
                                                  => (Ended,         EndSession { unanswered: out }),
        };
        (self.next(phase, input, action), action)
    }

    fn next(self, phase: Phase, input: Input, action: Action) -> Self {
        let turns = match input {
            Input::Inform => 1,
            Input::Work | Input::NoWork => self.turns,
            _ => self.turns.saturating_add(1),
        };
        let repeated = match action {
            Action::RepeatRequest => true,
            Action::SendRequest | Action::AcceptInform => false,
            _ => self.repeated,
        };
        Self {
            phase,
            triple_empty: self.triple_empty,
            repeated,
            turns,
        }
    }

    /// The state for a cookie: phase, flags, turns.
    pub fn to_bytes(self) -> [u8; 4] {
        let phase = match self.phase {
            Phase::AwaitInform => 0,
            Phase::Processing => 1,
            Phase::Choosing => 2,
            Phase::AwaitResponse => 3,
            Phase::Closing => 4,
            Phase::Ended => 5,
        };
        let flags = u8::from(self.triple_empty) | u8::from(self.repeated) << 1;
        let [high, low] = self.turns.to_be_bytes();
        [phase, flags, high, low]
    }

    /// The state from a cookie; `None` if this version doesn't know it.
    pub fn from_bytes(bytes: [u8; 4]) -> Option<Self> {
        let [phase, flags, high, low] = bytes;
        let phase = match phase {
            0 => Phase::AwaitInform,
            1 => Phase::Processing,
            2 => Phase::Choosing,
            3 => Phase::AwaitResponse,
            4 => Phase::Closing,
            5 => Phase::Ended,
            _ => return None,
        };
        if flags > 3 {
            return None;
        }
        Some(Self {
            phase,
            triple_empty: flags & 1 != 0,
            repeated: flags & 2 != 0,
            turns: u16::from_be_bytes([high, low]),
        })
    }
}
