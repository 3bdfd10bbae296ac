//! History of devices: partitions of 30 days, which expire by themselves.

use std::ops::ControlFlow;

use hearth_types::{DeviceKey, Timestamp};

use super::client::Client;
use super::encode::{check_size, event_time, key, ordered, unordered};
use super::statements::Statement;
use crate::{HistoryQuery, HistoryRow, Result};

/// Days in a partition.
const PERIOD_DAYS: i64 = 30;
const PERIOD_MICROS: i64 = PERIOD_DAYS * 24 * 3600 * 1_000_000;
/// The longest lifetime in CQL: 20 years, in seconds.
const MAX_TTL: i32 = 630_720_000;
/// How much longer the list of partitions lives than what is in them: an entry that comes late
/// lives on when those that came in time have gone.
const LIST_SECONDS: i32 = 30 * 24 * 3600;

/// Values of [`Statement::EventAdd`].
pub(super) type Event = (String, String, i32, i64, i64, String, Vec<u8>, i64, i32);
/// Values of [`Statement::PeriodAdd`].
pub(super) type Period = (String, String, i32, i64, i32);

/// About the bytes of a write.
pub(super) fn weight(event: &Event) -> usize {
    event.5.len() + event.6.len() + 64
}

/// A lifetime in CQL.
pub(super) fn ttl(kept: std::time::Duration) -> i32 {
    let seconds = i32::try_from(kept.as_secs()).unwrap_or(MAX_TTL);
    seconds.clamp(1, MAX_TTL - LIST_SECONDS)
}

fn period(time: i64) -> i32 {
    i32::try_from(time.div_euclid(PERIOD_MICROS)).unwrap_or(i32::MAX)
}

/// The writes of an entry; the second one says that its partition exists.
pub(super) fn add(device: &DeviceKey, row: &HistoryRow, ttl: i32) -> Result<(Event, Period)> {
    let time = event_time(row.time)?;
    check_size(row.payload.len(), "an entry of the history")?;
    let (tenant, id) = (device.tenant.as_str(), device.device.as_str());
    let path = key(&row.path, "a path")?.to_owned();
    let period = period(time);
    let event = (
        tenant.to_owned(),
        id.to_owned(),
        period,
        time,
        ordered(row.id),
        path,
        row.payload.clone(),
        time,
        ttl,
    );
    let listed = (
        tenant.to_owned(),
        id.to_owned(),
        period,
        time,
        ttl + LIST_SECONDS,
    );
    Ok((event, listed))
}

fn matches(path: &str, query: &HistoryQuery) -> bool {
    query.path.as_ref().is_none_or(|wanted| {
        if wanted.is_partial() {
            path.starts_with(wanted.as_str())
        } else {
            path == wanted.as_str()
        }
    })
}

impl Client {
    /// Partitions of a device's history, newest first.
    async fn periods(&self, device: &DeviceKey) -> Result<Vec<i32>> {
        let key = (device.tenant.as_str(), device.device.as_str());
        let rows: Vec<(i32,)> = self.rows(Statement::PeriodRead, key).await?;
        Ok(rows.into_iter().map(|(period,)| period).collect())
    }

    /// A device's history, newest first.
    pub(super) async fn history(&self, query: &HistoryQuery) -> Result<Vec<HistoryRow>> {
        let mut found = Vec::new();
        if query.limit == 0 {
            return Ok(found);
        }
        // Only what is less than this pair.
        let mut end = match query.until {
            Timestamp::ZERO => (i64::MAX, i64::MAX),
            until => (until.as_micros(), i64::MIN),
        };
        if let Some((time, id)) = query.before {
            end = end.min((time.as_micros(), ordered(id)));
        }
        let since = query.since.as_micros();
        let (tenant, id) = (query.device.tenant.as_str(), query.device.device.as_str());
        for number in self.periods(&query.device).await? {
            if number > period(end.0) || number < period(since) {
                continue;
            }
            let values = (tenant, id, number, end.0, end.1);
            let visit = |(time, id, path, payload): (i64, i64, String, Vec<u8>)| {
                if time < since {
                    return ControlFlow::Break(());
                }
                if matches(&path, query) {
                    found.push(HistoryRow {
                        time: Timestamp::from_micros(time),
                        id: unordered(id),
                        path,
                        payload,
                    });
                }
                match found.len() < query.limit {
                    true => ControlFlow::Continue(()),
                    false => ControlFlow::Break(()),
                }
            };
            self.visit(Statement::EventRead, values, visit).await?;
            if found.len() >= query.limit {
                break;
            }
        }
        Ok(found)
    }

    /// Deletes what a device's history holds up to `time`.
    pub(super) async fn delete_history(&self, device: &DeviceKey, time: i64) -> Result<()> {
        let (tenant, id) = (device.tenant.as_str(), device.device.as_str());
        for period in self.periods(device).await? {
            let values = (time, tenant, id, period);
            self.run(Statement::EventDelete, values).await?;
        }
        self.run(Statement::PeriodDelete, (time, tenant, id)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_are_fixed() {
        assert_eq!(period(0), 0);
        assert_eq!(period(PERIOD_MICROS - 1), 0);
        assert_eq!(period(PERIOD_MICROS), 1);
        // 2026-11-22.
        assert_eq!(period(1_795_374_000_000_000), 692);
        assert_eq!(ttl(std::time::Duration::MAX), MAX_TTL - LIST_SECONDS);
        assert_eq!(ttl(std::time::Duration::ZERO), 1);
    }
}
