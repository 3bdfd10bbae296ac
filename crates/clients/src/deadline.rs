//! The deadline of the work in hand. It belongs to the task that does the work, so that a call that this makes further
//! in has no longer than whoever asked is still waiting.

use std::time::Duration;
use tokio::time::Instant;

tokio::task_local! {
    static DEADLINE: Instant;
}

/// The header that says how long the caller waits.
pub(crate) const GRPC_TIMEOUT: &str = "grpc-timeout";

/// Runs `work` with a deadline, if one is given: remote calls that it makes end by then. An earlier deadline that is in
/// force stays so. Work that is spawned within has none.
pub async fn with_deadline<F: Future>(at: Option<Instant>, work: F) -> F::Output {
    match at.into_iter().chain(deadline()).min() {
        Some(at) => DEADLINE.scope(at, work).await,
        None => work.await,
    }
}

/// The same for work that is polled: what `poll` does has this deadline.
pub fn within_deadline<T>(at: Option<Instant>, poll: impl FnOnce() -> T) -> T {
    match at.into_iter().chain(deadline()).min() {
        Some(at) => DEADLINE.sync_scope(at, poll),
        None => poll(),
    }
}

/// When the work in hand must be done; `None` where nobody said.
pub fn deadline() -> Option<Instant> {
    DEADLINE.try_with(|at| *at).ok()
}

/// Reads a `grpc-timeout`: up to eight digits and a unit.
pub(crate) fn parse(text: &str) -> Option<Duration> {
    let unit = text.chars().last()?;
    let digits = text.strip_suffix(unit)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    Some(match unit {
        'H' => Duration::from_secs(count * 3600),
        'M' => Duration::from_secs(count * 60),
        'S' => Duration::from_secs(count),
        'm' => Duration::from_millis(count),
        'u' => Duration::from_micros(count),
        'n' => Duration::from_nanos(count),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read() {
        for (text, expected) in [
            ("1H", Some(Duration::from_secs(3600))),
            ("10S", Some(Duration::from_secs(10))),
            ("99999999m", Some(Duration::from_millis(99_999_999))),
            ("5u", Some(Duration::from_micros(5))),
            ("0n", Some(Duration::ZERO)),
            ("", None),
            ("S", None),
            ("123456789S", None),
            ("-1S", None),
            ("1é", None),
        ] {
            assert_eq!(parse(text), expected, "{text}");
        }
    }

    #[tokio::test]
    async fn the_earlier_deadline_holds() {
        assert_eq!(deadline(), None);
        let soon = Instant::now() + Duration::from_secs(1);
        let late = soon + Duration::from_secs(1);
        with_deadline(Some(soon), async {
            assert_eq!(deadline(), Some(soon));
            with_deadline(Some(late), async { assert_eq!(deadline(), Some(soon)) }).await;
            with_deadline(None, async { assert_eq!(deadline(), Some(soon)) }).await;
            within_deadline(Some(late), || assert_eq!(deadline(), Some(soon)));
        })
        .await;
    }
}
