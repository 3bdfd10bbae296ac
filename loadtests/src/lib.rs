//! Simulated CPEs: devices of several kinds that speak CWMP over real HTTP, whole fleets of them
//! in one process, with faults and latencies on demand, and counters of what they executed so
//! that a test can tell a doubled RPC; and the load scenarios that measure an ACS.
//!
//! * [`Fleet`] makes devices and lets them live; [`Device`] is one of them.
//! * [`Behaviour`] is what a device does to an ACS; [`Ledger`] what it did.
//! * [`tree`] is a device's data model, [`tree::kinds`] where trees come from.
//! * [`kill`] and [`faults`] break an ACS under a fleet and verify that nothing is lost.
//! * [`load`] holds the load scenarios and the server they are measured beside.

mod bearer;
mod cpe;
mod dice;
pub mod faults;
mod fleet;
pub mod kill;
pub mod load;
pub mod tree;

pub use bearer::Bearer;
pub use cpe::{
    Acknowledged, AuthStyle, Behaviour, CookieStyle, Device, Doubled, EdgeCounts, Executed,
    FaultRate, Keep, Ledger, ListenerStyle, Point, PowerLoss, StoredFile, TimeScale, Transferred,
};
pub use dice::Dice;
pub use fleet::{Fleet, FleetError, FleetOptions, FleetStats};
pub use tree::kinds::Kind;
pub use tree::{Attributes, BaseTree, Tree, TreeBuilder, TreeError};
