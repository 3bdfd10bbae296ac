//! Times as people read them.

use hearth_proto::ProtoTimestamp;
use jiff::{Timestamp, tz::TimeZone};

/// The time of a message; `None` where it is out of range.
pub(crate) fn read(time: &ProtoTimestamp) -> Option<Timestamp> {
    Timestamp::new(time.seconds, time.nanos).ok()
}

/// The time for a message.
pub(crate) fn write(time: Timestamp) -> ProtoTimestamp {
    // The proto form has nanoseconds from 0 up.
    let nanos = time.as_nanosecond();
    ProtoTimestamp {
        seconds: i64::try_from(nanos.div_euclid(1_000_000_000)).unwrap_or_default(),
        nanos: i32::try_from(nanos.rem_euclid(1_000_000_000)).unwrap_or_default(),
    }
}

/// `2m ago`, `in 5m`, `just now`; empty for no time.
pub(crate) fn relative(time: Option<&ProtoTimestamp>, now: Timestamp) -> String {
    let Some(time) = time.and_then(read) else {
        return String::new();
    };
    let seconds = now.as_second().saturating_sub(time.as_second());
    let text = rough(seconds.unsigned_abs());
    match seconds {
        -1..=1 => "just now".into(),
        2.. => format!("{text} ago"),
        _ => format!("in {text}"),
    }
}

/// `2026-01-31 12:00:00 (2m ago)`; empty for no time.
pub(crate) fn both(time: Option<&ProtoTimestamp>, now: Timestamp, zone: &TimeZone) -> String {
    let Some(moment) = time.and_then(read) else {
        return String::new();
    };
    let zoned = moment.to_zoned(zone.clone());
    format!(
        "{} ({})",
        zoned.strftime("%Y-%m-%d %H:%M:%S"),
        relative(time, now)
    )
}

/// `12:00:00`
pub(crate) fn clock(time: Option<&ProtoTimestamp>, zone: &TimeZone) -> String {
    match time.and_then(read) {
        Some(moment) => moment
            .to_zoned(zone.clone())
            .strftime("%H:%M:%S")
            .to_string(),
        None => "        ".into(),
    }
}

/// Seconds in the largest unit that gives 1 or more of it; two units where one would be coarse.
pub(crate) fn rough(seconds: u64) -> String {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    match seconds {
        0..MINUTE => format!("{seconds}s"),
        MINUTE..HOUR => format!("{}m", seconds / MINUTE),
        HOUR..DAY => match (seconds / HOUR, seconds % HOUR / MINUTE) {
            (hours @ 1..=4, minutes @ 1..) => format!("{hours}h{minutes}m"),
            (hours, _) => format!("{hours}h"),
        },
        _ => format!("{}d", seconds / DAY),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn distances() {
        let now: Timestamp = "2026-01-31T12:00:00Z".parse().unwrap();
        for (time, text) in [
            ("2026-01-31T12:00:00Z", "just now"),
            ("2026-01-31T11:59:18Z", "42s ago"),
            ("2026-01-31T11:57:59Z", "2m ago"),
            ("2026-01-31T10:29:00Z", "1h31m ago"),
            ("2026-01-31T02:29:00Z", "9h ago"),
            ("2026-01-01T12:00:00Z", "30d ago"),
            ("2026-01-31T12:05:00Z", "in 5m"),
        ] {
            let time = write(time.parse().unwrap());
            assert_eq!(relative(Some(&time), now), text);
        }
        assert_eq!(relative(None, now), "");
    }

    #[test]
    fn times_before_the_epoch_have_positive_nanoseconds() {
        let time = write("1969-12-31T23:59:59.5Z".parse().unwrap());
        assert_eq!((time.seconds, time.nanos), (-1, 500_000_000));
        assert_eq!(read(&time).unwrap().to_string(), "1969-12-31T23:59:59.5Z");
    }
}
