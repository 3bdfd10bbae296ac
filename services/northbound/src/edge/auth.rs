//! Whose token a request bears.

use crate::caller::{Caller, TokenVerifier};
use crate::error::plain;
use http::{HeaderMap, header};
use tonic::{Code, Status};

/// Why a request has no caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// No `authorization`.
    Missing,
    /// Not `Bearer <token>`, or more than one.
    Malformed,
    /// Nobody's token.
    Wrong,
}

impl Refusal {
    /// The label of the metric.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::Wrong => "wrong",
        }
    }

    /// What the client is told: the remedy, and nothing of what it sent.
    pub(crate) fn status(self) -> Status {
        const REMEDY: &str = "send the metadata `authorization: Bearer <token>`; the \
                              administrator's token is in admin.token in the server's data \
                              directory (hearthctl: --token-file or HEARTH_TOKEN)";
        let (reason, what) = match self {
            Self::Missing => ("TOKEN_MISSING", "a token is missing"),
            Self::Malformed => ("TOKEN_MALFORMED", "the token can't be read"),
            Self::Wrong => ("TOKEN_INVALID", "the token is not valid here"),
        };
        plain(Code::Unauthenticated, reason, format!("{what}: {REMEDY}"))
    }
}

/// The caller by the request's headers.
pub(crate) fn authenticate(
    headers: &HeaderMap,
    verifier: &dyn TokenVerifier,
) -> Result<Caller, Refusal> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next().ok_or(Refusal::Missing)?;
    if values.next().is_some() {
        return Err(Refusal::Malformed);
    }
    let text = value.to_str().map_err(|_| Refusal::Malformed)?;
    let (scheme, token) = text.trim().split_once(' ').ok_or(Refusal::Malformed)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Refusal::Malformed);
    }
    verifier.verify(token.trim_start()).ok_or(Refusal::Wrong)
}
