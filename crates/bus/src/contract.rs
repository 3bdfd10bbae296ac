//! The contract: what every backend does, and what its users may rely on.

use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use hearth_types::DeviceKey;

use crate::{Ack, DeadLetter, Delivery, Error, PARTITIONS, Part, Publish, Result, Stream};

/// A bus.
///
/// # Publishing
/// - A message whose `publish` returned `Ok` MUST survive the death of the process and of the
///   machine.
/// - Messages of one device that one caller publishes one after another MUST be delivered in that
///   order. All messages SHOULD be delivered in the order of their numbers.
/// - A message with the id of one published within the dedupe window MUST NOT be delivered again;
///   its `publish` returns the first one's number and `duplicate: true`, and no sooner than the
///   first one is on disk. The window SHOULD survive a restart.
/// - A payload over the limit MUST be refused with [`Error::TooLarge`].
/// - A message without an id MAY be delivered more than once though it was published once: a
///   backend that got no answer sends it again.
/// - A failed `publish` was not acknowledged; the message MAY be delivered all the same when the
///   error is [`Error::Unavailable`]. After a failure the bus MUST recover by itself.
/// - With no room for more unworked messages, `publish` MUST fail with [`Error::Full`] rather than
///   drop a registered consumer's messages.
///
/// # Consuming
/// - A consumer is registered by its first [`Bus::consumer`] call and MUST be remembered over
///   restarts. A new one begins with the oldest message that is still kept.
/// - Consumers of different names MUST each see every message of their streams. Handles of the
///   same name share the work.
/// - Everything at [`Consumer`].
#[async_trait]
pub trait Bus: Send + Sync + 'static {
    /// Publishes a message; returns when it is on disk.
    async fn publish(&self, message: Publish) -> Result<Ack>;

    /// Registers or takes up a consumer.
    ///
    /// # Errors
    /// [`Error::InvalidSpec`]; the bus can't write.
    async fn consumer(&self, spec: ConsumerSpec) -> Result<Box<dyn Consumer>>;

    /// Forgets a consumer; its unworked messages no longer count.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    async fn delete_consumer(&self, name: &str) -> Result<()>;

    /// Messages from now on, as they are published, for watching only: nothing is remembered, and
    /// a reader that is too slow MUST be told with [`TailEvent::Lagged`]. Ends when the bus closes.
    fn tail(&self, streams: &[Stream]) -> BoxStream<'static, TailEvent>;

    /// Dead letters with an id above `after`, the oldest first, at most `limit`.
    async fn dead_letters(&self, after: Option<u64>, limit: usize) -> Result<DeadLetterPage>;

    /// Publishes a dead letter's message again, with a new number, to all consumers of its stream,
    /// and removes the dead letter once that is on disk.
    ///
    /// # Errors
    /// [`Error::NotFound`], and those of `publish`.
    async fn replay_dead_letter(&self, id: u64) -> Result<Ack>;

    /// Removes a dead letter.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    async fn delete_dead_letter(&self, id: u64) -> Result<()>;

    /// Counters and levels.
    async fn stats(&self) -> BusStats;

    /// Whether a message of usual size would be taken now, as far as that is known without publishing
    /// one. For the readiness: it MUST fail while what is published is refused for want of room, and
    /// no longer.
    ///
    /// The default is that of a bus that takes everything.
    ///
    /// # Errors
    /// What `publish` would fail with.
    async fn probe(&self) -> Result<()> {
        Ok(())
    }

    /// Answers what waits, persists every consumer's progress, and refuses the rest with
    /// [`Error::Closed`]. May be called more than once.
    async fn close(&self) -> Result<()>;
}

/// A durable consumer.
///
/// - A message MUST be delivered at least once, and again when it wasn't acknowledged within
///   `ack_wait`, after [`Consumer::nak`], and after a restart.
/// - First deliveries MUST come in the order of the numbers. A redelivery may come after later
///   messages: write idempotently, ordered by event time.
/// - With `in_order`, what another process holds, or what was lost on the way from the servers, MUST
///   be waited for before later messages are given out, until it was acknowledged or is given out
///   here, for half a minute at most. So does what this process gives back itself with no delay; with
///   a delay it isn't waited for.
/// - An acknowledged message SHOULD NOT be delivered again; it MAY after a crash, when the last
///   second's progress is lost. An unacknowledged message MUST NOT be lost.
/// - No more than `max_in_flight` messages MUST be delivered and unacknowledged.
/// - A fetch MUST NOT bring more than `fetch_bytes` of payloads, unless it brings one message only;
///   a backend MUST NOT hold much more than that of messages that nobody has fetched.
/// - A message that was delivered `max_deliver` times and not acknowledged MUST become a dead
///   letter, on disk, before it stops being this consumer's.
#[async_trait]
pub trait Consumer: Send + Sync + 'static {
    /// The durable name.
    fn name(&self) -> &str;

    /// Up to `max` messages; waits up to `wait` for the first, and returns none when there is none.
    async fn fetch(&self, max: usize, wait: Duration) -> Result<Vec<Delivery>>;

    /// These are worked on. Unknown numbers are ignored.
    async fn ack(&self, seqs: &[u64]) -> Result<()>;

    /// This one couldn't be worked on now: deliver it again, `delay` from now at the soonest. With no
    /// delay it isn't this process's any more even if that fails: it comes again after `ack_wait`.
    async fn nak(&self, seq: u64, delay: Duration) -> Result<()>;

    /// This one can never be worked on: makes it a dead letter, on disk when it returns.
    async fn term(&self, seq: u64, reason: &str) -> Result<()>;

    /// This process fetches no more for a while: what came and wasn't fetched is for others.
    ///
    /// The default is that of a bus with one process.
    async fn rest(&self) -> Result<()> {
        Ok(())
    }
}

