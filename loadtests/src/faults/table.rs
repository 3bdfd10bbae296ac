//! The fault table, in Markdown.

use std::collections::BTreeMap;

use super::report::{FaultReport, Occurrence, Row, Spread, share};
use crate::EdgeCounts;

impl FaultReport {
    /// What was verified, by chapter, and what was seen of each fault, over all of them.
    pub fn markdown(&self) -> String {
        let mut out = String::from(
            "| faults | times | tasks, once-only RPCs, Informs, values verified | lost | doubled \
             | untrue | other | requests of devices meanwhile | failed | well again: median, max \
             | read/set p50, p99: calm | meanwhile | seed |\n\
             |---|---|---|---|---|---|---|---|---|---|---|---|---|\n",
        );
        for row in &self.rows {
            out.push_str(&row.markdown());
        }
        out.push_str(
            "\n| fault | times | broken for: median | requests of devices meanwhile | failed \
             | well again: median, max | slowest canary: median, max \
             | requests in the 5 s after it: median, max; in calm |\n\
             |---|---|---|---|---|---|---|---|\n",
        );
        let mut faults: BTreeMap<&str, Vec<&Occurrence>> = BTreeMap::new();
        for one in self.rows.iter().flat_map(|row| &row.occurrences) {
            faults.entry(&one.fault).or_default().push(one);
        }
        for (fault, all) in faults {
            out.push_str(&of_fault(fault, &all));
        }
        out
    }
}

fn of_fault(fault: &str, all: &[&Occurrence]) -> String {
    let edge = all
        .iter()
        .fold(EdgeCounts::default(), |sum, one| sum.plus(&one.edge));
    let spread = |of: fn(&Occurrence) -> Option<u64>| {
        Spread::of(all.iter().filter_map(|one| of(one)).collect())
    };
    let broken = spread(|one| Some(one.broken_ms));
    let well = spread(|one| one.recovered_ms);
    let canaries = spread(|one| (one.canaries > 0).then_some(one.slowest_canary_ms));
    let never = match all.len() - well.count {
        0 => String::new(),
        n => format!(", {n} never"),
    };
    format!(
        "| {fault} | {} | {} | {} | {} | {}, {}{never} | {}, {} | {} |\n",
        all.len(),
        seconds(broken.median_ms),
        edge.all(),
        failed(&edge),
        seconds(well.median_ms),
        seconds(well.max_ms),
        seconds(canaries.median_ms),
        seconds(canaries.max_ms),
        herd(all),
    )
}

/// How many requests came right after its end, beside what is usual: `410, 520; 390`.
fn herd(all: &[&Occurrence]) -> String {
    let measured = all.iter().filter(|one| one.requests_calm > 0);
    let (mut after, calm): (Vec<_>, Vec<_>) = measured
        .map(|one| (one.requests_after, one.requests_calm))
        .unzip();
    after.sort_unstable();
    let (Some(median), Some(max)) = (after.get(after.len() / 2), after.last()) else {
        return "–".to_owned();
    };
    let calm = calm.iter().sum::<u64>() / calm.len() as u64;
    format!("{median}, {max}; {calm}")
}

impl Row {
    fn markdown(&self) -> String {
        if let Some(why) = &self.not_run {
            return format!(
                "| {} | 0 | not run: {why} |{}\n",
                self.fault,
                " |".repeat(10)
            );
        }
        let mut classes = [0; 4];
        for violation in &self.violations {
            classes[violation.class()] += 1;
        }
        let [lost, doubled, untrue, other] = classes;
        let (calm, broken) = (&self.calm_tasks, &self.broken_tasks);
        format!(
            "| {} | {} | {}, {}, {}, {} | {lost} | {doubled} | {untrue} | {other} | {} | {} | {}, {} \
             | {}, {} | {}, {} | {} |\n",
            self.fault,
            self.times,
            self.looked.tasks,
            self.looked.once,
            self.looked.informs,
            self.looked.values,
            self.edge.all(),
            failed(&self.edge),
            seconds(self.recovered.median_ms),
            seconds(self.recovered.max_ms),
            seconds(calm.p50_ms),
            seconds(calm.p99_ms),
            seconds(broken.p50_ms),
            seconds(broken.p99_ms),
            self.seed
        )
    }
}

