//! When dead letters can't be written.

use std::time::Duration;

use tokio::time::Instant;

/// At least so long no dead letter is tried after one that couldn't be written …
const LEAST: Duration = Duration::from_secs(2);
/// … and so many times as long as the try took.
const SHARE: u32 = 3;

/// When the next dead letter is tried, after one that couldn't be written. Those that wait for one
/// don't hold up what can be worked on: it gets at least three quarters of the time.
#[derive(Debug, Default)]
pub struct Respite(Option<Instant>);

impl Respite {
    /// How long none is to be tried; `None`: one may be.
    #[must_use]
    pub fn left(&self) -> Option<Duration> {
        let left = self.0?.saturating_duration_since(Instant::now());
        Some(left).filter(|left| !left.is_zero())
    }

    /// One that was begun then couldn't be written; whether the one before could.
    pub fn begin(&mut self, begun: Instant) -> bool {
        let until = Instant::now() + LEAST + begun.elapsed() * SHARE;
        self.0.replace(until).is_none()
    }

    /// One was written.
    pub fn end(&mut self) {
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_slow_try_is_followed_by_a_long_respite() {
        let mut respite = Respite::default();
        assert_eq!(respite.left(), None);
        assert!(respite.begin(Instant::now()), "the first in a row");
        assert_eq!(respite.left(), Some(LEAST));
        tokio::time::advance(LEAST).await;
        assert_eq!(respite.left(), None);
        let begun = Instant::now();
        tokio::time::advance(Duration::from_secs(10)).await;
        assert!(!respite.begin(begun));
        assert_eq!(respite.left(), Some(Duration::from_secs(32)));
        respite.end();
        assert_eq!(respite.left(), None);
        assert!(respite.begin(Instant::now()));
    }
}
