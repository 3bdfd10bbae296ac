//! Events that are larger than a message of the bus may be, in pieces that aren't.
//!
//! What an event says of values or attributes it says of each by itself, at the event's time: in
//! several events of that time it is the same. Names are different: what isn't among them is gone.

use std::ops::Range;

use prost::Message;

use crate::events::v1::{AttributesReported, Event, Inform, ValuesReported, event::Kind};
use crate::types::v1::{ParameterAttributes, ParameterValue};

/// What a list's element costs beside itself: its tag and its length.
const ELEMENT: usize = 6;
/// What the event around the list may grow by: lengths of lengths.
const SLACK: usize = 32;

/// An event in pieces of at most `max` bytes each, encoded: the same event where it fits. An
/// Inform keeps what fits of its parameters; the rest becomes reported values of the same time.
///
/// `None`: it is of a kind that can't be cut, or one element alone is over the limit.
#[must_use]
pub fn pieces(event: &Event, max: usize) -> Option<Vec<Event>> {
    if event.encoded_len() <= max {
        return Some(vec![event.clone()]);
    }
    let with = |kind| Event {
        kind: Some(kind),
        tenant: event.tenant.clone(),
        device: event.device.clone(),
        session: event.session.clone(),
        time_us: event.time_us,
    };
    match event.kind.as_ref()? {
        Kind::Inform(inform) => {
            let head = |parameters| {
                with(Kind::Inform(Inform {
                    parameters,
                    // Each of the others is small, and the list is not copied with them.
                    manufacturer: inform.manufacturer.clone(),
                    oui: inform.oui.clone(),
                    product_class: inform.product_class.clone(),
                    serial_number: inform.serial_number.clone(),
                    events: inform.events.clone(),
                    retry_count: inform.retry_count,
                    cwmp_namespace: inform.cwmp_namespace.clone(),
                    remote_address: inform.remote_address.clone(),
                    current_time: inform.current_time.clone(),
                    proof: inform.proof.clone(),
                    line: inform.line.clone(),
                }))
            };
            let room = room(&head(Vec::new()), max)?;
            let all = &inform.parameters;
            let mut cut = cut(all, ParameterValue::encoded_len, room)?.into_iter();
            let first = cut.next().unwrap_or_default();
            let rest = cut.map(|range| {
                with(Kind::ValuesReported(ValuesReported {
                    values: all[range].to_vec(),
                    ..ValuesReported::default()
                }))
            });
            Some(
                std::iter::once(head(all[first].to_vec()))
                    .chain(rest)
                    .collect(),
            )
        }
        Kind::ValuesReported(reported) => {
            let piece = |values| {
                with(Kind::ValuesReported(ValuesReported {
                    values,
                    source: reported.source,
                    task: reported.task.clone(),
                }))
            };
            let (all, room) = (&reported.values, room(&piece(Vec::new()), max)?);
            let cut = cut(all, ParameterValue::encoded_len, room)?;
            Some(cut.into_iter().map(|r| piece(all[r].to_vec())).collect())
        }
        Kind::AttributesReported(reported) => {
            let piece =
                |attributes| with(Kind::AttributesReported(AttributesReported { attributes }));
            let (all, room) = (&reported.attributes, room(&piece(Vec::new()), max)?);
            let cut = cut(all, ParameterAttributes::encoded_len, room)?;
            Some(cut.into_iter().map(|r| piece(all[r].to_vec())).collect())
        }
        _ => None,
    }
}

/// What is left for a list in an event that has none yet.
fn room(event: &Event, max: usize) -> Option<usize> {
    max.checked_sub(event.encoded_len() + SLACK)
}

/// The list in ranges that fit, in its order; `None` when an element alone doesn't.
fn cut<T>(all: &[T], len: impl Fn(&T) -> usize, room: usize) -> Option<Vec<Range<usize>>> {
    let mut ranges = Vec::new();
    let (mut start, mut size) = (0, 0);
    for (at, element) in all.iter().enumerate() {
        let more = len(element) + ELEMENT;
        if more > room {
            return None;
        }
        if size + more > room {
            ranges.push(start..at);
            (start, size) = (at, 0);
        }
        size += more;
    }
    ranges.push(start..all.len());
    Some(ranges)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::events::v1::{InformEvent, NamesReported, ValueSource};
    use crate::types::v1::ParameterName;

    fn values(count: usize, len: usize) -> Vec<ParameterValue> {
        let value = |n| ParameterValue {
            path: format!("Device.X.{n}"),
            value: "v".repeat(len),
            ..ParameterValue::default()
        };
        (0..count).map(value).collect()
    }

    fn event(kind: Kind) -> Event {
        Event {
            tenant: "default".into(),
            device: "00AABB-X-1".into(),
            time_us: 1_700_000_000_000_000,
            session: "s".into(),
            kind: Some(kind),
        }
    }

    fn read(values: Vec<ParameterValue>) -> Event {
        event(Kind::ValuesReported(ValuesReported {
            values,
            source: ValueSource::Read.into(),
            task: "t".into(),
        }))
    }

    #[test]
    fn values_come_in_pieces_that_fit_and_say_the_same() {
        for (count, len, max) in [
            (100, 50, 1000),
            (1000, 0, 200),
            (7, 300, 500),
            (3, 10, 4000),
        ] {
            let whole = read(values(count, len));
            let pieces = pieces(&whole, max).unwrap();
            let mut together = Vec::new();
            for piece in pieces {
                assert!(piece.encoded_len() <= max);
                assert_eq!(piece.time_us, whole.time_us);
                let Some(Kind::ValuesReported(reported)) = piece.kind else {
                    panic!("{piece:?}")
                };
                assert_eq!(
                    (reported.source(), &*reported.task),
                    (ValueSource::Read, "t")
                );
                assert!(!reported.values.is_empty());
                together.extend(reported.values);
            }
            assert_eq!(together, values(count, len));
        }
    }

    #[test]
    fn an_inform_keeps_its_head_once() {
        let whole = event(Kind::Inform(Inform {
            manufacturer: "M".into(),
            events: vec![InformEvent::default()],
            parameters: values(50, 40),
            ..Inform::default()
        }));
        let pieces = pieces(&whole, 600).unwrap();
        let mut count = 0;
        for (at, piece) in pieces.into_iter().enumerate() {
            assert!(piece.encoded_len() <= 600);
            count += match piece.kind {
                Some(Kind::Inform(inform)) if at == 0 => {
                    assert_eq!(
                        (inform.manufacturer.as_str(), inform.events.len()),
                        ("M", 1)
                    );
                    inform.parameters.len()
                }
                Some(Kind::ValuesReported(rest)) if at > 0 => rest.values.len(),
                other => panic!("{other:?}"),
            };
        }
        assert_eq!(count, 50);
    }

    #[test]
    fn what_cannot_be_cut_is_told() {
        assert_eq!(pieces(&read(values(1, 500)), 300), None, "one value alone");
        assert_eq!(pieces(&read(values(10, 50)), 20), None, "no room at all");
        let names = event(Kind::NamesReported(NamesReported {
            names: vec![ParameterName::default(); 500],
            ..NamesReported::default()
        }));
        assert_eq!(pieces(&names, 300), None);
        assert_eq!(pieces(&names, 30_000), Some(vec![names]), "it fits");
    }
}
