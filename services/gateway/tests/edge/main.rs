//! The gateway over real sockets: HTTP, authentication, sessions, tasks.
#![allow(clippy::unwrap_used)]

mod auth;
mod cwmpclient;
mod http;
mod identity;
mod inform;
mod large;
mod optional;
mod session;
mod support;
mod tasks;
mod tls;
