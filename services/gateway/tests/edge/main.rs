//! The gateway over real sockets: HTTP, authentication, sessions, tasks.
#![allow(clippy::unwrap_used)]

mod auth;
mod capture;
mod cwmpclient;
mod hostile;
mod http;
mod identity;
mod inform;
mod large;
mod optional;
mod quirks;
mod refusals;
mod session;
mod smuggling;
mod support;
mod tasks;
mod timeline;
mod tls;
