//! One device: what tests and the fleet see of it, and the loop that lets it live.

use std::sync::{Arc, Weak};
use std::time::{Instant, SystemTime};

use hearth_cwmp::{DeviceId, EventStruct, ParameterValue};
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;

use super::behaviour::Behaviour;
use super::clock::{TimeScale, later};
use super::ledger::{Acknowledged, Doubled, Executed, Keep, Ledger};
use super::listener::Registry;
use super::meter::EdgeMeter;
use super::state::{AfterSession, Progress, State, StoredFile, Transfer};
use super::{own, session, software, transfer};
use crate::dice::Dice;
use crate::tree::Tree;

/// What all devices of a fleet share.
pub(crate) struct Shared {
    pub registry: Arc<Registry>,
    pub sessions: Semaphore,
    pub stop: CancellationToken,
    pub scale: TimeScale,
    pub keep: Keep,
    /// Whether fetched files are kept whole.
    pub keep_files: bool,
    /// Paths that stand in every Inform beside the forced ones.
    pub inform: Vec<String>,
    /// For `https` URLs.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// What becomes of the requests of all sessions.
    pub meter: Arc<EdgeMeter>,
}

/// A simulated device. Cheap to keep a handle of; it lives in its fleet.
pub struct Device {
    id: DeviceId,
    pub(super) state: Mutex<State>,
    pub(super) wake: Notify,
    pub(super) shared: Arc<Shared>,
}

/// What an Inform says.
pub(super) struct Opening {
    pub session: u64,
    pub events: Vec<EventStruct>,
    pub values: Vec<ParameterValue>,
    pub retries: u32,
}

impl Device {
    pub(crate) fn new(
        id: DeviceId,
        tree: Tree,
        behaviour: Behaviour,
        mut dice: Dice,
        bootstrap: bool,
        shared: Arc<Shared>,
    ) -> Arc<Self> {
        let scale = shared.scale;
        let start = Instant::now();
        let dice_of_device = Dice::new(dice.number());
        let mut state = State {
            tree,
            events: Vec::new(),
            transfers: Vec::new(),
            scheduled: Vec::new(),
            files: Vec::new(),
            changes: Vec::new(),
            units: Vec::new(),
            requests: Vec::new(),
            answers: Vec::new(),
            ledger: Ledger::new(shared.keep),
            behaviour,
            dice: dice_of_device,
            scale,
            changed: Default::default(),
            after: AfterSession::Nothing,
            install: None,
            diagnostics: None,
            retries: 0,
            not_before: None,
            urgent: false,
            periodic_at: None,
            cookies: Vec::new(),
            in_session: false,
            session: 0,
            offline_until: None,
            booted: start,
        };
        if bootstrap {
            state.event("0 BOOTSTRAP", "");
        }
        state.boot();
        state.offline_until = None;
        let device = Arc::new(Self {
            id,
            state: Mutex::new(state),
            wake: Notify::new(),
            shared,
        });
        device.new_address();
        device
    }

    /// Who it is.
    pub fn id(&self) -> &DeviceId {
        &self.id
    }

    /// Its serial number.
    pub fn serial(&self) -> &str {
        &self.id.serial_number
    }

    /// A parameter's value as it really is, secrets included; `None` if it hasn't got it.
    pub fn value(&self, path: &str) -> Option<String> {
        self.state.lock().tree.value(path).map(str::to_owned)
    }

    /// A value below the device's root, such as `DeviceInfo.SoftwareVersion`.
    pub fn root_value(&self, below_root: &str) -> String {
        self.state.lock().tree.root_value(below_root).to_owned()
    }

    /// The device changes a value itself, as its user or its line would: notifications follow.
    /// False if it hasn't got the parameter or it is that value already.
    pub fn set_value(&self, path: &str, value: &str) -> bool {
        let changed = self.state.lock().change(path, value);
        self.wake.notify_one();
        changed
    }

    /// Looks at its tree.
    pub fn with_tree<R>(&self, look: impl FnOnce(&Tree) -> R) -> R {
        look(&self.state.lock().tree)
    }

    /// Looks at its ledger.
    pub fn with_ledger<R>(&self, look: impl FnOnce(&Ledger) -> R) -> R {
        look(&self.state.lock().ledger)
    }

