//! What is remembered of who a device is and of what is set for its tenant, and how long that may
//! be believed.
//!
//! Each Inform asks what an operator said of its device, which credentials it has, and what its
//! tenant's policy is. Reading that each time would be all that an idle session costs in the store,
//! so it is remembered for hours.
//! Other processes change it, too: before one does, it says so in its note, which all read twice a
//! second ([`crate::replicas`]), and goes on saying so for a while after. What is listed there is
//! believed for [`SHORT`] only, and what was read before it was listed no more at all. Who can't
//! read the notes, or reads one of a version that lists nothing, believes everything for as short.
//!
//! Notes have hashes, not names. Two names with one hash only cost a read.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::time::{Duration, Instant};

use hearth_clients::{Error, Result};
use hearth_runtime::Expiring;
use hearth_types::{DeviceKey, TenantId};
use parking_lot::Mutex;
use quick_cache::Equivalent;

use crate::core::Core;

/// How long anything is remembered at most.
pub const REMEMBERED: Duration = Duration::from_secs(24 * 3600);
/// How long anything is believed, come what may: all processes have it within ten seconds.
pub const SHORT: Duration = Duration::from_secs(3);
/// What others change is known up to now while their notes were read so lately: a few beats, and no
/// lease, which is to outlast a pause of the store.
pub const HEARD: Duration = Duration::from_secs(2);
/// A change is listed for so long after it was made, and two leases.
const LISTED: Duration = Duration::from_secs(5);
/// More changes than this are listed as a change of everything.
const LIST: usize = 200;
/// Changes that are remembered one by one.
const CHANGES: usize = 10_000;

/// What changes: a hash that is the same in all processes. FNV-1a.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct About(u64);

impl About {
    /// Everything.
    pub const ALL: Self = Self(0);

    /// What is kept of a device.
    pub fn device(device: &DeviceKey) -> Self {
        Self::hash("device", device.tenant.as_str(), device.device.as_str())
    }

    /// The credential of a user name.
    pub fn user(tenant: &TenantId, username: &str) -> Self {
        Self::hash("user", tenant.as_str(), username)
    }

    /// What is set for a whole tenant: its policy, profiles, captures, lengths of lines' prefixes.
    pub fn tenant(tenant: &TenantId) -> Self {
        Self::hash("tenant", tenant.as_str(), "")
    }

    fn hash(kind: &str, tenant: &str, name: &str) -> Self {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for part in [kind, tenant, name] {
            // No name has this byte: UTF-8 doesn't.
            for byte in part.bytes().chain([0xff]) {
                hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
            }
        }
        Self(hash.max(1))
    }
}

/// What is known of changes.
pub struct Changes {
    listed: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Grows with each change that becomes known.
    now: u64,
    /// What was read earlier counts no more.
    floor: u64,
    changed: HashMap<u64, u64>,
    /// This process's, and when they were over.
    mine: Vec<(u64, Option<Instant>)>,
    /// Those that others list.
    others: HashSet<u64>,
    /// When the others' were last read.
    heard: Option<Instant>,
    /// Whether all others list what they change.
    all_tell: bool,
}

impl State {
    fn change(&mut self, about: u64) {
        self.now += 1;
        if about == About::ALL.0 || self.changed.len() >= CHANGES {
            self.floor = self.now;
            self.changed.clear();
        } else {
            self.changed.insert(about, self.now);
        }
    }

    /// Whether the others' changes are known up to now.
    fn vouches(&self) -> bool {
        self.all_tell && self.heard.is_some_and(|at| at.elapsed() < HEARD)
    }

    fn is_changing(&self, about: About) -> bool {
        let is = |one: u64| one == about.0 || one == About::ALL.0;
        self.mine.iter().any(|(one, _)| is(*one))
            || self.others.contains(&about.0)
            || self.others.contains(&About::ALL.0)
    }
}

/// What may be believed at a moment.
#[derive(Debug, Clone, Copy)]
pub struct Glance {
    now: u64,
    at: Instant,
    /// What was read before this is known to be old.
    since: u64,
    /// Whether the rest may be believed for long.
    vouched: bool,
}

impl Changes {
    /// With several processes, of this lease.
    pub fn new(lease: Option<Duration>) -> Self {
        Self {
            // Alone, a change is over when it is made.
            listed: lease.map_or(Duration::ZERO, |lease| 2 * lease + LISTED),
            state: Mutex::default(),
        }
    }

    /// `vouched`: this process is one whom the others tell.
    fn glance(&self, about: About, vouched: bool) -> Glance {
        let state = self.state.lock();
        let vouched = vouched && (self.listed.is_zero() || state.vouches());
        let changed = state.changed.get(&about.0).copied().unwrap_or_default();
        Glance {
            now: state.now,
            at: Instant::now(),
            since: changed.max(state.floor),
            vouched: vouched && !state.is_changing(about),
        }
    }

