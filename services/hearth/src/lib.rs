//! The server: its configuration, the wiring of its roles, and the demo.

pub mod admin;
pub mod cli;
pub mod config;
pub mod demo;
pub mod first_start;
pub mod server;
pub mod stats;
mod tls;
