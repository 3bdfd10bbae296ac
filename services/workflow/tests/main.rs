//! The integration tests of `hearth-workflow`: one program, so that it is linked once.
#![allow(clippy::unwrap_used)]

mod alias;
mod answers;
mod api;
mod common;
mod doubt;
mod explain;
mod index_lost;
mod kinds;
mod ledger;
mod optional;
mod profiles;
mod recovery;
mod replicas;
mod reports;
mod rotation;
mod scheduled;
mod units;
mod waking;
