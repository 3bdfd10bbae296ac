//! XMPP connection requests (TR-069 Annex K): this process is a component of the operator's XMPP
//! server (XEP-0114), and asks devices by an `iq`.

use crate::config::XmppConfig;
use crate::metrics::Metrics;
use crate::request::Login;
use futures::{SinkExt, StreamExt};
use hearth_proto::wakeup::v1::WakeOutcome;
use hearth_runtime::{Backoff, CancellationToken};
use secrecy::ExposeSecret;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio_xmpp::Stanza;
use tokio_xmpp::connect::{DnsConfig, ServerConnector, TcpServerConnector};
use tokio_xmpp::jid::{BareJid, Jid};
use tokio_xmpp::minidom::Element;
use tokio_xmpp::parsers::component::Handshake;
use tokio_xmpp::parsers::iq::Iq;
use tokio_xmpp::parsers::ns;
use tokio_xmpp::parsers::ping::Ping;
use tokio_xmpp::parsers::stanza_error::DefinedCondition;
use tokio_xmpp::xmlstream::{
    FallibleStreamElement, ReadError, Timeouts, XmppStream, XmppStreamElement,
};

/// The request's namespace (`cwmp-xmppConnReq-1-0.xsd`).
const NAMESPACE: &str = "urn:broadband-forum-org:cwmp:xmppConnReq-1-0";
/// Requests that wait to be sent.
const WAITING: usize = 1024;
/// The server is asked for a sign of life so often: its silence would end the connection.
const PING: Duration = Duration::from_secs(60);
/// Pauses between attempts to connect.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The stream to the server.
type Connection = XmppStream<<TcpServerConnector as ServerConnector>::Stream>;

/// What came of a request, in words.
pub type Told = (WakeOutcome, String);

/// A request to one device.
struct Ask {
    to: Jid,
    username: String,
    password: secrecy::SecretString,
    answer: oneshot::Sender<Told>,
}

/// Asks by XMPP. Cheap to clone.
#[derive(Clone)]
pub struct Xmpp {
    config: Arc<XmppConfig>,
    asks: mpsc::Sender<Ask>,
    connected: Arc<AtomicBool>,
}

/// The connection to the server.
pub struct XmppTask {
    config: Arc<XmppConfig>,
    asks: mpsc::Receiver<Ask>,
    connected: Arc<AtomicBool>,
    metrics: Arc<Metrics>,
}

impl Xmpp {
    /// What asks, and what connects; `None` where no server is set.
    pub fn new(config: &XmppConfig, metrics: Arc<Metrics>) -> Option<(Self, XmppTask)> {
        config.server.as_ref()?;
        let config = Arc::new(config.clone());
        let (asks, receiver) = mpsc::channel(WAITING);
        let connected = Arc::new(AtomicBool::new(false));
        let task = XmppTask {
            config: Arc::clone(&config),
            asks: receiver,
            connected: Arc::clone(&connected),
            metrics,
        };
        let xmpp = Self {
            config,
            asks,
            connected,
        };
        Some((xmpp, task))
    }

    /// Asks a device.
    pub async fn ask(&self, jabber_id: &str, login: Option<&Login>) -> Told {
        let unreachable = |why: &str| (WakeOutcome::Unreachable, why.to_owned());
        let Ok(to) = Jid::new(jabber_id.trim()) else {
            return unreachable("the device's ConnReqJabberID is no Jabber ID");
        };
        if !self.may_be_asked(&to) {
            let detail = format!(
                "the domain {} of the device's Jabber ID is not in wakeup.xmpp.device_domains",
                to.domain()
            );
            return (WakeOutcome::Forbidden, detail);
        }
        let Some(login) = login else {
            return (
                WakeOutcome::Credentials,
                "an XMPP connection request needs a user and a password, and none are known; set \
                 them with `hearthctl credential set --connection-request`"
                    .into(),
            );
        };
        if !self.connected.load(Ordering::Relaxed) {
            return unreachable("the XMPP server can't be reached");
        }
        let (answer, answered) = oneshot::channel();
        let ask = Ask {
            to,
            username: login.username.clone(),
            password: login.password.clone(),
            answer,
        };
        if self.asks.try_send(ask).is_err() {
            return unreachable("too many XMPP connection requests wait");
        }
        match tokio::time::timeout(self.config.timeout.0, answered).await {
            Ok(Ok(told)) => told,
            Ok(Err(_)) => unreachable("the connection to the XMPP server was lost"),
            Err(_) => unreachable("the device has not answered by XMPP in time"),
        }
    }

