//! When devices inform, and when they should.
//!
//! TR-069 (ManagementServer.PeriodicInformTime): a device informs at PeriodicInformTime plus or
//! minus any multiple of PeriodicInformInterval. So only the time's place within the interval, its
//! phase, counts. Each device is given the phase that a hash of its id stands for: the same at
//! each run, and even over a fleet however its ids are numbered.

use hearth_cwmp::{CwmpTime, Time};
use hearth_proto::northbound::v1 as nb;
use jiff::Timestamp;

/// Where the proposed times begin: 2000-01-01, which every device's clock is past.
const EPOCH: u64 = 946_684_800;
/// A device whose Informs fall into more places of a window than this counts as spread over all.
const MAX_PLACES: u64 = 1440;

/// When a device informs: `phase` seconds after each multiple of `interval` seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rhythm {
    /// Above 0.
    pub(super) interval: u32,
    /// Below the interval.
    pub(super) phase: u32,
}

impl Rhythm {
    /// What is proposed for a device.
    pub(super) fn proposed(device: &str, interval: u32) -> Self {
        let interval = interval.max(1);
        let share = u128::from(hash(device)) * u128::from(interval);
        // Below the interval.
        let phase = u32::try_from(share >> 64).unwrap_or_default();
        Self { interval, phase }
    }

    /// Of a moment at which a device informs, in seconds since 1970.
    pub(super) fn of(interval: u32, moment: i64) -> Self {
        let interval = interval.max(1);
        let phase = moment.rem_euclid(i64::from(interval));
        Self {
            interval,
            phase: u32::try_from(phase).unwrap_or_default(),
        }
    }

    /// Of a PeriodicInformTime; `None` where it names no moment ("unknown", or since the boot).
    pub(super) fn of_time(interval: u32, time: &str) -> Option<Self> {
        match CwmpTime(time.to_owned()).time() {
            Some(Time::At { timestamp, .. }) => Some(Self::of(interval, timestamp.as_second())),
            _ => None,
        }
    }

    /// The PeriodicInformTime: the first such moment of this century.
    pub(super) fn time(self) -> String {
        let interval = u64::from(self.interval);
        let first = EPOCH.next_multiple_of(interval) + u64::from(self.phase);
        let at = i64::try_from(first).ok();
        let at = at.and_then(|at| Timestamp::from_second(at).ok());
        CwmpTime::at(at.unwrap_or_default()).0
    }
}

/// A device's hash: the same in every process and version. Ids that differ in one digit have
/// hashes that differ in half of their bits.
pub(super) fn hash(device: &str) -> u64 {
    let fnv = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let mut hash = device.bytes().fold(0xcbf2_9ce4_8422_2325, fnv);
    for (shift, factor) in [(30, 0xbf58_476d_1ce4_e5b9_u64), (27, 0x94d0_49bb_1331_11eb)] {
        hash = (hash ^ (hash >> shift)).wrapping_mul(factor);
    }
    hash ^ (hash >> 31)
}

/// Expected Informs in each slot of a window.
#[derive(Debug, Clone)]
pub(super) struct Histogram {
    window: u32,
    slots: Vec<f64>,
    /// In each slot alike.
    everywhere: f64,
}

impl Histogram {
    /// Without any.
    pub(super) fn new(window: u32, slots: usize) -> Self {
        Self {
            window: window.max(1),
            slots: vec![0.0; slots.max(1)],
            everywhere: 0.0,
        }
    }

    /// Adds a device: `window / interval` Informs, in the places where they fall.
    pub(super) fn add(&mut self, rhythm: Rhythm) {
        let (window, interval) = (u64::from(self.window), u64::from(rhythm.interval));
        let expected = f64::from(self.window) / f64::from(rhythm.interval);
        let places = window / gcd(window, interval);
        let count = self.slots.len() as u64;
        if places > MAX_PLACES {
            self.everywhere += expected / count as f64;
            return;
        }
        for n in 0..places {
            let place = (u64::from(rhythm.phase) + n * interval) % window;
            let slot = usize::try_from(place * count / window).unwrap_or_default();
            self.slots[slot] += expected / places as f64;
        }
    }

