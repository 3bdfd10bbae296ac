//! What can go wrong, which exit code it has, and what to do about it.

use crate::{exit::Exit, transport::NOT_GRPC};
use hearth_proto::{northbound::v1::Task, types::v1::TaskState};
use std::{io, path::PathBuf, time::Duration};
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// Why a command did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// An argument is wrong.
    #[error("{0}")]
    Usage(String),
    /// A short form of a device fits several.
    #[error("`{given}` fits more than one device")]
    Ambiguous {
        /// What was given.
        given: String,
        /// Ids that fit.
        candidates: Vec<String>,
    },
    /// There is no such thing.
    #[error("{message}")]
    NotFound {
        /// What is missing.
        message: String,
        /// What to do.
        advice: String,
    },
    /// No connection.
    #[error("can't connect to {server}: {reason}")]
    Unreachable {
        /// Its URL.
        server: String,
        /// Why, down to the operating system's word.
        reason: String,
    },
    /// No answer.
    #[error("no answer within {}", humantime::format_duration(*.0))]
    NoAnswer(Duration),
    /// The server answered with an error.
    #[error("{}", .0.message())]
    Api(Box<Status>),
    /// A task ended otherwise than well.
    #[error("{}", task_message(.0))]
    Task(Box<Task>),
    /// A task is not done yet.
    #[error("task {id} is not done after {}; it goes on", humantime::format_duration(*.waited))]
    StillOpen {
        /// Its id.
        id: String,
        /// How long was waited.
        waited: Duration,
        /// Why it isn't, in one sentence; empty where nobody could tell.
        why: String,
    },
    /// Ctrl-C.
    #[error("interrupted")]
    Interrupted,
    /// A file can't be read or written.
    #[error("{}: {source}", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Standard output or input.
    #[error("standard output or input: {0}")]
    Stream(#[from] io::Error),
    /// Settings, or anything else in words, with advice.
    #[error("{message}")]
    Said {
        /// The exit code.
        exit: Exit,
        /// What went wrong.
        message: String,
        /// What to do.
        advice: String,
    },
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        Self::Api(Box::new(status))
    }
}

impl Error {
    /// An argument is wrong.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::Usage(message.into())
    }

    /// For `map_err` on what is done with a file.
    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }

    /// Whether the reader of standard output has gone, which is no error (`hearthctl … | head`).
    pub(crate) fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Stream(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    /// The exit code.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) | Self::Ambiguous { .. } => Exit::Usage,
            Self::NotFound { .. } => Exit::NotFound,
            Self::Unreachable { .. } | Self::NoAnswer(_) => Exit::Unavailable,
            Self::Api(status) => of_code(status.code()),
            Self::Task(task) => Exit::of_task(task.state()),
            Self::StillOpen { .. } => Exit::StillOpen,
            Self::Interrupted => Exit::Interrupted,
            Self::File { source, .. } if source.kind() == io::ErrorKind::NotFound => Exit::NotFound,
            Self::File { .. } | Self::Stream(_) => Exit::Failed,
            Self::Said { exit, .. } => *exit,
        }
    }

    /// Lines below the message: details, then what to do.
    pub(crate) fn advice(&self) -> Vec<String> {
        match self {
            Self::Ambiguous { candidates, .. } => candidates
                .iter()
                .map(|id| format!("  {id}"))
                .chain([String::from("give more of it, or the whole id")])
                .collect(),
            Self::NotFound { advice, .. } | Self::Said { advice, .. } if !advice.is_empty() => {
                vec![advice.clone()]
            }
            Self::Unreachable { reason, .. } if reason.contains("certificate") => {
                vec!["the certificates to trust: --ca-file FILE or HEARTH_CA_FILE".into()]
            }
            Self::Unreachable { .. } => {
                vec![
                    "is `hearth run` running? Another address: --server URL or HEARTH_SERVER"
                        .into(),
                ]
            }
            Self::NoAnswer(_) => vec![
                "the request may have been done all the same; a longer wait: --timeout 2m".into(),
            ],
            Self::Api(status) => api_advice(status),
            Self::Task(task) => task_advice(task),
            Self::StillOpen { id, why, .. } => {
                let why = (!why.is_empty()).then(|| format!("{why} More: hearthctl task why {id}"));
                let follow = format!("follow it: hearthctl task watch {id}");
                why.into_iter().chain([follow]).collect()
            }
            _ => Vec::new(),
        }
    }
}

