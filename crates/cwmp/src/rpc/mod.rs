//! The structures of the RPC methods, with the field names of TR-069 Annex A in snake case.
//! Lengths are in characters and are checked when writing, not when reading.

mod parameters;
mod session;
mod software;
mod transfer;

pub use parameters::*;
pub use session::*;
pub use software::*;
pub use transfer::*;
