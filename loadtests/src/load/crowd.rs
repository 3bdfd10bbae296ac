//! What a crowd takes of a server's memory: connections that are open and say nothing, and large
//! answers that all come at once.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::stream::{StreamExt as _, TryStreamExt as _};
use hearth_auth::SecretString;
use hearth_cwmp::{
    CpeResponse, DecodeOptions, Envelope, GetParameterValuesResponse, Message, Namespace,
    ParameterValue, Receiver, XsdType, decode, encode,
};
use hearth_proto::northbound::v1 as nb;
use hearth_proto::types::v1::{GetParameterValues, TaskSpec, task_spec::Kind};
use memchr::memmem;
use serde::Serialize;

use super::LoadError;
use super::dial::Dialing;
use super::idle::{IdleAuth, insist};
use super::inform::{Template, device_id};
use super::process::resident;
use super::wire::{Connection, Outline, Target};
use crate::kill::api::Api;

/// What is worked on at once while a crowd is gathered.
const AT_ONCE: usize = 64;
/// For how long an answer that the server has no room for is sent again.
const PATIENCE: Duration = Duration::from_secs(120);
/// Stands where the request's id goes.
const ID: &str = "1D1D1D1D";

/// What [`hold`] does.
#[derive(Clone, Debug)]
pub struct HoldOptions {
    /// The ACS's URL.
    pub url: String,
    /// How connections are made.
    pub dialing: Dialing,
    /// How many.
    pub connections: usize,
    /// For how long they are held.
    pub time: Duration,
    /// The server's process.
    pub server_pid: u32,
}

/// What connections that say nothing take.
#[derive(Clone, Debug, Serialize)]
pub struct HoldReport {
    /// Connections that were open.
    pub connections: usize,
    /// Of some that were looked at, how many still were at the end.
    pub looked_at: usize,
    /// See `looked_at`.
    pub still_open: usize,
    /// Seconds until all were open.
    pub opening_seconds: f64,
    /// Resident memory of the server before, in bytes.
    pub before_bytes: u64,
    /// And with them.
    pub held_bytes: u64,
    /// The difference, for each connection.
    pub bytes_each: f64,
}

/// Opens connections, has each challenged once, and holds them.
///
/// # Errors
/// A connection that can't be opened, a server that doesn't challenge, a process that isn't there.
pub async fn hold(options: &HoldOptions) -> Result<HoldReport, LoadError> {
    let dialer = options.dialing.dialer(1)?;
    let none = SecretString::default();
    let target = Target::new(&options.url, IdleAuth::None, "", &none, dialer)?;
    // What the first ones make isn't theirs alone.
    let warm = gather(&target, AT_ONCE).await?;
    drop(warm);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before_bytes = memory(options.server_pid)?;
    let start = Instant::now();
    let mut held = gather(&target, options.connections).await?;
    let opening_seconds = start.elapsed().as_secs_f64();
    tokio::time::sleep(options.time).await;
    let held_bytes = memory(options.server_pid)?;
    let step = (held.len() / 100).max(1);
    let (mut looked_at, mut still_open) = (0, 0);
    for connection in held.iter_mut().step_by(step) {
        looked_at += 1;
        let answered = connection.post(&[]).await.is_ok();
        still_open += usize::from(answered && connection.opened == 1);
    }
    let connections = held.len();
    Ok(HoldReport {
        connections,
        looked_at,
        still_open,
        opening_seconds,
        before_bytes,
        held_bytes,
        bytes_each: held_bytes.saturating_sub(before_bytes) as f64 / connections.max(1) as f64,
    })
}

async fn gather(target: &Target, count: usize) -> Result<Vec<Connection>, LoadError> {
    let opened = (0..count).map(|_| async {
        let mut connection = Connection::new(target.clone());
        match connection.post(&[]).await {
            Ok(Outline { status: 401, .. }) => Ok(connection),
            Ok(other) => Err(LoadError::Server(format!(
                "a request without credentials got {} instead of 401",
                other.status
            ))),
            Err(error) => Err(LoadError::Server(format!("a connection: {error}"))),
        }
    });
    futures::stream::iter(opened)
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await
}

fn memory(pid: u32) -> Result<u64, LoadError> {
    resident(pid).ok_or_else(|| LoadError::Server(format!("there is no process {pid}")))
}

