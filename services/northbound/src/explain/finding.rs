//! Making findings, and the answer of them.

use hearth_proto::convert::timestamp;
use hearth_proto::northbound::v1::{Explanation, Finding, FindingSeverity as Severity};

use super::codes;

/// The findings about one device or task.
pub(super) struct Findings {
    list: Vec<Finding>,
    device: String,
    task: String,
    pub(super) now: i64,
}

impl Findings {
    pub(super) fn new(device: &str, task: &str, now: i64) -> Self {
        Self {
            list: Vec::new(),
            device: device.to_owned(),
            task: task.to_owned(),
            now,
        }
    }

    /// A finding of this code, with the remedy of its code.
    pub(super) fn add(&mut self, severity: Severity, code: &str, sentence: String) -> Made<'_> {
        let remedy = codes::find(code).map_or("", |known| known.remedy);
        self.list.push(Finding {
            code: code.to_owned(),
            severity: severity.into(),
            sentence,
            remedy: remedy.to_owned(),
            ..Finding::default()
        });
        let at = self.list.len() - 1;
        Made {
            finding: &mut self.list[at],
        }
    }

    /// Whether the reason is found.
    pub(super) fn is_decided(&self) -> bool {
        let decisive = |finding: &Finding| finding.severity() == Severity::Decisive;
        self.list.iter().any(decisive)
    }

    /// Takes in what is found about something else, as no more than a hint where `hint`.
    pub(super) fn take(&mut self, other: Self, hint: bool) {
        for mut finding in other.list {
            if hint && finding.severity() == Severity::Decisive {
                finding.set_severity(Severity::Hint);
            }
            self.list.push(finding);
        }
    }

    /// Whether there is one of this code.
    pub(super) fn has(&self, code: &str) -> bool {
        self.list.iter().any(|finding| finding.code == code)
    }

    /// Gives the first hint whose code is one of these another severity.
    pub(super) fn promote(&mut self, severity: Severity, these: impl Fn(&str) -> bool) {
        let hint =
            |finding: &&mut Finding| finding.severity() == Severity::Hint && these(&finding.code);
        if let Some(first) = self.list.iter_mut().find(hint) {
            first.set_severity(severity);
        }
    }

    /// Keeps those that are wanted.
    pub(super) fn retain(&mut self, wanted: impl FnMut(&Finding) -> bool) {
        self.list.retain(wanted);
    }

    /// The answer: the decisive ones first. Where nothing is wrong, what is right comes first.
    pub(super) fn answer(mut self) -> Explanation {
        let decided = self.is_decided();
        let first = self.list.iter().position(|f| f.severity() == Severity::Ok);
        if let (false, Some(first)) = (decided, first) {
            let right = self.list.remove(first);
            self.list.insert(0, right);
            self.list[1..].sort_by_key(|finding| finding.severity);
        } else {
            self.list.sort_by_key(|finding| finding.severity);
        }
        for finding in &mut self.list {
            fill(finding, &self.device, &self.task);
        }
        Explanation {
            sentence: self
                .list
                .first()
                .map(|first| first.sentence.clone())
                .unwrap_or_default(),
            findings: self.list,
        }
    }
}

/// A finding that was just made.
pub(super) struct Made<'a> {
    finding: &'a mut Finding,
}

impl Made<'_> {
    /// When it was, or will be, in µs; 0 for never.
    pub(super) fn at(self, time: i64) -> Self {
        self.finding.time = timestamp(time);
        self
    }

    /// A fact; an empty one is none.
    pub(super) fn fact(self, name: &str, value: impl Into<String>) -> Self {
        let value = value.into();
        if !value.is_empty() {
            self.finding.facts.insert(name.to_owned(), value);
        }
        self
    }

    /// Another remedy than the code's.
    pub(super) fn remedy(self, remedy: &str) -> Self {
        remedy.clone_into(&mut self.finding.remedy);
        self
    }
}

/// Puts into the remedy what it is about.
fn fill(finding: &mut Finding, device: &str, task: &str) {
    if !finding.remedy.contains('{') {
        return;
    }
    let fact = |name: &str| finding.facts.get(name).map_or("", String::as_str);
    let values = [
        ("{device}", device, "DEVICE"),
        ("{task}", task, "TASK"),
        ("{user}", fact("user"), "NAME"),
        ("{address}", fact("address"), "ADDRESS"),
    ];
    let filled =
        values
            .into_iter()
            .fold(finding.remedy.clone(), |remedy, (name, value, else_is)| {
                let value = match value.is_empty() {
                    true => else_is.to_owned(),
                    false => shell_word(value),
                };
                remedy.replace(name, &value)
            });
    finding.remedy = filled;
}

/// As one word of a shell: a user name is whatever somebody sent, and a remedy is pasted.
pub(super) fn shell_word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._%+@:/".contains(c);
    match !text.starts_with('-') && text.chars().all(plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', "'\\''")),
    }
}

/// A distance of time in words: `40 s`, `5 min`, `3 h`, `2 days`.
pub(super) fn span(micros: i64) -> String {
    let seconds = micros.unsigned_abs() / 1_000_000;
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// `once`, `3 times`.
pub(super) fn times(count: u64) -> String {
    match count {
        1 => "once".to_owned(),
        count => format!("{count} times"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_pasted_is_one_word() {
        assert_eq!(shell_word("router1"), "router1");
        assert_eq!(shell_word("x; rm -rf ~"), "'x; rm -rf ~'");
        assert_eq!(shell_word("a'b"), "'a'\\''b'");
        assert_eq!(shell_word("--yes"), "'--yes'");
        let mut findings = Findings::new("00D09E-Box-7", "", 0);
        findings
            .add(Severity::Decisive, "unknown_user", "x".to_owned())
            .fact("user", "$(id)");
        let remedy = findings.answer().findings.remove(0).remedy;
        assert!(
            remedy.contains("set 00D09E-Box-7 --username '$(id)'"),
            "{remedy}"
        );
    }

    #[test]
    fn the_decisive_come_first_and_else_what_is_right() {
        let mut findings = Findings::new("d", "", 0);
        findings.add(Severity::Hint, "clock_off", "hint".to_owned());
        findings.add(Severity::Ok, "informed", "fine".to_owned());
        findings.add(Severity::Hint, "behind_nat", "nat".to_owned());
        findings.add(Severity::Ok, "quirk_profile", "quirk".to_owned());
        let order = |findings: Findings| -> Vec<String> {
            let answer = findings.answer();
            assert_eq!(answer.sentence, answer.findings[0].sentence);
            answer.findings.into_iter().map(|f| f.code).collect()
        };
        let mut bad = Findings::new("d", "", 0);
        bad.take(
            Findings {
                list: findings.list.clone(),
                ..Findings::new("d", "", 0)
            },
            true,
        );
        assert_eq!(
            order(findings),
            ["informed", "clock_off", "behind_nat", "quirk_profile"]
        );
        bad.add(Severity::Decisive, "blocked", "bad".to_owned());
        assert_eq!(
            order(bad),
            [
                "blocked",
                "clock_off",
                "behind_nat",
                "informed",
                "quirk_profile"
            ]
        );
    }

    #[test]
    fn times_are_told_in_words() {
        for (seconds, text) in [
            (0, "0 s"),
            (119, "119 s"),
            (120, "2 min"),
            (7200, "2 h"),
            (200_000, "2 days"),
        ] {
            assert_eq!(span(seconds * 1_000_000), text);
        }
    }
}
