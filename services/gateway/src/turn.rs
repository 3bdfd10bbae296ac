//! The ACS's turn: what a CPE answered goes to the bus and to workflow, and workflow's next request
//! to the CPE (TR-069 3.7.1.4).

use hearth_bus::Stream;
use hearth_cwmp::session::{Action, Input, Phase};
use hearth_cwmp::{Decoded, Message};
use hearth_proto::events::v1 as ev;
use hearth_proto::types::v1 as ty;
use hearth_proto::workflow::v1 as wf;
use hearth_types::MASK;
use wf::next_request_response::Kind as Next;
use wf::request_outcome::Kind;

use crate::cookie::{InFlight, Session};
use crate::edge::Turn;
use crate::heard::{RequestIds, request_ids};
use crate::http::{Reply, envelope, no_content};
use crate::inform::workflow_failed;
use crate::outcome::{self, Answer};
use crate::publish::Source;
use crate::refusal::Refusal;
use crate::timeline::{Sent, rpc};
use crate::trace;

/// Requests that can't be written and are given back in one turn. Beyond, the session ends: the
/// next one goes on.
const MAX_UNSENDABLE: usize = 16;

impl Turn {
    /// Hands over what the CPE answered (`Err`: what is the matter with it) and goes on.
    pub(crate) async fn deliver(
        self,
        session: Session,
        answer: Result<Decoded, Kind>,
        expected: bool,
    ) -> Result<Reply, Refusal> {
        let truncated = answer
            .as_ref()
            .is_ok_and(|decoded| decoded.repairs.truncated_tail > 0);
        let (echoed, message) = match answer {
            Ok(decoded) => (decoded.envelope.id, Ok(decoded.envelope.message)),
            Err(wrong) => (None, Err(wrong)),
        };
        let Some(ids) = request_ids(echoed.as_deref(), &session.in_flight) else {
            // An answer to nothing that anybody knows of.
            tracing::debug!(session = %session.id_text(), expected, "an answer without a request");
            return self.next(session, None).await;
        };
        let kind = match message {
            Ok(Message::CpeResponse(response)) => {
                let method = response.method();
                let read = match outcome::of_response(response) {
                    Answer::Values(values) => self.values_read(&session, &ids, values).await,
                    Answer::Names(names) => self.names_read(&session, &ids, names).await,
                    Answer::Attributes(read) => self.attributes_read(&session, read).await,
                    Answer::Outcome(kind) => {
                        tracing::debug!(session = %session.id_text(), method, "answered");
                        Ok(kind)
                    }
                };
                match read {
                    // Its task asks for less, or fails: the device would say the same for ever.
                    Err(Refusal::Oversize(why)) => {
                        self.edge.metrics.answers_too_large.inc();
                        Kind::TooLarge(why)
                    }
                    read => read?,
                }
            }
            Ok(Message::Fault(fault)) => Kind::Fault(outcome::of_fault(fault)),
            Ok(_) => Kind::Invalid("the device's answer can't be understood".to_owned()),
            Err(wrong) => wrong,
        };
        let outcome = wf::RequestOutcome {
            request_id: ids.id,
            recorded_request_id: ids.recorded.unwrap_or_default(),
            kind: Some(kind),
        };
        let mut reply = self.next(session, Some(outcome)).await?;
        if truncated {
            crate::http::close(&mut reply);
        }
        Ok(reply)
    }

    /// Asks workflow for the next request and sends it.
    pub(crate) async fn next(
        &self,
        mut session: Session,
        mut outcome: Option<wf::RequestOutcome>,
    ) -> Result<Reply, Refusal> {
        for _ in 0..MAX_UNSENDABLE {
            let Some(request) = self.ask(&session, outcome.take()).await? else {
                return Ok(self.finish(session));
            };
            let in_flight = InFlight::of(&request.id);
            let (id, method) = (request.id.clone(), rpc(&request));
            let (namespace, quirks) = (session.namespace, session.quirks);
            match crate::request::envelope(request, namespace, self.host(), quirks) {
                Ok(bytes) => {
                    if !may_send(&mut session) {
                        return Ok(self.finish(session));
                    }
                    trace::sends(&id);
                    session.in_flight = in_flight;
                    let reply = envelope(bytes, self.edge.cookies.set(&session));
                    self.answered(&session, Sent::request(method, &id), None, &reply);
                    return Ok(reply);
                }
                Err(why) => {
                    self.edge.metrics.unsendable.inc();
                    tracing::warn!(request = %id, %why, "a request can't be sent to the device");
                    outcome = Some(wf::RequestOutcome {
                        request_id: id,
                        kind: Some(Kind::Unsendable(why)),
                        ..wf::RequestOutcome::default()
                    });
                }
            }
        }
        Ok(self.finish(session))
    }

    /// Reports the outcome of the request in flight in a session that can't go on.
    pub(crate) async fn give_up(&self, session: &Session, kind: Kind) -> Result<(), Refusal> {
        let Some(request_id) = session.in_flight.text() else {
            return Ok(());
        };
        let outcome = wf::RequestOutcome {
            request_id,
            kind: Some(kind),
            ..wf::RequestOutcome::default()
        };
        let last = wf::NextRequestRequest {
            last: true,
            ..next_request(session, Some(outcome))
        };
        let told = self.edge.workflow.next_request(last).await;
        told.map(drop).map_err(|error| workflow_failed(&error))
    }

