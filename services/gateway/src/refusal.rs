//! Why a request is answered with an HTTP error: one list, from which status, headers, counters
//! and log lines follow.

use http::StatusCode;

/// A request that is not served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Not a POST: a CPE is always the HTTP client (TR-069 3.4).
    Method,
    /// No ACS URL.
    Path,
    /// No credentials, or wrong ones: challenged, a probe of zero length too. The reason is a label.
    Unauthorized {
        stale: bool,
        reason: &'static str,
        /// Who it claims to be, for the log.
        user: String,
        /// As in [`Refusal::Busy`].
        unread: bool,
    },
    /// Who proved to be this user may not be this device.
    Identity(String),
    /// The operator, or the tenant's policy, doesn't let the device in; the label and why.
    Denied(&'static str, String),
    /// Another user in mid-session, who may not be the session's device.
    OtherUser,
    /// A content coding other than gzip and deflate, or several.
    Encoding,
    /// A gzip or deflate body that doesn't unpack.
    BadEncoding,
    /// The body, unpacked or not, is over the limit.
    TooLarge,
    /// The body came too slowly.
    Timeout,
    /// The CPE went away within its body: nobody to answer.
    Disconnected,
    /// Not an envelope; the status is the decoder's.
    Undecodable { status: u16, why: String },
    /// Something else than an Inform, without a live session (TR-069 3.7.1.1).
    NoSession,
    /// A newer session of the device has taken over (TR-069 3.7.1.5).
    Superseded,
    /// The ACS URL names another tenant than the server name does.
    Tenant,
    /// A client certificate that is not good, or not good any more: why, for the log.
    Certificate(String),
    /// A client certificate in a header, from who may not pass any on.
    ForwardedCertificate,
    /// Over a limit of admission; the reason is a label.
    Busy {
        reason: &'static str,
        /// The body was left unread: the connection can't be used again.
        unread: bool,
    },
    /// An event is larger than the bus takes, and can't be cut: how large. Where the CPE awaits a
    /// CWMP answer, it is told by a fault.
    Oversize(String),
    /// A part behind the gateway can't work now; the reason is a label, the text for the log.
    Unavailable { part: &'static str, why: String },
}

impl Refusal {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Path | Self::Tenant => StatusCode::NOT_FOUND,
            Self::Unauthorized { .. } => StatusCode::UNAUTHORIZED,
            Self::Identity(_)
            | Self::Denied(..)
            | Self::OtherUser
            | Self::Certificate(_)
            | Self::ForwardedCertificate => StatusCode::FORBIDDEN,
            Self::Encoding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge | Self::Oversize(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Timeout => StatusCode::REQUEST_TIMEOUT,
            Self::Undecodable { status, .. } => {
                StatusCode::from_u16(*status).unwrap_or(StatusCode::BAD_REQUEST)
            }
            Self::BadEncoding | Self::Disconnected | Self::NoSession | Self::Superseded => {
                StatusCode::BAD_REQUEST
            }
            Self::Busy { .. } | Self::Unavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The label in metrics and logs.
    pub(crate) const fn reason(&self) -> &'static str {
        match self {
            Self::Method => "method",
            Self::Path => "path",
            Self::Unauthorized { reason, .. } => reason,
            Self::Identity(_) => "identity",
            Self::Denied(reason, _) => reason,
            Self::OtherUser => "other_user",
            Self::Tenant => "tenant",
            Self::Certificate(_) => "client_certificate",
            Self::ForwardedCertificate => "forwarded_certificate",
            Self::Encoding => "encoding",
            Self::BadEncoding => "bad_encoding",
            Self::TooLarge => "too_large",
            Self::Oversize(_) => "oversize",
            Self::Timeout => "timeout",
            Self::Disconnected => "disconnected",
            Self::Undecodable { .. } => "undecodable",
            Self::NoSession => "no_session",
            Self::Superseded => "superseded",
            Self::Busy { reason, .. } => reason,
            Self::Unavailable { part, .. } => part,
        }
    }

    /// More for the log, from devices and from errors: to be escaped.
    pub(crate) fn detail(&self) -> &str {
        match self {
            Self::Identity(why)
            | Self::Denied(_, why)
            | Self::Certificate(why)
            | Self::Undecodable { why, .. }
            | Self::Oversize(why)
            | Self::Unavailable { why, .. } => why,
            Self::Unauthorized { user, .. } => user,
            _ => "",
        }
    }

    /// Whether the connection is of no further use: its body wasn't read to the end, or what came
    /// makes no sense.
    pub(crate) const fn closes(&self) -> bool {
        !matches!(
            self,
            Self::Unauthorized { unread: false, .. }
                | Self::Identity(_)
                | Self::Denied(..)
                | Self::OtherUser
                | Self::Oversize(_)
                | Self::Unavailable { .. }
                | Self::Busy { unread: false, .. }
        )
    }

    /// Whether Retry-After is due.
    pub(crate) const fn is_temporary(&self) -> bool {
        matches!(self, Self::Busy { .. } | Self::Unavailable { .. })
    }

    /// What a person at the other end may read; nothing about the inside.
    pub(crate) const fn text(&self) -> &'static str {
        match self {
            Self::Method => "This is a CWMP server (TR-069): CPEs POST to it.\n",
            Self::Path => "No such ACS URL: it is / or /acs or /t/{tenant}.\n",
            Self::Tenant => "This ACS URL is not of this server name.\n",
            Self::Certificate(_) => "The client certificate can't be used.\n",
            Self::ForwardedCertificate => "A client certificate can't be passed on from here.\n",
            Self::Unauthorized { .. } => "",
            Self::Identity(_) | Self::OtherUser => "These credentials are not for this device.\n",
            Self::Denied(..) => "This device is not let in; ask the operator.\n",
            Self::Encoding => "Content-Encoding must be gzip or deflate, or none.\n",
            Self::BadEncoding => "The body does not unpack as its Content-Encoding says.\n",
            Self::TooLarge | Self::Oversize(_) => "The body is too large.\n",
            Self::Timeout => "The body did not arrive in time.\n",
            Self::Disconnected => "",
            Self::Undecodable { .. } => "The body is not a SOAP envelope.\n",
            Self::NoSession => "There is no live session: it begins with an Inform.\n",
            Self::Superseded => "A newer Inform has taken over this session.\n",
            Self::Busy { .. } | Self::Unavailable { .. } => "Busy: come again later.\n",
        }
    }
}
