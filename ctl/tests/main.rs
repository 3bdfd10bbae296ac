//! The integration tests of `hearthctl`: one program, so that it is linked once.
#![allow(clippy::unwrap_used, missing_docs)]

mod access;
mod binary;
mod common;
mod dead_letters;
mod docs;
mod life;
mod operations;
mod profiles;
mod sessions;
mod tasks;
mod transfers;
mod why;