/// How a consumer works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerSpec {
    /// The durable name: 1 to 63 of `a-z`, `0-9`, `-`.
    pub name: String,
    /// The streams it sees; at least one.
    pub streams: Vec<Stream>,
    /// Sees only messages of this part of the devices. All parts of one `of` MUST be registered,
    /// in the order of their indexes, before any of them is worked on: with the last one all
    /// messages have a consumer.
    pub part: Option<Part>,
    /// One process after the other fetches, and each goes on where the one before it ended. One
    /// handle fetches at a time.
    pub in_order: bool,
    /// It is the only one that sees its messages, but for its other parts: a backend whose servers
    /// may take a message for delivered that was not MAY keep it until it was acknowledged here,
    /// and deliver it late, behind later ones.
    pub sole: bool,
    /// A delivery not acknowledged for this long is delivered again.
    pub ack_wait: Duration,
    /// Deliveries before a message becomes a dead letter; at least 1.
    pub max_deliver: u32,
    /// Messages delivered and not acknowledged at once; at least 1.
    pub max_in_flight: usize,
    /// Bytes of payloads that a fetch brings at most; at least 1. A larger message comes by itself.
    pub fetch_bytes: usize,
}

impl ConsumerSpec {
    /// A consumer with 30 s to acknowledge, 5 deliveries, 10,000 messages in flight, and 32 MiB in
    /// a fetch, and neither `in_order` nor `sole`.
    #[must_use]
    pub fn new(name: impl Into<String>, streams: impl Into<Vec<Stream>>) -> Self {
        Self {
            name: name.into(),
            streams: streams.into(),
            part: None,
            in_order: false,
            sole: false,
            ack_wait: Duration::from_secs(30),
            max_deliver: 5,
            max_in_flight: 10_000,
            fetch_bytes: 32 << 20,
        }
    }

    /// Whether it sees a message.
    #[must_use]
    pub fn sees(&self, stream: Stream, device: &DeviceKey) -> bool {
        self.streams.contains(&stream) && self.part.is_none_or(|part| part.has(&device.device))
    }

    /// Whether it can be used.
    ///
    /// # Errors
    /// [`Error::InvalidSpec`] with the rule that it breaks.
    pub fn check(&self) -> Result<()> {
        let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let rule = if !(1..=63).contains(&self.name.len()) || !self.name.bytes().all(good) {
            "a consumer's name is 1 to 63 of a-z, 0-9 and '-'"
        } else if self.streams.is_empty() {
            "a consumer needs at least one stream"
        } else if self
            .part
            .is_some_and(|p| p.index >= p.of || !PARTITIONS.is_multiple_of(p.of))
        {
            "a consumer's part has an index below its count, which divides 64"
        } else if self.max_deliver == 0
            || self.max_in_flight == 0
            || self.fetch_bytes == 0
            || self.ack_wait.is_zero()
        {
            "ack_wait, max_deliver, max_in_flight and fetch_bytes of a consumer are above zero"
        } else {
            return Ok(());
        };
        Err(Error::InvalidSpec(rule))
    }
}

/// What a watcher sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TailEvent {
    /// A message.
    Message(Delivery),
    /// The watcher was too slow: about this many messages were skipped.
    Lagged(u64),
}

/// A page of dead letters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeadLetterPage {
    /// The letters, the oldest first.
    pub letters: Vec<DeadLetter>,
    /// What to give as `after` for the next page; `None` when this was the last one.
    pub next: Option<u64>,
}

/// Counters (since opening) and levels of a bus.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BusStats {
    /// The number of the last message on disk; 0 when there was none.
    pub last_seq: u64,
    /// Messages published.
    pub published: u64,
    /// Messages that were already there.
    pub duplicates: u64,
    /// Messages refused.
    pub refused: u64,
    /// Groups written.
    pub groups: u64,
    /// Bytes that a consumer still needs.
    pub backlog_bytes: u64,
    /// Dead letters now.
    pub dead_letters: u64,
    /// Every registered consumer.
    pub consumers: Vec<ConsumerStats>,
}

/// Levels and counters of one consumer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConsumerStats {
    /// The durable name.
    pub name: String,
    /// Numbers from its oldest unacknowledged message to the last: at most this many messages.
    pub lag: u64,
    /// Messages delivered and not acknowledged.
    pub in_flight: u64,
    /// Messages delivered, redeliveries included.
    pub delivered: u64,
    /// Redeliveries.
    pub redelivered: u64,
    /// Messages that became dead letters.
    pub dead: u64,
}
