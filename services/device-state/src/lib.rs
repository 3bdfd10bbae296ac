//! The role that knows devices: it consumes events from the bus, keeps devices, their parameters
//! and history, and the credentials of their edge, and answers queries.
//!
//! The walk of an event: `fetcher` takes it from the bus, `consumer` has it applied: `apply`
//! compares it with what is known (`cache`) and puts what changed into the `overlay`, `flush`
//! writes the overlay to the store in batches, and only then the bus is told that the event is
//! done. A crash in between redelivers; every cell carries its event's time, so that applying twice
//! changes nothing. Several processes share the devices by `parts`, as `replicas` agrees on them.
//! What can't be applied or written becomes a dead letter with the reason, without those that came
//! with it (`panics`, `alone`). Queries (`service`) answer from the store, after what waits in the overlay for them was
//! written.

mod alone;
mod apply;
mod background;
mod cache;
mod captures;
mod columns;
mod config;
mod consumer;
mod core;
mod credentials;
mod dead_letters;
mod errors;
mod fetcher;
mod flush;
mod history;
mod lifecycle;
mod lines;
mod memory;
mod metrics;
mod models;
mod online;
mod overlay;
mod page;
mod panics;
mod parts;
mod policy;
mod prefix;
mod profiles;
mod queries;
mod refusals;
mod reindex;
mod replicas;
mod secrets;
mod service;
mod sessions;
mod waking;
mod watch;

pub use config::DeviceStateConfig;
pub use core::{Dependencies, StartError};
pub use metrics::METRICS;
pub use service::DeviceStateService;