    /// The slots.
    pub(super) fn slots(&self) -> Vec<f64> {
        // In thousandths: enough to look at, and short in JSON.
        let rounded = |slot: &f64| ((slot + self.everywhere) * 1000.0).round() / 1000.0;
        self.slots.iter().map(rounded).collect()
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    match b {
        0 => a,
        b => gcd(b, a % b),
    }
}

/// What is to be done with a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is left out.
    Skipped,
    /// It is, or is to be, as proposed.
    Spread {
        /// As it is, where that is known.
        present: Option<Rhythm>,
        /// Whether the present phase is that of the last Inform, for want of a time.
        estimated: bool,
        /// As proposed.
        proposed: Rhythm,
        /// Whether it is to be set.
        differs: bool,
    },
}

/// What is known of a device's periodic Informs.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    /// The device's id.
    pub(super) device: String,
    /// Root of its data model, or empty.
    pub(super) root: String,
    /// Whether it may come at all.
    pub(super) is_let_in: bool,
    /// PeriodicInformEnable; `None` when not known.
    pub(super) enabled: Option<bool>,
    /// PeriodicInformInterval in seconds; 0 when not known.
    pub(super) interval: u32,
    /// PeriodicInformTime, or empty.
    pub(super) time: String,
    /// The last Inform, in seconds since 1970; 0 when not known.
    pub(super) last_inform: i64,
}

impl Known {
    /// What is to become of it, with this interval, or its own where that is 0.
    pub(super) fn verdict(&self, interval: u32) -> Verdict {
        if self.root.is_empty() || !self.is_let_in || self.enabled == Some(false) {
            return Verdict::Skipped;
        }
        let target = match (interval, self.interval) {
            (0, 0) => 3600,
            (0, own) => own,
            (asked, _) => asked,
        };
        let present = match self.interval {
            0 => target,
            own => own,
        };
        let proposed = Rhythm::proposed(&self.device, target);
        let told = Rhythm::of_time(present, &self.time);
        let estimated = told.is_none();
        let seen = (self.last_inform > 0).then(|| Rhythm::of(present, self.last_inform));
        let differs = self.interval != target || told != Some(proposed);
        Verdict::Spread {
            present: told.or(seen),
            estimated,
            proposed,
            differs,
        }
    }
}

/// Gathers a fleet.
#[derive(Debug, Default)]
pub(super) struct Survey {
    skipped: u64,
    settled: u64,
    differing: u64,
    estimated: u64,
    devices: Vec<(Option<Rhythm>, Rhythm)>,
}

impl Survey {
    /// Adds a device.
    pub(super) fn add(&mut self, verdict: &Verdict) {
        match *verdict {
            Verdict::Skipped => self.skipped += 1,
            Verdict::Spread {
                present,
                estimated,
                proposed,
                differs,
            } => {
                self.estimated += u64::from(estimated);
                self.differing += u64::from(differs);
                self.settled += u64::from(!differs);
                self.devices.push((present, proposed));
            }
        }
    }

    /// Devices that are to be set.
    pub(super) fn differing(&self) -> u64 {
        self.differing
    }

