//! Faults of an installation whose parts are apart, under a fleet with tasks of every kind.
//!
//! * [`proxy`]: the network between two parts, to be cut.

pub mod proxy;
