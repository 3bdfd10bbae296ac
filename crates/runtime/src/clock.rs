//! Wall-clock time as the product uses it: microseconds since the Unix epoch, so that it can be
//! paused and moved by tests.

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hearth_types::Timestamp;

/// A source of wall-clock time.
///
/// The unit is the one of event times and cell timestamps: microseconds since
/// 1970-01-01T00:00:00Z. The product's clock never goes back within a process
/// ([`SystemClock`]); over a restart it may, and who needs to be above what was before (epochs)
/// combines it with the last value used.
pub trait Clock: Send + Sync + Debug {
    /// Now, in microseconds since the Unix epoch.
    fn now_micros(&self) -> i64;

    /// Now, as the type that is stored and compared.
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.now_micros())
    }

    /// Now, in whole milliseconds since the Unix epoch.
    fn now_millis(&self) -> i64 {
        self.now_micros() / 1_000
    }

    /// Now, in whole seconds since the Unix epoch.
    fn now_secs(&self) -> i64 {
        self.now_micros() / 1_000_000
    }

    /// Now as [`SystemTime`].
    fn now_system(&self) -> SystemTime {
        let micros = self.now_micros();
        if micros >= 0 {
            UNIX_EPOCH + Duration::from_micros(micros.unsigned_abs())
        } else {
            UNIX_EPOCH - Duration::from_micros(micros.unsigned_abs())
        }
    }
}

/// The operating system's clock, but it never goes back: a value that is written later must not
/// look older. Steps forward are followed. After a step back it goes on from where it was, at the
/// pace of the monotonic clock, until the process starts anew.
#[derive(Debug)]
pub struct SystemClock {
    /// Where the monotonic clock counts from.
    start: Instant,
    /// The most that the wall clock was ahead of the monotonic one, in µs.
    ahead: AtomicI64,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl SystemClock {
    /// A clock. Two of them may differ after a step back: a process has one.
    pub fn new() -> Self {
        Self {
            start: Instant::now(),
            ahead: AtomicI64::new(i64::MIN),
        }
    }

    /// The system clock as the shared handle that services take.
    pub fn shared() -> Arc<dyn Clock> {
        Arc::new(Self::new())
    }

    /// What it shows when the wall clock shows `wall` and the monotonic one `elapsed`, in µs.
    fn combine(&self, wall: i64, elapsed: i64) -> i64 {
        let ahead = wall.saturating_sub(elapsed);
        let mut most = self.ahead.load(Ordering::Relaxed);
        if ahead > most {
            most = self.ahead.fetch_max(ahead, Ordering::Relaxed).max(ahead);
        }
        elapsed.saturating_add(most)
    }

    fn wall() -> i64 {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_micros()).unwrap_or(i64::MAX),
            // A machine without a battery-backed clock may start before 1970.
            Err(before) => {
                i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |micros| -micros)
            }
        }
    }
}

impl Clock for SystemClock {
    fn now_micros(&self) -> i64 {
        // In this order: what passes in between makes it seem less ahead, which is forgotten, and
        // never more, which would stay.
        let wall = Self::wall();
        let elapsed = i64::try_from(self.start.elapsed().as_micros()).unwrap_or(i64::MAX);
        self.combine(wall, elapsed)
    }
}

/// A clock that stands still until it is moved. Clones share the same time.
#[derive(Debug, Clone, Default)]
pub struct ManualClock {
    micros: Arc<AtomicI64>,
}

impl ManualClock {
    /// A clock that shows `micros` (µs since the Unix epoch).
    pub fn at(micros: i64) -> Self {
        Self {
            micros: Arc::new(AtomicI64::new(micros)),
        }
    }

    /// Sets the time, backwards too.
    pub fn set(&self, micros: i64) {
        self.micros.store(micros, Ordering::SeqCst);
    }

    /// Moves the time forward.
    pub fn advance(&self, by: Duration) {
        let by = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
        self.micros.fetch_add(by, Ordering::SeqCst);
    }

    /// This clock as the shared handle that services take; it still follows `self`.
    pub fn shared(&self) -> Arc<dyn Clock> {
        Arc::new(self.clone())
    }
}

impl Clock for ManualClock {
    fn now_micros(&self) -> i64 {
        self.micros.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manual_clock_moves_only_when_told_and_is_shared() {
        let clock = ManualClock::at(1_000_000);
        let shared = clock.shared();
        assert_eq!(shared.now_secs(), 1);
        clock.advance(Duration::from_millis(1500));
        assert_eq!(shared.now_micros(), 2_500_000);
        assert_eq!(shared.now_millis(), 2_500);
        clock.set(-1);
        assert_eq!(shared.now_system(), UNIX_EPOCH - Duration::from_micros(1));
    }

    #[test]
    fn the_system_clock_follows_steps_forward_and_never_goes_back() {
        let clock = SystemClock::new();
        for (wall, elapsed, shown) in [
            (1000, 0, 1000),
            (1010, 10, 1010),
            // Set forward, back beyond where it was, and on from there.
            (5020, 20, 5020),
            (30, 30, 5030),
            (40, 40, 5040),
            // Caught up.
            (6050, 50, 6050),
            // Read late: as if the wall clock had stood still.
            (6060, 90, 6090),
            (6100, 100, 6100),
        ] {
            assert_eq!(clock.combine(wall, elapsed), shown, "{wall} {elapsed}");
        }
        let mut last = i64::MIN;
        let clock = SystemClock::new();
        for _ in 0..10_000 {
            let now = clock.now_micros();
            assert!(now >= last);
            last = now;
        }
    }

    #[test]
    fn system_clock_is_in_microseconds() {
        // 2020-01-01 and 2200-01-01: wrong units would fall outside.
        let now = SystemClock::new().now_micros();
        assert!((1_577_836_800_000_000..7_258_118_400_000_000).contains(&now));
    }
}
