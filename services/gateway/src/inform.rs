//! An Inform: checked, made durable, and only then answered (TR-069 3.7.1.5, A.3.3.1).

use hearth_bus::Stream;
use hearth_cwmp::session::{Input, State};
use hearth_cwmp::{
    AcsResponse, CwmpVersion, Decoded, Envelope, EventCode, Fault, FaultCode, Inform,
    InformResponse, Message,
};
use hearth_proto::events::v1 as ev;
use hearth_proto::types::v1::ParameterValue;
use hearth_proto::workflow::v1 as wf;
use hearth_types::{DeviceId, DeviceKey, Invalid};
use tracing::Instrument as _;
use ulid::Ulid;

use crate::admission::Class;
use crate::auth::When;
use crate::cookie::{InFlight, MAX_IDENTITY, Session, UserMark, session_text};
use crate::edge::Turn;
use crate::heard::into_inform;
use crate::http::Reply;
use crate::outcome;
use crate::proof::Proof;
use crate::publish::Source;
use crate::quirks::Quirks;
use crate::refusal::Refusal;
use crate::timeline::codes;
use crate::trace::turn_span;

impl Turn {
    /// Accepts an Inform or says why not. InformResponse goes out when the event is on disk and
    /// the session has its epoch.
    pub(crate) async fn inform(
        mut self,
        state: State,
        decoded: Decoded,
        proof: &Proof,
    ) -> Result<Reply, Refusal> {
        let truncated = decoded.repairs.truncated_tail > 0;
        let mut envelope = decoded.envelope;
        let nothing = Message::Unknown {
            method: String::new(),
        };
        let message = std::mem::replace(&mut envelope.message, nothing);
        let Some(inform) = into_inform(message) else {
            return Err(Refusal::NoSession);
        };
        let class = Class::of(&inform.event);
        let key = self.device_key(&inform);
        if let Ok(key) = &key {
            let _ = self.whose.set(key.device.as_str().to_owned());
        }
        if !self.edge.admission.admits(class) {
            return Err(Refusal::Busy {
                reason: "busy_class",
                unread: false,
            });
        }
        let use_version = match CwmpVersion::choose(&envelope.supported_versions) {
            None if !envelope.supported_versions.is_empty() => {
                let fault = Fault::new(FaultCode::ACS_VERSION_INCOMPATIBLE);
                return self.refuse_by_fault(&envelope, fault, proof);
            }
            // Only asked for is it answered (TR-069 3.4.3).
            chosen => chosen,
        };
        let key = match key {
            Ok(key) => key,
            Err(invalid) => {
                let fault = Fault {
                    string: Some(format!("Invalid arguments: {invalid}")),
                    ..Fault::new(FaultCode::ACS_INVALID_ARGUMENTS)
                };
                return self.refuse_by_fault(&envelope, fault, proof);
            }
        };
        let bootstrap = inform
            .event
            .iter()
            .any(|event| event.code() == EventCode::Bootstrap);
        proof.check(&key.device)?;
        let when = match bootstrap {
            true => When::Bootstrap,
            false => When::Inform,
        };
        let auth = &self.edge.auth;
        let told = (
            inform.device_id.manufacturer.as_str(),
            software_version(&inform),
        );
        let admitted = auth
            .check_identity(&self.tenant, proof, key.device.as_str(), when, told)
            .await?;
        let rotate = admitted.rotate;
        let mut session = self.begin(state, &envelope, &key, proof.mark());
        let quirks = admitted.quirks.unwrap_or_default();
        session.quirks = Quirks::of(&quirks);
        session.state.triple_empty = quirks.triple_empty_end;
        self.note.codes = codes(&inform);
        let span = turn_span(&session, Input::Inform);
        let opened = self.open(&session, &key, &envelope, inform, proof, rotate);
        let opened = match opened.instrument(span).await {
            Err(Refusal::Oversize(why)) => {
                let fault = Fault {
                    string: Some(format!("Resources exceeded: {why}")),
                    ..Fault::new(FaultCode::ACS_RESOURCES_EXCEEDED)
                };
                return self.refuse_by_fault(&envelope, fault, proof);
            }
            opened => opened?,
        };
        session.epoch = opened.epoch;
        session.ask = opened.pending;
        if session.ask {
            self.note.proof = proof.label();
        }
        self.edge.metrics.informed(class);
        tracing::debug!(
            session = %session.id_text(),
            device = %key.device,
            tenant = %key.tenant,
            class = class.label(),
            epoch = session.epoch,
            idle = !session.ask,
            profile = admitted.profile,
            "session opened"
        );
        let response =
            Message::AcsResponse(AcsResponse::Inform(InformResponse { max_envelopes: 1 }));
        let response = Envelope {
            use_version,
            ..envelope.answer(response)
        };
        let mut reply = self.send_in(&session, &response)?;
        if truncated {
            // Content-Length was counted in characters: the rest of the envelope stands where the
            // next request should.
            crate::http::close(&mut reply);
        }
        Ok(reply)
    }

