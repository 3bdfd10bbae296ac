//! One request of a CPE, from its header to its answer: who sends it, what it is, and what the
//! session machine says to do.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use hearth_auth::Sealer;
use hearth_bus::Bus;
use hearth_clients::Workflow;
use hearth_cwmp::decode::is_empty_post;
use hearth_cwmp::session::{Action, Delivery, Input, Phase};
use hearth_cwmp::{DecodeError, Limits};
use hearth_proto::workflow::v1::request_outcome::Kind;
use hearth_runtime::http::PeerAddr;
use hearth_runtime::{Clock, Seldom};
use hearth_telemetry::for_log;
use hearth_types::TenantId;
use http::request::Parts;
use http_body::Body;
use tracing::Instrument as _;

use crate::admission::{Admission, Place};
use crate::auth::Authenticator;
use crate::capture::Captures;
use crate::config::GatewayConfig;
use crate::cookie::{Cookies, Found, Session};
use crate::heard::{Heard, decode, input_in, refused, turn_kind};
use crate::http::{Bodies, ReadBody, Reply};
use crate::line::Lines;
use crate::metrics::{Metrics, TurnKind};
use crate::noted::{Noted, Whose};
use crate::proof::Proof;
use crate::redirect::Redirects;
use crate::refusal::Refusal;
use crate::timeline::{Lost, Note, Sent, Timeline};
use crate::tls::door::Door;
use crate::trace::{self, turn_span};

/// Above this, an envelope is read on a thread of its own.
const LARGE_ENVELOPE: usize = 1 << 20;

/// What all requests share.
pub(crate) struct Edge {
    pub config: GatewayConfig,
    pub bus: Arc<dyn Bus>,
    pub workflow: Arc<dyn Workflow>,
    pub cookies: Cookies,
    pub at_rest: Sealer,
    pub auth: Authenticator,
    pub lines: Lines,
    pub door: Door,
    pub redirects: Redirects,
    pub admission: Arc<Admission>,
    pub metrics: Metrics,
    pub clock: Arc<dyn Clock>,
    pub bodies: Bodies,
    pub limits: Limits,
    pub default_tenant: TenantId,
    /// For `{host}` where the CPE's Host header is of no use.
    pub local_host: String,
    /// A storm of refused devices is normal.
    pub refusal_log: Seldom,
    pub noted: Noted,
    pub timeline: Timeline,
    pub captures: Arc<Captures>,
}

/// One request, past its body.
#[derive(Clone)]
pub(crate) struct Turn {
    pub edge: Arc<Edge>,
    pub tenant: TenantId,
    /// The CPE's address.
    pub peer: Option<SocketAddr>,
    /// What `{host}` stands for in transfer URLs; `None` for the gateway's own.
    pub host: Option<String>,
    /// µs since 1970: when its header was there.
    pub now: i64,
    /// Its device, once the Inform was read.
    pub whose: Whose,
    /// What it said.
    pub note: Note,
}

impl Edge {
    /// Answers a request, come what may.
    pub(crate) async fn serve<B: Body<Data = Bytes>>(
        self: &Arc<Self>,
        request: http::Request<B>,
    ) -> Reply {
        let start = Instant::now();
        let (parts, body) = request.into_parts();
        let now = self.clock.now_micros();
        let mut kind = TurnKind::Other;
        let whose = Whose::default();
        let reply = match self.exchange(&parts, body, now, &mut kind, &whose).await {
            Ok(reply) => {
                self.noted.served(peer(&parts));
                reply
            }
            Err(refusal) => self.refuse(&refusal, &parts, now, &whose),
        };
        self.metrics.turn(kind, start.elapsed().as_secs_f64());
        reply
    }