    /// Workflow's next request; `None` when it has none.
    async fn ask(
        &self,
        session: &Session,
        outcome: Option<wf::RequestOutcome>,
    ) -> Result<Option<wf::Request>, Refusal> {
        let request = next_request(session, outcome);
        let next = self.edge.workflow.next_request(request).await;
        match next.map_err(|error| workflow_failed(&error))?.kind {
            Some(Next::Request(request)) => Ok(Some(request)),
            Some(Next::Done(_)) | None => Ok(None),
            Some(Next::Fenced(_)) => Err(Refusal::Superseded),
        }
    }

    /// Nothing to say: the session ends, or for old models is to end.
    pub(crate) fn finish(&self, mut session: Session) -> Reply {
        let action = if session.state.phase == Phase::Choosing {
            let (state, action) = session.state.on(Input::NoWork);
            session.state = state;
            action
        } else {
            Action::EndSession { unanswered: false }
        };
        if action == Action::SendEmpty {
            let reply = no_content(self.edge.cookies.set(&session));
            self.answered(&session, Sent::empty(), None, &reply);
            return reply;
        }
        tracing::debug!(session = %session.id_text(), device = %session.device, "session ended");
        trace::ended(&session, "ended");
        self.edge.metrics.sessions_ended.inc();
        let reply = no_content(None);
        self.answered(&session, Sent::empty(), Some("ended"), &reply);
        reply
    }

    fn source<'k>(&self, session: &Session, key: &'k hearth_types::DeviceKey) -> Source<'k> {
        Source {
            key,
            session: session.id_text(),
            time: self.now,
        }
    }

    /// Values go to the bus with their secrets sealed, and to the task with them masked: its
    /// result is shown to people.
    async fn values_read(
        &self,
        session: &Session,
        ids: &RequestIds,
        mut values: Vec<ty::ParameterValue>,
    ) -> Result<Kind, Refusal> {
        let key = session.key().map_err(bad_cookie)?;
        self.edge.seal_secrets(&key, &mut values)?;
        let event = ev::event::Kind::ValuesReported(ev::ValuesReported {
            values,
            source: i32::from(ev::ValueSource::Read),
            task: ids.task(),
        });
        let source = self.source(session, &key);
        let event = self
            .edge
            .publish(Stream::Values, source, None, event)
            .await?;
        let mut values = match event {
            Some(ev::event::Kind::ValuesReported(reported)) => reported.values,
            _ => Vec::new(),
        };
        for value in values.iter_mut().filter(|value| !value.sealed.is_empty()) {
            MASK.clone_into(&mut value.value);
            value.sealed = Vec::new();
        }
        Ok(Kind::Values(wf::Values { values }))
    }

    /// Names are only worth recording with the path that was asked for, since what isn't among
    /// them is gone. The path is workflow's: asked again, it names the request in flight.
    async fn names_read(
        &self,
        session: &Session,
        ids: &RequestIds,
        names: Vec<ty::ParameterName>,
    ) -> Result<Kind, Refusal> {
        let asked = match self.ask(session, None).await? {
            Some(wf::Request {
                id: asked,
                rpc: Some(wf::request::Rpc::GetParameterNames(get)),
            }) if asked == ids.id || Some(&asked) == ids.recorded.as_ref() => get,
            _ => return Ok(Kind::Names(wf::Names { names })),
        };
        let key = session.key().map_err(bad_cookie)?;
        let event = ev::event::Kind::NamesReported(ev::NamesReported {
            path: asked.path,
            next_level: asked.next_level,
            names,
        });
        let source = self.source(session, &key);
        let event = self
            .edge
            .publish(Stream::Values, source, None, event)
            .await?;
        let names = match event {
            Some(ev::event::Kind::NamesReported(reported)) => reported.names,
            _ => Vec::new(),
        };
        Ok(Kind::Names(wf::Names { names }))
    }

    async fn attributes_read(
        &self,
        session: &Session,
        attributes: Vec<ty::ParameterAttributes>,
    ) -> Result<Kind, Refusal> {
        let key = session.key().map_err(bad_cookie)?;
        let event = ev::event::Kind::AttributesReported(ev::AttributesReported { attributes });
        let source = self.source(session, &key);
        let event = self
            .edge
            .publish(Stream::Values, source, None, event)
            .await?;
        let attributes = match event {
            Some(ev::event::Kind::AttributesReported(reported)) => reported.attributes,
            _ => Vec::new(),
        };
        Ok(Kind::Attributes(wf::Attributes { attributes }))
    }
}

fn next_request(session: &Session, outcome: Option<wf::RequestOutcome>) -> wf::NextRequestRequest {
    wf::NextRequestRequest {
        tenant: session.tenant.as_str().to_owned(),
        device: session.device.clone(),
        session: session.id_text(),
        epoch: session.epoch,
        outcome,
        last: false,
    }
}

/// Moves the session on to waiting for an answer. `false` when it has had its turns.
fn may_send(session: &mut Session) -> bool {
    if session.state.phase != Phase::Choosing {
        // A repetition: the machine has taken note of it already.
        return true;
    }
    let (state, action) = session.state.on(Input::Work);
    if action == Action::SendRequest {
        session.state = state;
    }
    action == Action::SendRequest
}

/// A cookie that we sealed holds a device id that we read before: a defect, if not.
pub(crate) fn bad_cookie(_: hearth_types::Invalid) -> Refusal {
    Refusal::NoSession
}
