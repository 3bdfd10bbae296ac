//! Captured sessions, fed to the decoder and the session machine again: what each turn says, what
//! the machine does about it, and whether that is what was done.
//!
//! The text (`docs/capture.md`) is lines. `--- session ID …` begins a turn. What the device sent is
//! behind `>`, what it got behind `<`: `> ` is a line of the HTTP header, `>|` one of the body, `>!`
//! says why the body is not there. `#` begins a remark.

use std::collections::HashMap;
use std::fmt;

use crate::decode::{DecodeOptions, Receiver, decode, is_empty_post};
use crate::message::Message;
use crate::session::{Action, Input, Phase, State};

/// One turn, replayed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The session.
    pub session: String,
    /// The turn's head, without the session.
    pub turn: String,
    /// What the device sent: a method, `empty`, or why that can't be told.
    pub received: String,
    /// What the machine does about it; the last one where the task source is asked in between.
    /// `None` where the body is not in the capture.
    pub action: Option<Action>,
    /// What the device got: a method, `empty`, or why that can't be told.
    pub sent: String,
    /// Whether that is what the machine does. `true` where it can't be told.
    pub agrees: bool,
}

impl fmt::Display for Step {
    /// `01h… turn 1: Inform -> AcceptInform, InformResponse`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {} -> ", self.session, self.turn, self.received)?;
        match self.action {
            Some(action) => write!(f, "{action:?}")?,
            None => f.write_str("?")?,
        }
        write!(f, ", {}", self.sent)?;
        match self.agrees {
            true => Ok(()),
            false => f.write_str(" (not what the machine does)"),
        }
    }
}

/// The text is no capture.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct NotCapture {
    /// Which line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// One direction of a turn.
#[derive(Default)]
struct Half {
    status: String,
    body: Option<String>,
    missing: bool,
}

impl Half {
    /// A line without its first character.
    fn line(&mut self, line: &str) {
        match line.as_bytes().first() {
            Some(b'|') => {
                let line = &line[1..];
                match &mut self.body {
                    Some(body) => {
                        body.push('\n');
                        body.push_str(line);
                    }
                    None => self.body = Some(line.to_owned()),
                }
            }
            Some(b'!') => self.missing = true,
            _ if self.status.is_empty() => line.trim().clone_into(&mut self.status),
            _ => {}
        }
    }

    fn body(&self) -> &str {
        self.body.as_deref().unwrap_or_default()
    }

    fn is_empty(&self) -> bool {
        !self.missing && is_empty_post(self.body().as_bytes())
    }
}

#[derive(Default)]
struct Turn {
    session: String,
    head: String,
    device: Half,
    server: Half,
}

/// Replays a capture's text.
///
/// # Errors
/// [`NotCapture`].
pub fn replay(text: &str) -> Result<Vec<Step>, NotCapture> {
    let mut turns: Vec<Turn> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let bad = |reason| NotCapture {
            line: number + 1,
            reason,
        };
        if let Some(head) = line.strip_prefix("--- session ") {
            let (session, head) = head.split_once(' ').unwrap_or((head, ""));
            turns.push(Turn {
                session: session.to_owned(),
                head: head.to_owned(),
                ..Turn::default()
            });
            continue;
        }
        let (Some(side), turn) = (line.chars().next(), turns.last_mut()) else {
            continue;
        };
        match (side, turn) {
            ('#', _) => {}
            ('>', Some(turn)) => turn.device.line(&line[1..]),
            ('<', Some(turn)) => turn.server.line(&line[1..]),
            ('>' | '<', None) => return Err(bad("stands before the first turn")),
            _ => return Err(bad("expected `--- session`, `>`, `<` or `#`")),
        }
    }
    let mut states: HashMap<String, State> = HashMap::new();
    Ok(turns
        .into_iter()
        .map(|turn| {
            let state = states.entry(turn.session.clone()).or_default();
            step(state, turn)
        })
        .collect())
}

