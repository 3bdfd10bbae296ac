//! Metrics of the process itself, read from `/proc` at each rendering, and of its build.

use std::fs;

use crate::metrics::{MetricDef, MetricError, Registry};

/// The metrics of [`register_process_metrics`]; names as every Prometheus client has them.
pub const METRICS: &[MetricDef] = &[
    MetricDef::gauge("process_resident_memory_bytes", "Resident memory in bytes"),
    MetricDef::counter(
        "process_cpu_seconds_total",
        "User and system CPU time in seconds",
    ),
    MetricDef::gauge("process_open_fds", "Open file descriptors"),
    MetricDef::gauge(
        "process_max_fds",
        "The most file descriptors the process may open",
    ),
    MetricDef::gauge("process_threads", "Threads of the process"),
    MetricDef::gauge(
        "process_start_time_seconds",
        "Start of the process in seconds since the Unix epoch",
    ),
];

/// Version and commit of what runs, as labels of a constant 1.
pub const BUILD_INFO: MetricDef = MetricDef::gauge(
    "hearth_build_info",
    "Version and commit of this build; always 1",
)
.labels(&["version", "commit"]);

/// Registers [`METRICS`].
///
/// # Errors
/// [`MetricError`], when they are registered already.
pub fn register_process_metrics(registry: &Registry) -> Result<(), MetricError> {
    registry.polled(METRICS, || {
        let stat = read_stat();
        vec![
            status_kib("VmRSS:") * 1024.0,
            stat.cpu_seconds,
            open_fds(),
            max_fds(),
            stat.threads,
            stat.start_seconds,
        ]
    })
}

/// Registers [`BUILD_INFO`].
///
/// # Errors
/// [`MetricError`], when it is registered already.
pub fn register_build_info(
    registry: &Registry,
    version: &str,
    commit: &str,
) -> Result<(), MetricError> {
    registry
        .gauge_vec(&BUILD_INFO)?
        .with_label_values(&[version, commit])
        .set(1);
    Ok(())
}

/// What `/proc/self/stat` tells; zeros where it can't be read.
#[derive(Debug, Default, PartialEq)]
struct Stat {
    cpu_seconds: f64,
    threads: f64,
    start_seconds: f64,
}

/// The kernel's unit for times in `/proc`, fixed by its ABI for programs (USER_HZ).
const TICKS_PER_SECOND: f64 = 100.0;

fn read_stat() -> Stat {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let boot = fs::read_to_string("/proc/stat").unwrap_or_default();
    let boot = boot
        .lines()
        .find_map(|line| line.strip_prefix("btime "))
        .and_then(|seconds| seconds.trim().parse::<f64>().ok())
        .unwrap_or(0.0);
    parse_stat(&stat, boot)
}

fn parse_stat(stat: &str, boot_seconds: f64) -> Stat {
    // The second field is the executable's name in brackets, which may hold anything: count from
    // after it. Field 3 of proc(5) is number 0 here.
    let Some((_, rest)) = stat.rsplit_once(") ") else {
        return Stat::default();
    };
    let field = |number: usize| {
        rest.split(' ')
            .nth(number - 3)
            .and_then(|text| text.parse::<f64>().ok())
            .unwrap_or(0.0)
    };
    Stat {
        cpu_seconds: (field(14) + field(15)) / TICKS_PER_SECOND,
        threads: field(20),
        start_seconds: boot_seconds + field(22) / TICKS_PER_SECOND,
    }
}

fn status_kib(key: &str) -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix(key))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse().ok())
        .unwrap_or(0.0)
}

fn open_fds() -> f64 {
    // One of them is the directory being read.
    let count =
        fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count().saturating_sub(1));
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

fn max_fds() -> f64 {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse().ok())
        .unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn stat_is_read_past_a_hostile_name() {
        let stat = "7 (a ) R 1 2) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 9 0 1000 1 1";
        let parsed = parse_stat(stat, 5.0);
        assert_eq!(
            parsed,
            Stat {
                cpu_seconds: 3.0,
                threads: 9.0,
                start_seconds: 15.0
            }
        );
        assert_eq!(parse_stat("", 0.0), Stat::default());
    }

    #[test]
    fn this_process_has_memory_files_and_a_start() {
        let registry = Registry::new();
        register_process_metrics(&registry).unwrap();
        register_build_info(&registry, "0.1.0", "abc").unwrap();
        let text = registry.render();
        let value = |name: &str| {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap();
            line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()
        };
        assert!(value("process_resident_memory_bytes") > 100_000.0);
        assert!(value("process_open_fds") >= 3.0);
        assert!(value("process_max_fds") >= value("process_open_fds"));
        assert!(value("process_threads") >= 1.0);
        assert!(value("process_start_time_seconds") > 1_577_836_800.0);
        assert!(
            text.contains("hearth_build_info{commit=\"abc\",version=\"0.1.0\"} 1"),
            "{text}"
        );
    }
}