    async fn exchange<B: Body<Data = Bytes>>(
        self: &Arc<Self>,
        parts: &Parts,
        body: B,
        now: i64,
        kind: &mut TurnKind,
        whose: &Whose,
    ) -> Result<Reply, Refusal> {
        let named = self.door.tenant(parts);
        let tenant = crate::http::tenant(parts, &self.default_tenant, named)?;
        let (session, over) = self.session(parts, &tenant, now);
        if session.is_none()
            && let Some(to) = self.redirects.find(parts, &tenant)
        {
            let unread = !self.bodies.discard(body).await;
            return Ok(to.reply(unread));
        }
        let entered = self.enter(parts, &tenant, now, session.is_none()).await;
        let (proof, place) = match entered {
            Ok(entered) => entered,
            Err(refusal) => return Err(self.unread(refusal, body).await),
        };
        let known = session.is_some() && !self.config.reauthenticate_every_turn;
        if !proof.opens() && !known {
            return Err(self.unread(missing(), body).await);
        }
        // Not kept while the body comes: a few slow senders would keep all others out.
        drop(place);
        let mut turn = Turn {
            edge: Arc::clone(self),
            tenant: tenant.clone(),
            peer: peer(parts),
            host: crate::http::host(parts).map(str::to_owned),
            now,
            whose: Whose::clone(whose),
            note: Note::default(),
        };
        let read = self.bodies.read(&parts.headers, body, &self.admission);
        let ReadBody {
            bytes,
            received,
            room: _room,
        } = match read.await {
            Ok(read) => read,
            Err(Refusal::TooLarge) => {
                turn.over_the_limit(session, &proof).await;
                return Err(Refusal::TooLarge);
            }
            Err(refusal) => return Err(refusal),
        };
        self.metrics
            .body_bytes
            .inc_by(u64::try_from(received).unwrap_or(0));
        let heard = self.hear(parts, &bytes).await;
        turn.note = Note::of(&heard, session.as_ref(), bytes.len());
        let captures = &self.captures;
        turn.note.taken = captures.take(&turn, parts, &bytes, &heard, session.as_ref());
        // What it says is in `heard`; a large one isn't held twice while it is worked on.
        drop(bytes);
        *kind = turn_kind(heard.input);
        if over && *kind != TurnKind::Inform {
            self.metrics.sessions_expired.inc();
        }
        turn.act(session, proof, heard).await
    }

    /// The live session of a request's cookie, or whether it was one.
    fn session(&self, parts: &Parts, tenant: &TenantId, now: i64) -> (Option<Session>, bool) {
        match self.cookies.find(&parts.headers, tenant, now) {
            Found::Live(session) => (Some(*session), false),
            Found::Over => {
                self.metrics.cookies_over.inc();
                (None, true)
            }
            Found::Unreadable => {
                self.metrics.cookies_unreadable.inc();
                (None, false)
            }
            Found::Nothing => (None, false),
        }
    }

