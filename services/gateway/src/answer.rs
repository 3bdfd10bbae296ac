//! The CPE's own requests beside Inform: recorded first, then answered (TR-069 A.3.3, A.4.2).

use std::collections::HashMap;

use hearth_bus::Stream;
use hearth_cwmp::{
    AcsResponse, CpeRequest, Decoded, Fault, FaultCode, GetRpcMethodsResponse, Kicked,
    KickedResponse, Message, RequestDownload,
};
use hearth_proto::events::v1 as ev;
use hearth_proto::workflow::v1 as wf;
use hearth_types::CommandKey;

use crate::cookie::Session;
use crate::edge::Turn;
use crate::http::Reply;
use crate::inform::workflow_failed;
use crate::outcome;
use crate::publish::Source;
use crate::refusal::Refusal;
use crate::software;
use crate::turn::bad_cookie;

/// Longest cut of a device's text that an event keeps.
const MAX_ARGUMENT: usize = 1024;

impl Turn {
    /// Answers a request of the CPE. TransferComplete always is, whether its CommandKey is known
    /// or not.
    pub(crate) async fn answer(self, session: Session, decoded: Decoded) -> Result<Reply, Refusal> {
        let mut envelope = decoded.envelope;
        let nothing = Message::Unknown {
            method: String::new(),
        };
        let Message::CpeRequest(request) = std::mem::replace(&mut envelope.message, nothing) else {
            return Err(Refusal::NoSession);
        };
        let answered = match self.take(&session, request).await {
            Ok(response) => Message::AcsResponse(response),
            Err(Refusal::Oversize(why)) => {
                // Answered, so that it isn't sent for ever (TR-069 A.3.3.2).
                self.edge.metrics.fault(FaultCode::ACS_RESOURCES_EXCEEDED.0);
                tracing::warn!(device = %session.device, why, "a device's request is too large");
                Message::Fault(Fault::new(FaultCode::ACS_RESOURCES_EXCEEDED))
            }
            Err(refusal) => return Err(refusal),
        };
        self.send_in(&session, &envelope.answer(answered))
    }

    /// Records a request of the CPE and says what it is answered.
    async fn take(&self, session: &Session, request: CpeRequest) -> Result<AcsResponse, Refusal> {
        let (response, event) = match request {
            // The machine gives an Inform to another hand.
            CpeRequest::Inform(_) => return Err(Refusal::NoSession),
            CpeRequest::GetRpcMethods => (methods(), None),
            CpeRequest::TransferComplete(ended) => {
                let transfer = outcome::transfer(ended);
                self.transfer_complete(session, transfer).await?;
                (AcsResponse::TransferComplete, None)
            }
            CpeRequest::AutonomousTransferComplete(ended) => {
                let event = ev::event::Kind::TransferComplete(outcome::autonomous_transfer(ended));
                (AcsResponse::AutonomousTransferComplete, Some(event))
            }
            CpeRequest::Kicked(kicked) => {
                let next_url = self.next_url(session, &kicked).await?;
                let response = AcsResponse::Kicked(KickedResponse { next_url });
                (response, Some(of_kicked(kicked)))
            }
            CpeRequest::RequestDownload(wanted) => {
                self.download_wanted(session, wanted).await?;
                (AcsResponse::RequestDownload, None)
            }
            CpeRequest::DuStateChangeComplete(changed) => {
                self.units_changed(session, software::changed(changed))
                    .await?;
                (AcsResponse::DuStateChangeComplete, None)
            }
            CpeRequest::AutonomousDuStateChangeComplete(changed) => {
                let event = ev::event::Kind::DuStateChange(software::changed_itself(changed));
                (AcsResponse::AutonomousDuStateChangeComplete, Some(event))
            }
        };
        if let Some(event) = event {
            self.record(session, None, event).await?;
        }
        Ok(response)
    }