    /// Changes its behaviour from now on.
    pub fn behave(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.state.lock().behaviour);
    }

    /// The RPCs it executed. Empty with [`Keep::Counts`].
    pub fn executed(&self) -> Vec<Executed> {
        self.state.lock().ledger.executed().to_vec()
    }

    /// The Informs whose response it has read. Empty with [`Keep::Counts`].
    pub fn acknowledged(&self) -> Vec<Acknowledged> {
        self.state.lock().ledger.acknowledged().to_vec()
    }

    /// What it executed more than once for one task.
    pub fn doubled(&self) -> Vec<Doubled> {
        self.state.lock().ledger.doubled(self.serial())
    }

    /// The files it fetched.
    pub fn files(&self) -> Vec<StoredFile> {
        self.state.lock().files.clone()
    }

    /// Where it waits for connection requests now.
    pub fn connection_request_url(&self) -> String {
        self.root_value("ManagementServer.ConnectionRequestURL")
    }

    /// Whether a session is open.
    pub fn in_session(&self) -> bool {
        self.state.lock().in_session
    }

    /// Causes an event, such as `13 WAKEUP` or `X 00D09E Door`, and so a session, without waiting
    /// for a retry's time.
    pub fn trigger(&self, code: &str, command_key: &str) {
        let mut state = self.state.lock();
        state.event(code, command_key);
        state.urgent = true;
        drop(state);
        self.wake.notify_one();
    }

    /// Pulls the plug and puts it in again.
    pub fn power_cycle(self: &Arc<Self>) {
        self.state.lock().boot();
        self.new_address();
        self.wake.notify_one();
    }

    /// Takes a new random path for connection requests, as devices do when they boot.
    pub(super) fn new_address(self: &Arc<Self>) {
        let mut state = self.state.lock();
        let token = format!("{:016x}", state.dice.number());
        let old = state
            .tree
            .root_value("ManagementServer.ConnectionRequestURL")
            .to_owned();
        let url = self
            .shared
            .registry
            .register(&old, &token, Arc::downgrade(self));
        state
            .tree
            .set_root("ManagementServer.ConnectionRequestURL", &url);
    }

    /// A connection request came. False if the device is busy.
    pub(super) fn requested(&self) -> bool {
        let mut state = self.state.lock();
        if state.in_session || state.offline_until.is_some() {
            return false;
        }
        state.event("6 CONNECTION REQUEST", "");
        state.urgent = true;
        drop(state);
        self.wake.notify_one();
        true
    }

    /// Lives until the fleet stops.
    pub(crate) async fn live(self: Arc<Self>) {
        let stop = self.shared.stop.clone();
        loop {
            let due = self.state.lock().next_due();
            let sleep = async {
                match due {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.wake.notified() => {}
                () = sleep => {}
            }
            if !self.tick() {
                continue;
            }
            // Boxed, so that a sleeping device costs a pointer instead of a whole session.
            let session = Box::pin(self.meet());
            tokio::select! {
                () = stop.cancelled() => return,
                () = session => {}
            }
        }
    }

    async fn meet(self: &Arc<Self>) {
        let Ok(_permit) = self.shared.sessions.acquire().await else {
            return;
        };
        let result = session::run(self).await;
        self.finish(result);
    }

    /// Does what is due; true if a session is.
    fn tick(self: &Arc<Self>) -> bool {
        let now = Instant::now();
        let mut state = self.state.lock();
        if state.offline_until.is_some_and(|until| now < until) {
            return false;
        }
        state.offline_until = None;
        if state.install.is_some() {
            state.boot();
            drop(state);
            self.new_address();
            return false;
        }
        if state.periodic_at.is_some_and(|at| at <= now) {
            state.event("2 PERIODIC", "");
            state.periodic_at = state
                .periodic()
                .map(|interval| later(state.scale, interval));
        }
        while let Some(at) = state.scheduled.iter().position(|(at, _)| *at <= now) {
            let (_, key) = state.scheduled.swap_remove(at);
            state.event("3 SCHEDULED", "");
            state.event("M ScheduleInform", &key);
        }
        if state.diagnostics.as_ref().is_some_and(|(at, _)| *at <= now) {
            finish_diagnostics(&mut state);
        }
        self.start_transfers(&mut state, now);
        self.start_changes(&mut state, now);
        let ready = state.urgent || state.not_before.is_none_or(|at| at <= now);
        !state.events.is_empty() && ready
    }

    fn start_transfers(self: &Arc<Self>, state: &mut State, now: Instant) {
        let boots = state.ledger.boots;
        for transfer in &mut state.transfers {
            if transfer.progress == Progress::Waiting && transfer.due <= now {
                transfer.progress = Progress::Running;
                tokio::spawn(transfer::run(self.clone(), transfer.clone(), boots));
            }
        }
    }

    fn start_changes(self: &Arc<Self>, state: &mut State, now: Instant) {
        let boots = state.ledger.boots;
        for change in &mut state.changes {
            if change.progress == Progress::Waiting && change.due <= now {
                change.progress = Progress::Running;
                tokio::spawn(software::run(self.clone(), change.clone(), boots));
            }
        }
    }

    pub(super) fn open_session(&self) -> Opening {
        let mut state = self.state.lock();
        state.session += 1;
        state.in_session = true;
        state.urgent = false;
        let up = state.scale.device(state.booted.elapsed()).as_secs();
        state.tree.set_root("DeviceInfo.UpTime", &up.to_string());
        if !state.changed.is_empty() {
            state.event("4 VALUE CHANGE", "");
        }
        let forced = state.tree.base().forced_inform();
        let names = forced.iter().map(|path| &**path);
        let names = names.chain(self.shared.inform.iter().map(String::as_str));
        let names = names.chain(state.changed.iter().map(String::as_str));
        let mut values: Vec<ParameterValue> = Vec::new();
        for value in names.filter_map(|path| state.tree.read(path)) {
            if !values.iter().any(|known| known.name == value.name) {
                values.push(state.on_wire(value));
            }
        }
        Opening {
            session: state.session,
            events: state.events.iter().take(64).cloned().collect(),
            values,
            retries: state.retries,
        }
    }

    /// The Inform is acknowledged: its events are confirmed, except those that a
    /// TransferCompleteResponse confirms.
    pub(super) fn acknowledged_inform(&self, opening: &Opening) {
        let mut state = self.state.lock();
        state.events.retain(|event| {
            let transfer = matches!(
                event.event_code.as_str(),
                "7 TRANSFER COMPLETE"
                    | "M Download"
                    | "M Upload"
                    | "M ScheduleDownload"
                    | "11 DU STATE CHANGE COMPLETE"
                    | "M ChangeDUState"
            ) || own::OWN.iter().any(|(code, _)| *code == event.event_code);
            transfer || !opening.events.contains(event)
        });
        for value in &opening.values {
            let current = state.tree.read(&value.name);
            if current.is_some_and(|now| state.on_wire(now).value == value.value) {
                state.changed.remove(&value.name);
            }
        }
        let pairs = opening.events.iter();
        let events = pairs.map(|e| (e.event_code.clone(), e.command_key.clone()));
        let acknowledged = Acknowledged {
            at: SystemTime::now(),
            session: opening.session,
            events: events.collect(),
            values: opening.values.clone(),
        };
        state.ledger.acknowledge(acknowledged);
    }

    /// The transfers that are done and not yet told.
    pub(super) fn done_transfers(&self) -> Vec<Transfer> {
        let state = self.state.lock();
        let done = |t: &&Transfer| matches!(t.progress, Progress::Done { .. });
        state.transfers.iter().filter(done).cloned().collect()
    }

    /// A TransferComplete is acknowledged.
    pub(super) fn acknowledged_transfer(&self, told: &Transfer) {
        let mut state = self.state.lock();
        state.ledger.transfers += 1;
        state.ledger.report(&told.key);
        let same = |t: &Transfer| t.key == told.key && t.progress == told.progress;
        if let Some(at) = state.transfers.iter().position(same) {
            state.transfers.remove(at);
        }
        let method = told.method;
        let more = state
            .transfers
            .iter()
            .any(|t| matches!(t.progress, Progress::Done { .. }));
        state
            .events
            .retain(|event| match event.event_code.as_str() {
                "7 TRANSFER COMPLETE" => more,
                code => code != method || event.command_key != told.key,
            });
    }

    fn finish(self: &Arc<Self>, result: Result<(), session::SessionError>) {
        let mut state = self.state.lock();
        if let Err(session::SessionError::PowerLost) = result {
            state.ledger.failed_sessions += 1;
            state.boot();
            drop(state);
            self.new_address();
            return;
        }
        state.in_session = false;
        match &result {
            Ok(()) => {
                state.ledger.sessions += 1;
                state.retries = 0;
                state.not_before = None;
            }
            Err(error) => {
                state.ledger.failed_sessions += 1;
                tracing::debug!(serial = self.serial(), error = %session::chain(error), "session failed");
                state.back_off();
            }
        }
        match std::mem::take(&mut state.after) {
            AfterSession::Nothing => return,
            AfterSession::Reboot => state.boot(),
            AfterSession::FactoryReset => state.factory_reset(),
        }
        drop(state);
        self.new_address();
    }
}

/// Ends a diagnostic that the ACS requested (TR-069 A.3.2.1): results, and event 8.
fn finish_diagnostics(state: &mut State) {
    let Some((_, object)) = state.diagnostics.take() else {
        return;
    };
    let count = state.tree.value(&format!("{object}NumberOfRepetitions"));
    let count = count.unwrap_or("1").to_owned();
    for (name, value) in [
        ("SuccessCount", count.as_str()),
        ("FailureCount", "0"),
        ("AverageResponseTime", "12"),
        ("MinimumResponseTime", "9"),
        ("MaximumResponseTime", "17"),
        ("DiagnosticsState", "Complete"),
    ] {
        state.tree.set(&format!("{object}{name}"), value);
    }
    state.event("8 DIAGNOSTICS COMPLETE", "");
}

/// A handle that doesn't keep the device alive.
pub(super) type WeakDevice = Weak<Device>;
