//! The order of software versions as people read them: numbers as numbers.

use std::cmp::Ordering;

/// `1.9` before `1.10`, `2.0` before `2.0.1`, `V1.2` the same as `1.2`. Runs of digits are compared
/// by value, other runs as text without regard to case; what is a beginning of another comes first.
pub fn compare(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (plain(a), plain(b));
    loop {
        let (run_a, run_b) = (run(a), run(b));
        let order = match (run_a.is_empty(), run_b.is_empty()) {
            (true, true) => return Ordering::Equal,
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
            (false, false) => compare_runs(run_a, run_b),
        };
        if order != Ordering::Equal {
            return order;
        }
        (a, b) = (&a[run_a.len()..], &b[run_b.len()..]);
    }
}

/// Without blanks and without a `v` before the number.
fn plain(version: &str) -> &str {
    let version = version.trim();
    match version.strip_prefix(['v', 'V']) {
        Some(rest) if rest.starts_with(|c: char| c.is_ascii_digit()) => rest,
        _ => version,
    }
}

/// The digits at the beginning, or what is before the next digit.
fn run(text: &str) -> &str {
    let digits = text.starts_with(|c: char| c.is_ascii_digit());
    let end = text.find(|c: char| c.is_ascii_digit() != digits);
    &text[..end.unwrap_or(text.len())]
}

fn compare_runs(a: &str, b: &str) -> Ordering {
    let is_number = |run: &str| run.starts_with(|c: char| c.is_ascii_digit());
    match (is_number(a), is_number(b)) {
        (true, true) => {
            let (a, b) = (a.trim_start_matches('0'), b.trim_start_matches('0'));
            // Of any length: by the number of digits, then digit by digit.
            a.len().cmp(&b.len()).then_with(|| a.cmp(b))
        }
        (true, false) => Ordering::Less,
        (false, true) => Ordering::Greater,
        (false, false) => a.to_lowercase().cmp(&b.to_lowercase()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_in_the_order_that_people_read() {
        let order = [
            "",
            "0.9",
            "1.2",
            "1.2.1",
            "1.2b",
            "1.9",
            "1.10",
            "1.10-rc1",
            "2.0",
            "10.0",
            "99999999999999999999999.0",
            "alpha",
            "Beta 2",
            "Beta 10",
        ];
        for (i, a) in order.iter().enumerate() {
            for (j, b) in order.iter().enumerate() {
                assert_eq!(compare(a, b), i.cmp(&j), "{a:?} and {b:?}");
            }
        }
        for (a, b) in [
            ("V1.2", "1.2"),
            ("1.02", "1.2"),
            (" 1.2 ", "1.2"),
            ("1.2B", "1.2b"),
        ] {
            assert_eq!(compare(a, b), Ordering::Equal, "{a:?} and {b:?}");
        }
    }
}