/// What [`large`] does.
#[derive(Clone, Debug)]
pub struct LargeOptions {
    /// The ACS's URL.
    pub url: String,
    /// How connections are made.
    pub dialing: Dialing,
    /// The API's URL.
    pub api: String,
    /// The file with the API's token.
    pub token: PathBuf,
    /// The user of all devices.
    pub username: String,
    /// The password.
    pub password: SecretString,
    /// Devices, each of which has one answer.
    pub devices: u32,
    /// The first device's number.
    pub first_device: u32,
    /// Parameters in an answer.
    pub values: usize,
    /// About how many bytes an answer has.
    pub bytes: usize,
    /// The server's process.
    pub server_pid: u32,
}

/// What large answers take.
#[derive(Clone, Debug, Serialize)]
pub struct LargeReport {
    /// Answers that were taken.
    pub answers: usize,
    /// Bytes of each.
    pub bytes: usize,
    /// How often the server had no room (503); the answer came again.
    pub refused: u64,
    /// Connections that broke meanwhile; the answer came again.
    pub broken: u64,
    /// Seconds from the first to the last.
    pub seconds: f64,
    /// Resident memory of the server before, in bytes.
    pub before_bytes: u64,
    /// The most it had meanwhile.
    pub peak_bytes: u64,
}

/// Has every device asked for its values, and all answer at once.
///
/// # Errors
/// An API or ACS that can't be reached or doesn't ask, a process that isn't there.
pub async fn large(options: &LargeOptions) -> Result<LargeReport, LoadError> {
    let dialer = options.dialing.dialer(options.first_device)?;
    let (user, password) = (&options.username, &options.password);
    let target = Target::new(&options.url, IdleAuth::Basic, user, password, dialer)?;
    let devices = options.first_device..options.first_device + options.devices;
    let template = Template::periodic()?;
    let api = Api::new(&options.api, &options.token);
    let api = api.map_err(|error| LoadError::Server(format!("the API: {error:#}")))?;
    let informed = devices.map(|number| asked(&target, &template, number, &api));
    let asked: Vec<(Connection, String)> = futures::stream::iter(informed)
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    let answer = Answer::new(options.values, options.bytes)?;
    let bytes = answer.with("").len();
    let before_bytes = memory(options.server_pid)?;
    let stop = Arc::new(AtomicBool::new(false));
    let peak = tokio::task::spawn_blocking({
        let (stop, pid) = (stop.clone(), options.server_pid);
        move || watch_peak(pid, &stop)
    });
    let (refused, broken) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let start = Instant::now();
    let mut sending = Vec::new();
    for (connection, id) in asked {
        let (refused, broken) = (refused.clone(), broken.clone());
        let body = answer.with(&id);
        sending.push(tokio::spawn(send(connection, body, refused, broken)));
    }
    let mut answers = 0;
    for one in sending {
        let taken = one
            .await
            .map_err(|error| LoadError::Server(error.to_string()))?;
        answers += usize::from(taken?);
    }
    let seconds = start.elapsed().as_secs_f64();
    stop.store(true, Ordering::Relaxed);
    let peak_bytes = peak.await.unwrap_or_default();
    Ok(LargeReport {
        answers,
        bytes,
        refused: refused.load(Ordering::Relaxed),
        broken: broken.load(Ordering::Relaxed),
        seconds,
        before_bytes,
        peak_bytes,
    })
}

/// A device in whose session the ACS has asked for values, and the id of that request.
async fn asked(
    target: &Target,
    template: &Template,
    number: u32,
    api: &Api,
) -> Result<(Connection, String), LoadError> {
    let mut inform = Vec::with_capacity(template.len());
    template.write(number, 1, &mut inform);
    let mut connection = Connection::new(target.clone());
    // Known first: tasks are for devices that there are.
    insist(&mut connection, &inform).await?;
    let spec = Kind::GetParameterValues(GetParameterValues {
        paths: vec!["Device.".to_owned()],
    });
    let request = nb::CreateTaskRequest {
        parent: format!("tenants/default/devices/{}", device_id(number)),
        task: Some(nb::Task {
            spec: Some(TaskSpec { kind: Some(spec) }),
            ..nb::Task::default()
        }),
        ..nb::CreateTaskRequest::default()
    };
    create(api, request).await?;
    connection.new_session();
    let unexpected = |what: &str| LoadError::Server(format!("device {number}: {what}"));
    let outline = connection.post(&inform).await;
    if !matches!(outline, Ok(Outline { status: 200, .. })) {
        return Err(unexpected(&format!("its Inform got {outline:?}")));
    }
    let outline = connection.post(&[]).await;
    let read = decode(connection.body(), &DecodeOptions::new(Receiver::Cpe));
    match read.map(|read| read.envelope) {
        Ok(Envelope {
            id: Some(id),
            message: Message::AcsRequest(hearth_cwmp::AcsRequest::GetParameterValues(_)),
            ..
        }) => Ok((connection, id)),
        other => Err(unexpected(&format!(
            "it is not asked: {outline:?}, {other:?}"
        ))),
    }
}

