//! Applying events: what each kind changes. Nothing is written here; the change goes to the
//! overlay as a whole, or not at all when something can't be read.

mod inform;
mod others;
mod tree;
mod values;

use hearth_bus::Delivery;
use hearth_proto::events::v1::{Event, event::Kind};
use hearth_store::{Cell, CellValue, DeviceColumn};
use hearth_telemetry::trace::{TARGET, continued, session_span};
use hearth_types::{DeviceKey, Timestamp};
use parking_lot::Mutex;
use prost::Message;
use tracing::{Instrument as _, Span};
use ulid::Ulid;

use crate::cache::{Compared, Known};
use crate::columns;
use crate::core::{Core, Mark, Turn};
use crate::online::online_until;
use crate::overlay::Change;
use crate::panics;
use crate::sessions;

/// Why an event was not applied.
#[derive(Debug)]
pub enum Refused {
    /// It never can be.
    Bad(String),
    /// Not before the device's first Inform was, which another process may have.
    Early,
    /// The store can't be used now.
    Store(hearth_store::Error),
}

impl From<hearth_store::Error> for Refused {
    fn from(error: hearth_store::Error) -> Self {
        if error.is_retryable() {
            Self::Store(error)
        } else {
            Self::Bad(error.to_string())
        }
    }
}

/// How often an event of an unknown device is tried again when several processes share the work, a
/// second apart: the Inform before it may be with one that died.
const EARLY_TRIES: u32 = 20;

type Result<T> = std::result::Result<T, Refused>;

/// What all kinds of events have.
pub struct Context<'a> {
    pub device: &'a DeviceKey,
    pub time: Timestamp,
    pub seq: u64,
    /// What tells its entries in the history apart from others'.
    pub first_seq: u64,
    /// The part whose consumer the event came from.
    pub part: u16,
    /// How often it was delivered.
    pub deliveries: u32,
    pub session: &'a str,
}

impl Context<'_> {
    /// Just before the event: what it deletes must not take what it brings.
    pub const fn before(&self) -> Timestamp {
        Timestamp::from_micros(self.time.as_micros() - 1)
    }
}

/// The event's span in its session's trace: below the one that published it, where the bus tells.
fn span(delivery: &Delivery, cx: &Context<'_>) -> Span {
    let make = || {
        tracing::info_span!(
            target: TARGET,
            "apply event",
            otel.kind = "consumer",
            hearth.seq = cx.seq,
            hearth.deliveries = cx.deliveries,
        )
    };
    match (&delivery.traceparent, Ulid::from_string(cx.session)) {
        (Some(parent), _) => continued(Some(parent), make),
        (None, Ok(session)) => session_span(session.into(), make),
        (None, Err(_)) => Span::none(),
    }
}

impl Core {
    /// Applies an event; the caller holds the turn. One that panics is refused as one that is bad.
    pub async fn apply(&self, part: u16, delivery: &Delivery, turn: &mut Turn) -> Result<()> {
        let device = &delivery.device;
        let applied = panics::caught(self.try_apply(part, delivery, turn)).await;
        let applied = applied.unwrap_or_else(|reason| {
            let seq = delivery.seq;
            tracing::error!(%device, seq, reason, "applying an event panicked");
            self.forget_half(device, Mark { part, seq }, turn);
            Err(Refused::Bad(reason))
        });
        if applied.is_err() {
            // What was noted as known on the way is not in the overlay.
            self.cache.forget(device);
        }
        applied
    }

    /// The change goes to the overlay last, and as a whole. Where it was that which broke off, what
    /// waits of the device is not to be believed: its other events are applied again.
    fn forget_half(&self, device: &DeviceKey, mark: Mark, turn: &mut Turn) {
        let mut overlay = self.overlay.lock();
        if overlay.has(device, mark) {
            let mut marks = overlay.take_device(device);
            marks.retain(|other| *other != mark);
            turn.give_back(device, marks);
        }
    }

    async fn try_apply(&self, part: u16, delivery: &Delivery, turn: &mut Turn) -> Result<()> {
        let event = Event::decode(delivery.payload.clone())
            .map_err(|error| Refused::Bad(format!("not a hearth.events.v1.Event: {error}")))?;
        let device = &delivery.device;
        if event.tenant != device.tenant.as_str() || event.device != device.device.as_str() {
            let reason = "the event is of another device than its message";
            return Err(Refused::Bad(reason.to_owned()));
        }
        let time = match event.time_us {
            0 => delivery.time,
            micros => Timestamp::from_micros(micros),
        };
        if time <= Timestamp::ZERO {
            return Err(Refused::Bad("the event has no time".to_owned()));
        }
        let Some(kind) = event.kind else {
            return Err(Refused::Bad("the event is of no known kind".to_owned()));
        };
        let context = Context {
            device,
            time,
            seq: delivery.seq,
            first_seq: delivery.first_seq,
            part,
            deliveries: delivery.deliveries,
            session: &event.session,
        };
        let span = span(delivery, &context);
        self.apply_kind(&context, kind, turn).instrument(span).await
    }