    /// This process's changes, for its note.
    pub fn list(&self) -> Vec<u64> {
        let mut state = self.state.lock();
        let over = |at: &Option<Instant>| at.is_some_and(|at| at.elapsed() >= self.listed);
        let mine = std::mem::take(&mut state.mine).into_iter();
        let (gone, left): (Vec<_>, Vec<_>) = mine.partition(|(_, at)| over(at));
        state.mine = left;
        for (about, _) in gone {
            // What was read while it changed.
            state.change(about);
        }
        let mut list: Vec<u64> = state.mine.iter().map(|(about, _)| *about).collect();
        list.sort_unstable();
        list.dedup();
        match list.len() > LIST {
            true => vec![About::ALL.0],
            false => list,
        }
    }

    /// One that listed its changes is gone, perhaps before this process read them.
    pub fn lost_one(&self) {
        self.state.lock().change(About::ALL.0);
    }

    /// Takes in what the others list, `None` for one that doesn't, as it was at this time.
    pub fn hear<'a>(&self, lists: impl Iterator<Item = Option<&'a Vec<u64>>>, at: Instant) {
        let mut state = self.state.lock();
        let mut others = HashSet::new();
        state.all_tell = true;
        for list in lists {
            match list {
                Some(list) => others.extend(list),
                None => state.all_tell = false,
            }
        }
        // Something may have come and gone meanwhile.
        if state.heard.is_none_or(|at| at.elapsed() > self.listed / 2) {
            state.change(About::ALL.0);
        }
        state.heard = Some(at);
        let before = std::mem::replace(&mut state.others, others);
        let new: Vec<u64> = before
            .symmetric_difference(&state.others)
            .copied()
            .collect();
        for about in new {
            state.change(about);
        }
    }

    fn begin(&self, abouts: &[About]) {
        let mut state = self.state.lock();
        for about in abouts {
            state.change(about.0);
            state.mine.push((about.0, None));
        }
    }

    fn end(&self, abouts: &[About]) {
        let mut state = self.state.lock();
        for about in abouts {
            state.change(about.0);
            let same = |one: &(u64, Option<Instant>)| one.0 == about.0 && one.1.is_none();
            let Some(at) = state.mine.iter().position(same) else {
                continue;
            };
            match self.listed.is_zero() {
                true => drop(state.mine.swap_remove(at)),
                false => state.mine[at].1 = Some(Instant::now()),
            }
        }
    }
}

/// A change that is being made, until it is dropped.
#[must_use]
pub struct Changing<'a> {
    changes: &'a Changes,
    abouts: Vec<About>,
}

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        self.changes.end(&self.abouts);
    }
}

impl Core {
    /// What may be believed of this now.
    pub fn glance(&self, about: About) -> Glance {
        let vouched = self.replicas.is_none() || !self.parts.has_lapsed();
        self.changes.glance(about, vouched)
    }

    /// Says that this is about to change, in all processes: first of all that a change does.
    ///
    /// # Errors
    /// [`hearth_clients::Kind::Unavailable`]: the others can't be told; nothing may be changed.
    pub async fn changing(&self, abouts: &[About]) -> Result<Changing<'_>> {
        self.changes.begin(abouts);
        let changing = Changing {
            changes: &self.changes,
            abouts: abouts.to_vec(),
        };
        match self.tell_changes().await {
            Ok(true) => Ok(changing),
            Ok(false) => Err(Error::unavailable(
                "this replica of device-state can't tell the others of a change now",
            )),
            Err(error) => Err(error.into()),
        }
    }
}

/// Something remembered.
#[derive(Clone)]
struct Entry<V> {
    since: Instant,
    read: u64,
    /// It may be believed for [`SHORT`] only.
    short: bool,
    value: V,
}

impl<V> Entry<V> {
    fn counts(&self, at: Glance) -> bool {
        let vouched = at.vouched && !self.short;
        self.read >= at.since && (vouched || self.since.elapsed() < SHORT)
    }
}

/// Things remembered by their keys.
pub struct Memory<K, V>(Expiring<K, Entry<V>>);

impl<K: Eq + Hash, V: Clone> Memory<K, V> {
    /// At most so many, each for at most so long; for no time at all nothing is kept.
    pub fn new(most: usize, time: Duration) -> Self {
        Self(Expiring::new(most, time))
    }

    /// What is remembered and may be believed.
    pub fn get<Q: Hash + Equivalent<K> + ?Sized>(&self, key: &Q, at: Glance) -> Option<V> {
        let entry = self.0.get(key)?;
        entry.counts(at).then_some(entry.value)
    }

    /// Remembers what was read, or written, after a glance.
    pub fn keep(&self, key: K, at: Glance, value: V) {
        self.put(key, at, false, value);
    }

    /// The same, for [`SHORT`].
    pub fn keep_short(&self, key: K, at: Glance, value: V) {
        self.put(key, at, true, value);
    }

    /// A read that took long is as old as its beginning.
    fn put(&self, key: K, at: Glance, short: bool, value: V) {
        let entry = Entry {
            since: at.at,
            read: at.now,
            short,
            value,
        };
        self.0.insert(key, entry);
    }

