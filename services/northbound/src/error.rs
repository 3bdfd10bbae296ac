//! Errors of the API: gRPC codes with the standard details of `google.rpc`.
//!
//! Every error has an ErrorInfo of domain `hearth`; INVALID_ARGUMENT has a BadRequest with the
//! field's path, NOT_FOUND and ALREADY_EXISTS a ResourceInfo, what may succeed later a RetryInfo.

use hearth_clients::{Error, Kind};
use std::{collections::HashMap, time::Duration};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// The domain of ErrorInfo.
pub(crate) const DOMAIN: &str = "hearth";

/// When a client should try again.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// A status with an ErrorInfo of this reason (UPPER_SNAKE_CASE).
pub(crate) fn plain(code: Code, reason: &str, message: impl Into<String>) -> Status {
    let mut details = ErrorDetails::new();
    details.set_error_info(reason, DOMAIN, HashMap::new());
    Status::with_error_details(code, message, details)
}

/// The same, with the advice to try again.
pub(crate) fn retryable(code: Code, reason: &str, message: impl Into<String>) -> Status {
    let mut details = ErrorDetails::new();
    details.set_error_info(reason, DOMAIN, HashMap::new());
    details.set_retry_info(Some(RETRY_DELAY));
    Status::with_error_details(code, message, details)
}

/// INVALID_ARGUMENT: `field` is wrong; `message` says what was expected and what to do.
pub(crate) fn invalid(field: &str, message: impl Into<String>) -> Status {
    let message = message.into();
    let mut details = ErrorDetails::new();
    details.set_error_info("INVALID_FIELD", DOMAIN, HashMap::new());
    details.add_bad_request_violation(field, message.clone());
    Status::with_error_details(
        Code::InvalidArgument,
        format!("{field}: {message}"),
        details,
    )
}

/// NOT_FOUND: there is no resource of this type and name.
pub(crate) fn not_found(kind: &str, name: &str, message: impl Into<String>) -> Status {
    Context::of(kind, name).status(Error::not_found(message))
}

/// What an internal error is about in terms of the public request.
#[derive(Clone, Copy, Default)]
pub(crate) struct Context<'a> {
    /// The type of the resource asked for: `Device`.
    kind: &'a str,
    /// Its name.
    name: &'a str,
    /// Internal fields and their public names; a path's first segments are replaced.
    fields: &'a [(&'a str, &'a str)],
}

impl<'a> Context<'a> {
    /// A request about the resource `name` of type `kind`.
    pub(crate) fn of(kind: &'a str, name: &'a str) -> Self {
        Self {
            kind,
            name,
            fields: &[],
        }
    }

    /// Internal fields and their public names.
    pub(crate) fn fields(self, fields: &'a [(&'a str, &'a str)]) -> Self {
        Self { fields, ..self }
    }

    /// The public error.
    pub(crate) fn status(&self, error: Error) -> Status {
        let mut details = ErrorDetails::new();
        details.set_error_info(reason(error.kind), DOMAIN, HashMap::new());
        if error.is_retryable() {
            details.set_retry_info(Some(RETRY_DELAY));
        }
        let mut message = error.message.clone();
        match error.kind {
            Kind::InvalidArgument if !error.field.is_empty() => {
                let field = self.public(&error.field);
                details.add_bad_request_violation(&field, &error.message);
                message = format!("{field}: {message}");
            }
            Kind::NotFound | Kind::AlreadyExists if !self.kind.is_empty() => {
                details.set_resource_info(
                    format!("hearth.northbound.v1.{}", self.kind),
                    self.name,
                    "",
                    &error.message,
                );
            }
            Kind::FailedPrecondition => {
                details.add_precondition_failure_violation("STATE", self.name, &error.message);
            }
            _ => {}
        }
        Status::with_error_details(error.code(), message, details)
    }

    fn public(&self, field: &str) -> String {
        for (internal, public) in self.fields {
            if let Some(rest) = field.strip_prefix(internal)
                && (rest.is_empty() || rest.starts_with(['.', '[']))
            {
                return format!("{public}{rest}");
            }
        }
        field.to_owned()
    }
}

/// For `map_err`: an internal error without a resource of its own.
pub(crate) fn status(error: Error) -> Status {
    Context::default().status(error)
}

fn reason(kind: Kind) -> &'static str {
    match kind {
        Kind::InvalidArgument => "INVALID_FIELD",
        Kind::NotFound => "NOT_FOUND",
        Kind::AlreadyExists => "ALREADY_EXISTS",
        Kind::FailedPrecondition => "WRONG_STATE",
        Kind::ResourceExhausted => "LIMIT_REACHED",
        Kind::Unavailable => "UNAVAILABLE",
        Kind::Internal => "INTERNAL",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn internal_fields_get_their_public_names() {
        let context = Context::of("Task", "t").fields(&[("spec", "task.spec")]);
        let status = context.status(Error::invalid("spec.download.url", "expected a URL"));
        assert_eq!(status.code(), Code::InvalidArgument);
        let violation = &status.get_details_bad_request().unwrap().field_violations[0];
        assert_eq!(violation.field, "task.spec.download.url");
        assert_eq!(context.public("specials"), "specials");
        assert_eq!(context.public("spec[0]"), "task.spec[0]");
    }

    #[test]
    fn what_may_succeed_later_says_when() {
        let status = status(Error::unavailable("the store is starting; try again"));
        assert_eq!(
            status.get_details_retry_info().unwrap().retry_delay,
            Some(RETRY_DELAY)
        );
        let info = status.get_details_error_info().unwrap();
        assert_eq!(
            (info.reason.as_str(), info.domain.as_str()),
            ("UNAVAILABLE", DOMAIN)
        );
    }

    #[test]
    fn what_is_missing_is_named() {
        let status = not_found("Device", "tenants/a/devices/b", "no such device");
        let info = status.get_details_resource_info().unwrap();
        assert_eq!(info.resource_type, "hearth.northbound.v1.Device");
        assert_eq!(info.resource_name, "tenants/a/devices/b");
    }
}
