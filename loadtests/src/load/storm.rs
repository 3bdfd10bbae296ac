//! The scenario `storm`: all devices of several tenants inform in one moment, as after a power cut
//! or a network's outage, and come again as they are told until each is in.
//!
//! A device has a connection of its own. Answered 503 it waits as long as Retry-After says; with no
//! answer, or none that says when, 5 to 10 s (TR-069 3.2.1.1, the first retry).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hearth_auth::SecretString;
use serde::Serialize;
use tokio::sync::Barrier;

use super::LoadError;
use super::dial::Dialer;
use super::inform::Template;
use super::wire::{Auth, Connection, Outline, Target};
use crate::dice::Dice;

/// A device gives up after so many tries.
const MAX_TRIES: u32 = 1000;
/// The first retry's wait, to twice as long (TR-069 3.2.1.1).
const FIRST_RETRY: Duration = Duration::from_secs(5);

/// A tenant's devices.
#[derive(Clone, Debug)]
pub struct StormTenant {
    /// Its name, which the URL ends with.
    pub name: String,
    /// How many.
    pub devices: u32,
}

/// What is run.
#[derive(Clone, Debug)]
pub struct StormOptions {
    /// The ACS's URL, without a tenant.
    pub url: String,
    /// Who storms.
    pub tenants: Vec<StormTenant>,
    /// The user of all devices.
    pub username: String,
    /// The password.
    pub password: SecretString,
    /// The first device's number.
    pub first_device: u32,
}

/// What came out.
#[derive(Clone, Debug, Default, Serialize)]
pub struct StormReport {
    /// Each tenant, in the order of the options.
    pub tenants: Vec<StormTally>,
    /// Seconds until all were in.
    pub seconds: f64,
    /// How many devices were in at the end of each tenth of that time, of each tenant.
    pub in_by_tenth: Vec<Vec<u64>>,
    /// How often each Retry-After was answered, in seconds.
    pub retry_after: BTreeMap<u32, u64>,
}

/// What became of a tenant's devices.
#[derive(Clone, Debug, Default, Serialize)]
pub struct StormTally {
    /// Its name.
    pub name: String,
    /// Devices.
    pub devices: u64,
    /// Devices whose session ended well.
    pub in_at_last: u64,
    /// Sessions begun.
    pub tries: u64,
    /// Informs that were answered 503.
    pub refused: u64,
    /// Refusals without Retry-After.
    pub refused_without_time: u64,
    /// Later turns of a session that were answered 503: what was let in is to be served.
    pub refused_in_session: u64,
    /// No answer: the connection was refused, closed, or took too long.
    pub no_answer: u64,
    /// Other statuses.
    pub wrong: u64,
    /// Seconds until half of them were in.
    pub half_in: f64,
    /// Seconds until nine of ten were in.
    pub most_in: f64,
    /// Seconds until the last was in.
    pub all_in: f64,
}

impl StormTally {
    /// Refusals for each device.
    #[must_use]
    pub fn refused_per_device(&self) -> f64 {
        self.refused as f64 / self.devices.max(1) as f64
    }
}

/// Runs it.
///
/// # Errors
/// A URL that can't be asked.
pub async fn run(options: &StormOptions) -> Result<StormReport, LoadError> {
    let template = Arc::new(Template::periodic()?);
    let count: usize = options.tenants.iter().map(|t| t.devices as usize).sum();
    let begin = Arc::new(Barrier::new(count + 1));
    let mut number = options.first_device;
    let mut tenants = Vec::new();
    for tenant in &options.tenants {
        let url = format!("{}/t/{}", options.url.trim_end_matches('/'), tenant.name);
        let target = Target::new(
            &url,
            Auth::Basic,
            &options.username,
            &options.password,
            Dialer::default(),
        )?;
        let mut devices = Vec::new();
        for _ in 0..tenant.devices {
            let device = Device {
                connection: Connection::new(target.clone()),
                template: template.clone(),
                number,
                dice: Dice::new(u64::from(number)),
                life: Life::default(),
            };
            number += 1;
            devices.push(tokio::spawn(device.storm(begin.clone())));
        }
        tenants.push((tenant, devices));
    }
    begin.wait().await;
    let mut report = StormReport::default();
    let mut moments = Vec::new();
    for (tenant, devices) in tenants {
        let mut tally = StormTally {
            name: tenant.name.clone(),
            devices: u64::from(tenant.devices),
            ..StormTally::default()
        };
        let mut ends = Vec::new();
        for device in devices {
            let life = device
                .await
                .map_err(|error| LoadError::Server(format!("a device's task ended: {error}")))?;
            tally.add(&life);
            for secs in life.told {
                *report.retry_after.entry(secs).or_default() += 1;
            }
            ends.extend(life.is_in);
        }
        ends.sort_unstable();
        tally.ends(&ends);
        report.seconds = report.seconds.max(tally.all_in);
        report.tenants.push(tally);
        moments.push(ends);
    }
    for tenth in 1..=10 {
        let until = Duration::from_secs_f64(report.seconds * f64::from(tenth) / 10.0);
        // The last one's own moment was rounded.
        let until = until + Duration::from_millis(1);
        let so_far = |ends: &Vec<Duration>| ends.partition_point(|at| *at <= until) as u64;
        report
            .in_by_tenth
            .push(moments.iter().map(so_far).collect());
    }
    Ok(report)
}

