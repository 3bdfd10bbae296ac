//! Names of replicas, and the addresses that they stand for.

use async_trait::async_trait;
use std::io;
use std::net::SocketAddr;

/// Looks names up.
#[async_trait]
pub trait Resolver: Send + Sync {
    /// The addresses that `host` stands for, with this port. One that is an address stands for itself.
    async fn look_up(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>>;
}

/// As this system looks names up.
pub(crate) struct System;

#[async_trait]
impl Resolver for System {
    async fn look_up(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        Ok(tokio::net::lookup_host((host, port)).await?.collect())
    }
}
