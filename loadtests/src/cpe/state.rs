//! A device's state: what its flash keeps over a loss of power, and what its memory doesn't.

use std::collections::BTreeSet;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use hearth_auth::SecretString;
use hearth_cwmp::{
    AcsResponse, CpeRequest, CwmpTime, DuOperation, DuResult, EventStruct, FaultCode, Namespace,
    ParameterValue, Time, XsdType,
};

use super::behaviour::{Behaviour, Point};
use super::clock::{TimeScale, later, until_next};
use super::ledger::Ledger;
use crate::dice::Dice;
use crate::tree::Tree;

/// A file transfer the ACS asked for.
#[derive(Clone, Debug)]
pub(super) struct Transfer {
    pub key: String,
    /// The event that comes with its report.
    pub method: &'static str,
    pub download: bool,
    pub file_type: String,
    pub url: String,
    pub username: String,
    pub password: SecretString,
    pub file_size: u32,
    pub target: String,
    pub due: Instant,
    /// Scheduled: the end of its last window of time.
    pub until: Option<Instant>,
    pub progress: Progress,
}

/// A deployment unit that a device has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unit {
    pub uuid: String,
    pub version: String,
    pub url: String,
    pub environment: String,
    /// Its instance number.
    pub number: u32,
}

/// A change of deployment units the ACS asked for.
#[derive(Clone, Debug)]
pub(super) struct DuChange {
    pub key: String,
    pub operations: Vec<DuOperation>,
    pub due: Instant,
    pub progress: Progress,
    pub results: Vec<DuResult>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    Waiting,
    Running,
    Done {
        fault: FaultCode,
        start: SystemTime,
        end: SystemTime,
    },
}

/// A file that a device fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredFile {
    /// `1 Firmware Upgrade Image` and so on.
    pub file_type: String,
    /// Where it came from.
    pub url: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256 of its content, in hex.
    pub sha256: String,
    /// Its content, if the fleet keeps files.
    pub content: Option<Bytes>,
}

/// What happens once the session is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum AfterSession {
    #[default]
    Nothing,
    Reboot,
    FactoryReset,
}

#[derive(Debug)]
pub(super) struct State {
    // Kept over a loss of power.
    pub tree: Tree,
    pub events: Vec<EventStruct>,
    pub transfers: Vec<Transfer>,
    pub scheduled: Vec<(Instant, String)>,
    pub files: Vec<StoredFile>,
    pub changes: Vec<DuChange>,
    pub units: Vec<Unit>,
    /// Requests of the device's own that wait for a session.
    pub requests: Vec<CpeRequest>,
    /// What the ACS answered to them.
    pub answers: Vec<AcsResponse>,
    // The observer's: neither flash nor memory of the device.
    pub ledger: Ledger,
    pub behaviour: Behaviour,
    pub dice: Dice,
    pub scale: TimeScale,
    /// Firmware that is fetched and takes effect at the next boot.
    pub install: Option<String>,
    // Lost with the power.
    pub changed: BTreeSet<String>,
    pub after: AfterSession,
    pub diagnostics: Option<(Instant, String)>,
    pub retries: u32,
    pub not_before: Option<Instant>,
    pub urgent: bool,
    pub periodic_at: Option<Instant>,
    pub cookies: Vec<(String, String)>,
    pub in_session: bool,
    // The machine itself.
    pub session: u64,
    pub offline_until: Option<Instant>,
    pub booted: Instant,
}

impl State {
    /// Adds an event that is to be delivered, once.
    pub fn event(&mut self, code: &str, key: &str) {
        let known = |e: &EventStruct| e.event_code == code && e.command_key == key;
        if !self.events.iter().any(known) {
            self.events.push(EventStruct {
                event_code: code.to_owned(),
                command_key: key.to_owned(),
            });
        }
    }

    /// The device's own change of a value, with what TR-069 3.7.1.5 says of notifications.
    pub fn change(&mut self, path: &str, value: &str) -> bool {
        if !self.tree.set(path, value) {
            return false;
        }
        let notification = self.tree.attributes(path).map_or(0, |a| a.notification);
        if matches!(notification, 1 | 2 | 4 | 6) {
            self.changed.insert(path.to_owned());
        }
        if notification == 2 {
            self.event("4 VALUE CHANGE", "");
        }
        true
    }

    /// Power is gone, or the device restarts: memory is lost, and it boots.
    pub fn boot(&mut self) {
        if let Some(version) = self.install.take() {
            self.tree.set_root("DeviceInfo.SoftwareVersion", &version);
        }
        self.changed.clear();
        self.diagnostics = None;
        self.retries = 0;
        self.not_before = None;
        self.urgent = false;
        self.cookies.clear();
        self.in_session = false;
        self.after = AfterSession::Nothing;
        let up = later(self.scale, self.behaviour.boot_time);
        self.offline_until = Some(up);
        self.booted = up;
        for transfer in &mut self.transfers {
            if transfer.progress == Progress::Running {
                transfer.progress = Progress::Waiting;
                transfer.due = up;
            }
        }
        for change in &mut self.changes {
            if change.progress == Progress::Running {
                change.progress = Progress::Waiting;
                change.due = up;
            }
        }
        self.events
            .retain(|e| e.event_code != "6 CONNECTION REQUEST");
        self.event("1 BOOT", "");
        self.ledger.boots += 1;
        self.plan_periodic();
    }