impl StormTally {
    fn add(&mut self, life: &Life) {
        self.tries += u64::from(life.tries);
        self.refused += life.told.len() as u64 + u64::from(life.untold);
        self.refused_without_time += u64::from(life.untold);
        self.refused_in_session += u64::from(life.refused_in_session);
        self.no_answer += u64::from(life.no_answer);
        self.wrong += u64::from(life.wrong);
    }

    /// Of the moments at which devices were in, in their order.
    fn ends(&mut self, ends: &[Duration]) {
        let at = |share: f64| {
            let place = (ends.len() as f64 * share).ceil() as usize;
            let at = ends.get(place.saturating_sub(1));
            at.map_or(0.0, Duration::as_secs_f64)
        };
        self.in_at_last = ends.len() as u64;
        (self.half_in, self.most_in, self.all_in) = (at(0.5), at(0.9), at(1.0));
    }
}

/// What happened to a device.
#[derive(Debug, Default)]
struct Life {
    tries: u32,
    /// What its refusals said, in seconds.
    told: Vec<u32>,
    untold: u32,
    refused_in_session: u32,
    no_answer: u32,
    wrong: u32,
    /// After how long it was in.
    is_in: Option<Duration>,
}

struct Device {
    connection: Connection,
    template: Arc<Template>,
    number: u32,
    dice: Dice,
    life: Life,
}

impl Device {
    async fn storm(mut self, begin: Arc<Barrier>) -> Life {
        let mut body = Vec::new();
        self.template.write(self.number, 1, &mut body);
        begin.wait().await;
        let start = Instant::now();
        while self.life.tries < MAX_TRIES {
            self.life.tries += 1;
            match self.session(&body).await {
                None => {
                    self.life.is_in = Some(start.elapsed());
                    break;
                }
                Some(pause) => tokio::time::sleep(pause).await,
            }
        }
        self.life
    }

    /// A session; when to come again where it didn't end well.
    async fn session(&mut self, inform: &[u8]) -> Option<Duration> {
        self.connection.new_session();
        let first_retry = self.dice.between(FIRST_RETRY, 2 * FIRST_RETRY);
        match self.connection.post(inform).await {
            Ok(Outline { status: 200, .. }) => {}
            Ok(Outline { status: 503, .. }) => {
                let told = self.connection.retry_after;
                match told {
                    Some(secs) => self.life.told.push(secs),
                    None => self.life.untold += 1,
                }
                let told = told.map(|secs| Duration::from_secs(secs.into()));
                return Some(told.unwrap_or(first_retry));
            }
            Ok(_) => {
                self.life.wrong += 1;
                return Some(first_retry);
            }
            Err(_) => {
                self.life.no_answer += 1;
                return Some(first_retry);
            }
        }
        match self.connection.post(&[]).await {
            Ok(Outline { status: 204, .. }) => None,
            // Something is asked of it: it is in, and hangs up, as a device that lost its line.
            Ok(Outline { status: 200, .. }) => None,
            Ok(Outline { status: 503, .. }) => {
                self.life.refused_in_session += 1;
                Some(first_retry)
            }
            Ok(_) => {
                self.life.wrong += 1;
                Some(first_retry)
            }
            Err(_) => {
                self.life.no_answer += 1;
                Some(first_retry)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenants_moments_are_told_by_their_order() {
        let ends: Vec<_> = (1..=10).map(Duration::from_secs).collect();
        let mut tally = StormTally::default();
        tally.ends(&ends);
        assert_eq!(tally.in_at_last, 10);
        assert_eq!(
            (tally.half_in, tally.most_in, tally.all_in),
            (5.0, 9.0, 10.0)
        );
        tally.ends(&[]);
        assert_eq!((tally.in_at_last, tally.all_in), (0, 0.0));
    }
}
