//! Fetching events: a durable consumer for each part, and a task that asks it for more while the
//! part is this process's.

use std::sync::Arc;
use std::time::Duration;

use hearth_bus::{Consumer, ConsumerSpec, Delivery, Part, Stream};
use hearth_runtime::{BoxError, CancellationToken, ServiceContext};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::consumer::bus_backoff;
use crate::core::{Core, Mark};

/// The durable name on the bus, or its beginning.
pub const NAME: &str = "device-state";
/// Events may wait long when the disk is full; none becomes a dead letter for that. It is not the
/// bus that gives one up for how often it was delivered: see [`crate::alone`].
const ACK_WAIT: Duration = Duration::from_secs(300);
const MAX_DELIVER: u32 = 1_000_000;
/// Bytes of events in one fetch. With many parts, each has some in hand.
const FETCH_BYTES: usize = 32 << 20;
const FETCH_BYTES_OF_PART: usize = 8 << 20;
/// After fewer events than this, a short wait lets more gather: one fetch for each event would
/// cost more than applying it.
const FEW_EVENTS: usize = 64;
const GATHER: Duration = Duration::from_millis(2);
/// How long a fetch waits for a first event.
const FETCH_WAIT: Duration = Duration::from_secs(1);
/// How often it is looked whether time has run out.
const LOOK: Duration = Duration::from_millis(200);

/// Arrivals of a part that are not worked on yet, at most.
const TICKETS: u32 = 1 << 16;

/// What a fetch brought.
pub struct Arrival {
    pub part: u16,
    /// The run of the part in which it was fetched: in another one, what came before it may have been
    /// given back.
    pub run: u64,
    pub fetched: hearth_bus::Result<Vec<Delivery>>,
    /// Held until all of it was applied or given back.
    pub ticket: Ticket,
}

pub type Ticket = Option<Arc<OwnedSemaphorePermit>>;

/// Registers the consumers of all parts, in their order: none is worked on before each event has a
/// consumer. `None` when the process stops meanwhile.
pub async fn register(
    core: &Core,
    ctx: &ServiceContext,
) -> Result<Option<Vec<Arc<dyn Consumer>>>, BoxError> {
    let mut consumers: Vec<Arc<dyn Consumer>> = Vec::new();
    let mut backoff = bus_backoff();
    let mut parts = core.parts.all().peekable();
    while let Some(part) = parts.peek() {
        match core.bus.consumer(spec(core, *part)).await {
            Ok(consumer) => {
                consumers.push(consumer.into());
                parts.next();
                continue;
            }
            Err(error) if error.is_retryable() => {
                ctx.readiness.not_ready(format!("no consumer: {error}"));
            }
            Err(error) => return Err(error.into()),
        }
        if !backoff.wait_unless(&ctx.stop).await {
            return Ok(None);
        }
    }
    Ok(Some(consumers))
}

fn spec(core: &Core, part: Part) -> ConsumerSpec {
    let shared = core.parts.is_shared();
    let name = match shared {
        true => format!("{NAME}-{}", part.index),
        false => NAME.to_owned(),
    };
    ConsumerSpec {
        part: shared.then_some(part),
        // A count, and what a value was before, are only right after all that came before.
        in_order: true,
        sole: true,
        ack_wait: ACK_WAIT,
        max_deliver: MAX_DELIVER,
        max_in_flight: core.config.max_in_flight,
        fetch_bytes: match shared {
            true => FETCH_BYTES_OF_PART,
            false => FETCH_BYTES,
        },
        ..ConsumerSpec::new(name, Stream::ALL)
    }
}

/// Starts the fetchers; they end with `stop`.
pub fn start(
    core: &Arc<Core>,
    consumers: &[Arc<dyn Consumer>],
    stop: &CancellationToken,
) -> (mpsc::Receiver<Arrival>, JoinSet<()>) {
    let (sender, arrivals) = mpsc::channel(1);
    let mut tasks = JoinSet::new();
    for (part, consumer) in core.parts.all().zip(consumers) {
        let fetcher = Fetcher {
            core: Arc::clone(core),
            part: part.index,
            consumer: Arc::clone(consumer),
            arrivals: sender.clone(),
            tickets: Arc::new(Semaphore::new(TICKETS as usize)),
        };
        let stop = stop.clone();
        tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = fetcher.run(&stop) => {}
            }
        });
    }
    (arrivals, tasks)
}

