//! How often: a bucket of tokens for each source or subnet. An IPv4 address counts alone or with
//! its /24; an IPv6 one with its /64, which one customer has.

use moka::sync::Cache;
use parking_lot::Mutex;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::{sync::Arc, time::Duration, time::Instant};

/// Buckets in memory at most.
const BUCKETS: u64 = 100_000;
/// A bucket that nobody took from is full after a second; it is kept a little longer.
const IDLE: Duration = Duration::from_secs(10);

/// What counts together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grain {
    /// An address; of IPv6 a /64.
    Source,
    /// A /24; of IPv6 a /64.
    Subnet,
}

/// Buckets of `rate` tokens that fill within a second.
pub struct Pace {
    rate: f64,
    grain: Grain,
    buckets: Cache<IpAddr, Arc<Mutex<Bucket>>>,
}

struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Pace {
    pub fn new(rate: u32, grain: Grain) -> Self {
        Self {
            rate: f64::from(rate),
            grain,
            buckets: Cache::builder()
                .max_capacity(BUCKETS)
                .time_to_idle(IDLE)
                .build(),
        }
    }

    /// Takes a token; otherwise says how long until there is one.
    pub fn take(&self, ip: IpAddr) -> Result<(), Duration> {
        self.take_at(ip, Instant::now())
    }

    fn take_at(&self, ip: IpAddr, now: Instant) -> Result<(), Duration> {
        let full = || {
            Arc::new(Mutex::new(Bucket {
                tokens: self.rate,
                at: now,
            }))
        };
        let bucket = self.buckets.get_with(network(ip, self.grain), full);
        let mut bucket = bucket.lock();
        let passed = now.saturating_duration_since(bucket.at).as_secs_f64();
        bucket.tokens = passed.mul_add(self.rate, bucket.tokens).min(self.rate);
        bucket.at = now;
        if bucket.tokens >= 1.0 {
            bucket.tokens -= 1.0;
            return Ok(());
        }
        Err(Duration::from_secs_f64((1.0 - bucket.tokens) / self.rate))
    }
}

fn network(ip: IpAddr, grain: Grain) -> IpAddr {
    match (ip.to_canonical(), grain) {
        (IpAddr::V4(ip), Grain::Source) => ip.into(),
        (IpAddr::V4(ip), Grain::Subnet) => Ipv4Addr::from(u32::from(ip) & 0xffff_ff00).into(),
        (IpAddr::V6(ip), _) => Ipv6Addr::from(u128::from(ip) >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_subnet_shares_and_fills_again() {
        let pace = Pace::new(10, Grain::Subnet);
        let start = Instant::now();
        for host in 0..10 {
            let address = ip(&format!("10.0.0.{host}"));
            assert_eq!(pace.take_at(address, start), Ok(()));
        }
        let wait = pace.take_at(ip("10.0.0.99"), start).unwrap_err();
        assert_eq!(wait, Duration::from_millis(100));
        assert_eq!(pace.take_at(ip("10.0.1.1"), start), Ok(()), "another /24");
        assert_eq!(pace.take_at(ip("10.0.0.99"), start + wait), Ok(()));
        assert!(pace.take_at(ip("::ffff:10.0.0.7"), start + wait).is_err());
    }

    #[test]
    fn an_ipv6_customer_is_one() {
        let pace = Pace::new(1, Grain::Source);
        let start = Instant::now();
        assert!(pace.take_at(ip("2001:db8::1"), start).is_ok());
        assert!(pace.take_at(ip("2001:db8::ffff"), start).is_err());
        assert!(pace.take_at(ip("2001:db8:0:1::1"), start).is_ok());
        assert!(pace.take_at(ip("192.0.2.1"), start).is_ok());
        assert!(pace.take_at(ip("192.0.2.2"), start).is_ok());
    }
}
