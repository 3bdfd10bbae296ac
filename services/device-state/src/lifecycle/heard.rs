//! How a device comes: what proves it, on which line, from which places. Kept in a document that is
//! written when that changes.

use hearth_clients::Result;
use hearth_cwmp::{CwmpTime, Time};
use hearth_proto::events::v1::Inform;
use hearth_store::{Document, DocumentKind};
use hearth_types::{DeviceKey, Timestamp};
use prost::Message;

use crate::core::Core;

const KIND: DocumentKind = DocumentKind::Setting;
/// Places remembered.
const PLACES: usize = 4;
/// Changes of place within this time are taken together, in µs.
const DAY: i64 = 24 * 3600 * 1_000_000;
/// A clock that is off by less is right, in seconds: an Inform may have waited.
const CLOCK_TOLERANCE: i64 = 300;
/// Zones differ by quarters of an hour, and from UTC by no more than 14 hours.
const QUARTER: i64 = 900;
const WIDEST_ZONE: i64 = 14 * 3600 + CLOCK_TOLERANCE;

/// How a device comes.
#[derive(Clone, PartialEq, Message)]
pub struct Heard {
    /// What proves it.
    #[prost(string, tag = "1")]
    pub proof: String,
    /// On which line.
    #[prost(string, tag = "2")]
    pub line: String,
    /// The last places, the newest last.
    #[prost(message, repeated, tag = "3")]
    pub places: Vec<Place>,
    /// The Inform that changed it, in µs.
    #[prost(int64, tag = "4")]
    pub time: i64,
    /// Its clock less ours in seconds, where it is far off; 0 where it is right, or not known.
    #[prost(sint64, tag = "5")]
    pub clock_offset: i64,
    /// The Inform that told it, in µs.
    #[prost(int64, tag = "6")]
    pub clock_time: i64,
}

/// From where it came.
#[derive(Clone, PartialEq, Message)]
pub struct Place {
    /// The host of its connection request URL, or the address that it came from.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its first Inform from there since it was elsewhere, in µs.
    #[prost(int64, tag = "2")]
    pub since: i64,
}

/// What an Inform changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct News {
    /// Something is to be written.
    pub changed: bool,
    /// It comes from two places by turns.
    pub two_places: bool,
}

impl Heard {
    /// Takes an Inform in.
    pub fn hear(&mut self, inform: &Inform, time: Timestamp) -> News {
        let mut news = News::default();
        let at = time.as_micros();
        if at <= self.time {
            return news;
        }
        if self.proof != inform.proof || self.line != inform.line {
            self.proof.clone_from(&inform.proof);
            self.line.clone_from(&inform.line);
            news.changed = true;
        }
        let name = place_of(inform);
        let last = self.places.last().map(|place| place.name.as_str());
        if !name.is_empty() && last != Some(&name) {
            self.places.push(Place { name, since: at });
            if self.places.len() > PLACES {
                self.places.remove(0);
            }
            news.changed = true;
            news.two_places = self.goes_to_and_fro(at);
        }
        news.changed |= self.hear_clock(inform, at);
        if news.changed {
            self.time = at;
        }
        news
    }

    /// Takes in what time the device has; whether that is news. One that is off goes on being so,
    /// and isn't written each time.
    fn hear_clock(&mut self, inform: &Inform, at: i64) -> bool {
        let offset = clock_offset(&inform.current_time, at);
        let moved = offset.abs_diff(self.clock_offset) > CLOCK_TOLERANCE.unsigned_abs();
        let mended = (offset == 0) != (self.clock_offset == 0);
        if !moved && !mended {
            return false;
        }
        (self.clock_offset, self.clock_time) = (offset, at);
        true
    }

    /// Here, there, here, there, within a day: a move goes one way.
    fn goes_to_and_fro(&self, now: i64) -> bool {
        match self.places.as_slice() {
            [.., a, b, c, d] => {
                a.name == c.name && b.name == d.name && now.saturating_sub(b.since) < DAY
            }
            _ => false,
        }
    }
}

/// A device's clock less ours in seconds, where that is more than the tolerance. One that tells no
/// zone may mean its own: a difference of whole quarters of an hour is none.
fn clock_offset(current_time: &str, at: i64) -> i64 {
    let Some(Time::At { timestamp, zoned }) = CwmpTime(current_time.to_owned()).time() else {
        return 0;
    };
    let offset = timestamp.as_second().saturating_sub(at / 1_000_000);
    let zone = match zoned {
        false if offset.abs() <= WIDEST_ZONE => {
            (offset + QUARTER / 2).div_euclid(QUARTER) * QUARTER
        }
        _ => 0,
    };
    match (offset - zone).abs() > CLOCK_TOLERANCE {
        true => offset,
        false => 0,
    }
}

/// Where an Inform comes from. The gateway's view of the address changes with proxies in between;
/// where the device says on which address it listens, that tells more, unless it is a private one.
fn place_of(inform: &Inform) -> String {
    let url = inform
        .parameters
        .iter()
        .find(|p| p.path.ends_with(".ManagementServer.ConnectionRequestURL"));
    let host = url.map_or("", |url| host_of(&url.value));
    let private = match host.parse::<std::net::IpAddr>() {
        Ok(std::net::IpAddr::V4(v4)) => v4.is_private() || v4.is_unspecified(),
        Ok(std::net::IpAddr::V6(v6)) => v6.is_unspecified() || v6.is_unique_local(),
        Err(_) => false,
    };
    match (host, private) {
        ("", _) => inform.remote_address.clone(),
        (host, true) => format!("{host} behind {}", inform.remote_address),
        (host, false) => host.to_owned(),
    }
}

