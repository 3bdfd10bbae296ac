//! Times as CWMP writes them (TR-106 3.2.1): the text as it came, and what it means.

use jiff::{SignedDuration, Timestamp, civil, tz};

/// A dateTime as the text that stood in the envelope. CPEs send texts that are no dateTime, so
/// that reading it ([`CwmpTime::time`]) is the user's step.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CwmpTime(pub String);

/// What a [`CwmpTime`] means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Time {
    /// `0001-01-01T00:00:00Z`: the CPE doesn't know, or there is none.
    Unknown,
    /// `9999-12-31T23:59:59Z`.
    Infinite,
    /// A moment. `zoned` is false if the text named no zone: it was read as UTC, and may be off
    /// by the CPE's own offset.
    At {
        /// The moment.
        timestamp: Timestamp,
        /// Whether the text named its zone.
        zoned: bool,
    },
    /// Time since the CPE booted: a year below 1000 without a zone.
    SinceBoot(SignedDuration),
}

impl CwmpTime {
    /// The text of the unknown time.
    pub const UNKNOWN: &'static str = "0001-01-01T00:00:00Z";

    /// A moment in UTC, in whole seconds.
    pub fn at(timestamp: Timestamp) -> Self {
        Self(timestamp.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
    }

    /// What the text means; `None` if it is no dateTime.
    pub fn time(&self) -> Option<Time> {
        let text = self.0.trim();
        let (date, zone) = split_zone(text)?;
        let date: civil::DateTime = date.parse().ok()?;
        let epoch = civil::date(1, 1, 1).at(0, 0, 0, 0);
        if date.year() < 1000 {
            if date == epoch {
                return Some(Time::Unknown);
            }
            if zone.is_none() {
                return date.duration_since_checked(epoch).map(Time::SinceBoot);
            }
        }
        if date.year() == 9999 {
            return Some(Time::Infinite);
        }
        let offset = zone.unwrap_or(tz::Offset::UTC);
        let timestamp = offset.to_timestamp(date).ok()?;
        Some(Time::At {
            timestamp,
            zoned: zone.is_some(),
        })
    }
}

/// `DateTime::duration_since` under a name that says it can't be negative here.
trait SinceEpoch {
    fn duration_since_checked(self, epoch: civil::DateTime) -> Option<SignedDuration>;
}

impl SinceEpoch for civil::DateTime {
    fn duration_since_checked(self, epoch: civil::DateTime) -> Option<SignedDuration> {
        (self >= epoch).then(|| self.duration_since(epoch))
    }
}

/// Splits `…T10:00:00.5+01:00` into date and zone.
fn split_zone(text: &str) -> Option<(&str, Option<tz::Offset>)> {
    // A date without a time, or with other marks than `T`, is no dateTime.
    if !text.is_ascii() || text.as_bytes().get(10) != Some(&b'T') {
        return None;
    }
    if let Some(date) = text.strip_suffix(['Z', 'z']) {
        return Some((date, Some(tz::Offset::UTC)));
    }
    let Some(sign) = text.rfind(['+', '-']).filter(|at| *at > 10) else {
        return Some((text, None));
    };
    let (date, zone) = text.split_at(sign);
    let (hours, minutes) = zone[1..].split_once(':')?;
    let seconds = hours.parse::<i32>().ok()? * 3600 + minutes.parse::<i32>().ok()? * 60;
    let signed = if zone.starts_with('-') {
        -seconds
    } else {
        seconds
    };
    Some((date, Some(tz::Offset::from_seconds(signed).ok()?)))
}

impl Default for CwmpTime {
    fn default() -> Self {
        Self(Self::UNKNOWN.to_owned())
    }
}

impl From<&str> for CwmpTime {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn times_mean_what_tr_106_says() {
        let at = |text: &str, zoned| Time::At {
            timestamp: text.parse().unwrap(),
            zoned,
        };
        for (text, expected) in [
            ("0001-01-01T00:00:00Z", Some(Time::Unknown)),
            ("0001-01-01T00:00:00", Some(Time::Unknown)),
            ("9999-12-31T23:59:59Z", Some(Time::Infinite)),
            (
                "2024-02-29T10:00:00Z",
                Some(at("2024-02-29T10:00:00Z", true)),
            ),
            (
                "2024-02-29T10:00:00.250+01:30",
                Some(at("2024-02-29T08:30:00.250Z", true)),
            ),
            (
                "2024-02-29T10:00:00-05:00",
                Some(at("2024-02-29T15:00:00Z", true)),
            ),
            (
                "2024-02-29T10:00:00",
                Some(at("2024-02-29T10:00:00Z", false)),
            ),
            (
                " 2024-02-29T10:00:00Z\n",
                Some(at("2024-02-29T10:00:00Z", true)),
            ),
            (
                "0001-01-01T00:01:05",
                Some(Time::SinceBoot(SignedDuration::from_secs(65))),
            ),
            (
                "0001-01-02T00:00:00",
                Some(Time::SinceBoot(SignedDuration::from_hours(24))),
            ),
            ("2023-02-29T10:00:00Z", None),
            ("2024-02-29T10:00:00+99:00", None),
            ("2024-02-29", None),
            ("yesterday", None),
            ("", None),
            ("１２３４５", None),
        ] {
            assert_eq!(CwmpTime::from(text).time(), expected, "{text}");
        }
    }

    #[test]
    fn a_moment_is_written_in_utc() {
        let moment: Timestamp = "2024-02-29T10:00:00.9Z".parse().unwrap();
        assert_eq!(CwmpTime::at(moment).0, "2024-02-29T10:00:00Z");
    }
}
