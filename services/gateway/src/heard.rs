//! What a body says: its envelope, what it is to the session machine, and which request it answers.

use hearth_cwmp::session::{Input, Phase, State};
use hearth_cwmp::{CpeRequest, DecodeError, DecodeOptions, Decoded, Limits, Message, Receiver};

use crate::cookie::InFlight;
use crate::metrics::TurnKind;
use crate::refusal::Refusal;

/// What a body is, and what it says.
pub(crate) struct Heard {
    pub input: Input,
    pub decoded: Option<Result<Decoded, DecodeError>>,
}

/// Reads an envelope.
pub(crate) fn decode(
    body: &[u8],
    charset: Option<&str>,
    limits: Limits,
) -> Result<Decoded, DecodeError> {
    let options = DecodeOptions {
        receiver: Receiver::Acs,
        charset,
        limits,
    };
    hearth_cwmp::decode(body, &options)
}

/// The label of what came in.
pub(crate) const fn turn_kind(input: Input) -> TurnKind {
    match input {
        Input::Inform | Input::BadInform => TurnKind::Inform,
        Input::CpeRequest | Input::UnknownMethod | Input::BadRequest => TurnKind::Request,
        Input::CpeResponse | Input::BadResponse => TurnKind::Response,
        Input::CpeFault => TurnKind::Fault,
        Input::Empty => TurnKind::Empty,
        _ => TurnKind::Other,
    }
}

/// Why the session machine refuses a body.
pub(crate) fn refused(decoded: Option<Result<Decoded, DecodeError>>) -> Refusal {
    match decoded {
        Some(Err(error)) if error.fault().is_none() => Refusal::Undecodable {
            status: error.http_status(),
            why: error.to_string(),
        },
        _ => Refusal::NoSession,
    }
}

/// What a body is to the session machine. Where an answer is due, an envelope over the limits is
/// that answer: the session goes on, and its task asks for less.
pub(crate) fn input_in(state: State, heard: &Heard) -> Input {
    match &heard.decoded {
        Some(Err(DecodeError::Limit { .. })) if state.phase == Phase::AwaitResponse => {
            Input::BadResponse
        }
        _ => heard.input,
    }
}

/// The ids that an answer may belong to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RequestIds {
    /// What came back as cwmp:ID, or what the cookie knows is in flight, since some CPEs leave it
    /// out or mangle it (TR-069 3.4.3).
    pub id: String,
    /// What the cookie knows, where that is another: some CPEs echo an earlier request's id.
    /// Others keep an earlier cookie, so workflow decides.
    pub recorded: Option<String>,
}

impl RequestIds {
    /// The task of the request, by the session's record: some CPEs echo an earlier request's id.
    /// Empty where none is known.
    pub(crate) fn task(&self) -> String {
        match InFlight::of(self.recorded.as_deref().unwrap_or(&self.id)) {
            InFlight::Task { task, .. } => task.to_string(),
            InFlight::None | InFlight::Text(_) => String::new(),
        }
    }
}

/// Which request an answer belongs to; `None`: nobody knows of one.
pub(crate) fn request_ids(echoed: Option<&str>, in_flight: &InFlight) -> Option<RequestIds> {
    let echoed = echoed
        .map(str::trim)
        .filter(|id| matches!(InFlight::of(id), InFlight::Task { .. }));
    let recorded = in_flight.text();
    match echoed {
        None => recorded.map(|id| RequestIds { id, recorded: None }),
        Some(id) => Some(RequestIds {
            id: id.to_owned(),
            recorded: recorded.filter(|recorded| recorded != id),
        }),
    }
}

/// Whether a decoded envelope is an Inform; then its content.
pub(crate) fn into_inform(message: Message) -> Option<hearth_cwmp::Inform> {
    match message {
        Message::CpeRequest(CpeRequest::Inform(inform)) => Some(inform),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = "01hzy3v7k2q4w6e8r0t2y4a6d8.1.1";
    const SECOND: &str = "01hzy3v7k2q4w6e8r0t2y4a6d8.1.2";

    #[test]
    fn both_ids_are_told_where_they_differ() {
        let ids = |id: &str, recorded: Option<&str>| {
            Some(RequestIds {
                id: id.to_owned(),
                recorded: recorded.map(str::to_owned),
            })
        };
        let in_flight = InFlight::of(SECOND);
        for (echoed, expected) in [
            (Some(SECOND), ids(SECOND, None)),
            (Some(" 01hzy3v7k2q4w6e8r0t2y4a6d8.1.2 "), ids(SECOND, None)),
            (Some(FIRST), ids(FIRST, Some(SECOND))),
            (Some("mangled"), ids(SECOND, None)),
            (None, ids(SECOND, None)),
        ] {
            assert_eq!(request_ids(echoed, &in_flight), expected, "{echoed:?}");
        }
        // The cookie is that of the Inform.
        assert_eq!(request_ids(Some(FIRST), &InFlight::None), ids(FIRST, None));
        assert_eq!(request_ids(Some("mangled"), &InFlight::None), None);
    }
}
