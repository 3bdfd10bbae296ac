//! A small server of the public API with canned data, and a host that catches what is printed.
#![allow(missing_docs, dead_code, clippy::unwrap_used)]

mod explain;
mod operations;
mod policy;
mod profiles;
mod services;
pub mod sessions;

use hearth_proto::{
    northbound::v1 as nb,
    types::v1::{Fault, ParameterFault, TaskResult, TaskState, task_spec::Kind},
};
use hearthctl::{Exit, Host};
use std::{
    collections::BTreeMap,
    io::{self, Write},
    path::PathBuf,
    sync::{Arc, Mutex},
};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tonic::{
    Request, Status,
    transport::{Identity, Server, ServerTlsConfig},
};
use tonic_types::{ErrorDetails, StatusExt};

pub const TOKEN: &str = "correct-horse";
pub const ROUTER: &str = "00D09E-HomeRouter-000001";
pub const ONT: &str = "00D09E-Ont-000002";
pub const TWIN: &str = "00D09E-Ont-000003";
pub const TASK: &str = "01hzy3v7k2q4w6e8r0t2y4a6d8";

/// What the server has, and what it was asked.
#[derive(Default)]
pub struct State {
    pub devices: Vec<nb::Device>,
    pub created: Vec<nb::CreateTaskRequest>,
    /// States that tasks go through; the last is sent with result and fault.
    pub script: Vec<TaskState>,
    pub result: TaskResult,
    pub fault: Option<Fault>,
    /// How many watches break after their first message.
    pub broken_watches: usize,
    pub tasks: BTreeMap<String, nb::Task>,
    pub files: BTreeMap<String, (nb::File, Vec<u8>)>,
    pub filters: Vec<String>,
    pub tags: Vec<(Vec<String>, Vec<String>)>,
    pub credentials: Vec<nb::SetCredentialRequest>,
    pub deleted: Vec<String>,
    pub states: Vec<nb::SetDeviceStateRequest>,
    pub imports: Vec<nb::ImportCredentialsRequest>,
    pub policies: Vec<nb::UpdateEdgePolicyRequest>,
    pub lines: Vec<hearth_proto::types::v1::Line>,
    pub profiles: Vec<hearth_proto::types::v1::Profile>,
    pub captures: Vec<hearth_proto::types::v1::Capture>,
    /// Names that were asked about, and the filters of refusals.
    pub explained: Vec<String>,
    pub dead_letters: Vec<nb::DeadLetter>,
    pub parameters: Vec<nb::Parameter>,
    pub damage_files: bool,
    /// So many calls are answered that nobody can answer now.
    pub away: usize,
    /// Calls so far.
    pub calls: usize,
}

/// A running server.
#[derive(Clone)]
pub struct Fake {
    pub state: Arc<Mutex<State>>,
    pub url: String,
}

pub fn device(id: &str, serial: &str) -> nb::Device {
    nb::Device {
        name: format!("tenants/default/devices/{id}"),
        manufacturer: "Forum".into(),
        oui: "00D09E".into(),
        serial_number: serial.into(),
        software_version: "2.1".into(),
        remote_address: "192.0.2.1".into(),
        root: "Device.".into(),
        online: id == ROUTER,
        last_seen_time: time("2026-01-31T11:58:00Z"),
        last_wake: Some(nb::LastWake {
            outcome: "accepted".into(),
            way: "http".into(),
            detail: "the device accepted".into(),
            time: time("2026-01-31T11:58:00Z"),
        }),
        ..Default::default()
    }
}

pub fn time(text: &str) -> Option<hearth_proto::ProtoTimestamp> {
    let time: jiff::Timestamp = text.parse().unwrap();
    hearth_proto::convert::timestamp(time.as_microsecond())
}

pub fn fault() -> Fault {
    Fault {
        code: 9003,
        text: "Invalid arguments".into(),
        remedy: "correct the parameters that are named".into(),
        parameters: vec![ParameterFault {
            path: "Device.X".into(),
            code: 9007,
            text: "Invalid parameter value".into(),
        }],
    }
}

pub fn invalid(field: &str, message: &str) -> Status {
    let mut details = ErrorDetails::new();
    details.add_bad_request_violation(field, message);
    Status::with_error_details(
        tonic::Code::InvalidArgument,
        format!("{field}: {message}"),
        details,
    )
}

#[allow(clippy::result_large_err)]
fn check(request: Request<()>) -> Result<Request<()>, Status> {
    let given = request
        .metadata()
        .get("authorization")
        .map(|v| v.as_bytes().to_vec());
    match given {
        Some(value) if value == format!("Bearer {TOKEN}").into_bytes() => Ok(request),
        _ => Err(Status::unauthenticated("a valid token is needed")),
    }
}

impl Fake {
    /// Starts a server on a free port; it ends with the test's runtime.
    pub async fn start() -> Self {
        Self::start_on(Server::builder(), "http").await
    }

    /// The same with a certificate of its own, which is returned.
    pub async fn start_tls() -> (Self, String) {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let pem = made.cert.pem();
        let identity = Identity::from_pem(&pem, made.signing_key.serialize_pem());
        let server = Server::builder().tls_config(ServerTlsConfig::new().identity(identity));
        (Self::start_on(server.unwrap(), "https").await, pem)
    }

