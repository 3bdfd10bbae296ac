//! How many calls may be made again: a share of all calls, so that retries never add much load to a part that has
//! trouble already.

use parking_lot::Mutex;
use std::time::Duration;
use tokio::time::Instant;

/// Retries that may be made without calls to pay for them, and the most that can be saved.
const RESERVE: f64 = 10.0;
/// The reserve comes back at this rate.
const REFILL_PER_SECOND: f64 = 1.0;
/// What calls may save up.
const MOST: f64 = 1000.0;

/// A bucket of retries.
pub(crate) struct Budget {
    /// What one call brings.
    share: f64,
    state: Mutex<State>,
}

struct State {
    tokens: f64,
    refilled: Instant,
}

impl Budget {
    pub fn new(percent: u32) -> Self {
        Self {
            share: f64::from(percent) / 100.0,
            state: Mutex::new(State {
                tokens: if percent == 0 { 0.0 } else { RESERVE },
                refilled: Instant::now(),
            }),
        }
    }

    /// A call is made for the first time.
    pub fn earn(&self) {
        let mut state = self.state.lock();
        state.tokens = (state.tokens + self.share).min(MOST);
    }

    /// Whether there is a retry to take.
    pub fn has_some(&self) -> bool {
        let mut state = self.state.lock();
        self.refill(&mut state);
        state.tokens >= 1.0
    }

    /// Takes a retry, if there is one.
    pub fn take(&self) -> bool {
        let mut state = self.state.lock();
        self.refill(&mut state);
        let there = state.tokens >= 1.0;
        if there {
            state.tokens -= 1.0;
        }
        there
    }

    /// A trickle up to the reserve, for a process that makes few calls.
    fn refill(&self, state: &mut State) {
        if self.share == 0.0 || state.tokens >= RESERVE {
            state.refilled = Instant::now();
            return;
        }
        let passed: Duration = state.refilled.elapsed();
        state.tokens = (state.tokens + passed.as_secs_f64() * REFILL_PER_SECOND).min(RESERVE);
        state.refilled = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn retries_are_a_share_of_the_calls() {
        let budget = Budget::new(10);
        let taken = (0..100).filter(|_| budget.take()).count();
        assert_eq!(taken, 10, "the reserve");
        for _ in 0..105 {
            budget.earn();
        }
        assert_eq!((0..100).filter(|_| budget.take()).count(), 10, "one in ten");
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert_eq!(
            (0..100).filter(|_| budget.take()).count(),
            10,
            "the reserve again"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_share_there_is_no_retry() {
        let budget = Budget::new(0);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(!budget.has_some() && !budget.take());
    }
}