    async fn apply_kind(&self, cx: &Context<'_>, kind: Kind, turn: &mut Turn) -> Result<()> {
        let count = &self.metrics.events;
        let known = self.known(cx.device).await?;
        if let Kind::Inform(inform) = kind {
            count.inform.inc();
            return self.apply_inform(cx, &known, inform).await;
        }
        if let Kind::DeviceDeleted(_) = kind {
            return self.apply_device_deleted(cx, turn).await;
        }
        // A device that was deleted, or that never informed: nothing is kept of it.
        if !known.lock().exists {
            if self.parts.is_shared() && cx.deliveries < EARLY_TRIES {
                return Err(Refused::Early);
            }
            self.metrics.skipped.inc();
            self.add(cx, false, Change::default());
            return Ok(());
        }
        let change = match kind {
            Kind::ValuesReported(values) => {
                count.values.inc();
                self.apply_values(cx, &known, values).await?
            }
            Kind::NamesReported(names) => {
                count.names.inc();
                self.apply_names(cx, &known, names, turn).await?
            }
            Kind::AttributesReported(attributes) => {
                count.attributes.inc();
                self.apply_attributes(cx, attributes, turn).await?
            }
            Kind::ObjectDeleted(deleted) => {
                count.object_deleted.inc();
                self.apply_object_deleted(cx, &known, deleted).await?
            }
            Kind::TransferComplete(transfer) => {
                count.transfer.inc();
                others::transfer(cx, &transfer)
            }
            Kind::DuStateChange(changed) => {
                count.request.inc();
                others::units(cx, &changed)
            }
            Kind::DeviceRequest(request) => {
                count.request.inc();
                others::request(cx, &request)
            }
            Kind::TaskChanged(task) => {
                count.task.inc();
                self.add(cx, false, others::task(cx, &task));
                return Ok(());
            }
            Kind::WakeEnded(wake) => {
                count.wake.inc();
                self.add(cx, false, others::wake(cx, &wake));
                return Ok(());
            }
            Kind::SessionRecord(record) => {
                count.session.inc();
                self.add(cx, false, sessions::change(cx, &record));
                return Ok(());
            }
            Kind::CapturePart(part) => {
                count.session.inc();
                self.keep_part(cx, &part).await?;
                self.add(cx, false, Change::default());
                return Ok(());
            }
            Kind::Inform(_) | Kind::DeviceDeleted(_) => Change::default(),
        };
        let change = self.seen(cx, &known, change);
        self.add(cx, false, change);
        Ok(())
    }

    fn add(&self, cx: &Context<'_>, is_new: bool, change: Change) {
        let mark = Mark {
            part: cx.part,
            seq: cx.seq,
        };
        self.overlay.lock().add(cx.device, mark, is_new, change);
    }

    /// Another process was told to delete the device: what is remembered of it counts no more. What
    /// was written of it meanwhile goes, unless the device has informed since.
    async fn apply_device_deleted(&self, cx: &Context<'_>, turn: &mut Turn) -> Result<()> {
        self.flush(turn).await?;
        let row = self.store.device(cx.device).await?;
        let seen = row.as_ref().map(columns::last_seen);
        if seen.is_some_and(|seen| seen < cx.time) {
            self.store.delete_device(cx.device).await?;
        }
        self.cache.forget(cx.device);
        self.online_of(cx.device).lock().forget(cx.device);
        self.add(cx, false, Change::default());
        Ok(())
    }

    /// Adds that the device was heard of.
    fn seen(&self, cx: &Context<'_>, known: &Mutex<Known>, mut change: Change) -> Change {
        let mut known = known.lock();
        if cx.time > known.last_seen {
            known.last_seen = cx.time;
            change
                .cells
                .push((DeviceColumn::LastSeen, time_cell(cx.time)));
            let until = online_until(cx.time, known.interval);
            self.online(cx.part).lock().seen(cx.device, until);
        }
        change
    }

    /// Adds columns that are new, with their index entries.
    async fn add_columns(
        &self,
        cx: &Context<'_>,
        known: &Mutex<Known>,
        new: Vec<(DeviceColumn, CellValue)>,
        change: &mut Change,
    ) -> Result<()> {
        let (exists, new) = {
            let known = known.lock();
            let differs = |(column, value): &(DeviceColumn, CellValue)| {
                let hash = self.cache.cell_hash(value);
                known.compare_column(*column, hash, cx.time) == Compared::Differs
            };
            let new: Vec<_> = new.into_iter().filter(differs).collect();
            (known.exists, new)
        };
        let is_indexed = new.iter().any(|(c, _)| columns::attribute(*c).is_some());
        let old = match exists && is_indexed {
            true => self.row(cx.device).await?.unwrap_or_default(),
            false => hearth_store::DeviceRow::new(),
        };
        let mut known = known.lock();
        for (column, value) in new {
            if let (Some(attribute), CellValue::Text(text)) = (columns::attribute(column), &value) {
                let old = columns::text(&old, column);
                let again = self.parts.is_shared();
                reindex(attribute, (old, text), cx.time, again, change);
            }
            if let (DeviceColumn::PeriodicInformInterval, CellValue::Int(seconds)) =
                (column, &value)
            {
                known.interval = u32::try_from(*seconds).unwrap_or_default();
            }
            known.set_column(column, self.cache.cell_hash(&value), cx.time);
            let time = cx.time;
            change.cells.push((column, Cell { value, time }));
        }
        Ok(())
    }
}

/// Moves a device in the index from an old value to a new one; empty values aren't in it. With
/// `again`, an entry is written that should be there already: another process may just remove it.
fn reindex(
    attribute: &str,
    (old, new): (&str, &str),
    time: Timestamp,
    again: bool,
    change: &mut Change,
) {
    let (old, new) = (
        columns::indexed(attribute, old),
        columns::indexed(attribute, new),
    );
    let same = old == new;
    for (value, remove) in [(old, true), (new, false)] {
        let needed = !same || again && !remove;
        if needed && !value.is_empty() {
            let entry = (attribute.to_owned(), value, time, remove);
            change.index.push(entry);
        }
    }
}

/// A cell that holds its own time.
fn time_cell(time: Timestamp) -> Cell {
    Cell {
        value: CellValue::Int(time.as_micros()),
        time,
    }
}
