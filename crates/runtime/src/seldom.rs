//! Telling seldom what happens often.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Says whether something that may happen thousands of times a second is to be told now: a line of
/// the log for each call would hide all others while a server is gone.
///
/// ```
/// # use {hearth_runtime::Seldom, std::time::Duration};
/// static GONE: Seldom = Seldom::new(Duration::from_secs(5));
/// assert_eq!(GONE.due(), Some(0));
/// assert_eq!(GONE.due(), None, "counted, and told with the next one");
/// ```
#[derive(Debug)]
pub struct Seldom {
    every: Duration,
    /// When it was last told, and what was left out since.
    last: Mutex<(Option<Instant>, u64)>,
}

impl Seldom {
    /// The first time at once, then at most once in this time.
    pub const fn new(every: Duration) -> Self {
        Self {
            every,
            last: Mutex::new((None, 0)),
        }
    }

    /// It happened. `Some`: it is to be told, with how often it happened untold; `None`: it is
    /// counted.
    pub fn due(&self) -> Option<u64> {
        let now = Instant::now();
        let mut last = self.last.lock();
        let (told, untold) = &mut *last;
        if told.is_some_and(|told| now.duration_since(told) < self.every) {
            *untold += 1;
            return None;
        }
        *told = Some(now);
        Some(std::mem::take(untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_happens_often_is_told_once_in_the_time() {
        let second = Duration::from_secs(1);
        let seldom = Seldom::new(second);
        assert_eq!(seldom.due(), Some(0));
        assert_eq!((seldom.due(), seldom.due()), (None, None));
        tokio::time::advance(second).await;
        assert_eq!(seldom.due(), Some(2));
        assert_eq!(seldom.due(), None);
        tokio::time::advance(3 * second).await;
        assert_eq!(seldom.due(), Some(1));
    }
}
