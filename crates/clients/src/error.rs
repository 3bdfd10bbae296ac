//! What goes wrong between services, apart from any transport.

/// What kind of error it is: decides the gRPC code and whether to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// An argument is wrong; `field` says which.
    InvalidArgument,
    /// There is no such thing.
    NotFound,
    /// There is one already, and it differs.
    AlreadyExists,
    /// Not in the state that it is in.
    FailedPrecondition,
    /// A limit is reached; later it may go.
    ResourceExhausted,
    /// A part that is needed is down, full or starting; later it may go.
    Unavailable,
    /// A defect, or damaged data.
    Internal,
}

/// An error of an internal service. `Display` is fit for callers of the public
/// API: it holds no secret and no cause that only an operator can use; causes
/// are logged where they happen.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// Its kind.
    pub kind: Kind,
    /// The request's field that is wrong (`spec.download.url`), or empty.
    pub field: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl Error {
    /// An error of `kind` that no single field is to blame for.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            field: String::new(),
            message: message.into(),
        }
    }

    /// `field` is wrong: `message` says how, and what is expected.
    pub fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            kind: Kind::InvalidArgument,
            field: field.into(),
            message: message.into(),
        }
    }

    /// There is no such thing; `message` says what was looked for.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(Kind::NotFound, message)
    }

    /// A part that is needed can't be used now.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(Kind::Unavailable, message)
    }

    /// A defect.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(Kind::Internal, message)
    }

    /// Whether the same call may succeed later.
    pub const fn is_retryable(&self) -> bool {
        matches!(self.kind, Kind::Unavailable | Kind::ResourceExhausted)
    }

    /// The gRPC code of this kind.
    pub const fn code(&self) -> tonic::Code {
        match self.kind {
            Kind::InvalidArgument => tonic::Code::InvalidArgument,
            Kind::NotFound => tonic::Code::NotFound,
            Kind::AlreadyExists => tonic::Code::AlreadyExists,
            Kind::FailedPrecondition => tonic::Code::FailedPrecondition,
            Kind::ResourceExhausted => tonic::Code::ResourceExhausted,
            Kind::Unavailable => tonic::Code::Unavailable,
            Kind::Internal => tonic::Code::Internal,
        }
    }
}

impl From<hearth_types::Invalid> for Error {
    fn from(invalid: hearth_types::Invalid) -> Self {
        Self::invalid(invalid.field, invalid.reason)
    }
}
