//! What was refused lately, by whom it concerns and why: a fixed number of entries.
//!
//! Who is known (a device whose Inform was read, a user name that exists) has entries apart from who
//! isn't, and of those that aren't an address has a few: made-up names are counted together, and
//! take nobody's place.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};

use hearth_proto::devicestate::v1 as ds;
use hearth_types::TenantId;

/// Entries of devices and users that are known.
const KNOWN: usize = 4096;
/// Entries of all others.
const OTHERS: usize = 2048;
/// Of those, how many one address (an IPv6 network of 64 bits) may have.
const OF_ADDRESS: u32 = 16;
/// An entry is told again at most so often, in µs.
const AGAIN: i64 = 60_000_000;
/// One that has nothing more to tell is forgotten after this time, in µs.
const FORGOTTEN: i64 = 600_000_000;
/// What an address with many names is refused for.
const MANY_NAMES: &str = "many_names";

/// A refusal.
#[derive(Clone, Debug)]
pub(super) struct Refused {
    pub tenant: TenantId,
    /// Empty where it isn't known.
    pub device: String,
    /// As it was claimed.
    pub user: String,
    pub certificate: String,
    pub address: Option<IpAddr>,
    pub reason: &'static str,
    pub status: u16,
    pub fault: u32,
    pub detail: String,
    /// How many requests it stands for.
    pub count: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Who {
    Device(String),
    User(String),
    Certificate(String),
    Address(Option<IpAddr>),
}

/// Whom an entry concerns and why.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    tenant: TenantId,
    who: Who,
    reason: &'static str,
}

struct Entry {
    newest: Refused,
    unsent: u64,
    first: i64,
    last: i64,
    /// When it was told last; 0 for never.
    told: i64,
    /// The network whose budget it is on; `None` for who is known.
    network: Option<IpAddr>,
}

/// The entries.
#[derive(Default)]
pub(super) struct Table {
    entries: HashMap<Key, Entry>,
    networks: HashMap<IpAddr, u32>,
    others: usize,
}

impl Refused {
    fn who(&self) -> Who {
        if !self.device.is_empty() {
            Who::Device(self.device.clone())
        } else if !self.user.is_empty() {
            Who::User(self.user.clone())
        } else if !self.certificate.is_empty() {
            Who::Certificate(self.certificate.clone())
        } else {
            Who::Address(self.address)
        }
    }

    /// Whether it can't be made up: a device that has proved something, a user name that exists.
    fn is_known(&self) -> bool {
        let of_known_user = [
            "wrong_password",
            "wrong_realm",
            "algorithm",
            "qop",
            "wrong_uri",
        ];
        !self.device.is_empty() || of_known_user.contains(&self.reason)
    }
}

impl Table {
    /// Takes a refusal in; `false`: there is no room for it.
    pub(super) fn note(&mut self, refused: Refused, now: i64) -> bool {
        let known = refused.is_known();
        let key = Key {
            tenant: refused.tenant.clone(),
            who: refused.who(),
            reason: refused.reason,
        };
        if self.add(&key, &refused, now) {
            return true;
        }
        if known {
            if self.entries.len() - self.others >= KNOWN {
                return false;
            }
            self.put(key, refused, None, now);
            return true;
        }
        let network = network(refused.address);
        if self.networks.get(&network).copied().unwrap_or(0) < OF_ADDRESS {
            if self.others >= OTHERS {
                return false;
            }
            self.put(key, refused, Some(network), now);
            return true;
        }
        // The address has said enough: from now on it is the address that is told of.
        let key = Key {
            who: Who::Address(Some(network)),
            reason: MANY_NAMES,
            ..key
        };
        let refused = Refused {
            device: String::new(),
            user: String::new(),
            certificate: String::new(),
            reason: MANY_NAMES,
            ..refused
        };
        if self.add(&key, &refused, now) {
            return true;
        }
        let room = self.others < OTHERS;
        if room {
            self.put(key, refused, Some(network), now);
        }
        room
    }

    /// Adds to an entry that is there.
    fn add(&mut self, key: &Key, refused: &Refused, now: i64) -> bool {
        let Some(entry) = self.entries.get_mut(key) else {
            return false;
        };
        if entry.unsent == 0 {
            entry.first = now;
        }
        entry.unsent = entry.unsent.saturating_add(refused.count);
        entry.last = now;
        entry.newest = refused.clone();
        true
    }

    fn put(&mut self, key: Key, newest: Refused, network: Option<IpAddr>, now: i64) {
        if let Some(network) = network {
            self.others += 1;
            *self.networks.entry(network).or_default() += 1;
        }
        let entry = Entry {
            unsent: newest.count,
            newest,
            first: now,
            last: now,
            told: 0,
            network,
        };
        self.entries.insert(key, entry);
    }

    /// At most `most` that are to be told now: those of who is known first, then the oldest. They
    /// count as told.
    pub(super) fn take(&mut self, now: i64, most: usize) -> Vec<(Key, ds::Refusal)> {
        self.forget(now);
        let mut due: Vec<_> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.unsent > 0 && (entry.told == 0 || now - entry.told >= AGAIN))
            .map(|(key, entry)| {
                (
                    entry.network.is_some(),
                    entry.told,
                    entry.first,
                    key.clone(),
                )
            })
            .collect();
        due.sort_by_key(|(other, told, first, _)| (*other, *told, *first));
        due.truncate(most);
        let mut taken = Vec::with_capacity(due.len());
        for (_, _, _, key) in due {
            if let Some(entry) = self.entries.get_mut(&key) {
                taken.push((key, entry.refusal()));
                (entry.unsent, entry.told) = (0, now);
            }
        }
        taken
    }

    /// They could not be told: with the next ones, then.
    pub(super) fn give_back(&mut self, taken: Vec<(Key, ds::Refusal)>) {
        for (key, refusal) in taken {
            if let Some(entry) = self.entries.get_mut(&key) {
                entry.unsent = entry.unsent.saturating_add(refusal.count);
                entry.first = entry.first.min(refusal.first_time_us);
            }
        }
    }

    fn forget(&mut self, now: i64) {
        let (networks, others) = (&mut self.networks, &mut self.others);
        self.entries.retain(|_, entry| {
            if entry.unsent > 0 || now - entry.last < FORGOTTEN {
                return true;
            }
            if let Some(network) = entry.network {
                *others = others.saturating_sub(1);
                if let Some(count) = networks.get_mut(&network) {
                    *count = count.saturating_sub(1);
                }
            }
            false
        });
        networks.retain(|_, count| *count > 0);
    }
}

