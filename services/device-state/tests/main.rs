//! The integration tests of `hearth-device-state`: one program, so that it is linked once.
#![allow(clippy::unwrap_used)]

mod common;
mod cramped;
mod dead_letters;
mod events;
mod flaky;
mod life;
mod poison;
mod profiles;
mod queries;
mod records;
mod refusals;
mod replicas;
mod rotation;
mod sessions;
mod waking;
