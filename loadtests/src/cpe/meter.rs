//! What devices see of the ACS's edge: how many of their requests were answered, and what became
//! of the others.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use super::http::{Answer, HttpError};

/// Requests by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EdgeCounts {
    /// Answered with 2xx, a redirect, or 401 to a request without credentials.
    pub good: u64,
    /// Answered with 503: come again later.
    pub unavailable: u64,
    /// Answered with another status.
    pub status: u64,
    /// No connection.
    pub refused: u64,
    /// The connection broke before the answer was there.
    pub broken: u64,
    /// No answer in the time that the device waits.
    pub timeout: u64,
}

impl EdgeCounts {
    /// Requests that were not answered as they should be.
    pub fn failed(&self) -> u64 {
        self.unavailable + self.status + self.refused + self.broken + self.timeout
    }

    /// All requests.
    pub fn all(&self) -> u64 {
        self.good + self.failed()
    }

    /// What has come since an earlier look.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            good: self.good.saturating_sub(earlier.good),
            unavailable: self.unavailable.saturating_sub(earlier.unavailable),
            status: self.status.saturating_sub(earlier.status),
            refused: self.refused.saturating_sub(earlier.refused),
            broken: self.broken.saturating_sub(earlier.broken),
            timeout: self.timeout.saturating_sub(earlier.timeout),
        }
    }

    /// Both together.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        Self {
            good: self.good + other.good,
            unavailable: self.unavailable + other.unavailable,
            status: self.status + other.status,
            refused: self.refused + other.refused,
            broken: self.broken + other.broken,
            timeout: self.timeout + other.timeout,
        }
    }
}

/// Counts the requests of a fleet's sessions.
#[derive(Debug, Default)]
pub(crate) struct EdgeMeter {
    good: AtomicU64,
    unavailable: AtomicU64,
    status: AtomicU64,
    refused: AtomicU64,
    broken: AtomicU64,
    timeout: AtomicU64,
}

impl EdgeMeter {
    /// Counts one exchange.
    pub(super) fn count(&self, result: &Result<Answer, HttpError>) {
        let counter = match result {
            Ok(answer) => match answer.status.as_u16() {
                200..=399 | 401 => &self.good,
                503 => &self.unavailable,
                _ => &self.status,
            },
            Err(HttpError::Connect { .. }) => &self.refused,
            Err(HttpError::Timeout(_)) => &self.timeout,
            Err(HttpError::Broken(_)) => &self.broken,
            // The device's own affair: nothing was sent, or the answer was there.
            Err(_) => return,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// The counts so far.
    pub(crate) fn counts(&self) -> EdgeCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        EdgeCounts {
            good: read(&self.good),
            unavailable: read(&self.unavailable),
            status: read(&self.status),
            refused: read(&self.refused),
            broken: read(&self.broken),
            timeout: read(&self.timeout),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn classes_and_differences() {
        let meter = EdgeMeter::default();
        let answer = |status: u16| {
            Ok(Answer {
                status: http::StatusCode::from_u16(status).unwrap_or_default(),
                headers: http::HeaderMap::new(),
                body: bytes::Bytes::new(),
            })
        };
        for status in [200, 204, 401, 503, 500, 404] {
            meter.count(&answer(status));
        }
        let before = meter.counts();
        meter.count(&Err(HttpError::Timeout(Duration::ZERO)));
        meter.count(&Err(HttpError::Url(String::new())));
        assert_eq!((before.good, before.unavailable, before.status), (3, 1, 2));
        let since = meter.counts().since(&before);
        assert_eq!((since.failed(), since.all(), since.timeout), (1, 1, 1));
        assert_eq!(before.plus(&since), meter.counts());
    }
}
