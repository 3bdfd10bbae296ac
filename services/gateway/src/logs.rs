//! Log lines about refused devices: a few a second, since a storm of them is normal.

use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};

/// Lines in one second.
const PER_SECOND: u32 = 10;

/// Lets some lines through each second and counts the others.
#[derive(Debug, Default)]
pub(crate) struct LogGate {
    second: AtomicI64,
    passed: AtomicU32,
    left_out: AtomicU32,
}

impl LogGate {
    /// Whether a line may be written at `now` (µs); then how many were left out before it.
    pub(crate) fn pass(&self, now: i64) -> Option<u32> {
        let second = now / 1_000_000;
        // Two that race into a new second both write: a line more does no harm.
        if self.second.swap(second, Ordering::Relaxed) != second {
            self.passed.store(0, Ordering::Relaxed);
        }
        if self.passed.fetch_add(1, Ordering::Relaxed) < PER_SECOND {
            return Some(self.left_out.swap(0, Ordering::Relaxed));
        }
        self.left_out.fetch_add(1, Ordering::Relaxed);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_writes_a_few_lines_and_counts_the_rest() {
        let gate = LogGate::default();
        let lines = (0..1000).filter_map(|_| gate.pass(5_000_000)).count();
        assert_eq!(lines, 10);
        assert_eq!(gate.pass(6_000_000), Some(990));
        assert_eq!(gate.pass(6_500_000), Some(0));
    }
}
