//! Whether messages would be taken: the stream of events has a leader and room, and its server did not
//! refuse what came last.

use std::time::Duration;

use async_nats::jetstream::stream::{DiscardPolicy, Info};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::core::Core;
use super::layout;
use super::link::{Trouble, number};
use super::publisher::Outgoing;
use super::wire::Names;
use crate::{Error, Result};

/// Room for an Inform. Less than that is none.
const ROOM: u64 = 16 << 10;
/// What a message takes besides its payload: subject, headers, and what the server adds.
const OVERHEAD: u64 = 1 << 10;
/// How long a refusal counts that the stream's level doesn't explain (a full account, server or disk),
/// unless something is taken meanwhile. Nobody may be publishing any more, who would find out.
const MEMORY: Duration = Duration::from_secs(30);

/// An event that was refused, with none taken since.
#[derive(Debug, Clone)]
struct Refusal {
    at: Instant,
    /// What there was no room for, in bytes.
    bytes: u64,
    /// The stream itself is full: its level tells when it no longer is.
    by_level: bool,
    error: Error,
}

/// What became of the event that was published last.
#[derive(Debug, Default)]
pub(crate) struct LastRefusal(Mutex<Option<Refusal>>);

impl LastRefusal {
    pub(crate) fn taken(&self, message: &Outgoing, names: &Names) {
        if names.is_event(&message.subject) {
            *self.0.lock() = None;
        }
    }

    pub(crate) fn refused(&self, message: &Outgoing, names: &Names, by_level: bool, error: Error) {
        if !names.is_event(&message.subject) {
            return;
        }
        let bytes = u64::try_from(message.payload.len()).unwrap_or(u64::MAX);
        *self.0.lock() = Some(Refusal {
            at: Instant::now(),
            bytes: bytes.saturating_add(OVERHEAD),
            by_level,
            error,
        });
    }
}

impl Core {
    pub(crate) async fn probe(&self) -> Result<()> {
        if self.is_closed() {
            return Err(Error::Closed);
        }
        let info = layout::stream_info(&self.link, &self.names.events_stream()).await;
        let info = match info {
            Ok(info) => info,
            Err(trouble) => {
                // As for refusals: perhaps nobody publishes, who would have it made again.
                if trouble.number() == Some(number::STREAM_NOT_FOUND) {
                    self.repair().await;
                }
                return Err(trouble.into());
            }
        };
        let cluster = info.cluster.as_ref();
        if cluster.is_some_and(|cluster| cluster.leader.is_none()) {
            return Err(Trouble::NoResponders.into());
        }
        let refusal = self.refusal.0.lock().clone();
        judge(info.state.bytes, most(&info), refusal.as_ref())
    }
}

/// The bytes at which the stream refuses; `None`: it never does.
fn most(info: &Info) -> Option<u64> {
    let refuses = info.config.discard == DiscardPolicy::New;
    let max = u64::try_from(info.config.max_bytes).ok();
    max.filter(|max| refuses && *max > 0)
}

/// Whether there is room for the next event, and for the last one that there was none for.
fn judge(backlog: u64, max: Option<u64>, refusal: Option<&Refusal>) -> Result<()> {
    if let Some(max) = max {
        let missed = refusal.map_or(0, |refusal| refusal.bytes);
        // One that wouldn't fit into a stream that is all but empty says nothing about the others.
        let wanted = missed.max(ROOM).min(max / 8);
        if backlog.saturating_add(wanted) > max {
            return Err(Error::Full { backlog, max });
        }
    }
    match refusal {
        Some(refusal) if !refusal.by_level && refusal.at.elapsed() < MEMORY => {
            Err(refusal.error.clone())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const MAX: u64 = 1 << 20;

    fn refusal(bytes: u64, by_level: bool, age: Duration) -> Refusal {
        Refusal {
            at: Instant::now().checked_sub(age).unwrap(),
            bytes,
            by_level,
            error: Error::DiskFull,
        }
    }

    #[test]
    fn it_is_full_without_room_for_an_inform_or_for_what_was_refused() {
        let full = |backlog, refusal| {
            let judged = judge(backlog, Some(MAX), refusal);
            matches!(judged, Err(Error::Full { max: MAX, .. }))
        };
        assert!(!full(0, None) && !full(MAX - ROOM, None));
        assert!(full(MAX - ROOM + 1, None) && full(MAX, None));
        let large = refusal(50_000, true, Duration::ZERO);
        assert!(full(MAX - 40_000, Some(&large)));
        assert!(!full(MAX - 60_000, Some(&large)), "it would fit now");
        let huge = refusal(MAX * 2, true, Duration::ZERO);
        assert!(full(MAX - MAX / 16, Some(&huge)));
        assert!(!full(MAX / 2, Some(&huge)), "that one never fits");
        assert!(judge(u64::MAX, None, None).is_ok());
    }

    #[test]
    fn a_refusal_for_want_of_storage_counts_for_a_while() {
        let judged = |age| judge(0, Some(MAX), Some(&refusal(1, false, age)));
        assert!(matches!(judged(Duration::ZERO), Err(Error::DiskFull)));
        assert!(judged(MEMORY).is_ok());
    }

    #[test]
    fn only_events_are_remembered_until_one_is_taken() {
        let (last, names) = (LastRefusal::default(), Names::new("h"));
        let message = |subject: String| Outgoing {
            subject,
            headers: async_nats::HeaderMap::new(),
            payload: bytes::Bytes::from_static(b"12345"),
        };
        let (event, letter) = (message("h.v1.inform.t.1".into()), message(names.dead("c")));
        last.refused(&letter, &names, false, Error::DiskFull);
        assert!(last.0.lock().is_none());
        last.refused(&event, &names, false, Error::DiskFull);
        last.taken(&letter, &names);
        assert_eq!(last.0.lock().as_ref().unwrap().bytes, 5 + OVERHEAD);
        last.taken(&event, &names);
        assert!(last.0.lock().is_none());
    }
}
