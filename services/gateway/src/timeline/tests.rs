#![allow(clippy::unwrap_used)]
use super::*;

#[test]
fn a_requests_task_is_read_from_its_id() {
    let task = "01hzy3v7k2q4w6e8r0t2y4a6d8";
    assert_eq!(note::task(&format!("{task}.1.2")), task);
    assert_eq!(note::task("else"), "");
    assert_eq!(note::task(""), "");
}

#[test]
fn sessions_are_spread_and_notes_have_one_place() {
    let ids: Vec<Ulid> = (0..1000).map(|_| Ulid::generate()).collect();
    let used: std::collections::HashSet<_> = ids.iter().map(|id| place(*id, SHARDS)).collect();
    assert!(used.len() > SHARDS / 2);
    assert_eq!(place(ids[0], SLOTS), place(ids[0], SLOTS));
}
