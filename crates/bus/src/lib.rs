//! The bus: what one service tells another and must not be lost.
//!
//! A message is published once it is on disk; consumers are durable by name and see each message
//! at least once, in order. The contract is written at [`Bus`] and [`Consumer`]; the suite in
//! `conformance` (feature of the same name) runs it against a backend.

#[cfg(feature = "conformance")]
pub mod conformance;
mod contract;
pub mod embedded;
mod error;
mod message;
pub mod nats;
mod respite;

pub use contract::{
    Bus, BusStats, Consumer, ConsumerSpec, ConsumerStats, DeadLetterPage, TailEvent,
};
pub use embedded::{EmbeddedBus, EmbeddedOptions};
pub use error::{Error, Result};
pub use message::{
    Ack, DeadLetter, Delivery, PARTITIONS, Part, Publish, Stream, partition, subject,
};
pub use nats::{ConnectError as NatsConnectError, NatsBus, NatsConfig};
pub use respite::Respite;
