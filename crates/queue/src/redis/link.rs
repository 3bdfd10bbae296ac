//! Connections that are kept: a call goes over one that is up, and fails at once while none is.

use super::{
    connect::{Connection, Connector},
    metrics::Metrics,
};
use hearth_runtime::Backoff;
use redis::{Cmd, RedisError, ServerErrorKind, Value};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{Mutex, watch},
    task::JoinHandle,
    time::{Instant, timeout, timeout_at},
};

/// Between tries to connect: at first, and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How long one try to connect may take.
const ONE_TRY: Duration = Duration::from_secs(3);
/// A cluster's connection mends itself; one that answered nothing for so long is made anew.
const CLUSTER_PATIENCE: Duration = Duration::from_secs(5);

/// Why a call failed.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("Redis is not connected: {0}")]
    Down(Arc<str>),
    #[error("Redis did not answer within {0:?}")]
    Timeout(Duration),
    #[error("Redis could not carry out a call: {0}")]
    Refused(String),
    #[error("Redis answered with {0}, which is not what was asked for")]
    Answer(String),
}

impl From<Failure> for crate::Error {
    fn from(failure: Failure) -> Self {
        Self::Unavailable(Box::new(failure))
    }
}

impl From<RedisError> for Failure {
    fn from(error: RedisError) -> Self {
        let hint = match error.code() {
            Some("OOM") => {
                " (its maxmemory is reached: give it more; see the queue's sizing in the docs)"
            }
            Some("NOREPLICAS") => " (fewer replicas follow it than its min-replicas-to-write)",
            _ => "",
        };
        Self::Refused(format!("{error}{hint}"))
    }
}

#[derive(Clone)]
enum State {
    Up {
        connection: Connection,
        generation: u64,
    },
    /// Lost a moment ago: the first try to connect is under way.
    Connecting,
    Down(Arc<str>),
}

struct Slot {
    state: Arc<watch::Sender<State>>,
    keeper: JoinHandle<()>,
    /// When it last answered, in ms since the link was made.
    answered: AtomicU64,
}

/// Connections to Redis.
pub(super) struct Link {
    slots: Vec<Slot>,
    turn: AtomicUsize,
    timeout: Duration,
    started: Instant,
    library: String,
    loading: Mutex<()>,
    metrics: Arc<Metrics>,
}

impl Drop for Link {
    fn drop(&mut self) {
        for slot in &self.slots {
            slot.keeper.abort();
        }
    }
}

impl Link {
    /// Begins to connect.
    pub(super) fn new(
        connectors: Vec<Connector>,
        timeout: Duration,
        library: String,
        metrics: Arc<Metrics>,
    ) -> Self {
        let slot = |connector| {
            let state = Arc::new(watch::Sender::new(State::Connecting));
            Slot {
                keeper: tokio::spawn(keep(connector, Arc::clone(&state), Arc::clone(&metrics))),
                state,
                answered: AtomicU64::new(0),
            }
        };
        Self {
            slots: connectors.into_iter().map(slot).collect(),
            turn: AtomicUsize::new(0),
            timeout,
            started: Instant::now(),
            library,
            loading: Mutex::new(()),
            metrics,
        }
    }

    /// Sends a command. It may be sent twice: the calls of a queue may be repeated.
    pub(super) async fn call(&self, cmd: &Cmd) -> Result<Value, Failure> {
        let deadline = Instant::now() + self.timeout;
        let mut repeated = false;
        loop {
            let slot = self.slot();
            let (mut connection, generation) = self.connection(slot, deadline).await?;
            let answer = timeout_at(deadline, connection.query(cmd)).await;
            let Ok(answer) = answer else {
                self.doubt(slot, &connection, generation);
                return Err(Failure::Timeout(self.timeout));
            };
            let error = match answer {
                Ok(value) => {
                    let now = self.started.elapsed().as_millis();
                    let now = u64::try_from(now).unwrap_or(u64::MAX);
                    slot.answered.store(now, Ordering::Relaxed);
                    return Ok(value);
                }
                Err(error) => error,
            };
            if is_missing_function(&error) && !repeated {
                repeated = true;
                self.load(&mut connection, cmd, deadline).await?;
                continue;
            }
            if is_lost(&error) {
                self.doubt(slot, &connection, generation);
                if !repeated {
                    repeated = true;
                    self.metrics.retries.inc();
                    continue;
                }
            }
            return Err(error.into());
        }
    }

    /// Waits until one connection is up.
    pub(super) async fn ready(&self, within: Duration) -> Result<(), Failure> {
        match self.slots.first() {
            None => Ok(()),
            Some(slot) => {
                let deadline = Instant::now() + within;
                self.connection(slot, deadline).await.map(drop)
            }
        }
    }

    /// One that is up, if there is one.
    fn slot(&self) -> &Slot {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let at = |offset: usize| &self.slots[turn.wrapping_add(offset) % self.slots.len()];
        let is_up = |slot: &&Slot| matches!(*slot.state.borrow(), State::Up { .. });
        (0..self.slots.len())
            .map(at)
            .find(is_up)
            .unwrap_or_else(|| at(0))
    }

    async fn connection(
        &self,
        slot: &Slot,
        deadline: Instant,
    ) -> Result<(Connection, u64), Failure> {
        let mut states = slot.state.subscribe();
        let settled = states.wait_for(|state| !matches!(state, State::Connecting));
        let state = match timeout_at(deadline, settled).await {
            Ok(Ok(state)) => state.clone(),
            Ok(Err(_)) => State::Down("it is being closed".into()),
            Err(_) => return Err(Failure::Timeout(self.timeout)),
        };
        match state {
            State::Up {
                connection,
                generation,
            } => Ok((connection, generation)),
            State::Down(reason) => Err(Failure::Down(reason)),
            State::Connecting => Err(Failure::Timeout(self.timeout)),
        }
    }