    /// Takes a place for what is an Inform by all appearances, then checks who it is: in a storm
    /// most are turned away before anything is computed for them.
    async fn enter<'a>(
        &'a self,
        parts: &Parts,
        tenant: &'a TenantId,
        now: i64,
        new: bool,
    ) -> Result<(Proof, Option<Place<'a>>), Refusal> {
        let mut proof = self.door.proof(parts)?;
        let claims = proof.opens() || parts.headers.contains_key(http::header::AUTHORIZATION);
        let place = match new && claims {
            true => Some(self.admission.inform(tenant).ok_or(BUSY)?),
            false => None,
        };
        if new {
            let lines = &self.lines;
            lines
                .prove(&mut proof, parts, tenant, peer(parts), now)
                .await?;
        }
        proof.user = self.auth.check(parts, tenant, now).await?;
        Ok((proof, place))
    }

    /// Refuses a request whose body isn't read yet: reads it away if it is small, so that the
    /// connection can be used for the next try.
    async fn unread<B: Body<Data = Bytes>>(&self, refusal: Refusal, body: B) -> Refusal {
        let gone = self.bodies.discard(body).await;
        match refusal {
            Refusal::Busy { reason, .. } => Refusal::Busy {
                reason,
                unread: !gone,
            },
            Refusal::Unauthorized {
                stale,
                reason,
                user,
                ..
            } => Refusal::Unauthorized {
                stale,
                reason,
                user,
                unread: !gone,
            },
            other => other,
        }
    }

    async fn hear(&self, parts: &Parts, body: &Bytes) -> Heard {
        if is_empty_post(body) {
            return Heard {
                input: Input::Empty,
                decoded: None,
            };
        }
        let charset = crate::http::charset(&parts.headers);
        let limits = self.limits;
        let decoded = if body.len() < LARGE_ENVELOPE {
            decode(body, charset, limits)
        } else {
            let (body, charset) = (body.clone(), charset.map(str::to_owned));
            let reading =
                tokio::task::spawn_blocking(move || decode(&body, charset.as_deref(), limits));
            reading
                .await
                .unwrap_or(Err(DecodeError::NotEnvelope("reading it failed")))
        };
        if let Ok(decoded) = &decoded {
            self.metrics.repaired(&decoded.repairs);
        }
        Heard {
            input: Input::of(&decoded),
            decoded: Some(decoded),
        }
    }

    /// The answer to what isn't served: counted, and logged a few times a second.
    fn refuse(&self, refusal: &Refusal, parts: &Parts, now: i64, whose: &Whose) -> Reply {
        self.metrics.refused(refusal);
        let silent = self.remember(refusal, parts, peer(parts), now, whose);
        let mut challenges = Vec::new();
        match refusal {
            Refusal::Unauthorized { stale, reason, .. } => {
                self.metrics.auth_failed(reason);
                challenges = self.auth.challenges(now, *stale);
            }
            Refusal::Identity(_)
            | Refusal::Denied(..)
            | Refusal::OtherUser
            | Refusal::Certificate(_)
            | Refusal::ForwardedCertificate => {
                self.metrics.auth_failed(refusal.reason());
            }
            Refusal::Superseded => self.metrics.sessions_superseded.inc(),
            _ => {}
        }
        // The challenge to a first request is how every session begins: no line for it, unless
        // nothing ever follows.
        let first = matches!(
            refusal,
            Refusal::Unauthorized {
                reason: "missing" | "stale_nonce",
                ..
            }
        );
        let expected = first && silent.is_none();
        if !expected && let Some(left_out) = self.refusal_log.due() {
            tracing::info!(
                peer = peer(parts).map(tracing::field::display),
                status = refusal.status().as_u16(),
                reason = silent.map_or(refusal.reason(), |_| "no_credentials"),
                challenges = silent,
                detail = %for_log(refusal.detail()),
                left_out,
                "request of a CPE refused"
            );
        }
        crate::http::refuse(refusal, self.admission.retry_after_secs(), &challenges)
    }
}

/// Busy, and nothing of it was read.
const BUSY: Refusal = Refusal::Busy {
    reason: "busy_informs",
    unread: true,
};

fn missing() -> Refusal {
    Refusal::Unauthorized {
        stale: false,
        reason: "missing",
        user: String::new(),
        unread: false,
    }
}

/// The CPE's address.
fn peer(parts: &Parts) -> Option<SocketAddr> {
    parts.extensions.get::<PeerAddr>().map(|peer| peer.0)
}

/// Finishes what has begun, even if the CPE hangs up meanwhile: what it answered must not be half
/// settled. Idle turns don't pay for it.
async fn to_the_end(
    turn: impl Future<Output = Result<Reply, Refusal>> + Send + 'static,
) -> Result<Reply, Refusal> {
    let done = tokio::spawn(turn.in_current_span()).await;
    done.unwrap_or_else(|error| {
        Err(Refusal::Unavailable {
            part: "turn",
            why: error.to_string(),
        })
    })
}

impl Turn {
    /// What `{host}` stands for.
    pub(crate) fn host(&self) -> &str {
        self.host.as_deref().unwrap_or(&self.edge.local_host)
    }

