//! The server: its configuration, the wiring of its roles, and the demo.

pub mod admin;
mod backends;
pub mod ca;
pub mod cli;
pub mod config;
pub mod demo;
pub mod first_start;
mod internal;
pub mod keys;
mod links;
pub mod roles;
pub mod server;
pub mod stats;
mod tls;
mod watch;
