//! Errors on their way between processes: [`Error`] to a gRPC status and back, without loss.
//!
//! A status that comes from one of our services has a `google.rpc.ErrorInfo` of our domain, whose reason is the kind and
//! whose metadata holds the field. Any other status was made on the way: by the transport, or by gRPC itself.

use crate::{Error, Kind};
use std::collections::HashMap;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// The domain of our ErrorInfo.
const DOMAIN: &str = "hearth.internal";

/// The reason of a call that was refused before anything of it was done.
const NOT_RUN: &str = "NOT_RUN";

/// The key of the field in the ErrorInfo's metadata.
const FIELD: &str = "field";

/// The longest text in bytes that goes into a header.
const MAX_TEXT: usize = 4096;

const KINDS: [(Kind, &str); 7] = [
    (Kind::InvalidArgument, "INVALID_ARGUMENT"),
    (Kind::NotFound, "NOT_FOUND"),
    (Kind::AlreadyExists, "ALREADY_EXISTS"),
    (Kind::FailedPrecondition, "FAILED_PRECONDITION"),
    (Kind::ResourceExhausted, "RESOURCE_EXHAUSTED"),
    (Kind::Unavailable, "UNAVAILABLE"),
    (Kind::Internal, "INTERNAL"),
];

/// The kind's name, as it is in metrics and on the wire.
pub(crate) fn name_of(kind: Kind) -> &'static str {
    let found = KINDS.iter().find(|(known, _)| *known == kind);
    found.map_or("INTERNAL", |(_, name)| name)
}

/// The status that carries an error.
pub(crate) fn to_status(error: Error) -> Status {
    let mut metadata = HashMap::new();
    if !error.field.is_empty() {
        metadata.insert(FIELD.to_owned(), capped(error.field.clone()));
    }
    let details = ErrorDetails::with_error_info(name_of(error.kind), DOMAIN, metadata);
    Status::with_error_details(error.code(), capped(error.message), details)
}

/// The status of a call that was refused before anything of it was done: another replica may be asked.
pub(crate) fn not_run(message: &str) -> Status {
    let details = ErrorDetails::with_error_info(NOT_RUN, DOMAIN, HashMap::new());
    Status::with_error_details(Code::Unavailable, message, details)
}

/// What a status says.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The service's own error.
    Service(Error),
    /// Refused before anything was done.
    NotRun(Error),
    /// Made on the way; whether the call was done isn't known.
    Transport,
}

/// Reads a status.
pub(crate) fn from_status(status: &Status) -> Answer {
    let info = match status.get_details_error_info() {
        Some(info) if info.domain == DOMAIN => info,
        _ => return Answer::Transport,
    };
    let message = status.message().to_owned();
    if info.reason == NOT_RUN {
        return Answer::NotRun(Error::unavailable(message));
    }
    let known = KINDS.iter().find(|(_, name)| *name == info.reason);
    Answer::Service(Error {
        // A kind that a newer peer has and we don't know is as good as its code.
        kind: known.map_or_else(|| kind_of(status.code()), |(kind, _)| *kind),
        field: info.metadata.get(FIELD).cloned().unwrap_or_default(),
        message,
    })
}

/// The kind that is nearest to a gRPC code.
fn kind_of(code: Code) -> Kind {
    match code {
        Code::InvalidArgument => Kind::InvalidArgument,
        Code::NotFound => Kind::NotFound,
        Code::AlreadyExists => Kind::AlreadyExists,
        Code::FailedPrecondition => Kind::FailedPrecondition,
        Code::ResourceExhausted | Code::OutOfRange => Kind::ResourceExhausted,
        Code::Unavailable
        | Code::DeadlineExceeded
        | Code::Cancelled
        | Code::Aborted
        | Code::Unknown
        | Code::Unimplemented => Kind::Unavailable,
        _ => Kind::Internal,
    }
}

/// The error of a status that was made on the way from `role`. It names no address: callers of the public API see it.
pub(crate) fn transport_error(role: &str, status: &Status) -> Error {
    let message = match status.code() {
        Code::DeadlineExceeded => format!("the {role} role did not answer in time"),
        Code::Unimplemented => {
            format!("the {role} role runs a version without this call; upgrade it")
        }
        // tonic's code for a message over the limit.
        Code::OutOfRange => {
            format!("a message to or from the {role} role is over internal.max_message")
        }
        Code::Unauthenticated | Code::PermissionDenied => {
            let why = capped(status.message().to_owned());
            format!("the {role} role refused this process: {why}")
        }
        Code::Internal | Code::DataLoss => format!("the {role} role answered what can't be read"),
        _ => format!("the connection to the {role} role broke"),
    };
    Error::new(kind_of(status.code()), message)
}

fn capped(mut text: String) -> String {
    if text.len() > MAX_TEXT {
        let end = (0..=MAX_TEXT).rev().find(|at| text.is_char_boundary(*at));
        text.truncate(end.unwrap_or(0));
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_error_comes_back_as_it_was() {
        for (kind, _) in KINDS {
            for field in ["", "spec.download.url"] {
                let error = Error {
                    kind,
                    field: field.to_owned(),
                    message: "expected ä URL: \"%41\"\nand more".to_owned(),
                };
                // Over the wire: a status becomes headers and is read back.
                let headers = to_status(error.clone())
                    .into_http::<()>()
                    .into_parts()
                    .0
                    .headers;
                let status = Status::from_header_map(&headers).unwrap();
                assert_eq!(status.code(), error.code());
                let Answer::Service(read) = from_status(&status) else {
                    panic!("{status:?}");
                };
                assert_eq!(read.kind, error.kind);
                assert_eq!(read.field, error.field);
                assert_eq!(read.message, error.message);
            }
        }
    }

    #[test]
    fn what_was_not_run_is_told_from_what_may_have_been() {
        let refused = from_status(&not_run("full"));
        assert!(matches!(refused, Answer::NotRun(error) if error.message == "full"));
        let broken = Status::unavailable("tcp connect error: 10.1.2.3");
        assert!(matches!(from_status(&broken), Answer::Transport));
        let error = transport_error("workflow", &broken);
        assert_eq!(error.kind, Kind::Unavailable);
        assert!(!error.message.contains("10.1"), "{error}");
    }

    #[test]
    fn long_texts_are_cut() {
        let status = to_status(Error::internal("ä".repeat(10_000)));
        assert!(status.message().len() <= MAX_TEXT);
    }
}
