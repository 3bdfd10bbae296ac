//! The devices: mixed kinds and manners, on a compressed clock, and the known devices that a
//! large installation has besides.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use hearth_types::DeviceId;

use super::api::TENANT;
use super::plan::Target;
use crate::{AuthStyle, Behaviour, Device, Fleet, FleetOptions, Keep, Kind, ListenerStyle};

/// Devices of one batch of known ones.
const BATCH: usize = 2000;
/// The event by which a device says that it has nothing more to tell.
const SETTLED: &str = "X 00D09E Settled";

/// How devices live.
#[derive(Clone, Debug)]
pub struct Life {
    /// Real seconds for one of a device.
    pub time_scale: f64,
    /// The interval of periodic Informs, by the devices' clock.
    pub periodic: Duration,
    /// The first Informs are spread over this time.
    pub spread: Duration,
    /// How long a device waits for an answer.
    pub timeout: Duration,
    /// What serial numbers begin with.
    pub prefix: String,
}

impl Default for Life {
    /// A periodic Inform each 3 s, the first retry of a failed session after 0.25 to 0.5 s.
    fn default() -> Self {
        Self {
            time_scale: 0.05,
            periodic: Duration::from_secs(60),
            spread: Duration::from_secs(1),
            timeout: Behaviour::default().timeout,
            prefix: "KILL".to_owned(),
        }
    }
}

/// How devices reach the server.
#[derive(Clone, Debug)]
pub struct Login {
    /// The URL for devices.
    pub acs: String,
    /// Onboarding user.
    pub username: String,
    /// Onboarding password.
    pub password: String,
    /// What the server asks devices to connect with.
    pub request_username: String,
    /// The password.
    pub request_password: String,
}

fn options(login: &Login, count: usize, seed: u64) -> FleetOptions {
    FleetOptions {
        count,
        username: login.username.clone(),
        password: login.password.as_str().into(),
        connection_request_username: login.request_username.clone(),
        connection_request_password: login.request_password.as_str().into(),
        seed,
        ..FleetOptions::new(login.acs.clone())
    }
}

/// Starts the devices under test: `tasked` ones that differ, and so many well-behaved `more`.
///
/// # Errors
/// No port for connection requests.
pub async fn start(
    login: &Login,
    tasked: usize,
    more: usize,
    life: &Life,
    seed: u64,
) -> Result<Fleet> {
    let own = ["Device.", "InternetGatewayDevice."];
    let targets = own.map(|root| Target {
        root: root.to_owned(),
        resets: false,
    });
    let inform = targets.iter().flat_map(|target| {
        let [first, second] = target.set_paths();
        [first, second, target.own_path()]
    });
    let options = FleetOptions {
        periodic: Some(life.periodic),
        time_scale: life.time_scale,
        start_spread: life.spread,
        keep: Keep::Everything,
        inform: inform.collect(),
        serial_prefix: life.prefix.clone(),
        behaviour: Behaviour {
            latency: (Duration::from_millis(1), Duration::from_millis(15)),
            timeout: life.timeout,
            ..Behaviour::default()
        },
        ..options(login, tasked + more, seed)
    };
    let fleet = Fleet::start(options).await?;
    for (number, device) in fleet.devices().iter().take(tasked).enumerate() {
        device.behave(|behaviour| manners(number, behaviour));
    }
    Ok(fleet)
}

/// Devices differ. The divisors have no common factor with the number of kinds, so that each
/// manner meets each kind.
fn manners(number: usize, behaviour: &mut Behaviour) {
    behaviour.chunked = number % 5 == 1;
    behaviour.gzip = number % 7 == 2;
    behaviour.connection_per_turn = number % 5 == 3;
    behaviour.booleans_as_digits = number % 7 == 4;
    behaviour.late_transfer_complete = number % 11 == 5;
    behaviour.stale_cookies = number % 5 == 4;
    behaviour.transfer_at_once = number % 13 == 6;
    behaviour.authentication = match number % 7 {
        0 => AuthStyle::Basic,
        1 => AuthStyle::UnauthenticatedFirst,
        _ => AuthStyle::Challenge,
    };
    behaviour.listener = match number % 11 {
        0 => ListenerStyle::Broken,
        1 => ListenerStyle::WithoutQop,
        _ => ListenerStyle::Proper,
    };
}

