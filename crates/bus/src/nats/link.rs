//! The connection: whether it is up, requests to JetStream, and what went wrong with them.

use std::sync::Arc;
use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream::Context;
use async_nats::{Client, Event, HeaderMap, Request, RequestErrorKind, Subject};
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::metrics::Metrics;
use super::wire::ApiError;
use crate::Error;

/// How often it is looked whether the connection is up again.
const LOOK: Duration = Duration::from_millis(20);

/// JetStream's numbers of errors (`server/errors.json` of NATS).
pub(crate) mod number {
    /// The account has no more room.
    pub(crate) const ACCOUNT_FULL: u32 = 10002;
    /// The cluster has no leader for its metadata now.
    pub(crate) const UNAVAILABLE: u32 = 10008;
    pub(crate) const CONSUMER_NOT_FOUND: u32 = 10014;
    /// The server has no more room.
    pub(crate) const SERVER_FULL: u32 = 10023;
    pub(crate) const NO_MESSAGE: u32 = 10037;
    pub(crate) const NOT_FOR_ACCOUNT: u32 = 10039;
    pub(crate) const SEQUENCE_NOT_FOUND: u32 = 10043;
    pub(crate) const NO_STORAGE: u32 = 10047;
    pub(crate) const MESSAGE_TOO_LARGE: u32 = 10054;
    /// Deleting a message failed, because it isn't there.
    pub(crate) const DELETE_FAILED: u32 = 10057;
    pub(crate) const STREAM_NOT_FOUND: u32 = 10059;
    pub(crate) const NO_REPLICAS: u32 = 10074;
    pub(crate) const NOT_ENABLED: u32 = 10076;
    /// A message wasn't stored; the description says why.
    pub(crate) const STORE_FAILED: u32 = 10077;
    /// The first one with this id is under way.
    pub(crate) const DUPLICATE_UNDER_WAY: u32 = 10158;
}

/// Why NATS didn't do what was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Trouble {
    #[error("not connected to NATS")]
    Disconnected,
    #[error("the connection to NATS was lost")]
    Lost,
    #[error("NATS did not answer within {0:?}")]
    TimedOut(Duration),
    #[error("no JetStream answers: it is starting, elects a leader, or lacks the stream")]
    NoResponders,
    #[error("too much is under way to NATS")]
    Busy,
    #[error("NATS refused: {0}")]
    Refused(ApiError),
    #[error("NATS' answer can't be read: {0}")]
    Answer(String),
    #[error("{0}")]
    Client(String),
}

impl Trouble {
    /// JetStream's number of the error.
    pub(crate) fn number(&self) -> Option<u32> {
        match self {
            Self::Refused(error) => Some(error.number),
            _ => None,
        }
    }

    /// Whether the same request may succeed in a moment, and did nothing now.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::NoResponders => true,
            Self::Refused(error) => {
                matches!(
                    error.number,
                    number::UNAVAILABLE | number::DUPLICATE_UNDER_WAY
                )
            }
            _ => false,
        }
    }
}

impl From<Trouble> for Error {
    fn from(trouble: Trouble) -> Self {
        if let Trouble::Refused(error) = &trouble
            && error.description.contains("no space left")
        {
            return Self::DiskFull;
        }
        match trouble.number() {
            Some(number::CONSUMER_NOT_FOUND) => Self::NotFound("consumer"),
            _ => Self::Unavailable(Arc::new(trouble)),
        }
    }
}

/// What the connection's events are told to.
pub(crate) struct Watchman {
    /// Times that the connection was lost.
    losses: watch::Sender<u64>,
    metrics: Arc<Metrics>,
}

impl Watchman {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        let losses = watch::Sender::new(0);
        Self { losses, metrics }
    }

    pub(crate) fn losses(&self) -> watch::Receiver<u64> {
        self.losses.subscribe()
    }

    pub(crate) fn hear(&self, event: &Event) {
        match event {
            Event::Connected => {
                self.metrics.connected.set(1);
                tracing::info!("connected to NATS");
            }
            Event::Disconnected | Event::Closed => {
                if self.metrics.connected.get() == 1 {
                    tracing::warn!("the connection to NATS is lost");
                    self.metrics.disconnects.inc();
                }
                self.metrics.connected.set(0);
                self.losses.send_modify(|losses| *losses += 1);
            }
            Event::SlowConsumer(_) => tracing::debug!("a watcher of events is too slow"),
            other => tracing::debug!(event = %other, "NATS"),
        }
    }
}

