//! Simulated CPEs: devices of several kinds that speak CWMP over real HTTP, whole fleets of them
//! in one process, with faults and latencies on demand, and counters of what they executed so
//! that a test can tell a doubled RPC; and the load scenarios that measure an ACS.
//!
//! * [`tree`] is a device's data model.
//! * [`tree::kinds`] says where trees come from.

pub mod tree;

pub use tree::kinds::Kind;
pub use tree::{Attributes, BaseTree, Tree, TreeBuilder, TreeError};
