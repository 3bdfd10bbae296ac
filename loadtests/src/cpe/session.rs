//! One CWMP session, from the device's side (TR-069 3.7.1).

use std::error::Error as _;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use hearth_cwmp::{
    AcsRequest, AcsResponse, CpeRequest, CpeResponse, DecodeError, DecodeOptions, Envelope, Fault,
    FaultCode, Inform, Message, Receiver, TransferComplete, TransferFault, decode, encode,
};
use http::{HeaderMap, HeaderValue, Method, header};

use super::behaviour::Point;
use super::clock::cwmp_time;
use super::device::{Device, Opening};
use super::execute;
use super::http::{Answer, Client, ClientOptions, HttpError};
use super::software;
use super::state::{Progress, Transfer};

/// Why a session failed.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// Power was lost.
    #[error("power was lost")]
    PowerLost,
    /// No answer.
    #[error("no answer of the ACS")]
    Http(#[from] HttpError),
    /// An answer with a status that CWMP has no use for.
    #[error("the ACS answered with HTTP status {0}")]
    Status(u16),
    /// An answer that isn't CWMP.
    #[error("the ACS's answer can't be read")]
    Decode(#[from] DecodeError),
    /// A fault to one of the device's own requests.
    #[error("the ACS answered {method} with fault {code}")]
    Fault {
        /// The device's request.
        method: &'static str,
        /// The code.
        code: FaultCode,
    },
    /// A message that doesn't belong there.
    #[error("{0}")]
    Protocol(&'static str),
    /// Something that can't be written: a bug of the simulator, or of its tree.
    #[error("the device's message can't be written")]
    Encode(#[from] hearth_cwmp::EncodeError),
    /// Dropped on purpose, at a method it hasn't got.
    #[error("dropped at {0}")]
    Dropped(String),
}

/// An error with its sources, in one line.
pub(super) fn chain(error: &SessionError) -> String {
    let mut out = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        out.push_str(": ");
        out.push_str(&cause.to_string());
        source = cause.source();
    }
    out
}

/// Opens, holds and closes a session.
pub(super) async fn run(device: &Arc<Device>) -> Result<(), SessionError> {
    let opening = device.open_session();
    let mut link = Link::open(device)?;
    let result = link.converse(opening).await;
    // What a stale cookie is made of.
    device.state.lock().cookies = link.client.cookies().to_vec();
    result
}

struct Link<'d> {
    device: &'d Arc<Device>,
    client: Client,
    ids: u64,
    /// The ACS holds the device's requests back (TR-069 3.5: HoldRequests).
    hold: bool,
}

impl<'d> Link<'d> {
    fn open(device: &'d Arc<Device>) -> Result<Self, SessionError> {
        let state = device.state.lock();
        let behaviour = &state.behaviour;
        let options = ClientOptions {
            username: state
                .tree
                .root_value("ManagementServer.Username")
                .to_owned(),
            password: state.tree.root_value("ManagementServer.Password").into(),
            authentication: behaviour.authentication,
            connection_per_turn: behaviour.connection_per_turn,
            chunked: behaviour.chunked,
            gzip: behaviour.gzip,
            cookies: behaviour.cookies,
            timeout: behaviour.timeout,
            tls: device.shared.tls.clone(),
            meter: Some(device.shared.meter.clone()),
        };
        let mut client = Client::new(state.tree.root_value("ManagementServer.URL"), options)?;
        if behaviour.stale_cookies {
            client.set_cookies(state.cookies.clone());
        }
        Ok(Self {
            device,
            client,
            ids: 0,
            hold: false,
        })
    }

    async fn converse(&mut self, opening: Opening) -> Result<(), SessionError> {
        self.inform(opening).await?;
        let late = self.device.state.lock().behaviour.late_transfer_complete;
        if !late && !self.hold {
            self.tell_transfers().await?;
        }
        self.check_power(Point::BeforeEmptyPost, "")?;
        let mut answer = self.post(Bytes::new()).await?;
        loop {
            if answer.body.iter().all(u8::is_ascii_whitespace) {
                // Late, or held back until now: an empty answer ends any hold.
                if self.tell_transfers().await? {
                    answer = self.post(Bytes::new()).await?;
                    continue;
                }
                return Ok(());
            }
            answer = self.turn(&answer.body).await?;
        }
    }

    fn check_power(&self, point: Point, method: &str) -> Result<(), SessionError> {
        match self.device.state.lock().power_fails(point, method) {
            true => Err(SessionError::PowerLost),
            false => Ok(()),
        }
    }

    /// Sends the Inform until it is acknowledged or refused.
    async fn inform(&mut self, opening: Opening) -> Result<(), SessionError> {
        let inform = Inform {
            device_id: self.device.id().clone(),
            event: opening.events.clone(),
            max_envelopes: 1,
            current_time: cwmp_time(SystemTime::now()),
            retry_count: opening.retries,
            parameter_list: opening.values.clone(),
        };
        if self.device.state.lock().behaviour.probe {
            let probe = self.post_any(Bytes::new()).await?;
            if !matches!(probe.status.as_u16(), 200 | 204 | 401) {
                return Err(SessionError::Status(probe.status.as_u16()));
            }
        }
        if self
            .device
            .state
            .lock()
            .power_fails(Point::AfterInform, "Inform")
        {
            self.request(CpeRequest::Inform(inform)).await.ok();
            return Err(SessionError::PowerLost);
        }
        match self.request(CpeRequest::Inform(inform)).await? {
            AcsResponse::Inform(_) => {
                self.device.acknowledged_inform(&opening);
                Ok(())
            }
            _ => Err(SessionError::Protocol(
                "the answer to Inform is no InformResponse",
            )),
        }
    }

    /// Tells the ACS of every transfer that is done; whether there was one.
    async fn tell_transfers(&mut self) -> Result<bool, SessionError> {
        let done = self.device.done_transfers();
        for transfer in &done {
            let Some(message) = complete(transfer) else {
                continue;
            };
            match self.request(CpeRequest::TransferComplete(message)).await? {
                AcsResponse::TransferComplete => self.device.acknowledged_transfer(transfer),
                _ => {
                    return Err(SessionError::Protocol(
                        "the answer to TransferComplete is no TransferCompleteResponse",
                    ));
                }
            }
        }
        let more = self.tell_changes().await?;
        let own = self.tell_own().await?;
        Ok(!done.is_empty() || more || own)
    }

    /// Tells the ACS of every change of deployment units that is done.
    async fn tell_changes(&mut self) -> Result<bool, SessionError> {
        let done = self.device.done_changes();
        for change in &done {
            let message = software::complete(change);
            match self
                .request(CpeRequest::DuStateChangeComplete(message))
                .await?
            {
                AcsResponse::DuStateChangeComplete => self.device.acknowledged_change(change),
                _ => {
                    return Err(SessionError::Protocol(
                        "the answer to DUStateChangeComplete is another",
                    ));
                }
            }
        }
        Ok(!done.is_empty())
    }

    /// Sends the requests of the device's own.
    async fn tell_own(&mut self) -> Result<bool, SessionError> {
        let mut told = false;
        while let Some(request) = self.device.next_request() {
            let answer = self.request(request).await?;
            self.device.acknowledged_request(answer);
            told = true;
        }
        Ok(told)
    }

    /// The device's own request. Fault 8005 makes it send it again.
    async fn request(&mut self, request: CpeRequest) -> Result<AcsResponse, SessionError> {
        let method = request.method();
        self.ids += 1;
        let mut envelope = Envelope::new(Message::CpeRequest(request));
        envelope.id = Some(format!("{}-{}", self.device.serial(), self.ids));
        envelope.namespace = self.device.state.lock().namespace();
        let body = Bytes::from(encode(&envelope)?);
        for _ in 0..5 {
            let answer = self.post(body.clone()).await?;
            let decoded = decode(&answer.body, &DecodeOptions::new(Receiver::Cpe))?;
            if decoded.envelope.id != envelope.id {
                return Err(SessionError::Protocol("cwmp:ID isn't echoed"));
            }
            self.hold = decoded.envelope.hold_requests == Some(true);
            match decoded.envelope.message {
                Message::AcsResponse(response) => return Ok(response),
                Message::Fault(fault) if fault.code == FaultCode::ACS_RETRY_REQUEST => {}
                Message::Fault(fault) => {
                    let code = fault.code;
                    return Err(SessionError::Fault { method, code });
                }
                _ => return Err(SessionError::Protocol("an answer was expected")),
            }
        }
        Err(SessionError::Protocol("asked to retry too often"))
    }

    /// Reads and executes a request of the ACS, and posts the response.
    async fn turn(&mut self, body: &[u8]) -> Result<Answer, SessionError> {
        let (asked, reply) = match decode(body, &DecodeOptions::new(Receiver::Cpe)) {
            Ok(decoded) => {
                let envelope = decoded.envelope;
                let reply = self.execute(&envelope).await?;
                (envelope.message.method(), envelope.answer(reply))
            }
            Err(DecodeError::Content { id, namespace, .. }) => {
                let fault = Message::Fault(Fault::new(FaultCode::INVALID_ARGUMENTS));
                let mut reply = Envelope::new(fault);
                (reply.id, reply.namespace) = (id, namespace);
                ("", reply)
            }
            Err(error) => return Err(error.into()),
        };
        self.check_power(Point::AfterExecute, asked)?;
        let body = Bytes::from(encode(&reply)?);
        if self
            .device
            .state
            .lock()
            .power_fails(Point::AfterResponse, asked)
        {
            self.post(body).await.ok();
            return Err(SessionError::PowerLost);
        }
        self.post(body).await
    }

    async fn execute(&mut self, envelope: &Envelope) -> Result<Message, SessionError> {
        let unsupported =
            |method: &str| match self.device.state.lock().behaviour.drop_at_unsupported {
                true => Err(SessionError::Dropped(method.to_owned())),
                false => Ok(Message::Fault(Fault::new(FaultCode::METHOD_NOT_SUPPORTED))),
            };
        let request = match &envelope.message {
            Message::AcsRequest(request) => request,
            Message::Unknown { method } => return unsupported(method),
            _ => return Err(SessionError::Protocol("a request was expected")),
        };
        let method = request.method();
        if !execute::supports(self.device, method) {
            return unsupported(method);
        }
        self.check_power(Point::BeforeExecute, method)?;
        let done = match request {
            AcsRequest::Download(_) | AcsRequest::Upload(_) | AcsRequest::ScheduleDownload(_) => {
                execute::transfer(self.device, request, envelope.id.as_deref()).await
            }
            _ => execute::execute(self.device, request, envelope.id.as_deref()),
        };
        Ok(match done {
            Ok(response) => Message::CpeResponse(response),
            Err(fault) => Message::Fault(*fault),
        })
    }

    async fn post(&mut self, body: Bytes) -> Result<Answer, SessionError> {
        let answer = self.post_any(body).await?;
        match answer.status.as_u16() {
            200 | 204 => Ok(answer),
            status => Err(SessionError::Status(status)),
        }
    }

    async fn post_any(&mut self, body: Bytes) -> Result<Answer, SessionError> {
        let pause = {
            let mut state = self.device.state.lock();
            let (least, most) = state.behaviour.latency;
            state.dice.between(least, most)
        };
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        let mut headers = HeaderMap::new();
        if !body.is_empty() {
            headers.insert("soapaction", HeaderValue::from_static(""));
            headers.insert(
                header::CONTENT_TYPE,
                HeaderValue::from_static("text/xml; charset=utf-8"),
            );
        }
        Ok(self.client.request(Method::POST, &headers, body).await?)
    }
}

fn complete(transfer: &Transfer) -> Option<TransferComplete> {
    let Progress::Done { fault, start, end } = transfer.progress else {
        return None;
    };
    Some(TransferComplete {
        command_key: transfer.key.clone(),
        fault_struct: TransferFault {
            fault_code: fault,
            fault_string: match fault.0 {
                0 => String::new(),
                _ => fault.text().to_owned(),
            },
        },
        start_time: cwmp_time(start),
        complete_time: cwmp_time(end),
    })
}

/// What an executed request gives.
pub(super) type Done = Result<CpeResponse, Box<Fault>>;