/// Makes a task. The event that makes a device known is applied a moment after its Inform.
async fn create(api: &Api, request: nb::CreateTaskRequest) -> Result<(), LoadError> {
    let mut tasks = api.tasks.clone();
    let mut tries = 0;
    loop {
        match tasks.create_task(request.clone()).await {
            Ok(_) => return Ok(()),
            Err(status) if status.code() == tonic::Code::NotFound && tries < 100 => {
                tries += 1;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Err(status) => return Err(LoadError::Server(format!("CreateTask: {status}"))),
        }
    }
}

/// Sends an answer until it is taken.
async fn send(
    mut connection: Connection,
    body: Vec<u8>,
    refused: Arc<AtomicU64>,
    broken: Arc<AtomicU64>,
) -> Result<bool, LoadError> {
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        match connection.post(&body).await {
            Ok(Outline {
                status: 200 | 204, ..
            }) => return Ok(true),
            Ok(Outline { status: 503, .. }) => refused.fetch_add(1, Ordering::Relaxed),
            Err(_) => broken.fetch_add(1, Ordering::Relaxed),
            Ok(other) => {
                let status = other.status;
                return Err(LoadError::Server(format!("a large answer got {status}")));
            }
        };
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    Ok(false)
}

fn watch_peak(pid: u32, stop: &AtomicBool) -> u64 {
    let mut peak = 0;
    while !stop.load(Ordering::Relaxed) {
        peak = peak.max(resident(pid).unwrap_or(0));
        std::thread::sleep(Duration::from_millis(5));
    }
    peak
}

/// A GetParameterValuesResponse with a place for the request's id.
struct Answer {
    before: Vec<u8>,
    after: Vec<u8>,
}

impl Answer {
    fn new(values: usize, bytes: usize) -> Result<Self, LoadError> {
        let written = |length: usize| {
            let value = "v".repeat(length);
            let list = (0..values).map(|n| {
                let name = format!("Device.X_00D09E_Load.Table.{}.Column{}", n / 10 + 1, n % 10);
                ParameterValue::new(&name, &value, XsdType::String)
            });
            let response = GetParameterValuesResponse {
                parameter_list: list.collect(),
            };
            let message = Message::CpeResponse(CpeResponse::GetParameterValues(response));
            let mut envelope = Envelope::new(message);
            envelope.id = Some(ID.to_owned());
            envelope.namespace = Namespace::V1_2;
            encode(&envelope)
        };
        let bare = written(0)?.len();
        let text = written(bytes.saturating_sub(bare) / values.max(1))?;
        let at = memmem::find(&text, ID.as_bytes()).unwrap_or_default();
        Ok(Self {
            before: text[..at].to_vec(),
            after: text[at + ID.len()..].to_vec(),
        })
    }

    fn with(&self, id: &str) -> Vec<u8> {
        [&self.before, id.as_bytes(), &self.after].concat()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_answer_is_as_long_as_asked_and_answers_its_request() {
        let body = Answer::new(2000, 1 << 20).unwrap().with("task.1.0");
        assert!(body.len().abs_diff(1 << 20) < 4096, "{}", body.len());
        let read = decode(&body, &DecodeOptions::new(Receiver::Acs)).unwrap();
        assert_eq!(read.envelope.id.as_deref(), Some("task.1.0"));
        let Message::CpeResponse(CpeResponse::GetParameterValues(read)) = read.envelope.message
        else {
            panic!("values")
        };
        assert_eq!(read.parameter_list.len(), 2000);
    }
}
