//! The device's clock: its delays can be compressed, so that a day of periodic Informs fits into
//! a test.

use std::time::{Duration, Instant, SystemTime};

use hearth_cwmp::CwmpTime;

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

/// A moment as CWMP writes it.
pub(crate) fn cwmp_time(at: SystemTime) -> CwmpTime {
    jiff::Timestamp::try_from(at).map_or_else(|_| CwmpTime::default(), CwmpTime::at)
}