impl Entry {
    fn refusal(&self) -> ds::Refusal {
        let of = &self.newest;
        ds::Refusal {
            tenant: of.tenant.as_str().to_owned(),
            device: of.device.clone(),
            user: of.user.clone(),
            certificate: of.certificate.clone(),
            address: of.address.map(|it| it.to_string()).unwrap_or_default(),
            reason: of.reason.to_owned(),
            status: of.status.into(),
            fault: of.fault,
            detail: of.detail.clone(),
            count: self.unsent,
            first_time_us: self.first,
            last_time_us: self.last,
        }
    }
}

/// Whose budget an address is on: an IPv6 customer has 2^64 of them.
fn network(address: Option<IpAddr>) -> IpAddr {
    match address {
        Some(IpAddr::V6(v6)) => {
            let bits = v6.to_bits() >> 64 << 64;
            IpAddr::V6(Ipv6Addr::from_bits(bits))
        }
        Some(v4) => v4,
        None => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;

    fn refused(user: &str, reason: &'static str, address: &str) -> Refused {
        Refused {
            tenant: TenantId::default(),
            device: String::new(),
            user: user.to_owned(),
            certificate: String::new(),
            address: address.parse().ok(),
            reason,
            status: 401,
            fault: 0,
            detail: String::new(),
            count: 1,
        }
    }

    fn told(table: &mut Table, now: i64) -> Vec<(String, String, u64)> {
        let taken = table.take(now, 100).into_iter();
        let mut told: Vec<_> = taken.map(|(_, r)| (r.user, r.reason, r.count)).collect();
        told.sort();
        told
    }

    #[test]
    fn the_first_is_told_at_once_and_then_once_a_minute_with_a_count() {
        let mut table = Table::default();
        let wrong = || refused("u", "wrong_password", "192.0.2.1");
        assert!(table.note(wrong(), SECOND));
        let one = |count| vec![("u".to_owned(), "wrong_password".to_owned(), count)];
        assert_eq!(told(&mut table, 2 * SECOND), one(1));
        for n in 3..50 {
            table.note(wrong(), n * SECOND);
            assert_eq!(told(&mut table, n * SECOND), []);
        }
        assert_eq!(told(&mut table, 62 * SECOND), one(47));
        assert_eq!(told(&mut table, 130 * SECOND), [], "nothing new");
    }

    #[test]
    fn what_could_not_be_told_is_told_later() {
        let mut table = Table::default();
        table.note(refused("u", "wrong_password", "192.0.2.1"), SECOND);
        let taken = table.take(SECOND, 10);
        table.give_back(taken);
        table.note(refused("u", "wrong_password", "192.0.2.1"), 2 * SECOND);
        let again = table.take(70 * SECOND, 10);
        assert_eq!((again[0].1.count, again[0].1.first_time_us), (2, SECOND));
    }

    #[test]
    fn made_up_names_take_nobodys_place() {
        let mut table = Table::default();
        for n in 0..100_000 {
            let user = format!("made-up-{n}");
            assert!(table.note(refused(&user, "unknown_user", "198.51.100.1"), SECOND));
        }
        assert_eq!(table.entries.len(), OF_ADDRESS as usize + 1);
        assert!(table.note(refused("misspelt", "unknown_user", "192.0.2.1"), SECOND));
        assert!(table.note(refused("known", "wrong_password", "198.51.100.1"), SECOND));
        let taken = table.take(SECOND, 1);
        assert_eq!(taken[0].1.user, "known", "known ones are told first");
        let rest = told(&mut table, SECOND);
        assert!(rest.iter().any(|(user, ..)| user == "misspelt"));
        let many: Vec<_> = rest.iter().filter(|r| r.1 == MANY_NAMES).collect();
        assert_eq!(
            many,
            [&(String::new(), MANY_NAMES.to_owned(), 100_000 - 16)]
        );
    }

    #[test]
    fn many_addresses_are_bounded_and_forgotten() {
        let mut table = Table::default();
        let mut left_out = 0;
        for n in 0..20_000_u32 {
            let address = std::net::Ipv4Addr::from_bits(n).to_string();
            let user = format!("x{n}");
            left_out += u32::from(!table.note(refused(&user, "unknown_user", &address), SECOND));
            // Of one IPv6 network all are one.
            let address = format!("2001:db8::{n:x}");
            table.note(refused("", "undecodable", &address), SECOND);
        }
        assert!(table.entries.len() <= OTHERS && left_out > 0);
        assert!(table.note(refused("known", "wrong_password", "192.0.2.1"), SECOND));
        table.take(SECOND, usize::MAX);
        table.take(SECOND + FORGOTTEN, usize::MAX);
        assert_eq!(
            (table.entries.len(), table.others, table.networks.len()),
            (0, 0, 0)
        );
    }
}
