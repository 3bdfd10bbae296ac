//! The scenario `idle`: devices that the ACS knows with all their parameters inform, and nothing
//! is to be done. A session is an Inform of about 3 KB with one changed value, and an empty POST,
//! on keep-alive connections; each connection begins its next session when the last is over.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hearth_auth::SecretString;
use hearth_cwmp::{
    AcsRequest, CpeResponse, DecodeOptions, Fault, FaultCode, Message, Receiver, StatusResponse,
    decode, encode,
};
use serde::{Deserialize, Serialize};
use tokio::time::{Interval, MissedTickBehavior};

use super::LoadError;
use super::dial::Dialing;
use super::inform::Template;
use super::process::{Cost, Costs, Watched, cpu_time, resident};
use super::wire::{Auth, Connection, Outline, Target};

pub use super::wire::Auth as IdleAuth;

/// What is run.
#[derive(Clone, Debug)]
pub struct IdleOptions {
    /// The ACS's URL.
    pub url: String,
    /// The server's process, for its processor time.
    pub server_pid: Option<u32>,
    /// Processes of an ACS of several, for the processor time of each.
    pub processes: Vec<Watched>,
    /// How the devices authenticate themselves.
    pub auth: Auth,
    /// How their connections are made.
    pub dialing: Dialing,
    /// The user of all devices.
    pub username: String,
    /// The password.
    pub password: SecretString,
    /// Connections at once.
    pub connections: usize,
    /// Devices, divided among the connections.
    pub devices: u32,
    /// The first device's number.
    pub first_device: u32,
    /// With how many parameters the ACS knows each device.
    pub parameters: usize,
    /// Whether to make them known first.
    pub prepare: bool,
    /// Whether a value of each device has changed since its last session.
    pub changes: bool,
    /// Sessions a second at most, over all connections; as many as go when absent.
    pub rate: Option<f64>,
    /// Before measuring.
    pub warm_up: Duration,
    /// Measuring.
    pub measure: Duration,
}

/// What came out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct IdleReport {
    /// Sessions that ended well.
    pub sessions: u64,
    /// For how long was measured, in seconds.
    pub seconds: f64,
    /// Sessions for each second.
    pub sessions_per_second: f64,
    /// Processor seconds of the server.
    pub server_cpu_seconds: Option<f64>,
    /// Sessions for each processor second of the server.
    pub sessions_per_server_cpu_second: Option<f64>,
    /// What each of the named processes used, a session being the unit of work.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub processes: Vec<Cost>,
    /// Processor seconds of this generator.
    pub generator_cpu_seconds: f64,
    /// The median session, in milliseconds.
    pub p50_ms: f64,
    /// The 99th percentile, in milliseconds.
    pub p99_ms: f64,
    /// The slowest, in milliseconds.
    pub max_ms: f64,
    /// Sessions that failed.
    pub errors: u64,
    /// Sessions that the server refused with 503.
    pub refused: u64,
    /// Sessions in which the ACS had something to ask.
    pub asked: u64,
    /// Bytes of an Inform's body.
    pub inform_bytes: usize,
    /// The server's resident memory at the end, in bytes.
    pub server_resident_bytes: Option<u64>,
    /// Devices.
    pub devices: u32,
    /// Parameters of each.
    pub parameters: usize,
    /// Connections.
    pub connections: usize,
}

/// Runs it.
///
/// # Errors
/// A URL that can't be asked, a server that refuses the first Informs, a process that isn't there.
pub async fn run(options: &IdleOptions) -> Result<IdleReport, LoadError> {
    let target = Target::new(
        &options.url,
        options.auth,
        &options.username,
        &options.password,
        options.dialing.dialer(options.first_device)?,
    )?;
    if options.prepare {
        prepare(options, &target).await?;
    }
    let template = Arc::new(Template::periodic()?);
    let measuring = Arc::new(AtomicBool::new(false));
    let stop = Arc::new(AtomicBool::new(false));
    // Each connection begins a session as often, at moments of its own.
    let every = options.rate.filter(|rate| *rate > 0.0);
    let every = every.map(|rate| Duration::from_secs_f64(shares(options).count() as f64 / rate));
    let workers = (0u32..)
        .zip(shares(options))
        .map(|(turn, (first, count))| {
            let worker = Worker {
                connection: Connection::new(target.over(options.dialing.dialer(first)?)),
                template: template.clone(),
                first,
                count,
                changes: options.changes,
                pace: every.map(|every| pace(every, turn, options.connections)),
                measuring: measuring.clone(),
                stop: stop.clone(),
                tally: Tally::default(),
            };
            Ok(tokio::spawn(worker.work()))
        })
        .collect::<Result<Vec<_>, LoadError>>()?;
    tokio::time::sleep(options.warm_up).await;
    let own = std::process::id();
    let cpu = || options.server_pid.map(cpu_time).transpose();
    let (server_before, own_before) = (cpu()?, cpu_time(own)?);
    let costs = Costs::begin(&options.processes)?;
    let start = Instant::now();
    measuring.store(true, Ordering::Relaxed);
    tokio::time::sleep(options.measure).await;
    measuring.store(false, Ordering::Relaxed);
    let seconds = start.elapsed().as_secs_f64();
    // Sessions are not counted yet: the costs are told by what was used until now.
    let used = costs.end(0)?;
    let (server_after, own_after) = (cpu()?, cpu_time(own)?);
    stop.store(true, Ordering::Relaxed);
    let mut sum = Tally::default();
    for worker in workers {
        match worker.await {
            Ok(tally) => sum.add(tally),
            Err(error) => {
                return Err(LoadError::Server(format!(
                    "a connection's task ended: {error}"
                )));
            }
        }
    }
    let server = server_after
        .zip(server_before)
        .map(|(after, before)| after - before);
    let mut report = sum.report(seconds, server);
    report.processes = used;
    for cost in &mut report.processes {
        cost.of(report.sessions);
    }
    report.generator_cpu_seconds = (own_after - own_before).as_secs_f64();
    report.inform_bytes = template.len();
    report.server_resident_bytes = options.server_pid.and_then(resident);
    report.devices = options.devices;
    report.parameters = options.parameters;
    report.connections = options.connections;
    Ok(report)
}

