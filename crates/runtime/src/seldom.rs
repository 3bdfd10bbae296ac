//! Telling seldom what happens often.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Says whether something that may happen thousands of times a second is to be told now: a line of
/// the log for each device of a storm, or each call while a server is gone, would hide all others.
///
/// ```
/// # use {hearth_runtime::Seldom, std::time::Duration};
/// static GONE: Seldom = Seldom::new(1, Duration::from_secs(5));
/// assert_eq!(GONE.due(), Some(0));
/// assert_eq!(GONE.due(), None, "counted, and told with the next one");
/// ```
#[derive(Debug)]
pub struct Seldom {
    times: u32,
    every: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// When the present time began.
    since: Option<Instant>,
    told: u32,
    /// Since it was told last.
    untold: u64,
}

impl Seldom {
    /// So many times in this time at most, the first at once.
    pub const fn new(times: u32, every: Duration) -> Self {
        Self {
            times,
            every,
            state: Mutex::new(State {
                since: None,
                told: 0,
                untold: 0,
            }),
        }
    }

    /// It happened. `Some`: it is to be told, with how often it happened untold before; `None`: it
    /// is counted.
    pub fn due(&self) -> Option<u64> {
        let now = Instant::now();
        let mut state = self.state.lock();
        let over = |since| now.duration_since(since) >= self.every;
        if state.since.is_none_or(over) {
            (state.since, state.told) = (Some(now), 0);
        }
        if state.told < self.times {
            state.told += 1;
            return Some(std::mem::take(&mut state.untold));
        }
        state.untold += 1;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_storm_is_told_a_few_times_and_the_rest_is_counted() {
        let second = Duration::from_secs(1);
        let seldom = Seldom::new(10, second);
        let told = (0..1000).filter_map(|_| seldom.due()).count();
        assert_eq!(told, 10);
        tokio::time::advance(second).await;
        assert_eq!(seldom.due(), Some(990));
        tokio::time::advance(second / 2).await;
        assert_eq!(seldom.due(), Some(0));
    }
}
