//! The public API of Hearth, `hearth.northbound.v1`, over gRPC.
//!
//! A request goes through the edge (`edge/mod.rs`) in this order, before a byte of it
//! is decoded: what it is, whose token it bears, whether there is room, by when it must end. Then a
//! service (`devices`, `tasks`, `files`, `credentials`) reads the resource names, through the
//! caller's one door to a tenant ([`Caller`]), asks the internal services, and turns what they say
//! into the public contract: secrets masked, errors with the field, the shape and the remedy.
//!
//! Who may call what without a token: `grpc.health.v1.Health` only, so that load balancers and
//! orchestrators need no secret. Reflection needs a token like the rest.

mod caller;
mod captures;
mod config;
mod convert;
mod core;
mod credentials;
mod devices;
mod edge;
mod error;
mod explain;
mod files;
mod filter;
mod import;
pub mod metrics;
mod operations;
mod page;
mod policy;
mod profiles;
mod reflection;
mod service;
mod sessions;
mod spread;
mod tags;
mod tasks;
mod watch;

pub use caller::{AdminToken, Caller, Role, TenantScope, TokenVerifier};
pub use config::NorthboundConfig;
pub use core::Clients;
pub use explain::{ACS_FAULTS, FINDINGS, FindingCode};
pub use service::{NorthboundService, StartError};