    async fn transfer_complete(
        &self,
        session: &Session,
        transfer: ev::TransferComplete,
    ) -> Result<(), Refusal> {
        let time: String = transfer.complete_time.chars().take(40).collect();
        let message_id = report_id("transfer", session, &transfer.command_key, &time);
        let event = ev::event::Kind::TransferComplete(transfer.clone());
        self.record(session, message_id, event).await?;
        let report = wf::ReportTransferRequest {
            tenant: session.tenant.as_str().to_owned(),
            device: session.device.clone(),
            transfer: Some(transfer),
        };
        let reported = self.edge.workflow.report_transfer(report).await;
        let reported = reported.map_err(|error| workflow_failed(&error))?;
        tracing::debug!(session = %session.id_text(), known = reported.known, "transfer complete");
        Ok(())
    }

    async fn download_wanted(
        &self,
        session: &Session,
        wanted: RequestDownload,
    ) -> Result<(), Refusal> {
        let Some(policy) = self.wish_policy(session).await? else {
            return Ok(());
        };
        self.record(session, None, of_request_download(wanted.clone()))
            .await?;
        self.fulfil(session, &policy, &wanted).await
    }

    async fn units_changed(
        &self,
        session: &Session,
        change: ev::DuStateChange,
    ) -> Result<(), Refusal> {
        let ends = change.results.iter().map(|unit| &unit.complete_time);
        let last = ends.flatten().map(|at| at.seconds).max().unwrap_or(0);
        let message_id = report_id("units", session, &change.command_key, &last.to_string());
        let event = ev::event::Kind::DuStateChange(change.clone());
        self.record(session, message_id, event).await?;
        let report = wf::ReportDuStateChangeRequest {
            tenant: session.tenant.as_str().to_owned(),
            device: session.device.clone(),
            change: Some(change),
        };
        let reported = self.edge.workflow.report_du_state_change(report).await;
        let reported = reported.map_err(|error| workflow_failed(&error))?;
        tracing::debug!(session = %session.id_text(), known = reported.known, "units changed");
        Ok(())
    }

    async fn record(
        &self,
        session: &Session,
        message_id: Option<String>,
        event: ev::event::Kind,
    ) -> Result<(), Refusal> {
        let key = session.key().map_err(bad_cookie)?;
        let source = Source {
            key: &key,
            session: session.id_text(),
            time: self.now,
        };
        self.edge
            .publish(Stream::Transfer, source, message_id, event)
            .await
            .map(|_| ())
    }
}

/// The id by which the bus knows a report that the CPE sends again: it delivers at least once. For a
/// key of ours the key and the time tell a repetition; for others they may well repeat by
/// themselves.
fn report_id(what: &str, session: &Session, command_key: &str, time: &str) -> Option<String> {
    command_key.parse::<CommandKey>().ok()?;
    let id = format!("{what}/{}/{command_key}/{time}", session.device);
    (id.len() <= 255).then_some(id)
}

/// Exactly what is answered here: every method that the codec reads as a CPE's request.
fn methods() -> AcsResponse {
    AcsResponse::GetRpcMethods(GetRpcMethodsResponse {
        method_list: CpeRequest::METHODS
            .iter()
            .map(|&name| name.to_owned())
            .collect(),
    })
}

fn device_request(
    method: &str,
    arguments: impl IntoIterator<Item = (String, String)>,
) -> ev::event::Kind {
    let cut = |text: String| match text.char_indices().nth(MAX_ARGUMENT) {
        Some((end, _)) => text[..end].to_owned(),
        None => text,
    };
    let arguments: HashMap<_, _> = arguments
        .into_iter()
        .map(|(name, value)| (cut(name), cut(value)))
        .collect();
    ev::event::Kind::DeviceRequest(ev::DeviceRequest {
        method: method.to_owned(),
        arguments,
    })
}

fn of_kicked(kicked: Kicked) -> ev::event::Kind {
    let arguments = [
        ("Command", kicked.command),
        ("Referer", kicked.referer),
        ("Arg", kicked.arg),
        ("Next", kicked.next),
    ];
    device_request(
        "Kicked",
        arguments.map(|(name, value)| (name.to_owned(), value)),
    )
}

fn of_request_download(wanted: RequestDownload) -> ev::event::Kind {
    let file_type = ("FileType".to_owned(), wanted.file_type);
    let arguments = wanted.file_type_arg.into_iter();
    device_request(
        "RequestDownload",
        std::iter::once(file_type).chain(arguments.map(|one| (one.name, one.value))),
    )
}
