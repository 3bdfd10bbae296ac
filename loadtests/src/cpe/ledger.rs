//! What a device did: the RPCs it executed and the Informs that were acknowledged, so that a test
//! can tell a doubled RPC and a lost value.

use std::collections::BTreeMap;
use std::time::SystemTime;

use hearth_cwmp::ParameterValue;

/// How much is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keep {
    /// Everything; for tests. Grows with time.
    Everything,
    /// Counts, and the keys of the RPCs that must not be executed twice.
    #[default]
    Counts,
}

/// One executed RPC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Executed {
    /// When.
    pub at: SystemTime,
    /// In which session of the device, from 1.
    pub session: u64,
    /// The method.
    pub method: &'static str,
    /// cwmp:ID of the request.
    pub id: Option<String>,
    /// Its CommandKey or ParameterKey; empty if the method has none.
    pub key: String,
    /// What it was about: an object's name, a URL, the names, the CommandKey of the transfer that
    /// was cancelled.
    pub subject: String,
    /// The fault it was answered with, if any: then nothing was done.
    pub fault: Option<u32>,
    /// AddObject's instance number.
    pub instance: Option<u32>,
}

/// An Inform whose InformResponse the device has read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    /// When the response was read.
    pub at: SystemTime,
    /// In which session of the device, from 1.
    pub session: u64,
    /// Event codes and CommandKeys.
    pub events: Vec<(String, String)>,
    /// The values in it.
    pub values: Vec<ParameterValue>,
}

/// A file transfer that a device ended, well or not: of a task of its own, or for a deployment unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transferred {
    /// When it ended.
    pub at: SystemTime,
    /// Its CommandKey.
    pub key: String,
    /// Fetched, else sent.
    pub download: bool,
    /// The fault it ended with, if any.
    pub fault: Option<u32>,
    /// SHA-256 of what was fetched or sent, in hex; empty if there was a fault.
    pub sha256: String,
}

/// Something that was executed more than once for one task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doubled {
    /// The device's serial number.
    pub serial: String,
    /// The method.
    pub method: &'static str,
    /// The task: the key up to its first dot.
    pub task: String,
    /// How often.
    pub times: u32,
}

/// What a device did.
#[derive(Debug, Default)]
pub struct Ledger {
    keep: Keep,
    executed: Vec<Executed>,
    acknowledged: Vec<Acknowledged>,
    transferred: Vec<Transferred>,
    reported: Vec<(String, SystemTime)>,
    counts: BTreeMap<&'static str, u64>,
    /// How often each (method, task) was executed, of the methods that are not idempotent.
    once: BTreeMap<(&'static str, String), u32>,
    /// Sessions that ended well.
    pub sessions: u64,
    /// Sessions that didn't.
    pub failed_sessions: u64,
    /// Informs acknowledged.
    pub informs: u64,
    /// TransferCompletes acknowledged.
    pub transfers: u64,
    /// Times it booted, the first included.
    pub boots: u64,
}

/// The methods that must be executed once.
pub(crate) const ONCE: [&str; 7] = [
    "AddObject",
    "Reboot",
    "FactoryReset",
    "Download",
    "Upload",
    "ScheduleDownload",
    "ChangeDUState",
];

impl Ledger {
    pub(super) fn new(keep: Keep) -> Self {
        Self {
            keep,
            ..Self::default()
        }
    }

    pub(super) fn execute(&mut self, executed: Executed) {
        if executed.fault.is_none() {
            *self.counts.entry(executed.method).or_default() += 1;
            if ONCE.contains(&executed.method) {
                let task = match executed.key.is_empty() {
                    true => executed.id.as_deref().unwrap_or_default(),
                    false => &executed.key,
                };
                let task = task.split('.').next().unwrap_or_default();
                if !task.is_empty() {
                    *self
                        .once
                        .entry((executed.method, task.to_owned()))
                        .or_default() += 1;
                }
            }
        }
        if self.keep == Keep::Everything {
            self.executed.push(executed);
        }
    }

    pub(super) fn acknowledge(&mut self, acknowledged: Acknowledged) {
        self.informs += 1;
        if self.keep == Keep::Everything {
            self.acknowledged.push(acknowledged);
        }
    }

    pub(super) fn transfer(&mut self, transferred: Transferred) {
        if self.keep == Keep::Everything {
            self.transferred.push(transferred);
        }
    }

    /// A TransferComplete or DUStateChangeComplete with this CommandKey is acknowledged.
    pub(super) fn report(&mut self, key: &str) {
        if self.keep == Keep::Everything {
            self.reported.push((key.to_owned(), SystemTime::now()));
        }
    }

    /// CommandKeys of the TransferCompletes and DUStateChangeCompletes that were acknowledged, and
    /// when, oldest first. Empty with [`Keep::Counts`].
    pub fn reported(&self) -> &[(String, SystemTime)] {
        &self.reported
    }

    /// The file transfers that ended, oldest first. Empty with [`Keep::Counts`].
    pub fn transferred(&self) -> &[Transferred] {
        &self.transferred
    }

    /// The RPCs executed, faults included, oldest first. Empty with [`Keep::Counts`].
    pub fn executed(&self) -> &[Executed] {
        &self.executed
    }

    /// The Informs acknowledged, oldest first. Empty with [`Keep::Counts`].
    pub fn acknowledged(&self) -> &[Acknowledged] {
        &self.acknowledged
    }

    /// How often a method was executed without fault.
    pub fn count(&self, method: &str) -> u64 {
        self.counts.get(method).copied().unwrap_or(0)
    }

    /// Every method with its count.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.counts.iter().map(|(method, count)| (*method, *count))
    }

    /// What was executed more than once for one task.
    pub fn doubled(&self, serial: &str) -> Vec<Doubled> {
        self.once
            .iter()
            .filter(|(_, times)| **times > 1)
            .map(|((method, task), times)| Doubled {
                serial: serial.to_owned(),
                method,
                task: task.clone(),
                times: *times,
            })
            .collect()
    }
}