fn step(state: &mut State, turn: Turn) -> Step {
    let (received, input) = heard(&turn.device, state.phase);
    let (sent, answer) = said(&turn.server);
    let mut step = Step {
        session: turn.session,
        turn: turn.head,
        received,
        action: None,
        sent,
        agrees: true,
    };
    let Some(input) = input else {
        // What it was shows in what was answered.
        if matches!(answer, Answer::Request) {
            state.phase = Phase::AwaitResponse;
        }
        return step;
    };
    let (mut next, mut action) = state.on(input);
    if matches!(action, Action::AskForWork | Action::Deliver { .. }) {
        let source = match answer {
            Answer::Request => Input::Work,
            _ => Input::NoWork,
        };
        (next, action) = next.on(source);
    }
    step.agrees = agrees(action, &answer, &turn.server.status);
    *state = next;
    step.action = Some(action);
    step
}

/// What the device sent; no input where the body isn't there.
fn heard(half: &Half, phase: Phase) -> (String, Option<Input>) {
    if half.is_empty() {
        return ("empty".to_owned(), Some(Input::Empty));
    }
    if half.missing {
        return ("not kept".to_owned(), None);
    }
    let decoded = decode(half.body().as_bytes(), &DecodeOptions::new(Receiver::Acs));
    let input = Input::of(&decoded);
    match &decoded {
        Ok(decoded) => {
            let name = match &decoded.envelope.message {
                Message::Unknown { method } => format!("{method}, unknown"),
                message => message.method().to_owned(),
            };
            (name, Some(input))
        }
        Err(error) => {
            let due = phase == Phase::AwaitResponse && input == Input::Undecodable;
            let input = if due { Input::BadResponse } else { input };
            (format!("undecodable: {error}"), Some(input))
        }
    }
}

/// What the server said.
enum Answer {
    /// Nothing.
    Empty,
    /// An answer to a request of the device's.
    Response(&'static str),
    /// A request of its own.
    Request,
    /// A fault.
    Fault,
    /// That can't be told.
    Unknown,
}

fn said(half: &Half) -> (String, Answer) {
    if half.is_empty() {
        return ("empty".to_owned(), Answer::Empty);
    }
    if half.missing {
        return ("not kept".to_owned(), Answer::Unknown);
    }
    match decode(half.body().as_bytes(), &DecodeOptions::new(Receiver::Cpe)) {
        Ok(decoded) => {
            let message = decoded.envelope.message;
            let name = message.method();
            let answer = match message {
                Message::AcsResponse(_) => Answer::Response(name),
                Message::AcsRequest(_) => Answer::Request,
                Message::Fault(_) => Answer::Fault,
                _ => Answer::Unknown,
            };
            (name.to_owned(), answer)
        }
        Err(error) => (format!("undecodable: {error}"), Answer::Unknown),
    }
}

/// Whether an answer is what an action is. Beyond the machine, an answer may always be a refusal:
/// a part of the server could not work, a newer session had taken over.
fn agrees(action: Action, answer: &Answer, status: &str) -> bool {
    let code = status.split_whitespace().next().unwrap_or_default();
    let refused = code.starts_with(['4', '5']);
    if matches!(answer, Answer::Unknown) || refused {
        return true;
    }
    match action {
        // A fault where it can't be accepted.
        Action::AcceptInform => {
            matches!(answer, Answer::Response("InformResponse") | Answer::Fault)
        }
        Action::AnswerRequest => matches!(answer, Answer::Response(_) | Answer::Fault),
        Action::SendFault(_) => matches!(answer, Answer::Fault),
        Action::SendRequest | Action::RepeatRequest => matches!(answer, Answer::Request),
        Action::EndSession { .. } | Action::SendEmpty => matches!(answer, Answer::Empty),
        // Asked and answered before.
        Action::AskForWork | Action::Deliver { .. } => true,
        Action::Refuse { .. } => false,
    }
}