    pub fn forget<Q: Hash + Equivalent<K> + ?Sized>(&self, key: &Q) {
        self.0.forget(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: About = About(1);
    const OTHER: About = About(2);

    fn world() -> (Changes, Memory<u8, &'static str>) {
        let changes = Changes::new(Some(Duration::from_secs(2)));
        changes.hear(std::iter::empty(), Instant::now());
        (changes, Memory::new(10, Duration::from_secs(3600)))
    }

    /// Whether an entry that is older than [`SHORT`] is believed.
    fn believed(memory: &Memory<u8, &'static str>, at: Glance) -> bool {
        let entry = memory.0.get(&1).unwrap_or_else(|| panic!("nothing kept"));
        let since = Instant::now().checked_sub(SHORT);
        let since = since.unwrap_or_else(|| panic!("the clock has just begun"));
        Entry { since, ..entry }.counts(at)
    }

    #[test]
    fn what_another_changes_is_believed_no_more() {
        let (changes, memory) = world();
        let hear = |list: &[u64]| changes.hear([Some(&list.to_vec())].into_iter(), Instant::now());
        memory.keep(1, changes.glance(ONE, true), "before");
        assert!(believed(&memory, changes.glance(ONE, true)));
        hear(&[2]);
        assert!(believed(&memory, changes.glance(ONE, true)));
        hear(&[1, 2]);
        assert!(!believed(&memory, changes.glance(ONE, true)));
        // Read while it changes: perhaps before it has.
        memory.keep(1, changes.glance(ONE, true), "meanwhile");
        assert!(!believed(&memory, changes.glance(ONE, true)));
        hear(&[]);
        assert!(!believed(&memory, changes.glance(ONE, true)));
        memory.keep(1, changes.glance(ONE, true), "after");
        assert!(believed(&memory, changes.glance(ONE, true)));
        hear(&[0]);
        assert!(!believed(&memory, changes.glance(ONE, true)));
    }

    #[test]
    fn what_is_known_to_be_old_is_not_believed_for_a_moment() {
        let (changes, memory) = world();
        let before = changes.glance(ONE, true);
        changes.begin(&[ONE]);
        // A slow read that began before the change.
        memory.keep(1, before, "before");
        assert_eq!(memory.get(&1, changes.glance(ONE, true)), None);
        memory.keep(1, changes.glance(ONE, true), "meanwhile");
        assert_eq!(memory.get(&1, changes.glance(ONE, true)), Some("meanwhile"));
        assert!(!believed(&memory, changes.glance(ONE, true)));
        changes.end(&[ONE]);
        assert_eq!(memory.get(&1, changes.glance(ONE, true)), None);
    }

    #[test]
    fn a_read_that_a_change_overtakes_is_not_believed() {
        let (changes, memory) = world();
        let before = changes.glance(ONE, true);
        changes.hear([Some(&vec![1])].into_iter(), Instant::now());
        changes.hear([Some(&vec![])].into_iter(), Instant::now());
        memory.keep(1, before, "before");
        assert!(!believed(&memory, changes.glance(ONE, true)));
    }

    #[test]
    fn who_is_not_told_believes_nothing_old() {
        let (changes, memory) = world();
        memory.keep(1, changes.glance(ONE, true), "x");
        assert!(!believed(&memory, changes.glance(ONE, false)), "no notes");
        changes.state.lock().heard = Instant::now().checked_sub(HEARD);
        assert!(!believed(&memory, changes.glance(ONE, true)), "none lately");
        changes.hear([None].into_iter(), Instant::now());
        assert!(
            !changes.state.lock().vouches(),
            "a version that lists nothing"
        );
        let long_ago = Instant::now().checked_sub(changes.listed);
        changes.state.lock().heard = long_ago;
        changes.hear([Some(&vec![])].into_iter(), Instant::now());
        assert!(!believed(&memory, changes.glance(ONE, true)), "a gap");
    }

    #[test]
    fn own_changes_are_listed_and_a_while_longer() {
        let (changes, _) = world();
        changes.begin(&[ONE, OTHER]);
        assert_eq!(changes.list(), [1, 2]);
        changes.end(&[ONE, OTHER]);
        assert_eq!(changes.list(), [1, 2]);
        assert!(!changes.glance(ONE, true).vouched);
        for (_, at) in &mut changes.state.lock().mine {
            *at = Instant::now().checked_sub(changes.listed);
        }
        assert!(changes.list().is_empty());
        assert!(changes.glance(ONE, true).vouched);
        let many: Vec<About> = (1..=300).map(About).collect();
        changes.begin(&many);
        assert_eq!(changes.list(), [About::ALL.0]);
    }

    #[test]
    fn alone_a_change_is_over_at_once() {
        let changes = Changes::new(None);
        let memory = Memory::new(10, Duration::from_secs(3600));
        memory.keep(1, changes.glance(ONE, true), "before");
        changes.begin(&[ONE]);
        assert!(!believed(&memory, changes.glance(ONE, true)));
        changes.end(&[ONE]);
        assert!(!believed(&memory, changes.glance(ONE, true)));
        memory.keep(1, changes.glance(ONE, true), "after");
        assert!(believed(&memory, changes.glance(ONE, true)));
    }
}