/// The host of a URL, without port and brackets.
fn host_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or("", |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, h)| h);
    match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    }
}

fn key(device: &DeviceKey) -> String {
    format!("heard/{}", device.device)
}

impl Core {
    /// How a device came so far.
    pub async fn heard(&self, device: &DeviceKey) -> hearth_store::Result<Heard> {
        let key = key(device);
        let document = self.store.document(KIND, &device.tenant, &key).await?;
        let heard = document.and_then(|document| Heard::decode(document.payload.as_slice()).ok());
        Ok(heard.unwrap_or_default())
    }

    /// Keeps how a device comes.
    pub async fn keep_heard(
        &self,
        device: &DeviceKey,
        heard: &Heard,
        time: Timestamp,
    ) -> hearth_store::Result<()> {
        let document = Document {
            key: key(device),
            time,
            payload: heard.encode_to_vec(),
        };
        self.store
            .put_document(KIND, &device.tenant, document)
            .await
    }

    pub(super) async fn forget_heard(&self, device: &DeviceKey) -> Result<()> {
        self.store
            .delete_document(KIND, &device.tenant, &key(device))
            .await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hearth_proto::types::v1::ParameterValue;

    fn inform(address: &str, url: &str) -> Inform {
        Inform {
            remote_address: address.to_owned(),
            proof: "credential".to_owned(),
            parameters: vec![ParameterValue {
                path: "Device.ManagementServer.ConnectionRequestURL".to_owned(),
                value: url.to_owned(),
                ..ParameterValue::default()
            }],
            ..Inform::default()
        }
    }

    #[test]
    fn a_move_is_none_and_two_places_by_turns_are() {
        let hour = 3_600_000_000;
        let (a, b) = (
            inform("x", "http://192.0.2.1/"),
            inform("x", "http://192.0.2.2:7547/x"),
        );
        let hear = |places: &[&Inform]| {
            let mut heard = Heard::default();
            let mut last = News::default();
            for (n, inform) in (1..).zip(places) {
                last = heard.hear(inform, Timestamp::from_micros(n * hour));
            }
            last.two_places
        };
        assert!(!hear(&[&a, &b]));
        assert!(!hear(&[&a, &b, &a]));
        assert!(hear(&[&a, &b, &a, &b]));
        assert!(hear(&[&a, &a, &b, &b, &a, &b]));
        let c = inform("x", "http://192.0.2.3/");
        assert!(!hear(&[&a, &b, &c, &a]));
        // The same after every restart but for the path, and seen through two proxies.
        let again = [
            inform("p1", "http://192.0.2.1/1"),
            inform("p2", "http://192.0.2.1/2"),
        ];
        assert!(!hear(&[&again[0], &again[1], &again[0], &again[1]]));
    }

    #[test]
    fn a_clock_that_is_far_off_is_noticed_once() {
        let noon = 1_767_268_800;
        let at = |n: i64| Timestamp::from_micros((noon + n) * 1_000_000);
        let told = |text: &str| Inform {
            current_time: text.to_owned(),
            ..inform("x", "")
        };
        let mut heard = Heard::default();
        assert!(heard.hear(&told("2026-01-01T12:00:00Z"), at(0)).changed);
        assert_eq!(heard.clock_offset, 0);
        assert!(heard.hear(&told("1970-01-01T00:01:40Z"), at(1)).changed);
        assert_eq!(heard.clock_offset, 100 - (noon + 1));
        // It goes on as it is.
        assert!(!heard.hear(&told("1970-01-01T00:02:40Z"), at(61)).changed);
        assert!(heard.hear(&told("2026-01-01T12:02:00Z"), at(120)).changed);
        assert_eq!(heard.clock_offset, 0);
        for right in ["", "0001-01-01T00:00:00Z", "soon", "2026-01-01T17:32:03"] {
            assert!(!heard.hear(&told(right), at(180)).changed, "{right}");
        }
        assert!(heard.hear(&told("2026-01-01T17:40:03"), at(181)).changed);
    }

    #[test]
    fn what_stays_is_not_written() {
        let mut heard = Heard::default();
        let at = Timestamp::from_micros;
        assert!(heard.hear(&inform("x", ""), at(1)).changed);
        assert!(!heard.hear(&inform("x", ""), at(2)).changed);
        let mut line = inform("x", "");
        line.line = "dslam1".to_owned();
        assert!(!heard.hear(&line, at(1)).changed, "older than what is kept");
        assert!(heard.hear(&line, at(3)).changed);
    }

    #[test]
    fn hosts_are_read_from_urls() {
        for (url, host) in [
            ("http://192.0.2.1:7547/x", "192.0.2.1"),
            ("https://[2001:db8::1]:1/", "2001:db8::1"),
            ("http://u:p@h?x", "h"),
            ("", ""),
            ("192.0.2.1", ""),
        ] {
            assert_eq!(host_of(url), host);
        }
    }
}