/// The connection.
pub(crate) struct Link {
    pub(crate) client: Client,
    pub(crate) context: Context,
    pub(crate) metrics: Arc<Metrics>,
    /// How long an answer may take.
    pub(crate) patience: Duration,
    losses: watch::Receiver<u64>,
}

impl Link {
    pub(crate) fn new(
        client: Client,
        metrics: Arc<Metrics>,
        patience: Duration,
        losses: watch::Receiver<u64>,
    ) -> Self {
        let mut context = async_nats::jetstream::new(client.clone());
        context.set_timeout(patience);
        Self {
            client,
            context,
            metrics,
            patience,
            losses,
        }
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// Waits for the connection; false when it isn't there in time.
    pub(crate) async fn connected_by(&self, deadline: Instant) -> bool {
        while !self.is_connected() {
            if Instant::now() >= deadline {
                return false;
            }
            sleep(LOOK).await;
        }
        true
    }

    /// Times that the connection was lost; it changes when it is lost again.
    pub(crate) fn losses(&self) -> watch::Receiver<u64> {
        let mut losses = self.losses.clone();
        losses.borrow_and_update();
        losses
    }

    /// Sends a message that nobody answers: acknowledgements of all kinds.
    pub(crate) async fn send(&self, subject: Subject, payload: Bytes) -> Result<(), Trouble> {
        if !self.is_connected() {
            return Err(Trouble::Disconnected);
        }
        let sent = timeout(self.patience, self.client.publish(subject, payload)).await;
        let sent = sent.map_err(|_| Trouble::TimedOut(self.patience))?;
        sent.map_err(|error| Trouble::Client(error.to_string()))
    }

    /// Sends a message that is answered.
    pub(crate) async fn ask(
        &self,
        subject: Subject,
        headers: Option<HeaderMap>,
        payload: Bytes,
        patience: Duration,
    ) -> Result<Bytes, Trouble> {
        if !self.is_connected() {
            return Err(Trouble::Disconnected);
        }
        let mut request = Request::new().payload(payload).timeout(None);
        if let Some(headers) = headers {
            request = request.headers(headers);
        }
        let mut losses = self.losses();
        let answer = timeout(patience, async {
            tokio::select! {
                answer = self.client.send_request(subject, request) => Some(answer),
                _ = losses.changed() => None,
            }
        });
        match answer.await {
            Err(_) => Err(Trouble::TimedOut(patience)),
            Ok(None) => Err(Trouble::Lost),
            Ok(Some(Ok(message))) => Ok(message.payload),
            Ok(Some(Err(error))) => Err(match error.kind() {
                RequestErrorKind::NoResponders => Trouble::NoResponders,
                _ => Trouble::Client(error.to_string()),
            }),
        }
    }

    /// A request to JetStream's API; [`Value::Null`] is no body.
    pub(crate) async fn api<T: DeserializeOwned>(
        &self,
        what: String,
        body: &impl Serialize,
    ) -> Result<T, Trouble> {
        let answer = |error: serde_json::Error| Trouble::Answer(error.to_string());
        let mut body = serde_json::to_vec(body).map_err(answer)?;
        if body == b"null" {
            body.clear();
        }
        let timer = self.metrics.api_seconds.start_timer();
        let subject = Subject::from(format!("$JS.API.{what}"));
        let bytes = self.ask(subject, None, body.into(), self.patience).await;
        timer.observe_duration();
        let mut value: Value = serde_json::from_slice(&bytes?).map_err(answer)?;
        match value.get_mut("error").map(Value::take) {
            Some(error) => Err(Trouble::Refused(
                serde_json::from_value(error).map_err(answer)?,
            )),
            None => serde_json::from_value(value).map_err(answer),
        }
    }
}
