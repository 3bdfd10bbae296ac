//! The device's clock: its delays can be compressed, so that a day of periodic Informs fits into
//! a test.

use std::time::{Duration, Instant, SystemTime};

use hearth_cwmp::CwmpTime;
use jiff::Timestamp;

/// How fast a device's time runs.
#[derive(Clone, Copy, Debug)]
pub struct TimeScale(f64);

impl TimeScale {
    /// One second of the device is this many real seconds: 1 for real time, 0.001 for a test.
    /// Anything but a positive number counts as 1.
    pub fn new(scale: f64) -> Self {
        Self(if scale.is_finite() && scale > 0.0 {
            scale
        } else {
            1.0
        })
    }

    /// The real duration of a device's.
    pub fn real(self, device: Duration) -> Duration {
        // Years of seconds times a large scale must not overflow.
        Duration::try_from_secs_f64(device.as_secs_f64() * self.0)
            .unwrap_or(Duration::MAX)
            .min(Duration::from_secs(10 * 365 * 86_400))
    }

    /// The device's duration of a real one.
    pub fn device(self, real: Duration) -> Duration {
        Duration::try_from_secs_f64(real.as_secs_f64() / self.0).unwrap_or(Duration::MAX)
    }
}

/// `now` and a device's delay.
pub(super) fn later(scale: TimeScale, delay: Duration) -> Instant {
    Instant::now() + scale.real(delay)
}

/// The device's time until the next moment that is a multiple of `interval` (whole seconds) away
/// from `reference`. Where its time is compressed the phase is that of the real clock.
pub(super) fn until_next(reference: Timestamp, interval: Duration) -> Duration {
    let interval = i128::try_from(interval.as_nanos())
        .unwrap_or(i128::MAX)
        .max(1);
    let left = (reference.as_nanosecond() - Timestamp::now().as_nanosecond()).rem_euclid(interval);
    Duration::from_nanos(u64::try_from(left).unwrap_or(u64::MAX))
}

/// A moment as CWMP writes it.
pub(crate) fn cwmp_time(at: SystemTime) -> CwmpTime {
    Timestamp::try_from(at).map_or_else(|_| CwmpTime::default(), CwmpTime::at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_moment_is_within_the_interval_and_has_the_references_phase() {
        let interval = Duration::from_secs(600);
        for seconds in [0, 946_684_801, 4_102_444_799_i64] {
            let reference = Timestamp::from_second(seconds).unwrap_or_default();
            let left = until_next(reference, interval);
            assert!(left < interval);
            let at = Timestamp::now().as_nanosecond()
                + i128::try_from(left.as_nanos()).unwrap_or(i128::MAX / 4);
            let off = (at - reference.as_nanosecond()).rem_euclid(600_000_000_000);
            let near = off.min(600_000_000_000 - off);
            assert!(near < 1_000_000_000, "{near} ns off");
        }
    }
}
