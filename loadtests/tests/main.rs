//! The integration tests of `hearth-sim`: one program, so that it is linked once.
#![allow(clippy::unwrap_used)]

mod load;
mod optional;
mod rpcs;
mod sessions;
mod support;
mod tls;
mod transfers;
mod tree;