const fn of_code(code: Code) -> Exit {
    match code {
        Code::InvalidArgument | Code::OutOfRange => Exit::Usage,
        Code::NotFound => Exit::NotFound,
        Code::Unavailable | Code::DeadlineExceeded | Code::ResourceExhausted => Exit::Unavailable,
        Code::Unauthenticated | Code::PermissionDenied => Exit::Denied,
        _ => Exit::Failed,
    }
}

/// The details of google.rpc in words, then what to do by the code.
fn api_advice(status: &Status) -> Vec<String> {
    let details = status.get_error_details();
    let mut lines = Vec::new();
    for violation in details
        .bad_request()
        .map_or(&[][..], |b| &b.field_violations)
    {
        let line = format!("{}: {}", violation.field, violation.description);
        // A single violation usually is the message already.
        if line != status.message() {
            lines.push(line);
        }
    }
    let failures = details
        .precondition_failure()
        .map_or(&[][..], |p| &p.violations);
    for violation in failures {
        if violation.description != status.message() {
            lines.push(format!("{}: {}", violation.subject, violation.description));
        }
    }
    if let Some(info) = details.resource_info()
        && !status.message().contains(id_of(&info.resource_name))
    {
        lines.push(format!("which: {}", info.resource_name));
    }
    for link in details.help().map_or(&[][..], |h| &h.links) {
        lines.push(format!("{}: {}", link.description, link.url));
    }
    match status.code() {
        Code::Unavailable | Code::ResourceExhausted => {
            let delay = details.retry_info().and_then(|r| r.retry_delay);
            let when = delay.map_or_else(
                || "in a moment".to_owned(),
                |delay| format!("in {}", humantime::format_duration(delay)),
            );
            lines.push(format!("try again {when}"));
        }
        Code::Unimplemented => lines.push(
            "the server does not know this call: is --server the address of Hearth's API, and is \
             the server as new as this hearthctl?"
                .into(),
        ),
        Code::Unknown | Code::Internal | Code::PermissionDenied
            if is_transport(status) || status.message().ends_with(NOT_GRPC) =>
        {
            lines.push("is --server the address of Hearth's API (port 8080)?".into());
        }
        _ => {}
    }
    lines
}

/// Whether the status was made here because the connection broke or spoke something else.
fn is_transport(status: &Status) -> bool {
    std::error::Error::source(status).is_some() || status.message().contains("h2 protocol error")
}

fn task_message(task: &Task) -> String {
    let id = id_of(&task.name);
    let what = task.spec.as_ref().map_or("", |spec| spec.label());
    let state = task.state();
    let why = match (&task.fault, task.reason.as_str()) {
        (Some(fault), _) => format!(": fault {} {}", fault.code, fault.text),
        (None, "") => String::new(),
        (None, reason) => format!(": {reason}"),
    };
    match state {
        TaskState::UnknownOutcome => format!("{what} (task {id}) has an unknown outcome{why}"),
        TaskState::Cancelled => format!("{what} (task {id}) was cancelled{why}"),
        state => format!("{what} (task {id}) {}{why}", state.label()),
    }
}

fn task_advice(task: &Task) -> Vec<String> {
    let id = id_of(&task.name);
    let mut lines = Vec::new();
    if let Some(fault) = &task.fault {
        for parameter in &fault.parameters {
            lines.push(format!(
                "{}: {} {}",
                parameter.path, parameter.code, parameter.text
            ));
        }
        if !fault.remedy.is_empty() {
            lines.push(fault.remedy.clone());
        }
        // Often the reason is no more than the fault again.
        if !task.reason.is_empty() && !task.reason.contains(&fault.code.to_string()) {
            lines.push(task.reason.clone());
        }
    }
    if task.state() == TaskState::UnknownOutcome {
        lines.push("look at the device before it is done again".into());
    }
    lines.push(format!(
        "its attempts: hearthctl task get {id}; again: hearthctl task retry {id}"
    ));
    lines
}

/// The last segment of a resource's name.
pub(crate) fn id_of(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}
