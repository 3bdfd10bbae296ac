//! Which devices are online: a set of devices by the time at which they count as gone, in coarse
//! steps, so that counting them costs nothing.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use hearth_types::{DeviceKey, TenantId, Timestamp};

/// A device whose interval isn't known is online for so long after its last sign of life.
const UNKNOWN_INTERVAL: Duration = Duration::from_secs(15 * 60);
/// Width of a step, in microseconds.
const STEP: i64 = 1_000_000;

/// Until when a device counts as online: 2.5 periodic intervals after it was last seen.
pub fn online_until(last_seen: Timestamp, interval: u32) -> Timestamp {
    last_seen.saturating_add(match interval {
        0 => UNKNOWN_INTERVAL,
        seconds => Duration::from_secs(u64::from(seconds)) * 5 / 2,
    })
}

/// The devices of all tenants.
#[derive(Debug, Default)]
pub struct Online {
    tenants: HashMap<TenantId, Tenant>,
    hasher: ahash::RandomState,
}

#[derive(Debug, Default)]
struct Tenant {
    /// By the hash of the device: the step in which it stands.
    devices: HashMap<u64, i64, ahash::RandomState>,
    steps: BTreeMap<i64, u64>,
}

impl Online {
    /// A device was seen.
    pub fn seen(&mut self, device: &DeviceKey, until: Timestamp) {
        let hash = self.hasher.hash_one(&device.device);
        let step = until.as_micros().div_euclid(STEP);
        let tenant = match self.tenants.get_mut(&device.tenant) {
            Some(tenant) => tenant,
            None => self.tenants.entry(device.tenant.clone()).or_default(),
        };
        match tenant.devices.insert(hash, step) {
            Some(old) if old == step => return,
            Some(old) => tenant.leave(old),
            None => {}
        }
        *tenant.steps.entry(step).or_default() += 1;
    }

    /// A device was read from the store, which may be older than what was seen here, or newer than
    /// what was seen here before another process worked on it.
    pub fn load(&mut self, device: &DeviceKey, until: Timestamp) {
        let hash = self.hasher.hash_one(&device.device);
        let tenant = self.tenants.get(&device.tenant);
        let known = tenant.and_then(|tenant| tenant.devices.get(&hash));
        if known.is_none_or(|step| *step < until.as_micros().div_euclid(STEP)) {
            self.seen(device, until);
        }
    }

    /// A device is gone.
    pub fn forget(&mut self, device: &DeviceKey) {
        let hash = self.hasher.hash_one(&device.device);
        if let Some(tenant) = self.tenants.get_mut(&device.tenant)
            && let Some(step) = tenant.devices.remove(&hash)
        {
            tenant.leave(step);
        }
    }

    /// How many are online, by tenant.
    pub fn counts(&self, now: Timestamp) -> impl Iterator<Item = (&TenantId, u64)> {
        let step = now.as_micros().div_euclid(STEP);
        let count = move |of: &Tenant| of.steps.range(step..).map(|(_, count)| count).sum();
        self.tenants.iter().map(move |(id, of)| (id, count(of)))
    }
}

impl Tenant {
    fn leave(&mut self, step: i64) {
        if let Some(count) = self.steps.get_mut(&step) {
            *count -= 1;
            if *count == 0 {
                self.steps.remove(&step);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn devices_go_offline_by_themselves() {
        let mut online = Online::default();
        let tenant = TenantId::default();
        let device = |n| DeviceKey::new(tenant.clone(), format!("001122-X-{n}").parse().unwrap());
        let at = |seconds: i64| Timestamp::from_micros(seconds * 1_000_000);
        let count = |online: &Online, now| -> u64 {
            let counts = online.counts(now).filter(|(of, _)| **of == tenant);
            counts.map(|(_, count)| count).sum()
        };
        online.seen(&device(1), online_until(at(0), 100));
        online.load(&device(1), at(10));
        online.seen(&device(2), online_until(at(0), 0));
        assert_eq!(count(&online, at(0)), 2);
        assert_eq!(count(&online, at(250)), 2);
        assert_eq!(count(&online, at(251)), 1);
        online.seen(&device(1), online_until(at(300), 100));
        assert_eq!(count(&online, at(301)), 2);
        online.forget(&device(2));
        assert_eq!(count(&online, at(301)), 1);
        assert_eq!(count(&online, at(2000)), 0);
    }
}
