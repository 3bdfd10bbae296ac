//! The integration tests of `hearth-northbound`: one program, so that it is linked once.
#![allow(clippy::unwrap_used)]

mod common;
mod deadlines;
mod devices;
mod edge;
mod files;
mod tasks;
mod transfers;
mod why_page;