/// When the connection whose turn it is begins its sessions.
fn pace(every: Duration, turn: u32, connections: usize) -> Interval {
    let first = every.mul_f64(f64::from(turn) / connections.max(1) as f64);
    let mut pace = tokio::time::interval_at(tokio::time::Instant::now() + first, every);
    // What was late isn't made up for: it would come as a crowd.
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pace
}

/// The devices of each connection: the first one's number and how many.
fn shares(options: &IdleOptions) -> impl Iterator<Item = (u32, u32)> + use<> {
    let connections = u32::try_from(options.connections).unwrap_or(u32::MAX);
    let connections = connections.clamp(1, options.devices.max(1));
    let (each, more) = (options.devices / connections, options.devices % connections);
    let mut first = options.first_device;
    (0..connections).map(move |n| {
        let count = each + u32::from(n < more);
        first += count;
        (first - count, count)
    })
}

/// Makes every device known with all its parameters: by an Inform that holds them.
async fn prepare(options: &IdleOptions, target: &Target) -> Result<(), LoadError> {
    let template = Arc::new(Template::first(options.parameters)?);
    let mut tasks = Vec::new();
    for (first, count) in shares(options) {
        let dialer = options.dialing.dialer(first)?;
        let mut connection = Connection::new(target.over(dialer));
        let template = template.clone();
        tasks.push(tokio::spawn(async move {
            let mut body = Vec::new();
            for number in first..first + count {
                body.clear();
                template.write(number, 1, &mut body);
                insist(&mut connection, &body).await?;
            }
            Ok::<(), LoadError>(())
        }));
    }
    for task in tasks {
        let ended = task.await;
        ended.map_err(|error| LoadError::Server(format!("preparing ended: {error}")))??;
    }
    Ok(())
}

/// Holds a session, and holds it again while the server is busy.
pub(super) async fn insist(connection: &mut Connection, body: &[u8]) -> Result<(), LoadError> {
    let mut last = End::Failed;
    for _ in 0..100 {
        last = session(connection, body).await;
        match last {
            End::Well | End::Asked => return Ok(()),
            End::Refused | End::Failed => tokio::time::sleep(Duration::from_millis(50)).await,
            End::Status(_) => break,
        }
    }
    let why = match last {
        End::Status(401) => "HTTP status 401: are user and password right?".to_owned(),
        End::Status(status) => format!("HTTP status {status}"),
        End::Refused => "503 again and again".to_owned(),
        _ => "no answer".to_owned(),
    };
    Err(LoadError::Server(format!(
        "an Inform that makes a device known got {why}"
    )))
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Well,
    /// Well, but the ACS asked something.
    Asked,
    Refused,
    Status(u16),
    Failed,
}

/// One session: the Inform, the empty POST, and answers to what the ACS asks.
async fn session(connection: &mut Connection, inform: &[u8]) -> End {
    connection.new_session();
    let first = match connection.post(inform).await {
        Ok(Outline { status: 200, .. }) => connection.post(&[]).await,
        Ok(Outline { status: 503, .. }) => return End::Refused,
        Ok(other) => return End::Status(other.status),
        Err(_) => return End::Failed,
    };
    let mut turn = first;
    let mut end = End::Well;
    // A server that asks without end is not worth following.
    for _ in 0..100 {
        match turn {
            Ok(
                Outline { status: 204, .. }
                | Outline {
                    status: 200,
                    body_len: 0,
                },
            ) => return end,
            Ok(Outline { status: 200, .. }) => {
                end = End::Asked;
                let Some(answer) = answer(connection) else {
                    return End::Failed;
                };
                turn = connection.post(&answer).await;
            }
            Ok(other) => return End::Status(other.status),
            Err(_) => return End::Failed,
        }
    }
    End::Failed
}