    /// What the caller is shown: over this window, or the longest interval where it is 0.
    pub(super) fn plan(&self, window: u32, slots: usize) -> nb::SpreadPlan {
        let longest = self.devices.iter().map(|(_, rhythm)| rhythm.interval).max();
        let window = match window {
            0 => longest.unwrap_or(3600),
            asked => asked,
        };
        let mut present = Histogram::new(window, slots);
        let mut proposed = Histogram::new(window, slots);
        for (is, becomes) in &self.devices {
            if let Some(is) = is {
                present.add(*is);
            }
            proposed.add(*becomes);
        }
        nb::SpreadPlan {
            devices: self.skipped + self.devices.len() as u64,
            differing: self.differing,
            settled: self.settled,
            skipped: self.skipped,
            estimated: self.estimated,
            window_seconds: window,
            present: present.slots(),
            proposed: proposed.slots(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn known(device: &str) -> Known {
        Known {
            device: device.to_owned(),
            root: "Device.".to_owned(),
            is_let_in: true,
            ..Known::default()
        }
    }

    #[test]
    fn a_time_says_what_the_phase_is() {
        for interval in [60, 300, 3600, 86_400, 604_800, 7] {
            for id in ["00D09E-A-1", "00D09E-A-2", ""] {
                let rhythm = Rhythm::proposed(id, interval);
                assert!(rhythm.phase < interval);
                let time = rhythm.time();
                assert!(time.starts_with("2000-01-"), "{time}");
                assert_eq!(Rhythm::of_time(interval, &time), Some(rhythm), "{time}");
            }
        }
        assert_eq!(Rhythm::of_time(60, "0001-01-01T00:00:00Z"), None);
        assert_eq!(Rhythm::of_time(60, "soon"), None);
        // Before 1970 as well, and with a zone.
        let early = Rhythm::of_time(3600, "1969-12-31T23:59:30Z").unwrap();
        assert_eq!(early.phase, 3570);
        let zoned = Rhythm::of_time(3600, "2020-01-01T00:10:00+05:30").unwrap();
        assert_eq!(zoned.phase, 2400);
    }

    #[test]
    fn devices_that_are_numbered_are_spread_evenly() {
        const DEVICES: u32 = 60_000;
        const SLOTS: u32 = 60;
        let mut histogram = Histogram::new(3600, SLOTS as usize);
        for n in 0..DEVICES {
            histogram.add(Rhythm::proposed(&format!("00D09E-Router-SIM{n:06}"), 3600));
        }
        let mean = f64::from(DEVICES / SLOTS);
        let slots = histogram.slots();
        assert!((slots.iter().sum::<f64>() - f64::from(DEVICES)).abs() < 1.0);
        let chi: f64 = slots.iter().map(|n| (n - mean) * (n - mean) / mean).sum();
        // 59 degrees of freedom: below 30 or above 100 would be no chance.
        assert!((30.0..100.0).contains(&chi), "{chi}");
    }

    #[test]
    fn a_window_holds_as_many_informs_as_fall_into_it() {
        let slots = |interval, phase| {
            let mut histogram = Histogram::new(3600, 4);
            histogram.add(Rhythm { interval, phase });
            histogram.slots()
        };
        assert_eq!(slots(3600, 1000), [0.0, 1.0, 0.0, 0.0]);
        assert_eq!(slots(1800, 0), [1.0, 0.0, 1.0, 0.0]);
        assert_eq!(slots(900, 30), [1.0; 4]);
        // One every two hours: half an Inform in each hour.
        assert_eq!(slots(7200, 0), [0.5, 0.0, 0.0, 0.0]);
        assert_eq!(slots(3599, 5).iter().sum::<f64>().round(), 1.0);
    }

    #[test]
    fn who_is_as_proposed_is_left_alone() {
        let proposed = Rhythm::proposed("00D09E-A-1", 600);
        let differs = |known: &Known| match known.verdict(600) {
            Verdict::Spread { differs, .. } => differs,
            Verdict::Skipped => panic!("{known:?}"),
        };
        let mut known = known("00D09E-A-1");
        assert!(differs(&known));
        known.interval = 600;
        known.time = proposed.time();
        assert!(!differs(&known));
        // Another moment of the same phase.
        known.time = Rhythm::of_time(600, &known.time).unwrap().time();
        assert!(!differs(&known));
        known.interval = 300;
        assert!(differs(&known));
        for skipped in [
            Known {
                enabled: Some(false),
                ..known.clone()
            },
            Known {
                root: String::new(),
                ..known.clone()
            },
            Known {
                is_let_in: false,
                ..known.clone()
            },
        ] {
            assert_eq!(skipped.verdict(600), Verdict::Skipped);
        }
    }

    #[test]
    fn without_a_time_the_last_inform_is_shown() {
        let known = Known {
            interval: 300,
            last_inform: 1_000_000_399,
            ..known("00D09E-A-1")
        };
        let verdict = known.verdict(0);
        let Verdict::Spread {
            present: Some(present),
            estimated: true,
            proposed,
            differs: true,
        } = verdict
        else {
            panic!("{verdict:?}");
        };
        assert_eq!((present.phase, proposed.interval), (199, 300));
        let mut survey = Survey::default();
        survey.add(&verdict);
        survey.add(&Verdict::Skipped);
        let plan = survey.plan(0, 3);
        assert_eq!((plan.devices, plan.differing, plan.skipped), (2, 1, 1));
        assert_eq!((plan.window_seconds, plan.estimated), (300, 1));
        assert_eq!(plan.present, [0.0, 1.0, 0.0]);
    }
}