    /// Does what the session machine says.
    async fn act(
        self,
        session: Option<Session>,
        proof: Proof,
        heard: Heard,
    ) -> Result<Reply, Refusal> {
        let state = session
            .as_ref()
            .map(|session| session.state)
            .unwrap_or_default();
        let (state, action) = state.on(input_in(state, &heard));
        if action == Action::AcceptInform {
            let (true, Some(Ok(decoded))) = (proof.opens(), heard.decoded) else {
                // The cookie of the session before proves nothing about this one.
                return Err(missing());
            };
            let edge = Arc::clone(&self.edge);
            let tenant = self.tenant.clone();
            let _place = edge.admission.inform(&tenant).ok_or(Refusal::Busy {
                reason: "busy_informs",
                unread: false,
            })?;
            let began = Instant::now();
            let reply = Box::pin(self.inform(state, decoded, &proof)).await;
            let failed = matches!(reply, Err(Refusal::Unavailable { .. }));
            edge.admission.answered(began, failed);
            return reply;
        }
        let Some(mut session) = session else {
            return self.without_session(heard, action);
        };
        self.check_proof(&mut session, &proof).await?;
        session.state = state;
        // Whatever a device says of itself may bring work.
        session.ask |= heard.input != Input::Empty;
        // Silence begins when its body was there: a large answer over a slow link takes longer
        // than a session may be silent.
        session.last_turn = self.edge.clock.now_micros();
        let span = turn_span(&session, heard.input);
        let lost = Lost::of(&self, &session);
        let turn = self.continue_session(session, heard, action);
        let done = turn.instrument(span).await;
        lost.tell(&done);
        done
    }

    /// Tells workflow that the answer to the request in flight was too large to be read, so that
    /// less is asked for. Its connection is of no more use, and so the session ends.
    async fn over_the_limit(&self, session: Option<Session>, proof: &Proof) {
        let Some(mut session) = session.filter(awaits_answer) else {
            return;
        };
        self.edge.metrics.answers_too_large.inc();
        let told = async {
            self.check_proof(&mut session, proof).await?;
            let limit = self.edge.config.max_body;
            let what = format!("its body exceeds gateway.max_body ({limit})");
            self.give_up(&session, Kind::TooLarge(what)).await
        };
        let told = told.await;
        let timeline = &self.edge.timeline;
        timeline.refused(self, &session, &Refusal::TooLarge);
        if let Err(refusal) = told {
            tracing::debug!(
                session = %session.id_text(),
                reason = refusal.reason(),
                "an answer over the limit can't be told to its task"
            );
        }
    }

    async fn continue_session(
        self,
        session: Session,
        heard: Heard,
        action: Action,
    ) -> Result<Reply, Refusal> {
        match (action, heard.decoded) {
            (Action::AskForWork, _) if !session.ask => Ok(self.finish(session)),
            (Action::AskForWork | Action::RepeatRequest, _) => self.next(session, None).await,
            (Action::AnswerRequest, Some(Ok(decoded))) => {
                to_the_end(self.answer(session, decoded)).await
            }
            (Action::Deliver { what, expected }, Some(decoded)) => {
                let answer = match (what, decoded) {
                    (_, Err(error @ DecodeError::Limit { .. })) => {
                        self.edge.metrics.answers_too_large.inc();
                        Err(Kind::TooLarge(error.to_string()))
                    }
                    (Delivery::Garbled, _) | (_, Err(_)) => Err(Kind::Invalid(
                        "the device's answer can't be understood".to_owned(),
                    )),
                    (_, Ok(decoded)) => Ok(decoded),
                };
                to_the_end(self.deliver(session, answer, expected)).await
            }
            (Action::SendFault(code), Some(decoded)) => self.fault(Some(session), &decoded, code),
            (Action::EndSession { unanswered }, _) => {
                tracing::debug!(
                    session = %session.id_text(),
                    device = %session.device,
                    unanswered,
                    "session ended"
                );
                let end = if unanswered { "unanswered" } else { "ended" };
                trace::ended(&session, end);
                self.edge.metrics.sessions_ended.inc();
                let reply = crate::http::no_content(None);
                self.answered(&session, Sent::empty(), Some(end), &reply);
                Ok(reply)
            }
            (_, decoded) => Err(refused(decoded)),
        }
    }

    fn without_session(&self, heard: Heard, action: Action) -> Result<Reply, Refusal> {
        match (action, heard.decoded) {
            (Action::SendFault(code), Some(decoded)) => self.fault(None, &decoded, code),
            (_, decoded) => Err(refused(decoded)),
        }
    }
}

/// Whether a request is out, by the session's cookie.
fn awaits_answer(session: &Session) -> bool {
    session.state.phase == Phase::AwaitResponse
}
