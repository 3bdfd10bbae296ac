//! Who has which part, by what all have written.

use super::*;

const LEASE: Duration = Duration::from_secs(6);

fn note(beat: u64, sees: &[&str]) -> Note {
    Note {
        beat,
        sees: sees.iter().map(|id| (*id).to_owned()).collect(),
        ..Note::default()
    }
}

fn notes(all: &[(&str, Note)]) -> Vec<(String, Note)> {
    all.iter()
        .map(|(id, note)| ((*id).to_owned(), note.clone()))
        .collect()
}

fn count(replicas: &Replicas, now: Instant) -> usize {
    replicas.owned(now).iter().filter(|mine| **mine).count()
}

#[tokio::test(start_paused = true)]
async fn parts_are_shared_and_taken_over() {
    let now = Instant::now();
    let mut a = Replicas::new("a".to_owned(), LEASE);
    let mut b = Replicas::new("b".to_owned(), LEASE);
    a.heard(notes(&[("a", note(1, &[]))]), now);
    assert_eq!(count(&a, now), usize::from(PARTS), "alone");

    let both = |a_sees: &[&str]| notes(&[("a", note(2, a_sees)), ("b", note(1, &["a"]))]);
    b.heard(both(&[]), now);
    assert_eq!(count(&b, now), 0, "not before a has seen it");
    a.heard(both(&[]), now);
    let left = count(&a, now);
    assert!(left < usize::from(PARTS), "a lets go before b begins");
    b.heard(both(&["b"]), now);
    assert_eq!(count(&b, now) + left, usize::from(PARTS));
    let twice = a.owned(now).into_iter().zip(b.owned(now));
    assert_eq!(twice.filter(|(a, b)| *a && *b).count(), 0);

    // a beats no more.
    let later = now + LEASE + LEASE / 2;
    assert_eq!(count(&b, later), usize::from(PARTS));
    // b comes back, then ends in order.
    assert!(!a.heard(
        notes(&[("a", note(3, &["b"])), ("b.1", note(1, &["a"]))]),
        now
    ));
    assert!(a.heard(notes(&[("a", note(4, &["b"]))]), now), "b is gone");
    assert_eq!(count(&a, now), usize::from(PARTS));
}

/// The clock of a machine that was held doesn't tell: what another one has written does.
#[tokio::test(start_paused = true)]
async fn who_was_taken_for_dead_lets_go_and_joins_again() {
    let now = Instant::now();
    let mut a = Replicas::new("a".to_owned(), LEASE);
    let told = |of_b: Note| notes(&[("a", note(7, &["b"])), ("b", of_b)]);
    a.heard(told(note(1, &["a"])), now);
    assert!(count(&a, now) > 0);
    assert!(!a.heard(told(note(2, &["a"])), now));
    assert!(a.heard(told(note(9, &[])), now), "b has not seen it since");
    assert_eq!(count(&a, now), 0);
    assert_eq!(a.come_back(), "a");
    let told = |of_b: Note| notes(&[("a.1", note(8, &["b"])), ("b", of_b)]);
    a.heard(told(note(10, &[])), now);
    assert_eq!(count(&a, now), 0, "not before b sees it");
    a.heard(told(note(11, &["a.1"])), now);
    assert!(count(&a, now) > 0);
}

/// A process beats until it is killed; when has another one taken over?
#[tokio::test(start_paused = true)]
async fn a_killed_one_is_replaced_within_nine_seconds_by_default() {
    let lease = crate::DeviceStateConfig::default().lease.get();
    let beat = lease / BEATS;
    let start = Instant::now();
    let killed = start + 10 * beat;
    // The other one's beats may lie anywhere between its.
    for offset in 0..10 {
        let mut b = Replicas::new("b".to_owned(), lease);
        let mut now = start + beat * offset / 10;
        let taken = loop {
            let beats = now.min(killed).duration_since(start).as_millis() / beat.as_millis();
            let of_a = note(u64::try_from(beats).unwrap_or(0), &["b"]);
            b.heard(notes(&[("a", of_a)]), now);
            if count(&b, now) == usize::from(PARTS) {
                break now;
            }
            assert!(now < killed + 10 * lease);
            now += beat;
        };
        assert!(taken > killed, "it lived");
        let took = taken.duration_since(killed);
        assert!(took <= Duration::from_secs(9), "{took:?}");
    }
}

#[test]
fn a_short_pause_costs_nobody_its_name() {
    let taken_for_dead = LEASE / 2;
    assert!(may_go_on(LEASE / 10, LEASE));
    assert!(!may_go_on(taken_for_dead, LEASE));
    assert!(came_too_late(taken_for_dead, LEASE));
    assert!(!came_too_late(LEASE / 4, LEASE));
}

#[test]
fn a_clock_that_is_set_back_silences_nobody() {
    let mut a = Replicas::new("a".to_owned(), LEASE);
    let at = Timestamp::from_micros;
    let times = [5, 9, 2, 2, 12].map(|now| a.time_of_note(at(now)));
    assert_eq!(times, [5, 9, 10, 11, 12].map(at));
}

#[test]
fn who_comes_back_gets_what_it_had() {
    for part in 0..PARTS {
        assert_eq!(weight("0f3a.2", part), weight("0f3a", part));
    }
}

#[test]
fn three_share_evenly() {
    let ids = ["0f3a", "77c1", "b20d"];
    let owner = |part| ids.iter().max_by_key(|id| weight(id, part));
    for id in ids {
        let mine = (0..PARTS).filter(|part| owner(*part) == Some(&id)).count();
        assert!((2..=9).contains(&mine), "{id} has {mine}");
    }
}