/// What the planner knows of the fleet's devices, and their names in the API.
///
/// # Errors
/// An identity that the server would not take.
pub fn targets(fleet: &Fleet) -> Result<(Vec<Target>, Vec<String>)> {
    let mut targets = Vec::new();
    let mut names = Vec::new();
    for (number, device) in fleet.devices().iter().enumerate() {
        targets.push(Target {
            root: device.with_tree(|tree| tree.root().to_owned()),
            // A third of each kind.
            resets: number / Kind::OWN.len() % 3 == 2,
        });
        names.push(name(device)?);
    }
    Ok((targets, names))
}

fn name(device: &Device) -> Result<String> {
    let id = device.id();
    let id = DeviceId::new(&id.oui, &id.product_class, &id.serial_number)?;
    Ok(format!("{TENANT}/devices/{id}"))
}

/// Waits until every device has informed.
///
/// # Errors
/// When they don't within `limit`.
pub async fn informed(fleet: &Fleet, limit: Duration) -> Result<()> {
    let until = Instant::now() + limit;
    loop {
        let stats = fleet.stats();
        if stats.informed == stats.devices && stats.in_session == 0 {
            return Ok(());
        }
        if Instant::now() > until {
            bail!(
                "only {} of {} devices could inform within {} s ({} sessions failed)",
                stats.informed,
                stats.devices,
                limit.as_secs(),
                stats.failed_sessions
            );
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Has so many other devices inform once, each in a real session, and go silent.
///
/// # Errors
/// When they can't.
pub async fn preload(login: &Login, count: usize, seed: u64) -> Result<()> {
    let start = Instant::now();
    let mut done = 0;
    while done < count {
        let batch = BATCH.min(count - done);
        let options = FleetOptions {
            periodic: None,
            keep: Keep::Counts,
            max_sessions: 64,
            serial_prefix: "KNOWN".to_owned(),
            first_number: done + 1,
            ..options(login, batch, seed.wrapping_add(done as u64))
        };
        let fleet = Fleet::start(options).await?;
        informed(&fleet, Duration::from_secs(600)).await?;
        fleet.stop().await;
        done += batch;
        if done % 10_000 == 0 || done == count {
            let rate = done as f64 / start.elapsed().as_secs_f64();
            println!("known devices: {done} of {count} have informed, {rate:.0} a second");
        }
    }
    Ok(())
}

/// Has every device inform once more, and waits until all those Informs are acknowledged. False
/// if some were not within `limit`.
///
/// All of them at once are a crowd, of which the server may put some off, and a device that has
/// failed often before waits for many minutes then: each is told again until it has.
pub async fn settle(fleet: &Fleet, limit: Duration) -> bool {
    const AGAIN: Duration = Duration::from_secs(5);
    for device in fleet.devices() {
        device.trigger(SETTLED, "");
    }
    let until = Instant::now() + limit;
    let mut again = Instant::now() + AGAIN;
    let told = |device: &Device| {
        device.with_ledger(|ledger| {
            let events = ledger
                .acknowledged()
                .iter()
                .rev()
                .flat_map(|inform| &inform.events);
            events.into_iter().any(|(code, _)| code == SETTLED)
        })
    };
    while Instant::now() < until {
        if fleet
            .devices()
            .iter()
            .all(|device| told(device) && !device.in_session())
        {
            return true;
        }
        if Instant::now() > again {
            again = Instant::now() + AGAIN;
            let late = fleet.devices().iter();
            for device in late.filter(|device| !told(device) && !device.in_session()) {
                device.trigger(SETTLED, "");
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    false
}