/// A device's answer to what the ACS asks: it agrees to values, and has no other method. New
/// credentials are used from now on, by all devices of the connection.
fn answer(connection: &mut Connection) -> Option<Vec<u8>> {
    let options = DecodeOptions::new(Receiver::Cpe);
    let envelope = decode(connection.body(), &options).ok()?.envelope;
    let reply = match &envelope.message {
        Message::AcsRequest(AcsRequest::SetParameterValues(set)) => {
            let find = |name: &str| {
                let mut list = set.parameter_list.iter();
                list.find(|p| p.name.ends_with(name))
                    .map(|p| p.value.as_str())
            };
            let user = find(".ManagementServer.Username");
            if let (Some(user), Some(password)) = (user, find(".ManagementServer.Password")) {
                connection.authenticate(user, &password.into());
            }
            let done = StatusResponse { status: 0 };
            Message::CpeResponse(CpeResponse::SetParameterValues(done))
        }
        _ => Message::Fault(Fault::new(FaultCode::METHOD_NOT_SUPPORTED)),
    };
    encode(&envelope.answer(reply)).ok()
}

struct Worker {
    connection: Connection,
    template: Arc<Template>,
    first: u32,
    count: u32,
    changes: bool,
    pace: Option<Interval>,
    measuring: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    tally: Tally,
}

impl Worker {
    async fn work(mut self) -> Tally {
        let mut body = Vec::with_capacity(self.template.len());
        // The first value is the one that made the device known.
        let mut round = 1 + u32::from(self.changes);
        while self.count > 0 {
            for number in self.first..self.first + self.count {
                if let Some(pace) = &mut self.pace {
                    pace.tick().await;
                }
                if self.stop.load(Ordering::Relaxed) {
                    return self.tally;
                }
                body.clear();
                self.template.write(number, round, &mut body);
                let start = Instant::now();
                let end = session(&mut self.connection, &body).await;
                if self.measuring.load(Ordering::Relaxed) {
                    self.tally.count(end, start.elapsed());
                }
                if matches!(end, End::Refused | End::Failed) {
                    // A server that is down must not be asked in a tight loop.
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
            round += u32::from(self.changes);
        }
        self.tally
    }
}

/// What one connection saw while measuring.
#[derive(Debug, Default)]
struct Tally {
    /// Microseconds of each session that ended well.
    micros: Vec<u32>,
    errors: u64,
    refused: u64,
    asked: u64,
}

impl Tally {
    fn count(&mut self, end: End, took: Duration) {
        match end {
            End::Well | End::Asked => {
                self.asked += u64::from(end == End::Asked);
                let micros = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
                self.micros.push(micros);
            }
            End::Refused => self.refused += 1,
            End::Status(_) | End::Failed => self.errors += 1,
        }
    }

    fn add(&mut self, other: Self) {
        self.micros.extend(other.micros);
        self.errors += other.errors;
        self.refused += other.refused;
        self.asked += other.asked;
    }

    fn report(mut self, seconds: f64, server: Option<Duration>) -> IdleReport {
        self.micros.sort_unstable();
        let at = |part: f64| {
            let last = self.micros.len().saturating_sub(1);
            let place = (last as f64 * part).round() as usize;
            self.micros
                .get(place)
                .map_or(0.0, |us| f64::from(*us) / 1000.0)
        };
        let sessions = self.micros.len() as u64;
        let per = |seconds: f64| sessions as f64 / seconds;
        let server = server.map(|time| time.as_secs_f64());
        IdleReport {
            sessions,
            seconds,
            sessions_per_second: per(seconds),
            server_cpu_seconds: server,
            sessions_per_server_cpu_second: server.filter(|s| *s > 0.0).map(per),
            p50_ms: at(0.5),
            p99_ms: at(0.99),
            max_ms: at(1.0),
            errors: self.errors,
            refused: self.refused,
            asked: self.asked,
            ..IdleReport::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_divided_among_connections() {
        let options = |connections, devices| IdleOptions {
            url: String::new(),
            server_pid: None,
            processes: Vec::new(),
            auth: Auth::None,
            dialing: Dialing::default(),
            username: String::new(),
            password: SecretString::default(),
            connections,
            devices,
            first_device: 10,
            parameters: 0,
            prepare: false,
            changes: true,
            rate: None,
            warm_up: Duration::ZERO,
            measure: Duration::ZERO,
        };
        let shares = |c, d| super::shares(&options(c, d)).collect::<Vec<_>>();
        assert_eq!(shares(3, 7), [(10, 3), (13, 2), (15, 2)]);
        assert_eq!(shares(5, 2), [(10, 1), (11, 1)]);
        assert_eq!(shares(2, 0), [(10, 0)]);
    }

    #[test]
    fn percentiles() {
        let mut tally = Tally::default();
        for ms in 1..=100 {
            tally.count(End::Well, Duration::from_millis(ms));
        }
        tally.count(End::Status(500), Duration::ZERO);
        let report = tally.report(2.0, Some(Duration::from_secs(4)));
        assert_eq!((report.sessions, report.errors), (100, 1));
        assert_eq!(
            (report.p50_ms, report.p99_ms, report.max_ms),
            (51.0, 99.0, 100.0)
        );
        assert_eq!(report.sessions_per_second, 50.0);
        assert_eq!(report.sessions_per_server_cpu_second, Some(25.0));
    }
}
