//! A document of refusals: where each is kept, and what is left out when it is full.

use hearth_proto::devicestate::v1 as ds;
use hearth_store::Document;
use prost::Message;

use super::REFUSALS;

/// Documents of devices and users that are known, and refusals in each.
const KNOWN: u32 = 1024;
const KNOWN_ROOM: usize = 32;
/// Those of all others.
const OTHER: u32 = 256;
const OTHER_ROOM: usize = 16;
/// Refusals of one device, user or address for different reasons.
const REASONS: usize = 8;
/// The longest text that is kept, in characters.
const MAX_TEXT: usize = 256;

/// Where a refusal is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// With those of known devices and users.
    Known(u32),
    /// With all others.
    Other(u32),
}

impl Place {
    pub fn of_device(device: &str) -> Self {
        Self::Known(hash("device", device) % KNOWN)
    }

    pub fn of_user(user: &str) -> Self {
        Self::Known(hash("user", user) % KNOWN)
    }

    pub fn of_address(address: &str) -> Self {
        Self::Other(hash("address", address) % OTHER)
    }

    /// The document's key.
    pub fn key(self) -> String {
        match self {
            Self::Known(slot) => format!("{REFUSALS}known/{slot:04}"),
            Self::Other(slot) => format!("{REFUSALS}other/{slot:04}"),
        }
    }
}

/// The same in every process and version: FNV-1a.
fn hash(kind: &str, text: &str) -> u32 {
    let bytes = kind.bytes().chain(text.bytes());
    bytes.fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

/// How many refusals a document has room for.
pub fn room(key: &str) -> usize {
    match key.contains("/other/") {
        true => OTHER_ROOM,
        false => KNOWN_ROOM,
    }
}

/// The document.
#[derive(Clone, PartialEq, Message)]
pub struct Slot {
    /// In no order.
    #[prost(message, repeated, tag = "1")]
    pub refusals: Vec<ds::Refusal>,
}

impl Slot {
    /// One that a newer version wrote otherwise is as good as none.
    pub fn read(document: &Document) -> Self {
        Self::decode(document.payload.as_slice()).unwrap_or_default()
    }

    /// Adds a refusal to those of the same kind; `by_address`: those of other addresses are others.
    pub fn take(&mut self, new: ds::Refusal, by_address: bool) {
        let same = |old: &&mut ds::Refusal| {
            old.device == new.device
                && old.user == new.user
                && old.certificate == new.certificate
                && old.reason == new.reason
                && (!by_address || old.address == new.address)
        };
        match self.refusals.iter_mut().find(same) {
            Some(old) => {
                let count = old.count.saturating_add(new.count);
                let first = old.first_time_us.min(new.first_time_us);
                if new.last_time_us >= old.last_time_us {
                    *old = new;
                }
                old.count = count;
                old.first_time_us = first;
            }
            None => self.refusals.push(new),
        }
    }

    /// Leaves out what was last before `since`, then the oldest of who has too many, then the
    /// oldest beyond `room`.
    pub fn trim(&mut self, since: i64, room: usize) {
        self.refusals.retain(|refusal| refusal.last_time_us > since);
        self.refusals
            .sort_by_key(|refusal| std::cmp::Reverse(refusal.last_time_us));
        let mut seen: Vec<(String, usize)> = Vec::new();
        self.refusals.retain(|refusal| {
            let who = [&refusal.device, &refusal.user, &refusal.address];
            let who = who.into_iter().find(|who| !who.is_empty());
            let who = who.cloned().unwrap_or_default();
            match seen.iter_mut().find(|(name, _)| *name == who) {
                Some((_, count)) => {
                    *count += 1;
                    *count <= REASONS
                }
                None => {
                    seen.push((who, 1));
                    true
                }
            }
        });
        self.refusals.truncate(room);
    }
}

/// Cuts what came from outside to what is kept.
pub fn clip(refusal: &mut ds::Refusal) {
    refusal.tenant.clear();
    let texts = [
        &mut refusal.device,
        &mut refusal.user,
        &mut refusal.certificate,
        &mut refusal.address,
        &mut refusal.reason,
        &mut refusal.detail,
    ];
    for text in texts {
        if let Some((end, _)) = text.char_indices().nth(MAX_TEXT) {
            text.truncate(end);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(device: &str, reason: &str, last: i64) -> ds::Refusal {
        ds::Refusal {
            device: device.to_owned(),
            reason: reason.to_owned(),
            count: 1,
            first_time_us: last,
            last_time_us: last,
            address: format!("192.0.2.{last}"),
            ..ds::Refusal::default()
        }
    }

    #[test]
    fn the_same_again_counts_and_keeps_the_newest() {
        let mut slot = Slot::default();
        slot.take(refusal("a", "blocked", 5), false);
        slot.take(refusal("a", "blocked", 9), false);
        slot.take(refusal("a", "blocked", 7), false);
        slot.take(refusal("b", "blocked", 8), false);
        assert_eq!(slot.refusals.len(), 2);
        let one = &slot.refusals[0];
        assert_eq!((one.count, one.first_time_us, one.last_time_us), (3, 5, 9));
        assert_eq!(one.address, "192.0.2.9");
        // Of those who aren't known, one address doesn't speak for another.
        slot.take(refusal("a", "blocked", 1), true);
        assert_eq!(slot.refusals.len(), 3);
    }

    #[test]
    fn a_full_slot_keeps_the_newest_and_leaves_room_for_others() {
        let mut slot = Slot::default();
        for n in 0..100 {
            slot.take(refusal("noisy", &format!("r{n}"), 100 + n), false);
        }
        slot.take(refusal("quiet", "blocked", 50), false);
        slot.take(refusal("old", "blocked", 10), false);
        slot.trim(10, 32);
        let of = |device: &str| slot.refusals.iter().filter(|r| r.device == device).count();
        assert_eq!((of("noisy"), of("quiet"), of("old")), (REASONS, 1, 0));
        slot.trim(10, 4);
        assert!(slot.refusals.iter().all(|r| r.last_time_us >= 196));
    }

    #[test]
    fn texts_are_cut_between_characters() {
        let mut long = refusal(&"é".repeat(300), "r", 1);
        clip(&mut long);
        assert_eq!(long.device.chars().count(), MAX_TEXT);
    }

    #[test]
    fn places_are_the_same_for_ever() {
        assert_eq!(Place::of_device("00D09E-Box-7").key().len(), 18);
        assert_ne!(Place::of_user("x"), Place::of_address("x"));
        assert_eq!(Place::of_user("x"), Place::of_user("x"));
    }
}