struct Fetcher {
    core: Arc<Core>,
    part: u16,
    consumer: Arc<dyn Consumer>,
    arrivals: mpsc::Sender<Arrival>,
    tickets: Arc<Semaphore>,
}

impl Fetcher {
    /// Until the worker is gone.
    async fn run(&self, stop: &CancellationToken) {
        let (parts, part) = (&self.core.parts, self.part);
        let mut owned = parts.watch();
        let mut backoff = bus_backoff();
        let (mut failed, mut rests, mut since) = (false, true, 0);
        while !self.arrivals.is_closed() {
            if !parts.owns(part) {
                if !rests {
                    rests = self.rest().await;
                }
                tokio::select! {
                    _ = owned.changed() => {}
                    () = sleep(LOOK) => {}
                }
                continue;
            }
            if std::mem::take(&mut rests) {
                // What came to this process after it had let go is another one's.
                self.rest().await;
            }
            let run = parts.run(part);
            if since != run {
                // What was fetched before is given back, and comes before what is fetched now.
                let _all = self.tickets.acquire_many(TICKETS).await;
                since = run;
                continue;
            }
            let most = self.core.config.fetch_events;
            match self.consumer.fetch(most, FETCH_WAIT).await {
                Ok(deliveries) => {
                    backoff.reset();
                    let few = deliveries.len() < FEW_EVENTS;
                    if !parts.runs(part, run) {
                        // They came while the part may have been another's.
                        self.give_back(&deliveries).await;
                    } else if !deliveries.is_empty() || std::mem::take(&mut failed) {
                        self.bring(run, Ok(deliveries)).await;
                    }
                    if few {
                        sleep(GATHER).await;
                    }
                }
                Err(error) => {
                    failed = true;
                    self.bring(run, Err(error)).await;
                    backoff.wait_unless(stop).await;
                }
            }
        }
    }

    /// Waits until the worker takes it, or gives it back when the part is another's meanwhile.
    async fn bring(&self, run: u64, fetched: hearth_bus::Result<Vec<Delivery>>) {
        let part = self.part;
        let ticket = Arc::clone(&self.tickets).acquire_owned().await;
        let arrival = Arrival {
            part,
            run,
            fetched,
            ticket: ticket.ok().map(Arc::new),
        };
        tokio::select! {
            // A worker that is gone needs no more; the bus keeps them.
            room = self.arrivals.reserve() => if let Ok(room) = room {
                room.send(arrival);
            },
            () = self.stale(run) => if let Ok(deliveries) = &arrival.fetched {
                self.give_back(deliveries).await;
            },
        }
    }

    /// Returns when the part is no longer this process's, or this run of it has ended.
    async fn stale(&self, run: u64) {
        while self.core.parts.runs(self.part, run) {
            sleep(LOOK).await;
        }
    }

    /// Leaves to others what came and wasn't fetched; whether that was done.
    async fn rest(&self) -> bool {
        let rested = self.consumer.rest().await;
        if let Err(error) = &rested {
            tracing::debug!(part = self.part, %error, "events can't be given back now");
        }
        rested.is_ok()
    }

    async fn give_back(&self, deliveries: &[Delivery]) {
        for delivery in deliveries {
            let (part, seq) = (self.part, delivery.seq);
            give_back(self.consumer.as_ref(), Mark { part, seq }).await;
        }
    }
}

/// Has an event come again at once, to whoever has its part then. The bus that can't be told does
/// it by itself, later.
pub async fn give_back(consumer: &dyn Consumer, mark: Mark) {
    let Mark { part, seq } = mark;
    if let Err(error) = consumer.nak(seq, Duration::ZERO).await {
        tracing::debug!(part, seq, %error, "the bus delivers it again by itself");
    }
}
