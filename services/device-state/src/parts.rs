//! Which parts of the devices this process works on.
//!
//! With one process it is all of them. With several, each part's events go to one process at a
//! time: what is known in memory of a device is only right while nobody else applies its events.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use hearth_bus::Part;
use hearth_types::DeviceKey;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

/// Parts when several processes share the work. Names of consumers on the bus hang on it: it never
/// changes.
pub const PARTS: u16 = 16;

/// The parts, and for how long they are surely this process's.
#[derive(Debug)]
pub struct Parts {
    count: u16,
    owned: watch::Sender<Vec<bool>>,
    /// `None`: for ever.
    until: Mutex<Option<Instant>>,
    /// By part: how often this process began to work on it.
    tenures: Vec<AtomicU64>,
    /// By part: how often fetching began, with a tenure or anew.
    runs: Vec<AtomicU64>,
    /// Whether a part went to another process, which may wait for what this one has of it.
    lost: AtomicBool,
}

impl Parts {
    /// One part that is this process's for ever.
    pub fn whole() -> Self {
        Self {
            count: 1,
            owned: watch::Sender::new(vec![true]),
            until: Mutex::new(None),
            tenures: vec![AtomicU64::new(1)],
            runs: vec![AtomicU64::new(1)],
            lost: AtomicBool::default(),
        }
    }

    /// [`PARTS`], none of which is this process's yet.
    pub fn shared() -> Self {
        Self {
            count: PARTS,
            owned: watch::Sender::new(vec![false; usize::from(PARTS)]),
            until: Mutex::new(Some(Instant::now())),
            tenures: (0..PARTS).map(|_| AtomicU64::new(0)).collect(),
            runs: (0..PARTS).map(|_| AtomicU64::new(0)).collect(),
            lost: AtomicBool::default(),
        }
    }

    /// Whether other processes work on parts, too.
    pub const fn is_shared(&self) -> bool {
        self.count > 1
    }

    /// All parts, as consumers are told.
    pub fn all(&self) -> impl Iterator<Item = Part> + use<> {
        let of = self.count;
        (0..of).map(move |index| Part { index, of })
    }

    /// The part of a device.
    pub fn of(&self, device: &DeviceKey) -> u16 {
        match self.is_shared() {
            true => Part::of_device(&device.device, self.count),
            false => 0,
        }
    }

    /// Whether a part is this process's now: also a process that was stopped for a while and goes
    /// on must not believe what it knew before.
    pub fn owns(&self, part: u16) -> bool {
        if !self.is_shared() {
            return true;
        }
        let mine = self.owned.borrow().get(usize::from(part)) == Some(&true);
        mine && self.until.lock().is_none_or(|until| Instant::now() < until)
    }

    /// Whether the time has passed for which the parts were surely this process's.
    pub fn has_lapsed(&self) -> bool {
        self.until
            .lock()
            .is_some_and(|until| Instant::now() >= until)
    }

    /// How long ago that time passed; `None`: it hasn't.
    pub fn late(&self) -> Option<Duration> {
        let until = (*self.until.lock())?;
        Instant::now().checked_duration_since(until)
    }

    /// How often this process began to work on a part.
    pub fn tenure(&self, part: u16) -> u64 {
        let tenure = self.tenures.get(usize::from(part));
        tenure.map_or(0, |tenure| tenure.load(Relaxed))
    }

    /// How often fetching of a part began: what was fetched in another run than the present one is
    /// to come again, behind what was given back.
    pub fn run(&self, part: u16) -> u64 {
        let run = self.runs.get(usize::from(part));
        run.map_or(0, |run| run.load(Relaxed))
    }

    /// Whether a part is this process's now, and that run of it goes on.
    pub fn runs(&self, part: u16, run: u64) -> bool {
        self.owns(part) && self.run(part) == run
    }

    /// The parts that are this process's, as they change.
    pub fn watch(&self) -> watch::Receiver<Vec<bool>> {
        self.owned.subscribe()
    }

    /// These are this process's, until then at least.
    pub fn set(&self, owned: Vec<bool>, until: Instant) {
        let lapsed = self.has_lapsed();
        let before = self.owned.borrow().clone();
        for (part, tenure) in self.tenures.iter().enumerate() {
            // Time that has passed unowned may have been another's.
            if owned.get(part) == Some(&true) && (lapsed || before.get(part) != Some(&true)) {
                tenure.fetch_add(1, Relaxed);
                self.runs[part].fetch_add(1, Relaxed);
            }
        }
        let kept = |(had, has): (&bool, &bool)| *has || !*had;
        if !before.iter().zip(&owned).all(kept) {
            self.lost.store(true, Relaxed);
        }
        *self.until.lock() = Some(until);
        self.owned.send_if_modified(|known| {
            let changed = *known != owned;
            *known = owned;
            changed || lapsed
        });
    }

    /// An event of a part was given back to come again: what was fetched behind it is to come again,
    /// too. One process alone gets them in any order.
    pub fn begin_anew(&self, part: u16) {
        if self.is_shared()
            && let Some(run) = self.runs.get(usize::from(part))
        {
            run.fetch_add(1, Relaxed);
        }
    }

    /// Whether a part went to another process, and that wasn't asked for yet.
    pub fn has_lost_one(&self) -> bool {
        self.lost.load(Relaxed)
    }

    /// Whether a part went to another process since this was asked.
    pub fn lost_one(&self) -> bool {
        self.lost.swap(false, Relaxed)
    }

    /// None is this process's any more.
    pub fn release(&self) {
        if self.is_shared() {
            self.set(vec![false; usize::from(self.count)], Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_part_is_begun_again_after_time_unowned() {
        let parts = Parts::shared();
        let all = || vec![true; usize::from(PARTS)];
        let second = Duration::from_secs(1);
        assert!(!parts.owns(3));
        parts.set(all(), Instant::now() + second);
        assert!(parts.owns(3));
        assert_eq!(parts.tenure(3), 1);
        parts.set(all(), Instant::now() + second);
        assert_eq!(parts.tenure(3), 1, "it went on");
        assert!(!parts.lost_one());
        tokio::time::advance(2 * second).await;
        assert!(!parts.owns(3), "its time is over");
        parts.set(all(), Instant::now() + second);
        assert_eq!(parts.tenure(3), 2, "another may have had it meanwhile");
        let run = parts.run(3);
        assert!(parts.runs(3, run) && !parts.runs(3, run - 1));
        parts.begin_anew(3);
        assert!(!parts.runs(3, run));
        assert_eq!(parts.tenure(3), 2, "what is remembered still counts");
        parts.release();
        assert!(!parts.owns(3));
        assert!(parts.lost_one() && !parts.lost_one());
    }
}