/// `0.8 % (refused 12, 503 3)`.
fn failed(edge: &EdgeCounts) -> String {
    let classes = [
        ("503", edge.unavailable),
        ("other status", edge.status),
        ("refused", edge.refused),
        ("broken", edge.broken),
        ("timeout", edge.timeout),
    ];
    let list = classes.iter().filter(|(_, count)| *count > 0);
    let list: Vec<_> = list
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    match list.is_empty() {
        true => "0".to_owned(),
        false => format!("{:.2} % ({})", share(edge) * 100.0, list.join(", ")),
    }
}

fn seconds(millis: u64) -> String {
    format!("{:.2} s", millis as f64 / 1000.0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::report::Breach;
    use super::*;

    fn breach(rule: &str) -> Breach {
        Breach {
            rule: rule.to_owned(),
            text: rule.to_owned(),
        }
    }

    #[test]
    fn a_row_of_the_table() {
        let row = Row {
            fault: "kill-nats".to_owned(),
            times: 20,
            edge: EdgeCounts {
                good: 980,
                unavailable: 20,
                ..EdgeCounts::default()
            },
            recovered: Spread::of(vec![3000, 1000, 2000]),
            violations: vec![breach("value lost"), breach("executed twice")],
            ..Row::default()
        };
        let mut report = FaultReport::default();
        report.take(Row {
            fault: "kill-nats".to_owned(),
            ..Row::default()
        });
        report.take(row);
        assert_eq!(report.rows.len(), 1);
        let table = report.markdown();
        assert!(table.contains("| kill-nats | 20 |"), "{table}");
        assert!(
            table.contains("| 1 | 1 | 0 | 0 | 1000 | 2.00 % (503 20) | 2.00 s, 3.00 s |"),
            "{table}"
        );
        report.take(Row {
            fault: "full-nats".to_owned(),
            not_run: Some("no".to_owned()),
            ..Row::default()
        });
        let table = report.markdown();
        let (chapters, _) = table.split_once("\n\n").unwrap();
        let columns = |line: &str| line.matches('|').count();
        assert!(chapters.lines().all(|line| columns(line) == 14), "{table}");
        assert_eq!(report.failures(0), 3);
        assert_eq!(report.failures(1), 0, "another run's");
        let json = serde_json::to_string(&report).unwrap();
        let again: FaultReport = serde_json::from_str(&json).unwrap();
        assert_eq!(again.markdown(), report.markdown());
    }

    #[test]
    fn what_was_seen_of_a_fault_is_counted_over_all_chapters() {
        let seen = |recovered_ms, good, unavailable| Occurrence {
            fault: "kill-nats".to_owned(),
            edge: EdgeCounts {
                good,
                unavailable,
                ..EdgeCounts::default()
            },
            broken_ms: 2000,
            recovered_ms,
            canaries: 1,
            slowest_canary_ms: 700,
            requests_after: good,
            requests_calm: 50,
            ..Occurrence::default()
        };
        let chapter = |seed, occurrences| Row {
            fault: "2 together".to_owned(),
            seed,
            occurrences,
            ..Row::default()
        };
        let mut report = FaultReport::default();
        let other = Occurrence {
            fault: "flush-redis".to_owned(),
            ..Occurrence::default()
        };
        report.take(chapter(1, vec![seen(Some(5000), 90, 0), other]));
        report.take(chapter(2, vec![seen(Some(7000), 90, 20), seen(None, 0, 0)]));
        assert_eq!(report.rows.len(), 2);
        let table = report.markdown();
        let (_, faults) = table.split_once("\n\n").unwrap();
        let row = "| kill-nats | 3 | 2.00 s | 200 | 10.00 % (503 20) | 7.00 s, 7.00 s, 1 never | 0.70 s, 0.70 s | 90, 90; 50 |";
        assert!(faults.contains(row), "{faults}");
        assert!(faults.contains("| flush-redis | 1 |"), "{faults}");
        // In an earlier run that was not measured.
        assert!(faults.contains("| 0.00 s, 0.00 s | – |"), "{faults}");
        let columns = |line: &str| line.matches('|').count();
        assert!(faults.lines().all(|line| columns(line) == 9), "{faults}");
    }
}
