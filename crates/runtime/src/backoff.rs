//! Pauses that differ from process to process: what failed for all at the same moment, and what all do regularly, must
//! not come from all at the same moment again.

use std::fmt::Display;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

/// A pause between half of this and the whole, by chance: for a try that follows a failure.
#[must_use]
pub fn spread(pause: Duration) -> Duration {
    pause.mul_f64(rand::random_range(0.5..1.0))
}

/// A pause up to a fifth shorter or longer than this, by chance: for what is done again and again.
#[must_use]
pub fn around(interval: Duration) -> Duration {
    interval.mul_f64(rand::random_range(0.8..1.2))
}

/// The pauses between tries: twice as long each time, up to a longest one, each [`spread`].
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    /// Begins with `first`; never above `longest`.
    #[must_use]
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest,
            next: first,
        }
    }

    /// Begins anew: something went well.
    pub const fn reset(&mut self) {
        self.next = self.first;
    }

    /// Whether the pauses are as long as they get.
    #[must_use]
    pub fn has_grown(&self) -> bool {
        self.next >= self.longest
    }

    /// How long to wait before the next try.
    #[must_use]
    pub fn pause(&mut self) -> Duration {
        let whole = self.next.min(self.longest);
        self.next = whole.saturating_mul(2).min(self.longest);
        spread(whole)
    }

    /// Waits before the next try.
    pub async fn wait(&mut self) {
        sleep(self.pause()).await;
    }

    /// Waits before the next try, but not beyond `stop`: false if that came.
    pub async fn wait_unless(&mut self, stop: &CancellationToken) -> bool {
        tokio::select! {
            () = stop.cancelled() => false,
            () = sleep(self.pause()) => true,
        }
    }
}

/// A start that waits for a server: between tries ever longer, and no longer than it may. It says so at once, and then
/// now and then.
#[derive(Debug)]
pub struct Patience {
    server: &'static str,
    deadline: Instant,
    backoff: Backoff,
    say_again: Option<Instant>,
}

impl Patience {
    const FIRST: Duration = Duration::from_millis(250);
    const LONGEST: Duration = Duration::from_secs(1);
    /// Between two lines in the log.
    const QUIET: Duration = Duration::from_secs(10);

    /// A start that may wait so long for `server`, as it is called in the log.
    #[must_use]
    pub fn new(server: &'static str, within: Duration) -> Self {
        Self {
            server,
            deadline: Instant::now() + within,
            backoff: Backoff::new(Self::FIRST, Self::LONGEST),
            say_again: None,
        }
    }

    /// Waits before the next try; `reason` is what the last one failed with. False, and at once, when no time is left.
    pub async fn wait(&mut self, reason: impl Display) -> bool {
        let pause = self.backoff.pause();
        if Instant::now() + pause >= self.deadline {
            return false;
        }
        if self.may_say() {
            tracing::warn!(%reason, "waiting for {}", self.server);
        }
        sleep(pause).await;
        true
    }

    /// Whether it is time for a line in the log.
    fn may_say(&mut self) -> bool {
        let now = Instant::now();
        if self.say_again.is_some_and(|at| now < at) {
            return false;
        }
        self.say_again = Some(now + Self::QUIET);
        true
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const FIRST: Duration = Duration::from_millis(100);

    /// How many fell into each tenth of the range, which is in shares of `whole`.
    fn shares(whole: Duration, pauses: &[Duration], from: f64, to: f64) -> [usize; 10] {
        let mut tenths = [0; 10];
        for pause in pauses {
            let share = pause.as_secs_f64() / whole.as_secs_f64();
            assert!(
                (from - 1e-6..=to + 1e-6).contains(&share),
                "{share} of {whole:?}"
            );
            let within = |tenth: &u8| share <= from + (to - from) * f64::from(tenth + 1) / 10.0;
            tenths[usize::from((0..9).find(within).unwrap_or(9))] += 1;
        }
        tenths
    }

    #[test]
    fn processes_that_fail_together_come_back_apart() {
        // The fourth pause of a thousand processes.
        let fourth: Vec<_> = (0..1000)
            .map(|_| {
                let mut backoff = Backoff::new(FIRST, Duration::from_secs(60));
                (0..4).map(|_| backoff.pause()).last().unwrap()
            })
            .collect();
        let tenths = shares(FIRST * 8, &fourth, 0.5, 1.0);
        // A hundred each on average; far outside of this is one process in a world of them.
        assert!(tenths.iter().all(|n| (40..=180).contains(n)), "{tenths:?}");

        let regular: Vec<_> = (0..1000).map(|_| around(FIRST)).collect();
        let tenths = shares(FIRST, &regular, 0.8, 1.2);
        assert!(tenths.iter().all(|n| (40..=180).contains(n)), "{tenths:?}");
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_begin_anew() {
        let mut backoff = Backoff::new(FIRST, FIRST * 5);
        for times in [1, 2, 4, 5, 5, 5] {
            let (pause, whole) = (backoff.pause(), FIRST * times);
            assert!(pause >= whole / 2 && pause <= whole, "{times}: {pause:?}");
        }
        backoff.reset();
        assert!(backoff.pause() <= FIRST);
        let mut short = Backoff::new(FIRST, FIRST / 2);
        assert!(
            short.pause() <= FIRST / 2,
            "the longest holds for the first"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_is_not_waited_out() {
        let stop = CancellationToken::new();
        let mut backoff = Backoff::new(FIRST, FIRST);
        assert!(backoff.wait_unless(&stop).await);
        stop.cancel();
        let begun = Instant::now();
        assert!(!backoff.wait_unless(&stop).await);
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_start_waits_no_longer_than_it_may() {
        let begun = Instant::now();
        let mut patience = Patience::new("a server", Duration::from_secs(60));
        let mut tries = 1;
        while patience.wait("nobody answers").await {
            tries += 1;
        }
        let waited = begun.elapsed();
        assert!(waited <= Duration::from_millis(60_001), "{waited:?}");
        assert!(waited > Duration::from_secs(58), "{waited:?}");
        assert!((60..=125).contains(&tries), "{tries}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_start_that_waits_fills_no_log() {
        let mut patience = Patience::new("a server", Duration::from_secs(60));
        let mut lines = Vec::new();
        for second in 0..35 {
            // Twice a second.
            for _ in 0..2 {
                if patience.may_say() {
                    lines.push(second);
                }
                sleep(Duration::from_millis(500)).await;
            }
        }
        assert_eq!(lines, [0, 10, 20, 30]);
    }
}