    /// A device tells its own Jabber ID, and the request bears a password.
    fn may_be_asked(&self, to: &Jid) -> bool {
        let domain = to.domain().as_str();
        let own = self.config.domain.as_deref().unwrap_or_default();
        let above = own.split_once('.').map(|(_, above)| above);
        match self.config.device_domains.as_slice() {
            [] => above.is_some_and(|above| above.eq_ignore_ascii_case(domain)),
            listed => listed.iter().any(|one| one.eq_ignore_ascii_case(domain)),
        }
    }
}

impl XmppTask {
    /// Connects, and connects again, until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        let mut failing = false;
        while !stop.is_cancelled() {
            match self.connect().await {
                Ok(stream) => {
                    backoff.reset();
                    tracing::info!(domain = self.config.domain, "connected to the XMPP server");
                    self.set_connected(true);
                    self.serve(stream, &stop).await;
                    self.set_connected(false);
                    if !stop.is_cancelled() {
                        tracing::warn!("the connection to the XMPP server is lost");
                    }
                }
                Err(why) if !failing => {
                    tracing::warn!(why, "the XMPP server can't be used; it is tried again");
                }
                Err(why) => tracing::debug!(why, "the XMPP server can't be used"),
            }
            failing = true;
            if !backoff.wait_unless(&stop).await {
                return;
            }
        }
    }

    fn set_connected(&self, connected: bool) {
        self.connected.store(connected, Ordering::Relaxed);
        self.metrics.xmpp_connected.set(i64::from(connected));
    }

    async fn connect(&self) -> Result<Connection, String> {
        let server = self.config.server.clone().unwrap_or_default();
        match tokio::time::timeout(self.config.timeout.0, self.log_in(&server)).await {
            Ok(connected) => connected.map_err(|error| format!("{server}: {error}")),
            Err(_) => Err(format!("{server}: no answer in time")),
        }
    }

    /// XEP-0114, 3. Over the stream itself and not the library's `Component`, which ends at the
    /// first stanza that it can't read: any device could send one.
    async fn log_in(&self, server: &str) -> Result<Connection, String> {
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let domain = self.config.domain.as_deref().unwrap_or_default();
        let jid = Jid::new(domain).map_err(|error| text(&error))?;
        let connector = TcpServerConnector::from(DnsConfig::addr(server));
        let connecting = connector.connect(&jid, ns::COMPONENT, Timeouts::default());
        let (mut pending, _) = connecting.await.map_err(|error| text(&error))?;
        let id = pending.take_header().id.map(|id| id.into_owned());
        let id = id.ok_or("the server gives no id for the stream")?;
        let mut stream: Connection = pending.skip_features();
        let secret = self.config.secret.as_ref().map(|secret| secret.expose());
        let secret = secret.unwrap_or_default();
        let proof = Handshake::from_stream_id_and_password(id, secret);
        let proof = XmppStreamElement::ComponentHandshake(proof);
        stream.send(&proof).await.map_err(|error| text(&error))?;
        match next(&mut stream).await {
            Some(XmppStreamElement::ComponentHandshake(_)) => Ok(stream),
            Some(_) => Err("the server refuses the component: is its secret right?".into()),
            None => Err("the server has closed the connection".into()),
        }
    }

    async fn serve(&mut self, mut stream: Connection, stop: &CancellationToken) {
        let mut waiting: HashMap<String, (Jid, oneshot::Sender<Told>)> = HashMap::new();
        let mut last: u64 = rand::random();
        let mut ping = tokio::time::interval_at(tokio::time::Instant::now() + PING, PING);
        loop {
            let iq = tokio::select! {
                () = stop.cancelled() => {
                    let _ = SinkExt::<&XmppStreamElement>::close(&mut stream).await;
                    return;
                }
                ask = self.asks.recv() => {
                    let Some(ask) = ask else { return };
                    waiting.retain(|_, (_, answer)| !answer.is_closed());
                    last = last.wrapping_add(1);
                    let id = format!("{last:016x}");
                    let iq = self.request(&id, &ask);
                    waiting.insert(id, (ask.to, ask.answer));
                    iq
                }
                _ = ping.tick() => self.ping(),
                element = next(&mut stream) => match element {
                    Some(XmppStreamElement::Stanza(Stanza::Iq(iq))) => {
                        answered(&mut waiting, iq);
                        continue;
                    }
                    // Nobody writes to the ACS.
                    Some(XmppStreamElement::Stanza(_)) => continue,
                    _ => return,
                },
            };
            let iq = XmppStreamElement::Stanza(iq.into());
            if stream.send(&iq).await.is_err() {
                return;
            }
        }
    }

    fn from(&self) -> Option<Jid> {
        let domain = self.config.domain.as_deref().unwrap_or_default();
        Jid::new(&format!("{}@{domain}/hearth", self.config.user)).ok()
    }

    /// The request (TR-069 K.2.3.1): user name, then password.
    fn request(&self, id: &str, ask: &Ask) -> Iq {
        let child = |name: &str, text: &str| {
            Element::builder(name, NAMESPACE)
                .append(text.to_owned())
                .build()
        };
        Iq::Get {
            from: self.from(),
            to: Some(ask.to.clone()),
            id: id.to_owned(),
            payload: Element::builder("connectionRequest", NAMESPACE)
                .append(child("username", &ask.username))
                .append(child("password", ask.password.expose_secret()))
                .build(),
        }
    }

    fn ping(&self) -> Iq {
        let domain = self.config.domain.as_deref().unwrap_or_default();
        let above = domain.split_once('.').map_or(domain, |(_, above)| above);
        Iq::Get {
            from: self.from(),
            to: BareJid::new(above).ok().map(Jid::from),
            id: "ping".into(),
            payload: Ping.into(),
        }
    }
}