    async fn start_on(mut server: Server, scheme: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("{scheme}://{}", listener.local_addr().unwrap());
        let state = State {
            devices: vec![
                device(ROUTER, "000001"),
                device(ONT, "000002"),
                device(TWIN, "000003"),
            ],
            script: vec![TaskState::Queued, TaskState::Running, TaskState::Succeeded],
            ..Default::default()
        };
        let fake = Self {
            state: Arc::new(Mutex::new(state)),
            url,
        };
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        use nb::{
            capture_service_server::CaptureServiceServer as Captures,
            credential_service_server::CredentialServiceServer as Credentials,
            device_service_server::DeviceServiceServer as Devices,
            explain_service_server::ExplainServiceServer as Explanations,
            file_service_server::FileServiceServer as Files,
            operations_service_server::OperationsServiceServer as Operations,
            policy_service_server::PolicyServiceServer as Policies,
            profile_service_server::ProfileServiceServer as Profiles,
            session_service_server::SessionServiceServer as Sessions,
            task_service_server::TaskServiceServer as Tasks,
        };
        let state = fake.state.clone();
        let check = move |request: Request<()>| {
            let mut state = state.lock().unwrap();
            state.calls += 1;
            match state.away.checked_sub(1) {
                Some(left) => {
                    state.away = left;
                    Err(Status::unavailable("the store is starting"))
                }
                None => check(request),
            }
        };
        let router = server
            .add_service(Devices::with_interceptor(fake.clone(), check.clone()))
            .add_service(Tasks::with_interceptor(fake.clone(), check.clone()))
            .add_service(Explanations::with_interceptor(fake.clone(), check.clone()))
            .add_service(Files::with_interceptor(fake.clone(), check.clone()))
            .add_service(Credentials::with_interceptor(fake.clone(), check.clone()))
            .add_service(Operations::with_interceptor(fake.clone(), check.clone()))
            .add_service(Profiles::with_interceptor(fake.clone(), check.clone()))
            .add_service(Sessions::with_interceptor(fake.clone(), check.clone()))
            .add_service(Captures::with_interceptor(fake.clone(), check.clone()))
            .add_service(Policies::with_interceptor(fake.clone(), check.clone()));
        tokio::spawn(router.serve_with_incoming(incoming));
        fake
    }

    /// The URL of what answers everything with a page, as a proxy does.
    pub async fn page(status: u16, text: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        let layer = tower::layer::layer_fn(move |_| {
            tower::service_fn(move |_: http::Request<tonic::body::Body>| async move {
                let answer = http::Response::builder()
                    .status(status)
                    .header("content-type", "text/html")
                    .body(text.to_owned());
                Ok::<_, std::convert::Infallible>(answer.unwrap())
            })
        });
        let empty = tonic::service::Routes::default();
        let server = Server::builder().layer(layer).add_routes(empty);
        tokio::spawn(server.serve_with_incoming(incoming));
        url
    }

    pub fn with(&self, change: impl FnOnce(&mut State)) -> &Self {
        change(&mut self.state.lock().unwrap());
        self
    }

    pub fn created(&self) -> Vec<nb::CreateTaskRequest> {
        self.state.lock().unwrap().created.clone()
    }

    /// What the last task was to do.
    pub fn last_kind(&self) -> Kind {
        let request = self.created().pop().unwrap();
        request.task.unwrap().spec.unwrap().kind.unwrap()
    }

    /// Runs a command against this server, with its token.
    pub async fn run(&self, line: &[&str]) -> Ran {
        let mut words = vec!["--server", &self.url];
        words.extend(line);
        Run::default().var("HEARTH_TOKEN", TOKEN).go(&words).await
    }
}

/// What a run left.
#[derive(Debug)]
pub struct Ran {
    pub exit: Exit,
    pub out: String,
    pub err: String,
}

impl Ran {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.exit, Exit::Ok, "{self:?}");
        self
    }

    #[track_caller]
    pub fn fails(self, exit: Exit, said: &[&str]) -> Self {
        assert_eq!(self.exit, exit, "{self:?}");
        for text in said {
            assert!(self.err.contains(text), "`{text}` is missing: {self:?}");
        }
        self
    }
}

/// A stand-in for the process.
pub struct Run {
    env: BTreeMap<String, String>,
    input: Vec<u8>,
    pub folder: TempDir,
    pub interactive: bool,
    pub interrupt_after: Option<std::time::Duration>,
}

impl Default for Run {
    fn default() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().display().to_string();
        Self {
            env: BTreeMap::from([("HOME".to_owned(), home)]),
            input: Vec::new(),
            folder,
            interactive: false,
            interrupt_after: None,
        }
    }
}

#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Buffer {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Run {
    pub fn var(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.insert(name.into(), value.into());
        self
    }

    pub fn input(mut self, text: &str) -> Self {
        self.input = text.into();
        self
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub async fn go(&self, line: &[&str]) -> Ran {
        let (out, err) = (Buffer::default(), Buffer::default());
        let mut host = Host {
            out: Box::new(out.clone()),
            err: Box::new(err.clone()),
            input: Box::new(io::Cursor::new(self.input.clone())),
            env: self.env.clone(),
            out_is_terminal: false,
            err_is_terminal: false,
            in_is_terminal: self.interactive,
            width: None,
            directory: self.folder.path().into(),
            now: || "2026-01-31T12:00:00Z".parse().unwrap(),
            zone: jiff::tz::TimeZone::UTC,
            interrupt: Arc::default(),
        };
        if let Some(after) = self.interrupt_after {
            let interrupt = host.interrupt.clone();
            tokio::spawn(async move {
                tokio::time::sleep(after).await;
                interrupt.notify_one();
            });
        }
        let words = std::iter::once("hearthctl").chain(line.iter().copied());
        let exit = hearthctl::run(words.map(Into::into), &mut host).await;
        Ran {
            exit,
            out: out.text(),
            err: err.text(),
        }
    }
}
