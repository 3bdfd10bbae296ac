//! Fair shares of tenants.
//!
//! A tenant whose devices storm must not keep out those of another. While there is room, each may
//! take what it likes; when half of the places are taken, none gets more than the places divided by
//! the tenants that hold some.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use hearth_types::TenantId;
use parking_lot::Mutex;

/// Places that each tenant holds. Tenants that hold none are not in it.
#[derive(Debug, Default)]
pub(crate) struct Shares(Mutex<HashMap<TenantId, usize>>);

impl Shares {
    /// Counts a place for the tenant, of which `taken` of `limit` are taken already; `false` when it
    /// has its share.
    pub(crate) fn take(&self, tenant: &TenantId, taken: usize, limit: usize) -> bool {
        let mut held = self.0.lock();
        let own = held.get(tenant).copied().unwrap_or(0);
        if taken.saturating_mul(2) >= limit {
            let tenants = held.len() + usize::from(own == 0);
            if own >= (limit / tenants).max(1) {
                return false;
            }
        }
        match held.get_mut(tenant) {
            Some(own) => *own += 1,
            None => drop(held.insert(tenant.clone(), 1)),
        }
        true
    }

    /// Gives a place back.
    pub(crate) fn give_back(&self, tenant: &TenantId) {
        if let Entry::Occupied(mut own) = self.0.lock().entry(tenant.clone()) {
            match own.get() {
                0 | 1 => drop(own.remove()),
                _ => *own.get_mut() -= 1,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_storming_tenant_leaves_the_others_their_share() {
        let shares = Shares::default();
        let (loud, quiet): (TenantId, TenantId) =
            ("loud".parse().unwrap(), "quiet".parse().unwrap());
        let limit = 10;
        let mut taken = 0;
        // Alone, it may have everything.
        while shares.take(&loud, taken, limit) {
            taken += 1;
        }
        assert_eq!(taken, limit);
        // As its places come back, the other one gets up to half, and it no more than that.
        let mut quiets = 0;
        for _ in 0..5 {
            shares.give_back(&loud);
            taken -= 1;
            assert!(shares.take(&quiet, taken, limit));
            (taken, quiets) = (taken + 1, quiets + 1);
            assert!(!shares.take(&loud, taken - 1, limit), "{quiets}");
        }
        assert!(!shares.take(&quiet, taken - 1, limit));
        for _ in 0..5 {
            shares.give_back(&loud);
            shares.give_back(&quiet);
        }
        assert!(shares.0.lock().is_empty());
    }
}