    /// A factory reset: everything but the identity is forgotten, and it boots.
    pub fn factory_reset(&mut self) {
        // Firmware isn't a setting: it stays.
        let version = self
            .tree
            .root_value("DeviceInfo.SoftwareVersion")
            .to_owned();
        self.tree.factory_reset();
        self.tree.set_root("DeviceInfo.SoftwareVersion", &version);
        self.events.clear();
        self.transfers.clear();
        self.changes.clear();
        self.units.clear();
        self.requests.clear();
        self.scheduled.clear();
        self.event("0 BOOTSTRAP", "");
        self.boot();
    }

    /// The interval of periodic Informs, by the device's clock; `None` if they are off.
    pub fn periodic(&self) -> Option<Duration> {
        let enabled = self
            .tree
            .root_value("ManagementServer.PeriodicInformEnable");
        let seconds = self
            .tree
            .root_value("ManagementServer.PeriodicInformInterval");
        let seconds: u64 = seconds.parse().ok().filter(|s| *s > 0)?;
        (enabled == "true").then(|| Duration::from_secs(seconds))
    }

    /// Sets the next periodic Inform: at PeriodicInformTime plus or minus a multiple of the
    /// interval; without one at a random point of the interval, so that a fleet that booted
    /// together doesn't inform together.
    pub fn plan_periodic(&mut self) {
        self.periodic_at = self.periodic().map(|interval| {
            let reference = CwmpTime(
                self.tree
                    .root_value("ManagementServer.PeriodicInformTime")
                    .to_owned(),
            );
            let first = match reference.time() {
                Some(Time::At { timestamp, .. }) => until_next(timestamp, interval),
                _ => self.dice.between(Duration::ZERO, interval),
            };
            later(self.scale, first)
        });
    }

    /// Whether power is lost here.
    pub fn power_fails(&mut self, point: Point, method: &str) -> bool {
        let dice = &mut self.dice;
        let mut fails = false;
        for loss in &mut self.behaviour.power_loss {
            let here = loss.point == point
                && loss.method.as_deref().is_none_or(|m| m == method)
                && loss.times != Some(0);
            if here && dice.chance(loss.chance) {
                loss.times = loss.times.map(|left| left - 1);
                fails = true;
            }
        }
        fails
    }

    /// The fault that this RPC meets without cause.
    pub fn random_fault(&mut self, method: &str) -> Option<FaultCode> {
        let dice = &mut self.dice;
        for rate in &mut self.behaviour.faults {
            let here = rate.method.as_deref().is_none_or(|m| m == method) && rate.times != Some(0);
            if here && dice.chance(rate.chance) {
                rate.times = rate.times.map(|left| left - 1);
                return Some(rate.code);
            }
        }
        None
    }

    /// The wait after a failed session: random in [m·k^(n-1), m·k^n] with n up to 10 (TR-069
    /// 3.2.1.1).
    pub fn back_off(&mut self) {
        self.retries = self.retries.saturating_add(1);
        let number = |name: &str, default: f64| {
            let value = self.tree.root_value(name).parse().ok();
            value.filter(|v: &f64| *v > 0.0).unwrap_or(default)
        };
        let least = number("ManagementServer.CWMPRetryMinimumWaitInterval", 5.0);
        let factor = number("ManagementServer.CWMPRetryIntervalMultiplier", 2000.0) / 1000.0;
        let n = i32::try_from(self.retries.min(10)).unwrap_or(10);
        let wait = |power| Duration::try_from_secs_f64(least * factor.powi(power));
        let least = wait(n - 1).unwrap_or(Duration::from_secs(5));
        let most = wait(n).unwrap_or(least);
        let pause = self.dice.between(least, most);
        self.not_before = Some(later(self.scale, pause));
    }

    /// The CWMP namespace it speaks.
    pub fn namespace(&self) -> Namespace {
        let old = self.tree.root() == "InternetGatewayDevice.";
        let of_age = if old {
            Namespace::V1_0
        } else {
            Namespace::V1_2
        };
        self.behaviour.namespace.unwrap_or(of_age)
    }

    /// A value as it goes over the wire.
    pub fn on_wire(&self, mut value: ParameterValue) -> ParameterValue {
        if self.behaviour.booleans_as_digits && value.xsd_type == XsdType::Boolean {
            value.value = if value.value == "true" { "1" } else { "0" }.to_owned();
        }
        value
    }

    /// When something is due next; `None` if nothing is planned.
    pub fn next_due(&self) -> Option<Instant> {
        if let Some(until) = self.offline_until {
            return Some(until);
        }
        if self.install.is_some() {
            return Some(Instant::now());
        }
        let mut due = vec![self.periodic_at];
        if !self.events.is_empty() {
            due.push(Some(self.not_before.unwrap_or_else(Instant::now)));
        }
        due.extend(self.scheduled.iter().map(|(at, _)| Some(*at)));
        let waiting = |t: &&Transfer| t.progress == Progress::Waiting;
        due.extend(self.transfers.iter().filter(waiting).map(|t| Some(t.due)));
        let waiting = |c: &&DuChange| c.progress == Progress::Waiting;
        due.extend(self.changes.iter().filter(waiting).map(|c| Some(c.due)));
        due.push(self.diagnostics.as_ref().map(|(at, _)| *at));
        due.into_iter().flatten().min()
    }
}
