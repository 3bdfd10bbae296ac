//! What a consumer that is the only one of its messages does besides: it deletes what it
//! acknowledged, and looks after what the servers passed over.
//!
//! The server that leads a consumer keeps its place in the stream. One whose disk refused a write can
//! come back with less of the stream than it had counted, and the consumers that it leads go on
//! behind what it lost. Nobody is given that then, though the other servers have it, until retention
//! by interest deletes it there, too (`docs/adr/0014`). So here nothing but its own deletion ends a
//! message, and one that is still there though the consumer's place is behind it is published once
//! more in its own stead.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use async_nats::header::NATS_MESSAGE_ID;
use futures::{StreamExt, stream};
use hearth_runtime::Backoff;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::core::{Core, LOOK};
use super::dead::without;
use super::layout;
use super::link::Trouble;
use super::publisher::Outgoing;
use super::wire::FIRST_SEQ;
use crate::Result;

/// How often it is looked for messages that were passed over. What the consumer's place was behind at
/// the last look is deleted by now if anybody worked on it, also in another process.
const PAUSE: Duration = Duration::from_secs(10);
/// Messages of one subject that one look publishes again at most: those behind them come with the
/// next one.
const MOST: usize = 1000;
/// Deletions of one consumer under way at once. All that ask a server wait in one line of 10,000
/// (`JSDefaultRequestQueueLimit`), and a longer one is thrown away.
const AT_ONCE: usize = 16;
/// Deletions between two looks at what is to be deleted.
const BATCH: usize = 1024;
/// With more than this to delete, that comes first: each look would read all of it.
const FEW: usize = 64;

#[derive(Default)]
pub(crate) struct Sole {
    /// Worked on, and not known to be deleted.
    ended: Mutex<BTreeSet<u64>>,
    more: Notify,
    /// When it was looked, and up to where the consumer had passed then.
    looked: Mutex<Option<(Instant, u64)>>,
}

impl Sole {
    /// These are worked on: they are deleted soon.
    pub(crate) fn ended(&self, seqs: impl IntoIterator<Item = u64>) {
        self.ended.lock().extend(seqs);
        self.more.notify_one();
    }

    /// Deletes what is worked on, for as long as the bus is open.
    pub(crate) async fn delete(&self, core: &Core) {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
        loop {
            let batch: Vec<u64> = self.ended.lock().iter().take(BATCH).copied().collect();
            if batch.is_empty() {
                self.more.notified().await;
                continue;
            }
            let failed = AtomicBool::new(false);
            let deleting = stream::iter(batch).for_each_concurrent(AT_ONCE, async |seq| {
                let deleted = core.delete_message(&core.names.events_stream(), seq).await;
                match deleted {
                    // One that isn't there was deleted by an answer that got lost.
                    Ok(_) => drop(self.ended.lock().remove(&seq)),
                    Err(trouble) => {
                        tracing::debug!(seq, %trouble, "a message can't be deleted now");
                        failed.store(true, Relaxed);
                    }
                }
            });
            deleting.await;
            match failed.into_inner() {
                true => backoff.wait().await,
                false => backoff.reset(),
            }
        }
    }

    /// Waits until all that is worked on is deleted, but not for long: what is left is published once
    /// more by whoever comes next, and changes nothing then.
    pub(crate) async fn settle(&self) {
        let all = async {
            while !self.ended.lock().is_empty() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let _ = timeout(LOOK, all).await;
    }

    /// Publishes again what consumer `name` was never given, if it is time to look for that.
    pub(crate) async fn look_after(&self, core: &Core, name: &str, filters: &[String]) {
        let looked = *self.looked.lock();
        if looked.is_some_and(|(at, _)| at.elapsed() < PAUSE) || self.ended.lock().len() > FEW {
            return;
        }
        let upto = looked.map_or(0, |(_, passed)| passed);
        // Who fetches waits for this. What is left when time is over is found at the next look.
        let looked = timeout(LOOK, self.try_look_after(core, name, filters, upto)).await;
        let too_late = || Err(Trouble::TimedOut(LOOK).into());
        match looked.unwrap_or_else(|_| too_late()) {
            Ok(0) => {}
            Ok(passed) => {
                tracing::warn!(
                    consumer = name,
                    passed,
                    "messages that NATS had passed over are published once more"
                );
            }
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::debug!(
                    consumer = name,
                    error,
                    "can't look for messages passed over"
                );
            }
        }
    }

    /// How many there were up to number `upto`.
    async fn try_look_after(
        &self,
        core: &Core,
        name: &str,
        filters: &[String],
        upto: u64,
    ) -> Result<u64> {
        let place = layout::place(&core.link, &core.names, name).await;
        let next = place.as_ref().map_or(upto, |place| place.passed);
        // When it can't be told, it is not asked at each fetch.
        *self.looked.lock() = Some((Instant::now(), next));
        place?;
        let mut passed = 0;
        for filter in filters {
            let mut from = 1;
            for _ in 0..MOST {
                let stream = core.names.events_stream();
                let Some(message) = core.raw(&stream, from, Some(filter)).await? else {
                    break;
                };
                let seq = message.sequence;
                if seq > upto {
                    break;
                }
                from = seq + 1;
                if self.ended.lock().contains(&seq) {
                    continue;
                }
                let mut headers = without(&message.headers, "Nats-");
                // Found by two at once, it is published once.
                let published = message.time.unix_timestamp_nanos();
                if headers.get(FIRST_SEQ).is_none() {
                    headers.insert(FIRST_SEQ, seq.to_string());
                }
                headers.insert(NATS_MESSAGE_ID, format!("passed/{seq}/{published}"));
                let again = Outgoing {
                    subject: message.subject.to_string(),
                    headers,
                    payload: message.payload,
                };
                core.put(again).await?;
                self.ended([seq]);
                core.link.metrics.passed.inc();
                passed += 1;
            }
        }
        Ok(passed)
    }
}
