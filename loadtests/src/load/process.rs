//! What a process costs, read from `/proc`.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{LoadError, io};

/// The processor time that a process and its threads have used so far.
///
/// # Errors
/// There is no such process, or no `/proc`.
pub fn cpu_time(pid: u32) -> Result<Duration, LoadError> {
    let path = format!("/proc/{pid}/stat");
    let text = std::fs::read_to_string(&path).map_err(io(format!("reading {path}")))?;
    let ticks = ticks(&text).ok_or_else(|| LoadError::Server(format!("{path} is not readable")))?;
    let per_second = rustix::param::clock_ticks_per_second();
    Ok(Duration::from_secs_f64(ticks as f64 / per_second as f64))
}

/// utime and stime, fields 14 and 15. The second field, the name, may hold blanks and brackets.
fn ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.get(stat.rfind(')')? + 2..)?.split(' ');
    let user: u64 = fields.nth(11)?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// The memory that a process has resident, in bytes; `None` if it can't be read.
pub fn resident(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes << 10)
}

/// A process whose processor time is counted, written `NAME=PID`, as `gateway=1234`. Processes of
/// one name are counted together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    /// What it is: a role, or a server.
    pub name: String,
    /// Its id.
    pub pid: u32,
    /// It is one of the ACS's own, not of a server that the ACS uses.
    pub own: bool,
}

impl FromStr for Watched {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, pid) = text
            .split_once('=')
            .filter(|(name, _)| !name.is_empty())
            .ok_or("expected NAME=PID")?;
        let pid = pid
            .parse()
            .map_err(|_| format!("`{pid}` is no process id"))?;
        Ok(Self {
            name: name.to_owned(),
            pid,
            own: true,
        })
    }
}

/// What the processes of one name cost while something was measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Their name.
    pub name: String,
    /// How many they are.
    pub processes: usize,
    /// They are the ACS's own.
    pub own: bool,
    /// Their processor time, in seconds.
    pub cpu_seconds: f64,
    /// Units of work for each of these seconds; none if they used no time that can be measured.
    pub per_cpu_second: Option<f64>,
    /// Their resident memory at the end, in bytes.
    pub resident_bytes: u64,
}

/// Counts processor time from its making on.
#[derive(Debug)]
pub struct Costs(Vec<(Watched, Duration)>);

impl Costs {
    /// The name of the sum over the ACS's own processes.
    pub const ALL: &str = "all own";

    /// Begins.
    ///
    /// # Errors
    /// A process that isn't there.
    pub fn begin(watched: &[Watched]) -> Result<Self, LoadError> {
        let read = |one: &Watched| Ok((one.clone(), cpu_time(one.pid)?));
        watched.iter().map(read).collect::<Result<_, _>>().map(Self)
    }

    /// What was used, by name, and the sum over the ACS's own if there are several names. `work`
    /// is how much was done meanwhile.
    ///
    /// # Errors
    /// A process that isn't there any more.
    pub fn end(&self, work: u64) -> Result<Vec<Cost>, LoadError> {
        let mut names: BTreeMap<&str, Cost> = BTreeMap::new();
        let mut all = Cost {
            name: Self::ALL.to_owned(),
            own: true,
            ..Cost::default()
        };
        for (one, before) in &self.0 {
            let used = cpu_time(one.pid)?.saturating_sub(*before).as_secs_f64();
            let resident = resident(one.pid).unwrap_or(0);
            let cost = names.entry(&one.name).or_insert_with(|| Cost {
                name: one.name.clone(),
                own: one.own,
                ..Cost::default()
            });
            cost.add(used, resident);
            if one.own {
                all.add(used, resident);
            }
        }
        let several = names.values().filter(|cost| cost.own).count() > 1;
        let mut out: Vec<_> = names.into_values().collect();
        out.extend(several.then_some(all));
        for cost in &mut out {
            cost.of(work);
        }
        Ok(out)
    }
}

impl Cost {
    /// Says how much was done in this time.
    pub fn of(&mut self, work: u64) {
        let seconds = self.cpu_seconds;
        self.per_cpu_second = (seconds > 0.0).then(|| work as f64 / seconds);
    }

    fn add(&mut self, cpu_seconds: f64, resident_bytes: u64) {
        self.processes += 1;
        self.cpu_seconds += cpu_seconds;
        self.resident_bytes += resident_bytes;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_name_with_brackets() {
        let stat = "12 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 30 12 0 0";
        assert_eq!(ticks(stat), Some(42));
    }

    #[test]
    fn costs_by_name_and_in_all() {
        let pid = std::process::id();
        let watched = |name: &str| format!("{name}={pid}").parse::<Watched>().unwrap();
        let mut nats = watched("nats");
        nats.own = false;
        let list = [
            watched("gateway"),
            watched("gateway"),
            watched("workflow"),
            nats,
        ];
        let costs = Costs::begin(&list).unwrap().end(100).unwrap();
        let counts: Vec<_> = costs
            .iter()
            .map(|cost| (cost.name.as_str(), cost.processes))
            .collect();
        let expected = [
            ("gateway", 2),
            ("nats", 1),
            ("workflow", 1),
            (Costs::ALL, 3),
        ];
        assert_eq!(counts, expected);
        for wrong in ["gateway", "=1", "gateway=x"] {
            assert!(wrong.parse::<Watched>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn this_process() {
        assert!(cpu_time(std::process::id()).is_ok());
        assert!(resident(std::process::id()).unwrap() > 0);
        assert!(cpu_time(u32::MAX).is_err());
    }
}
