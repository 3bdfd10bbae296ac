//! What a device tells beside its Informs and transfers: changes of deployment units, and requests
//! of its own (TR-069 A.3.3.3, A.4.2).

use hearth_cwmp::{AcsResponse, CpeRequest};

use super::device::Device;
use super::state::{DuChange, Progress};

/// The events of a device's own requests: each is confirmed by the answer to its request (TR-069
/// 3.7.1.5).
pub(super) const OWN: [(&str, &str); 4] = [
    ("5 KICKED", "Kicked"),
    ("9 REQUEST DOWNLOAD", "RequestDownload"),
    (
        "10 AUTONOMOUS TRANSFER COMPLETE",
        "AutonomousTransferComplete",
    ),
    (
        "12 AUTONOMOUS DU STATE CHANGE COMPLETE",
        "AutonomousDUStateChangeComplete",
    ),
];

impl Device {
    /// The changes of units that are done and not yet told.
    pub(super) fn done_changes(&self) -> Vec<DuChange> {
        let state = self.state.lock();
        let done = |c: &&DuChange| matches!(c.progress, Progress::Done { .. });
        state.changes.iter().filter(done).cloned().collect()
    }

    /// A DUStateChangeComplete is acknowledged.
    pub(super) fn acknowledged_change(&self, told: &DuChange) {
        let mut state = self.state.lock();
        state.ledger.report(&told.key);
        let done = |c: &DuChange| matches!(c.progress, Progress::Done { .. });
        state.changes.retain(|c| !(done(c) && c.key == told.key));
        let more = state.changes.iter().any(done);
        state
            .events
            .retain(|event| match event.event_code.as_str() {
                "11 DU STATE CHANGE COMPLETE" => more,
                code => code != "M ChangeDUState" || event.command_key != told.key,
            });
    }

    /// The device sends a request of its own in its next session, which begins at once: Kicked,
    /// RequestDownload, an autonomous transfer or change of units. False for others, which it sends
    /// by itself.
    pub fn tell(&self, request: CpeRequest) -> bool {
        let known = OWN.iter().find(|(_, method)| *method == request.method());
        let Some((code, _)) = known else {
            return false;
        };
        let mut state = self.state.lock();
        state.requests.push(request);
        state.event(code, "");
        state.urgent = true;
        drop(state);
        self.wake.notify_one();
        true
    }

    /// What the ACS answered to requests of the device's own, oldest first.
    pub fn answers(&self) -> Vec<AcsResponse> {
        self.state.lock().answers.clone()
    }

    /// The units that it has: UUID and version.
    pub fn units(&self) -> Vec<(String, String)> {
        let state = self.state.lock();
        let pairs = state.units.iter();
        pairs
            .map(|unit| (unit.uuid.clone(), unit.version.clone()))
            .collect()
    }

    pub(super) fn next_request(&self) -> Option<CpeRequest> {
        self.state.lock().requests.first().cloned()
    }

    /// A request of the device's own is answered: its event is confirmed.
    pub(super) fn acknowledged_request(&self, answer: AcsResponse) {
        let mut state = self.state.lock();
        if state.requests.is_empty() {
            return;
        }
        let told = state.requests.remove(0);
        let code = OWN.iter().find(|(_, method)| *method == told.method());
        let more = |method: &str| state.requests.iter().any(|r| r.method() == method);
        if let Some((code, method)) = code
            && !more(method)
        {
            state.events.retain(|event| event.event_code != *code);
        }
        state.answers.push(answer);
    }
}
