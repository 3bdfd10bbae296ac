//! The integration tests of `hearth`: one program, so that it is linked once.
#![allow(clippy::unwrap_used)]

mod apart;
mod book;
mod dead_letters;
mod profiles;
mod readiness;
mod reference;
mod roles_apart;
mod sessions;
mod spread;
mod start_refused;
mod storm;
mod traces;
mod waking;
mod why;