    fn device_key(&self, inform: &Inform) -> Result<DeviceKey, Invalid> {
        let id = &inform.device_id;
        let device = DeviceId::new(id.oui.trim(), &id.product_class, &id.serial_number)?;
        // What the session cookie has room for; CPEs need hold no more than 512 bytes.
        if self.tenant.as_str().len() + device.as_str().len() > MAX_IDENTITY {
            return Err(Invalid::new(
                "DeviceId",
                format!("expected at most {MAX_IDENTITY} bytes in encoded form, with the tenant"),
            ));
        }
        Ok(DeviceKey::new(self.tenant.clone(), device))
    }

    fn begin(&self, state: State, envelope: &Envelope, key: &DeviceKey, user: UserMark) -> Session {
        let config = &self.edge.config;
        let idle = match envelope.session_timeout {
            // 0 is no timeout of the CPE's own.
            None | Some(0) => config.idle_timeout.get().as_secs(),
            Some(asked) => u64::from(asked)
                .max(config.idle_timeout_min.get().as_secs())
                .min(config.idle_timeout_max.get().as_secs()),
        };
        Session {
            id: Ulid::generate(),
            state,
            namespace: envelope.namespace,
            epoch: 0,
            started: self.now,
            last_turn: self.edge.clock.now_micros(),
            idle_secs: u16::try_from(idle.max(1)).unwrap_or(u16::MAX),
            user,
            in_flight: InFlight::None,
            ask: true,
            quirks: Quirks::default(),
            tenant: key.tenant.clone(),
            device: key.device.as_str().to_owned(),
        }
    }

    /// Makes the Inform durable and opens the session, both at once.
    async fn open(
        &self,
        session: &Session,
        key: &DeviceKey,
        envelope: &Envelope,
        inform: Inform,
        proof: &Proof,
        rotate: bool,
    ) -> Result<wf::OpenSessionResponse, Refusal> {
        let id = session_text(session.id);
        let events = outcome::events(inform.event);
        let mut parameters = outcome::values(inform.parameter_list);
        let parameter_key = parameters
            .iter()
            .find(|value| value.path.ends_with(".ManagementServer.ParameterKey"))
            .map(|value| value.value.clone());
        self.edge.seal_secrets(key, &mut parameters)?;
        let open = self.edge.workflow.open_session(wf::OpenSessionRequest {
            tenant: key.tenant.as_str().to_owned(),
            device: session.device.clone(),
            session: id.clone(),
            events: events.clone(),
            parameter_key: parameter_key.unwrap_or_default(),
            idle_timeout_ms: u32::from(session.idle_secs) * 1000,
            rotate,
            root: root_of(&parameters),
        });
        let event = ev::event::Kind::Inform(ev::Inform {
            manufacturer: inform.device_id.manufacturer,
            oui: inform.device_id.oui,
            product_class: inform.device_id.product_class,
            serial_number: inform.device_id.serial_number,
            events,
            parameters,
            retry_count: inform.retry_count,
            cwmp_namespace: envelope.namespace.to_string(),
            remote_address: self
                .peer
                .map(|peer| peer.ip().to_canonical().to_string())
                .unwrap_or_default(),
            current_time: inform.current_time.0,
            proof: proof.label(),
            line: proof
                .line
                .as_ref()
                .map(|line| line.name.clone())
                .unwrap_or_default(),
        });
        let source = Source {
            key,
            session: id,
            time: self.now,
        };
        let publish = self.edge.publish(Stream::Inform, source, None, event);
        let (published, opened) = tokio::join!(publish, open);
        published?;
        opened.map_err(|error| workflow_failed(&error))
    }

    /// A fault to an Inform: the session fails, and nothing of it was accepted.
    fn refuse_by_fault(
        &self,
        envelope: &Envelope,
        fault: Fault,
        proof: &Proof,
    ) -> Result<Reply, Refusal> {
        self.edge.metrics.fault(fault.code.0);
        self.remember_fault(&fault, proof);
        if let Some(left_out) = self.edge.refusal_log.due() {
            tracing::info!(
                peer = self.peer.map(tracing::field::display),
                code = fault.code.0,
                reason = %hearth_telemetry::for_log(fault.string.as_deref().unwrap_or_default()),
                left_out,
                "Inform refused by a fault"
            );
        }
        self.send(&envelope.answer(Message::Fault(fault)), None)
    }
}

/// The root of the data model that an Inform's parameters are of; empty where that can't be told.
fn root_of(parameters: &[ParameterValue]) -> String {
    let roots = ["Device.", "InternetGatewayDevice."];
    let of = |path: &str| roots.into_iter().find(|root| path.starts_with(root));
    let root = parameters.iter().find_map(|value| of(&value.path));
    root.unwrap_or_default().to_owned()
}

/// DeviceInfo.SoftwareVersion, empty where the Inform doesn't have it.
fn software_version(inform: &Inform) -> &str {
    let mut parameters = inform.parameter_list.iter();
    parameters
        .find(|value| value.name.ends_with(".DeviceInfo.SoftwareVersion"))
        .map_or("", |value| value.value.as_str())
}

/// A call to workflow failed.
pub(crate) fn workflow_failed(error: &hearth_clients::Error) -> Refusal {
    if !error.is_retryable() {
        tracing::error!(%error, kind = ?error.kind, "workflow refused a session's call");
    }
    Refusal::Unavailable {
        part: "workflow",
        why: error.to_string(),
    }
}