/// What the server sends next; what can't be read is passed over. `None` at the end.
async fn next(stream: &mut Connection) -> Option<XmppStreamElement> {
    loop {
        match stream.next().await? {
            Ok(FallibleStreamElement::Ok(element)) => return Some(element),
            Ok(FallibleStreamElement::Err(_)) | Err(ReadError::ParseError(_)) => {
                tracing::debug!("a stanza can't be read");
            }
            // The pings would have been answered.
            Err(ReadError::SoftTimeout) => {}
            Err(ReadError::HardError(_) | ReadError::StreamFooterReceived) => return None,
        }
    }
}

/// An answer to a request, if it comes from the device that was asked.
fn answered(waiting: &mut HashMap<String, (Jid, oneshot::Sender<Told>)>, iq: Iq) {
    let (from, id, told) = match iq {
        Iq::Result { from, id, .. } => (from, id, accepted()),
        Iq::Error {
            from, id, error, ..
        } => (from, id, refused(&error.defined_condition)),
        Iq::Get { .. } | Iq::Set { .. } => return,
    };
    let (Some((asked, _)), Some(from)) = (waiting.get(&id), from) else {
        return;
    };
    // What was sent to a bare Jabber ID is answered by a full one.
    let bare = Jid::from(from.to_bare());
    if *asked != from && *asked != bare {
        return;
    }
    if let Some((_, answer)) = waiting.remove(&id) {
        // Whoever waited may be gone.
        let _ = answer.send(told);
    }
}

fn accepted() -> Told {
    (
        WakeOutcome::Accepted,
        "the device accepted by XMPP; its Inform is due within 30 s".into(),
    )
}

/// TR-069 K.2.3.2, and what the server says for a device that isn't there.
fn refused(condition: &DefinedCondition) -> Told {
    match condition {
        DefinedCondition::NotAuthorized | DefinedCondition::Forbidden => (
            WakeOutcome::Credentials,
            "it refuses the user or the password by XMPP; set them with `hearthctl credential set \
             --connection-request`"
                .into(),
        ),
        DefinedCondition::ServiceUnavailable
        | DefinedCondition::RecipientUnavailable
        | DefinedCondition::ItemNotFound
        | DefinedCondition::RemoteServerNotFound
        | DefinedCondition::RemoteServerTimeout => (
            WakeOutcome::Offline,
            "the device is not connected to its XMPP server".into(),
        ),
        DefinedCondition::ResourceConstraint => (
            WakeOutcome::Busy,
            "the device is busy, it says by XMPP".into(),
        ),
        other => (
            WakeOutcome::Unreachable,
            format!("the device or its XMPP server refused: {other:?}"),
        ),
    }
}
