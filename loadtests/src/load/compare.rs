//! An ACS and the bare server measured in alternation, in one run on one machine, so that what
//! the machine does meanwhile meets both.

use serde::Serialize;

use super::LoadError;
use super::idle::{self, IdleOptions, IdleReport};

/// One of the two, over all rounds.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Side {
    /// Medians of the rounds.
    pub median: IdleReport,
    /// The rounds.
    pub rounds: Vec<IdleReport>,
}

/// What came out.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Comparison {
    /// The ACS.
    pub acs: Side,
    /// The bare server.
    pub bare: Side,
    /// The ACS's sessions per second, as a part of the bare server's.
    pub throughput_ratio: f64,
    /// How many times the bare server's processor time the ACS takes for a session.
    pub cpu_ratio: Option<f64>,
}

/// Runs `rounds` of each, the bare server first. Devices are made known before the first round
/// only.
///
/// # Errors
/// As [`idle::run`].
pub async fn run(
    acs: &IdleOptions,
    bare: &IdleOptions,
    rounds: usize,
    mut progress: impl FnMut(&str, &IdleReport),
) -> Result<Comparison, LoadError> {
    let mut out = Comparison::default();
    for round in 0..rounds.max(1) {
        let report = idle::run(bare).await?;
        progress("bare", &report);
        out.bare.rounds.push(report);
        let mut options = acs.clone();
        options.prepare &= round == 0;
        let report = idle::run(&options).await?;
        progress("acs", &report);
        out.acs.rounds.push(report);
    }
    out.acs.median = median(&out.acs.rounds);
    out.bare.median = median(&out.bare.rounds);
    let (acs, bare) = (&out.acs.median, &out.bare.median);
    out.throughput_ratio = acs.sessions_per_second / bare.sessions_per_second;
    let cost = |side: &IdleReport| side.sessions_per_server_cpu_second;
    out.cpu_ratio = cost(bare).zip(cost(acs)).map(|(bare, acs)| bare / acs);
    Ok(out)
}

/// A report of medians; counts of trouble are sums.
fn median(rounds: &[IdleReport]) -> IdleReport {
    let middle = |of: &dyn Fn(&IdleReport) -> f64| {
        let mut all: Vec<f64> = rounds.iter().map(of).collect();
        all.sort_by(f64::total_cmp);
        all.get(all.len() / 2).copied().unwrap_or_default()
    };
    let known = rounds.iter().all(|r| r.server_cpu_seconds.is_some());
    let maybe =
        |of: fn(&IdleReport) -> Option<f64>| known.then(|| middle(&|r| of(r).unwrap_or_default()));
    let first = rounds.first().cloned().unwrap_or_default();
    IdleReport {
        sessions: middle(&|r| r.sessions as f64) as u64,
        seconds: middle(&|r| r.seconds),
        sessions_per_second: middle(&|r| r.sessions_per_second),
        server_cpu_seconds: maybe(|r| r.server_cpu_seconds),
        sessions_per_server_cpu_second: maybe(|r| r.sessions_per_server_cpu_second),
        generator_cpu_seconds: middle(&|r| r.generator_cpu_seconds),
        p50_ms: middle(&|r| r.p50_ms),
        p99_ms: middle(&|r| r.p99_ms),
        max_ms: middle(&|r| r.max_ms),
        errors: rounds.iter().map(|r| r.errors).sum(),
        refused: rounds.iter().map(|r| r.refused).sum(),
        asked: rounds.iter().map(|r| r.asked).sum(),
        server_resident_bytes: rounds.iter().filter_map(|r| r.server_resident_bytes).max(),
        ..first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_sums() {
        let round = |rate, errors| IdleReport {
            sessions_per_second: rate,
            errors,
            ..IdleReport::default()
        };
        let median = median(&[round(3.0, 1), round(1.0, 0), round(2.0, 4)]);
        assert_eq!((median.sessions_per_second, median.errors), (2.0, 5));
        assert_eq!(median.server_cpu_seconds, None);
    }
}