    /// A connection failed or is silent: it is made anew, and until then calls fail at once.
    fn doubt(&self, slot: &Slot, connection: &Connection, generation: u64) {
        if matches!(connection, Connection::Cluster(_)) {
            let answered = Duration::from_millis(slot.answered.load(Ordering::Relaxed));
            if self.started.elapsed().saturating_sub(answered) < CLUSTER_PATIENCE {
                return;
            }
        }
        let lost = slot.state.send_if_modified(|state| {
            let same = matches!(state, State::Up { generation: g, .. } if *g == generation);
            if same {
                *state = State::Connecting;
            }
            same
        });
        if lost {
            self.metrics.connected.dec();
            self.metrics.disconnects.inc();
            tracing::warn!("a connection to Redis is lost or silent; it is made anew");
        }
    }

    /// Loads the functions, unless someone has just done it.
    async fn load(
        &self,
        connection: &mut Connection,
        cmd: &Cmd,
        deadline: Instant,
    ) -> Result<(), Failure> {
        let work = async {
            let _one = self.loading.lock().await;
            match connection.query(cmd).await {
                Err(error) if is_missing_function(&error) => {
                    self.metrics.loads.inc();
                    connection.query(&load_command(&self.library)).await?;
                    tracing::info!("the functions of the task queue were loaded into Redis");
                    Ok(())
                }
                // The call is made again in any case.
                _ => Ok(()),
            }
        };
        timeout_at(deadline, work)
            .await
            .unwrap_or(Err(Failure::Timeout(self.timeout)))
    }
}

/// Enters the functions of a library, or the same ones again.
pub(super) fn load_command(library: &str) -> Cmd {
    let mut cmd = redis::cmd("FUNCTION");
    cmd.arg("LOAD").arg("REPLACE").arg(library);
    cmd
}

fn is_missing_function(error: &RedisError) -> bool {
    error
        .detail()
        .is_some_and(|detail| detail.contains("Function not found"))
}

/// Whether another connection may lead to a server that can do it.
fn is_lost(error: &RedisError) -> bool {
    use redis::ErrorKind::Server;
    let moved = [
        Server(ServerErrorKind::ReadOnly),
        Server(ServerErrorKind::MasterDown),
    ];
    error.is_io_error() || error.is_unrecoverable_error() || moved.contains(&error.kind())
}

/// Keeps one connection until the link is dropped.
async fn keep(mut connector: Connector, state: Arc<watch::Sender<State>>, metrics: Arc<Metrics>) {
    let mut states = state.subscribe();
    let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
    let mut generation = 0;
    loop {
        let connection = loop {
            let tried = timeout(ONE_TRY, connector.connect()).await;
            let reason = match tried {
                Ok(Ok(connection)) => break connection,
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("no answer within {ONE_TRY:?}"),
            };
            if !matches!(*state.borrow(), State::Down(_)) {
                tracing::warn!(
                    reason,
                    "Redis can't be reached; task queues are unavailable"
                );
            }
            state.send_replace(State::Down(reason.into()));
            backoff.wait().await;
        };
        generation += 1;
        if matches!(*state.borrow(), State::Down(_)) {
            tracing::info!("Redis is reached again");
        }
        metrics.connected.inc();
        state.send_replace(State::Up {
            connection,
            generation,
        });
        let lost = states.wait_for(|state| !matches!(state, State::Up { .. }));
        if lost.await.is_err() {
            return;
        }
        // All processes lost it at the same moment; calls wait so long.
        backoff.reset();
        backoff.wait().await;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use hearth_telemetry::Registry;
    use redis::{AsyncConnectionConfig, Client};
    use std::net::SocketAddr;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    /// A server that agrees to everything, until it is told to hang up.
    async fn agree(mut stream: TcpStream, mut hang_up: watch::Receiver<()>) {
        let mut asked = [0; 4096];
        loop {
            let read = tokio::select! {
                read = stream.read(&mut asked) => read.unwrap_or(0),
                _ = hang_up.changed() => return,
            };
            if read == 0 {
                return;
            }
            // Each command is an array, in a line that begins with its length.
            let commands = asked[..read].split(|byte| *byte == b'\n');
            let commands = commands.filter(|line| line.first() == Some(&b'*'));
            let answer = b"+OK\r\n".repeat(commands.count());
            stream.write_all(&answer).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_lost_connection_is_not_made_again_at_once() {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)));
        let listener = listener.await.unwrap();
        let url = format!("redis://{}", listener.local_addr().unwrap());
        let hang_up = watch::Sender::new(());
        let (signal, came) = (hang_up.clone(), watch::Sender::new(None));
        let last = came.subscribe();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                came.send_replace(Some(Instant::now()));
                tokio::spawn(agree(stream, signal.subscribe()));
            }
        });
        let clients = vec![Client::open(url).unwrap()];
        let connector = Connector::Servers(clients, AsyncConnectionConfig::new());
        let metrics = Arc::new(Metrics::new(&Registry::new()).unwrap());
        let limit = Duration::from_secs(10);
        let link = Link::new(vec![connector], limit, String::new(), metrics);
        for _ in 0..5 {
            link.call(&redis::cmd("PING")).await.unwrap();
            let lost = Instant::now();
            hang_up.send_replace(());
            // It waits for the next connection, and doesn't fail.
            link.call(&redis::cmd("PING")).await.unwrap();
            let paused = last.borrow().unwrap() - lost;
            assert!(paused >= FIRST_PAUSE / 2, "{paused:?}");
        }
    }
}
