//! Rule 1: every acknowledged task is there, has ended, and its state is true.

use hearth_proto::northbound::v1 as nb;
use hearth_proto::types::v1::{TaskState, task_spec::Kind as Spec};

use super::super::book::{Class, End, Known, id_of, is_final};
use super::super::evidence::{Evidence, Truth};
use super::{Actions, NOT_PERMITTED, Verdict, before_dot, key_of, kind, micros, stamp, succeeded};

/// Of the normal tasks, at most one in so many may expire: the devices are there, the deadlines
/// long. More means that tasks are left lying.
const EXPIRED_ONE_IN: usize = 20;

pub(super) fn verify(evidence: &Evidence, actions: &[Actions<'_>], verdict: &mut Verdict) {
    let mut expired = (0, 0);
    for (id, known) in &evidence.known {
        verdict.looked.tasks += 1;
        let device = known.wish.device;
        let (Some(truth), Some(actions)) = (evidence.truth.get(device), actions.get(device)) else {
            continue;
        };
        let mut task = One {
            id,
            known,
            truth,
            actions,
            evidence,
            verdict,
        };
        let Some(found) = evidence.tasks.get(id) else {
            task.add("task lost", "the task is there", "no such task");
            continue;
        };
        if known.wish.class == Class::Normal {
            expired.0 += usize::from(found.state() == TaskState::Expired);
            expired.1 += 1;
        }
        task.verify(found);
    }
    let (expired, all) = expired;
    if expired > 2 && expired * EXPIRED_ONE_IN > all {
        let found = format!("{expired} of {all} expired");
        verdict.add(
            "tasks left lying",
            "",
            "",
            "nearly all tasks are done in time",
            found,
        );
    }
    strangers(evidence, actions, verdict);
}

/// Tasks that nobody asked for, in the server's list or in a device's ledger.
fn strangers(evidence: &Evidence, actions: &[Actions<'_>], verdict: &mut Verdict) {
    for id in evidence
        .known
        .keys()
        .filter(|id| !evidence.listed.contains(*id))
    {
        verdict.add(
            "task not listed",
            "",
            id,
            "ListTasks has every task",
            "it is not in the list",
        );
    }
    let strange: Vec<_> = evidence
        .listed
        .iter()
        .filter(|id| !evidence.known.contains_key(*id) && !evidence.others.contains(*id))
        .collect();
    // A create that was never answered may have made its task.
    if strange.len() > evidence.unanswered {
        for id in &strange {
            verdict.add(
                "task made twice",
                "",
                id,
                "one task for one request_id",
                "one more task",
            );
        }
    }
    for (truth, actions) in evidence.truth.iter().zip(actions) {
        for (task, list) in &actions.by_task {
            if evidence.others.contains(*task) {
                continue;
            }
            let known = evidence.known.get(*task);
            let stranger = known.is_none() && evidence.unanswered == 0;
            let elsewhere = known.is_some_and(|known| {
                evidence
                    .truth
                    .get(known.wish.device)
                    .is_none_or(|t| t.name != truth.name)
            });
            if stranger || elsewhere {
                let found = list.first().map_or("", |executed| executed.method);
                let expected = "only what was asked of this device";
                verdict.add("RPC without a task", &truth.name, task, expected, found);
            }
        }
    }
}

/// One task with all that is known of it.
pub(super) struct One<'a> {
    pub id: &'a str,
    pub known: &'a Known,
    pub truth: &'a Truth,
    pub actions: &'a Actions<'a>,
    pub evidence: &'a Evidence,
    pub verdict: &'a mut Verdict,
}

impl One<'_> {
    pub(super) fn add(
        &mut self,
        rule: &'static str,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) {
        let kind = kind(self.known);
        let found = format!("{kind}: {}; the device: {}", found.into(), self.ledger());
        self.verdict
            .add(rule, &self.truth.name, self.id, expected, found);
    }

    /// What the device did for this task, in one line.
    fn ledger(&self) -> String {
        let mut out: Vec<String> = Vec::new();
        for executed in self.actions.all(self.id) {
            let fault = executed
                .fault
                .map(|code| format!(" fault {code}"))
                .unwrap_or_default();
            let (method, session) = (executed.method, executed.session);
            out.push(format!(
                "{method} {} session {session}{fault}",
                key_of(executed)
            ));
        }
        for transfer in self.actions.transferred(self.id) {
            out.push(format!(
                "transfer {} ended with {:?}",
                transfer.key, transfer.fault
            ));
        }
        match out.is_empty() {
            true => "nothing".to_owned(),
            false => out.join(", "),
        }
    }

    fn verify(&mut self, found: &nb::Task) {
        let state = found.state();
        let was = format!("{} ({})", state.as_str_name(), found.reason);
        if found.device != self.truth.name || !same_spec(self.known, found) {
            let expected = format!("{:?} for {}", self.known.wish.spec, self.truth.name);
            self.add(
                "task changed",
                expected,
                format!("{:?} for {}", found.spec, found.device),
            );
        }
        for other in self.known.other_names.clone() {
            self.add(
                "task made twice",
                "the first task again, by its request_id",
                other,
            );
        }
        self.attempts(found);
        if !is_final(state) {
            self.add("task not ended", "a final state", was);
            return;
        }
        if let (Some(before), Some(now)) = (&self.known.end, End::of(found))
            && *before != now
        {
            let expected = format!(
                "{} {}, as it was seen before",
                before.state.as_str_name(),
                before.result
            );
            self.add("result lost", expected, format!("{was} {}", now.result));
        }
        if self.known.cancelled && state != TaskState::Cancelled {
            self.add("cancel lost", "CANCELLED, as was acknowledged", was.clone());
        }
        match state {
            TaskState::Succeeded if self.known.wish.class == Class::Refused => {
                self.add("state not true", "the fault that the device gave", was);
            }
            TaskState::Succeeded => succeeded::verify(self, found),
            TaskState::Failed => self.failed(found, &was),
            TaskState::Expired | TaskState::Cancelled => self.not_done(&was),
            _ => self.unknown(found, &was),
        }
    }

    /// Every RPC that the device got stands among the attempts.
    fn attempts(&mut self, found: &nb::Task) {
        let missing = self.actions.all(self.id).iter().find(|executed| {
            let number = key_of(executed)
                .split('.')
                .nth(1)
                .and_then(|n| n.parse::<u32>().ok());
            !found
                .attempts
                .iter()
                .any(|attempt| Some(attempt.number) == number)
        });
        if let Some(executed) = missing {
            let expected = format!(
                "an attempt for {}, recorded before it was sent",
                key_of(executed)
            );
            let numbers: Vec<_> = found.attempts.iter().map(|a| a.number).collect();
            self.add(
                "attempt not recorded",
                expected,
                format!("attempts {numbers:?}"),
            );
        }
    }

    /// Whether the device did what the task is for, as far as it has an effect.
    fn effect(&self) -> bool {
        let method = kind(self.known);
        match method {
            "Download" | "Upload" | "ScheduleDownload" => {
                self.actions.times(self.id, method) > 0 && !self.actions.called_back(self.id)
            }
            "ChangeDUState" => self.actions.times(self.id, method) > 0,
            "SetParameterValues"
            | "SetParameterAttributes"
            | "AddObject"
            | "DeleteObject"
            | "Reboot"
            | "FactoryReset"
            | "ScheduleInform"
            | "CancelTransfer" => self.actions.done(self.id, method).next().is_some(),
            _ => false,
        }
    }

    fn not_done(&mut self, was: &str) {
        if self.effect() {
            let expected = "that nothing was done, as EXPIRED and CANCELLED say";
            self.add("state not true", expected, was);
        }
    }

    fn failed(&mut self, found: &nb::Task, was: &str) {
        if self.effect() {
            self.add(
                "state not true",
                "that nothing was done, as FAILED says",
                was,
            );
            return;
        }
        let method = kind(self.known);
        let fault = self
            .actions
            .all(self.id)
            .iter()
            .filter_map(|e| e.fault)
            .next_back();
        let moved = self
            .actions
            .transferred(self.id)
            .iter()
            .filter_map(|t| t.fault)
            .next_back();
        let excused = match self.known.wish.class {
            Class::Refused => fault.is_some(),
            // Late in its short time.
            Class::Short | Class::Cancelled => true,
            // A factory reset has taken the instance away.
            Class::Normal if method == "DeleteObject" => {
                fault.is_some() && self.truth.target.resets
            }
            // The transfer had begun, or had ended.
            Class::Normal if method == "CancelTransfer" => match fault {
                Some(fault) => fault == NOT_PERMITTED,
                None => self.nothing_to_cancel(),
            },
            // The server was dead when the device wanted to fetch or to send the file.
            Class::Normal => moved.is_some(),
        };
        if !excused {
            self.add("task failed", "a task that can be done is done", was);
        }
        let code = found.fault.as_ref().map(|fault| fault.code);
        if let (Class::Refused, Some(fault)) = (self.known.wish.class, fault)
            && code != Some(fault)
        {
            self.add("fault lost", format!("fault {fault}"), format!("{code:?}"));
        }
    }

    /// An unknown outcome is honest only where there was no way to know.
    fn unknown(&mut self, found: &nb::Task, was: &str) {
        let method = kind(self.known);
        let short = self.known.wish.class == Class::Short;
        // What is told after the deadline comes too late.
        let ended = match stamp(found.update_time.as_ref()) {
            0 => i64::MAX,
            at => at,
        };
        let told = |code: &str| self.told_until(code, ended);
        let reported = || {
            let mut reported = self.truth.reported.iter();
            reported.any(|(key, at)| before_dot(key) == self.id && micros(*at) <= ended)
        };
        let never = || self.actions.done(self.id, method).next().is_none();
        let proof = match method {
            "Reboot" => told("M Reboot"),
            // A device that transfers at once reports nothing more when its answer is lost. These are
            // never sent again, nor can a device be asked about them; that it has something to tell,
            // by an Inform's event, tells no outcome.
            "Download" | "ScheduleDownload" => reported() || (!short && never()),
            "Upload" | "ChangeDUState" => reported(),
            // The answer to an earlier try was lost, and the device refuses a second one.
            "CancelTransfer" if self.refused(NOT_PERMITTED) => false,
            "FactoryReset" => {
                let done = self.actions.done(self.id, "FactoryReset").next();
                done.is_some_and(|reset| {
                    let later = self
                        .truth
                        .acknowledged
                        .iter()
                        .filter(|a| a.session > reset.session && micros(a.at) <= ended);
                    later
                        .flat_map(|a| &a.events)
                        .any(|(code, _)| code == "0 BOOTSTRAP")
                })
            }
            // All others can be asked about, or asked again, as long as there is time.
            _ => !short,
        };
        if proof {
            self.add("outcome was known", "a state that tells what was done", was);
        }
    }

    /// Whether the device answered with this fault.
    fn refused(&self, fault: u32) -> bool {
        let mut all = self.actions.all(self.id).iter();
        all.any(|executed| executed.fault == Some(fault))
    }

    /// Whether the transfer that it was to cancel ended without it, or with a cancel of the API.
    fn nothing_to_cancel(&self) -> bool {
        let Some(Spec::CancelTransfer(cancel)) = &self.known.wish.spec.kind else {
            return false;
        };
        let transfer = id_of(&cancel.task);
        let (tasks, known) = (&self.evidence.tasks, &self.evidence.known);
        let state = tasks.get(transfer).map(nb::Task::state);
        state.is_some_and(|state| state != TaskState::Cancelled)
            || known.get(transfer).is_some_and(|known| known.cancelled)
    }

    /// Whether an acknowledged Inform had this event with the task's CommandKey.
    pub(super) fn told(&self, code: &str) -> bool {
        self.told_until(code, i64::MAX)
    }

    /// Whether one had, whose response the device read at this time at the latest.
    fn told_until(&self, code: &str, until: i64) -> bool {
        let mut informs = self.truth.acknowledged.iter();
        informs.any(|inform| {
            let told = |(c, key): &(String, String)| c == code && before_dot(key) == self.id;
            micros(inform.at) <= until && inform.events.iter().any(told)
        })
    }
}

/// The server may add a file's size and leave passwords out, nothing else.
fn same_spec(known: &Known, found: &nb::Task) -> bool {
    let found = found.spec.as_ref().and_then(|spec| spec.kind.as_ref());
    match (&known.wish.spec.kind, found) {
        (Some(Spec::Download(asked)), Some(Spec::Download(found))) => {
            (&asked.file, &asked.file_type, asked.delay_seconds)
                == (&found.file, &found.file_type, found.delay_seconds)
        }
        (Some(Spec::ScheduleDownload(asked)), Some(Spec::ScheduleDownload(found))) => {
            (&asked.file, &asked.file_type, &asked.time_windows)
                == (&found.file, &found.file_type, &found.time_windows)
        }
        (asked, found) => asked.as_ref() == found,
    }
}
