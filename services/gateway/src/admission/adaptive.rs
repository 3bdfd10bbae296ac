//! How many Informs are worked on at once, as the time that they take allows.
//!
//! A fixed number is wrong on most days: too many when the bus or workflow is slow, so that each
//! device waits until it gives up and comes again, too few on a larger machine. Here the limit goes
//! up by a little while Informs are accepted in time and it is used, and down by a quarter when
//! half of them take longer than they should or a tenth fail (additive increase, multiplicative
//! decrease, as TCP has it).

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// The limit is judged anew after so long…
const WINDOW: Duration = Duration::from_millis(250);
/// …and so many Informs.
const ENOUGH: u32 = 16;

/// A limit that follows what it leads to.
#[derive(Debug)]
pub(crate) struct Adaptive {
    limit: AtomicUsize,
    least: usize,
    most: usize,
    target: Duration,
    window: Mutex<Window>,
}

/// What came of the Informs since the limit was judged last.
#[derive(Debug)]
struct Window {
    since: Instant,
    done: u32,
    slow: u32,
    failed: u32,
    /// The limit was reached: only then does more of it help.
    full: bool,
}

impl Window {
    fn new(since: Instant) -> Self {
        Self {
            since,
            done: 0,
            slow: 0,
            failed: 0,
            full: false,
        }
    }
}

impl Adaptive {
    /// Begins at `most` and never leaves `least..=most`. A `target` of zero keeps `most`.
    pub(crate) fn new(least: usize, most: usize, target: Duration) -> Self {
        let most = most.max(1);
        Self {
            limit: AtomicUsize::new(most),
            least: least.clamp(1, most),
            most,
            target,
            window: Mutex::new(Window::new(Instant::now())),
        }
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    /// Someone was turned away at the limit.
    pub(crate) fn reached(&self) {
        if !self.target.is_zero() {
            self.window.lock().full = true;
        }
    }

    /// An Inform is answered after `took`; `in_flight` were worked on with it. `failed` if what the
    /// gateway needs for it didn't answer.
    pub(crate) fn done(&self, took: Duration, in_flight: usize, failed: bool, now: Instant) {
        if self.target.is_zero() {
            return;
        }
        let mut window = self.window.lock();
        window.done += 1;
        window.slow += u32::from(took > self.target);
        window.failed += u32::from(failed);
        let limit = self.limit();
        window.full |= in_flight >= limit;
        if window.done < ENOUGH || now.duration_since(window.since) < WINDOW {
            return;
        }
        let next = if window.slow * 2 > window.done || window.failed * 10 > window.done {
            (limit - limit.div_ceil(4)).max(self.least)
        } else if window.full {
            (limit + limit.div_ceil(20)).min(self.most)
        } else {
            limit
        };
        *window = Window::new(now);
        self.limit.store(next, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: Duration = Duration::from_secs(1);

    /// Windows of Informs that take so long; `full` when they fill the limit.
    fn windows(limit: &Adaptive, count: u32, took: Duration, full: bool, failed: bool) {
        for _ in 0..count {
            let now = limit.window.lock().since + WINDOW;
            for _ in 0..ENOUGH {
                let in_flight = if full { limit.limit() } else { 1 };
                limit.done(took, in_flight, failed, now);
            }
        }
    }

    #[test]
    fn slow_or_failed_informs_lower_it_and_quick_ones_raise_it() {
        let limit = Adaptive::new(16, 2000, TARGET);
        windows(&limit, 1, TARGET * 2, false, false);
        assert_eq!(limit.limit(), 1500);
        windows(&limit, 50, TARGET * 2, false, false);
        assert_eq!(limit.limit(), 16);
        windows(&limit, 1, TARGET / 2, false, false);
        assert_eq!(limit.limit(), 16, "what isn't used doesn't grow");
        windows(&limit, 10, TARGET / 2, true, false);
        let grown = limit.limit();
        assert!(grown > 20, "{grown}");
        windows(&limit, 1, TARGET / 2, true, true);
        assert!(limit.limit() < grown);
        windows(&limit, 500, TARGET / 2, true, false);
        assert_eq!(limit.limit(), 2000);
    }

    #[test]
    fn it_can_be_turned_off() {
        let limit = Adaptive::new(16, 2000, Duration::ZERO);
        windows(&limit, 5, TARGET * 2, true, true);
        assert_eq!(limit.limit(), 2000);
    }
}
