//! Envelopes of the gateway's own making, as they leave: answers and faults.

use hearth_cwmp::{DecodeError, Decoded, Envelope, Fault, FaultCode, Message};
use hearth_telemetry::for_log;
use http::HeaderValue;

use crate::cookie::Session;
use crate::edge::Turn;
use crate::http::Reply;
use crate::quirks::XML_DECLARATION;
use crate::refusal::Refusal;
use crate::timeline::Sent;

impl Turn {
    /// A fault; the session, if there is one, goes on (TR-069 3.7.1.5).
    pub(crate) fn fault(
        &self,
        session: Option<Session>,
        decoded: &Result<Decoded, DecodeError>,
        code: FaultCode,
    ) -> Result<Reply, Refusal> {
        let fault = match decoded {
            Ok(decoded) => decoded.envelope.answer(Message::Fault(Fault::new(code))),
            Err(error) => {
                tracing::debug!(error = %for_log(&error.to_string()), "bad content");
                error.fault().ok_or(Refusal::NoSession)?
            }
        };
        self.edge.metrics.fault(code.0);
        match session {
            Some(session) => self.send_in(&session, &fault),
            None => self.send(&fault, None),
        }
    }

    /// Sends an envelope of the gateway's own making.
    pub(crate) fn send(
        &self,
        envelope: &Envelope,
        cookie: Option<HeaderValue>,
    ) -> Result<Reply, Refusal> {
        self.append(envelope, Vec::with_capacity(1024), cookie)
    }

    fn append(
        &self,
        envelope: &Envelope,
        mut bytes: Vec<u8>,
        cookie: Option<HeaderValue>,
    ) -> Result<Reply, Refusal> {
        hearth_cwmp::encode_into(envelope, &mut bytes).map_err(|error| Refusal::Unavailable {
            // A cwmp:ID that can be read can be written, so this is a defect.
            part: "encoder",
            why: error.to_string(),
        })?;
        Ok(crate::http::envelope(bytes, cookie))
    }

    /// Sends what belongs to a session, with its new cookie.
    pub(crate) fn send_in(&self, session: &Session, envelope: &Envelope) -> Result<Reply, Refusal> {
        let mut bytes = Vec::with_capacity(1024);
        if session.quirks.declares_xml() {
            bytes.extend_from_slice(XML_DECLARATION);
        }
        let reply = self.append(envelope, bytes, self.edge.cookies.set(session))?;
        let sent = Sent::message(&envelope.message);
        self.answered(session, sent, None, &reply);
        Ok(reply)
    }

    /// Notes what came of it; with `end`, of the session, too.
    pub(crate) fn answered(
        &self,
        session: &Session,
        sent: Sent<'_>,
        end: Option<&str>,
        reply: &Reply,
    ) {
        let timeline = &self.edge.timeline;
        timeline.answered(self, session, sent, end, reply);
        let captures = &self.edge.captures;
        captures.answered(self, session, end.is_some(), reply);
    }
}
