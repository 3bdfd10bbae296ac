//! Events that are applied and written by themselves.
//!
//! What many events changed is written at once. Two kinds of events are kept apart:
//!
//! - Those of a device whose changes can't be written. One of them is to blame: all are given back
//!   to the bus and written one by one when they come again, so that this one alone becomes a dead
//!   letter.
//! - Those that were delivered more than [`SUSPECT`] times without an end. One of them may end the
//!   process, by what can't be caught. What waits is written first, which shows that the store is
//!   well; a document says that the try has begun; and an event whose tries have ended with the
//!   process [`TRIES`] times is a dead letter. How often it was delivered doesn't decide it: a disk
//!   that was full for days, or a neighbour that ended the process, had it delivered as often.

use std::collections::BTreeMap;
use std::time::Duration;

use hearth_bus::Delivery;
use hearth_store::{Document, DocumentKind};
use hearth_types::DeviceKey;
use tokio::time::Instant;

use crate::apply::Refused;
use crate::core::{Core, Mark, Turn};

/// An event that was delivered more often is tried by itself.
const SUSPECT: u32 = 20;
/// Tries by itself that ended with the process, after which an event is given up.
const TRIES: u8 = 3;
/// How long an event that was given back is waited for: those of its device behind it come later.
const AWAITED: Duration = Duration::from_secs(60);

const KIND: DocumentKind = DocumentKind::Setting;
const PREFIX: &str = "device-state/alone/";

/// The events that are kept apart now.
#[derive(Debug, Default)]
pub struct Alone {
    /// Given back and not yet applied again, and until when they are waited for.
    awaited: BTreeMap<Mark, (DeviceKey, Instant)>,
    /// Suspects that this process has begun to try.
    begun: BTreeMap<Mark, DeviceKey>,
}

impl Alone {
    /// Whether an event is to be applied by itself.
    pub fn has(&self, mark: Mark, deliveries: u32) -> bool {
        deliveries > SUSPECT || self.awaited.contains_key(&mark)
    }

    /// Whether an earlier event of the device is still to come again.
    pub fn holds_up(&mut self, mark: Mark, device: &DeviceKey) -> bool {
        if self.awaited.is_empty() {
            return false;
        }
        let now = Instant::now();
        self.awaited.retain(|_, (_, until)| now < *until);
        let mut earlier = self.awaited.range(..mark);
        earlier.any(|(_, (of, _))| of == device)
    }

    /// The bus was told of these events' end; those that were suspects.
    pub fn ended(&mut self, marks: &[Mark]) -> Vec<(Mark, DeviceKey)> {
        if self.begun.is_empty() {
            return Vec::new();
        }
        let ended = marks
            .iter()
            .filter_map(|mark| self.begun.remove_entry(mark));
        ended.collect()
    }
}

impl Turn {
    /// What these events of a device changed can never be written.
    pub fn unwritable(&mut self, device: &DeviceKey, mut marks: Vec<Mark>, reason: String) {
        marks.sort_unstable();
        marks.dedup();
        if let [mark] = marks.as_slice() {
            self.dead.insert(*mark, reason);
        } else {
            self.give_back(device, marks);
        }
    }

    /// These events come again, and are applied by themselves then.
    pub fn give_back(&mut self, device: &DeviceKey, marks: Vec<Mark>) {
        let until = Instant::now() + AWAITED;
        for mark in &marks {
            self.alone.awaited.insert(*mark, (device.clone(), until));
        }
        self.back.extend(marks);
    }
}

impl Core {
    /// Applies an event so that nothing else waits to be written with it; the caller flushes.
    pub async fn apply_alone(
        &self,
        part: u16,
        event: &Delivery,
        turn: &mut Turn,
    ) -> Result<(), Refused> {
        let seq = event.seq;
        let mark = Mark { part, seq };
        self.flush(turn).await.map_err(Refused::Store)?;
        let applied = async {
            if event.deliveries > SUSPECT {
                self.begin_try(mark, event, turn).await?;
            }
            self.apply(part, event, turn).await
        };
        let applied = applied.await;
        if !matches!(applied, Err(Refused::Store(_))) {
            turn.alone.awaited.remove(&mark);
        }
        applied
    }

    /// Notes that a suspect is tried. One that this process has begun to try didn't end it.
    async fn begin_try(
        &self,
        mark: Mark,
        event: &Delivery,
        turn: &mut Turn,
    ) -> Result<(), Refused> {
        if turn.alone.begun.contains_key(&mark) {
            return Ok(());
        }
        let (tenant, key) = (&event.device.tenant, key(&event.device, mark));
        let known = self.store.document(KIND, tenant, &key).await?;
        let ended = known.as_ref().and_then(|known| known.payload.first());
        let ended = ended.copied().unwrap_or_default();
        let mut time = self.now();
        if let Some(known) = known {
            // The later one stays.
            time = time.max(known.time.saturating_add(Duration::from_micros(1)));
        }
        if ended < TRIES {
            let payload = vec![ended + 1];
            let note = Document { key, time, payload };
            self.store.put_document(KIND, tenant, note).await?;
        }
        turn.alone.begun.insert(mark, event.device.clone());
        match ended < TRIES {
            true => Ok(()),
            false => Err(Refused::Bad(format!(
                "delivered {} times: the process ended {TRIES} times while it applied this event \
                 alone",
                event.deliveries
            ))),
        }
    }

    /// Removes what is noted of suspects.
    pub async fn end_tries(&self, ended: Vec<(Mark, DeviceKey)>) {
        for (mark, device) in ended {
            let key = key(&device, mark);
            let removed = self.store.delete_document(KIND, &device.tenant, &key).await;
            if let Err(error) = removed {
                // It says nothing of any other event.
                let error = &error as &dyn std::error::Error;
                tracing::debug!(error, key, "a note of an event's tries stays");
            }
        }
    }
}

fn key(device: &DeviceKey, mark: Mark) -> String {
    format!("{PREFIX}{}/{}", device.device, mark.seq)
}
