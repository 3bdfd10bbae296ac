//! What is noted of an exchange while it goes on.

use std::borrow::Cow;
use std::sync::Arc;

use hearth_cwmp::session::Input;
use hearth_cwmp::{DecodeError, Inform, Message};
use hearth_proto::workflow::v1 as wf;
use hearth_types::TaskId;
use wf::request::Rpc;

use crate::capture::Taken;
use crate::cookie::{InFlight, Session};
use crate::edge::Turn;
use crate::heard::Heard;
use crate::http::Reply;
use crate::refusal::Refusal;

/// The longest name of a method and of an event that is kept, in characters.
const MAX_NAME: usize = 64;
/// Events of an Inform that are kept.
const MAX_EVENTS: usize = 16;

/// What came.
#[derive(Debug, Clone, Default)]
pub(crate) struct Note {
    pub(super) received: Cow<'static, str>,
    /// cwmp:ID of the request that it answers.
    pub(super) answered: Option<String>,
    pub(super) fault: u32,
    pub(super) bytes: u64,
    input: Option<Input>,
    /// Codes of an Inform's events, one a line.
    pub(crate) codes: String,
    /// What proved the identity of who informed.
    pub(crate) proof: String,
    /// What is captured of it.
    pub(crate) taken: Option<Arc<Taken>>,
}

impl Note {
    /// Of what was heard.
    pub(crate) fn of(heard: &Heard, session: Option<&Session>, bytes: usize) -> Self {
        let mut fault = 0;
        let received = match &heard.decoded {
            None => Cow::Borrowed("empty"),
            Some(Ok(decoded)) => match &decoded.envelope.message {
                Message::Unknown { method } => Cow::Owned(short(method)),
                message => {
                    if let Message::Fault(sent) = message {
                        fault = sent.code.0;
                    }
                    Cow::Borrowed(message.method())
                }
            },
            Some(Err(DecodeError::Content { method, .. })) => Cow::Owned(short(method)),
            Some(Err(_)) => Cow::Borrowed("undecodable"),
        };
        let answers = matches!(
            heard.input,
            Input::CpeResponse | Input::CpeFault | Input::BadResponse
        );
        let answered = session.filter(|_| answers).map(|of| &of.in_flight);
        Self {
            received,
            answered: answered.and_then(InFlight::text),
            fault,
            bytes: u64::try_from(bytes).unwrap_or(u64::MAX),
            input: Some(heard.input),
            ..Self::default()
        }
    }

    pub(super) fn is_inform(&self) -> bool {
        self.input == Some(Input::Inform)
    }

    /// Whether an idle session has this, too.
    pub(super) fn is_idle(&self) -> bool {
        matches!(self.input, Some(Input::Inform | Input::Empty))
    }

    pub(super) fn events(&self) -> Vec<String> {
        self.codes.lines().map(str::to_owned).collect()
    }
}

/// What goes out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sent<'a> {
    pub(super) what: &'a str,
    /// cwmp:ID of a request.
    pub(super) request: &'a str,
    pub(super) fault: u32,
}

impl<'a> Sent<'a> {
    /// An empty answer.
    pub(crate) const fn empty() -> Self {
        Self::request("empty", "")
    }

    /// An HTTP error.
    pub(super) const fn nothing() -> Self {
        Self::request("", "")
    }

    /// A request of a task.
    pub(crate) const fn request(what: &'a str, request: &'a str) -> Self {
        Self {
            what,
            request,
            fault: 0,
        }
    }

    /// An answer of the gateway's own.
    pub(crate) fn message(message: &Message) -> Self {
        let fault = match message {
            Message::Fault(fault) => fault.code.0,
            _ => 0,
        };
        Self {
            fault,
            ..Self::request(message.method(), "")
        }
    }
}

/// What is needed to tell of an exchange whose session is gone with it.
pub(crate) struct Lost(Option<(Turn, Session)>);

impl Lost {
    /// Before the session moves on; idle ones are not followed.
    pub(crate) fn of(turn: &Turn, session: &Session) -> Self {
        let follows = turn.edge.timeline.follows(session) || turn.note.taken.is_some();
        Self(follows.then(|| (turn.clone(), session.clone())))
    }

    /// What came of it.
    pub(crate) fn tell(self, done: &Result<Reply, Refusal>) {
        if let (Some((turn, session)), Err(refusal)) = (self.0, done) {
            if turn.edge.timeline.follows(&session) {
                turn.edge.timeline.refused(&turn, &session, refusal);
            }
            turn.edge.captures.refused(&turn, &session, refusal);
        }
    }
}

/// The task of a request's cwmp:ID; empty for another's.
pub(super) fn task(request: &str) -> String {
    match InFlight::of(request) {
        InFlight::Task { task, .. } => TaskId::to_string(&task),
        InFlight::None | InFlight::Text(_) => String::new(),
    }
}

/// Codes of an Inform's events, one a line.
pub(crate) fn codes(inform: &Inform) -> String {
    let mut codes = String::with_capacity(16);
    for event in inform.event.iter().take(MAX_EVENTS) {
        if !codes.is_empty() {
            codes.push('\n');
        }
        let code = event.event_code.chars().take(MAX_NAME);
        codes.extend(code.map(|c| if c.is_control() { ' ' } else { c }));
    }
    codes
}

fn short(name: &str) -> String {
    let name: String = name.chars().take(MAX_NAME).collect();
    name.replace(char::is_control, " ")
}

/// The name of a request's RPC.
pub(crate) const fn rpc(request: &wf::Request) -> &'static str {
    match &request.rpc {
        None => "",
        Some(Rpc::GetParameterValues(_)) => "GetParameterValues",
        Some(Rpc::SetParameterValues(_)) => "SetParameterValues",
        Some(Rpc::GetParameterNames(_)) => "GetParameterNames",
        Some(Rpc::GetParameterAttributes(_)) => "GetParameterAttributes",
        Some(Rpc::SetParameterAttributes(_)) => "SetParameterAttributes",
        Some(Rpc::AddObject(_)) => "AddObject",
        Some(Rpc::DeleteObject(_)) => "DeleteObject",
        Some(Rpc::Download(_)) => "Download",
        Some(Rpc::Upload(_)) => "Upload",
        Some(Rpc::Reboot(_)) => "Reboot",
        Some(Rpc::FactoryReset(_)) => "FactoryReset",
        Some(Rpc::ScheduleInform(_)) => "ScheduleInform",
        Some(Rpc::GetRpcMethods(_)) => "GetRPCMethods",
        Some(Rpc::GetAllQueuedTransfers(_)) => "GetAllQueuedTransfers",
        Some(Rpc::GetQueuedTransfers(_)) => "GetQueuedTransfers",
        Some(Rpc::ScheduleDownload(_)) => "ScheduleDownload",
        Some(Rpc::CancelTransfer(_)) => "CancelTransfer",
        Some(Rpc::ChangeDuState(_)) => "ChangeDUState",
    }
}
